"""Laws of a newer program beside an older one: it may add columns, and whoever is older goes on without them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.door.accept import Repeat
from gateway.engine.findings import waiting_for
from gateway.engine.worker import Worker
from gateway.jobs.job import Job, State
from gateway.store.database import StoreUnavailableError
from providers.base.errors import Indeterminate
from tests import databases
from tests.make import listing
from tests.scripted import Engine, running

TABLES = ("jobs", "attempts", "entries", "budgets", "keys", "files", "endpoints", "deliveries", "tries", "idempotency")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    yield built
    built.close()


def widen(folder: Path) -> None:
    """Do to every table what a later migration would."""
    run(folder, "; ".join(f"ALTER TABLE {table} ADD COLUMN future TEXT" for table in TABLES))


def run(folder: Path, script: str) -> None:
    """Do something to a database behind the gateway's back."""
    url = databases.url_of(folder)
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            file.executescript(script)
        file.close()
    else:
        databases.server().run(script, database=url.rpartition("/")[2].partition("?")[0])


async def patient(engine: Engine, id_: str) -> Job:
    """Run a job as a worker does, which comes again where the store did not answer once."""
    for _ in range(20):
        try:
            return await engine.run(id_)
        except StoreUnavailableError:
            engine.now += 61_000
    raise AssertionError(await engine.job(id_))


async def test_who_is_older_ends_its_jobs_in_a_newer_database(engine: Engine) -> None:
    """Under way, or accepted after: made, told of and paid for once."""
    engine.provider.submits = [running("t0", poll_after=5.0)]
    first = await engine.accept(Repeat(key="k"))
    await engine.turn()
    widen(engine.folder)
    second = await engine.accept(seed=1)
    ended = [await patient(engine, each.id) for each in (first, second)]

    assert [each.state for each in ended] == [State.SUCCEEDED] * 2
    assert (await engine.accept(Repeat(key="k"))).id == first.id
    assert len(engine.provider.ledger) == 2
    assert len(await engine.store.attempts(first.id)) == 1
    assert await engine.store.entries(first.id)
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize(
    ("column", "at", "newer", "word"),
    [
        ("wish", '"request":{', '"camera":"orbit",', "camera"),
        ("wish", '"request":{', '"mode":"morph",', "Invalid enum value 'morph'"),
        ("wish", '"request":{', '"shots":[{"prompt":"a cat","seconds":4,"camera":"orbit"}],', "unknown field `camera`"),
        ("quote", '"spec":{', '"camera":{"path":"orbit"},', "camera"),
        ("quote", '"spec":{', '"mode":"morph",', "Invalid enum value 'morph'"),
    ],
)
async def test_who_is_older_buys_nothing_it_cannot_read(
    engine: Engine, column: str, at: str, newer: str, word: str
) -> None:
    """It would pay for another clip than was asked for; whoever can read it finds the job where it was."""
    job = await engine.accept()
    run(engine.folder, f"UPDATE jobs SET {column} = replace({column}, '{at}', '{at}{newer}')")
    for _ in range(6):
        await engine.turn(seconds=60)

    left = await engine.job(job.id)
    assert (left.state, engine.provider.ledger, await engine.store.attempts(job.id)) == (State.QUEUED, [], [])
    told = waiting_for(left) or ""
    assert "newer version of this gateway took it, and this one does not know: " in told
    assert word in told
    assert left.faults == 0
    assert await engine.store.ailments() == {}
    run(engine.folder, f"UPDATE jobs SET {column} = replace({column}, '{newer}', '')")
    ended = await engine.run(job.id)
    assert (ended.state, ended.error, len(engine.provider.ledger)) == (State.SUCCEEDED, None, 1)


async def test_what_it_cannot_read_ends_in_time_where_nobody_newer_comes(engine: Engine) -> None:
    """Its client is told why, and nothing is held for it any more."""
    job = await engine.accept()
    run(engine.folder, """UPDATE jobs SET wish = replace(wish, '"request":{', '"request":{"mode":"morph",')""")
    await engine.turn()
    engine.now = (await engine.job(job.id)).deadline_at
    await engine.turn(seconds=60)

    ended = await engine.job(job.id)
    assert (ended.state, engine.provider.ledger) == (State.FAILED, [])
    assert "morph" in (ended.error or "")
    assert "in time" in (ended.error or "")
    assert await engine.store.ailments() == {}


async def test_in_doubt_it_repeats_nothing_it_cannot_read(tmp_path: Path) -> None:
    """Where a repeat is free, the order that was made would be another."""
    engine = Engine(tmp_path, listing(submit_class="A"))
    engine.provider.submits = [Indeterminate("cut")]
    job = await engine.accept()
    await engine.turn()
    assert (await engine.job(job.id)).state is State.UNKNOWN
    made = [*engine.provider.ledger]
    run(engine.folder, """UPDATE jobs SET wish = replace(wish, '"request":{', '"request":{"camera":"orbit",')""")
    await engine.turn(seconds=60)

    assert ((await engine.job(job.id)).state, engine.provider.ledger) == (State.UNKNOWN, made)
    engine.close()


async def test_a_worker_outlives_a_bug_of_its_own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a turn raises, the next is taken; else everybody's jobs would wait, and nobody hear of it."""
    monkeypatch.setattr(Worker, "idle_seconds", 0.001)
    engine.provider.submits = [running("t", poll_after=3600.0)]
    job = await engine.accept()
    works = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
    claim, raised = engine.store.claim, asyncio.Event()

    async def broken(**asked: object) -> list[Job]:
        if not raised.is_set():
            raised.set()
            raise TypeError("a bug")
        return await claim(**asked)  # type: ignore[arg-type]

    engine.store.claim = broken  # type: ignore[method-assign]
    with capture_logs() as logs:
        task = asyncio.create_task(works.run())
        async with asyncio.timeout(20):
            while (await engine.job(job.id)).state is not State.RUNNING:  # noqa: ASYNC110 - a worker tells nobody
                await asyncio.sleep(0.001)
        works.stop()
        await task

    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["worker.crashed"]
