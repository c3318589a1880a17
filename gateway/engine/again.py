"""
Order anew what nobody knows the fate of, once, for a client who would rather pay twice than wait in vain.

That is ``on_unknown: resubmit``. The order before is given up, not forgotten: its money stays in suspense beside the
hold of the next, and what comes of it is settled once the job has ended (:mod:`gateway.engine.former`).
"""

import structlog

from gateway.engine.choosing import Chooser
from gateway.engine.ending import Ends
from gateway.engine.tools import Tools
from gateway.jobs.job import Job, Outcome, as_json, requeued, standing
from gateway.jobs.wish import Problem, read_choice, read_wish
from gateway.money.billing import abandon, hold_of
from gateway.store.store import BudgetError
from gateway.telemetry import names

log = structlog.get_logger()

AGAIN = "Nobody knows whether the first order was taken, and no other could be made; the clip may have been bought."
"""What a job says that ends before its second order was made."""


class Again:
    """Know whether a job in doubt is ordered anew, and how."""

    def __init__(self, tools: Tools, ends: Ends, chooser: Chooser) -> None:
        self._ends = ends
        self._chooser = chooser
        self._store = tools.store
        self._clock = tools.clock
        self._purse = tools.purse

    async def order(self, job: Job) -> str | None:
        """
        Give an open order up, and put its job back where the next is chosen; else say why not.

        What may have been spent counts: both orders must fit the budgets, and what ``max_cost_usd`` allows in all.
        There is nothing to say of a job whose client did not ask for it, or has cancelled it, or whose steps bring the
        gateway down.
        """
        wish, now = read_wish(job.wish), self._clock()
        asked = wish.preferences.on_unknown == "resubmit" and hold_of(job) is not None
        if not asked or job.cancel_requested or job.aside_at is not None:
            return ""
        if job.abandoned is not None:
            return "that is done once"
        if not await self._ends.may_try_again(job):
            return "as many orders of it have come to nothing as may"
        first = read_choice(job.quote)
        problem = as_json(Problem(code="submission_unknown", message=AGAIN, provider=first.provider))
        left, _ = abandon(job, first, now, ())
        able, reason = await self._chooser.choose(requeued(left, now), wish, first, called=False)
        if not able:
            spent = f", of which the first order may have taken ${first.usd_micros / 1_000_000:.6g}"
            return f"{reason}{spent}" if reason.endswith("max_cost_usd") else reason
        best = next((each for each in able if self._chooser.in_time(job, each, now)), None)
        if best is None:
            return "there is no time left for another order"
        left, postings = abandon(job, best, now, await self._purse.budgets(job))
        given_up = standing(job, Outcome.ABANDONED, now, "never cleared up; another was made in its place")
        try:
            await self._store.save(requeued(left, now, error=problem), given_up, postings=postings)
        except BudgetError:
            return "a budget has not enough left for both orders"
        self._ends.free(job)
        log.warning("attempt.abandoned", **names(job), usd=first.usd_micros / 1_000_000)
        return None
