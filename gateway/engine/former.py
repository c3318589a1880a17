"""
Look on, after a job's end, for the order that was given up for another: where it was taken it is paid for.

The job's end, and its clip, are the later order's. Of this one only the cost is still to be said; a clip it made is
nobody's, and stands on the list of those.
"""

import structlog
from msgspec.structs import replace

from gateway.engine.absence import Absence
from gateway.engine.ending import Ends
from gateway.engine.late import Late
from gateway.engine.tools import Tools
from gateway.engine.unread import strange
from gateway.events.events import tell_settled
from gateway.events.hooks import take_task
from gateway.jobs.job import ENDINGS, VERDICTS, Job, Outcome, State, as_json, look_on, move, standing
from gateway.money.billing import Bill, abandoned_of, bill_of, closed, unsettled, with_former
from gateway.offers.accounts import Account
from gateway.store.database import Statement
from gateway.store.orphans import Orphan, noted
from gateway.telemetry import names
from providers.base.errors import ProviderError, Unsupported

log = structlog.get_logger()

MADE = "it was taken and made, too; its clip was not fetched"
"""What an attempt says whose clip is nobody's."""


class Former:
    """Know what is still done for an order that was given up; ``order`` is its job as it stood with it."""

    def __init__(self, tools: Tools, ends: Ends, late: Late, absence: Absence) -> None:
        self._ends = ends
        self._late = late
        self._absence = absence
        self._store = tools.store
        self._shop = tools.shop
        self._clock = tools.clock
        self._health = tools.health
        self._metrics = tools.metrics
        self._doubt_ms = tools.doubt_ms

    async def clear_up(self, job: Job, order: Job) -> None:
        """Look for what its provider says of the order now; after so many days what was quoted counts as spent."""
        account, now = self._shop.accounts.get(order.account or ""), self._clock()
        if order.task is None:
            made = await self._store.attempts(job.id)
            order = replace(order, task=next(each.task for each in made if each.id == order.attempt))
        if now >= self._until(job):
            await self._settle(job, order, Bill.PRICE)
        elif account is None:
            await self._look_on(job, order)
        else:
            await self._look_for(job, order, account)

    async def _look_for(self, job: Job, order: Job, account: Account) -> None:
        """Ask for evidence, and settle by it."""
        now = self._clock()
        try:
            update, adopted = await self._late.look_up(order, account)
        except ProviderError as error:  # Silence proves nothing, and neither does having forgotten.
            log.info("poll.failed", **names(order), kind=error.kind)
            if not isinstance(error, Unsupported):  # Then nobody was asked, so nobody has answered.
                self._health.heard(account, error, now)
            await self._look_on(job, order)
            return
        account.answered(now)
        if update is None:
            if await self._absence.is_proven(job, of=order.attempt):
                await self._settle(job, order, Bill.NOTHING, outcome=Outcome.ABSENT)
            return
        own = () if order.task else (take_task(order, update.task, adopted=adopted),)
        order = replace(order, task=as_json(update.task))
        if update.usage:
            order = replace(order, usage=as_json(self._shop.settle(order, update.usage)))
        bill, own = bill_of(update.fault, update.usage), (*own, *strange(order, update, self._metrics, now))
        match VERDICTS[update.state]:
            case State.STORING:
                assert order.attempt is not None
                made = Orphan(
                    attempt=order.attempt, task=update.task.id, account=account.name, job=job.id, found_at=now
                )
                await self._settle(job, order, Bill.PRICE, *own, noted(made), outcome=Outcome.SUCCEEDED, said=MADE)
            case State.FAILED | State.CANCELLED if bill is not Bill.DOUBT:
                await self._settle(job, order, bill, *own, outcome=ENDINGS[update.state])
            case _:
                await self._look_on(job, order, *own)

    async def _settle(
        self,
        job: Job,
        order: Job,
        bill: Bill,
        *also: Statement,
        outcome: Outcome | None = None,
        said: str = "known after another was made in its place",
    ) -> None:
        """Write what the order cost in the end; it is told once nothing of its job is in doubt any more."""
        now, given_up = self._clock(), abandoned_of(job)
        assert given_up is not None
        order, postings = closed(order, bill, now, of=given_up.attempt)
        job = with_former(job, order)
        job = move(job, job.state, now, due_at=self._due(job, now))
        told = () if unsettled(job) else tell_settled(job)
        if outcome is None:
            await self._store.save(job, postings=postings, also=[*also, *told])
        else:
            done = replace(standing(order, outcome, now, said, order.task), ended_at=given_up.at)
            await self._store.save(job, done, postings=postings, also=[*also, *told])
        self._ends.booked(order, postings)
        log.info("job.settled", **names(order), bill=bill)

    async def _look_on(self, job: Job, order: Job, *also: Statement) -> None:
        """Look again when that may be worth it."""
        now = self._clock()
        job = with_former(job, order)
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=self._due(job, now)), also=also)

    def _due(self, job: Job, now: int) -> int | None:
        """Say when a job is due next: for what is in doubt of it, or to have its clips removed."""
        expires = job.expires_at if job.outputs != "[]" else None
        if unsettled(job) is None:
            return expires
        due = now + int(1000 * look_on((now - (job.completed_at or now)) / 1000))
        return min(due, self._until(job), *([] if expires is None else [expires]))

    def _until(self, job: Job) -> int:
        """Say until when evidence is waited for."""
        return (job.completed_at or 0) + self._doubt_ms
