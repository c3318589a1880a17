"""
Laws of fetching a finished clip from a real host: what is cut goes on, what is lost is said, money is settled once.

The forms of failure are those of ``F29``: a short body, a wrong length, a drip, no end, a page, an expired link, a
redirect inwards, a dead link.
"""

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gateway.clips.keeping import Keeper
from gateway.clips.media import Media
from gateway.jobs.finished import DOUBTS, Finished, Missed
from gateway.jobs.job import Job, Outcome, State
from gateway.jobs.wish import Notice, Problem, Rendition
from gateway.network.abroad import Abroad
from gateway.network.guard import Rules
from gateway.network.outbound import Outbound
from providers.base.errors import Unavailable
from providers.base.task import AssetRef, Task, Update
from providers.base.task import State as TaskState
from providers.base.transport import AiohttpTransport
from providers.base.wire import HttpWire
from tests.hosting import Host, hosting
from tests.scripted import Engine, clip, running

MB = 2**20


def padded(size: int) -> bytes:
    """Make a clip of some size: its last box is free for whatever."""
    short = clip(8, (320, 180))
    return short + (size - len(short)).to_bytes(4) + b"free" + bytes(size - len(short) - 8)


CLIP = padded(MB)


class Kept(Engine):
    """An engine whose clips lie at a real host, each time under an address that is signed anew."""

    def __init__(self, folder: Path, host: Host) -> None:
        super().__init__(folder)
        self.host = host
        self.transport = AiohttpTransport()
        (account,) = self.accounts.values()
        account.wire = HttpWire(self.transport)
        account.abroad = Abroad(lambda: Outbound(Rules()))
        account.provider.base_url = host.url
        self.signed = 0
        self.clips = 1
        self.silent = False
        self.provider.poll = self.poll  # type: ignore[method-assign]
        self.impatient()

    def impatient(self, seconds: float = 0.2) -> None:
        """Measure a download's pace over a moment."""
        self.use(replace(self.tools, keeper=Keeper(self.media, seconds=seconds)))

    async def poll(self, task: Task, wire: object) -> Update:
        if self.silent:
            raise Unavailable("nobody is there")
        self.signed += 1
        links = [f"{self.host.url}/{at}.mp4?Signature={self.signed}" for at in range(self.clips)]
        assets = tuple(AssetRef(url=url, index=at) for at, url in enumerate(links))
        return Update(state=TaskState.SUCCEEDED, task=task, assets=assets)

    async def stored(self) -> Job:
        """Take a job as far as its first try to keep the clip."""
        self.provider.submits.append(running("t"))
        job = await self.accept()
        await self.turn()
        await self.turn(seconds=5)
        return await self.job(job.id)

    def outcomes(self) -> dict[str, float]:
        """Say what came of every try, as the metric has it."""
        return {
            sample.labels["outcome"]: sample.value
            for metric in self.metrics.fetches.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    async def money(self, job: str) -> list[tuple[str, str]]:
        return [(entry.debit, entry.credit) for entry in await self.store.entries(job)]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with hosting(CLIP) as built:
        yield built


@pytest.fixture
async def engine(tmp_path: Path, host: Host) -> AsyncIterator[Kept]:
    built = Kept(tmp_path, host)
    yield built
    await built.transport.aclose()
    built.close()


def problem(job: Job) -> Problem:
    assert job.error is not None
    return msgspec.json.decode(job.error, type=Problem)


def whole(engine: Kept, job: Job) -> bytes:
    """Read the clip that was kept, and hold its row to it."""
    assert State.SUCCEEDED is job.state, job.error
    video = msgspec.json.decode(job.outputs, type=list[Rendition])[0]
    data = Path(engine.media.root, video.path).read_bytes()
    assert (len(data), msgspec.json.decode(job.task or "", type=dict)) == (video.bytes, {"id": "t", "data": {}})
    assert [] == list(engine.media.incoming.iterdir())
    return data


async def test_a_cut_download_goes_on_where_it_stopped(engine: Kept, host: Host) -> None:
    """Within one step, asked for by what the host knows it by; no byte comes twice, and the hash is the whole's."""
    host.script = ["whole 300000", "whole 200000"]
    ended = await engine.stored()

    assert CLIP == whole(engine, ended)
    assert ["whole", "bytes=300000-", "bytes=500000-"] == host.ranges()
    assert [None, '"one"', '"one"'] == [each.headers.get("if-range") for each in host.asked]
    assert len(CLIP) == host.sent
    assert {"kept": 1} == engine.outcomes()


async def test_a_date_does_where_there_is_no_tag(engine: Kept, host: Host) -> None:
    """If it is older than the answer; one of the same second may stand for two clips."""
    dated = {"Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT", "Date": "Sat, 21 Nov 2026 12:00:01 GMT"}
    host.known_by, host.script = dated, ["whole 300000"]
    assert CLIP == whole(engine, await engine.stored())
    assert ["whole", "bytes=300000-"] == host.ranges()


@pytest.mark.parametrize(
    "known_by",
    [
        {},
        {"ETag": 'W/"one"'},
        {"Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"},
        {"Last-Modified": "yesterday", "Date": "today"},
    ],
)
async def test_what_cannot_be_known_again_is_begun_anew(engine: Kept, host: Host, known_by: dict[str, str]) -> None:
    """Half of one clip is never put before half of another."""
    host.known_by, host.script = known_by, ["whole 300000"]
    job = await engine.stored()
    assert State.STORING is job.state
    assert CLIP == whole(engine, await engine.run(job.id))
    assert ["whole", "whole"] == host.ranges()


async def test_a_host_that_knows_no_ranges_sends_it_all_again(engine: Kept, host: Host) -> None:
    """An answer 200 to what asked for a part is the whole."""
    host.script = ["whole 300000", "plain"]
    assert CLIP == whole(engine, await engine.stored())
    assert ["whole", "bytes=300000-"] == host.ranges()


async def test_a_clip_that_changed_meanwhile_is_begun_anew(engine: Kept, host: Host) -> None:
    """The host finds another than was begun with, and sends that whole."""
    host.script = ["whole 300000"]
    job = engine.stored()
    other = padded(MB + 5)

    async def changed(*args: object) -> None:
        host.clip, host.known_by = other, {"ETag": '"two"'}
        await Host._whole(host, *args)  # type: ignore[arg-type]

    host._changed = changed  # type: ignore[attr-defined]
    host.script.append("changed")
    assert other == whole(engine, await job)


@pytest.mark.parametrize("span", ["0-9/1048576", "299999-300008/1048576", "300000-300009/1048577", "nonsense", "*/*"])
async def test_a_part_that_was_not_asked_for_is_not_taken(engine: Kept, host: Host, span: str) -> None:
    """Whatever a host says it sends must be what is missing of the same whole."""
    host.script = ["whole 300000", f"wrong {span}"]
    assert CLIP == whole(engine, await engine.stored())
    assert ["whole", "bytes=300000-", "whole"] == host.ranges()


async def test_a_cut_download_goes_on_in_a_later_step(engine: Kept, host: Host) -> None:
    """With another signature in its address, while the rest of it is the same."""
    host.script = ["whole 300000", "status 503"]
    job = await engine.stored()
    assert (State.STORING, 1) == (job.state, job.tries)

    assert CLIP == whole(engine, await engine.run(job.id))
    assert ["whole", "bytes=300000-", "bytes=300000-"] == host.ranges()
    assert 2 == len({each.target for each in host.asked})


async def test_a_cut_download_goes_on_in_a_later_process(engine: Kept, host: Host, tmp_path: Path) -> None:
    """What has come outlives the process that asked for it (F30); a stopped machine's half is not believed."""
    host.script = ["whole 300000", "status 503", "whole 200000", "status 503"]
    job = await engine.stored()
    engine.media = Media(tmp_path / "media", engine.pool, max_clip_bytes=2**24)
    engine.media.open()
    engine.restart()
    await engine.turn(seconds=1)
    assert ["whole", *["bytes=300000-"] * 2, "bytes=500000-"] == host.ranges()

    (mark,) = engine.media.incoming.glob("*.mark")
    mark.write_bytes(mark.read_bytes().replace(b'"boot":"', b'"boot":"another'))
    assert CLIP == whole(engine, await engine.run(job.id))
    assert "whole" == host.ranges()[-1]


async def test_two_who_fetch_one_clip_do_not_mix_it(engine: Kept, host: Host) -> None:
    """A worker that lost its lease may still write: each has a file of its own, and the clip is one's."""
    (account,) = engine.accounts.values()
    asset = AssetRef(url=f"{host.url}/0.mp4")
    host.script = ["whole 300000", "status 503"]
    job = await engine.stored()
    first, second = Keeper(engine.media), Keeper(engine.media)
    host._slow = _slowly(host, lambda: second.keep(job.id, asset, account))  # type: ignore[attr-defined]
    host.script = ["slow"]
    (kept, *_) = await first.keep(job.id, asset, account)

    assert CLIP == await engine.media.whole(kept)
    assert [] == list(engine.media.incoming.iterdir())
    assert ["bytes=300000-", "whole"] == host.ranges()[2:]


def _slowly(host: Host, meanwhile):  # type: ignore[no-untyped-def]
    async def answer(*args):  # type: ignore[no-untyped-def]
        await meanwhile()
        await host._whole(*args)

    return answer


LOST = {
    "claims 900000": Missed.SHORT,
    "endless": Missed.TOO_LARGE,
    "page": Missed.NOT_A_CLIP,
    "status 403": Missed.DENIED,
    "status 404": Missed.GONE,
    "redirect http://127.0.0.1:9/a.mp4": Missed.FOREIGN,
    "redirect https://127.0.0.1/a.mp4": Missed.FOREIGN,
    "status 204": Missed.STRANGE,
}


@pytest.mark.parametrize("form", LOST)
async def test_what_is_not_the_clip_is_lost_after_a_few_links(engine: Kept, host: Host, form: str) -> None:
    """Each time a fresh link is asked for; then the job says that it was paid and is lost, and its money is spent."""
    host.script = [form] * 50
    ended = await engine.run((await engine.stored()).id)

    assert (State.FAILED, "result_lost") == (ended.state, problem(ended).code)
    assert "made and paid for" in problem(ended).message
    (attempt,) = await engine.store.attempts(ended.id)
    assert Outcome.SUCCEEDED is attempt.outcome
    assert [("available", "held"), ("held", "spent")] == await engine.money(ended.id)
    tries = 1 if LOST[form] is Missed.TOO_LARGE else DOUBTS
    assert {str(LOST[form]): tries, "lost": 1} == engine.outcomes()
    assert tries == engine.signed == len(host.asked)
    assert [] == list(engine.media.incoming.iterdir())
    assert host.sent <= tries * 2**25


@pytest.mark.parametrize("form", LOST)
async def test_what_is_not_the_clip_may_be_it_next_time(engine: Kept, host: Host, form: str) -> None:
    """One bad answer costs nothing but time, save of a clip that is too large."""
    host.script = [form]
    ended = await engine.run((await engine.stored()).id)
    if LOST[form] is Missed.TOO_LARGE:
        assert "result_lost" == problem(ended).code
    else:
        assert CLIP == whole(engine, ended)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("plain 300000", Missed.CUT),
        (f"claims {MB + 10}", Missed.CUT),
        ("drip 0.02", Missed.SLOW),
        ("status 503", Missed.UNREACHABLE),
        ("status 429", Missed.UNREACHABLE),
    ],
)
async def test_what_passes_is_waited_for_as_long_as_the_link_may_live(
    engine: Kept, host: Host, form: str, kind: Missed
) -> None:
    """A short body, a wrong length, a drip, a busy host: for a day, a minute apart at most; then it is lost."""
    host.script = [form] * 12
    job = await engine.stored()
    for _ in range(2):
        assert State.STORING is (await engine.job(job.id)).state
        await engine.turn(seconds=60)
    assert 3 <= engine.outcomes()[kind]
    host.script = ["status 503"]
    assert State.STORING is (await engine.job(job.id)).state
    engine.now += 86_400_000
    await engine.turn()
    ended = await engine.job(job.id)
    assert (State.FAILED, "result_lost") == (ended.state, problem(ended).code)
    assert [] == list(engine.media.incoming.iterdir())


