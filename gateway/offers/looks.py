"""Share out the looks an account may take at its tasks: never more than its rate, and each task its part of them."""

SHARE_MS = 5_000
"""How long looks are counted before the share of each task is set anew."""
STEP = 0.2
"""How far each count moves the share towards what it finds."""
PLANNED = 0.9
"""Share of the looks that is given out beforehand: with all of them, whatever once was late would stay so."""


class Looks:
    """Know how many looks are left at one account, and by how much to stretch the time between two at a task."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        """Looks in a second, at most."""
        self.stretch = 1.0
        """By how much longer than they should the intervals are, so that all looks together keep to the rate."""
        self._taken = self._put_off = 0.0
        """Up to when looks are used up; up to when those for which none was left were put off."""
        self._wanted = 0.0
        """Looks that should have been taken since the count began, had there been enough."""
        self._counted_at = 0

    def take(self, now: int) -> int:
        """
        Take a look's turn and answer ``now``; where none is left, answer when the job should come again.

        A second's worth of looks may be made at once. What is put off is spread out in the order it came, so that a
        crowd, as after a stop, is written once and not at every turn.
        """
        step = 1000 / self.rate
        at = max(self._taken, now - 1000.0) + step
        if at <= now:
            self._taken = at
            return now
        self._put_off = max(self._put_off, float(now)) + step
        return 1 + int(self._put_off)

    def interval(self, wait: float, waited: float, now: int) -> float:
        """
        Decide how many seconds to wait for the next look at a task that should be looked at every ``wait`` seconds.

        :param waited: seconds since the last look at it. A task that waited twice as long as it should have stands
            for two looks that were wanted: so what all tasks together want is known from those that are looked at.
        """
        # Nobody wants twice what was wanted a moment ago: a crowd after a stop was kept waiting by the stop.
        self._wanted += min(waited / wait, 2 * self.stretch)
        counted = now - self._counted_at
        if counted >= SHARE_MS:
            # Whatever was counted before a long silence is spread over it.
            needed = self._wanted * 1000 / counted / (PLANNED * self.rate)
            # By degrees: what one count gives too much, the next would take away again.
            self.stretch = max(1.0, self.stretch + STEP * (needed - self.stretch))
            self._wanted, self._counted_at = 0.0, now
        return wait * self.stretch
