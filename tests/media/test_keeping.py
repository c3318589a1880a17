"""Laws of keeping: there before the job says so, nothing to be seen of what died half-way, no litter left."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import obstore
import pytest
from structlog.testing import capture_logs

from gateway.api.calls import remove_clips
from gateway.clips import bucket
from gateway.clips.cleaning import Cleaner
from gateway.clips.media import clip_folder, input_key
from gateway.clips.parts import take
from gateway.clips.shelf import GoneError, Label
from gateway.door.accept import Repeat
from gateway.engine.collecting import Collector
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Problem, Rendition
from gateway.store.registry import File
from providers.base.order import Input, Role
from providers.base.wire import Call, Download
from tests import objects
from tests.make import listing
from tests.scripted import Engine, clip, done

HOUR = 3600.0
PART_2 = "partNumber=2"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an object store one more chance only."""
    monkeypatch.setitem(bucket.RETRIES, "max_retries", 1)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    built.wire.default = clip(8, (64, 36))
    yield built
    built.close()


@pytest.fixture
def only_bucket(shelf_kind: objects.Kind) -> None:
    if shelf_kind == "folder":
        pytest.skip("a folder is not reached through anything that can fail")


def padded(size: int) -> bytes:
    """Make a clip of at least a size: the rest is an atom players pass over."""
    made = clip(8, (64, 36))
    return made + size.to_bytes(4) + b"free" + bytes(size - 8)


async def keys(engine: Engine, folder: str = "clips") -> set[str]:
    """List what lies on the shelf."""
    return {each.key async for each in engine.media.shelf.walk(folder)}


def kept(job: Job) -> list[Rendition]:
    return msgspec.json.decode(job.outputs, type=list[Rendition])


async def hand_in(engine: Engine, data: bytes) -> Input:
    """Keep a picture as a call would."""
    sha256, _, path = await engine.media.keep_bytes([data])
    await engine.media.keep_input(path, sha256, "image/png")
    return Input(role=Role.FIRST_FRAME, media_type="image/png", sha256=sha256, size=len(data))


async def test_what_a_job_says_it_keeps_is_there(engine: Engine) -> None:
    """Clip and drawings of every index, each as long and of the hash it says; nothing lies around."""
    two = done("t")
    both = (*two.assets, msgspec.structs.replace(two.assets[0], index=1))
    engine.provider.polls = [msgspec.structs.replace(two, assets=both)]
    job = await engine.run((await engine.accept()).id)

    assert await keys(engine) == {each.path for each in kept(job)}
    assert [(each.index, each.kind) for each in kept(job)] == [
        (index, kind) for index in (0, 1) for kind in ("video", "thumbnail", "spritesheet", "last_frame")
    ]
    for each in kept(job):
        data = await engine.media.whole(each)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (each.bytes, each.sha256)
    assert [] == list(engine.media.incoming.iterdir())


@pytest.mark.parametrize("body", [b"", b"<html>not a clip</html>", clip()[:2000]])
async def test_what_is_no_clip_is_not_kept(engine: Engine, body: bytes) -> None:
    """It is asked for again, and nothing of it lies anywhere."""
    engine.wire.answers = [(200, body)] * 50
    ended = await engine.run((await engine.accept()).id)

    assert ended.state is State.FAILED
    assert set() == await keys(engine)
    assert [] == list(engine.media.incoming.iterdir())


async def test_clips_go_when_their_time_is_over(engine: Engine) -> None:
    """Their job stays, and says that they are gone."""
    job = await engine.run((await engine.accept()).id)
    await engine.turn(seconds=3601)
    after = await engine.job(job.id)

    assert set() == await keys(engine)
    assert (after.state, after.outputs, after.due_at) == (State.SUCCEEDED, "[]", None)


@pytest.mark.usefixtures("only_bucket")
async def test_an_upload_that_dies_half_way_shows_nothing(engine: Engine, tmp_path: Path) -> None:
    """Of a clip sent in parts one does not arrive: no clip is there, the job goes on, and ends once it can."""
    engine.wire.default = padded(9 * 2**20)
    job = await engine.accept()
    asked: list[str] = []

    def trouble(method: str, target: str) -> bool:
        asked.append(f"{method} {target}")
        return method == "PUT" and PART_2 in target

    with objects.store().troubled(trouble):
        await engine.turn()
        await engine.turn(seconds=60)
    seen = await engine.job(job.id)

    assert sum(PART_2 in each for each in asked) == 2
    assert (seen.state, seen.outputs, seen.tries) == (State.STORING, "[]", 1)
    assert set() == await keys(engine)
    assert [] == objects.store().unfinished(str(tmp_path))
    assert {".part"} == {each.suffix for each in engine.media.incoming.iterdir()} - {".mark"}

    ended = await engine.run(job.id)
    assert ended.state is State.SUCCEEDED
    assert await engine.media.whole(kept(ended)[0]) == engine.wire.default
    assert len(engine.provider.ledger) == 1


