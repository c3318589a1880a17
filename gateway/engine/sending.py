"""
Keep an order from leaving that should not any more.

Long after its intent others may have taken it for lost, and ordered; and while its inputs were uploaded an operator may
have halted purchases, or its client cancelled it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from gateway.jobs.job import HALTED, HELD_UP
from providers.base.errors import Unavailable
from providers.base.wire import Call, Download, Reply, Wire

SEND_MS = 90_000
"""
How long after its intent an order may leave, its inputs uploaded before.

Half of the time for which it counts as under way (:data:`~gateway.jobs.job.UNDER_WAY`): nobody orders it anew before.
"""
FRESH_MS = 500
"""How long after its intent an order leaves without another question: a halt holds within a second."""


class Withheld(Unavailable):
    """An order that was not sent, which is nobody's failure."""

    kind = "withheld"


class OnTime:
    """Carry an account's calls, but none that buys after its time, or that is not wanted any more."""

    def __init__(
        self, wire: Wire, clock: Callable[[], int], intent_at: int, wanted: Callable[[], Awaitable[bool]]
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._intent_at = intent_at
        self._wanted = wanted

    async def send(self, call: Call) -> Reply:
        """
        Send and read the whole answer, whatever its status.

        :raises Withheld: it would buy, and comes too late: this process stood still, or an upload took too long; or
            purchases were halted meanwhile, or the job cancelled.
        """
        return await self._wire.send(await self._checked(call))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """
        Send and hand the answer over piece by piece.

        :raises Withheld: as for :meth:`send`.
        """
        async with self._wire.stream(await self._checked(call)) as download:
            yield download

    async def _checked(self, call: Call) -> Call:
        """Refuse a call that buys and should not leave, and have one that may looked at again as it does."""
        if call.repeatable:
            return call
        if self._clock() - self._intent_at > FRESH_MS and not await self._wanted():
            raise Withheld(HALTED)
        if not self._still():
            raise Withheld(HELD_UP)
        return replace(call, still=self._still)

    def _still(self) -> bool:
        """Whether an order may still leave."""
        return self._clock() - self._intent_at <= SEND_MS
