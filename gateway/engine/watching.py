"""
Watch a task until its provider's verdict.

What a provider's answer means is decided in :mod:`gateway.jobs.job`; what happens next, here.
"""

import random

import msgspec
import structlog
from msgspec.structs import replace

from gateway.clips.fetch import is_public
from gateway.engine.collecting import Collector
from gateway.engine.ending import Ends
from gateway.engine.fetching import Fetcher, noted
from gateway.engine.findings import NO_ACCOUNT, alone, resumed, sentence, verdict, waiting_for
from gateway.engine.tools import Tools
from gateway.engine.unread import strange
from gateway.events.events import foretell
from gateway.events.hooks import take_task
from gateway.failpoints import failpoint
from gateway.jobs.finished import ClipError, Finished, Missed, next_try
from gateway.jobs.job import (
    ENDINGS,
    VERDICTS,
    Job,
    Outcome,
    State,
    as_json,
    backoff,
    move,
    next_look,
    requeued,
    standing,
)
from gateway.jobs.wish import Problem, read_choice
from gateway.money.billing import Bill, bill_of
from gateway.offers.accounts import Account, link_hours
from gateway.telemetry import names
from providers.base.errors import Missing, ProviderError, Unsupported
from providers.base.task import State as TaskState
from providers.base.task import Task, Update

log = structlog.get_logger()

OTHERS_MS = 300_000
"""How long past its deadline a job whose account a process lacks is left to others on its store, which may have it."""


