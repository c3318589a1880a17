"""
Share a bounded number of places among owners, so that nobody who keeps theirs long keeps a newcomer waiting.

The last quarter of the places is for who has none; who waits is called in as soon as there is one they may have, who
holds fewest first. :mod:`gateway.shares` is what steps have instead, which nobody waits for in memory.
"""

import asyncio
from collections import Counter, deque
from contextlib import suppress


def portion(places: int) -> int:
    """Say how many of so many places one owner may have; pure."""
    return places - (max(1, places // 4) if places > 1 else 0)


class Places:
    """Hand places out, and call in who waits for one."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._kept = most - portion(most)
        """How many are for who has none."""
        self._held: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner, who has waited longest since it was last called first: who waits, oldest first."""

    async def take(self, owner: str, seconds: float | None = None) -> None:
        """
        Wait for a place, which is then the owner's until it leaves it.

        :raises TimeoutError: when none comes free within ``seconds``.
        """
        if self._may(owner):
            self._seat(owner)
            return
        place = asyncio.get_running_loop().create_future()
        self._lines.setdefault(owner, deque()).append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            if not place.cancelled():
                self.leave(owner)  # It came as we were leaving.
            else:
                self._forget(owner, place)
            raise

    def leave(self, owner: str) -> None:
        """Give a place back, and call in whom it is for."""
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while self._lines:
            next_ = min(self._lines, key=self._held.__getitem__)
            if not self._may(next_):
                return  # The others hold as many or more.
            line = self._lines.pop(next_)
            place = line.popleft()
            if line:
                self._lines[next_] = line  # Behind those who hold as many.
            if not place.done():
                self._seat(next_)
                place.set_result(None)

    def _may(self, owner: str) -> bool:
        """Whether there is a place this owner may have."""
        return self._free > (self._kept if self._held[owner] else 0)

    def _seat(self, owner: str) -> None:
        """Count a place as an owner's."""
        self._free -= 1
        self._held[owner] += 1

    def _forget(self, owner: str, place: "asyncio.Future[None]") -> None:
        """Take one who waits no more out of the line."""
        line = self._lines.get(owner, deque())
        with suppress(ValueError):
            line.remove(place)
        if not line:
            self._lines.pop(owner, None)
