"""
Share out the memory that large bodies are read into: so many bytes for all calls, and no call's for longer than it is.

A body lies on disk until all of it is there, so that a slow one holds none. There is room for three of the largest;
whoever asks has that of one, and no more than stays free for others. One key's crowd shuts out nobody else's call.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.door.admission import overloaded

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for memory: who fetches nothing beside is done with it in a fraction of a second."""
COME_AGAIN: Final = 2


def fits(size: int, held: int, used: int, largest: int) -> bool:
    """Whether who holds so much of what is used may have more; pure."""
    return held + size <= min(largest, 3 * largest - used - size)


class Buffers:
    """Lend memory, by who asks."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._held: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        """Who waits for how much, the first to come first."""

    async def lend(self, holder: str, size: int) -> Callable[[], None]:
        """
        Wait for memory; answers what gives it back, which may be called twice.

        :raises ProblemError: 503 where there is none for too long.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = holder, size
        self._call_in()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await place
        except BaseException as error:
            if self._waiting.pop(place, None) is None:
                self._take_back(holder, size)
            if isinstance(error, TimeoutError):
                raise overloaded(COME_AGAIN) from error
            raise
        lent = [size]

        def give_back() -> None:
            if lent:
                self._take_back(holder, lent.pop())

        return give_back

    def _call_in(self) -> None:
        """Lend to those who wait, in their order; who asks for less may pass who asks for more."""
        for place, (holder, size) in [*self._waiting.items()]:
            if fits(size, self._held[holder], self._held.total(), self._largest):
                del self._waiting[place]
                self._held[holder] += size
                place.set_result(None)

    def _take_back(self, holder: str, size: int) -> None:
        """Have memory back."""
        self._held[holder] -= size
        self._held += Counter()  # Who holds nothing is forgotten.
        self._call_in()
