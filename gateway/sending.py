"""Keep an order from leaving long after it was meant to: by then others may have taken it for lost, and ordered."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from providers.base.errors import Unavailable
from providers.base.wire import Call, Download, Reply, Wire

SEND_MS = 90_000
"""
How long after its intent an order may leave, its inputs uploaded before.

Half of the time for which it counts as under way (:data:`~gateway.job.UNDER_WAY`): nobody orders it anew before.
"""


class OnTime:
    """Carry an account's calls, but none that buys after its time."""

    def __init__(self, wire: Wire, clock: Callable[[], int], intent_at: int) -> None:
        self._wire = wire
        self._clock = clock
        self._until = intent_at + SEND_MS

    async def send(self, call: Call) -> Reply:
        """
        Send and read the whole answer, whatever its status.

        :raises Unavailable: it would buy, and comes too late: this process stood still, or an upload took too long.
        """
        return await self._wire.send(self._timely(call))

    def stream(self, call: Call) -> AbstractAsyncContextManager[Download]:
        """
        Send and hand the answer over piece by piece.

        :raises Unavailable: as for :meth:`send`.
        """
        return self._wire.stream(self._timely(call))

    def _timely(self, call: Call) -> Call:
        """Refuse a call that buys and comes too late, and have one that does not looked at again as it leaves."""
        if call.repeatable:
            return call
        if not self._still():
            raise Unavailable("the order was held up here for too long to be sent")
        return replace(call, still=self._still)

    def _still(self) -> bool:
        """Whether an order may still leave."""
        return self._clock() <= self._until
