"""
Take one step with a claimed job: buy, look, fetch, or clear up.

Money leaves at one line, in :meth:`Steps._buy`: everything before it is committed, everything after it is
evidence. What a provider's answer means is decided in :mod:`gateway.job`; what happens next, here.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from gateway.accounts import EVERYTHING, Account
from gateway.fetch import open_asset
from gateway.findings import compare, problem_of, verdict
from gateway.ids import new_id
from gateway.job import ENDINGS, OPEN, VERDICTS, Attempt, Job, Outcome, State, backoff, move, next_look
from gateway.media import ClipError, Media
from gateway.routing import UnknownModelError
from gateway.shop import Shop, pin
from gateway.store import Store
from gateway.telemetry import Metrics
from gateway.wish import Choice, Notice, Problem, Rendition, Wish
from providers.base.errors import (
    Again,
    Billed,
    Exhausted,
    Invalid,
    Missing,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unauthorized,
    Unsupported,
)
from providers.base.order import Input, Order
from providers.base.task import AssetRef, Task, Update, Usage
from providers.base.task import State as TaskState

log = structlog.get_logger()

DAY_MS = 86_400_000
FETCH_TRIES = 5
RESTS: dict[type[ProviderError], float] = {Unauthorized: 3600.0, Exhausted: 1800.0, Throttled: 5.0}
"""Seconds nothing is ordered after an error that does not say how long."""
UNDER_WAY_MS = 180_000
"""How long an order may be on its way: the longest wait for an answer, and two minutes in a queue or a proxy."""
CONFIRM_MS = 10_000
"""How long after that the provider is asked once more, before the same is bought again."""
FULL_MS = 500
"""Shortest wait for a place at a full account."""
FULL_MOST_MS = 15_000


class Steps:
    """Know how to take a job one step further from wherever it stands."""

    def __init__(
        self,
        store: Store,
        shop: Shop,
        media: Media,
        metrics: Metrics,
        clock: Callable[[], int],
        *,
        lease_seconds: float,
        retention_ms: int,
    ) -> None:
        self._store = store
        self._shop = shop
        self._media = media
        self._metrics = metrics
        self._clock = clock
        self._lease = int(lease_seconds * 1000)
        self._retention_ms = retention_ms

    async def take(self, job: Job) -> None:
        """
        Take one step.

        :raises ConflictError: the job moved meanwhile; whoever moved it goes on.
        :raises StoreUnavailableError: nothing was kept; the lease brings the job back.
        """
        match job.state:
            case State.QUEUED:
                await self._order(job)
            case State.SUBMITTING:
                await self._doubt(job)
            case State.UNKNOWN:
                await self._reconcile(job)
            case State.RUNNING | State.STORING:
                await self._look(job)
            case _:
                await self._expire(job)

    async def _order(self, job: Job) -> None:
        """Choose an offer for a queued job, commit the intent to buy, and buy."""
        now = self._clock()
        if job.cancel_requested:
            await self._end(move(job, State.CANCELLED, now))
            return
        wish = msgspec.json.decode(job.wish, type=Wish)
        first = msgspec.json.decode(job.quote, type=Choice)
        if now >= job.deadline_at:
            await self._fail(job, Problem(code="deadline_exceeded", message="No offer took the job in time."))
            return
        choice, reason = await self._choose(job, wish, first)
        if choice is None:
            problem = Problem(code="no_offer", message=f"No offer can make this now: {reason}.")
            await self._fail(job, msgspec.json.decode(job.error, type=Problem) if job.error else problem)
            return
        account = self._shop.accounts[choice.account]
        if not account.has_room(choice.model, now):
            wait = max(FULL_MS, min(FULL_MOST_MS, (now - job.created_at) // 10))
            await self._store.save(move(job, State.QUEUED, now, due_at=now + wait))
            return
        attempt = Attempt(
            id=new_id("att", now),
            job=job.id,
            number=job.attempts + 1,
            offer=choice.offer,
            account=choice.account,
            submit_class=account.provider.listing.submit_class,
            outcome=Outcome.INTENT,
            usd_micros=choice.usd_micros,
            intent_at=now,
        )
        intended = move(
            job,
            State.SUBMITTING,
            now,
            lease_until=job.lease_until,
            offer=choice.offer,
            account=choice.account,
            quote=_json(choice),
            attempt=attempt.id,
            attempts=attempt.number,
            started_at=job.started_at or now,
        )
        account.take_place(now)
        try:
            await self._store.save(intended, attempt)
        except BaseException:
            account.give_place()
            raise
        await self._buy(intended, wish, choice)

    async def _choose(self, job: Job, wish: Wish, first: Choice) -> tuple[Choice | None, str]:
        """
        Pick the best offer not yet shown to be of no use; else say why none is left.

        Where that has no place free, another takes its turn only if it charges no more.
        """
        now, accounts = self._clock(), self._shop.accounts
        if not job.attempts and job.created_at // DAY_MS == now // DAY_MS and self._can_take(first, now):
            return first, ""  # Decided when it was accepted, by the same prices.
        try:
            decision = self._shop.decide(pin(wish, first.spec))
        except UnknownModelError as error:
            return None, f"no account here sells {error.model} any more"
        tried = await self._store.attempts(job.id) if job.attempts else []
        spent = {(each.account, each.offer) for each in tried if each.outcome is Outcome.REFUSED}
        able = [
            line.choice
            for line in decision.ranked
            if line.choice and (line.choice.account, line.choice.offer) not in spent
        ]
        if job.attempts and not wish.preferences.allow_fallbacks:
            able = [choice for choice in able if choice.offer == first.offer]
        refusals = [refusal.message for line in decision.others for refusal in line.refusals]
        if not able:
            return None, next(iter(refusals), "every account that could has refused it")
        best = able[0]
        free = (each for each in able if accounts[each.account].has_room(each.model, now))
        return replace(next((each for each in free if each.usd_micros <= best.usd_micros), best), why=decision.why), ""

    def _can_take(self, choice: Choice, now: int) -> bool:
        """Whether an offer is still sold here and has a place free."""
        account = self._shop.accounts.get(choice.account)
        return bool(account and account.listing.offer(choice.model) and account.has_room(choice.model, now))

    async def _buy(self, job: Job, wish: Wish, choice: Choice) -> None:
        """Hand the order over, and keep what came of it."""
        account = self._shop.accounts[choice.account]
        try:
            update = await account.provider.submit(self._order_of(job, wish, choice), account.wire)
        except ProviderError as error:
            self._metrics.submits.labels(choice.provider, error.kind).inc()
            log.info("attempt.refused", **_names(job), kind=error.kind, code=error.code)
            await self._refused(job, error, choice)
            return
        except Exception as error:
            # A crash of ours after the call may have left: nobody can tell, so nobody may buy again.
            log.exception("submit.crashed", **_names(job), exc_info=error)
            now = self._clock()
            lost = _standing(job, Outcome.UNKNOWN, now, "the gateway failed while it read the answer")
            await self._store.save(move(job, State.UNKNOWN, now, due_at=now + 1000), lost)
            return
        self._metrics.submits.labels(choice.provider, "accepted").inc()
        await self._observe(job, update, account)

    async def _refused(self, job: Job, error: ProviderError, choice: Choice) -> None:
        """Decide what a submit without a task means: wait, try elsewhere, end, or admit not to know."""
        now = self._clock()
        wait = int(1000 * backoff(job.attempts + job.tries, error.retry_after, random.random()))  # noqa: S311
        self._rest(choice, error, now)
        if job.state is State.UNKNOWN and not isinstance(error, Invalid | Refused):
            # Turned away at the door this time; that says nothing of the first time.
            await self._store.save(move(job, State.UNKNOWN, now, tries=job.tries + 1, due_at=now + wait))
        elif error.billed is not Billed.NO or error.again is Again.NEVER:
            lost = _standing(job, Outcome.UNKNOWN, now, error.message)
            await self._store.save(move(job, State.UNKNOWN, now, due_at=now + 1000), lost)
        elif error.again is Again.HERE:
            self._free(job)
            back = move(job, State.QUEUED, now, due_at=now + wait, attempt=None, account=None)
            await self._store.save(back, _standing(job, Outcome.NOT_ACCEPTED, now, error.message))
        else:
            refused = _standing(job, Outcome.REFUSED, now, error.message)
            problem = problem_of(error, choice.provider)
            if error.again is Again.NO or job.attempts >= self._shop.routing.max_attempts:
                await self._fail(job, problem, refused)
            else:
                self._free(job)
                elsewhere = move(job, State.QUEUED, now, due_at=now, attempt=None, account=None, error=_json(problem))
                await self._store.save(elsewhere, refused)

    def _rest(self, choice: Choice, error: ProviderError, now: int) -> None:
        """Order nothing more where an error says that there is no use: of the model, or of the whole account."""
        account = self._shop.accounts[choice.account]
        if error.scope is Scope.ORDER:
            return
        seconds = error.retry_after or RESTS.get(type(error), 5.0)
        until = datetime.fromtimestamp(now / 1000 + seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
        model = choice.model if error.scope is Scope.MODEL else EVERYTHING
        why = f"the account {account.name} orders nothing until {until}: {error.kind} ({error.code or error.status})"
        account.rest(model, now + int(seconds * 1000), why)
        log.warning("account.rested", account=account.name, model=model, kind=error.kind, seconds=seconds)

    async def _doubt(self, job: Job) -> None:
        """Admit that nobody knows whether an order left: its worker died between the intent and the answer."""
        now = self._clock()
        lost = _standing(job, Outcome.UNKNOWN, now, "the gateway stopped while it was buying")
        await self._store.save(move(job, State.UNKNOWN, now, due_at=now), lost)

    async def _reconcile(self, job: Job) -> None:
        """Find out what became of an order: repeat it where that is free (class A), else look it up."""
        now = self._clock()
        choice = msgspec.json.decode(job.quote, type=Choice)
        account = self._shop.accounts.get(choice.account)
        if now >= job.deadline_at:
            message = "The provider never answered; the clip may have been bought. It was not ordered twice."
            problem = Problem(code="submission_unknown", message=message, provider=choice.provider)
            await self._fail(job, problem, _standing(job, Outcome.FAILED, now, "never cleared up"))
            return
        if account is None:
            await self._later(job, 60.0)
            return
        wish = msgspec.json.decode(job.wish, type=Wish)
        if account.provider.listing.submit_class == "A":
            await self._buy(job, wish, choice)
            return
        try:
            update = await account.provider.find(self._order_of(job, wish, choice), account.wire)
        except ProviderError as error:
            # Silence proves nothing; the job stays where everybody can see it.
            await self._later(
                job, 60.0 if isinstance(error, Unsupported) else backoff(job.tries, error.retry_after, 0.5)
            )
            return
        if update is None:
            await self._absent(job)
            return
        await self._observe(job, update, account)

    async def _absent(self, job: Job) -> None:
        """Believe that an order never arrived when it can no longer be on its way and is still not there."""
        now = self._clock()
        intent_at = next(each.intent_at for each in await self._store.attempts(job.id) if each.id == job.attempt)
        waited = now - intent_at
        if waited < UNDER_WAY_MS:
            left = (UNDER_WAY_MS - waited) / 1000
            await self._later(job, min(left, backoff(job.tries, None, 0.5)))
            return
        if waited < UNDER_WAY_MS + CONFIRM_MS:
            await self._later(job, CONFIRM_MS / 1000)
            return
        self._free(job)
        absent = _standing(job, Outcome.ABSENT, now, "the provider proved that it never took the order")
        await self._store.save(move(job, State.QUEUED, now, due_at=now, attempt=None, account=None), absent)

    async def _look(self, job: Job) -> None:
        """Ask the provider how a task stands; only its verdict ends a job, or the deadline."""
        now = self._clock()
        account = self._shop.accounts.get(job.account or "")
        if account is None:
            await self._later(job, 30.0)
            return
        listing = account.provider.listing
        task = msgspec.json.decode(job.task or "", type=Task)
        try:
            if job.cancel_requested and job.state is State.RUNNING:
                update = await self._stop(job, task, account)
            else:
                update = await account.provider.poll(task, account.wire)
        except ProviderError as error:
            log.info("poll.failed", **_names(job), kind=error.kind)
            lost_after = (job.started_at or now) + int(listing.missing_seconds * 1000)
            if isinstance(error, Missing) and now >= lost_after:
                message = "The provider no longer knows the task; it may have been billed."
                await self._fail(
                    job,
                    Problem(code="task_lost", message=message, provider=listing.slug),
                    _standing(job, Outcome.FAILED, now, error.message),
                )
            elif now >= job.deadline_at:
                await self._give_up(job, account)
            else:
                wait = backoff(job.tries, error.retry_after, random.random())  # noqa: S311
                await self._later(job, max(wait, listing.poll_seconds))
            return
        await self._observe(job, update, account)

    async def _stop(self, job: Job, task: Task, account: Account) -> Update:
        """Ask the provider to stop; one that cannot is looked at as ever."""
        try:
            return await account.provider.cancel(task, account.wire)
        except Unsupported:
            log.info("cancel.unsupported", **_names(job))
            return await account.provider.poll(task, account.wire)

    async def _observe(self, job: Job, update: Update, account: Account) -> None:
        """Keep what was seen of a task, and go on where it is done."""
        now = self._clock()
        listing = account.provider.listing
        task = _json(update.task)
        state = VERDICTS[update.state]
        if update.state is TaskState.UNKNOWN:
            log.warning("task.state_unknown", **_names(job), word=update.raw_state)
        if state is State.RUNNING and job.state is State.STORING:
            state = State.STORING  # It was done before; a word that takes that back is not a verdict.
        seen = {"task": task, "progress": update.progress, "error": None}
        if update.usage:
            seen["usage"] = _json(self._shop.settle(job, update.usage))
            if update.usage.remaining_credits is not None:
                account.note_credits(update.usage.remaining_credits, now)
        if state is State.RUNNING:
            if now >= job.deadline_at:
                await self._give_up(job, account)
                return
            wait = next_look(listing.poll_seconds, (now - (job.started_at or now)) / 1000, update.poll_after)
            running = move(job, state, now, due_at=now + int(wait * 1000), **seen)
            accepted = () if job.state is State.RUNNING else (_standing(job, Outcome.ACCEPTED, now, None, task),)
            await self._store.save(running, *accepted)
        elif state is State.STORING:
            lease = now + self._lease
            storing = move(job, state, now, due_at=lease, lease_until=lease, **seen)
            await self._store.save(storing, _standing(job, Outcome.ACCEPTED, now, None, task))
            await self._fetch(storing, update.assets, account)
        elif state is State.CANCELLED:
            ended = _standing(job, Outcome.CANCELLED, now, None, task)
            await self._end(move(job, state, now, **seen), ended)
        else:
            problem = verdict(update, listing.slug)
            if update.fault and update.fault.billed is False:
                seen["usage"] = _json(Usage(usd_micros=0))
            await self._fail(job, problem, _standing(job, ENDINGS[update.state], now, problem.message, task))

    async def _fetch(self, job: Job, assets: tuple[AssetRef, ...], account: Account) -> None:
        """Copy a finished clip into our own store, measure it, and end the job."""
        kept: list[Rendition] = []
        try:
            if not assets:
                raise ClipError("the provider named no clip")
            for asset in assets:
                async with open_asset(account, asset) as chunks:
                    clip, *drawn = await self._media.keep_clip(job.id, asset.index, chunks, media_type=asset.media_type)
                kept += [replace(clip, handle=asset.handle), *drawn]
        except (ClipError, ProviderError, OSError) as error:
            log.warning("clip.missed", **_names(job), reason=str(error), tries=job.tries + 1)
            if job.tries + 1 < FETCH_TRIES:
                await self._later(job, min(8.0, 0.25 * 4**job.tries))
                return
            message = f"The clip was made and paid for, but could not be kept: {error}."
            problem = Problem(code="result_lost", message=message, provider=account.provider.listing.slug)
            await self._fail(job, problem, _standing(job, Outcome.SUCCEEDED, self._clock(), str(error)))
            return
        now = self._clock()
        choice = msgspec.json.decode(job.quote, type=Choice)
        wish = msgspec.json.decode(job.wish, type=Wish)
        differences = compare(choice, wish, kept)
        for each in differences:
            self._metrics.mismatches.labels(choice.provider, each.feature).inc()
        retention = self._retention_ms if wish.retention_seconds is None else wish.retention_seconds * 1000
        expires = now + retention if retention else None
        done = move(
            job,
            State.SUCCEEDED,
            now,
            outputs=_json(kept),
            warnings=_json([*msgspec.json.decode(job.warnings, type=list[Notice]), *differences]),
            expires_at=expires,
            due_at=expires,
        )
        if job.started_at is not None:
            self._shop.observe(choice.offer, (now - job.started_at) / 1000)
        await self._end(done, _standing(job, Outcome.SUCCEEDED, now, None))

    async def _expire(self, job: Job) -> None:
        """Remove the clips of a job whose retention is over; the row stays."""
        await self._media.remove_clips(job.id)
        await self._store.save(move(job, job.state, self._clock(), outputs="[]", due_at=None))

    async def _later(self, job: Job, seconds: float) -> None:
        """Look again later; this time came to nothing."""
        now = self._clock()
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=now + int(seconds * 1000)))

    async def _give_up(self, job: Job, account: Account) -> None:
        """End a job whose provider gave no verdict by the deadline."""
        message = "The provider gave no verdict in time; the clip may have been billed."
        problem = Problem(code="deadline_exceeded", message=message, provider=account.provider.listing.slug)
        await self._fail(job, problem, _standing(job, Outcome.FAILED, self._clock(), "deadline"))

    async def _fail(self, job: Job, problem: Problem, *attempts: Attempt) -> None:
        """End a job badly, saying why."""
        await self._end(move(job, State.FAILED, self._clock(), error=_json(problem)), *attempts)

    async def _end(self, job: Job, *attempts: Attempt) -> None:
        """Keep a final state, and give its place at the account back."""
        await self._store.save(job, *attempts)
        if attempts:
            self._free(job)
        self._metrics.ended(job)
        log.info("job.ended", **_names(job), state=job.state)

    def _free(self, job: Job) -> None:
        """Give an attempt's place at its account back."""
        account = self._shop.accounts.get(job.account or "")
        if account is not None:
            account.give_place()

    def _order_of(self, job: Job, wish: Wish, choice: Choice) -> Order:
        """Write the order of an attempt; the same attempt always makes the same order."""
        assert job.attempt is not None
        offer, inputs = self._shop.offer(choice), wish.request.inputs
        return Order(
            attempt=job.attempt,
            wire_name=offer.wire_name,
            route=offer.route,
            request=replace(pin(wish, choice.spec).request, inputs=tuple(_own(each, choice) for each in inputs)),
            spec=choice.spec,
            files={each.sha256: self._media.input_path(each.sha256) for each in inputs},
        )


def _own(each: Input, choice: Choice) -> Input:
    """Take an input's origin away unless the account that is asked made it: to any other its handle is a stranger's."""
    mine = each.origin is not None and (each.origin.provider, each.origin.account) == (choice.provider, choice.account)
    return each if mine else replace(each, origin=None)


def _standing(job: Job, outcome: Outcome, now: int, error: str | None, task: str | None = None) -> Attempt:
    """Describe how the open attempt of a job now stands; what was written at the intent stays."""
    assert job.attempt is not None
    return Attempt(
        id=job.attempt,
        job=job.id,
        number=job.attempts,
        offer=job.offer or "",
        account=job.account or "",
        submit_class="",
        outcome=outcome,
        usd_micros=0,
        intent_at=0,
        answered_at=None if outcome is Outcome.UNKNOWN else now,
        ended_at=None if outcome in OPEN else now,
        task=task,
        error=error,
    )


def _names(job: Job) -> dict[str, str | None]:
    """Name what a log line is about."""
    return {"job": job.id, "attempt": job.attempt, "offer": job.offer, "account": job.account}


def _json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()