@pytest.mark.usefixtures("only_bucket")
async def test_a_clip_waits_for_its_shelf(engine: Engine) -> None:
    """While our own store is away the clip stays where it is, longer than a dead link is believed in."""
    job = await engine.accept()
    with objects.store().troubled(lambda method, _: method == "PUT"):
        for _ in range(8):
            await engine.turn(seconds=61)
        seen = await engine.job(job.id)
        assert seen.state is State.STORING
        assert seen.tries > 5

    assert (await engine.run(job.id)).state is State.SUCCEEDED


async def test_inputs_are_at_hand_while_ordered(tmp_path: Path) -> None:
    """Whoever orders finds each input as a file; where it lies elsewhere nothing is left of that file."""
    engine = Engine(tmp_path, listing())
    given = await hand_in(engine, b"picture")
    found: list[bytes] = []
    submit = engine.provider.submit

    async def watched(order: object, wire: object) -> object:
        found.extend(path.read_bytes() for path in order.files.values())  # type: ignore[attr-defined]
        return await submit(order, wire)  # type: ignore[arg-type]

    engine.provider.submit = watched  # type: ignore[method-assign, assignment]
    job = await engine.run((await engine.accept(inputs=(given,))).id)

    assert job.state is State.SUCCEEDED
    assert [b"picture"] == found
    assert [] == list(engine.media.incoming.iterdir())
    engine.close()


@pytest.mark.usefixtures("only_bucket")
async def test_nothing_is_bought_before_the_inputs_are_at_hand(engine: Engine) -> None:
    """While they cannot be reached the job waits; then it is bought, once."""
    job = await engine.accept(inputs=(await hand_in(engine, b"picture"),))
    with objects.store().troubled(lambda method, _: method in {"GET", "HEAD"}):
        await engine.turn()
        await engine.turn(seconds=61)
        seen = await engine.job(job.id)

    assert (seen.state, seen.attempts, engine.provider.ledger) == (State.QUEUED, 0, [])
    assert (await engine.run(job.id)).state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 1


async def test_an_input_that_is_gone_ends_its_job_unbought(engine: Engine) -> None:
    """It says what to do, and nothing was paid."""
    given = await hand_in(engine, b"picture")
    job = await engine.accept(inputs=(given,))
    await engine.media.shelf.remove([input_key(given.sha256)])
    ended = await engine.run(job.id)

    assert ended.state is State.FAILED
    assert msgspec.json.decode(ended.error or "", type=Problem).code == "input_lost"
    assert [] == engine.provider.ledger


@pytest.mark.usefixtures("only_bucket")
async def test_a_deleted_clip_goes_once_it_can(engine: Engine) -> None:
    """What could not be removed when its job was deleted, a worker removes."""
    job = await engine.run((await engine.accept()).id)
    await engine.store.delete(job.id, "tenant")
    desk = SimpleNamespace(media=engine.media, store=engine.store, clock=engine.clock, wake=lambda: None)
    with objects.store().troubled(lambda method, target: method == "POST" and "delete" in target):
        await remove_clips(desk, job.id)  # type: ignore[arg-type]
        await engine.turn()
        assert len(await keys(engine)) == 4
    await engine.turn(seconds=61)

    assert set() == await keys(engine)


# What nobody has


def cleaner(engine: Engine, *, now: int | None = None) -> Cleaner:
    """Look for litter as a worker whose clips are kept for a day would."""
    return Cleaner(engine.media, engine.store, (lambda: now) if now else engine.clock, retention_ms=86_400_000)


async def litter(engine: Engine, **options: int) -> dict[str, str]:
    return {each.name: each.kind async for each in cleaner(engine, **options).litter(seconds=HOUR)}


async def lost_inputs(engine: Engine) -> set[str]:
    return {name for name, kind in (await litter(engine)).items() if kind == "input"}


async def sweep(engine: Engine) -> None:
    """Remove what is litter."""
    each = cleaner(engine)
    for found in [one async for one in each.litter(seconds=HOUR)]:
        assert await each.remove(found, seconds=HOUR)


