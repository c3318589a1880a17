"""Laws of jobs that bring the gateway down: put aside after the third time, who was near by cleared, none rebought."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.engine.operator import resubmit
from gateway.engine.trials import AGAIN_MS, ALONE_MS, CALM_MS
from gateway.engine.worker import STALLED_MS, Worker
from gateway.jobs.finished import Finished
from gateway.jobs.job import ASIDE_MS, CRASHES, FAULTS_MS, SUSPECT, Job, Outcome, State
from gateway.jobs.wish import Problem
from gateway.money.ledger import Billing, Hold
from gateway.store.database import StoreUnavailableError
from providers.base.errors import Indeterminate
from providers.base.order import Order
from providers.base.task import AssetRef, Update
from providers.base.wire import Wire
from tests.make import listing
from tests.scripted import Engine, running

LEASE = 60_000


EARLY = {State.QUEUED, State.SUBMITTING}


class KilledError(BaseException):
    """End a step as a dead process does: nobody catches it."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(deadline_seconds=7200))
    yield built
    built.close()


async def crash(engine: Engine, *, times: int = CRASHES) -> list[Job]:
    """Claim everything that is due and die, so many times; then claim once more."""
    for _ in range(times):
        due = await engine.store.next_due()
        assert due is not None
        engine.now = max(engine.now, due)
        assert await engine.store.claim(lease=LEASE, most=100)
    engine.now += LEASE + 1
    return await engine.store.claim(lease=LEASE, most=100)


async def test_a_queued_job_that_kills_ends_and_its_money_is_given_back(engine: Engine) -> None:
    """Nothing was bought, so nothing is; its client is told."""
    id_ = (await engine.accept()).id
    (job,) = await crash(engine)
    assert job.crashes == CRASHES
    await engine.steps.take(job)
    ended = await engine.job(id_)

    assert ended.state is State.FAILED
    assert msgspec.json.decode(ended.error or "", type=Problem).code == "crashed"
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.NOT_BILLED
    assert engine.provider.ledger == []


async def test_an_order_in_doubt_stays_in_sight_and_is_not_asked_after(engine: Engine) -> None:
    """Until its deadline it is an operator's; then it ends as every order that nobody could clear up."""
    engine.provider.submits = [Indeterminate("?")]
    engine.provider.finds = [AssertionError("it was asked after")] * 9  # type: ignore[list-item]
    id_ = (await engine.accept()).id
    await engine.turn()
    (job,) = await crash(engine)
    await engine.steps.take(job)
    aside = await engine.job(id_)

    assert (aside.state, aside.due_at, aside.lease_until) == (State.UNKNOWN, aside.deadline_at, None)
    assert [each.id for each in await engine.store.unknown()] == [id_]
    assert await engine.store.put_aside() == 1
    assert list(await engine.store.ailments()) == ["put_aside"]
    (open_,) = await engine.store.attempts(id_)
    again, absent = resubmit(aside, open_, engine.now)
    assert (again.aside_at, again.state, absent.outcome) == (None, State.QUEUED, Outcome.ABSENT)
    ended = await engine.run(id_)
    assert msgspec.json.decode(ended.error or "", type=Problem).code == "submission_unknown"
    assert (len(engine.provider.ledger), len(engine.provider.finds)) == (1, 9)


async def test_an_intent_that_kills_is_in_doubt(engine: Engine) -> None:
    """Whoever dies over finding out that it does not know leaves a doubt all the same."""
    submit = engine.provider.submit

    async def killed(order: Order, wire: Wire) -> Update:
        raise KilledError

    engine.provider.submit = killed  # type: ignore[method-assign]
    id_ = (await engine.accept()).id
    with pytest.raises(KilledError):
        await engine.turn()
    engine.provider.submit = submit  # type: ignore[method-assign]
    assert (await engine.job(id_)).state is State.SUBMITTING
    (job,) = await crash(engine)
    await engine.steps.take(job)
    aside = await engine.job(id_)
    (attempt,) = await engine.store.attempts(id_)

    assert (aside.state, attempt.outcome) == (State.UNKNOWN, Outcome.UNKNOWN)
    assert aside.aside_at == engine.now


