"""
Take one step with a claimed job: order what is queued, and give what is further on to the part that knows about it.

An order is chosen (:mod:`gateway.engine.choosing`), its intent is committed, here, and then it is bought
(:mod:`gateway.engine.buying`). Money leaves at one line, there: everything before it is committed, everything after it
is evidence.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from gateway.engine.absence import Absence
from gateway.engine.buying import Buyer
from gateway.engine.choosing import Chooser
from gateway.engine.collecting import Collector
from gateway.engine.doubts import Doubts
from gateway.engine.ending import Ends, as_json
from gateway.engine.findings import NO_ACCOUNT, RESTING, resumed, sentence
from gateway.engine.finished import ClipError, Finished
from gateway.engine.job import (
    ASIDE_MS,
    LATE_MOST,
    Attempt,
    Job,
    Outcome,
    State,
    backoff,
    move,
    standing,
)
from gateway.engine.late import Late
from gateway.engine.line import LONGEST_MS
from gateway.engine.tools import Tools
from gateway.engine.trials import AGAIN_MS
from gateway.engine.watching import Watcher
from gateway.failpoints import failpoint
from gateway.ids import new_id
from gateway.money.billing import in_doubt, raised
from gateway.offers.accounts import link_hours
from gateway.offers.wish import Choice, Problem, Wish, read_choice, read_wish
from gateway.store.database import ConflictError
from gateway.store.store import BudgetError, FullError, HaltedError
from gateway.telemetry import names

log = structlog.get_logger()


class Steps:
    """Know how to take a job one step further from wherever it stands."""

    def __init__(self, tools: Tools) -> None:
        self._ends = Ends(tools)
        absence = Absence(tools, self._ends)
        self._collector = Collector(tools, self._ends)
        self._watcher = Watcher(tools, self._ends, self._collector)
        self._buyer = Buyer(tools, self._ends, self._watcher)
        self._doubts = Doubts(tools, self._ends, self._watcher, self._buyer, absence)
        self._late = Late(tools, self._ends, self._collector, absence)
        self._chooser = Chooser(tools)
        self._store = tools.store
        self._shop = tools.shop
        self._clock = tools.clock
        self._hooks = tools.hooks
        self._line = tools.line
        self._shares = tools.shares

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
                await self._doubts.admit(job)
            case State.UNKNOWN:
                with self._shares.hold(job.account or "", self._clock()):
                    await self._doubts.reconcile(job)
            case State.RUNNING | State.STORING:
                with self._shares.hold(job.account or "", self._clock()):
                    await self._watcher.look(job)
            case _ if in_doubt(job):
                with self._shares.hold(job.account or "", self._clock()):
                    await self._late.clear_up(job)
            case _:
                await self._collector.expire(job)

    async def _order(self, job: Job, *, called: bool) -> None:
        """Choose an offer for a queued job, commit the intent to buy, and buy."""
        failpoint("after_claim")
        now = self._clock()
        left, job = self._line.leave(job), resumed(job)
        if job.cancel_requested:
            await self._ends.end(move(job, State.CANCELLED, now), also=left)
            return
        wish = read_wish(job.wish)
        first = read_choice(job.quote)
        able, reason = await self._chooser.choose(job, wish, first, called=called)
        account = self._shop.accounts.get(first.account)
        if not able and account and account.is_silent(now) and self._chooser.in_time(job, first, now):
            await self._ends.later(replace(job, account=None), backoff(job.tries, None, random.random()), also=left)  # noqa: S311
            return
        if not able:
            problem = Problem(code="no_offer", message=f"No offer can make this now: {reason}.")
            said = msgspec.json.decode(job.error, type=Problem) if job.error else problem
            await self._ends.fail(job, said, also=left)
            return
        able = [each for each in able if self._chooser.in_time(job, each, now)]
        if not able:
            lacks = self._chooser.lacks(first)
            why = f"{sentence(lacks)}, so nobody could order it" if lacks else "No offer took the job"
            late = Problem(code="deadline_exceeded", message=f"{why} in time.")
            await self._ends.fail(job, late, also=left)
            return
        choice = next((each for each in able if self._chooser.can_take(each, now, called=called)), None)
        if choice is None:
            await self._line_up(job, able)
            return
        async with AsyncExitStack() as lent:
            files = await self._buyer.take_in_hand(job, wish, choice, lent, also=left)
            if files is None:
                return
            if not self._chooser.can_take(choice, self._clock(), called=called):  # Others went on meanwhile.
                await self._line_up(job, able)
                return
            with self._shares.hold(choice.account, self._clock()):
                await self._intend(job, wish, choice, files, able)

    async def _intend(
        self, job: Job, wish: Wish, choice: Choice, files: Mapping[str, Path], able: Sequence[Choice]
    ) -> None:
        """Commit the intent to buy, and buy; a place taken meanwhile at its account is waited for with ``able``."""
        account, now, left = self._shop.accounts[choice.account], self._clock(), self._line.leave(job)
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
        account.take_place(now)
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
        await self._buyer.buy(intended, wish, choice, files)

    async def _unbought(self, job: Job, error: ConflictError, able: Sequence[Choice]) -> None:
        """Go on with a job whose intent to buy was not committed; nothing was bought."""
        match error:
            case FullError():
                await self._line.recount()  # Another process has taken the last place.
                await self._line_up(job, able)
            case HaltedError() if (found := await self._store.any_job(job.id)) and found.cancel_requested:
                await self._ends.end(move(job, State.CANCELLED, self._clock()), also=self._line.leave(job))
            case HaltedError():
                log.info("purchase.halted", **names(job))
                self._line.halted()
                await self._line_up(job, able)
            case BudgetError():
                message = "The offer it was quoted at could not make it, and the next best is above the budget."
                await self._ends.fail(job, Problem(code="budget_exceeded", message=message), also=self._line.leave(job))
            case _:
                raise error

    async def _line_up(self, job: Job, able: Sequence[Choice]) -> None:
        """Wait for the first place at any account that would do."""
        now = self._clock()
        places = await self._line.join(job, able)
        # Nobody calls a suspect; and to stand in line proves nothing, so what was counted against it stays.
        due = min(now + (AGAIN_MS if job.suspect else LONGEST_MS), job.deadline_at)
        counted = {"crashes": job.crashes, "faults": job.faults}
        lacks, error = self._chooser.lacks(able[0]), job.error
        if lacks:
            log.warning("account.missing", **names(job), state=job.state, reason=lacks)
            error = error or as_json(Problem(code=NO_ACCOUNT, message=lacks))
        elif shut := self._shop.accounts[able[0].account].shut(able[0].model, now):
            error = error or as_json(Problem(code=RESTING, message=shut))
        queued = move(job, State.QUEUED, now, due_at=due, account=able[0].account, error=error, **counted)
        await self._store.save(queued, also=places)
        self._line.joined(able)

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
                await self._ends.fail(job, Problem(code="crashed", message=message), also=self._line.leave(job))
                return
            case State.SUBMITTING | State.UNKNOWN if late:
                await self._doubts.never_cleared(job)
                return
            case State.SUBMITTING | State.UNKNOWN:
                doubt = move(job, State.UNKNOWN, now, due_at=job.deadline_at, aside_at=job.aside_at or now)
                lost = standing(job, Outcome.UNKNOWN, now, "the gateway breaks down over it")
                await self._store.save(doubt, lost)
                return
            case State.RUNNING if late:
                await self._watcher.give_up(job)
                return
            case State.RUNNING:
                due = min(due, job.deadline_at)
            case State.STORING:
                finished = msgspec.json.decode(job.task or "", type=Finished)
                miss = ClipError("the gateway breaks down over it")
                if finished.left(now, link_hours(account)) <= 0:
                    await self._collector.lose(job, finished, account, {0: miss})
                    return
        await self._store.save(move(job, job.state, now, due_at=due, aside_at=job.aside_at or now))