async def test_a_cleaner_outlives_a_bug_of_its_own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a round raises, the next is made; else expired uploads and keys would lie there for ever."""
    monkeypatch.setattr("gateway.clips.cleaning.EVERY_SECONDS", 0.001)
    each, asked = cleaner(engine), list[str]()
    again = asyncio.Event()

    async def broken(sweep: str) -> int:
        asked.append(sweep)
        if len(asked) == 1:
            raise TypeError("a bug")
        if len({*asked}) == 2:
            again.set()
        return 0

    monkeypatch.setattr(each, "expire", broken)
    with capture_logs() as logs:
        task = asyncio.create_task(each.run())
        async with asyncio.timeout(20):
            await again.wait()
        task.cancel()

    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["cleaning.crashed"]


async def test_what_a_row_points_to_is_no_litter(engine: Engine) -> None:
    """Clips of a finished job, inputs of jobs under way, ended lately, or of a file: all of that stays."""
    first, second, third = [await hand_in(engine, each) for each in (b"one", b"two", b"three")]
    await engine.run((await engine.accept(inputs=(first,))).id)
    await engine.accept(inputs=(second,))
    await engine.store.add_file(File("file_1", "tenant", "f", "vision", "image/png", third.sha256, 5, 1, 1, 0))

    assert {} == await litter(engine)


async def test_what_no_row_points_to_is_removed(engine: Engine) -> None:
    """Clips of deleted jobs and of none, strays beside a kept clip, inputs nobody has; the rest stays as it is."""
    stays, goes = [await engine.run((await engine.accept(seed=seed)).id) for seed in (1, 2)]
    used, unused = [await hand_in(engine, each) for each in (b"one", b"two")]
    await engine.accept(inputs=(used,))
    await engine.store.delete(goes.id, "tenant")
    for stray in (f"{clip_folder(stays.id)}/0.mov", f"{clip_folder('video_' + 'a' * 32)}/0.mp4"):
        await engine.media.shelf.copy(kept(stays)[0].path, stray)
    expected = {f"{clip_folder(stays.id)}/0.mov": "clip", f"{clip_folder('video_' + 'a' * 32)}/0.mp4": "clip"}
    expected |= {each.path: "clip" for each in kept(goes)} | {input_key(unused.sha256): "input"}

    assert expected == await litter(engine)
    await sweep(engine)
    assert {each.path for each in kept(stays)} == await keys(engine)
    assert {input_key(used.sha256)} == await keys(engine, "inputs")


async def test_inputs_go_with_what_was_made_of_them(engine: Engine) -> None:
    """Once the clips' time is over, or their job was deleted, their inputs are litter as well."""
    expiring, deleted, failed = [await hand_in(engine, each) for each in (b"one", b"two", b"three")]
    await engine.run((await engine.accept(inputs=(expiring,))).id)
    gone = await engine.run((await engine.accept(inputs=(deleted,))).id)
    engine.wire.answers = [(404, b"")] * 50
    await engine.run((await engine.accept(inputs=(failed,))).id)
    engine.wire.answers = []
    assert {} == await litter(engine)
    await engine.store.delete(gone.id, "tenant")
    assert {input_key(deleted.sha256)} == await lost_inputs(engine)
    engine.now += 2 * 3_600_000
    await engine.turn()
    assert {input_key(each.sha256) for each in (deleted, expiring)} == await lost_inputs(engine)
    engine.now += 86_400_000
    assert {input_key(each.sha256) for each in (deleted, expiring, failed)} == await lost_inputs(engine)


async def test_what_is_young_is_let_be(engine: Engine) -> None:
    """Whoever has just put something there may be about to name it; and what is found may be put there anew."""
    given = await hand_in(engine, b"one")
    now = time.time_ns() // 1_000_000
    assert {} == await litter(engine, now=now + 60_000)
    assert {input_key(given.sha256): "input"} == await litter(engine, now=now + 3_700_000)

    late = cleaner(engine, now=now + 60_000)
    (found,) = [each async for each in cleaner(engine).litter(seconds=HOUR)]
    assert not await late.remove(found, seconds=HOUR)
    assert {input_key(given.sha256)} == await keys(engine, "inputs")


async def test_what_never_arrived_whole_is_litter(engine: Engine) -> None:
    """After an hour without a byte; what still grows is not."""
    old, young = engine.media.incoming / "old.part", engine.media.incoming / "young.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))

    assert {"old.part": "arrival"} == await litter(engine)
    await sweep(engine)
    assert [young] == list(engine.media.incoming.iterdir())


