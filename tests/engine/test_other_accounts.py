"""
Laws of processes on one store whose configurations differ: a job is made by who has what was quoted, and fails nowhere
because somebody else saw it first.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.api import answers
from gateway.engine.ending import Ends
from gateway.engine.line import LONGEST_MS
from gateway.jobs.job import Job, Outcome, State, move, standing
from gateway.jobs.wish import Problem
from gateway.money.ledger import Hold
from gateway.store.database import Kind
from providers.base.errors import Exhausted
from providers.base.listing import Listing
from tests import databases
from tests.make import listing, offer, price
from tests.scripted import Engine, running

Make = Callable[..., Engine]
ACME, OTHER = (listing(slug, deadline_seconds=3600) for slug in ("acme", "other"))
DEAR = listing("other", prices=[price("0.20")])
OLDER = listing("acme", offers=[offer("maker/zero")])
AGES = [running("t", poll_after=3600.0)]


@pytest.fixture(autouse=True, scope="module")
def kind() -> Iterator[Kind]:
    """Keep every store where several processes can share it."""
    with databases.using("postgresql"):
        yield "postgresql"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Build engines of one store, each as a process of its own, closed whatever comes."""
    made: list[Engine] = []

    def build(*sold: Listing, **options: int) -> Engine:
        made.append(Engine(tmp_path, *sold, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        each.close()


async def jobs(engine: Engine) -> list[Job]:
    return (await engine.store.jobs("tenant", after=None, limit=100, newest_first=False)).jobs


def said(job: Job) -> tuple[State, object, object]:
    """Read where a job stands, what it waits for and why it failed, as its client does."""
    video = answers.video(job)
    return job.state, video["waiting"], video["error"]


@pytest.mark.parametrize(
    ("sold", "lacks"),
    [
        ([OTHER], "account acme is not configured"),
        ([DEAR], "account acme is not configured"),
        ([OLDER], "account acme does not sell maker/one"),
        ([OLDER, OTHER], "account acme does not sell maker/one"),
    ],
)
async def test_it_is_left_to_who_has_what_was_quoted(make: Make, sold: list[Listing], lacks: str) -> None:
    """It neither fails nor is bought from anybody else; what it waits for is said until it is made."""
    whole, part = make(ACME, OTHER), make(*sold)
    job = await whole.accept()
    await part.turn()
    await part.tools.line.recount()
    assert await part.turn() == 0
    assert said(await part.job(job.id)) == (State.QUEUED, lacks, None)

    await whole.tools.line.recount()
    await whole.turn()
    assert said(await whole.job(job.id)) == (State.RUNNING, None, None)
    assert (len(whole.provider.ledger), [each.ledger for each in part.providers.values()]) == (1, [[]] * len(sold))


async def test_what_nobody_has_ends_at_its_deadline(make: Make) -> None:
    """Nothing of it is written meanwhile, nothing bought, its money is given back, and its words name the account."""
    job, part = await make(ACME).accept(), make(OTHER)
    await part.turn()
    before = await part.job(job.id)
    for _ in range(10):
        assert await part.turn(seconds=20) == 0
    assert before == await part.job(job.id)
    part.now = await part.store.next_due() or 0
    await part.turn()
    assert (await part.job(job.id)).state is State.QUEUED
    part.now = job.deadline_at
    await part.turn()

    ended = await part.job(job.id)
    problem = msgspec.json.decode(ended.error or "", type=Problem)
    assert (ended.state, problem.code) == (State.FAILED, "deadline_exceeded")
    assert problem.message == "Account acme is not configured, so nobody could order it in time."
    assert (part.provider.ledger, msgspec.json.decode(ended.hold or "", type=Hold).billing) == ([], "not_billed")
    assert await part.store.lines() == []


async def test_a_cancelled_one_waits_no_more(make: Make) -> None:
    """Anybody may end it, and what it waited for is forgotten."""
    job, part = await make(ACME).accept(), make(OTHER)
    await part.turn()
    await part.store.cancel(job.id, "tenant")
    await part.turn()

    ended = await part.job(job.id)
    assert (ended.state, ended.error, await part.store.lines()) == (State.CANCELLED, None, [])


async def test_who_has_another_account_makes_what_stands_in_its_line(make: Make) -> None:
    """Who has what was quoted has lined the job up there, too; whoever sees the place first orders it."""
    whole, part = make(ACME, OTHER, max_running=1), make(OTHER, max_running=1)
    for each in whole.providers.values():
        each.submits = [*AGES]
    for _ in range(2):
        await whole.accept()
        await whole.turn()
    job = await whole.accept()
    await whole.turn()
    lines = await whole.store.lines(job.id)
    assert len(lines) == 2
    await part.tools.line.recount()
    part.now = whole.now + LONGEST_MS
    await part.store.claim(lease=1, most=100)
    await part.steps.take(await part.job(job.id))
    assert sorted(lines) == sorted(await part.store.lines(job.id))

    (made,) = [each for each in await jobs(part) if each.account == "other" and each.state is State.RUNNING]
    await Ends(part.tools).end(move(made, State.FAILED, part.now), standing(made, Outcome.FAILED, part.now, None))
    await part.tools.line.recount()
    (called,) = await part.tools.line.call(lease=60_000, most=100)
    await part.steps.take(called, called=True)
    assert ((await part.job(job.id)).account, len(part.provider.ledger)) == ("other", 1)


async def test_a_refusal_is_not_forgotten_over_it(make: Make) -> None:
    """What an account has refused says so in the end, whoever had it in hand meanwhile."""
    whole, part = make(ACME), make(DEAR)
    refusal = Exhausted("no credits")
    whole.provider.submits = [refusal]
    job = await whole.accept()
    await whole.turn()
    await part.turn()
    await whole.tools.line.recount()
    whole.now += 3_600_000
    ended = await whole.run(job.id)

    assert msgspec.json.decode(ended.error or "", type=Problem).code == "provider_exhausted"
    assert part.provider.ledger == []


async def test_alone_on_its_store_it_goes_on_with_what_it_has(make: Make, tmp_path: Path) -> None:
    """On SQLite there is nobody else: what is gone is gone, and the next best makes it."""
    with databases.using("sqlite"):
        folder = tmp_path / "alone"
        folder.mkdir()
        before = Engine(folder, ACME, DEAR)
        job = await before.accept()
        before.close()
        after = Engine(folder, DEAR)
        await after.turn()
        assert (await after.job(job.id)).account == "other"
        after.close()
