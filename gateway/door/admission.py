"""
Turn new work away while the gateway has as much as it can finish soon.

Whoever finds no room waits a moment for it, the last to come first, and is then sent away. To refuse a call costs a
seventh of what it costs to accept one, so a crowd is refused a few at a time: else saying no would take the time of
who is let in.

Who floods it is refused first: a key that has fewer of the places than its share, of as many as there are keys just
now, is let in beside a full house, while a quarter more than it holds lasts, and before all others that wait.

New work is every call that may order, quote or upload. How a video is doing, its clip, a cancel, a provider's
callback, health and metrics are never turned away: they cost little, and are how work already taken comes to its end.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Final

from prometheus_client import Gauge

from gateway.door.keys import well_formed
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
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""Headers a key may come in."""
NOBODY: Final = 0
"""Who brings no key."""
Waiting = deque[tuple[float, int, asyncio.Future[bool]]]
"""Since when each waits, and whose call it is, oldest first."""


def asker(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """
    Tell callers apart by the key they bring, before anybody looks whether it is known; the key itself is not kept.

    What cannot be a key at all is nobody's: else a flood of made-up ones would be as many modest callers.

    >>> asker([(b"authorization", b"Bearer abc")]) == asker([]) == NOBODY
    True
    """
    for name, value in headers:
        if name in CREDENTIALS:
            said = value.split()
            return hash(said[-1]) if said and well_formed(said[-1].decode("latin-1")) else NOBODY
    return NOBODY


def overloaded(wait: int) -> ProblemError:
    """Describe to a caller that there is too much to do."""
    message = f"More is asked of the gateway than it can do now; nothing was kept or bought. Try again in {wait} s."
    return ProblemError(503, "overloaded", message, headers={"retry-after": str(wait)})


class Admission:
    """Count the new work under way, and know how late the loop is."""

    def __init__(self, most: int, lateness: Gauge) -> None:
        self._most = most
        self._lateness = lateness
        self._begun: dict[int, tuple[float, int]] = {}
        """When each call that is young began, oldest first, and whose it is."""
        self._held: dict[int, int] = {}
        """How many young calls each key has, those called in among them; who has none is not in it."""
        self._modest: Waiting = deque()
        """Who came when there was no room, though its key had less than its share."""
        self._waiting: Waiting = deque()
        """Who else did."""
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

    def has_room(self, now: float, who: int = NOBODY) -> bool:
        """Whether one more call of a key's may come in: of those that are young there are few enough."""
        begun = self._begun
        if len(begun) > self._most // 4:
            while begun and begun[first := next(iter(begun))][0] < now - YOUNG_SECONDS:
                self._release(begun.pop(first)[1])
        most, inside = self._usual, len(begun) + self._coming
        return inside < most or (inside < most + self._most // 4 and self._is_modest(who))

    @property
    def _usual(self) -> int:
        """How many may be in; a loop may also be late because the machine is busy otherwise: alone no reason."""
        return self._most if self._late < LATE_SECONDS else self._most // 4 + 1

    def _is_modest(self, who: int) -> bool:
        """Whether a key has fewer calls under way than its share, of as many keys as have any; one alone has all."""
        mine = self._held.get(who, 0)
        keys = len(self._held) + (not mine)
        return keys > 1 and mine < max(1, self._usual // keys)

    def _release(self, who: int) -> None:
        """Count one young call of a key less."""
        held = self._held[who] - 1
        if held:
            self._held[who] = held
        else:
            del self._held[who]

    async def enter(self, now: float, who: int = NOBODY) -> tuple[int, int]:
        """Let a key's call in and number it, or say in how many seconds it should come again; the other is 0."""
        if self.has_room(now, who):
            self._held[who] = self._held.get(who, 0) + 1
        else:
            loop = asyncio.get_running_loop()
            place: asyncio.Future[bool] = loop.create_future()
            if self._sweeping is None:
                self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
            (self._modest if self._is_modest(who) else self._waiting).append((now, who, place))
            try:
                called = await place
            except asyncio.CancelledError:
                if not place.cancelled() and place.result():
                    self._coming -= 1
                    self._release(who)
                raise
            if not called:
                return 0, 1 + next(self._refused) % SPREAD
            now = time.perf_counter()
            self._coming -= 1
        number = next(self._numbers)
        self._begun[number] = now, who
        return number, 0

    def leave(self, number: int) -> None:
        """Hear that a call that was let in is answered."""
        if begun := self._begun.pop(number, None):
            self._release(begun[1])
        if self._modest or self._waiting:
            self._call_in(time.perf_counter())

    def _call_in(self, now: float) -> None:
        """Let those in who came last, while there is room: who has waited longest has the least time left to wait."""
        for waiting in (self._modest, self._waiting):
            while waiting and self.has_room(now, waiting[-1][1]):
                _, who, place = waiting.pop()
                if not place.done():
                    self._coming += 1
                    self._held[who] = self._held.get(who, 0) + 1
                    place.set_result(True)

    def _sweep(self) -> None:
        """Send away who has waited long enough, a few at a time: to say no must not take the time of who is let in."""
        now = time.perf_counter()
        self._call_in(now)
        for _ in range(SWEPT):
            due = (each for each in (self._waiting, self._modest) if each and each[0][0] <= now - PATIENCE_SECONDS)
            if (waiting := next(due, None)) is None:
                break
            _, _, place = waiting.popleft()
            if not place.done():
                place.set_result(False)
        again = asyncio.get_running_loop().call_later
        self._sweeping = again(SWEEP_SECONDS, self._sweep) if self._modest or self._waiting else None

    async def keep_time(self) -> None:
        """Measure how late the loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._late = loop.time() - due
            self._lateness.set(self._late)