async def test_a_task_is_looked_at_now_and_then_until_the_deadline(engine: Engine) -> None:
    """Its clip may still come; one look that ends well clears it, and so does nothing else."""
    engine.provider.submits = [running("t", poll_after=5.0)]
    id_ = (await engine.accept()).id
    await engine.turn()
    (job,) = await crash(engine)
    engine.now = job.deadline_at - 2 * ASIDE_MS
    await engine.steps.take(job)
    aside = await engine.job(id_)
    assert (aside.state, aside.due_at, aside.aside_at) == (State.RUNNING, engine.now + ASIDE_MS, engine.now)
    assert engine.provider.looked == 0

    (job,) = await crash(engine, times=1)
    assert job.poison
    await engine.steps.take(job)
    assert (await engine.job(id_)).aside_at == aside.aside_at
    engine.now = job.deadline_at
    (job,) = await engine.store.claim(lease=LEASE, most=1)
    assert job.suspect
    assert not job.poison
    await engine.steps.take(job)

    ended = await engine.job(id_)
    assert (ended.state, ended.aside_at, len(engine.provider.ledger)) == (State.SUCCEEDED, None, 1)


async def test_a_task_past_its_deadline_is_given_up_without_another_look(engine: Engine) -> None:
    """Its money is in doubt, as of every order without a verdict."""
    engine.provider.submits = [running("t", poll_after=5.0)]
    id_ = (await engine.accept()).id
    await engine.turn()
    (job,) = await crash(engine)
    engine.now = job.deadline_at
    await engine.steps.take(job)
    ended = await engine.job(id_)

    assert msgspec.json.decode(ended.error or "", type=Problem).code == "deadline_exceeded"
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.POSSIBLY_BILLED
    assert engine.provider.looked == 0


async def test_a_clip_that_kills_is_lost_when_its_link_is(engine: Engine) -> None:
    """It is tried again for as long as its link may live; then it was paid for, and lost."""
    engine.wire.answers = [LookupError("dead")]
    id_ = (await engine.accept()).id
    await engine.turn()
    engine.now = (await engine.store.next_due()) or 0
    with pytest.raises(LookupError):
        await engine.turn()
    verdict_at = engine.now
    (job,) = await crash(engine, times=2)
    assert (job.state, job.crashes) == (State.STORING, CRASHES)
    await engine.steps.take(job)
    assert (await engine.job(id_)).due_at == engine.now + ASIDE_MS
    (job,) = await crash(engine, times=1)
    engine.now = verdict_at + int(engine.provider.listing.link_hours * 3_600_000)
    await engine.steps.take(job)
    ended = await engine.job(id_)

    assert msgspec.json.decode(ended.error or "", type=Problem).code == "result_lost"
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.BILLED
    assert msgspec.json.decode(job.task or "", type=Finished).assets == (AssetRef(url="https://acme.test/a.mp4"),)


async def test_a_step_that_is_survived_clears(engine: Engine) -> None:
    """A crash counts against whoever is in hand, and for no longer than until its next move."""
    engine.provider.submits = [running("t", poll_after=5.0)]
    engine.provider.polls = [running("t", poll_after=5.0)]
    id_ = (await engine.accept()).id
    await engine.turn()
    (job,) = await crash(engine, times=SUSPECT)
    assert job.suspect
    await engine.steps.take(job)

    assert (await engine.job(id_)).crashes == 0


async def test_a_lease_that_was_given_back_is_no_crash(engine: Engine) -> None:
    """A polite stop, and a look put off, say nothing of the job; a start that finds a lease does."""
    await engine.accept()
    for _ in range(CRASHES):
        (job,) = await engine.store.claim(lease=LEASE, most=1)
        await engine.store.give_back([job])
        (job,) = await engine.store.claim(lease=LEASE, most=1)
        await engine.store.put_off(job, engine.now)
    (job,) = await engine.store.claim(lease=LEASE, most=1)
    assert job.crashes == 0
    await engine.store.start_over()
    engine.now += 0 if not engine.store.shared else LEASE + 1

    (job,) = await engine.store.claim(lease=LEASE, most=1)
    assert job.crashes == 1


async def nothing() -> None:
    """Do nothing."""


