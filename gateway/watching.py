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

from gateway.accounts import Account, link_hours
from gateway.billing import Bill, bill_of, closed
from gateway.database import ConflictError, Statement
from gateway.events import announce, foretell
from gateway.failpoints import failpoint
from gateway.fetch import is_public
from gateway.findings import NO_ACCOUNT, alone, compare, resumed, still_there, verdict, waiting_for
from gateway.finished import OURS, PASSING, ClipError, Finished, Missed, may_live, next_try
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
from gateway.wish import Notice, Problem, ResultLink, read_choice, read_wish
from providers.base.errors import Missing, ProviderError, Unsupported
from providers.base.task import State as TaskState
from providers.base.task import Task, Update

log = structlog.get_logger()

LOOKED_AT = frozenset({State.RUNNING, State.STORING})
"""Where a step asks the provider how a task stands."""


Misses = dict[int, ClipError]
"""Why clips were not kept this time, by their index."""


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
        due = account.looks.take(now)
        return due if due > now else None

    async def _look(self, job: Job) -> None:
        """Ask the provider how a task stands; only its verdict ends a job, or the deadline."""
        now = self._clock()
        account = self._shop.accounts.get(job.account or "")
        if account is None:
            await self._without(job, now)
            return
        job = resumed(job)
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
                await self._give_up(job)
            else:
                wait = backoff(job.tries, error.retry_after, random.random())  # noqa: S311
                await self._later(job, max(wait, listing.poll_seconds))
            return
        account.answered(now)
        await self._observe(job, update, account)

    async def _without(self, job: Job, now: int) -> None:
        """
        Go on with a task whose account is not configured, as far as anybody could.

        A clip that lies where it can be had without credentials is kept. All else waits for the account to be
        configured again, and ends as any other: without a verdict at its deadline, else when its links die.
        """
        if job.state is not State.STORING:
            if now >= job.deadline_at:
                await self._give_up(job)
            else:
                await self._await_account(job, 30.0)
            return
        finished = msgspec.json.decode(job.task or "", type=Finished)
        finished = replace(finished, at=finished.at or now)
        former = self._shop.former(job.account or "", read_choice(job.quote).provider)
        if former and finished.links() and all(is_public(former, each.url) for each in finished.links()):
            finished, misses = await self._keep(job, finished, former)
            if not misses:
                await self._deliver(job, finished)
                return
        miss = ClipError(alone(job), Missed.NO_ACCOUNT)
        wait = next_try(miss.kind, job.tries, 0, finished.left(self._clock(), link_hours(former)))
        if wait is None:
            await self._lose(job, finished, former, {0: miss})
        else:
            await self._await_account(replace(job, task=_noted(finished)), wait)

    async def _await_account(self, job: Job, seconds: float) -> None:
        """Look again later whether a job's account is configured, where everybody can see that it waits for that."""
        if waiting_for(job) is None:
            log.warning("account.missing", **names(job), state=job.state)
        problem = Problem(code=NO_ACCOUNT, message=alone(job))
        await self._later(job, seconds, error=as_json(problem))

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
                await self._give_up(job, task)
                return
            told = listing.submit_class == "C" and bool(self._hooks and self._hooks.reachable)
            waited = (now - (job.started_at or now)) / 1000
            wait = next_look(listing.poll_seconds, waited, update.poll_after, told=told)
            if job.state is state:
                wait = account.looks.interval(wait, (now - job.updated_at) / 1000, now)
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
                await self._missed(job, finished, account, {0: ClipError(error.message, Missed.UNREACHABLE)})
                return
        else:
            account.answered(self._clock())
            if VERDICTS[update.state] is State.STORING and update.assets:
                finished = replace(finished, assets=update.assets)
        await self._fetch(job, finished, account)

    async def _fetch(self, job: Job, finished: Finished, account: Account) -> None:
        """Copy what is not kept yet of a finished task into our own store, and end the job."""
        finished, misses = await self._keep(job, finished, account)
        if misses:
            await self._missed(job, finished, account, misses)
            return
        failpoint("after_file")
        await self._deliver(job, finished)

    async def _keep(self, job: Job, finished: Finished, account: Account) -> tuple[Finished, Misses]:
        """Keep every clip that can be had now; says why the others cannot, by their index."""
        fetches, provider = self._metrics.fetches, account.provider.listing.slug
        misses: Misses = {} if finished.assets else {0: ClipError("the provider names no clip", Missed.UNNAMED)}
        for asset in finished.links():
            try:
                clip, *drawn = await self._keeper.keep(job.id, asset, account)
            except ClipError as miss:
                misses[asset.index] = miss
                if miss.kind in OURS:
                    break  # The next would be fetched for nothing.
            else:
                finished = replace(finished, kept=(*finished.kept, replace(clip, handle=asset.handle), *drawn))
                fetches.labels(provider, "kept").inc()
        for each in misses.values():
            fetches.labels(provider, each.kind).inc()
        return finished, misses

    async def _missed(self, job: Job, finished: Finished, account: Account, misses: Misses) -> None:
        """Try again while that may help one of the clips; then make do with those that are kept, or say it is lost."""
        now, listing = self._clock(), account.provider.listing
        miss = next((each for each in misses.values() if each.kind in PASSING), next(iter(misses.values())))
        finished = replace(finished, at=finished.at or now, doubts=finished.doubts + (miss.kind not in PASSING))
        left = finished.left(now, listing.link_hours)
        wait = next_try(miss.kind, job.tries, finished.doubts, left)
        if wait is None:
            await self._lose(job, finished, account, misses)
            return
        # What only we can mend, or soon nobody, is not left among the warnings.
        grave = miss.kind in OURS or left < listing.link_hours * 900
        (log.error if grave else log.warning)("clip.missed", **_told(job, miss), left=int(left))
        try:
            await self._later(job, wait, task=_noted(finished))
        except ConflictError:
            self._keeper.forget(job.id)  # Whoever has overtaken us may have ended it, and left this to us.
            raise

    async def _lose(self, job: Job, finished: Finished, account: Account | None, misses: Misses) -> None:
        """End a job of which a clip is lost that was paid for: tell where it may still lie, deliver the others."""
        now, provider, hours = self._clock(), read_choice(job.quote).provider, link_hours(account)
        left, miss = finished.left(now, hours), next(iter(misses.values()))
        log.error("clip.lost", **_told(job, miss), left=int(left))
        self._metrics.fetches.labels(provider, "lost").inc()
        self._keeper.forget(job.id)
        ends = int(finished.at / 1000 + hours * 3600)
        links = tuple(
            ResultLink(index=each.index, url=each.url, expires_at=ends)
            for each in finished.links()
            if account and may_live(misses.get(each.index, miss).kind, left) and is_public(account, each.url)
        )
        if finished.kept:
            told = f"A clip was made and paid for, but lost: {miss}.{still_there(job.id, ends, 'warnings', links)}"
            lost = Notice(type="result_lost", feature="n", details=told, result_links=links)
            await self._deliver(job, finished, lost)
            return
        told = f"The clip was made and paid for, but could not be kept: {miss}."
        told += still_there(job.id, ends, "error", links)
        problem = Problem(code="result_lost", message=told, provider=provider, result_links=links)
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

    async def _give_up(self, job: Job, task: str | None = None) -> None:
        """End a job whose provider gave no verdict by the deadline."""
        why = "The provider gave no verdict in time"
        if job.account not in self._shop.accounts:
            why = f"{alone(job)}, so nobody could ask for a verdict in time"
        message = f"{why[0].upper()}{why[1:]}; the clip may have been billed."
        problem = Problem(code="deadline_exceeded", message=message, provider=read_choice(job.quote).provider)
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


def _told(job: Job, miss: ClipError) -> dict[str, object]:
    """Write what the log says of a clip that was not kept."""
    return {**names(job), "kind": miss.kind, "reason": str(miss), "tries": job.tries + 1}


def _noted(finished: Finished) -> str:
    """Write a finished task as its job keeps it; a clip that came inside the answer is asked for again."""
    return as_json(replace(finished, assets=tuple(each for each in finished.assets if each.url)))


def _plain(finished: Finished) -> str:
    """Write the task alone: nobody needs its addresses any more."""
    return as_json(Task(finished.id, finished.data))
