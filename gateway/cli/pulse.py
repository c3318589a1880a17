"""
Ask the gateway from outside whether it is reached at all.

After a start with too little memory the server below was seen to go on without the gateway: it takes calls, answers
each of them 500 by itself, and nobody above ever hears of one.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from gateway.memory import end

EVERY_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 4.0
"""How long an answer is waited for; none at all may be for many reasons, and ends nothing."""
ASK: Final = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
OURS: Final = b"\r\nx-request-id:"
"""What every answer of the gateway's says, and none of the server's own."""
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where who listens anywhere is asked


async def keep_asking(host: str, port: int, *, give_up: Callable[[], object] = end) -> None:
    """Ask every few seconds, and give up once the server answers in the gateway's place."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        # Where this very question gets no memory or no file, another may: nothing is known of the server.
        with contextlib.suppress(OSError, EOFError, MemoryError, asyncio.LimitOverrunError):
            if is_unreached(await _head(ANYWHERE.get(host, host), port)):
                give_up()


def is_unreached(head: bytes) -> bool:
    r"""
    Whether an answer's head is the server's own for a gateway it cannot reach; pure.

    >>> is_unreached(b"HTTP/1.1 500 Internal Server Error\r\nserver: granian\r\n\r\n")
    True
    >>> is_unreached(b"HTTP/1.1 500 Internal Server Error\r\nX-Request-ID: req_1\r\n\r\n")
    False
    """
    return head[9:12] == b"500" and OURS not in head.lower()


async def _head(address: str, port: int) -> bytes:
    """
    Ask, and read the head of the answer.

    :raises OSError: when nobody takes the call, or answers in time.
    :raises EOFError: when the answer breaks off.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(ASK)
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()
