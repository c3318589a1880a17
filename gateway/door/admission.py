"""
Turn new work away while the gateway has as much as it can finish soon.

Whoever finds no room waits a moment for it, the last to come first, and is then sent away. To refuse a call costs a
seventh of what it costs to accept one, so a crowd is refused a few at a time: else saying no would take the time of
who is let in.

New work is every call that may order, quote or upload. How a video is doing, its clip, a cancel, a provider's
callback, health and metrics are never turned away: they cost little, and are how work already taken comes to its end.
"""

import asyncio
import time
from collections import deque
from itertools import count
from typing import Final

from prometheus_client import Gauge

from gateway.problems import ProblemError

YOUNG_SECONDS: Final = 1.0
"""Who has been at it longer waits for something else: a slow body, pictures to fetch, a clip to be held for."""
LATE_SECONDS: Final = 0.25
"""How late the loop may be with what it has to do before a quarter of the usual new work is enough."""
TICK_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 0.02
"""How long a call waits for room before it is sent away."""
SWEEP_SECONDS: Final = 0.01
SWEPT: Final = 40
"""How many are sent away at a time: a fifth of a processor's time at most."""
SPREAD: Final = 3
"""Seconds over which those who are turned away are spread when they come back."""
FREE = ("/cancel", "/fetch")
"""How calls by POST end that are no new work: Google's clients ask so how an operation is doing."""
HOOKS = "/hooks/"


def overloaded(wait: int) -> ProblemError:
    """Describe to a caller that there is too much to do."""
    message = f"More is asked of the gateway than it can do now; nothing was kept or bought. Try again in {wait} s."
    return ProblemError(503, "overloaded", message, headers={"retry-after": str(wait)})


class Admission:
    """Count the new work under way, and know how late the loop is."""

    def __init__(self, most: int, lateness: Gauge) -> None:
        self._most = most
        self._lateness = lateness
        self._begun: dict[int, float] = {}
        """When each call that is young began, oldest first."""
        self._waiting: deque[tuple[float, asyncio.Future[bool]]] = deque()
        """Who came when there was no room, and when, oldest first."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._coming = 0
        """Who of them was called in, and has not come yet."""
        self._numbers = count(1)
        self._refused = count()
        self._late = 0.0

    @staticmethod
    def concerns(method: str, path: str) -> bool:
        """Whether a call is new work."""
        return method == "POST" and not path.endswith(FREE) and not path.startswith(HOOKS)

    def has_room(self, now: float) -> bool:
        """Whether one more may come in: of those that are young there are few enough."""
        begun = self._begun
        if len(begun) > self._most // 4:
            while begun and begun[first := next(iter(begun))] < now - YOUNG_SECONDS:
                del begun[first]
        # A loop may also be late because the machine is busy with something else: that is no reason by itself.
        most = self._most if self._late < LATE_SECONDS else self._most // 4 + 1
        return len(begun) + self._coming < most

    async def enter(self, now: float) -> tuple[int, int]:
        """Let a call in and number it, or say in how many seconds it should come again; the other is 0."""
        if not self.has_room(now):
            loop = asyncio.get_running_loop()
            place: asyncio.Future[bool] = loop.create_future()
            if self._sweeping is None:
                self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
            self._waiting.append((now, place))
            try:
                called = await place
            except asyncio.CancelledError:
                if not place.cancelled():
                    self._coming -= place.result()
                raise
            if not called:
                return 0, 1 + next(self._refused) % SPREAD
            now = time.perf_counter()
            self._coming -= 1
        number = next(self._numbers)
        self._begun[number] = now
        return number, 0

    def leave(self, number: int) -> None:
        """Hear that a call that was let in is answered."""
        self._begun.pop(number, None)
        if self._waiting:
            self._call_in(time.perf_counter())

    def _call_in(self, now: float) -> None:
        """Let those in who came last, while there is room: who has waited longest has the least time left to wait."""
        while self._waiting and self.has_room(now):
            _, place = self._waiting.pop()
            if not place.done():
                self._coming += 1
                place.set_result(True)

    def _sweep(self) -> None:
        """Send away who has waited long enough, a few at a time: to say no must not take the time of who is let in."""
        now = time.perf_counter()
        self._call_in(now)
        for _ in range(SWEPT):
            if not self._waiting or self._waiting[0][0] > now - PATIENCE_SECONDS:
                break
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_result(False)
        again = asyncio.get_running_loop().call_later
        self._sweeping = again(SWEEP_SECONDS, self._sweep) if self._waiting else None

    async def keep_time(self) -> None:
        """Measure how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._late = loop.time() - due
            self._lateness.set(self._late)
