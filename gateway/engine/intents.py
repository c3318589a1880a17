"""
Take a queued job to its order: choose whom to order from, commit the intent to buy, and have it bought.

Money leaves at one line, in :mod:`gateway.engine.buying`: everything before it is committed, everything after it is
evidence.
"""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import structlog
from msgspec.structs import replace

from gateway.clips.room import NO_ROOM
from gateway.engine.buying import Buyer
from gateway.engine.choosing import Chooser
from gateway.engine.ending import Ends
from gateway.engine.findings import FULL, NO_ACCOUNT, RESTING, resumed, sentence, waiting_for
from gateway.engine.line import LONGEST_MS
from gateway.engine.orders import Handed
from gateway.engine.tools import Tools
from gateway.engine.trials import AGAIN_MS
from gateway.failpoints import failpoint
from gateway.ids import new_id
from gateway.jobs.job import PATIENCE, Attempt, Job, Outcome, State, as_json, backoff, move
from gateway.jobs.wish import Choice, Problem, Wish, read_choice, read_notices, read_wish
from gateway.money.billing import is_dearer, raised
from gateway.money.ledger import Budget
from gateway.offers.asking import CONVERTED, notices_of
from gateway.store.database import ConflictError
from gateway.store.store import BudgetError, FullError, HaltedError
from gateway.telemetry import names

log = structlog.get_logger()


class Intents:
    """Know how a queued job is ordered, or comes to stand in line."""

    def __init__(self, tools: Tools, ends: Ends, chooser: Chooser, buyer: Buyer) -> None:
        self._ends = ends
        self._chooser = chooser
        self._buyer = buyer
        self._store = tools.store
        self._shop = tools.shop
        self._clock = tools.clock
        self._line = tools.line
        self._shares = tools.shares
        self._hooks = tools.hooks
        self._purse = tools.purse

    async def order(self, job: Job, *, called: bool) -> None:
        """Choose an offer for a queued job, commit the intent to buy, and buy."""
        failpoint("after_claim")
        now = self._clock()
        left, turned_away, job = self._line.leave(job), waiting_for(job), resumed(job)
        if job.cancel_requested:
            await self._ends.end(move(job, State.CANCELLED, now), also=left)
            return
        wish = read_wish(job.wish)
        first = read_choice(job.quote)
        able, reason = await self._chooser.choose(job, wish, first, called=called)
        account = self._shop.accounts.get(first.account)
        waits = not able and account and account.is_failing(now) and self._chooser.in_time(job, first, now)
        if waits and not await self._chooser.is_spent(job, wish, first):
            await self._ends.later(replace(job, account=None), backoff(job.tries, None, random.random()), also=left)  # noqa: S311
            return
        if not able:
            problem = Problem(code="no_offer", message=f"No offer can make this now: {reason}.")
            said = msgspec.json.decode(job.error, type=Problem) if job.error else problem
            await self._ends.fail(job, said, also=left)
            return
        able = [each for each in able if self._chooser.in_time(job, each, now)]
        if not able:
            lacks = self._chooser.lacks(first) or (NO_ROOM if self._line.shut else None)
            why = f"{sentence(lacks)}, so nobody could order it" if lacks else "No offer took the job"
            last = f": {turned_away}" if turned_away and not lacks else "."
            late = Problem(code="deadline_exceeded", message=f"{why} in time{last}")
            said = msgspec.json.decode(job.error, type=Problem) if job.error else late
            await self._ends.fail(job, said, also=left)
            return
        choice = next((each for each in able if self._chooser.can_take(each, now, called=called)), None)
        if choice is None:
            await self._line_up(job, able)
            return
        async with AsyncExitStack() as lent:
            handed = await self._buyer.take_in_hand(job, wish, choice, lent, also=left)
            if handed is None:
                return
            budgets = await self._purse.budgets(job) if is_dearer(job, choice) else ()
            if not self._chooser.can_take(choice, self._clock(), called=called):  # Others went on meanwhile.
                await self._line_up(job, able)
                return
            with self._shares.hold(choice.account, self._clock()):
                await self._intend(job, wish, choice, handed, able, budgets)

    async def _intend(
        self, job: Job, wish: Wish, choice: Choice, handed: Sequence[Handed], able: Sequence[Choice],
        budgets: tuple[Budget, ...],
    ) -> None:  # fmt: skip
        """
        Commit the intent to buy, and buy; a place taken meanwhile at its account is waited for with ``able``.

        What it costs more than was set aside must fit in ``budgets``.
        """
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
            warnings=self._warnings(job, wish, choice),
            attempt=attempt.id,
            attempts=attempt.number,
            started_at=now,
        )
        intended, postings = raised(intended, choice, attempt.id, now, budgets)
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
        await self._buyer.buy(intended, wish, choice, handed)

    def _warnings(self, job: Job, wish: Wish, choice: Choice) -> str:
        """Say which pictures are converted for the offer it is ordered at, in place of what another needed."""
        if not wish.request.inputs:
            return job.warnings
        others = [each for each in read_notices(job.warnings) if each.type != CONVERTED]
        return as_json([*others, *notices_of(self._shop.offer(choice), choice.provider, wish.request)])

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
        # Who has been turned away elsewhere looks there again while there is time.
        soon = max(int(PATIENCE * 1000), (job.deadline_at - now) // 4) if job.attempts else LONGEST_MS
        due = min(now + (AGAIN_MS if job.suspect else min(soon, LONGEST_MS)), job.deadline_at)
        counted = {"crashes": job.crashes, "faults": job.faults}
        lacks, error = self._chooser.lacks(able[0]), job.error
        if lacks:
            log.warning("account.missing", **names(job), state=job.state, reason=lacks)
            error = error or as_json(Problem(code=NO_ACCOUNT, message=lacks))
        elif self._line.shut:
            error = error or as_json(Problem(code=FULL, message=NO_ROOM))
        elif shut := self._shop.accounts[able[0].account].shut(able[0].model, now):
            error = error or as_json(Problem(code=RESTING, message=shut))
        queued = move(job, State.QUEUED, now, due_at=due, account=able[0].account, error=error, **counted)
        await self._store.save(queued, also=places)
        self._line.joined(able)
