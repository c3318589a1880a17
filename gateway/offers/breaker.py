"""
Decide when nothing is ordered for a while of who fails too often: pure, time is an argument.

Five failures in a row, or half of twenty and more calls within ten seconds, and orders rest: half a minute, longer each
time soon after the last, five minutes at most. An answer in between does not undo a share, nor end the rest. Where
nothing is answered at all there is no share to tell: that is silence, which the first answer ends.
"""

ROW = 5
"""Failures in a row that are enough."""
LEAST = 20
"""Fewest calls a share is read off."""
WINDOW = 10
"""Seconds of which calls are counted."""
REST_MS = 30_000
LONGEST_MS = 300_000
"""Longest rest; and how long after one the next is longer."""


def rest_ms(trips: int) -> int:
    """
    Say how long a rest is after so many in a row.

    >>> [rest_ms(trips) for trips in (1, 2, 30)]
    [30000, 60000, 300000]
    """
    return min(LONGEST_MS, REST_MS * trips)


class Breaker:
    """Count what became of calls of one kind, and know until when their failures keep orders back."""

    def __init__(self, row: int | None = None) -> None:
        """Count; ``row`` is how many failures in a row are enough by themselves, where any number is."""
        self._most = row
        self._row = 0
        self._second = 0
        """The newest second counted."""
        self._calls, self._failures = [0] * WINDOW, [0] * WINDOW
        """By second, each at its place until the window has passed it."""
        self._trips = 0
        self.until = 0
        """When the last rest ends."""

    def note(self, now: int, *, failed: bool) -> bool:
        """Hear what became of a call; says whether that begins a rest. While there is one, none begins."""
        at = self._turn(now // 1000)
        self._calls[at] += 1
        if not failed:
            self._row = 0
            return False
        self._failures[at] += 1
        self._row += 1
        if now < self.until or not self._too_many():
            return False
        self._trips = self._trips + 1 if now < self.until + LONGEST_MS else 1
        self.until = now + rest_ms(self._trips)
        if self._most is not None:
            self._row = self._most - 1  # The first after the rest that fails is enough.
        self._forget()
        return True

    def _too_many(self) -> bool:
        """Whether there were too many failures, in a row or of all."""
        if self._most is not None and self._row >= self._most:
            return True
        calls, failures = sum(self._calls), sum(self._failures)
        return calls >= LEAST and calls <= 2 * failures < 2 * calls

    def _turn(self, second: int) -> int:
        """Empty the places of seconds the window has passed, and say which one is this second's."""
        passed = second - self._second
        if not -WINDOW < passed < WINDOW:  # Also a clock that was set back.
            self._forget()
            self._second = second
        for each in range(self._second + 1, second + 1):
            self._calls[each % WINDOW] = self._failures[each % WINDOW] = 0
        self._second = max(self._second, second)
        return self._second % WINDOW

    def _forget(self) -> None:
        """Begin to count anew."""
        self._calls, self._failures = [0] * WINDOW, [0] * WINDOW
