"""Laws of an operator who names the wrong task: it can be put right, and nothing that was bought is lost for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.engine.operator import MoveError, adopt
from gateway.jobs.job import Job, State
from gateway.money.billing import hold_of
from gateway.money.ledger import Billing
from gateway.store.orphans import unseen
from providers.base.errors import Indeterminate, Invalid, Missing
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Wire
from tests.make import listing, price
from tests.scripted import Engine, done, running


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing("acme", submit_class="E", deadline_seconds=3600))
    yield built
    built.close()


async def named(engine: Engine, job: Job, task: str) -> None:
    """Say that a task is a job's."""
    found = await engine.job(job.id)
    (last,) = await engine.store.attempts(job.id)
    moved, taken, whose = adopt(found, last, task, engine.now)
    await engine.store.save(moved, taken, also=whose)


async def test_a_wrong_task_gives_way_to_the_right_one(engine: Engine) -> None:
    """While nothing has come of it; the clip of the right one is kept, and the wrong one is free for its own order."""
    engine.provider.submits = [Indeterminate("lost")]
    job = await engine.run((await engine.accept()).id)
    assert State.FAILED is job.state
    await named(engine, job, "typo")
    engine.provider.polls = [Missing("no such task"), done("right")]
    await engine.turn(seconds=1)
    await named(engine, job, "right")
    for _ in range(3):
        await engine.turn(seconds=60)

    found, held = await engine.job(job.id), hold_of(await engine.job(job.id))
    assert held is not None
    assert (Billing.BILLED, True) == (held.billing, found.outputs != "[]")
    assert [] == await unseen(engine.store.database)
    other = await engine.accept(seed=2)
    engine.provider.submits = [Indeterminate("lost")]
    other = await engine.run(other.id)
    await named(engine, other, "typo")
    with pytest.raises(MoveError):
        await named(engine, job, "another")
    assert await engine.store.ailments() == {}


async def test_a_real_answer_is_not_dropped_for_what_was_named(engine: Engine) -> None:
    """It comes after an operator has named another task: what was bought is put before him."""
    late: list[Job] = []

    async def slow(order: Order, wire: Wire) -> Update:
        """Answer once the order has been given up."""
        engine.now += 60_000
        (found,) = (await engine.store.jobs("tenant", after=None, limit=1, newest_first=True)).jobs
        (claimed,) = await engine.store.claim(lease=60_000, most=1)
        await engine.steps.take(claimed)  # Who found it left: it is in doubt.
        late.append(await engine.run(found.id))
        await named(engine, late[0], "typo")
        return running("real")

    engine.provider.submit = slow  # type: ignore[method-assign]
    job = await engine.accept()
    (claimed,) = await engine.store.claim(lease=1, most=1)
    engine.now += 2
    await engine.steps.take(claimed)

    assert [State.FAILED] == [each.state for each in late]
    assert [("real", job.id)] == [(each.task, each.job) for each in await unseen(engine.store.database)]


async def test_a_refusal_is_told_at_once_though_its_account_begins_to_fail(tmp_path: Path) -> None:
    """Who has refused an order for its own sake is not waited for."""
    engine = Engine(tmp_path, listing("cheap", prices=[price("0.10")], deadline_seconds=3600))

    async def refuse(order: Order, wire: Wire) -> Update:
        for _ in range(5):  # Other orders of the same moment.
            engine.accounts["cheap"].failed(engine.now, buying=True)
        raise Invalid("seconds must be 8")

    engine.provider.submit = refuse  # type: ignore[method-assign]
    job, began = await engine.accept(), engine.now
    ended = await engine.run(job.id)
    assert (State.FAILED, began) == (ended.state, engine.now)
    engine.close()
