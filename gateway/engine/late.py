"""
Look on after the end of a job whose money is in doubt: evidence that comes late settles it, and a late clip is kept.

What ended stays ended. Only what it cost, and what may be fetched of it, are still to be said.
"""

import msgspec
import structlog
from msgspec.structs import replace

from gateway.engine.absence import Absence
from gateway.engine.ending import Ends
from gateway.engine.fetching import Fetcher, Misses, made_of, noted
from gateway.engine.tools import Tools
from gateway.engine.unread import strange
from gateway.events.events import tell_settled
from gateway.events.hooks import take_task
from gateway.jobs.finished import ClipError, Finished, Missed
from gateway.jobs.job import ENDINGS, VERDICTS, Job, Outcome, State, as_json, look_on, move, standing
from gateway.jobs.wish import Notice, read_choice, read_wish
from gateway.money.billing import Bill, bill_of, closed, unsettled
from gateway.offers.accounts import Account
from gateway.store.database import Statement
from gateway.telemetry import names
from providers.base.errors import ProviderError, Unsupported
from providers.base.task import Task, Update

log = structlog.get_logger()

LATE = Notice(
    type="late", feature="deadline", details="The clip came after the video had ended without it; it is kept."
)


class Late:
    """Know what is still done for a job that ended in doubt."""

    def __init__(self, tools: Tools, ends: Ends, fetcher: Fetcher, absence: Absence) -> None:
        self._ends = ends
        self._fetcher = fetcher
        self._absence = absence
        self._store = tools.store
        self._shop = tools.shop
        self._orders = tools.orders
        self._clock = tools.clock
        self._receipts = tools.receipts
        self._health = tools.health
        self._hooks = tools.hooks
        self._metrics = tools.metrics
        self._doubt_ms = tools.doubt_ms

    async def clear_up(self, job: Job) -> None:
        """Look for what its provider says of the order now; after so many days what was quoted counts as spent."""
        account, made = self._shop.accounts.get(job.account or ""), made_of(job)
        if self._clock() >= self._until(job):
            await self._end_doubt(job, account, made)
        elif account is None:
            await self._look_on(job)
        elif made is None:
            await self._look_for(job, account)
        else:
            made, unheard = await self._fetcher.renew(job, made, account)
            await self._collect_late(job, made, account, unheard)

    async def _end_doubt(self, job: Job, account: Account | None, made: Finished | None) -> None:
        """Wait no more; what has come of a clip by now is all there is."""
        if made is None:
            await self._settle(job, Bill.PRICE)
            return
        missed = {0: ClipError("it did not come in time", Missed.UNREACHABLE)}
        lost = self._fetcher.lost(job, made, account, missed, "warnings")
        await self._settle(replace(job, **self._fetcher.kept(job, made, lost)), Bill.PRICE, outcome=Outcome.SUCCEEDED)

    async def _look_for(self, job: Job, account: Account) -> None:
        """Ask for evidence, and settle by it."""
        try:
            update, adopted = await self.look_up(job, account)
        except ProviderError as error:  # Silence proves nothing, and neither does having forgotten.
            log.info("poll.failed", **names(job), kind=error.kind)
            if not isinstance(error, Unsupported):  # Then nobody was asked, so nobody has answered.
                self._health.heard(account, error, self._clock())
            await self._look_on(job)
            return
        account.answered(self._clock())
        if update is None:
            if await self._absence.is_proven(job):
                await self._settle(job, Bill.NOTHING, outcome=Outcome.ABSENT)
            return
        own = () if job.task else (take_task(job, update.task, adopted=adopted),)
        job = replace(job, task=as_json(update.task))
        if update.usage:
            job = replace(job, usage=as_json(self._shop.settle(job, update.usage)))
        bill, own = bill_of(update.fault, update.usage), (*own, *strange(job, update, self._metrics, self._clock()))
        match VERDICTS[update.state]:
            case State.STORING:
                task = update.task
                made = Finished(id=task.id, data=task.data, at=self._clock(), assets=update.assets)
                await self._collect_late(job, made, account, {}, *own)
            case State.FAILED | State.CANCELLED if bill is not Bill.DOUBT:
                await self._settle(job, bill, *own, outcome=ENDINGS[update.state])
            case _:
                await self._look_on(job, *own)

    async def look_up(self, job: Job, account: Account) -> tuple[Update | None, bool]:
        """
        Find out what a provider knows of a job's order, and whether it has named its task itself.

        :raises ProviderError: nothing can be said.
        """
        told = await self._hooks.adopt(job, account) if self._hooks and not job.task else None
        return told or await self._ask(job, account), told is not None

    async def _ask(self, job: Job, account: Account) -> Update | None:
        """
        Poll its task, or look for its order; ``None`` where the provider proves that it has none.

        :raises ProviderError: nothing can be said.
        """
        task = job.task or self._receipts.get(job.attempt)
        if task:
            return await account.provider.poll(msgspec.json.decode(task, type=Task), account.wire)
        order = self._orders.write(job, read_wish(job.wish), read_choice(job.quote))
        return await account.provider.find(order, account.wire)

    async def _collect_late(self, job: Job, made: Finished, account: Account, misses: Misses, *also: Statement) -> None:
        """Keep a clip that came too late for its job, for who paid for it; of a deleted job only the money is due."""
        if job.deleted_at is not None:
            misses = {}
        elif not misses:
            made, misses = await self._fetcher.keep(job, made, account)
        notices: tuple[Notice, ...] = (LATE,) if made.kept else ()
        if misses:
            made, wait = self._fetcher.weigh(job, made, account, misses)
            if wait is not None:
                await self._ends.later(job, wait, also=also, task=noted(made))
                return
            notices = (*notices, self._fetcher.lost(job, made, account, misses, "warnings"))
        job = replace(job, **self._fetcher.kept(job, made, *notices))
        await self._settle(job, Bill.PRICE, *also, outcome=Outcome.SUCCEEDED)

    async def _settle(self, job: Job, bill: Bill, *also: Statement, outcome: Outcome | None = None) -> None:
        """Write what a job cost in the end; of one that was deleted, meanwhile or before, no file stays."""
        now = self._clock()
        due = job.expires_at if job.deleted_at is None else now
        job, postings = closed(move(job, job.state, now, due_at=due), bill, now)
        told = [*also, *(() if unsettled(job) else tell_settled(job))]
        if outcome is None:
            await self._store.save(job, postings=postings, also=told)
        else:
            made = replace(standing(job, outcome, now, "known after its end", job.task), ended_at=job.completed_at)
            await self._store.save(job, made, postings=postings, also=told)
        self._ends.booked(job, postings)
        log.info("job.settled", **names(job), bill=bill)
        found = await self._store.any_job(job.id)
        if found is not None and found.deleted_at is not None and job.deleted_at is None:
            await self._fetcher.expire(found)

    async def _look_on(self, job: Job, *also: Statement) -> None:
        """Look again when that may be worth it."""
        now = self._clock()
        due = now + int(1000 * look_on((now - (job.completed_at or now)) / 1000))
        due = min(due, self._until(job))
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=due), also=also)

    def _until(self, job: Job) -> int:
        """Say until when evidence is waited for."""
        return (job.completed_at or 0) + self._doubt_ms
