"""
Laws of a clip that was paid for and cannot be kept: its buyer is told where it still lies, and nobody else is; never
by a link that only we can follow, or that holds a key of ours.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import structlog
from msgspec.structs import replace

from gateway.api import answers
from gateway.clips.fetch import is_public
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Rendition
from gateway.offers.accounts import Account
from providers.base.task import AssetRef
from tests.make import listing
from tests.scripted import START, Clips, Engine, Scripted, clip, done

HOST = "https://files.acme.test"
LINK = f"{HOST}/a.mp4?Expires=9&Signature=a%2Bb"
KEY = "canary key of acme"
PAGE = (200, b"<html>Sign in</html>")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(hosts=["files.acme.test"], link_hours=10))
    built.wire.default = clip(4, (64, 36))
    built.provider.credentials = {"ACME_KEY": KEY, "ACME_REGION": "eu"}
    yield built
    built.close()


def at(engine: Engine, *links: str) -> None:
    """Let the provider put its clips there, whenever it is asked."""
    assets = tuple(AssetRef(url=link, index=index) for index, link in enumerate(links))
    engine.provider.polls = [replace(done("t"), assets=assets)] * 50


async def lost(engine: Engine) -> Job:
    """Order a clip and take its job to the end."""
    ended = await engine.run((await engine.accept()).id)
    assert State.FAILED is ended.state
    assert "result_lost" == answers.video(ended)["error"]["code"]
    return ended


async def told(engine: Engine, job: Job) -> str:
    """Write everything a client can read of a job."""
    made = [answers.attempt(each, job) for each in await engine.store.attempts(job.id)]
    return (msgspec.json.encode(answers.video(job)) + msgspec.json.encode(made)).decode()


async def test_the_link_of_a_lost_clip_is_told(engine: Engine) -> None:
    """In the video and in its attempt, with its end, which the words name too; the words alone tell no link."""
    at(engine, LINK)
    engine.wire.answers = [PAGE] * 50
    with structlog.testing.capture_logs() as logs:
        ended = await lost(engine)

    verdict = START // 1000 + 5
    error = answers.video(ended)["error"]
    links = [{"index": 0, "url": LINK, "expires_at": verdict + 36_000}]
    assert links == [*error["result_links"]]
    (attempt,) = [answers.attempt(each, ended) for each in await engine.store.attempts(ended.id)]
    assert (links, "succeeded") == ([*attempt["result_links"]], attempt["outcome"])
    assert "2027-01-15 18:00 UTC" in error["message"]
    assert ended.id in error["message"]
    assert not [each for each in (error["message"], attempt["error"], str(logs)) if "Signature" in each]


OURS_ALONE = [
    "https://acme.test/a.mp4",
    "https://acme.test:443/a.mp4",
    "http://files.acme.test/a.mp4",
    "https://elsewhere.test/a.mp4",
    f"https://user:word@{HOST[8:]}/a.mp4",
    f"{HOST}/a.mp4?key={KEY}",
    f"{HOST}/a.mp4?key={KEY.replace(' ', '%20')}",
    f"{HOST}/a.mp4?key=[hidden]",
    "https://[",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "",
]


def test_what_only_we_can_follow_is_known() -> None:
    """The account's own address, a host that is not the provider's, and a link that holds a key or held one."""
    provider = Scripted(listing(hosts=["files.acme.test"]))
    provider.credentials = {"ACME_KEY": KEY, "ACME_REGION": "mp4"}
    account = Account("a", provider, Clips(), plan="", max_running=1)
    assert is_public(account, LINK)
    assert [] == [url for url in OURS_ALONE if is_public(account, url)]


@pytest.mark.parametrize("link", OURS_ALONE[::5])
async def test_what_only_we_can_follow_is_not_told(engine: Engine, link: str) -> None:
    """Neither in the video nor in its attempt; nor do the words speak of it."""
    at(engine, link)
    engine.wire.answers = [PAGE] * 50
    said = await told(engine, await lost(engine))
    assert link not in said
    assert "GET /v1" not in said
    assert '"result_links":[{' not in said


async def test_a_link_that_is_dead_is_not_told(engine: Engine) -> None:
    """Its host says that nothing lies there any more."""
    at(engine, LINK)
    engine.wire.answers = [(404, b"")] * 50
    assert LINK not in await told(engine, await lost(engine))


@pytest.mark.parametrize("ours", [True, False])
async def test_a_link_whose_time_is_over(engine: Engine, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    """It is told where our own storage was all that was wrong: nobody has seen it die."""
    at(engine, LINK)
    engine.wire.answers = [(503, b"")] * 50
    job = await engine.accept()
    await engine.turn()  # It is ordered while there is room.
    if ours:
        monkeypatch.setattr(engine.media, "free_bytes", lambda: 0)
    for _ in range(3):
        await engine.turn(seconds=60)
    assert State.STORING is (await engine.job(job.id)).state
    engine.now += 36_000_000
    await engine.turn()

    ended = await engine.job(job.id)
    assert State.FAILED is ended.state
    assert ours is (LINK in await told(engine, ended))


async def test_of_several_clips_the_lost_one_is_told(engine: Engine) -> None:
    """The first one's trouble does not cost the second, which is kept; of the first the warning says where it lies."""
    at(engine, LINK, f"{HOST}/b.mp4")
    engine.wire.answers = [PAGE, (200, engine.wire.default), *[PAGE] * 50]
    ended = await engine.run((await engine.accept()).id)

    assert State.SUCCEEDED is ended.state
    kept = msgspec.json.decode(ended.outputs, type=list[Rendition])
    assert [1] == [each.index for each in kept if each.kind == "video"]
    (warning,) = [each for each in msgspec.json.decode(ended.warnings) if each["type"] == "result_lost"]
    assert [(0, LINK)] == [(each["index"], each["url"]) for each in warning["result_links"]]
    assert "Signature" not in warning["details"]
    (attempt,) = [answers.attempt(each, ended) for each in await engine.store.attempts(ended.id)]
    assert warning["result_links"] == [*attempt["result_links"]]


