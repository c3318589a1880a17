"""
Look on after the end of a job whose money is in doubt: evidence that comes late settles it, and a late clip is kept.

What ended stays ended. Only what it cost, and what may be fetched of it, are still to be said.
"""

import msgspec
import structlog
from msgspec.structs import replace

from gateway.accounts import Account
from gateway.billing import Bill, bill_of, closed
from gateway.collecting import noted
from gateway.database import Statement
from gateway.ending import as_json
from gateway.events import tell_settled
from gateway.finished import Finished
from gateway.hooks import take_task
from gateway.job import ENDINGS, VERDICTS, Job, Outcome, State, look_on, move, standing
from gateway.telemetry import names
from gateway.watching import Watching
from gateway.wish import Notice, read_choice, read_wish
from providers.base.errors import ProviderError
from providers.base.task import Task, Update

log = structlog.get_logger()

LATE = Notice(
    type="late", feature="deadline", details="The clip came after the video had ended without it; it is kept."
)


class Late(Watching):
    """Know what is still done for a job that ended in doubt."""

    async def _clear_up(self, job: Job) -> None:
        """Look for what its provider says of the order now; after so many days what was quoted counts as spent."""
        account = self._shop.accounts.get(job.account or "")
        if self._clock() >= self._until(job):
            await self._settle(job, Bill.PRICE)
        elif account is None:
            await self._look_on(job)
        else:
            await self._look_for(job, account)

    async def _look_for(self, job: Job, account: Account) -> None:
        """Ask for evidence, and settle by it."""
        try:
            told = await self._hooks.adopt(job, account) if self._hooks and not job.task else None
            update = told or await self._ask(job, account)
        except ProviderError as error:  # Silence proves nothing, and neither does having forgotten.
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, self._clock())
            await self._look_on(job)
            return
        account.answered(self._clock())
        if update is None:
            if await self._is_absent(job):
                await self._settle(job, Bill.NOTHING, outcome=Outcome.ABSENT)
            return
        own = () if job.task else (take_task(job, update.task, adopted=told is not None),)
        state, now = VERDICTS[update.state], self._clock()
        if update.usage:
            job = replace(job, usage=as_json(self._shop.settle(job, update.usage)))
        if state is State.RUNNING:
            await self._look_on(replace(job, task=as_json(update.task)), *own)
        elif state is State.STORING:
            await self._collect_late(job, update, account, *own)
        elif (bill := bill_of(update.fault, update.usage)) is Bill.DOUBT:
            ended = move(job, job.state, now, due_at=self._until(job), task=as_json(update.task))
            await self._store.save(ended, also=own)  # There is nobody else to ask.
        else:
            job = replace(job, task=as_json(update.task))
            await self._settle(job, bill, *own, outcome=ENDINGS[update.state])

    async def _ask(self, job: Job, account: Account) -> Update | None:
        """
        Poll its task, or look for its order; ``None`` where the provider proves that it has none.

        :raises ProviderError: nothing can be said.
        """
        if job.task:
            finished = msgspec.json.decode(job.task, type=Finished)
            return await account.provider.poll(Task(finished.id, finished.data), account.wire)
        order = self._orders.write(job, read_wish(job.wish), read_choice(job.quote))
        return await account.provider.find(order, account.wire)

    async def _collect_late(self, job: Job, update: Update, account: Account, *also: Statement) -> None:
        """Keep a clip that came too late for its job, for who paid for it; of a deleted job only the money is due."""
        finished = msgspec.json.decode(job.task or as_json(update.task), type=Finished)
        finished = replace(
            finished, id=update.task.id, data=update.task.data, at=finished.at or self._clock(),
            assets=update.assets or finished.assets,
        )  # fmt: skip
        if job.deleted_at is not None:
            await self._settle(job, Bill.PRICE, *also, outcome=Outcome.SUCCEEDED)
            return
        finished, misses = await self._keep(job, finished, account)
        if not misses:
            job = replace(job, **self._kept(job, finished, LATE))
            await self._settle(job, Bill.PRICE, *also, outcome=Outcome.SUCCEEDED)
            return
        finished, wait = self._weigh(job, finished, account, misses)
        if wait is not None:
            await self._later(job, wait, also=also, task=noted(finished))
            return
        lost = self._lost(job, finished, account, misses, "warnings")
        job = replace(job, **self._kept(job, finished, lost))
        await self._settle(job, Bill.PRICE, *also, outcome=Outcome.SUCCEEDED)

    async def _settle(self, job: Job, bill: Bill, *also: Statement, outcome: Outcome | None = None) -> None:
        """Write what a job cost in the end."""
        now = self._clock()
        job, postings = closed(move(job, job.state, now, due_at=job.expires_at), bill, now)
        told = [*also, *tell_settled(job)]
        if outcome is None:
            await self._store.save(job, postings=postings, also=told)
        else:
            made = replace(standing(job, outcome, now, "known after its end", job.task), ended_at=job.completed_at)
            await self._store.save(job, made, postings=postings, also=told)
        log.info("job.settled", **names(job), bill=bill)

    async def _look_on(self, job: Job, *also: Statement) -> None:
        """Look again when that may be worth it."""
        now = self._clock()
        due = now + int(1000 * look_on((now - (job.completed_at or now)) / 1000))
        due = min(due, self._until(job))
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=due), also=also)

    def _until(self, job: Job) -> int:
        """Say until when evidence is waited for."""
        return (job.completed_at or 0) + self._doubt_ms