async def test_uploads_expire(engine: Engine) -> None:
    """Nobody finds one any more whose time is over, and it is forgotten with the next sweep."""
    for number, expires in enumerate((None, engine.now + 1000, engine.now + 5000)):
        file = File(f"file_{number}", "tenant", "f", "vision", "image/png", "ab", 5, 1, 1, 0, 0.0, expires)
        await engine.store.add_file(file)
    engine.now += 1000

    assert await engine.store.file("file_1", "tenant") is None
    found, _ = await engine.store.files("tenant", after=None, limit=9, newest_first=False)
    assert ["file_0", "file_2"] == [each.id for each in found]
    assert 1 == await cleaner(engine).expire("files_sweep")
    assert 0 == await cleaner(engine).expire("files_sweep")


# What is litter but for a moment

LATER = 2 * HOUR


def later(engine: Engine) -> Cleaner:
    """Look for litter as if all that is there had lain there for two hours."""
    engine.media._clock = lambda: time.time() + LATER
    return cleaner(engine, now=int((time.time() + LATER) * 1000))


async def gone(each: Cleaner) -> set[str]:
    """Remove what is litter; says what went."""
    return {one.name async for one in each.litter(seconds=HOUR) if await each.remove(one, seconds=HOUR)}


async def test_a_clip_on_its_way_is_nobody_s_litter(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old it looks: while its bytes come, once it is whole, and before the row that names it is kept."""
    each, went = later(engine), set[str]()
    chunks = [engine.wire.default[:400], engine.wire.default[400:]]

    @asynccontextmanager
    async def slowly(call: Call) -> AsyncIterator[Download]:
        async def pieces() -> AsyncIterator[bytes]:
            for chunk in chunks:
                went.update(await gone(each))
                yield chunk
            went.update(await gone(each))

        yield Download(status=200, headers={}, chunks=pieces())

    deliver = Collector.deliver

    async def unhurried(*args: object) -> None:
        assert 4 == len(await keys(engine))
        went.update(await gone(each))
        await deliver(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.wire, "stream", slowly)
    monkeypatch.setattr(Collector, "deliver", unhurried)
    ended = await engine.run((await engine.accept()).id)

    assert set() == went
    assert engine.wire.default == await engine.media.whole(kept(ended)[0])
    assert set() == await gone(each)


@pytest.mark.usefixtures("only_bucket")
async def test_a_whole_clip_that_waits_for_its_shelf_is_let_be(engine: Engine) -> None:
    """For hours: every try takes it up again, so that it is fetched once."""
    fetched = 0

    @asynccontextmanager
    async def counted(call: Call) -> AsyncIterator[Download]:
        nonlocal fetched
        headers = {"etag": '"a"', "content-length": str(len(engine.wire.default))}
        asked, body, status = call.headers.get("range"), engine.wire.default, 200
        if asked:
            headers, body, status = {"content-range": f"bytes */{len(body)}"}, b"", 416
        fetched += not asked

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        yield Download(status=status, headers=headers, chunks=pieces())

    engine.wire.stream = counted  # type: ignore[method-assign]
    job = await engine.accept()
    await engine.turn()
    part = engine.media.incoming / f"{job.id}-0.part"
    with objects.store().troubled(lambda method, _: method == "PUT"):
        for _ in range(4):
            await engine.turn(seconds=61)
            assert time.time() - 60 < part.stat().st_mtime
            engine.media.clear()
            os.utime(part, (1, 1))
    assert State.SUCCEEDED is (await engine.run(job.id)).state
    assert 1 == fetched


async def test_a_part_somebody_writes_is_not_swept(engine: Engine) -> None:
    """Nor one that is taken up between the look and the removal."""
    each = later(engine)
    held = take(engine.media.incoming, "video-0")
    assert set() == await gone(each)
    held.close()
    (found,) = [one async for one in each.litter(seconds=HOUR)]
    engine.media._clock = time.time
    assert not await each.remove(found, seconds=HOUR)
    later(engine)
    assert {"video-0.part"} == await gone(each)


async def test_bytes_whose_row_is_not_there_yet(engine: Engine) -> None:
    """An upload is let be for an hour, in which its row comes; then it is for the file's sake."""
    given = await hand_in(engine, b"one")
    assert set() == await gone(cleaner(engine, now=int((time.time() + HOUR - 60) * 1000)))
    await engine.store.add_file(File("file_1", "tenant", "f", "vision", "image/png", given.sha256, 3, 1, 1, 0))
    assert set() == await gone(later(engine))


async def test_what_arrived_slowly_is_young_once_it_is_kept(engine: Engine) -> None:
    """How long its bytes took to come, or lay here, says nothing of since when they lie there."""
    sha256, _, path = await engine.media.keep_bytes([b"slow"])
    os.utime(path, (time.time() - LATER, time.time() - LATER))
    await engine.media.keep_input(path, sha256, "image/png")
    assert {} == await litter(engine, now=int(time.time() * 1000))


async def test_a_file_that_goes_as_it_is_named(engine: Engine) -> None:
    """Its row is deleted before the job that names it is kept: what it had is young again by then."""
    given = await hand_in(engine, b"one")
    each = later(engine)
    (found,) = [one async for one in each.litter(seconds=HOUR)]
    before = await engine.media.shelf.find(found.name)
    await engine.media.refresh(given.sha256)
    after = await engine.media.shelf.find(found.name)
    assert before is not None
    assert after is not None
    assert after.modified >= before.modified
    assert {input_key(given.sha256)} == await keys(engine, "inputs")
    assert b"one" == b"".join([piece async for piece in engine.media.shelf.read(found.name, 0, 3)])
    with pytest.raises(GoneError):
        await engine.media.refresh("ab" * 32)


async def test_inputs_of_a_call_that_lost_its_race(engine: Engine) -> None:
    """Of two calls of one Idempotency-Key the loser's own picture goes; the one both had stays, as the winner's."""
    both, mine = await hand_in(engine, b"both"), await hand_in(engine, b"fetched a second time")
    repeat = Repeat("key")
    winner = await engine.accept(repeat, inputs=(both,))
    assert winner.id == (await engine.accept(repeat, inputs=(both,))).id
    assert {input_key(mine.sha256)} == await gone(later(engine))
    assert State.SUCCEEDED is (await engine.run(winner.id)).state


async def test_what_is_put_there_as_it_is_removed_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal somebody brings the same bytes, and names them: the job has them, and a file."""
    given = await hand_in(engine, b"one")
    each, rename, delete = later(engine), Path.rename, obstore.delete_async
    (found,) = [one async for one in each.litter(seconds=HOUR)]
    _, _, anew = await engine.media.keep_bytes([b"one"])
    future = time.time() + LATER

    def raced_in_folder(path: Path, target: Path) -> Path:
        if anew.exists():
            os.utime(rename(anew, path), (future, future))
        return rename(path, target)

    async def raced_in_bucket(*args: Any) -> None:
        if anew.exists():
            await engine.media.shelf.put(anew, found.name, Label("image/png"))
        await delete(*args)

    monkeypatch.setattr(Path, "rename", raced_in_folder)
    monkeypatch.setattr(obstore, "delete_async", raced_in_bucket)
    await each.remove(found, seconds=HOUR)
    assert not anew.exists()
    await engine.store.add_file(File("file_1", "tenant", "f", "vision", "image/png", given.sha256, 3, 1, 1, 0))

    place = await engine.media.place_of(given.sha256)
    assert b"one" == b"".join([piece async for piece in engine.media.shelf.read(place, 0, 3)])
    assert set() == await gone(later(engine)), "it has a name by now"
    assert State.SUCCEEDED is (await engine.run((await engine.accept(inputs=(given,))).id)).state
    await engine.media.refresh(given.sha256)
    assert {input_key(given.sha256)} == await keys(engine, "inputs")


async def test_what_was_set_aside_goes_an_hour_later(engine: Engine) -> None:
    """If nobody names it by then; nothing is left of it."""
    given = await hand_in(engine, b"one")
    each = later(engine)
    (found,) = [one async for one in each.litter(seconds=HOUR)]
    assert await each.remove(found, seconds=HOUR)
    assert {} == await litter(engine, now=int(time.time() * 1000))
    await gone(each)
    assert set() == await keys(engine, "")
    with pytest.raises(GoneError):
        await engine.media.refresh(given.sha256)


async def test_a_run_that_takes_hours_removes_nothing_named_meanwhile(engine: Engine) -> None:
    """What was taken up after it was found looks old again by the time its turn comes, and is not."""
    given = await hand_in(engine, b"one")
    (found,) = [one async for one in later(engine).litter(seconds=HOUR)]
    found = msgspec.structs.replace(found, modified=found.modified - int(HOUR * 1000))
    await engine.media.refresh(given.sha256)
    assert not await later(engine).remove(found, seconds=HOUR)
    assert {input_key(given.sha256)} == await keys(engine, "inputs")
