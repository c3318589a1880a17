"""Hand one order over, and keep what came of it; what an answer means is decided in :mod:`gateway.jobs.job`."""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import msgspec
import structlog
from msgspec.structs import replace

from gateway.clips.shelf import GoneError, ShelfError
from gateway.engine.ending import Ends
from gateway.engine.findings import TURNED_AWAY, problem_of
from gateway.engine.orders import Handed, UnconvertedError
from gateway.engine.sending import OnTime, Withheld
from gateway.engine.tools import Tools
from gateway.engine.unread import Witness
from gateway.engine.watching import Watcher
from gateway.events.hooks import take_task
from gateway.failpoints import failpoint
from gateway.jobs.job import UNDER_WAY, Job, Outcome, State, as_json, backoff, move, requeued, standing, turned_down
from gateway.jobs.wish import Choice, Problem, Wish, read_whole, read_wish
from gateway.money.billing import former, in_doubt
from gateway.offers.accounts import Account
from gateway.store.database import ConflictError, Statement, StoreUnavailableError
from gateway.store.orphans import Orphan, note
from gateway.telemetry import names
from providers.base.errors import Again, Billed, Invalid, ProviderError, Refused
from providers.base.task import Task, Update

log = structlog.get_logger()

ORDERED = frozenset({State.SUBMITTING, State.UNKNOWN})
"""Where a job stands whose order has not been answered, as far as the store knows."""


