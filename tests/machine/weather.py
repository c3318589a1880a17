"""A provider that is well, half sick or dead for a while, and how often it is called, on a clock of its own."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

from gateway.jobs.job import State
from providers.base.errors import Indeterminate, Unavailable
from providers.base.order import Order
from providers.base.task import Task, Update
from providers.base.wire import Call, Wire
from tests.make import listing
from tests.scripted import START, Clips, Engine, Scripted, clip, done, running

Sick = Callable[[float], float]
"""Says how much of what is asked at a time, in seconds from the start, goes wrong."""


class Patient(Scripted):
    """Make clips in so many seconds, answer what its health allows, and count."""

    def __init__(self, sold: object, now: Callable[[], float], sick: Sick, takes: float) -> None:
        super().__init__(sold)  # type: ignore[arg-type]
        self._now, self._sick, self._takes = now, sick, takes
        self._chance = random.Random(7)
        self._made: dict[str, float] = {}
        self.looks: list[float] = []
        self.orders: list[float] = []
        self.downloads: list[float] = []
        self.doubtful = False
        """Whether an order that goes wrong may have been taken."""
        self.only_clips = False
        """Whether only downloads go wrong."""

    @property
    def calls(self) -> list[float]:
        """Every call, by its time."""
        return sorted([*self.looks, *self.orders, *self.downloads])

    def ill(self) -> bool:
        """Whether this call goes wrong."""
        return not self.only_clips and self.hit()

    def hit(self) -> bool:
        """Whether what is asked now meets the sickness."""
        return self._chance.random() < self._sick(self._now())

    async def submit(self, order: Order, wire: Wire) -> Update:
        self.orders.append(self._now())
        self.ledger.append(order.attempt)
        if self.ill():
            raise (Indeterminate if self.doubtful else Unavailable)("HTTP 503", status=503)
        self._made[order.attempt] = self._now()
        return running(order.attempt)

    async def poll(self, task: Task, wire: Wire) -> Update:
        self.looks.append(self._now())
        if self.ill():
            raise Unavailable("HTTP 503", status=503)
        ready = self._now() >= self._made[task.id] + self._takes
        return done(task.id) if ready else running(task.id)


class Link(Clips):
    """Serve clips as well as their provider is."""

    patient: Patient

    @asynccontextmanager
    async def stream(self, call: Call):  # type: ignore[no-untyped-def]
        self.patient.downloads.append(self.patient._now())
        if self.patient.hit():
            self.answers = [(503, b"")]
        async with super().stream(call) as download:
            yield download


class Weather:
    """Hold an engine and its patient."""

    def __init__(self, folder: Path, sick: Sick, *, takes: float, places: int) -> None:
        self.engine = Engine(folder, listing(deadline_seconds=4 * 3600), max_running=places)
        self.patient = Patient(self.engine.provider.listing, self.seconds, sick, takes)
        (account,) = self.engine.accounts.values()
        account.provider = self.patient
        self.engine.wire = account.wire = account.abroad = Link()  # type: ignore[assignment]
        self.engine.wire.patient = self.patient  # type: ignore[attr-defined]
        self.engine.wire.default = clip(4, (64, 36))

    def seconds(self) -> float:
        """Say how long it has lasted."""
        return (self.engine.now - START) / 1000

    async def want(self, jobs: int) -> None:
        """Order so many clips, a second apart."""
        for number in range(jobs):
            await self.engine.accept(prompt=f"clip {number}", seconds=4)
            await self.live(self.seconds() + 1)

    async def live(self, until: float) -> None:
        """Work as a worker does until a time."""
        with mock.patch("random.random", random.Random(11).random):
            while self.seconds() < until:
                if not await self._turn():
                    due = await self.engine.store.next_due()
                    later = self.engine.now + 1000 if due is None else max(due, self.engine.now + 10)
                    self.engine.now = min(later, START + int(until * 1000))

    async def _turn(self) -> int:
        """Take a step with everything that is due and whose account has a look left."""
        engine = self.engine
        await engine.tools.line.recount()
        called = await engine.tools.line.call(lease=60_000, most=100)
        claimed = await engine.store.claim(lease=60_000, most=100)
        for job in called:
            await engine.steps.take(job, called=True)
        for job in claimed:
            due = engine.turns.put_off(job, Counter())
            await (engine.steps.take(job) if due is None else engine.store.put_off(job, due))
        return len(called) + len(claimed)

    async def ended(self) -> int:
        """Count the jobs that have their clip."""
        return (await self.engine.store.census()).get(State.SUCCEEDED, 0)


def between(times: list[float], since: float, until: float) -> int:
    """Count what came in a span."""
    return sum(since <= at < until for at in times)
