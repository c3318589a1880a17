"""Share out a few connections among those who read, and get by with fewer where no more are to be had."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from asyncpg import Connection

AGAIN_SECONDS: Final = 5.0
"""How long nobody tries to open one more after that failed, while there are others."""


class Readers:
    """
    Open one more where none is free, and meanwhile have whoever waits use what comes free.

    A server, or a pooler before it, that has no connection left to give keeps nobody waiting who could be answered over
    one we have.
    """

    def __init__(self, dial: Callable[[], Awaitable[Connection]], most: int) -> None:
        self._dial = dial
        self._most = most
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._again = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """
        Have a connection for as long as the context lasts.

        :raises StoreUnavailableError: when there is none, and none can be opened.
        """
        connection = await self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Hang up, whoever reads."""
        for dial in self._dials:
            dial.cancel()
        for each in self._open:
            each.terminate()

    async def _take(self) -> Connection:
        """Find one that is free; else have one more opened, and wait for whichever comes first."""
        while True:
            while self._free:
                found = self._free.pop()
                if not found.is_closed():
                    return found
                self._open.discard(found)
            rests = self._open and asyncio.get_running_loop().time() < self._again
            if len(self._open) + len(self._dials) < self._most and not rests:
                self._dials.add(asyncio.create_task(self._open_one()))
            await self._turn()

    async def _open_one(self) -> None:
        """Open one more; where that fails and there is none to wait for, everybody who waits hears of it."""
        dial = asyncio.current_task()
        assert dial is not None
        try:
            opened = await self._dial()
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told, whatever it is
            self._dials.discard(dial)
            self._again = asyncio.get_running_loop().time() + AGAIN_SECONDS
            if not self._dials and all(each.is_closed() for each in self._open):
                self._refuse(error)
        else:
            self._dials.discard(dial)
            self._open.add(opened)
            self._free.append(opened)
            self._call()

    async def _turn(self) -> None:
        """Wait until something may be free."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:
                self._call()  # Somebody else's turn, then.
            raise

    def _give_back(self, connection: Connection) -> None:
        """Let the next have it."""
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._free.append(connection)
        self._call()

    def _call(self) -> None:
        """Call whoever waits longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _refuse(self, error: Exception) -> None:
        """Tell all who wait that there is nothing to wait for."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)
