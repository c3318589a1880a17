"""Share out a few connections among those who read, and get by with fewer where no more are to be had."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from asyncpg import Connection

from gateway.store.database import StoreUnavailableError


class Readers:
    """
    Open a connection where none is free; where that cannot be, wait for one that is open.

    A server that has no connection left to give is no reason to refuse who could be answered over one we have.
    """

    def __init__(self, dial: Callable[[], Awaitable[Connection]], most: int) -> None:
        self._dial = dial
        self._most = most
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        self._dialling = 0
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
        for each in self._open:
            each.terminate()

    async def _take(self) -> Connection:
        """Find one that is free, else open one, else wait."""
        while True:
            while self._free:
                found = self._free.pop()
                if not found.is_closed():
                    return found
                self._open.discard(found)
            if len(self._open) + self._dialling < self._most:
                opened = await self._opened()
                if opened is not None:
                    return opened
            if not self._free:
                await self._turn()

    async def _opened(self) -> Connection | None:
        """Open one more; nothing where that fails and there are others to wait for."""
        self._dialling += 1
        try:
            opened = await self._dial()
        except BaseException as error:
            if isinstance(error, StoreUnavailableError) and any(not each.is_closed() for each in self._open):
                return None
            self._call()  # Whoever waited for what was being opened waits for nothing now.
            raise
        finally:
            self._dialling -= 1
        self._open.add(opened)
        return opened

    async def _turn(self) -> None:
        """Wait until something may be free."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
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
