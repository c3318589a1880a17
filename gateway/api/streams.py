"""Send server-sent events for as long as there are any and somebody listens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from litestar.types import Receive, Scope, Send

HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
"""What every stream is sent under: the last has an nginx on the way pass each event on as it comes."""


class Stream:
    """Send events as they come; of one that nobody listens to any more nothing goes on."""

    def __init__(self, events: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        self._events = events
        self._headers = {**HEADERS, **(headers or {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":  # type: ignore[typeddict-item]
            await self._tell(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, receive: Receive, send: Send) -> None:
        """Send what there is to say, to its end or until the client has left."""
        telling = asyncio.create_task(self._pass_on(send))
        leaving = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
        finally:
            for each in (telling, leaving):
                each.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await each

    async def _pass_on(self, send: Send) -> None:
        """Send each event."""
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def gone(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
