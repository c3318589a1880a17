"""
Decide when a suspect is stepped, a job that was in hand twice in a row when its worker died: pure, time is an argument.

Many jobs are in hand when a process dies, and hardly more than one of them was the reason. So suspects are stepped one
by one, and nothing else is begun shortly before and after: a third crash is the suspect's own doing, and whoever was
only near by is cleared by the step it survives. A process that has just started tries nobody, so that one that is
killed again and again, by whoever does that, finds nobody guilty.
"""

from collections.abc import Iterable

CALM_MS = 10_000
"""How long a process runs before it tries anybody."""
ALONE_MS = 3_000
"""How long nothing else is begun before a suspect is stepped, and after: what kills does so soon."""
REST_MS = 20_000
"""How long everybody else goes on undisturbed after a trial that took longer than :data:`ALONE_MS`."""
AGAIN_MS = 20_000
"""How long a suspect is put off that waits for its trial; whom a process forgets that dies, another hears of then."""


class Trials:
    """Keep the suspects one worker has met, and call one after the other."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._tried: str | None = None
        """Whose step is under way."""
        self._since = 0
        self._opens = 0
        """Before this nobody is tried."""

    def start(self, now: int) -> None:
        """Hear that the process begins to work."""
        self._opens = now + CALM_MS

    def put_off(self, job: str, now: int) -> int:
        """Take a suspect's name, and say until when to put it off."""
        if job != self._tried:
            self._waiting[job] = None
        return now + AGAIN_MS

    def alone(self, now: int) -> bool:
        """Whether nothing else may be begun now: a suspect is about to be stepped, or has just begun."""
        if self._tried is not None:
            return now < self._since + ALONE_MS
        return bool(self._waiting) and now >= self._opens

    def call(self, begun: Iterable[int], now: int) -> str | None:
        """Name the suspect to step now, where nothing else was ``begun`` of late."""
        if self._tried is not None or not self.alone(now) or now < max(begun, default=0) + ALONE_MS:
            return None
        self._tried, self._since = next(iter(self._waiting)), now
        del self._waiting[self._tried]
        return self._tried

    def end(self, job: str, now: int) -> bool:
        """Hear that a step has ended; says whether it was a suspect's."""
        if job != self._tried:
            return False
        self._tried = None
        if now >= self._since + ALONE_MS:
            self._opens = now + REST_MS
        return True
