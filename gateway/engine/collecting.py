"""Collect a finished task's clips for as long as their links may live, and end its job with those that are kept."""

import msgspec

from gateway.engine.ending import Ends
from gateway.engine.fetching import Fetcher, Misses, noted
from gateway.engine.tools import Tools
from gateway.failpoints import failpoint
from gateway.jobs.finished import Finished
from gateway.jobs.job import Job, Outcome, State, move, standing
from gateway.jobs.wish import Notice, Problem, read_choice
from gateway.money.billing import Bill
from gateway.offers.accounts import Account
from gateway.store.database import ConflictError


class Collector:
    """Know how a job goes on whose task is done."""

    def __init__(self, tools: Tools, ends: Ends, fetcher: Fetcher) -> None:
        self._ends = ends
        self._fetcher = fetcher
        self._store = tools.store
        self._shop = tools.shop
        self._keeper = tools.keeper
        self._clock = tools.clock

    async def collect(self, job: Job, account: Account) -> None:
        """Go on with a clip that is not kept yet."""
        finished = msgspec.json.decode(job.task or "", type=Finished)
        finished, unheard = await self._fetcher.renew(job, finished, account)
        if unheard:
            await self._missed(job, finished, account, unheard)
        else:
            await self.fetch(job, finished, account)

    async def fetch(self, job: Job, finished: Finished, account: Account) -> None:
        """Copy what is not kept yet of a finished task into our own store, and end the job."""
        finished, misses = await self._fetcher.keep(job, finished, account)
        if misses:
            await self._missed(job, finished, account, misses)
            return
        failpoint("after_file")
        await self.deliver(job, finished)

    async def _missed(self, job: Job, finished: Finished, account: Account, misses: Misses) -> None:
        """Try again while that may help one of the clips; then make do with those that are kept, or say it is lost."""
        finished, wait = self._fetcher.weigh(job, finished, account, misses)
        if wait is None:
            await self.lose(job, finished, account, misses)
            return
        try:
            await self._ends.later(job, wait, task=noted(finished))
        except ConflictError:
            self._keeper.forget(job.id)  # Whoever has overtaken us may have ended it, and left this to us.
            raise

    async def lose(self, job: Job, finished: Finished, account: Account | None, misses: Misses) -> None:
        """End a job of which a clip is lost that was paid for: tell where it may still lie, deliver the others."""
        if finished.kept:
            await self.deliver(job, finished, self._fetcher.lost(job, finished, account, misses, "warnings"))
            return
        lost = self._fetcher.lost(job, finished, account, misses, "error")
        provider = read_choice(job.quote).provider
        problem = Problem(code=lost.type, message=lost.details, provider=provider, result_links=lost.result_links)
        ended = standing(job, Outcome.SUCCEEDED, self._clock(), str(next(iter(misses.values()))))
        await self._ends.fail(job, problem, ended, bill=Bill.PRICE)

    async def deliver(self, job: Job, finished: Finished, *notices: Notice) -> None:
        """End a job whose clips are kept."""
        now = self._clock()
        done = move(job, State.SUCCEEDED, now, **self._fetcher.kept(job, finished, *notices))
        if job.started_at is not None:
            self._shop.observe(read_choice(job.quote).offer, (now - await self._ordered_at(job, job.started_at)) / 1000)
        await self._ends.end(done, standing(done, Outcome.SUCCEEDED, now, None), bill=Bill.PRICE)

    async def _ordered_at(self, job: Job, started_at: int) -> int:
        """Say when the order was begun that made a clip; of a job's only one its own row tells."""
        if job.attempts == 1:
            return started_at
        return next(each.intent_at for each in await self._store.attempts(job.id) if each.id == job.attempt)
