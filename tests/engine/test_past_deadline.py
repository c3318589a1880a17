"""Laws of doubts that outlast their deadline while no gateway runs: each is asked after once, and nothing is sent."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.engine.findings import DENIED
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Problem
from gateway.money.billing import hold_of
from gateway.money.ledger import Billing
from providers.base.errors import Indeterminate, Unavailable, Unsupported
from tests.make import listing
from tests.scripted import Engine, done

Make = Callable[[str], Engine]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Engine] = []

    def build(kind: str) -> Engine:
        made.append(Engine(tmp_path, listing(submit_class=kind, deadline_seconds=3600)))
        return made[-1]

    yield build
    for each in made:
        each.close()


async def outlasted(engine: Engine) -> Job:
    """Have an order's answer lost, and nobody look after it for a day."""
    engine.provider.submits = [Indeterminate("lost")]
    job = await engine.accept()
    await engine.turn()
    assert (await engine.job(job.id)).state is State.UNKNOWN
    engine.now += 24 * 3_600_000
    return job


def code(job: Job) -> str:
    return msgspec.json.decode(job.error or "", type=Problem).code


@pytest.mark.parametrize("kind", ["B", "D"])
async def test_a_clip_that_was_made_meanwhile_is_its_clients(make: Make, kind: str) -> None:
    """It was told of no end yet, and its seller has the clip."""
    engine = make(kind)
    job = await outlasted(engine)
    engine.provider.finds = [done("t")]
    ended = await engine.run(job.id)

    held = hold_of(ended)
    assert (State.SUCCEEDED, 1) == (ended.state, len(engine.provider.ledger))
    assert held is not None
    assert held.billing is Billing.BILLED


async def test_an_order_that_never_arrived_costs_nothing(make: Make) -> None:
    """Who has it proven is told that it was too late, and that nothing was bought."""
    engine = make("D")
    job = await outlasted(engine)
    engine.provider.finds = [None] * 9
    ended = await engine.run(job.id)

    held = hold_of(ended)
    assert (State.FAILED, "deadline_exceeded", 1) == (ended.state, code(ended), len(engine.provider.ledger))
    assert held is not None
    assert held.billing is Billing.NOT_BILLED


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("A", Unsupported("no look-ups")),
        ("B", Unavailable("closed")),
        ("C", Unsupported("no")),
        ("E", Unsupported("no")),
    ],
)
async def test_who_says_nothing_is_asked_once_and_sent_nothing(make: Make, kind: str, said: Exception) -> None:
    """The job ends in doubt; also where to send the same again would be free, as it would be a new purchase."""
    engine = make(kind)
    job = await outlasted(engine)
    engine.provider.finds = [said, AssertionError("it was asked twice")]  # type: ignore[list-item]
    await engine.turn()
    ended = await engine.job(job.id)

    held = hold_of(ended)
    assert (State.FAILED, "submission_unknown", 1) == (ended.state, code(ended), len(engine.provider.ledger))
    assert held is not None
    assert held.billing is Billing.POSSIBLY_BILLED


async def test_who_is_asked_once_more_is_not_ailing(make: Make) -> None:
    """A denial is proven seconds later; the doctor knows the words that are noted meanwhile, and no others."""
    engine = make("D")
    job = await outlasted(engine)
    engine.provider.finds = [None]
    await engine.turn()
    (attempt,) = await engine.store.attempts(job.id)
    assert (State.UNKNOWN, DENIED) == ((await engine.job(job.id)).state, attempt.error)
    assert await engine.store.ailments() == {}
    engine.now += 11 * 60_000
    assert [*await engine.store.ailments()] == ["overdue"]
