"""Laws of what is in doubt, as an operator sees it: listed until somebody can tell, and decided by a word."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.jobs import adopt_, evidence, in_doubt, orphans, settle_, unknown
from gateway.jobs.job import State
from gateway.jobs.wish import Preferences
from gateway.store.evidence import Kind, keep
from gateway.store.orphans import Orphan, note
from providers.base.errors import Indeterminate
from tests import databases
from tests.make import listing, price
from tests.scripted import Engine, running


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A gateway's store, where the commands look for it."""
    monkeypatch.setenv("REELGATE__STORE__URL", databases.url_of(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Engine(tmp_path, listing(prices=[price("0.05")], deadline_seconds=600, poll_seconds=60))


async def order(engine: Engine) -> tuple[str, str]:
    """Order a clip whose answer is lost, and one that is never ready."""
    engine.provider.submits = [Indeterminate("silence"), running("t-7")]
    engine.provider.polls = [running("t-7")] * 99
    lost, late = await engine.accept(), await engine.accept(seed=1)
    await engine.turn()
    return lost.id, late.id


def test_what_is_in_doubt_is_listed_until_somebody_can_tell(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """First the lost order alone is open; then both have failed, and may have been charged."""
    lost, late = asyncio.run(order(engine))
    capsys.readouterr()  # What was logged.
    unknown()
    in_doubt()
    said = capsys.readouterr().out
    assert f"{lost}  acme:maker/one  acme  $0.4000  since 2027-" in said
    assert late not in said
    assert "1 unknown\n0 in doubt" in said

    asyncio.run(engine.run(late))
    capsys.readouterr()
    unknown()
    in_doubt()
    said = capsys.readouterr().out
    assert "0 unknown" in said
    assert "2 in doubt" in said
    assert "submission_unknown  no task known" in said
    assert f"{late}  acme:maker/one  acme  $0.4000  since 2027-" in said
    assert "deadline_exceeded  task t-7" in said

    settle_(late, usd="0.25")
    in_doubt()
    said = capsys.readouterr().out
    assert f"{late} cost $0.25" in said
    assert "1 in doubt" in said
    with pytest.raises(SystemExit):
        main(["jobs", "settle", late, "--usd", "0.25"])
    assert f"the money of {late} is not in doubt" in capsys.readouterr().err
    engine.close()


def test_an_order_given_up_for_another_is_listed_and_decided(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its attempt, beside a video that is well; its task is named, or its bill, like any other's."""

    async def lose(seed: int) -> str:
        engine.provider.submits = [Indeterminate("silence")]
        job = await engine.accept(preferences=Preferences(on_unknown="resubmit"), seed=seed)
        ended = await engine.run(job.id)
        assert ended.state is State.SUCCEEDED
        return ended.id

    found, billed = asyncio.run(lose(1)), asyncio.run(lose(2))
    first = asyncio.run(engine.store.attempts(found))[0].id
    capsys.readouterr()
    in_doubt()
    said = capsys.readouterr().out
    assert f"ordered again, attempt {first} given up  no task known" in said
    assert "2 in doubt" in said

    adopt_(found, "t-1")
    settle_(billed, usd="0.10")
    in_doubt()
    said = capsys.readouterr().out
    assert f"{billed} cost $0.1" in said
    assert "given up  task t-1" in said
    assert "1 in doubt" in said
    asyncio.run(engine.turn(seconds=1))
    capsys.readouterr()
    in_doubt()
    orphans()
    said = capsys.readouterr().out
    assert "0 in doubt" in said
    assert f"{first}  acme  task t-1  {found}" in said
    engine.close()


def test_what_nobody_could_read_is_shown_to_operators(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Its beginning beside the order that is in doubt, whole by its video; it commands no terminal."""

    async def lose() -> str:
        lost, _ = await order(engine)
        attempt = (await engine.job(lost)).attempt or ""
        said = f"HTTP 200 text/html: \x1b[2J task-4711\n{'x' * 600} the end"
        await engine.store.database.write(keep(attempt, Kind.ANSWER, said, engine.now))
        return lost

    lost = asyncio.run(lose())
    capsys.readouterr()
    unknown()
    listed = capsys.readouterr().out
    assert "    answer: HTTP 200 text/html: [2J task-4711 xxx" in listed
    assert "the end" not in listed
    asyncio.run(engine.run(lost))
    capsys.readouterr()
    in_doubt()  # Where it is once the order was given up.
    assert "    answer: HTTP 200 text/html: [2J task-4711 xxx" in capsys.readouterr().out
    evidence(lost)
    shown = capsys.readouterr().out
    assert "the end\n1 kept\n" in shown
    assert "\x1b" not in listed + shown
    with pytest.raises(SystemExit):
        main(["jobs", "evidence", "video_none"])
    engine.close()


def test_a_task_that_is_nobodys_is_listed_until_it_is_seen_to(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor finds it, too; it commands no terminal."""
    made = Orphan(attempt="att_1", task="t-7\x1b[2J", account="acme", job="", found_at=engine.now)
    asyncio.run(note(engine.store.database, made))
    capsys.readouterr()
    orphans()
    said = capsys.readouterr().out
    assert "att_1  acme  task t-7 [2J  video unknown  found 2027-" in said
    assert "1 ownerless" in said
    for code in (1, 0):
        with pytest.raises(SystemExit) as end:
            main(["doctor"])
        assert end.value.code == code
        assert ("FOUND  task_ownerless" in capsys.readouterr().out) is bool(code)
        if code:
            orphans(seen="att_1")
    with pytest.raises(SystemExit):
        main(["jobs", "orphans", "--seen", "att_1"])
    assert "no task of att_1 is on the list" in capsys.readouterr().err
    engine.close()
