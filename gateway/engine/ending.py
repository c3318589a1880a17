"""End a job, once, with its money and its messages; or let it come again."""

from collections.abc import Sequence

import structlog

from gateway.engine.tools import Tools
from gateway.events.events import announce
from gateway.failpoints import failpoint
from gateway.jobs.job import IN_VAIN, Attempt, Job, State, as_json, move
from gateway.jobs.wish import Problem
from gateway.money.billing import Bill, closed, hold_of
from gateway.money.ledger import Posting
from gateway.store.database import Statement
from gateway.telemetry import names

log = structlog.get_logger()


class Ends:
    """Know how any job ends, and when one comes again that did not."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._accounts = tools.shop.accounts
        self._most = tools.shop.routing.max_attempts
        self._clock = tools.clock
        self._metrics = tools.metrics

    async def later(
        self, job: Job, seconds: float, *attempts: Attempt, also: Sequence[Statement] = (), **changes: str
    ) -> None:
        """Look again later; this time came to nothing."""
        now = self._clock()
        due = now + int(seconds * 1000)
        due = min(due, job.deadline_at) if now < job.deadline_at else due
        moved = move(job, job.state, now, tries=job.tries + 1, due_at=due, **changes)
        await self._store.save(moved, *attempts, also=also)

    async def fail(
        self, job: Job, problem: Problem, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """End a job badly, saying why."""
        await self.end(move(job, State.FAILED, self._clock(), error=as_json(problem)), *attempts, bill=bill, also=also)

    async def end(
        self, job: Job, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """Keep a final state, what it cost and whom it is told, and give its place at the account back."""
        job, postings = closed(job, bill, self._clock())
        await self._store.save(job, *attempts, postings=postings, also=[*also, *announce(job)])
        failpoint("after_end")
        if attempts:
            self.free(job)
        self._metrics.ended(job)
        self.booked(job, postings)
        log.info("job.ended", **names(job), state=job.state)

    def booked(self, job: Job, postings: Sequence[Posting]) -> None:
        """Count what was spent, and say what became of what was set aside; most loudly where it was too little."""
        held = hold_of(job)
        if held is None or not postings:
            return
        self._metrics.spent(postings)
        usd = None if held.charged is None else held.charged / 1_000_000
        log.info("hold.settled", **names(job), billing=held.billing, usd=usd)
        over = sum(each.entry.usd_micros for each in postings if each.entry.kind == "excess")
        if over:
            log.warning("estimate.exceeded", **names(job), usd=usd, over_usd=over / 1_000_000)

    async def may_try_again(self, job: Job) -> bool:
        """Whether another order may be made for a job whose open one came to nothing; a busy seller's word is none."""
        if job.attempts < self._most:
            return True
        tried = await self._store.attempts(job.id)
        return sum(each.outcome in IN_VAIN for each in tried) + 1 < self._most

    def free(self, job: Job) -> None:
        """Give an attempt's place at its account back."""
        account = self._accounts.get(job.account or "")
        if account is not None:
            account.give_place()
