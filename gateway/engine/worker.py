"""
Find due jobs and start a step with each: no task, timer or thread per waiting job.

Due work is an indexed scan; a claim is a lease. Whose turn it is :mod:`~gateway.engine.turns` says, and
what a step does :mod:`~gateway.engine.steps`.
"""

import asyncio
import contextlib
from collections import Counter

import structlog

from gateway.door.accept import Hands
from gateway.engine.steps import Steps
from gateway.engine.tools import Tools
from gateway.engine.trials import Trials
from gateway.engine.turns import Turns
from gateway.jobs.job import FAULTS_MS, Job
from gateway.memory import lacks, vital
from gateway.rounds import Rounds
from gateway.store.database import BATCH, ConflictError, StoreUnavailableError

log = structlog.get_logger()

TICK_SECONDS = 0.01
"""Shortest time between two claims: what falls due within it is claimed, and so committed, together."""
COUNT_MS = 1_000
"""How often what other processes have under way is counted."""
ALONE_MS = 10_000
"""How often it is where there is no other: an operator may have closed an order from outside."""
GRACE_SECONDS = 25.0
"""How long steps under way may take to end when the gateway stops."""
STALLED_MS = 5_000
"""How soon a step comes again that the store or a want of memory broke off: nobody else is at it."""
TRIAL_SECONDS = 0.25
"""How often it is looked while a suspect waits to be alone."""