class Watcher:
    """Know how a job with a task goes on."""

    def __init__(self, tools: Tools, ends: Ends, fetcher: Fetcher, collector: Collector) -> None:
        self._ends = ends
        self._fetcher = fetcher
        self._collector = collector
        self._store = tools.store
        self._shop = tools.shop
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._health = tools.health
        self._hooks = tools.hooks
        self._lease = tools.lease_ms

    async def look(self, job: Job) -> None:
        """Ask the provider how a task stands; only its verdict ends a job, or the deadline."""
        now = self._clock()
        account = self._shop.accounts.get(job.account or "")
        if account is None:
            await self._without(job, now)
            return
        job = resumed(job)
        if job.state is State.STORING:
            await self._collector.collect(job, account)
            return
        task = msgspec.json.decode(job.task or "", type=Task)
        try:
            if job.cancel_requested and job.state is State.RUNNING:
                update = await self._stop(job, task, account)
            else:
                update = await account.provider.poll(task, account.wire)
        except ProviderError as error:
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, now)
            await self._saw_nothing(job, account, error, now)
            return
        account.answered(now)
        await self.observe(job, update, account)

    async def _saw_nothing(self, job: Job, account: Account, error: ProviderError, now: int) -> None:
        """Look again later, unless the task is lost or its time is over."""
        listing = account.provider.listing
        lost_after = (job.started_at or now) + int(listing.missing_seconds * 1000)
        if isinstance(error, Missing) and now >= lost_after:
            message = "The provider no longer knows the task; it may have been billed."
            problem = Problem(code="task_lost", message=message, provider=listing.slug)
            await self._ends.fail(job, problem, standing(job, Outcome.FAILED, now, error.message), bill=Bill.DOUBT)
        elif now >= job.deadline_at:
            await self.give_up(job)
        else:
            wait = backoff(job.tries, error.retry_after, random.random())  # noqa: S311
            await self._ends.later(job, max(wait, self._next_look(job, account, None, now)))

    def _next_look(self, job: Job, account: Account, asked: float | None, now: int) -> float:
        """Say in how many seconds a task is looked at again; who is sick is not asked more often than who is well."""
        listing = account.provider.listing
        told = listing.submit_class == "C" and bool(self._hooks and self._hooks.reachable)
        wait = next_look(listing.poll_seconds, (now - (job.started_at or now)) / 1000, asked, told=told)
        if job.state is State.RUNNING:
            return account.looks.interval(wait, (now - job.updated_at) / 1000, now)
        return wait

    async def _without(self, job: Job, now: int) -> None:
        """
        Go on with a task whose account is not configured, as far as anybody could.

        A clip that lies where it can be had without credentials is kept. All else waits for the account to be
        configured again, and ends as any other: without a verdict at its deadline, else when its links die.
        """
        if job.state is not State.STORING:
            if self.is_hopeless(job, now):
                await self.give_up(job)
            else:
                await self.await_account(job, 30.0)
            return
        finished = msgspec.json.decode(job.task or "", type=Finished)
        finished = replace(finished, at=finished.at or now)
        former = self._shop.former(job.account or "", read_choice(job.quote).provider)
        if former and finished.links() and all(is_public(former, each.url) for each in finished.links()):
            finished, misses = await self._fetcher.keep(job, finished, former)
            if not misses:
                await self._collector.deliver(job, finished)
                return
        miss = ClipError(alone(job.account), Missed.NO_ACCOUNT)
        wait = next_try(miss.kind, job.tries, 0, finished.left(self._clock(), link_hours(former)))
        if wait is None:
            await self._collector.lose(job, finished, former, {0: miss})
        else:
            await self.await_account(replace(job, task=noted(finished)), wait)

    def is_hopeless(self, job: Job, now: int) -> bool:
        """Whether nobody will tell any more what became of a job whose account is not configured here."""
        return now >= job.deadline_at + (OTHERS_MS if self._store.shared else 0)

    async def await_account(self, job: Job, seconds: float) -> None:
        """Look again later whether a job's account is configured, where everybody can see that it waits for that."""
        if waiting_for(job) is None:
            log.warning("account.missing", **names(job), state=job.state)
        problem = Problem(code=NO_ACCOUNT, message=alone(job.account))
        await self._ends.later(job, seconds, error=as_json(problem))

    async def _stop(self, job: Job, task: Task, account: Account) -> Update:
        """Ask the provider to stop; one that cannot is looked at as ever."""
        try:
            return await account.provider.cancel(task, account.wire)
        except Unsupported:
            log.info("cancel.unsupported", **names(job))
            return await account.provider.poll(task, account.wire)

    async def observe(self, job: Job, update: Update, account: Account, *, adopted: bool = False) -> None:
        """
        Keep what was seen of a task, and go on where it is done.

        :raises ConflictError: an ``adopted`` task is another attempt's.
        """
        own = () if job.task else (take_task(job, update.task, adopted=adopted), *foretell(job))
        now = self._clock()
        listing = account.provider.listing
        task = as_json(update.task)
        state = VERDICTS[update.state]
        own = (*own, *strange(job, update, self._metrics, now))
        seen = {"task": task, "progress": update.progress, "error": None}
        if update.usage:
            seen["usage"] = as_json(self._shop.settle(job, update.usage))
            if update.usage.remaining_credits is not None:
                account.note_credits(update.usage.remaining_credits, now)
        if state is State.RUNNING:
            if now >= job.deadline_at:
                await self.give_up(job, task)
                return
            wait = self._next_look(job, account, update.poll_after, now)
            running = move(job, state, now, due_at=now + int(wait * 1000), **seen)
            accepted = () if job.state is State.RUNNING else (standing(job, Outcome.ACCEPTED, now, None, task),)
            await self._store.save(running, *accepted, also=own)
            if accepted:
                failpoint("after_running")
        elif state is State.STORING:
            failpoint("after_verdict")
            lease = now + self._lease
            finished = Finished(id=update.task.id, data=update.task.data, at=now, assets=update.assets)
            storing = move(job, state, now, due_at=lease, lease_until=lease, **{**seen, "task": noted(finished)})
            await self._store.save(storing, standing(job, Outcome.ACCEPTED, now, None, task), also=own)
            failpoint("after_storing")
            await self._collector.fetch(storing, finished, account)
        elif state is State.CANCELLED:
            ended = standing(job, Outcome.CANCELLED, now, None, task)
            await self._ends.end(
                move(job, state, now, **seen), ended, bill=bill_of(update.fault, update.usage), also=own
            )
        else:
            problem, bill = verdict(update, listing.slug), bill_of(update.fault, update.usage)
            ended = standing(job, ENDINGS[update.state], now, problem.message, task)
            if await self._may_go_elsewhere(job, update, bill):
                log.info("attempt.failed", **names(job), code=problem.code, provider_code=problem.provider_code)
                await self._store.save(requeued(job, now, error=as_json(problem)), ended, also=own)
                self._ends.free(job)
            else:
                await self._ends.fail(job, problem, ended, bill=bill, also=own)

    async def _may_go_elsewhere(self, job: Job, update: Update, bill: Bill) -> bool:
        """Whether another may be asked for the clip: this one's word is that it failed, and that it charges nothing."""
        failed = update.state is not TaskState.REFUSED and bill is Bill.NOTHING
        return failed and not job.cancel_requested and await self._ends.may_try_again(job)

    async def give_up(self, job: Job, task: str | None = None) -> None:
        """End a job whose provider gave no verdict by the deadline."""
        why = "The provider gave no verdict in time"
        if job.account not in self._shop.accounts:
            why = sentence(f"{alone(job.account)}, so nobody could ask for a verdict in time")
        message = f"{why}; the clip may have been billed."
        problem = Problem(code="deadline_exceeded", message=message, provider=read_choice(job.quote).provider)
        late = standing(job, Outcome.FAILED, self._clock(), "deadline", task)
        await self._ends.fail(job, problem, late, bill=Bill.DOUBT)