async def test_a_long_outage_loses_nothing(engine: Kept, host: Host) -> None:
    """Twenty hours without a host, past the job's own deadline, and without its provider: the last link is kept."""
    host.script = ["status 503"]
    job = await engine.stored()
    engine.silent = True
    for _ in range(20):
        host.script = ["status 502"]
        await engine.turn(seconds=3600)
        assert State.STORING is (await engine.job(job.id)).state
    assert CLIP == whole(engine, await engine.run(job.id))
    assert {f"{host.url}/0.mp4?Signature=1"} == {f"{host.url}{each.target}" for each in host.asked}


async def test_what_a_provider_says_afterwards_is_no_verdict(engine: Kept, host: Host) -> None:
    """A clip that was made is fetched from where it was said to lie, though its task has expired since."""
    host.script = ["status 503"]
    job = await engine.stored()

    async def expired(task: Task, wire: object) -> Update:
        return Update(state=TaskState.EXPIRED, task=task)

    engine.provider.poll = expired  # type: ignore[method-assign]
    assert CLIP == whole(engine, await engine.run(job.id))


async def test_what_is_kept_of_several_clips_is_not_fetched_again(engine: Kept, host: Host) -> None:
    """The second's trouble is the second's alone; where it stays lost, the first is delivered, and that is said."""
    engine.clips = 2
    host.script = ["whole", "status 404"]
    done = await engine.run((await engine.stored()).id)
    assert [0, 1] == [each.index for each in _videos(done)]
    assert ["/0.mp4", "/1.mp4", "/1.mp4"] == [each.target.partition("?")[0] for each in host.asked]

    host.script = ["whole", *["status 404"] * 50]
    half = await engine.run((await engine.accept(seed=1)).id)
    assert ([0], State.SUCCEEDED) == ([each.index for each in _videos(half)], half.state)
    told = [each.type for each in msgspec.json.decode(half.warnings, type=list[Notice])]
    assert "result_lost" in told
    assert [("available", "held"), ("held", "spent")] == await engine.money(half.id)