class Buyer:
    """Know how an order leaves, and what its answer, or none, means for its job."""

    def __init__(self, tools: Tools, ends: Ends, watcher: Watcher) -> None:
        self._ends = ends
        self._watcher = watcher
        self._store = tools.store
        self._shop = tools.shop
        self._orders = tools.orders
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._receipts = tools.receipts
        self._health = tools.health

    async def take_in_hand(
        self, job: Job, wish: Wish, choice: Choice, lent: AsyncExitStack, *, also: Sequence[Statement] = ()
    ) -> Sequence[Handed] | None:
        """
        Have a job's inputs at hand; where that cannot be, the job waits or ends, and nothing was bought.

        :raises NewerError: it asks for what this program cannot read; a newer one that takes it up buys all of it.
        """
        read_whole(job.wish, job.quote)
        try:
            return await lent.enter_async_context(self._orders.at_hand(wish, choice))
        except ShelfError as error:
            log.error("inputs.unreachable", **names(job), reason=str(error))
            waiting = replace(job, account=None) if job.state is State.QUEUED else job  # In no line meanwhile.
            await self._ends.later(waiting, backoff(job.tries, None, 0.5), also=also)
        except (GoneError, UnconvertedError) as error:
            if job.state is State.QUEUED:
                await self._ends.fail(job, _unhanded(error, choice.provider), also=also)
            else:
                await self._ends.later(job, 60.0)  # An order may have left: it stays in doubt.
        return None

    async def buy(self, job: Job, wish: Wish, choice: Choice, handed: Sequence[Handed]) -> None:
        """Hand the order over, and keep what came of it."""
        account = self._shop.accounts[choice.account]
        # What is sent again under the same key may come as late as it likes.
        wire = account.wire if job.state is State.UNKNOWN else self._on_time(job, account)
        witness = Witness(wire, account)
        try:
            order = witness.attend(self._orders.write(job, wish, choice, handed))
            update = await account.provider.submit(order, witness)
        except Withheld as withheld:
            await self._withdraw(job, withheld)
            return
        except ProviderError as error:
            self._metrics.submits.labels(choice.provider, error.kind).inc()
            log.info("attempt.refused", **names(job), kind=error.kind, code=error.code)
            unread = error.billed is not Billed.NO
            await self._refused(job, error, choice, witness.testify(self._clock()) if unread else ())
            return
        except Exception as error:
            # A crash of ours after the call may have left: nobody can tell, so nobody may buy again.
            log.exception("submit.crashed", **names(job), exc_info=error)
            now = self._clock()
            lost = standing(job, Outcome.UNKNOWN, now, "the gateway failed while it read the answer")
            unknown = move(job, State.UNKNOWN, now, due_at=now + 1000)
            await self._store.save(unknown, lost, also=witness.testify(now))
            return
        failpoint("after_answer")
        log.info("attempt.submitted", **names(job), usd=choice.usd_micros / 1_000_000, task=update.task.id)
        self._metrics.submits.labels(choice.provider, "accepted").inc()
        account.accepted(self._clock())
        assert job.attempt is not None
        self._receipts.note(job.attempt, as_json(update.task), account.name)
        failpoint("after_receipt")
        try:
            await self._watcher.observe(job, update, account)
        except ConflictError:
            await self._come_late(job, update, account)
        except StoreUnavailableError:
            self._receipts.sync()  # What was bought must outlive a database that could not be told.
            raise

    def _on_time(self, job: Job, account: Account) -> OnTime:
        """Carry the calls of an order while it may leave."""

        async def wanted() -> bool:
            try:
                return await self._store.may_buy(job.id)
            except StoreUnavailableError:
                return True  # Its intent is on disk; to break off now would leave it in doubt.

        return OnTime(account.wire, self._clock, job.updated_at, wanted)

    async def _withdraw(self, job: Job, withheld: Withheld) -> None:
        """Begin anew with an order that was not sent, for reasons of our own."""
        now = self._clock()
        log.info("attempt.withheld", **names(job), reason=withheld.message)
        self._ends.free(job)
        await self._store.save(requeued(job, now), standing(job, Outcome.NOT_ACCEPTED, now, withheld.message))

    async def _come_late(self, job: Job, update: Update, account: Account) -> None:
        """Keep an answer that came once others had taken the job over: it is evidence, whoever holds the lease."""
        found = await self._store.any_job(job.id)
        told = {**names(job), "task": update.task.id}
        if found is None or found.attempt != job.attempt or not (found.state in ORDERED or in_doubt(found)):
            order = found and former(found)
            if order is not None and order.attempt == job.attempt:
                log.warning("answer.late", **told)
                await self._store.told_late(order.attempt or "", as_json(update.task))
                return
            known = found is not None and found.attempt == job.attempt and found.task is not None
            # The job may have gone on to another order: then what came of this one stands with the attempt.
            if known or any(each.id == job.attempt and each.task for each in await self._store.attempts(job.id)):
                log.info("answer.overtaken", **told)
                return
            await self._note_orphan(job, update, account)
            return
        log.warning("answer.late", **told)
        try:
            if found.state in ORDERED:
                await self._watcher.observe(found, update, account)
            elif found.task is None:  # Given up meanwhile: what comes of it is looked for as for all that is in doubt.
                now = self._clock()
                noted = move(found, found.state, now, task=as_json(update.task), due_at=now)
                await self._store.save(noted, also=[take_task(found, update.task, adopted=False)])
            elif msgspec.json.decode(found.task, type=Task).id != update.task.id:  # An operator has named another.
                await self._note_orphan(job, update, account)
        except ConflictError:  # They are at it just now.
            await self._come_late(job, update, account)

    async def _note_orphan(self, job: Job, update: Update, account: Account) -> None:
        """Put a task that was bought and no job will collect before an operator."""
        attempt, task, now = job.attempt or "", update.task.id, self._clock()
        lost = Orphan(attempt=attempt, task=task, account=account.name, job=job.id, found_at=now)
        await note(self._store.database, lost)

    async def _refused(self, job: Job, error: ProviderError, choice: Choice, heard: Sequence[Statement]) -> None:
        """
        Decide what a submit without a task means: wait, try elsewhere, end, or admit not to know.

        What was ``heard`` is kept where nobody knows what it means.
        """
        now = self._clock()
        wait = int(1000 * backoff(job.attempts + job.tries, error.retry_after, random.random()))  # noqa: S311
        self._health.turned_down(self._shop.accounts[choice.account], job.id, choice.model, error, now)
        if job.state is State.UNKNOWN and not isinstance(error, Invalid | Refused):
            # Turned away at the door this time; that says nothing of the first time.
            await self._ends.later(job, wait / 1000, also=heard)
        elif job.state is State.UNKNOWN and now - job.updated_at < UNDER_WAY * 1000:
            # What was sent before may still be on its way, and find the provider in another mood.
            await self._ends.later(job, UNDER_WAY)
        elif error.billed is not Billed.NO or error.again is Again.NEVER:
            lost = standing(job, Outcome.UNKNOWN, now, error.message)
            await self._store.save(move(job, State.UNKNOWN, now, due_at=now + 1000), lost, also=heard)
        elif error.again is Again.HERE:
            self._ends.free(job)
            busy = Problem(code=TURNED_AWAY, message=f"{choice.provider} did not take it: {error.message}")
            turned_away = standing(job, Outcome.NOT_ACCEPTED, now, error.message)
            await self._store.save(requeued(job, now, wait_ms=wait, error=as_json(busy)), turned_away)
        else:
            outcome = turned_down(error)
            refused = standing(job, outcome, now, error.message)
            problem = problem_of(error, choice.provider)
            stays = outcome is Outcome.ACCOUNT_REFUSED and self._waits_for(job, choice, now)
            if error.again is Again.NO or not (stays or await self._ends.may_try_again(job)):
                await self._ends.fail(job, problem, refused)
            else:
                self._ends.free(job)
                said = None if stays else as_json(problem)
                await self._store.save(requeued(job, now, error=said), refused)

    def _waits_for(self, job: Job, choice: Choice, now: int) -> bool:
        """Whether a job that falls back on nobody has met a rest that will be over."""
        keeps = not read_wish(job.wish).preferences.allow_fallbacks
        return keeps and self._shop.accounts[choice.account].lasting(choice.model, now) is not None


def _unhanded(error: Exception, provider: str) -> Problem:
    """Describe an input that could not be handed over to the client: one that is gone, or cannot be converted."""
    kind = "invalid_request_error"
    if isinstance(error, UnconvertedError):
        message = (
            f"{provider} does not take this picture as it is, and it could not be converted: {error}. Nothing was "
            "bought; send it with a new call as a PNG or JPEG that opens everywhere."
        )
        return Problem(code="unsupported_image", message=message, type=kind, param=error.field)
    message = "An input of this video is no longer kept; send it again with a new call."
    return Problem(code="input_lost", message=message, type=kind)
