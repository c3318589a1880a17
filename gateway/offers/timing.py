"""Measure how long providers take to answer."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.telemetry import Metrics
from providers.base.wire import Call, Download, Reply, Wire


class Timed:
    """Carry an account's calls, and measure those that are answered whole: a clip takes as long as it is large."""

    def __init__(self, wire: Wire, metrics: Metrics, provider: str) -> None:
        self._wire = wire
        self._took = {
            buys: metrics.call_seconds.labels(provider, "order" if buys else "look") for buys in (True, False)
        }

    async def send(self, call: Call) -> Reply:
        """Send and read the whole answer, whatever its status; what has no answer took as long as it was waited for."""
        began = time.perf_counter()
        try:
            return await self._wire.send(call)
        finally:
            self._took[not call.repeatable].observe(time.perf_counter() - began)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """Send and hand the answer over piece by piece."""
        async with self._wire.stream(call) as download:
            yield download
