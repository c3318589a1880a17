"""
Turn new work away while the gateway has as much as it can finish soon: pure but for the clock of the loop.

What was accepted is finished in the time it always takes, and whoever is turned away hears so at once. New work is
every call that may order, quote or upload. How a video is doing, its clip, a cancel, a provider's callback, health and
metrics are never turned away: they cost little, and they are how work already taken comes to its end.
"""

import asyncio
from itertools import count
from typing import Final

from prometheus_client import Gauge

from gateway.api.problems import ProblemError

YOUNG_SECONDS: Final = 1.0
"""Who has been at it longer waits for something else: a slow body, pictures to fetch, a clip to be held for."""
LATE_SECONDS: Final = 0.25
"""How late the loop may be with what it has to do before a quarter of the usual new work is enough."""
TICK_SECONDS: Final = 0.05
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
        self._numbers = count()
        self._refused = count()
        self._late = 0.0

    @staticmethod
    def concerns(method: str, path: str) -> bool:
        """Whether a call is new work."""
        return method == "POST" and not path.endswith(FREE) and not path.startswith(HOOKS)

    def refuses(self, now: float) -> int | None:
        """Say in how many seconds a call should come again; none where it may come in now."""
        begun = self._begun
        if len(begun) > self._most // 4:
            while begun and begun[first := next(iter(begun))] < now - YOUNG_SECONDS:
                del begun[first]
        # A loop may also be late because the machine is busy with something else: that is no reason by itself.
        if len(begun) < (self._most if self._late < LATE_SECONDS else self._most // 4 + 1):
            return None
        return 1 + next(self._refused) % SPREAD

    def enter(self, now: float) -> int:
        """Count a call that comes in, and number it."""
        number = next(self._numbers)
        self._begun[number] = now
        return number

    def leave(self, number: int) -> None:
        """Hear that a call that was let in is answered."""
        self._begun.pop(number, None)

    async def keep_time(self) -> None:
        """Measure how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._late = loop.time() - due
            self._lateness.set(self._late)
