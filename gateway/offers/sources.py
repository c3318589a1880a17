"""
Decide when a provider that serves no clips is tried again: pure, time is an argument.

Each clip comes again by itself, and a hundred of them would ask a provider that answers nobody a hundred times as
often as one does. So while nobody is answered, one clip at a time is tried on behalf of all, ever more seldom; the
first that is answered, with whatever it be, lets the others come. The first try of every clip is its own.
"""

LONGEST_MS = 300_000
"""Most time between two tries while nobody is answered."""
TRY_MS = 60_000
"""How long a try may be under way before another clip is tried."""
LOOK_MS = 30_000
"""How often a clip that waits for another's try asks what came of it."""
LAST_MS = 600_000
"""Time a link has left below which its clip waits for nobody."""


class Source:
    """Know whether the clips of one account are served."""

    def __init__(self) -> None:
        self._failures = 0
        """Tries in a row that nobody answered, each begun after the one before had ended."""
        self._until = 0
        self._trying = False

    def take(self, left: int, now: int) -> int:
        """
        Take the turn to try a clip again and answer ``now``, or say when it should ask again.

        :param left: how many milliseconds its link may still live.
        """
        if not self._failures or left < LAST_MS:
            return now
        if now < self._until:
            return min(self._until, now + LOOK_MS)
        self._until, self._trying = now + TRY_MS, True
        return now

    def failed(self, now: int) -> None:
        """Hear that nobody answered; of clips that were tried at the same time one counts."""
        if self._trying or now >= self._until:
            wait = min(LONGEST_MS, 250 * 4 ** min(self._failures, 10))
            self._failures, self._until, self._trying = self._failures + 1, now + wait, False

    def answered(self) -> None:
        """Hear that somebody did, whatever the answer was."""
        self._failures, self._until, self._trying = 0, 0, False
