"""
Look names up as this machine does, hosts file and all: in threads, for what they do nobody can call back.

So a name server that never answers holds a thread for as long as the machine waits for it. No owner has all threads
(:mod:`gateway.network.places`), a name is looked up once for all who ask for it meanwhile, and one that took long to
fail is left alone as long again.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from msgspec import Struct

from gateway.network.places import Places

MOST = 128
"""Names being looked up at the same time."""
REST_SECONDS = 30.0
"""Longest that a name is left alone."""


class Found(Struct, frozen=True):
    """Hold one address a name stands for."""

    family: int
    proto: int
    address: str


LookUp = asyncio.Future[list[Found]]
"""One that is under way, or has just ended; shared, so nobody who waits for it may cancel it."""


def ask(host: str) -> list[Found]:
    """
    Ask this machine what a name stands for; takes as long as it takes.

    :raises socket.gaierror: when nobody says.
    """
    told = socket.getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [Found(family, proto, str(place[0])) for family, _, proto, _, place in told]


class Names:
    """Look names up, a bounded number at a time and none twice at once."""

    def __init__(
        self,
        asked: Callable[[str], list[Found]] = ask,
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = asked
        self._clock = clock
        self._places = Places(most)
        self._under_way: dict[str, LookUp] = {}
        self._resting: dict[str, tuple[float, socket.gaierror]] = {}
        """Until when a name is left alone, and what was said of it."""

    async def begin(self, host: str, owner: str, *, patience: float) -> LookUp:
        """
        Have a name looked up; it has begun when this returns, and is somebody else's fault from then on.

        :raises TimeoutError: when this owner finds no thread for it within ``patience`` seconds.
        """
        if rests := self._rests(host):
            return rests
        if host not in self._under_way:
            await self._places.take(owner, patience)
            if host not in self._under_way:
                return self._start(host, owner)
            self._places.leave(owner)  # Another's turn came first.
        return self._under_way[host]

    def _rests(self, host: str) -> LookUp | None:
        """Say again what was said of a name that is left alone."""
        until, error = self._resting.get(host, (0.0, socket.gaierror()))
        if self._clock() >= until:
            return None
        known: LookUp = asyncio.get_running_loop().create_future()
        known.set_exception(socket.gaierror(*error.args))
        known.exception()  # Who asked may not come to hear it: it is no news then.
        return known

    def _start(self, host: str, owner: str) -> LookUp:
        """Begin a look-up, at a place that is its owner's until it ends."""
        loop, began = asyncio.get_running_loop(), self._clock()
        look_up: LookUp = loop.create_future()
        self._under_way[host] = look_up

        def end(told: list[Found] | BaseException) -> None:
            del self._under_way[host]
            self._places.leave(owner)
            if isinstance(told, socket.gaierror):
                self._let_rest(host, self._clock() - began, told)
            if isinstance(told, BaseException):
                look_up.set_exception(told)
                look_up.exception()  # As above.
            else:
                look_up.set_result(told)

        def work() -> None:
            try:
                told: list[Found] | BaseException = self._ask(host)
            except Exception as error:  # noqa: BLE001  It is raised where it is waited for.
                told = error
            with suppress(RuntimeError):  # Nobody waits any more: the loop has ended.
                loop.call_soon_threadsafe(partial(end, told))

        # A thread of its own and no pool's: those are waited for when the process ends.
        try:
            threading.Thread(target=work, name=f"name {host}", daemon=True).start()
        except RuntimeError as error:  # The machine gives no more.
            end(error)
        return look_up

    def _let_rest(self, host: str, took: float, error: socket.gaierror) -> None:
        """Leave a name alone for as long as it took to learn nothing."""
        now = self._clock()
        self._resting = {name: rest for name, rest in self._resting.items() if rest[0] > now}
        self._resting[host] = (now + min(REST_SECONDS, took), error)
