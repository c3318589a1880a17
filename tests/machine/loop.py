"""An event loop whose time is a number and whose order is drawn by lot: the same seed, the same run."""

import asyncio
import random
import selectors
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, not even what stands in ``finally``."""


class Time:
    """Hold the one time of a simulated world, in seconds, and how often its loops have turned."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self.kill_turn: int | None = None
        """The turn before which the process is killed."""


class _Still(selectors.SelectSelector):
    """Wait for nothing: where the loop would sleep, time goes on; where it could choose, the lot decides."""

    def __init__(self, time: Time, chance: random.Random) -> None:
        super().__init__()
        self._time = time
        self._chance = chance
        self._held: list[asyncio.Handle] = []
        self.ready: Any = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._time.turns += 1
        if self._time.turns == self._time.kill_turn:
            raise Killed
        self._held.extend(self.ready)
        self.ready.clear()
        if self._held:
            # One callback a turn: a kill can fall between any two.
            self.ready.append(self._held.pop(self._chance.randrange(len(self._held))))
        elif timeout is None:
            raise AssertionError("everybody waits for somebody")
        else:
            self._time.now += timeout
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """Run callbacks in an order drawn by lot, on time that costs none; threads work inside the loop."""

    def __init__(self, time: Time, chance: random.Random) -> None:
        self._sim_time = time
        self._sim_chance = chance
        still = _Still(time, chance)
        super().__init__(still)
        still.ready = self._ready  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._sim_time.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Do what a thread would, a little later, and tell of it later still: a kill can fall on either side."""
        told: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            try:
                answer, error = func(*args), None
            except Exception as failure:  # noqa: BLE001 - it is handed on
                answer, error = None, failure
            self.call_later(self._sim_chance.uniform(0, 0.01), tell, answer, error)

        def tell(answer: Any, error: Exception | None) -> None:
            if not told.done():
                told.set_exception(error) if error else told.set_result(answer)

        self.call_later(self._sim_chance.uniform(0, 0.01), work)
        return told
