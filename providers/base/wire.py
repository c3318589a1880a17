"""
The only way out: a call goes in, a reply or a :class:`~providers.base.errors.ProviderError` comes out.

The error says whether the provider can have seen the call. That verdict decides whether money may be
spent a second time, so it is made here, once, from what the socket did.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any, Protocol

import httpx
import msgspec
from msgspec import Struct

from providers.base.errors import Indeterminate, Malformed, ProviderError, Unavailable


class Call(Struct, frozen=True, kw_only=True):
    """Describe one HTTP call; ``repeatable`` says that sending it twice costs nothing."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    repeatable: bool
    timeout: float = 60.0
    """Seconds of silence after which the reply is given up."""


class Reply(Struct, frozen=True, kw_only=True):
    """Hold a whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """
        Decode the body.

        :raises Malformed: when it is not JSON.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError) as error:
            msg = "the answer is not JSON"
            raise Malformed(msg, status=self.status) from error


class Download(Struct, frozen=True, kw_only=True):
    """Hold the head of a streamed answer and its bytes as they come."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Wire(Protocol):
    """Carry calls for one account."""

    async def send(self, call: Call) -> Reply:
        """Send and read the whole answer, whatever its status."""

    def stream(self, call: Call) -> AbstractAsyncContextManager[Download]:
        """Send and hand the answer over piece by piece."""


CONNECT = {"connect": 10.0, "pool": 10.0}
"""Seconds a connection may take to be made, or to come free."""

EVERY = (("accept-encoding", "identity"), ("user-agent", "reelgate"))
"""Headers of every call that does not say otherwise; some vendors' edges turn nameless clients away."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""The socket never carried a byte of the call."""

BROKEN = (httpx.TransportError, httpx.InvalidURL, OSError)
"""What a transport raises."""


class ByScheme(httpx.AsyncBaseTransport):
    """Send each request by the transport that knows its scheme, opened when first one comes."""

    def __init__(self, openers: Mapping[str, Callable[[], httpx.AsyncBaseTransport]]) -> None:
        self._openers = openers
        self._open: dict[str, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request.

        :raises httpx.UnsupportedProtocol: nobody knows the scheme.
        """
        scheme = request.url.scheme
        transport = self._open.get(scheme)
        if transport is None:
            if scheme not in self._openers:
                raise httpx.UnsupportedProtocol(scheme)
            transport = self._open[scheme] = self._openers[scheme]()
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every transport that was opened."""
        for transport in self._open.values():
            await transport.aclose()


class HttpWire:
    """
    Send calls through one long-lived transport, signed with one account's credentials.

    httpx's requests, answers and signing, without its client: that would merge addresses, keep cookies and
    follow redirects, none of which a purchase wants, at twice the cost of the call. Nothing is retried.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, auth: httpx.Auth | None = None, *, max_bytes: int = 64 * 2**20
    ) -> None:
        self._transport = transport
        self._auth = auth or httpx.Auth()
        self._plain = type(self._auth) is httpx.Auth
        self._max_bytes = max_bytes

    async def send(self, call: Call) -> Reply:
        """
        Send and read the whole answer, whatever its status.

        :raises Unavailable: the call never left, or it is repeatable and no answer came.
        :raises Indeterminate: a call that buys left and no whole answer came back.
        :raises Malformed: the answer is larger than any dialect's.
        """
        try:
            response = await self._open(call)
            try:
                body = bytearray()
                async for chunk in response.stream:  # type: ignore[union-attr]
                    body += chunk
                    if len(body) > self._max_bytes:
                        msg = f"the answer is larger than {self._max_bytes} bytes"
                        raise Malformed(msg, status=response.status_code)
            finally:
                await response.aclose()
        except BROKEN as error:
            raise judge(error, call) from error
        return Reply(status=response.status_code, headers=_lowered(response), body=bytes(body))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """
        Send and hand the answer over piece by piece; errors as for :meth:`send`.

        Bytes come as they were sent: a compressed answer is not unpacked.
        """
        try:
            response = await self._open(call)
        except BROKEN as error:
            raise judge(error, call) from error
        try:
            yield Download(status=response.status_code, headers=_lowered(response), chunks=_chunks(response, call))
        finally:
            await response.aclose()

    async def _open(self, call: Call) -> httpx.Response:
        """Send a call, signed, and wait for the head of its answer."""
        request = httpx.Request(
            call.method,
            _parsed(call.url),
            headers=_written(tuple(call.headers.items())),
            content=call.body or None,
            extensions={"timeout": {**CONNECT, "read": call.timeout, "write": call.timeout}},
        )
        if self._plain:
            return await self._transport.handle_async_request(request)
        flow = self._auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = await self._transport.handle_async_request(request)
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return response
                await response.aclose()  # Some credentials need an answer first: a token that ran out.
        finally:
            await flow.aclose()


def judge(error: Exception, call: Call) -> ProviderError:
    """Say what a broken connection means for a call; an address, which may hold a key, is not repeated."""
    message = f"no answer: {type(error).__name__}"
    if call.repeatable or isinstance(error, NOT_SENT):
        return Unavailable(message)
    return Indeterminate(message)


async def _chunks(response: httpx.Response, call: Call) -> AsyncIterator[bytes]:
    """Pass an answer's bytes on as they were sent."""
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]
            yield chunk
    except BROKEN as error:
        raise judge(error, call) from error


def _lowered(response: httpx.Response) -> dict[str, str]:
    """Read an answer's headers, names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}


@lru_cache(maxsize=256)
def _written(headers: tuple[tuple[str, str], ...]) -> httpx.Headers:
    """Write a call's headers; most calls of an adapter have the same few. A request copies them."""
    said = {name.lower() for name, _ in headers}
    return httpx.Headers([*((name, value) for name, value in EVERY if name not in said), *headers])


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    """Read an address; orders go to a few, and reading one costs as much as sending a small call."""
    return httpx.URL(url)
