"""Laws of forgetting by hand: it says first what would go, and afterwards a gateway knows nothing of it."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.cli import main
from gateway.clock import DAY_MS
from gateway.jobs.job import State
from providers.base.task import Task, Update
from providers.base.wire import Wire
from tests import databases
from tests.make import listing, price
from tests.scripted import Engine, clip, done, running
from tests.server import Server, eventually

TENANT = "local"
"""Whose videos they are where there is no key."""


def day(days_ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days_ago):%Y-%m-%d}"


@pytest.fixture(params=databases.KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A gateway that is yet to be started, where a video ended 20 days ago, one was left in doubt, one is young."""
    with databases.using(request.param):
        made = Server(tmp_path, REELGATE__MEDIA__URL=f"file:///{tmp_path}/media")
        asyncio.run(past(tmp_path))
    yield made
    if made.running():
        made.stop()


async def past(folder: Path) -> None:
    engine = Engine(folder, listing(prices=[price("0.05")], deadline_seconds=600, poll_seconds=60))

    async def poll(task: Task, wire: Wire) -> Update:
        return running(task.id) if task.id == "doubted" else done(task.id)

    engine.wire.default = clip(8, (64, 36))
    engine.provider.poll = poll  # type: ignore[method-assign]
    engine.use(replace(engine.tools, retention_ms=0))
    engine.now = time.time_ns() // 1_000_000 - 20 * DAY_MS
    for kind in ("old", "doubted", "young"):
        if kind == "young":
            engine.now += 18 * DAY_MS
        engine.provider.submits = [running(kind)]
        job = await engine.accept(tenant=TENANT, prompt=f"a canary, {kind}")
        while (found := await engine.store.job(job.id, TENANT)) and not found.state.final:
            if not await engine.turn():
                engine.now = max(engine.now, await engine.store.next_due() or 0)
        assert found is not None
        assert (State.FAILED if kind == "doubted" else State.SUCCEEDED) is found.state
        (folder / kind).write_text(job.id)
    engine.close()


def test_old_videos_are_forgotten_by_hand(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that had ended before a day; what is in doubt, and what is younger, stays."""
    old, doubted, young = ((server.folder / name).read_text() for name in ("old", "doubted", "young"))
    clips = server.folder / "media" / "clips"
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(server.folder)

    def say(*words: str) -> str:
        """Run a command, and read what it says."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code
        return capsys.readouterr().out

    reports = (("spend", "--by", "provider,model,key,account,day"), ("compare", "--by", "provider,model,account,key"))
    before = [say(*each, "--since", day(40), "--json") for each in reports]
    assert '"usd": 0.4' in before[0]
    asked = ("jobs", "forget", "--before", day(10))
    would = say(*asked, "--dry-run")
    assert would == "1 would be forgotten\n1 kept: nobody can tell yet what it cost; reelgate jobs in-doubt\n"
    assert [*clips.glob(f"*/{old}")] != []
    assert say(*asked) == would.replace("would be forgotten", "forgotten")
    assert [*clips.glob(f"*/{old}")] == []
    assert [*clips.glob(f"*/{young}")] != []
    assert before == [say(*each, "--since", day(40), "--json") for each in reports]
    assert "FOUND" not in say("doctor")

    server.start()
    gone, never = (server.get(f"/v1/videos/{id_}") for id_ in (old, f"video_{'0' * 32}"))
    assert (404, 404) == (gone.status_code, never.status_code)
    assert gone.json()["error"]["code"] == never.json()["error"]["code"]
    listed = server.get(f"/v1/videos?order=asc&after={old}").json()["data"]
    assert [each["id"] for each in listed] == [doubted, young]
    assert server.get(f"/v1/videos?after=video_{'f' * 32}").status_code == 400
    source = {"model": "sandbox/demo", "prompt": "on", "video": {"id": old}}
    assert server.post("/v1/videos/extensions", source).status_code == 404


def test_a_gateway_forgets_by_itself_where_it_is_told_to(server: Server) -> None:
    """It says how many, in its log and its metrics; by default it forgets nothing."""
    old, doubted, young = ((server.folder / name).read_text() for name in ("old", "doubted", "young"))
    server.module = "tests.hasty"
    server.environ["REELGATE__STORE__RETENTION_DAYS"] = "10"
    server.start()
    eventually(lambda: server.get(f"/v1/videos/{old}").status_code == 404)
    eventually(lambda: "reelgate_jobs_forgotten_total 1.0" in server.get("/metrics").text)

    assert (200, 200) == tuple(server.get(f"/v1/videos/{id_}").status_code for id_ in (doubted, young))
    eventually(lambda: '"count":1,"event":"jobs.forgotten"' in server.log.read_text())


@pytest.mark.parametrize(("before", "said"), [("tomorrow", "no day"), ("2026-13-01", "no day"), (day(-2), "to come")])
def test_a_day_that_cannot_be_meant_is_refused(
    before: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is forgotten."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["jobs", "forget", "--before", before])
    assert said in capsys.readouterr().err
