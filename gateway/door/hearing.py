"""
Hear a caller out before it is answered early: a refusal, say, that needs nothing of the body that is still coming.

Who writes a whole body before it reads, as proxies do, hears nothing of an answer whose line is closed meanwhile: it
writes into that, and tells its own client of a bad gateway. So the rest of the body is taken and dropped first, as long
as it comes and not for ever: neither memory nor a place of who is let in is held for it, and whoever is cut off after
all is told so (``Connection: close``).
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from litestar.types import Receive

from gateway.settings import ServerSettings

LONGEST_SECONDS: Final = 5.0
"""How long an answer waits for the end of a body at most."""
QUIET_SECONDS: Final = 1.0
"""Who has sent nothing for so long waits for the answer, and is in the middle of no sentence."""
TIMES: Final = 2
"""
How many of the largest bodies that are taken may be dropped of one call.

A file that is too large by mistake is seldom twice too large; who announces more is not waited for at all.
"""


class Said:
    """Follow a request's body as it comes."""

    __slots__ = ("_receive", "begun", "ended", "expects", "length")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        self._receive = receive
        self.begun = False
        """Whether anybody has asked for it: the server then bids who waits for that to send it."""
        self.ended = True
        """Whether nothing of it is still to come."""
        self.expects = False
        """Whether its sender waits to be bidden (``Expect: 100-continue``)."""
        self.length = 0
        """How long it is said to be; 0 where nobody says."""
        for name, value in headers:
            if name == b"content-length":
                self.length = int(value) if value.isdigit() and len(value) <= 18 else 0
                self.ended = self.ended and value == b"0"
            elif name == b"transfer-encoding":
                self.ended = False
            elif name == b"expect":
                self.expects = True

    async def receive(self) -> Any:
        """Take the next message, in the server's place."""
        self.begun = True
        message = await self._receive()
        self.ended = self.ended or message["type"] != "http.request" or not message.get("more_body")
        return message


class Hearing:
    """Hear out so many callers at a time; whoever comes beyond that is answered as they are."""

    def __init__(self, *, largest: int, seconds: float, most: int) -> None:
        """Take the largest body there may be, in how many seconds one must come, and how many are heard at a time."""
        self._most_bytes = TIMES * largest
        self._seconds = seconds
        self._most = most
        self._heard = 0

    async def out(self, said: Said, spent: float = 0.0) -> None:
        """Drop what is still to come of a body that has been coming for so many seconds, within bounds."""
        bidden = said.begun or not said.expects
        if said.ended or not bidden or said.length > self._most_bytes or self._heard >= self._most:
            return
        clock = asyncio.get_running_loop().time
        until = clock() + min(LONGEST_SECONDS, self._seconds - spent)
        left = self._most_bytes
        self._heard += 1
        try:
            while not said.ended and left > 0 and (wait := min(QUIET_SECONDS, until - clock())) > 0:
                async with asyncio.timeout(wait):
                    left -= len((await said.receive()).get("body", b""))
        except TimeoutError:
            return
        finally:
            self._heard -= 1


def make_hearing(server: ServerSettings) -> Hearing:
    """Hear out as many as may be let in, and nobody for longer than a body may take."""
    return Hearing(largest=server.max_body_mb * 2**20, seconds=server.body_seconds, most=server.max_waiting)
