"""Laws of several processes on one PostgreSQL: they hear of each other's jobs, and keep out of each other's way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.engine import worker
from gateway.engine.worker import Worker
from gateway.jobs.job import Outcome, State, move, standing
from gateway.store.database import StoreUnavailableError
from tests import databases
from tests.scripted import Engine, running


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two processes' worth of engines on one database, as far as a test can have them in one."""
    with databases.using("postgresql"):
        both = Engine(tmp_path, max_running=2), Engine(tmp_path, max_running=2)
    yield both
    for each in both:
        each.close()


def hired(engine: Engine) -> Worker:
    """Build a worker of a process."""
    return Worker(engine.tools, engine.steps, engine.turns, at_once=8)


async def until_all(engine: Engine, state: State, count: int) -> None:
    """Wait until so many jobs are in a state."""
    async with asyncio.timeout(30):
        while (await engine.store.census()).get(state) != count:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)


async def test_a_job_one_process_took_another_begins_at_once(
    pair: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a scan: here there would be none for an hour."""
    monkeypatch.setattr(worker.Worker, "idle_seconds", 3600.0)
    front, back = pair
    works = hired(back)
    task = asyncio.create_task(works.run())
    assert (await front.accept()).lease_until is None
    await until_all(front, State.RUNNING, 1)
    works.stop()
    await task

    assert (front.provider.ledger, len(back.provider.ledger)) == ([], 1)


async def test_a_start_takes_no_lease_from_the_living(pair: tuple[Engine, Engine]) -> None:
    """What a peer has leased stays its own when another process starts; it runs out if nobody keeps it."""
    front, back = pair
    job = await front.accept()
    (held,) = await front.store.claim(lease=60_000, most=1)
    await back.store.start_over()
    assert await back.store.claim(lease=60_000, most=1) == []
    back.now += 60_001
    (taken,) = await back.store.claim(lease=60_000, most=1)

    assert (held.id, taken.id, taken.lease_epoch) == (job.id, job.id, held.lease_epoch + 1)


async def test_who_counts_apart_from_the_living_does_not_start(pair: tuple[Engine, Engine]) -> None:
    """The database's clock set back under a process at work: one by the new time is told to stop them all."""
    old, new = pair
    await old.store.start_over()
    job = await old.accept()
    new.now -= 3_600_000
    with pytest.raises(StoreUnavailableError, match="stop them all"):
        await new.store.start_over()
    assert (await new.job(job.id)).deadline_at == job.deadline_at
    new.now = old.now
    await new.store.start_over()


async def test_an_account_has_its_places_once(pair: tuple[Engine, Engine]) -> None:
    """Two processes with two places each at one account have two between them, and every job is made in the end."""
    front, back = pair
    for engine in pair:
        engine.provider.submits = [running("t", poll_after=5.0)] * 12
    most, claimed = 0, [0, 0]
    for seed in range(6):
        await front.accept(seed=seed)
    for _ in range(200):
        called = [await engine.tools.line.call(lease=60_000, most=3) for engine in pair]
        jobs = [await engine.store.claim(lease=60_000, most=3) for engine in pair]
        claimed = [before + len(mine) for before, mine in zip(claimed, jobs, strict=True)]
        steps = [engine.steps.take(job) for engine, mine in zip(pair, jobs, strict=True) for job in mine]
        steps += [
            engine.steps.take(job, called=True) for engine, mine in zip(pair, called, strict=True) for job in mine
        ]
        await asyncio.gather(*steps)
        most = max(most, sum((await front.store.running()).values()))
        if (await front.store.census()).get(State.SUCCEEDED) == 6:
            break
        due = await front.store.next_due()
        assert due is not None
        front.now = back.now = min(max(front.now, due), front.now + 1000)
        for engine in pair:
            await engine.tools.line.recount()

    assert (await front.store.census())[State.SUCCEEDED] == 6
    assert most == 2
    assert len(front.provider.ledger) + len(back.provider.ledger) == 6
    assert min(claimed) >= 3


async def test_who_was_overtaken_does_not_buy(pair: tuple[Engine, Engine]) -> None:
    """A worker that slept through its lease finds that the job has moved on, and buys nothing."""
    front, back = pair
    await front.accept()
    (late,) = await front.store.claim(lease=60_000, most=1)
    front.now = back.now = front.now + 60_001
    await back.turn()
    with pytest.raises(Exception, match="job_save"):
        await front.steps.take(late)

    assert (len(front.provider.ledger), len(back.provider.ledger)) == (0, 1)


async def test_a_place_one_process_frees_is_anothers_to_give(pair: tuple[Engine, Engine]) -> None:
    """Who lined up in one process is called by another that counts a free place; both calling, one buys."""
    front, back = pair
    for engine in pair:
        engine.provider.submits = [running(f"t{id(engine)}", poll_after=3600.0)] * 6
    for seed in range(4):
        await front.accept(seed=seed)
    await front.turn()
    assert (len(front.provider.ledger), await front.store.lines()) == (2, [("acme", "maker/one")])
    page = await front.store.jobs("tenant", after=None, limit=10, newest_first=False)
    first = next(each for each in page.jobs if each.state is State.RUNNING)
    ended = standing(first, Outcome.FAILED, front.now, None)
    await front.store.save(move(first, State.FAILED, front.now), ended)
    for engine in pair:
        await engine.tools.line.recount()
    called = [await engine.tools.line.call(lease=60_000, most=8) for engine in pair]
    assert [len(mine) for mine in called] == [1, 1]
    await asyncio.gather(
        *(e.steps.take(job, called=True) for e, mine in zip(pair, called, strict=True) for job in mine)
    )

    assert (await front.store.census())[State.RUNNING] == 2
    assert (await front.store.census())[State.QUEUED] == 1
    assert len(front.provider.ledger) + len(back.provider.ledger) == 3
