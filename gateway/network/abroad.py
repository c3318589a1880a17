"""Carry downloads to hosts a provider names: under the guard, on a connection of their own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from gateway.network.errand import FetchError
from gateway.network.guard import NotAllowedError
from providers.base.wire import Answer, Call, Carrier, Download, HttpWire, judge, lowered, written

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound


class Abroad(HttpWire):
    """
    Carry one account's downloads from hosts that are not its own.

    The rule is asked twice: of an address as it was written, and where the connection is made of what is dialled.
    """

    def __init__(self, outbound: "Callable[[], Outbound]", auth: httpx.Auth | None = None) -> None:
        super().__init__(_Guarded(outbound), auth)
        self._outbound = outbound

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """
        Send and hand the answer over piece by piece.

        :raises Unavailable: no answer came; where that is because of the rule, its cause says so.
        """
        try:
            self._outbound().read(call.url)
        except NotAllowedError as error:
            raise judge(error, call) from error
        async with super().stream(call) as download:
            yield download


class _Guarded(Carrier):
    """
    Carry calls as :class:`~gateway.network.outbound.Outbound` does: whatever a name stands for is checked when dialled.
    """

    def __init__(self, outbound: "Callable[[], Outbound]") -> None:
        self._outbound = outbound

    async def carry(self, call: Call) -> Answer:
        """
        Send one call.

        :raises NotAllowedError: where its address leads is not open.
        :raises httpx.ReadError: no answer came.
        """
        outbound = self._outbound()
        target = outbound.read(call.url)
        headers = dict(written(tuple(call.headers.items())))
        open_ = AsyncExitStack()
        try:
            answer = await open_.enter_async_context(
                outbound.call(
                    call.method, target, headers, call.body or None, owner=_owner(target.host), silent=call.timeout
                )
            )
        except FetchError as error:
            raise httpx.ReadError(error.code) from error
        return Answer(answer.status, lowered(answer.raw_headers), _Bytes(outbound.pieces(answer), open_))


class _Bytes(httpx.AsyncByteStream):
    """Pass an answer's bytes on as they arrive."""

    def __init__(self, pieces: AsyncIterator[bytes], open_: AsyncExitStack) -> None:
        self._pieces = pieces
        self._open = open_

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except FetchError as error:
            raise httpx.ReadError(error.code) from error

    async def aclose(self) -> None:
        await self._open.aclose()


def _owner(host: str) -> str:
    """Name who has to answer for a host's names: all below one domain are one's."""
    return f"clips/{'.'.join(host.split('.')[-2:])}"
