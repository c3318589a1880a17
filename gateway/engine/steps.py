"""Take one step with a claimed job: give it to the part that knows what is next, or put it aside."""

import contextlib
import random

import msgspec
import structlog
from msgspec.structs import replace

from gateway.engine.absence import Absence
from gateway.engine.again import Again
from gateway.engine.buying import Buyer
from gateway.engine.choosing import Chooser
from gateway.engine.collecting import Collector
from gateway.engine.doubts import Doubts
from gateway.engine.ending import Ends
from gateway.engine.fetching import Fetcher
from gateway.engine.findings import NEWER, resumed, sentence
from gateway.engine.former import Former
from gateway.engine.intents import Intents
from gateway.engine.late import Late
from gateway.engine.tools import Tools
from gateway.engine.watching import Watcher
from gateway.jobs.finished import ClipError, Finished
from gateway.jobs.job import ASIDE_MS, LATE_MOST, Job, Outcome, State, as_json, backoff, move, standing
from gateway.jobs.wish import NewerError, Problem
from gateway.money.billing import unsettled
from gateway.offers.accounts import link_hours
from gateway.telemetry import names

log = structlog.get_logger()


class Steps:
    """Know how to take a job one step further from wherever it stands."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._accounts = tools.shop.accounts
        self._clock = tools.clock
        self._line = tools.line
        self._shares = tools.shares
        self._ends = Ends(tools)
        self._fetcher = Fetcher(tools)
        self._collector = Collector(tools, self._ends, self._fetcher)
        self._watcher = Watcher(tools, self._ends, self._fetcher, self._collector)
        buyer, chooser = Buyer(tools, self._ends, self._watcher), Chooser(tools)
        self._intents = Intents(tools, self._ends, chooser, buyer)
        absence = Absence(tools, self._ends)
        self._doubts = Doubts(tools, self._ends, self._watcher, buyer, absence, Again(tools, self._ends, chooser))
        self._late = Late(tools, self._ends, self._fetcher, absence)
        self._former = Former(tools, self._ends, self._late, absence)

    async def take(self, job: Job, *, called: bool = False) -> None:
        """
        Take one step; a job that was ``called`` out of a line waits behind nobody.

        :raises ConflictError: the job moved meanwhile; whoever moved it goes on.
        :raises StoreUnavailableError: nothing was kept; the lease brings the job back.
        """
        try:
            await self._take(job, called=called)
        except NewerError as error:
            await self._leave(job, error)

    async def _take(self, job: Job, *, called: bool) -> None:
        """
        Take one step.

        :raises NewerError: the job asks for what this program cannot read.
        """
        if job.poison:
            await self._put_aside(job)
            return
        match job.state:
            case State.QUEUED:
                await self._intents.order(job, called=called)
            case State.SUBMITTING:
                await self._doubts.admit(job)
            case State.UNKNOWN:
                with self._shares.hold(job.account or "", self._clock()):
                    await self._doubts.reconcile(job)
            case State.RUNNING | State.STORING:
                with self._shares.hold(job.account or "", self._clock()):
                    await self._watcher.look(job)
            case _:
                await self._look_back(job)

    async def _look_back(self, job: Job) -> None:
        """Take a step with a job that has ended: its clips may have had their time, or its money is in doubt."""
        order, now = unsettled(job), self._clock()
        over = job.deleted_at is not None or (job.expires_at is not None and now >= job.expires_at)
        if order is None or (over and job.outputs != "[]"):
            await self._fetcher.expire(job)
            return
        with self._shares.hold(order.account or "", now):
            if order is job:
                await self._late.clear_up(job)
            else:
                await self._former.clear_up(job, order)

    async def _leave(self, job: Job, why: NewerError) -> None:
        """Leave a job to the newer program that took it: nothing is bought here; one in line ends at its deadline."""
        log.warning("job.newer", **names(job), state=job.state, reason=str(why))
        wait = backoff(job.tries, None, random.random())  # noqa: S311
        if job.state.final:
            await self._ends.later(job, LATE_MOST)
            return
        error = resumed(job).error or as_json(Problem(code=NEWER, message=str(why)))
        if job.state is not State.QUEUED:
            await self._ends.later(job, wait, error=error)
            return
        left = self._line.leave(job)
        if self._clock() >= job.deadline_at:
            message = f"{sentence(str(why))}, so nobody could order it in time."
            with contextlib.suppress(NewerError):  # What it costs may be what cannot be read.
                await self._ends.fail(job, Problem(code="deadline_exceeded", message=message), also=left)
                return
        await self._ends.later(replace(job, account=None), wait, also=left, error=error)

    async def _put_aside(self, job: Job) -> None:
        """
        Leave a job alone whose steps bring the gateway down, as far as its money allows; nothing is bought again.

        Nothing was bought of one that is queued, so it ends. One whose order is in doubt is an operator's until its
        deadline. One with a task is looked at now and then until its deadline, or while the clip's link may live.
        """
        now = self._clock()
        log.error("job.put_aside", **names(job), state=job.state, crashes=job.crashes, faults=job.faults)
        account = self._accounts.get(job.account or "")
        wait = int(1000 * LATE_MOST) if job.state.final else ASIDE_MS
        due, late = now + wait, now >= job.deadline_at
        match job.state:
            case State.QUEUED:
                bought = "its first order may have been taken" if job.abandoned else "nothing was bought"
                message = f"The gateway broke down over this video again and again, so it was given up; {bought}."
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
