"""
Ask, before a step, whether it is its job's turn: whether its account has a place among the steps, a look and a source.

What comes too early is put off, and costs a row's time and nothing else.
"""

from collections import Counter

import msgspec

from gateway.engine.fetching import made_of
from gateway.engine.tools import Tools
from gateway.jobs.finished import Finished
from gateway.jobs.job import Job, State
from gateway.money.billing import unsettled
from gateway.offers.accounts import Account

LOOKED_AT = frozenset({State.RUNNING, State.STORING})
"""Where a step asks the provider how a task stands."""
ASKED_ABOUT = LOOKED_AT | {State.UNKNOWN}
"""Where a step asks the provider at all, and buys nothing."""


class Turns:
    """Know whose turn it is at every account."""

    def __init__(self, tools: Tools) -> None:
        self._accounts = tools.shop.accounts
        self._clock = tools.clock
        self._shares = tools.shares

    def put_off(self, job: Job, ahead: Counter[str]) -> int | None:
        """
        Say when a job should come again whose account has no place or no look left for it now; else it is its turn.

        ``ahead`` counts whose jobs are about to be stepped before it, and this one if it is.
        """
        job = unsettled(job) or job
        name = job.account or ""
        account = self._accounts.get(name)
        due = None if account is None else self._kept_from(job, account, ahead)
        if due is None:
            ahead[name] += 1
        return due

    def _kept_from(self, job: Job, account: Account, ahead: Counter[str]) -> int | None:
        """Take a job's turn at its account, or say when that has a place and a look for it."""
        name, now, late = account.name, self._clock(), unsettled(job) is not None
        asks = job.state in ASKED_ABOUT or late
        if asks and not self._shares.left(name, ahead.total(), ahead[name]):
            return self._shares.again(name, now)
        if job.state in LOOKED_AT and (due := account.looks.take(now)) > now:
            return due
        if late and (due := account.late_looks.take(now)) > now:
            return due
        fetches = job.state is State.STORING or (late and made_of(job) is not None)
        if fetches and (due := self._turn(job, account, now)) > now:
            return due
        return None

    @staticmethod
    def _turn(job: Job, account: Account, now: int) -> int:
        """Say when a clip may be tried again: now, unless its provider serves nobody and another is tried first."""
        finished = msgspec.json.decode(job.task or "", type=Finished)
        left = 1000 * finished.left(now, account.provider.listing.link_hours)
        return account.source.take(int(left), now)