NEW = "https://cdn.acme.example/a.mp4?Signature=a%2Bb"


async def test_a_clip_at_a_host_nobody_named_waits_for_an_operator(engine: Engine) -> None:
    """It is never dialled, and the log says what to name where; named, it is kept, though it lay there for hours."""
    at(engine, NEW)
    engine.wire.answers = [AssertionError("dialled")] * 50  # type: ignore[list-item]
    account, job = engine.accounts["acme"], await engine.accept()
    with structlog.testing.capture_logs() as logs:
        for seconds in (60, 60, *[3600] * 8):
            await engine.turn(seconds=seconds)

    assert State.STORING is (await engine.job(job.id)).state
    assert {("error", "unlisted")} == {(each["log_level"], each["kind"]) for each in logs if "kind" in each}
    told_why = {each["reason"] for each in logs if each["event"] == "clip.missed"}
    why = "neither the listing of Acme nor clip_hosts of the account acme names"
    assert {f"its address is at cdn.acme.example, which {why}"} == told_why
    assert 50 == len(engine.wire.answers)

    engine.wire.answers = []
    account.listing = replace(account.listing, hosts=[*account.listing.hosts, "cdn.acme.example"])
    assert State.SUCCEEDED is (await engine.run(job.id)).state


async def test_a_clip_at_a_host_nobody_names_is_lost_with_its_link(engine: Engine) -> None:
    """Once the link has lived as long as it may, its job ends; who else may fetch it is not said."""
    at(engine, NEW)
    job = await engine.accept()
    for seconds in (60, 60, 36_000, 60):
        await engine.turn(seconds=seconds)

    ended = await engine.job(job.id)
    assert "result_lost" == answers.video(ended)["error"]["code"]
    assert NEW not in await told(engine, ended)


async def test_what_passes_comes_before_what_does_not(engine: Engine) -> None:
    """While one clip may yet come nothing is given up, however often another was something else."""
    at(engine, LINK, f"{HOST}/b.mp4")
    engine.wire.answers = [each for _ in range(8) for each in (PAGE, (503, b""))] + [PAGE]
    ended = await engine.run((await engine.accept()).id)

    assert State.SUCCEEDED is ended.state
    assert [1, 0] == [each["index"] for each in answers.video(ended)["outputs"] if each["kind"] == "video"]