def _videos(job: Job) -> list[Rendition]:
    return [each for each in msgspec.json.decode(job.outputs, type=list[Rendition]) if each.kind == "video"]


async def test_a_full_disk_is_waited_for(engine: Kept, host: Host) -> None:
    """The kernel refuses to write the file: the link stays, the room is given back, and the clip is kept later."""
    host.clip = padded(8 * MB)
    with _small_files(6 * MB):
        job = await engine.stored()
        for _ in range(4):
            await engine.turn(seconds=60)
        waiting = await engine.job(job.id)
    assert State.STORING is waiting.state
    assert {"storage": 5} == engine.outcomes()
    assert [] == list(engine.media.incoming.iterdir())
    assert f"{host.url}/0.mp4?Signature=5" == msgspec.json.decode(waiting.task or "", type=Finished).assets[0].url

    assert host.clip == whole(engine, await engine.run(job.id))


async def test_no_byte_is_asked_for_that_has_no_room(engine: Kept, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is nearly full is not filled: neither by what is announced nor by a try at it."""
    engine.provider.submits.append(running("t"))
    job = await engine.accept()
    await engine.turn()  # It is ordered while there is room.
    monkeypatch.setattr(engine.media, "free_bytes", lambda: 64 * MB + 1000)
    await engine.turn(seconds=5)
    assert (1, {"storage": 1}) == (len(host.asked), engine.outcomes())
    assert [] == list(engine.media.incoming.iterdir())
    monkeypatch.setattr(engine.media, "free_bytes", lambda: 1000)
    await engine.turn(seconds=60)
    assert (1, {"storage": 2}) == (len(host.asked), engine.outcomes())
    monkeypatch.undo()
    assert CLIP == whole(engine, await engine.run(job.id))


@contextmanager
def _small_files(most: int) -> Iterator[None]:
    """Have the kernel refuse files that are larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_row_of_before_is_read() -> None:
    """A job that was being stored by an older gateway has its task alone."""
    old = msgspec.json.decode(msgspec.json.encode(Task("t", {"a": 1})), type=Finished)
    assert ("t", {"a": 1}, 0, ()) == (old.id, old.data, old.at, old.assets)
    assert Task("t", {"a": 1}) == msgspec.json.decode(msgspec.json.encode(replace(old, at=5)), type=Task)
