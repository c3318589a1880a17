"""
Find out what became of an order nobody knows of: its answer was lost, or its worker died before there was one.

Until that is known nothing is bought anew, except where to send the same order again is free, or where its client
would rather pay twice.
"""

from contextlib import AsyncExitStack

import structlog

from gateway.engine.absence import Absence
from gateway.engine.again import Again
from gateway.engine.buying import Buyer
from gateway.engine.ending import Ends
from gateway.engine.findings import resumed
from gateway.engine.tools import Tools
from gateway.engine.watching import Watcher
from gateway.events.events import foretell
from gateway.jobs.job import UNDER_WAY, Job, Outcome, State, backoff, move, patience, requeued, standing
from gateway.jobs.wish import Choice, Problem, read_choice, read_wish
from gateway.money.billing import Bill, hold_of
from gateway.offers.accounts import Account
from gateway.telemetry import names
from providers.base.errors import ProviderError, Unsupported

log = structlog.get_logger()


class Doubts:
    """Know how a job goes on that may have bought."""

    def __init__(
        self, tools: Tools, ends: Ends, watcher: Watcher, buyer: Buyer, absence: Absence, again: Again
    ) -> None:
        self._ends = ends
        self._again = again
        self._watcher = watcher
        self._buyer = buyer
        self._absence = absence
        self._store = tools.store
        self._shop = tools.shop
        self._orders = tools.orders
        self._clock = tools.clock
        self._receipts = tools.receipts
        self._hooks = tools.hooks

    async def admit(self, job: Job) -> None:
        """Admit that nobody knows whether an order left: its worker died between the intent and the answer."""
        now = self._clock()
        if await self._recall(job):
            return
        lost = standing(job, Outcome.UNKNOWN, now, "the gateway stopped while it was buying")
        await self._store.save(move(job, State.UNKNOWN, now, due_at=now), lost)

    async def _recall(self, job: Job) -> bool:
        """Go on with an order whose answer was noted and never committed."""
        task, now = self._receipts.get(job.attempt), self._clock()
        if task is None:
            return False
        log.warning("receipt.found", **names(job))
        running = move(job, State.RUNNING, now, task=task, due_at=now)
        await self._store.save(running, standing(job, Outcome.ACCEPTED, now, None, task), also=foretell(running))
        return True

    async def reconcile(self, job: Job) -> None:
        """
        Find out what became of an order: repeat it where that is free (class A), else look it up.

        Past its deadline, which may have come while no gateway ran, its provider is still asked once; nothing is sent.
        """
        now = self._clock()
        if await self._recall(job):
            return
        choice = read_choice(job.quote)
        account = self._shop.accounts.get(choice.account)
        if account is None and not self._watcher.is_hopeless(job, now):
            if not await self._ordered_again(job):
                await self._watcher.await_account(job, 60.0)
            return
        if account is None:
            await self.never_cleared(job)
            return
        job, late = resumed(job), now >= job.deadline_at
        try:
            told = await self._hooks.adopt(job, account) if self._hooks else None
        except ProviderError as error:
            if late:
                await self.never_cleared(job)
            else:  # It has called: it took the order.
                await self._ends.later(job, backoff(job.tries, error.retry_after, 0.5))
            return
        if told is not None:
            await self._watcher.observe(job, told, account, adopted=True)
        elif account.provider.listing.submit_class != "A":
            await self._look_up(job, choice, account, now)
        elif late:
            await self.never_cleared(job)
        else:
            await self._repeat(job, choice)

    async def _repeat(self, job: Job, choice: Choice) -> None:
        """Send the same order again, which is free."""
        if await self._ordered_again(job):
            return
        wish = read_wish(job.wish)
        async with AsyncExitStack() as lent:
            handed = await self._buyer.take_in_hand(job, wish, choice, lent)
            if handed is not None:
                await self._buyer.buy(job, wish, choice, handed)

    async def _look_up(self, job: Job, choice: Choice, account: Account, now: int) -> None:
        """Ask the provider whether it has the order."""
        order = self._orders.write(job, read_wish(job.wish), choice)
        try:
            update = await account.provider.find(order, account.wire)
        except Unsupported:
            await self._await_word(job, account, now)
            return
        except ProviderError as error:
            # Silence proves nothing; the job stays where everybody can see it.
            if now >= job.deadline_at:
                await self.never_cleared(job)
            elif not await self._ordered_again(job):
                await self._ends.later(job, backoff(job.tries, error.retry_after, 0.5))
            return
        if update is None:
            await self._absent(job)
            return
        await self._watcher.observe(job, update, account)

    async def _ordered_again(self, job: Job) -> bool:
        """Order anew, where its client wants that, a job whose fate is open after half of its time."""
        return self._clock() >= patience(job) and await self._again.order(job) is None

    async def _await_word(self, job: Job, account: Account, now: int) -> None:
        """Wait for the callback of a provider nobody can ask; where none will come, its client waits for nothing."""
        is_called = account.provider.listing.submit_class == "C" and self._hooks is not None and self._hooks.reachable
        held = hold_of(job)
        # What costs nothing ends without a doubt, and nobody could name its task any more.
        waits = is_called or held is None or not held.usd_micros
        left = UNDER_WAY - (now - (job.started_at or now)) / 1000
        if now >= job.deadline_at or (not waits and left <= 0):
            await self.never_cleared(job)
        elif not await self._ordered_again(job):
            await self._ends.later(job, 60.0 if waits else left)

    async def never_cleared(self, job: Job) -> None:
        """End a job nobody can tell the fate of, and nobody will, unless it is ordered anew; a late clip is kept."""
        why = await self._again.order(job)
        if why is None:
            return
        message = "The provider never answered; the clip may have been bought. It was not ordered twice"
        message = f"{message}: {why}." if why else f"{message}."
        if job.abandoned is not None:
            message = "Neither order was answered; the clip may have been bought twice."
        provider = read_choice(job.quote).provider
        problem = Problem(code="submission_unknown", message=message, provider=provider)
        await self._ends.fail(
            job, problem, standing(job, Outcome.FAILED, self._clock(), "never cleared up"), bill=Bill.DOUBT
        )

    async def _absent(self, job: Job) -> None:
        """Order anew what never arrived, once it can no longer be on its way; past its deadline nobody waits."""
        now = self._clock()
        if now >= job.deadline_at and now - (job.started_at or now) < UNDER_WAY * 1000:
            await self.never_cleared(job)
            return
        if not await self._absence.is_proven(job):
            return
        absent = standing(job, Outcome.ABSENT, now, "the provider proved that it never took the order")
        if now >= job.deadline_at:
            message = "The provider never took the order, and there was no time left for another; nothing was bought."
            await self._ends.fail(job, Problem(code="deadline_exceeded", message=message), absent)
            return
        self._ends.free(job)
        await self._store.save(requeued(job, now), absent)
