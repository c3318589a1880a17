"""Keep an order from leaving long after it was meant to: by then others may have taken it for lost, and ordered."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

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
        if not call.repeatable and self._clock() > self._until:
            raise Unavailable("the order was held up here for too long to be sent")
        return await self._wire.send(call)

    def stream(self, call: Call) -> AbstractAsyncContextManager[Download]:
        """Send and hand the answer over piece by piece."""
        return self._wire.stream(call)