class Worker(Rounds, Hands):
    """Take every due job one step further, a bounded number at a time."""

    called = "worker"

    def __init__(self, tools: Tools, steps: Steps, turns: Turns, *, at_once: int) -> None:
        super().__init__()
        self._store = tools.store
        self._steps = steps
        self._turns = turns
        self._line = tools.line
        self._clock = tools.clock
        self._at_once = at_once
        self.lease = tools.lease_ms
        self._under_way: dict[asyncio.Task[None], tuple[Job, int]] = {}
        self._count_ms = COUNT_MS if tools.store.shared else ALONE_MS
        self._reserved = 0
        """Places kept for jobs that are being claimed or accepted."""
        self._looked = 0.0
        """When the last turn began, by the loop's clock."""
        self._rests_until: float = 0
        """When the next turn begins unless something wakes it, in milliseconds."""
        self._full = False
        """Whether every place was taken when it last looked."""
        self._counted = 0
        self._trials = Trials()
        tools.shares.places = at_once
        self._stalled: list[Job] = []
        """Who came to no end for want of memory, or as the store did not answer: still leased, though nobody died."""

    def reserve(self) -> bool:
        """Keep a place for one more job, where there is one."""
        room = not self._stopping and self._free() > 0 and not self._trials.alone(self._clock())
        self._reserved += room
        return room

    def release(self) -> None:
        """Give a reserved place back."""
        self._reserved -= 1
        self.wake()

    def take_up(self, job: Job, *, called: bool = False) -> None:
        """Begin with a job that is leased to us, in the place reserved for it."""
        self._reserved -= 1
        step = asyncio.create_task(self._step(job, called=called))
        self._under_way[step] = (job, self._clock())
        step.add_done_callback(self._done)

    def _free(self) -> int:
        """Count the places that are neither taken nor reserved."""
        return max(0, self._at_once - len(self._under_way) - self._reserved)

    async def run(self) -> None:
        """Work until stopped, and let the steps under way end."""
        keeping = vital(asyncio.create_task(self._keep_leases()))
        self._store.listen(self.wake)
        self._store.on_move.append(self._moved)
        self._trials.start(self._clock())
        try:
            await super().run()
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=GRACE_SECONDS)
        finally:
            self._store.on_move.remove(self._moved)
            keeping.cancel()
            await self._let_go()

    async def _let_go(self) -> None:
        """End what outlasted the grace, and give its jobs to whoever comes next."""
        late = dict(self._under_way)
        for step in late:
            step.cancel()
        if late:
            await asyncio.wait(late)
            with contextlib.suppress(StoreUnavailableError):
                await self._store.give_back([job for job, _ in late.values()])

    async def _round(self) -> None:
        """Claim what is due and who is next in line, and start their steps; then rest until there is more to do."""
        await asyncio.sleep(self._looked + TICK_SECONDS - asyncio.get_running_loop().time())
        self._looked = asyncio.get_running_loop().time()
        self._woken.clear()
        self._full, self._rests_until = False, 0
        if self._stalled:
            await self._excuse()
        if self._trials.alone(self._clock()):
            await self._try_suspect()
            return
        if self._clock() - self._counted >= self._count_ms:
            self._counted = self._clock()
            await self._line.recount()
        free = left = self._free()
        self._reserved += free
        try:
            for job in await self._line.call(lease=self.lease, most=left) if left else ():
                self.take_up(job, called=True)
                left -= 1
            for job in await self._due(left) if left else ():
                self.take_up(job)
                left -= 1
        finally:
            self._reserved -= left
        now = self._clock()
        self._full = not self._free()
        if self._full:
            # The next step to end makes room.
            await self._rest(self.idle_seconds)
            return
        self._rests_until = now + 1000 * self.idle_seconds
        due = await self._store.next_due()
        self._rests_until = min(self._rests_until, now + 1000 * self.idle_seconds if due is None else due)
        await self._rest(max(0.0, (self._rests_until - self._clock()) / 1000))

    async def _excuse(self) -> None:
        """Take the leases off jobs whose steps the store broke off, before anybody thinks that a worker died."""
        stalled, due = self._stalled[:BATCH], self._clock() + STALLED_MS
        await asyncio.gather(*(self._store.put_off(job, due) for job in stalled))
        del self._stalled[: len(stalled)]

    async def _try_suspect(self) -> None:
        """Step a suspect by itself, once what was begun before has had its time; then look again soon."""
        now, called = self._clock(), None
        begun = [since for _, since in self._under_way.values()]
        if self._free():
            called = self._trials.call(begun, now)
        if called is not None:
            claimed = await self._store.claim(lease=self.lease, most=1, only=called)
            for job in claimed:
                self._reserved += 1
                self.take_up(job, called=True)
            if not claimed:  # Somebody else has tried it.
                self._trials.end(called, now)
        await self._rest(TRIAL_SECONDS)

    def _put_off(self, job: Job, ahead: Counter[str]) -> int | None:
        """Say when a job comes again that is not to be stepped now: no place or look is left, or it is suspect."""
        if job.suspect and not job.poison:
            return self._trials.put_off(job.id, self._clock())
        return self._turns.put_off(job, ahead)

    async def _due(self, most: int) -> list[Job]:
        """Claim what is due, and put off what is not to be stepped now."""
        claimed = await self._store.claim(lease=self.lease, most=most)
        ahead = Counter[str]()
        late = [(job, due) for job in claimed if (due := self._put_off(job, ahead)) is not None]
        if late:
            try:
                await asyncio.gather(*(self._store.put_off(job, due) for job, due in late))
            except StoreUnavailableError:
                self._stalled += claimed
                raise
            self.wake()
            gone = {job.id for job, _ in late}
            claimed = [job for job in claimed if job.id not in gone]
        return claimed

    async def _step(self, job: Job, *, called: bool) -> None:
        """Take one step; whatever goes wrong, the job comes back."""
        try:
            await self._steps.take(job, called=called)
        except ConflictError:
            log.info("job.overtaken", job=job.id)
        except StoreUnavailableError as error:
            log.error("job.stalled", job=job.id, reason=str(error))
            self._stalled.append(job)
        except Exception as error:
            if lacks(error):  # Which is no fault of the job's.
                log.error("job.stalled", job=job.id, reason="out of memory")
                self._stalled.append(job)
                return
            log.exception("job.crashed", job=job.id, state=job.state, exc_info=error)
            wait = FAULTS_MS[min(job.faults, len(FAULTS_MS) - 1)]
            try:
                await self._store.stumbled(job, self._clock() + wait)
            except StoreUnavailableError:  # Better a fault too few than a crash that never was.
                self._stalled.append(job)

    def _done(self, step: "asyncio.Task[None]") -> None:
        """Make room for the next step; that is a reason to look where there was none, or somebody is in line."""
        job, _ = self._under_way.pop(step)
        tried = self._trials.end(job.id, self._clock())
        if tried or self._full or self._line.waited:
            self.wake()

    def _moved(self, job: Job) -> None:
        """Look sooner where a job this process has moved is due before it would."""
        if job.due_at is not None and job.due_at < self._rests_until:
            self.wake()

    async def _keep_leases(self) -> None:
        """Keep the leases of steps that take long."""
        while True:
            await asyncio.sleep(self.lease / 3000)
            old = self._clock() - self.lease // 4
            jobs = [job for job, since in self._under_way.values() if since < old]
            if jobs:
                with contextlib.suppress(StoreUnavailableError):
                    await self._store.keep(jobs, lease=self.lease)
