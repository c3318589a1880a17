"""
Watch a task until its provider's verdict, keep the clip, and end the job: once, with its money and its messages.

What a provider's answer means is decided in :mod:`gateway.job`; what happens next, here.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from gateway.accounts import Account
from gateway.billing import Bill, bill_of, closed
from gateway.database import ConflictError, Statement
from gateway.events import announce, foretell
from gateway.failpoints import failpoint
from gateway.findings import compare, verdict
from gateway.finished import PASSING, ClipError, Finished, Missed, next_try
from gateway.health import Health
from gateway.hooks import Hooks, take_task
from gateway.job import ENDINGS, VERDICTS, Attempt, Job, Outcome, State, backoff, move, next_look, standing
from gateway.keeping import Keeper
from gateway.line import Line
from gateway.media import Media
from gateway.orders import Orders
from gateway.receipts import Receipts
from gateway.shelf import ShelfError
from gateway.shop import Shop
from gateway.store import Store
from gateway.telemetry import Metrics, names
from gateway.wish import Notice, Problem, read_choice, read_wish
from providers.base.errors import Missing, ProviderError, Unsupported
from providers.base.task import State as TaskState
from providers.base.task import Task, Update

log = structlog.get_logger()

LOOKED_AT = frozenset({State.RUNNING, State.STORING})
"""Where a step asks the provider how a task stands."""


class Watching:
    """Know how a job with a task goes on, and how any job ends."""

    def __init__(
        self,
        store: Store,
        shop: Shop,
        media: Media,
        metrics: Metrics,
        clock: Callable[[], int],
        receipts: Receipts,
        orders: Orders,
        *,
        lease_seconds: float,
        retention_ms: int,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._store = store
        self._shop = shop
        self._media = media
        self._keeper = Keeper(media)
        self._metrics = metrics
        self._clock = clock
        self._receipts = receipts
        self._health = Health(metrics)
        self._lease = int(lease_seconds * 1000)
        self._retention_ms = retention_ms
        self._orders = orders
        self.line = Line(store, shop.accounts, clock)

    async def count(self) -> None:
        """Take over how many attempts are open at each account, and who waits there, whoever wrote that."""
        running = await self._store.running()
        for name, account in self._shop.accounts.items():
            account.recount(running.get(name, 0))
        await self.line.recount()

    def put_off(self, job: Job) -> int | None:
        """Say when a job should come again whose account has no look left for it now; else it is its turn."""
        account = self._shop.accounts.get(job.account or "")
        if account is None or job.state not in LOOKED_AT:
            return None
        now = self._clock()
        due = account.look(now)
        return due if due > now else None

    async def _look(self, job: Job) -> None:
        """Ask the provider how a task stands; only its verdict ends a job, or the deadline."""
        now = self._clock()
        account = self._shop.accounts.get(job.account or "")
        if account is None:
            await self._later(job, 30.0)
            return
        if job.state is State.STORING:
            await self._collect(job, account)
            return
        listing = account.provider.listing
        task = msgspec.json.decode(job.task or "", type=Task)
        try:
            if job.cancel_requested and job.state is State.RUNNING:
                update = await self._stop(job, task, account)
            else:
                update = await account.provider.poll(task, account.wire)
        except ProviderError as error:
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, now)
            lost_after = (job.started_at or now) + int(listing.missing_seconds * 1000)
            if isinstance(error, Missing) and now >= lost_after:
                message = "The provider no longer knows the task; it may have been billed."
                await self._fail(
                    job,
                    Problem(code="task_lost", message=message, provider=listing.slug),
                    standing(job, Outcome.FAILED, now, error.message),
                    bill=Bill.DOUBT,
                )
            elif now >= job.deadline_at:
                await self._give_up(job, account)
            else:
                wait = backoff(job.tries, error.retry_after, random.random())  # noqa: S311
                await self._later(job, max(wait, self._next_look(job, account, None, now)))
            return
        account.answered(now)
        await self._observe(job, update, account)

    def _next_look(self, job: Job, account: Account, asked: float | None, now: int) -> float:
        """Say in how many seconds a task is looked at again; who is sick is not asked more often than who is well."""
        listing = account.provider.listing
        told = listing.submit_class == "C" and bool(self._hooks and self._hooks.reachable)
        waited = (now - (job.started_at or now)) / 1000
        return next_look(listing.poll_seconds, waited, asked, told=told, pace=account.pace)

    async def _stop(self, job: Job, task: Task, account: Account) -> Update:
        """Ask the provider to stop; one that cannot is looked at as ever."""
        try:
            return await account.provider.cancel(task, account.wire)
        except Unsupported:
            log.info("cancel.unsupported", **names(job))
            return await account.provider.poll(task, account.wire)

    async def _observe(self, job: Job, update: Update, account: Account, *, adopted: bool = False) -> None:
        """
        Keep what was seen of a task, and go on where it is done.

        :raises ConflictError: an ``adopted`` task is another attempt's.
        """
        own = () if job.task else (take_task(job, update.task, adopted=adopted), *foretell(job))
        now = self._clock()
        listing = account.provider.listing
        task = as_json(update.task)
        state = VERDICTS[update.state]
        if update.state is TaskState.UNKNOWN:
            log.warning("task.state_unknown", **names(job), word=update.raw_state)
        seen = {"task": task, "progress": update.progress, "error": None}
        if update.usage:
            seen["usage"] = as_json(self._shop.settle(job, update.usage))
            if update.usage.remaining_credits is not None:
                account.note_credits(update.usage.remaining_credits, now)
        if state is State.RUNNING:
            if now >= job.deadline_at:
                await self._give_up(job, account, task)
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
            storing = move(job, state, now, due_at=lease, lease_until=lease, **{**seen, "task": _noted(finished)})
            await self._store.save(storing, standing(job, Outcome.ACCEPTED, now, None, task), also=own)
            failpoint("after_storing")
            await self._fetch(storing, finished, account)
        elif state is State.CANCELLED:
            ended = standing(job, Outcome.CANCELLED, now, None, task)
            await self._end(move(job, state, now, **seen), ended, bill=bill_of(update.fault, update.usage), also=own)
        else:
            problem = verdict(update, listing.slug)
            ended = standing(job, ENDINGS[update.state], now, problem.message, task)
            await self._fail(job, problem, ended, bill=bill_of(update.fault, update.usage), also=own)

    async def _collect(self, job: Job, account: Account) -> None:
        """
        Go on with a clip that is not kept yet: from fresh addresses where its provider names some, else the last.

        It was made before; whatever its provider says of the task now is not a verdict.
        """
        finished = msgspec.json.decode(job.task or "", type=Finished)
        try:
            update = await account.provider.poll(Task(finished.id, finished.data), account.wire)
        except ProviderError as error:
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, self._clock())
            if not finished.assets:
                await self._missed(job, finished, account, ClipError(error.message, Missed.UNREACHABLE))
                return
        else:
            account.answered(self._clock())
            if VERDICTS[update.state] is State.STORING and update.assets:
                finished = replace(finished, assets=update.assets)
        await self._fetch(job, finished, account)

    async def _fetch(self, job: Job, finished: Finished, account: Account) -> None:
        """Copy what is not kept yet of a finished task into our own store, and end the job."""
        provider = account.provider.listing.slug
        try:
            if not finished.assets:
                raise ClipError("the provider names no clip", Missed.UNNAMED)
            for asset in finished.links():
                clip, *drawn = await self._keeper.keep(job.id, asset, account)
                finished = replace(finished, kept=(*finished.kept, replace(clip, handle=asset.handle), *drawn))
                self._metrics.fetches.labels(provider, "kept").inc()
        except ClipError as miss:
            self._metrics.fetches.labels(provider, miss.kind).inc()
            await self._missed(job, finished, account, miss)
            return
        failpoint("after_file")
        await self._deliver(job, finished)

    async def _missed(self, job: Job, finished: Finished, account: Account, miss: ClipError) -> None:
        """Try again while that may help; then make do with the clips that are kept, or say that it is lost."""
        now, listing = self._clock(), account.provider.listing
        finished = replace(finished, at=finished.at or now, doubts=finished.doubts + (miss.kind not in PASSING))
        left = listing.link_hours * 3600 - (now - finished.at) / 1000
        wait = next_try(miss.kind, job.tries, finished.doubts, left)
        told = {**names(job), "kind": miss.kind, "reason": str(miss), "tries": job.tries + 1, "left": int(left)}
        if wait is not None:
            # What only we can mend, or soon nobody, is not left among the warnings.
            grave = miss.kind in {Missed.STORAGE, Missed.SHELF} or left < listing.link_hours * 900
            (log.error if grave else log.warning)("clip.missed", **told)
            try:
                await self._later(job, wait, task=_noted(finished))
            except ConflictError:
                self._keeper.forget(job.id)  # Whoever has overtaken us may have ended it, and left this to us.
                raise
            return
        log.error("clip.lost", **told)
        self._metrics.fetches.labels(listing.slug, "lost").inc()
        self._keeper.forget(job.id)
        if finished.kept:
            lost = Notice(type="result_lost", feature="n", details=f"A clip was made and paid for, but lost: {miss}.")
            await self._deliver(job, finished, lost)
            return
        message = f"The clip was made and paid for, but could not be kept: {miss}."
        problem = Problem(code="result_lost", message=message, provider=listing.slug)
        ended = standing(job, Outcome.SUCCEEDED, now, str(miss))
        await self._fail(job, problem, ended, bill=Bill.PRICE)

    async def _deliver(self, job: Job, finished: Finished, *notices: Notice) -> None:
        """End a job whose clips are kept, saying where they differ from what was ordered."""
        now = self._clock()
        choice = read_choice(job.quote)
        wish = read_wish(job.wish)
        differences = compare(choice, wish, [*finished.kept])
        for each in differences:
            self._metrics.mismatches.labels(choice.provider, each.feature).inc()
        retention = self._retention_ms if wish.retention_seconds is None else wish.retention_seconds * 1000
        expires = now + retention if retention else None
        done = move(
            job,
            State.SUCCEEDED,
            now,
            task=_plain(finished),
            outputs=as_json(finished.kept),
            warnings=as_json([*msgspec.json.decode(job.warnings, type=list[Notice]), *differences, *notices]),
            expires_at=expires,
            due_at=expires,
        )
        if job.started_at is not None:
            self._shop.observe(choice.offer, (now - job.started_at) / 1000)
        await self._end(done, standing(job, Outcome.SUCCEEDED, now, None), bill=Bill.PRICE)

    async def _expire(self, job: Job) -> None:
        """Remove the clips of a job whose retention is over, or that was deleted; the row stays."""
        try:
            await self._media.remove_clips(job.id)
        except ShelfError as error:
            log.error("clips.unremoved", **names(job), reason=str(error))
            now = self._clock()
            wait = int(1000 * backoff(job.tries, None, 0.5))
            await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=now + wait))
            return
        await self._store.save(move(job, job.state, self._clock(), outputs="[]", due_at=None))

    async def _later(self, job: Job, seconds: float, *, also: Sequence[Statement] = (), **changes: str) -> None:
        """Look again later; this time came to nothing."""
        now = self._clock()
        due = now + int(seconds * 1000)
        due = min(due, job.deadline_at) if now < job.deadline_at else due
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=due, **changes), also=also)

    async def _give_up(self, job: Job, account: Account, task: str | None = None) -> None:
        """End a job whose provider gave no verdict by the deadline."""
        message = "The provider gave no verdict in time; the clip may have been billed."
        problem = Problem(code="deadline_exceeded", message=message, provider=account.provider.listing.slug)
        late = standing(job, Outcome.FAILED, self._clock(), "deadline", task)
        await self._fail(job, problem, late, bill=Bill.DOUBT)

    async def _fail(
        self, job: Job, problem: Problem, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """End a job badly, saying why."""
        await self._end(move(job, State.FAILED, self._clock(), error=as_json(problem)), *attempts, bill=bill, also=also)

    async def _end(
        self, job: Job, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """Keep a final state, what it cost and whom it is told, and give its place at the account back."""
        job, postings = closed(job, bill, self._clock())
        await self._store.save(job, *attempts, postings=postings, also=[*also, *announce(job)])
        failpoint("after_end")
        if attempts:
            self._free(job)
        self._metrics.ended(job)
        log.info("job.ended", **names(job), state=job.state)

    def _free(self, job: Job) -> None:
        """Give an attempt's place at its account back."""
        account = self._shop.accounts.get(job.account or "")
        if account is not None:
            account.give_place()


def as_json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()


def _noted(finished: Finished) -> str:
    """Write a finished task as its job keeps it; a clip that came inside the answer is asked for again."""
    return as_json(replace(finished, assets=tuple(each for each in finished.assets if each.url)))


def _plain(finished: Finished) -> str:
    """Write the task alone: nobody needs its addresses any more."""
    return as_json(Task(finished.id, finished.data))
