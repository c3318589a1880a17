"""Laws of the worker: bounded, awake when there is work, and no richer for waiting jobs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.door.accept import Acceptor
from gateway.engine import worker as worker_module
from gateway.engine.worker import Worker
from gateway.jobs.job import State
from gateway.store.database import StoreUnavailableError
from providers.base.errors import Indeterminate
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Wire
from tests.make import listing, price
from tests.scripted import Engine, done, running


@asynccontextmanager
async def working(engine: Engine, *, at_once: int = 4) -> AsyncIterator[Worker]:
    """Let a worker run beside the test."""
    worker = Worker(engine.tools, engine.steps, engine.turns, at_once=at_once)
    engine.acceptor = Acceptor(engine.store, engine.shop, engine.clock, worker)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def settle(engine: Engine, worker: Worker, id_: str) -> None:
    """Let the loop turn until a job has ended; time passes only while no step is under way."""
    async with asyncio.timeout(60):
        while not (await engine.job(id_)).state.final:
            due = await engine.store.next_due()
            idle = not worker._under_way and not worker._reserved
            if idle and due is not None and due > engine.now:
                engine.now = due
                worker.wake()
            await asyncio.sleep(0.001)


async def until(engine: Engine, worker: Worker, holds: Callable[[], bool]) -> None:
    """Let the loop turn, and time pass, until something holds."""
    async with asyncio.timeout(20):
        while not holds():
            engine.now += 10
            worker.wake()
            await asyncio.sleep(0.001)


async def test_a_job_is_begun_as_it_is_accepted(tmp_path: Path) -> None:
    """With a hand free nothing is claimed: the job is born leased, and one step takes it to its task."""
    engine = Engine(tmp_path)
    submit, claims = engine.provider.submit, []

    async def noticed(order: Order, wire: Wire) -> Update:
        claims.append((await engine.job(job.id)).lease_epoch)
        return await submit(order, wire)

    engine.provider.submit = noticed
    async with working(engine) as worker:
        job = await engine.accept()
        assert (job.lease_until, job.due_at) == (engine.now + 60_000, engine.now + 60_000)
        await settle(engine, worker, job.id)
    assert claims == [0]
    engine.close()


async def test_no_more_steps_at_once_than_allowed(tmp_path: Path) -> None:
    """However many jobs come, so many steps run, and all jobs end."""
    engine = Engine(tmp_path, max_running=100)
    now = most = 0
    submit = engine.provider.submit

    async def counted(order: Order, wire: Wire) -> Update:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return await submit(order, wire)

    engine.provider.submit = counted  # type: ignore[method-assign]
    async with working(engine, at_once=3) as worker:
        jobs = [await engine.accept(seed=seed) for seed in range(12)]
        for job in jobs:
            await settle(engine, worker, job.id)
    assert 1 <= most <= 3
    assert len(engine.provider.ledger) == 12
    engine.close()


async def test_waiting_jobs_are_rows_not_tasks(tmp_path: Path) -> None:
    """Five hundred running tasks at a provider cost no task of the loop."""
    engine = Engine(tmp_path, max_running=1000)
    engine.provider.polls = [running("t", poll_after=3600.0)] * 1000
    engine.provider.submits = [running("t", poll_after=3600.0)] * 500
    async with working(engine, at_once=8):
        for seed in range(500):
            await engine.accept(seed=seed)
        async with asyncio.timeout(30):
            while (await engine.store.census()).get(State.RUNNING) != 500:
                engine.now += 1
                await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= 6
    engine.close()


async def test_a_store_that_fails_stalls_the_worker_and_no_more(tmp_path: Path) -> None:
    """While nothing can be committed nothing is bought; afterwards the job is made."""
    engine = Engine(tmp_path)
    write = engine.store._database.write
    broken = False

    async def fragile(*statements: object, **options: bool) -> object:
        if broken:
            raise StoreUnavailableError("disk full")
        return await write(*statements, **options)  # type: ignore[arg-type]

    engine.store._database.write = fragile  # type: ignore[method-assign, assignment]
    job = await engine.accept()
    broken = True
    worker = Worker(engine.tools, engine.steps, engine.turns, at_once=4)
    with contextlib.suppress(StoreUnavailableError):
        await worker._round()
    assert engine.provider.ledger == []
    broken = False
    assert (await engine.run(job.id)).state is State.SUCCEEDED
    engine.close()


@pytest.mark.parametrize("hangs", ["poll", "submit"])
async def test_a_hung_seller_holds_half_the_steps(tmp_path: Path, hangs: str) -> None:
    """With many of its jobs due and none of them answered, another's jobs go on at once."""
    cheap, dear = listing("hung", prices=[price("0.01")]), listing("well", prices=[price("0.50")])
    engine = Engine(tmp_path, cheap, dear, max_running=100)
    held, over = 0, asyncio.Event()

    async def silent(*_: object) -> Update:
        nonlocal held
        held += 1
        await over.wait()
        raise Indeterminate("silence")

    setattr(engine.providers["hung"], hangs, silent)
    engine.providers["hung"].submits = [running(f"t{number}") for number in range(30)]
    for seed in range(30):
        await engine.accept(seed=seed)
    async with working(engine, at_once=8) as worker:
        try:
            await until(engine, worker, lambda: held == 4)
            began = engine.now
            for seed in range(20):
                await engine.accept(seed=seed, model="well:maker/one")
            await until(engine, worker, lambda: len(engine.providers["well"].ledger) == 20)
            assert engine.now - began < worker.lease  # Nobody waited for a lease of theirs to run out.
            assert held == 4
        finally:
            over.set()
    engine.close()


async def test_a_stop_lets_steps_end(tmp_path: Path) -> None:
    """What is under way when the gateway stops is finished, and kept."""
    engine = Engine(tmp_path)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(order: Order, wire: Wire) -> Update:
        begun.set()
        await go_on.wait()
        return done(order.attempt)

    engine.provider.submit = slow  # type: ignore[method-assign]
    async with working(engine) as worker:
        job = await engine.accept()
        await begun.wait()
        worker.stop()
        go_on.set()
    assert (await engine.job(job.id)).state is State.SUCCEEDED
    engine.close()


async def test_a_stop_gives_back_what_outlasts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that does not end in time is ended, and its job is due at once for whoever comes next."""
    monkeypatch.setattr(worker_module, "GRACE_SECONDS", 0.01)
    engine = Engine(tmp_path)
    begun = asyncio.Event()

    async def stuck(order: Order, wire: Wire) -> Update:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    engine.provider.submit = stuck  # type: ignore[method-assign]
    async with working(engine):
        job = await engine.accept()
        await begun.wait()
    left = await engine.job(job.id)

    assert (left.state, left.lease_until, left.due_at) == (State.SUBMITTING, None, engine.now)
    engine.close()
