"""
Take one step with a claimed job: choose and commit an intent (here), buy (:mod:`gateway.engine.buying`), or watch
(:mod:`gateway.engine.watching`).

Money leaves at one line, in :mod:`gateway.engine.buying`: everything before it is committed, everything after it is
evidence.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from gateway.clips.shelf import GoneError, ShelfError
from gateway.clock import DAY_MS
from gateway.engine.buying import Buying
from gateway.engine.ending import as_json
from gateway.engine.findings import NO_ACCOUNT, RESTING, alone, alone_with, resumed, sentence
from gateway.engine.finished import ClipError, Finished
from gateway.engine.job import (
    ASIDE_MS,
    IN_VAIN,
    LATE_MOST,
    Attempt,
    Job,
    Outcome,
    State,
    backoff,
    has_time,
    move,
    standing,
)
from gateway.engine.line import LONGEST_MS
from gateway.engine.trials import AGAIN_MS
from gateway.events.events import foretell
from gateway.failpoints import failpoint
from gateway.ids import new_id
from gateway.money.billing import Bill, in_doubt, raised
from gateway.offers.accounts import link_hours
from gateway.offers.routing import Decision, UnknownModelError, still
from gateway.offers.shop import pin
from gateway.offers.wish import Choice, Problem, Wish, read_choice, read_wish
from gateway.store.database import ConflictError, Statement
from gateway.store.store import BudgetError, FullError, HaltedError
from gateway.telemetry import names
from providers.base.errors import ProviderError, Unsupported

log = structlog.get_logger()

ALL_REFUSED = "every account that could has refused it"
"""Why no offer is left of those that can."""


class Steps(Buying):
    """Know how to take a job one step further from wherever it stands."""

    async def take(self, job: Job, *, called: bool = False) -> None:
        """
        Take one step; a job that was ``called`` out of a line waits behind nobody.

        :raises ConflictError: the job moved meanwhile; whoever moved it goes on.
        :raises StoreUnavailableError: nothing was kept; the lease brings the job back.
        """
        if job.poison:
            await self._put_aside(job)
            return
        match job.state:
            case State.QUEUED:
                await self._order(job, called=called)
            case State.SUBMITTING:
                await self._doubt(job)
            case State.UNKNOWN:
                with self.shares.hold(job.account or "", self._clock()):
                    await self._reconcile(job)
            case State.RUNNING | State.STORING:
                with self.shares.hold(job.account or "", self._clock()):
                    await self._look(job)
            case _ if in_doubt(job):
                with self.shares.hold(job.account or "", self._clock()):
                    await self._clear_up(job)
            case _:
                await self._expire(job)

    async def _order(self, job: Job, *, called: bool) -> None:
        """Choose an offer for a queued job, commit the intent to buy, and buy."""
        failpoint("after_claim")
        now = self._clock()
        left, job = self.line.leave(job), resumed(job)
        if job.cancel_requested:
            await self._end(move(job, State.CANCELLED, now), also=left)
            return
        wish = read_wish(job.wish)
        first = read_choice(job.quote)
        able, reason = await self._choose(job, wish, first, called=called)
        account = self._shop.accounts.get(first.account)
        if not able and account and account.is_silent(now) and self._in_time(job, first, now):
            await self._later(replace(job, account=None), backoff(job.tries, None, random.random()), also=left)  # noqa: S311
            return
        if not able:
            problem = Problem(code="no_offer", message=f"No offer can make this now: {reason}.")
            await self._fail(job, msgspec.json.decode(job.error, type=Problem) if job.error else problem, also=left)
            return
        able = [each for each in able if self._in_time(job, each, now)]
        if not able:
            lacks = self._lacks(first)
            why = f"{sentence(lacks)}, so nobody could order it" if lacks else "No offer took the job"
            late = Problem(code="deadline_exceeded", message=f"{why} in time.")
            await self._fail(job, late, also=left)
            return
        choice = next((each for each in able if self._can_take(each, now, called=called)), None)
        if choice is None:
            await self._line_up(job, able)
            return
        async with AsyncExitStack() as lent:
            files = await self._take_in_hand(job, wish, choice, lent, also=left)
            if files is None:
                return
            if not self._can_take(choice, self._clock(), called=called):  # Others went on meanwhile.
                await self._line_up(job, able)
                return
            with self.shares.hold(choice.account, self._clock()):
                await self._intend(job, wish, choice, files, able)

    async def _take_in_hand(
        self, job: Job, wish: Wish, choice: Choice, lent: AsyncExitStack, *, also: Sequence[Statement] = ()
    ) -> Mapping[str, Path] | None:
        """Have a job's inputs at hand; where that cannot be, the job waits or ends, and nothing was bought."""
        try:
            return await lent.enter_async_context(self._orders.at_hand(wish, choice))
        except ShelfError as error:
            log.error("inputs.unreachable", **names(job), reason=str(error))
            waiting = replace(job, account=None) if job.state is State.QUEUED else job  # In no line meanwhile.
            await self._later(waiting, backoff(job.tries, None, 0.5), also=also)
        except GoneError:
            message = "An input of this video is no longer kept; send it again with a new call."
            problem = Problem(code="input_lost", message=message, type="invalid_request_error")
            if job.state is State.QUEUED:
                await self._fail(job, problem, also=also)
            else:
                await self._later(job, 60.0)  # An order may have left: it stays in doubt.
        return None

    async def _intend(
        self, job: Job, wish: Wish, choice: Choice, files: Mapping[str, Path], able: Sequence[Choice]
    ) -> None:
        """Commit the intent to buy, and buy; a place taken meanwhile at its account is waited for with ``able``."""
        account, now, left = self._shop.accounts[choice.account], self._clock(), self.line.leave(job)
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
            quote=job.quote if choice is read_choice(job.quote) else as_json(choice),
            attempt=attempt.id,
            attempts=attempt.number,
            started_at=job.started_at or now,
        )
        intended, postings = raised(intended, choice, attempt.id, now)
        account.take_place(choice.model, now)
        try:
            hook = self._hooks.keep(attempt.id) if self._hooks else ()
            place = self._store.place(account.name, account.max_running)
            await self._store.save(intended, attempt, postings=postings, also=[*place, *hook, *left])
        except ConflictError as error:
            account.give_place()
            await self._unbought(job, error, able)
            return
        except BaseException:
            account.give_place()
            raise
        finally:
            account.took_place()
        failpoint("after_intent")
        await self._buy(intended, wish, choice, files)

    async def _unbought(self, job: Job, error: ConflictError, able: Sequence[Choice]) -> None:
        """Go on with a job whose intent to buy was not committed; nothing was bought."""
        match error:
            case FullError():
                await self.count()  # Another process has taken the last place.
                await self._line_up(job, able)
            case HaltedError() if (found := await self._store.any_job(job.id)) and found.cancel_requested:
                await self._end(move(job, State.CANCELLED, self._clock()), also=self.line.leave(job))
            case HaltedError():
                log.info("purchase.halted", **names(job))
                self.line.halted()
                await self._line_up(job, able)
            case BudgetError():
                message = "The offer it was quoted at could not make it, and the next best is above the budget."
                await self._fail(job, Problem(code="budget_exceeded", message=message), also=self.line.leave(job))
            case _:
                raise error

    async def _line_up(self, job: Job, able: Sequence[Choice]) -> None:
        """Wait for the first place at any account that would do."""
        now = self._clock()
        places = await self.line.join(job, able)
        # Nobody calls a suspect; and to stand in line proves nothing, so what was counted against it stays.
        due = min(now + (AGAIN_MS if job.suspect else LONGEST_MS), job.deadline_at)
        counted = {"crashes": job.crashes, "faults": job.faults}
        lacks, error = self._lacks(able[0]), job.error
        if lacks:
            log.warning("account.missing", **names(job), state=job.state, reason=lacks)
            error = error or as_json(Problem(code=NO_ACCOUNT, message=lacks))
        elif shut := self._shop.accounts[able[0].account].shut(able[0].model, now):
            error = error or as_json(Problem(code=RESTING, message=shut))
        queued = move(job, State.QUEUED, now, due_at=due, account=able[0].account, error=error, **counted)
        await self._store.save(queued, also=places)
        self.line.joined(able)

    async def _choose(self, job: Job, wish: Wish, first: Choice, *, called: bool) -> tuple[list[Choice], str]:
        """
        Pick the offers to order from or to wait for, the best first; else say why none is left.

        What was quoted and is not sold in this process is not gone where others share its store: it is theirs to make,
        and theirs to say who else would do. So a job stands in line for it, and is ordered here only where it stands in
        line already.
        """
        able, reason = await self._pick(job, wish, first, called=called)
        if not self._store.shared or not self._lacks(first):
            return able, reason
        standing = await self._store.lines(job.id) if job.account else []
        return [*(each for each in able if (each.account, each.model) in standing), first], ""

    async def _pick(self, job: Job, wish: Wish, first: Choice, *, called: bool) -> tuple[list[Choice], str]:
        """
        Pick the best offer not yet shown to be of no use, and those that charge no more; else say why none is left.

        The best comes first; the others take its turn where it has no place free.
        """
        now, keeps = self._clock(), not wish.preferences.allow_fallbacks
        if (
            not job.attempts
            and job.created_at // DAY_MS == now // DAY_MS
            and self._can_take(first, now, called=called)
            and self._in_time(job, first, now)
        ):
            return [first], ""  # Decided when it was accepted, by the same prices.
        pinned = pin(wish, first.spec)
        try:
            decision = self._shop.decide(pinned, lot=job.id)
        except UnknownModelError as error:
            return [], f"no account here sells {error.model} any more"
        tried = await self._store.attempts(job.id) if job.attempts else []
        # An account that would not may do so after its rest, which this process need not have heard of.
        vain = {Outcome.REFUSED} if keeps else IN_VAIN
        spent = {(each.account, each.offer) for each in tried if each.outcome in vain}
        choices = [line.choice for line in decision.ranked if line.choice]
        late = {(each.account, each.offer) for each in choices if not self._in_time(job, each, now)}
        able = still(decision, first, spent, late, keeps=keeps, begun=job.attempts > 0)
        if keeps and not able:
            return self._outlast(job, pinned, first, spent, decision)
        refusals = [refusal.message for line in decision.others for refusal in line.refusals]
        return able, next(iter(refusals), ALL_REFUSED)

    def _outlast(
        self, job: Job, pinned: Wish, first: Choice, spent: set[tuple[str, str]], decision: Decision
    ) -> tuple[list[Choice], str]:
        """Have a job that falls back on nobody wait out its offer's rest, if that is in time; else say why not."""
        now, rested = self._clock(), self._shop.decide(pinned, lot=job.id, rested=True)
        choices = [line.choice for line in rested.ranked if line.choice]
        late = {(each.account, each.offer) for each in choices if self._is_outlasted(job, each, now)}
        able = still(rested, first, spent | late, keeps=True, begun=job.attempts > 0)
        refusals = [
            refusal.message for line in decision.others if line.name == first.offer for refusal in line.refusals
        ]
        why = self._lacks(first) or next(iter(refusals), ALL_REFUSED)
        return able, f"{why}; provider.allow_fallbacks is false, so no other was tried"

    def _is_outlasted(self, job: Job, choice: Choice, now: int) -> bool:
        """Whether an offer rests until it is too late for a job."""
        rest = self._shop.accounts[choice.account].lasting(choice.model, now)
        return rest is not None and not self._in_time(job, choice, rest.until)

    def _in_time(self, job: Job, choice: Choice, now: int) -> bool:
        """Whether a clip ordered now can be ready before its job is given up."""
        return has_time(
            job.deadline_at - now, job.deadline_at - job.created_at, self._shop.typical_seconds(choice.offer)
        )

    def _can_take(self, choice: Choice, now: int, *, called: bool) -> bool:
        """Whether an offer is still sold here and has a place free, for who was not called one nobody waits for."""
        if self._lacks(choice):
            return False
        return self.line.has_room(choice, now) if called else self.line.is_open(choice, now)

    def _lacks(self, choice: Choice) -> str | None:
        """Say what this process lacks to order an offer; ``None`` where it is sold here."""
        account = self._shop.accounts.get(choice.account)
        if account is None:
            return alone(choice.account)
        return None if account.listing.offer(choice.model) else alone_with(choice.account, choice.model)

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
        await self._store.save(running, standing(job, Outcome.ACCEPTED, now, None, task), also=foretell(running))
        return True

    async def _reconcile(self, job: Job) -> None:
        """Find out what became of an order: repeat it where that is free (class A), else look it up."""
        now = self._clock()
        if await self._recall(job):
            return
        choice = read_choice(job.quote)
        account = self._shop.accounts.get(choice.account)
        if account is None and not self._is_hopeless(job, now):
            await self._await_account(job, 60.0)
            return
        if account is None or now >= job.deadline_at:
            await self._never_cleared(job)
            return
        job = resumed(job)
        wish = read_wish(job.wish)
        try:
            told = await self._hooks.adopt(job, account) if self._hooks else None
            if told is None and account.provider.listing.submit_class == "A":
                async with AsyncExitStack() as lent:
                    files = await self._take_in_hand(job, wish, choice, lent)
                    if files is not None:
                        await self._buy(job, wish, choice, files)
                return
            update = told or await account.provider.find(self._orders.write(job, wish, choice), account.wire)
        except ProviderError as error:
            # Silence proves nothing; the job stays where everybody can see it.
            await self._later(
                job, 60.0 if isinstance(error, Unsupported) else backoff(job.tries, error.retry_after, 0.5)
            )
            return
        if update is None:
            await self._absent(job)
            return
        await self._observe(job, update, account, adopted=told is not None)

    async def _never_cleared(self, job: Job) -> None:
        """End a job nobody could tell the fate of by its deadline."""
        message = "The provider never answered; the clip may have been bought. It was not ordered twice."
        provider = read_choice(job.quote).provider
        problem = Problem(code="submission_unknown", message=message, provider=provider)
        await self._fail(
            job, problem, standing(job, Outcome.FAILED, self._clock(), "never cleared up"), bill=Bill.DOUBT
        )

    async def _put_aside(self, job: Job) -> None:
        """
        Leave a job alone whose steps bring the gateway down, as far as its money allows; nothing is bought again.

        Nothing was bought of one that is queued, so it ends. One whose order is in doubt is an operator's until its
        deadline. One with a task is looked at now and then until its deadline, or while the clip's link may live.
        """
        now = self._clock()
        log.error("job.put_aside", **names(job), state=job.state, crashes=job.crashes, faults=job.faults)
        account = self._shop.accounts.get(job.account or "")
        wait = int(1000 * LATE_MOST) if job.state.final else ASIDE_MS
        due, late = now + wait, now >= job.deadline_at
        match job.state:
            case State.QUEUED:
                message = (
                    "The gateway broke down over this video again and again, so it was given up; nothing was bought."
                )
                await self._fail(job, Problem(code="crashed", message=message), also=self.line.leave(job))
                return
            case State.SUBMITTING | State.UNKNOWN if late:
                await self._never_cleared(job)
                return
            case State.SUBMITTING | State.UNKNOWN:
                doubt = move(job, State.UNKNOWN, now, due_at=job.deadline_at, aside_at=job.aside_at or now)
                lost = standing(job, Outcome.UNKNOWN, now, "the gateway breaks down over it")
                await self._store.save(doubt, lost)
                return
            case State.RUNNING if late:
                await self._give_up(job)
                return
            case State.RUNNING:
                due = min(due, job.deadline_at)
            case State.STORING:
                finished = msgspec.json.decode(job.task or "", type=Finished)
                miss = ClipError("the gateway breaks down over it")
                if finished.left(now, link_hours(account)) <= 0:
                    await self._lose(job, finished, account, {0: miss})
                    return
        await self._store.save(move(job, job.state, now, due_at=due, aside_at=job.aside_at or now))

    async def _absent(self, job: Job) -> None:
        """Order anew what never arrived, once it can no longer be on its way."""
        if not await self._is_absent(job):
            return
        now = self._clock()
        self._free(job)
        absent = standing(job, Outcome.ABSENT, now, "the provider proved that it never took the order")
        await self._store.save(move(job, State.QUEUED, now, due_at=now, attempt=None, account=None), absent)