class Lives:
    """Processes one after the other on one engine: each works until it dies, or until it has nothing left to do."""

    def __init__(self, engine: Engine, poison: str) -> None:
        self.engine = engine
        self.poison = poison
        self.crashes: list[int] = []
        """How many orders were under way as each died."""
        self.under_way = 0
        take = engine.steps.take

        async def step(job: Job, *, called: bool = False) -> None:
            self.under_way += 1
            for _ in range(1 if job.id == self.poison else 5):  # What kills does so first.
                await asyncio.sleep(0)
            if job.id == self.poison and not job.poison:
                self.crashes.append(self.under_way)
                self.dead.set()
                await asyncio.Event().wait()
            if self.dead.is_set():  # Whoever is dead goes no step further.
                await asyncio.Event().wait()
            await take(job, called=called)
            self.under_way -= 1

        engine.steps.take = step  # type: ignore[method-assign]

    async def live(self, *over: str) -> bool:
        """Live until these jobs are ordered or have ended; says whether they are, else the process died."""
        engine = self.engine
        self.dead, self.under_way = asyncio.Event(), 0
        await engine.store.start_over()
        if engine.store.shared:
            engine.now += LEASE + 1
        worker = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
        task = asyncio.create_task(worker.run())
        async with asyncio.timeout(50):
            while not self.dead.is_set() and {(await engine.job(each)).state for each in over} & EARLY:
                if not worker._under_way and not worker._reserved:
                    engine.now += 500
                    worker.wake()
                await asyncio.sleep(0.001)
        died = self.dead.is_set()
        ending = [task, *worker._under_way]
        worker._let_go = nothing  # type: ignore[method-assign]  # Who is dead tidies nothing up.
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        return not died


async def test_after_three_crashes_the_others_go_on(engine: Engine) -> None:
    """The third finds it alone; whoever was near by is made, once; and the gateway never dies of it again."""
    engine.provider.submits = [running(f"t{number}", poll_after=3600.0) for number in range(4)]
    ids = [(await engine.accept(seed=seed)).id for seed in range(4)]
    lives = Lives(engine, ids[0])
    for _ in range(CRASHES):
        assert not await lives.live(*ids)
    assert await lives.live(*ids)

    assert len(lives.crashes) == CRASHES
    assert lives.crashes[-1] == 1
    assert (await engine.job(ids[0])).state is State.FAILED
    assert {(await engine.job(each)).state for each in ids[1:]} <= {State.RUNNING, State.STORING, State.SUCCEEDED}
    assert len(engine.provider.ledger) == 3


async def test_a_process_killed_again_and_again_finds_nobody_guilty(engine: Engine) -> None:
    """Jobs whose steps never come to an end because their worker is killed first wait until one lives longer."""
    engine.provider.submits = [running(f"t{number}", poll_after=3600.0) for number in range(4)]
    ids = [(await engine.accept(seed=seed)).id for seed in range(4)]
    for _ in range(3 * CRASHES):
        await engine.store.start_over()
        worker = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
        worker._trials.start(engine.now)
        claimed = await worker._due(8)
        assert not any(job.poison for job in claimed)
        engine.now += LEASE + 1 if engine.store.shared else CALM_MS - 1
    assert {(await engine.job(each)).crashes for each in ids} == {SUSPECT}

    engine.now += LEASE + 1
    lives = Lives(engine, "")
    assert await lives.live(*ids)
    assert {(await engine.job(each)).state for each in ids} <= {State.RUNNING, State.STORING, State.SUCCEEDED}


async def test_a_suspect_whose_judge_dies_is_heard_of_by_the_next(engine: Engine) -> None:
    """Put off for its trial, by a process that is killed before: at once where nobody else can try it, else soon."""
    await engine.accept()
    (job,) = await crash(engine, times=SUSPECT)
    dead = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
    await engine.store.put_off(job, dead._put_off(job, Counter()) or 0)
    await engine.store.start_over()
    engine.now += AGAIN_MS if engine.store.shared else 0

    (again,) = await engine.store.claim(lease=LEASE, most=9)
    assert (again.id, again.crashes) == (job.id, SUSPECT)
    assert AGAIN_MS < 2 * (CALM_MS + ALONE_MS)  # Not much longer than it waits for its trial.


async def test_who_is_put_aside_is_not_woken_by_a_start(engine: Engine) -> None:
    """A gateway that is killed again and again must not try, each time, what brings it down."""
    engine.provider.submits = [running("t", poll_after=5.0)]
    id_ = (await engine.accept()).id
    await engine.turn()
    (job,) = await crash(engine)
    await engine.steps.take(job)
    (job,) = await crash(engine, times=1)
    await engine.steps.take(job)
    due = (await engine.job(id_)).due_at
    await engine.store.start_over()

    assert (await engine.job(id_)).due_at == due == engine.now + ASIDE_MS


async def test_a_suspect_is_not_called_out_of_a_line(engine: Engine) -> None:
    """It waits for its trial; to line up once more clears nobody."""
    engine.accounts["acme"].max_running = 1
    engine.accounts["acme"]._limit = 1.0
    engine.provider.submits = [running("t", poll_after=3600.0)]
    await engine.accept(seed=0)
    await engine.turn()
    waiting = (await engine.accept(seed=1)).id
    await engine.turn()
    (job,) = [each for each in await crash(engine, times=SUSPECT) if each.id == waiting]
    await engine.steps.take(job, called=True)

    assert (await engine.job(waiting)).suspect
    assert await engine.store.claim(lease=LEASE, most=9, line=("acme", ["maker/one"])) == []
    (tried,) = await engine.store.claim(lease=LEASE, most=1, only=waiting)
    assert tried.id == waiting


