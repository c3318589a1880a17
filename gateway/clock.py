"""Tell the time so that it never jumps: what a job waits for is a while, not an hour of the day."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

DAY_MS = 86_400_000
JUMP_MS = 2_000
"""A wall clock that is off by more, from one reading to the next, was set; by less, it was trimmed."""


def wall_ms() -> int:
    """Read the clock of this machine, which anybody may set."""
    return time.time_ns() // 1_000_000


RUNNING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock nobody sets, which goes on while the machine sleeps."""


def running_ms() -> int:
    """Read how long it has run."""
    return time.clock_gettime_ns(RUNNING) // 1_000_000


class Clock:
    """
    Read milliseconds since the epoch: the wall clock at the start, and what has passed since.

    Small corrections are followed. One that sets the clock by hours or days would make every lease, wait and
    deadline come early or never; it is told of and holds from the next start on.
    """

    def __init__(self, wall: Callable[[], int] = wall_ms, running: Callable[[], int] = running_ms) -> None:
        self._wall = wall
        self._running = running
        self._apart = wall() - running()
        self._told = self._apart
        self._last = 0

    def __call__(self) -> int:
        """Read it; never less than before."""
        running = self._running()
        apart = self._wall() - running
        if abs(apart - self._apart) <= JUMP_MS:
            self._apart = apart
        elif abs(apart - self._told) > JUMP_MS:
            self._told = apart
            log.warning("clock.jumped", seconds=(apart - self._apart) / 1000)
        self._last = max(self._last, running + self._apart)
        return self._last
