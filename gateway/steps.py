"""
Take one step with a claimed job: buy, look, fetch, or clear up.

Money leaves at one line, in :meth:`Steps._buy`: everything before it is committed, everything after it is
evidence. What a provider's answer means is decided in :mod:`gateway.job`; what happens next, here.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from gateway.accounts import Account
from gateway.billing import Bill, bill_of, closed, raised
from gateway.database import ConflictError, StoreUnavailableError
from gateway.failpoints import failpoint
from gateway.fetch import open_asset
from gateway.findings import compare, problem_of, until_absent, verdict
from gateway.health import Health
from gateway.ids import new_id
from gateway.job import ENDINGS, VERDICTS, Attempt, Job, Outcome, State, backoff, move, next_look, standing
from gateway.media import ClipError, Media
from gateway.orders import Orders
from gateway.receipts import Receipts
from gateway.routing import UnknownModelError
from gateway.shop import Shop, pin
from gateway.store import BudgetError, FullError, HaltedError, Store
from gateway.telemetry import Metrics, names
from gateway.wish import Choice, Notice, Problem, Rendition, Wish
from providers.base.errors import Again, Billed, Invalid, Missing, ProviderError, Refused, Unsupported
from providers.base.task import AssetRef, Task, Update
from providers.base.task import State as TaskState

log = structlog.get_logger()

DAY_MS = 86_400_000
FETCH_TRIES = 5
FULL_MS = 500
"""Shortest wait for a place at a full account."""
FULL_MOST_MS = 15_000
HALTED_MS = 2_000
"""How soon a job is looked at again that an operator has kept from being bought."""


class Steps:
    """Know how to take a job one step further from wherever it stands."""

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
    ) -> None:
        self._store = store
        self._shop = shop
        self._media = media
        self._metrics = metrics
        self._clock = clock
        self._receipts = receipts
        self._health = Health(metrics)
        self._lease = int(lease_seconds * 1000)
        self._retention_ms = retention_ms
        self._orders = orders

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
        failpoint("after_claim")
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
            await self._queue_on(job)
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
        intended, postings = raised(intended, choice, attempt.id, now)
        account.take_place(now)
        try:
            place = self._store.place(account.name, account.max_running)
            await self._store.save(intended, attempt, postings=postings, also=place)
        except ConflictError as error:
            account.give_place()
            await self._unbought(job, error)
            return
        except BaseException:
            account.give_place()
            raise
        failpoint("after_intent")
        await self._buy(intended, wish, choice)

    async def _unbought(self, job: Job, error: ConflictError) -> None:
        """Go on with a job whose intent to buy was not committed; nothing was bought."""
        now = self._clock()
        match error:
            case FullError():
                await self.count()  # Another process has taken the last place.
                await self._queue_on(job)
            case HaltedError():
                log.info("purchase.halted", **names(job))
                await self._store.save(move(job, State.QUEUED, now, due_at=now + HALTED_MS))
            case BudgetError():
                message = "The offer it was quoted at could not make it, and the next best is above the budget."
                await self._fail(job, Problem(code="budget_exceeded", message=message))
            case _:
                raise error

    async def _queue_on(self, job: Job) -> None:
        """Look again later whether the account has a place: the longer a job has waited, the later."""
        now = self._clock()
        wait = max(FULL_MS, min(FULL_MOST_MS, (now - job.created_at) // 10))
        await self._store.save(move(job, State.QUEUED, now, due_at=now + wait))

    async def count(self) -> None:
        """Take over how many attempts are open at each account, whichever process opened them."""
        running = await self._store.running()
        for name, account in self._shop.accounts.items():
            account.running = running.get(name, 0)

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
            update = await account.provider.submit(self._orders.write(job, wish, choice), account.wire)
        except ProviderError as error:
            self._metrics.submits.labels(choice.provider, error.kind).inc()
            log.info("attempt.refused", **names(job), kind=error.kind, code=error.code)
            await self._refused(job, error, choice)
            return
        except Exception as error:
            # A crash of ours after the call may have left: nobody can tell, so nobody may buy again.
            log.exception("submit.crashed", **names(job), exc_info=error)
            now = self._clock()
            lost = standing(job, Outcome.UNKNOWN, now, "the gateway failed while it read the answer")
            await self._store.save(move(job, State.UNKNOWN, now, due_at=now + 1000), lost)
            return
        failpoint("after_answer")
        self._metrics.submits.labels(choice.provider, "accepted").inc()
        account.answered(self._clock())
        assert job.attempt is not None
        self._receipts.note(job.attempt, _json(update.task))
        failpoint("after_receipt")
        try:
            await self._observe(job, update, account)
        except StoreUnavailableError:
            self._receipts.sync()  # What was bought must outlive a database that could not be told.
            raise

    async def _refused(self, job: Job, error: ProviderError, choice: Choice) -> None:
        """Decide what a submit without a task means: wait, try elsewhere, end, or admit not to know."""
        now = self._clock()
        wait = int(1000 * backoff(job.attempts + job.tries, error.retry_after, random.random()))  # noqa: S311
        self._health.turned_down(self._shop.accounts[choice.account], choice.model, error, now)
        if job.state is State.UNKNOWN and not isinstance(error, Invalid | Refused):
            # Turned away at the door this time; that says nothing of the first time.
            await self._store.save(move(job, State.UNKNOWN, now, tries=job.tries + 1, due_at=now + wait))
        elif error.billed is not Billed.NO or error.again is Again.NEVER:
            lost = standing(job, Outcome.UNKNOWN, now, error.message)
            await self._store.save(move(job, State.UNKNOWN, now, due_at=now + 1000), lost)
        elif error.again is Again.HERE:
            self._free(job)
            back = move(job, State.QUEUED, now, due_at=now + wait, attempt=None, account=None)
            await self._store.save(back, standing(job, Outcome.NOT_ACCEPTED, now, error.message))
        else:
            refused = standing(job, Outcome.REFUSED, now, error.message)
            problem = problem_of(error, choice.provider)
            if error.again is Again.NO or job.attempts >= self._shop.routing.max_attempts:
                await self._fail(job, problem, refused)
            else:
                self._free(job)
                elsewhere = move(job, State.QUEUED, now, due_at=now, attempt=None, account=None, error=_json(problem))
                await self._store.save(elsewhere, refused)

    async def _doubt(self, job: Job) -> None:
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
        await self._store.save(running, standing(job, Outcome.ACCEPTED, now, None, task))
        return True

    async def _reconcile(self, job: Job) -> None:
        """Find out what became of an order: repeat it where that is free (class A), else look it up."""
        now = self._clock()
        if await self._recall(job):
            return
        choice = msgspec.json.decode(job.quote, type=Choice)
        account = self._shop.accounts.get(choice.account)
        if now >= job.deadline_at:
            message = "The provider never answered; the clip may have been bought. It was not ordered twice."
            problem = Problem(code="submission_unknown", message=message, provider=choice.provider)
            lost = standing(job, Outcome.FAILED, now, "never cleared up")
            await self._fail(job, problem, lost, bill=Bill.DOUBT)
            return
        if account is None:
            await self._later(job, 60.0)
            return
        wish = msgspec.json.decode(job.wish, type=Wish)
        if account.provider.listing.submit_class == "A":
            await self._buy(job, wish, choice)
            return
        try:
            update = await account.provider.find(self._orders.write(job, wish, choice), account.wire)
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
        """Order anew what never arrived, once it can no longer be on its way."""
        now = self._clock()
        intent_at = next(each.intent_at for each in await self._store.attempts(job.id) if each.id == job.attempt)
        wait = until_absent((now - intent_at) / 1000, job.tries)
        if wait is not None:
            await self._later(job, wait)
            return
        self._free(job)
        absent = standing(job, Outcome.ABSENT, now, "the provider proved that it never took the order")
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
                await self._later(job, max(wait, listing.poll_seconds))
            return
        account.answered(now)
        await self._observe(job, update, account)

    async def _stop(self, job: Job, task: Task, account: Account) -> Update:
        """Ask the provider to stop; one that cannot is looked at as ever."""
        try:
            return await account.provider.cancel(task, account.wire)
        except Unsupported:
            log.info("cancel.unsupported", **names(job))
            return await account.provider.poll(task, account.wire)

    async def _observe(self, job: Job, update: Update, account: Account) -> None:
        """Keep what was seen of a task, and go on where it is done."""
        now = self._clock()
        listing = account.provider.listing
        task = _json(update.task)
        state = VERDICTS[update.state]
        if update.state is TaskState.UNKNOWN:
            log.warning("task.state_unknown", **names(job), word=update.raw_state)
        if state is State.RUNNING and job.state is State.STORING:
            state = State.STORING  # It was done before; a word that takes that back is not a verdict.
        seen = {"task": task, "progress": update.progress, "error": None}
        if update.usage:
            seen["usage"] = _json(self._shop.settle(job, update.usage))
            if update.usage.remaining_credits is not None:
                account.note_credits(update.usage.remaining_credits, now)
        if state is State.RUNNING:
            if now >= job.deadline_at:
                await self._give_up(job, account, task)
                return
            wait = next_look(listing.poll_seconds, (now - (job.started_at or now)) / 1000, update.poll_after)
            running = move(job, state, now, due_at=now + int(wait * 1000), **seen)
            accepted = () if job.state is State.RUNNING else (standing(job, Outcome.ACCEPTED, now, None, task),)
            await self._store.save(running, *accepted)
            if accepted:
                failpoint("after_running")
        elif state is State.STORING:
            failpoint("after_verdict")
            lease = now + self._lease
            storing = move(job, state, now, due_at=lease, lease_until=lease, **seen)
            await self._store.save(storing, standing(job, Outcome.ACCEPTED, now, None, task))
            failpoint("after_storing")
            await self._fetch(storing, update.assets, account)
        elif state is State.CANCELLED:
            ended = standing(job, Outcome.CANCELLED, now, None, task)
            await self._end(move(job, state, now, **seen), ended, bill=bill_of(update.fault, update.usage))
        else:
            problem = verdict(update, listing.slug)
            ended = standing(job, ENDINGS[update.state], now, problem.message, task)
            await self._fail(job, problem, ended, bill=bill_of(update.fault, update.usage))

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
            log.warning("clip.missed", **names(job), reason=str(error), tries=job.tries + 1)
            if job.tries + 1 < FETCH_TRIES:
                await self._later(job, min(8.0, 0.25 * 4**job.tries))
                return
            message = f"The clip was made and paid for, but could not be kept: {error}."
            problem = Problem(code="result_lost", message=message, provider=account.provider.listing.slug)
            lost = standing(job, Outcome.SUCCEEDED, self._clock(), str(error))
            await self._fail(job, problem, lost, bill=Bill.PRICE)
            return
        failpoint("after_file")
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
        await self._end(done, standing(job, Outcome.SUCCEEDED, now, None), bill=Bill.PRICE)

    async def _expire(self, job: Job) -> None:
        """Remove the clips of a job whose retention is over; the row stays."""
        await self._media.remove_clips(job.id)
        await self._store.save(move(job, job.state, self._clock(), outputs="[]", due_at=None))

    async def _later(self, job: Job, seconds: float) -> None:
        """Look again later; this time came to nothing."""
        now = self._clock()
        due = now + int(seconds * 1000)
        due = min(due, job.deadline_at) if now < job.deadline_at else due
        await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=due))

    async def _give_up(self, job: Job, account: Account, task: str | None = None) -> None:
        """End a job whose provider gave no verdict by the deadline."""
        message = "The provider gave no verdict in time; the clip may have been billed."
        problem = Problem(code="deadline_exceeded", message=message, provider=account.provider.listing.slug)
        late = standing(job, Outcome.FAILED, self._clock(), "deadline", task)
        await self._fail(job, problem, late, bill=Bill.DOUBT)

    async def _fail(self, job: Job, problem: Problem, *attempts: Attempt, bill: Bill = Bill.NOTHING) -> None:
        """End a job badly, saying why."""
        await self._end(move(job, State.FAILED, self._clock(), error=_json(problem)), *attempts, bill=bill)

    async def _end(self, job: Job, *attempts: Attempt, bill: Bill = Bill.NOTHING) -> None:
        """Keep a final state and what it cost, and give its place at the account back."""
        job, postings = closed(job, bill, self._clock())
        await self._store.save(job, *attempts, postings=postings)
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


def _json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()
