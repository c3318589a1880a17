"""
Share the steps that may be under way at once among accounts, so that a provider that hangs holds only some: pure.

An account may begin a step while it has fewer under way than there are places free. By itself it comes to half of all
places, beside one that hangs to a third; what is left is somebody else's, and of 2**n places n that hang leave one.
Where there is one account, all is its own.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count

UNBOUNDED = 2**31
LEAST_MS = 100
"""How soon a step that found no place in its account's share comes again, where steps end soon."""
MOST_MS = 30_000
"""How soon, where they hang."""


class Shares:
    """Count whose steps are under way."""

    def __init__(self, accounts: Collection[str]) -> None:
        self._accounts = accounts
        self._begun: dict[str, dict[int, int]] = {}
        """By account: when each step began, oldest first."""
        self._numbers = count()
        self._taken = 0
        self.places = 0
        """How many steps may be under way at once; where nobody has said, nothing is shared."""

    @contextmanager
    def hold(self, account: str, now: int) -> Iterator[None]:
        """Count a step while it is in an account's hands."""
        begun, number = self._begun.setdefault(account, {}), next(self._numbers)
        begun[number] = now
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            del begun[number]

    def left(self, account: str, ahead: int = 0, own: int = 0) -> int:
        """Say how many steps an account may begin, behind ``ahead`` others about to begin, of which ``own`` its own."""
        if not self.places or len(self._accounts) < 2:
            return UNBOUNDED
        free = self.places - self._taken - ahead
        return max(0, (free - len(self._begun.get(account, ())) - own + 1) // 2)

    def again(self, account: str, now: int) -> int:
        """Say when a step should come again for which there is no place: the longer others take, the later."""
        oldest = next(iter(self._begun.get(account, {}).values()), now)
        return now + min(MOST_MS, max(LEAST_MS, now - oldest))
