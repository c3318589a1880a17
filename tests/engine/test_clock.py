"""Laws of a clock that was set back while nobody looked, and of clocks that differ."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.jobs.job import State
from gateway.store.database import Kind, clock_of
from tests import databases
from tests.scripted import Engine, running

DAY_MS = 86_400_000


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    yield built
    built.close()


@pytest.mark.parametrize("back", [3_600_000, 10 * DAY_MS])
async def test_a_clock_set_back_strands_nobody_and_gives_nobody_up(engine: Engine, back: int) -> None:
    """Queued, leased or being made: each is due again after the next start, with all of its time, however often."""
    queued, leased, made = [await engine.accept(prompt=each) for each in "abc"]
    engine.provider.polls = [running("t", poll_after=600.0)]
    for job in await engine.store.claim(lease=2 * DAY_MS, most=9):
        if job.id == made.id:
            await engine.steps.take(job)
        elif job.id == queued.id:
            await engine.store.give_back([job])
    given = {job.id: job.deadline_at - job.created_at for job in (queued, leased, made)}
    for _ in range(3):
        engine.now -= back
        await engine.store.start_over()
        for id_, span in given.items():
            job = await engine.job(id_)
            assert job.deadline_at - engine.now == span
            assert job.due_at is not None
            assert job.due_at <= engine.now + 1_200_000

    assert {(await engine.run(id_)).state for id_ in given} == {State.SUCCEEDED}
    assert len(engine.provider.ledger) == 3


async def test_a_second_start_takes_no_time_away(engine: Engine) -> None:
    """What was reckoned anew at one start is not at the next, while the clock still has to make up for it."""
    job = await engine.accept()
    engine.now -= DAY_MS
    await engine.store.start_over()
    given = (await engine.job(job.id)).deadline_at
    engine.now += 60_000
    await engine.store.start_over()

    assert (await engine.job(job.id)).deadline_at == given


async def test_all_count_by_the_clock_they_share(tmp_path: Path, kind: Kind) -> None:
    """On PostgreSQL by the server's, whatever a machine's says; on a file by the machine's own."""
    database = databases.store_in(tmp_path)
    database.open()
    passed, wall = 0, 1_000_000_000_000
    clock = await clock_of(database, lambda: wall + passed, lambda: passed)
    other = await clock_of(database, lambda: wall + passed + 7_200_000, lambda: passed)
    now = await database.time()
    first = clock()
    passed += 5_000
    assert clock() == first + 5_000
    database.close()

    if kind == "sqlite":
        assert (now, first, other() - clock()) == (None, wall, 7_200_000)
    else:
        assert now is not None
        assert abs(first - now) < 2_000
        assert abs(other() - clock()) < 2_000