async def test_a_step_that_raises_is_tried_again_later_and_three_times(engine: Engine) -> None:
    """A bug that a job meets on every step costs three of them, in minutes; it is nobody else's doing."""
    engine.provider.submits = [running("t")]
    id_ = (await engine.accept()).id
    await engine.turn()
    engine.provider.polls = [ZeroDivisionError("a bug of ours")] * 9
    worker = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
    waits = []
    for _ in range(CRASHES):
        engine.now = (await engine.store.next_due()) or 0
        (job,) = await worker._due(8)
        with capture_logs() as logs:
            await worker._step(job, called=False)
        assert [each["event"] for each in logs] == ["job.crashed"]
        waits.append(((await engine.store.next_due()) or 0) - engine.now)
    engine.now = (await engine.store.next_due()) or 0
    (job,) = await worker._due(8)
    await worker._step(job, called=False)

    assert waits == [*FAULTS_MS, FAULTS_MS[-1]]
    assert engine.provider.looked == CRASHES
    assert (await engine.job(id_)).aside_at == engine.now


@pytest.mark.parametrize("error", [StoreUnavailableError("disk full"), MemoryError()])
async def test_what_a_job_is_not_to_blame_for_is_no_crash(engine: Engine, error: Exception) -> None:
    """Nobody died of a full disk or for want of memory: the lease is taken off, and the job comes again by itself."""
    await engine.accept()
    worker = Worker(engine.tools, engine.steps, engine.turns, at_once=8)
    take = engine.steps.take

    async def broken(job: Job, *, called: bool = False) -> None:
        raise error

    engine.steps.take = broken  # type: ignore[method-assign]
    for _ in range(CRASHES):
        (job,) = await worker._due(8)
        await worker._step(job, called=False)
        await worker._excuse()
        due = await engine.store.next_due()
        assert due == engine.now + STALLED_MS  # Long before the lease would have run out.
        engine.now = due
    engine.steps.take = take  # type: ignore[method-assign]

    (job,) = await worker._due(8)
    assert (job.crashes, job.faults, job.lease_epoch) == (0, 0, CRASHES + 1)


async def test_a_step_that_raises_while_the_store_fails_is_no_crash_either(engine: Engine) -> None:
    """What could not be counted against a job is forgotten; its lease is taken off all the same."""
    engine.provider.submits = [running("t")]
    await engine.accept()
    await engine.turn()
    engine.provider.polls = [ZeroDivisionError("a bug of ours")]
    worker = Worker(engine.tools, engine.steps, engine.turns, at_once=8)

    async def broken(job: Job, due: int) -> None:
        raise StoreUnavailableError("disk full")

    engine.store.stumbled = broken  # type: ignore[method-assign]
    engine.now = (await engine.store.next_due()) or 0
    (job,) = await worker._due(8)
    with capture_logs():
        await worker._step(job, called=False)
    await worker._excuse()
    engine.now = (await engine.store.next_due()) or 0

    (job,) = await worker._due(8)
    assert (job.crashes, job.faults, job.lease_epoch) == (0, 0, 3)


async def test_whom_the_store_could_not_put_off_did_not_crash(engine: Engine) -> None:
    """A database that is gone between a claim and what comes after it leaves leases behind, and nobody who died."""
    await engine.accept()
    beside = (await engine.accept(seed=2)).id
    (job, *_) = await crash(engine, times=SUSPECT)
    await engine.store.give_back([job])
    worker, put_off = Worker(engine.tools, engine.steps, engine.turns, at_once=8), engine.store.put_off

    async def broken(job: Job, due: int) -> None:
        raise StoreUnavailableError("the database system is starting up")

    engine.store.put_off = broken  # type: ignore[method-assign]
    for _ in range(CRASHES):
        with pytest.raises(StoreUnavailableError):
            await worker._due(8)
        engine.store.put_off = put_off  # type: ignore[method-assign]
        await worker._excuse()
        engine.store.put_off = broken  # type: ignore[method-assign]
        engine.now += STALLED_MS
    engine.store.put_off = put_off  # type: ignore[method-assign]

    assert {(await engine.job(each)).crashes for each in (job.id, beside)} == {SUSPECT}
