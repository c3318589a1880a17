"""
Carry calls over aiohttp's connections.

httpx's own pool is quadratic in waiting requests and several times dearer per call. The published bridge
reports a connection that dies *after* the request was sent as ``httpx.ConnectTimeout``; to a buyer those
are opposites (not sent: may be sent again; sent: never). So this one keeps them apart.
"""

import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from functools import cached_property, lru_cache
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection
from yarl import URL

from providers.base.wire import CONNECT, NOT_SENT, Answer, Call, Carrier, UnsentError, lowered, parsed, unsent, written

LOOKS_IDLE = 15.0
ORDERS_IDLE = 1.0
"""
Seconds a connection that carried an order may lie idle and carry another; one for looks may for longer.

A server that closes one just as an order goes out on it leaves that order in doubt; none closes so soon. So a busy
gateway reuses them, and a quiet one makes a fresh one.
"""

ASKS_WHO = 407
"""A proxy's own answer: it wants to know who asks, and passed nothing on."""

BROKEN = (aiohttp.ClientError, OSError)
"""What aiohttp raises when a call fails; a ``TimeoutError`` is an ``OSError``."""

PLAIN = re.compile(r"(https?://[a-z0-9.\[\]:-]+)(/[\w.~!$&()*+,;=:@/-]*)(?:\?([\w.~!$&()*+,;=:@/?-]+))?", re.ASCII)
"""An address httpx and aiohttp write as it stands; anything else is read whole."""


class _Leave:
    """Hold whether the call under way may still be sent, and whether that has begun."""

    __slots__ = ("begun", "reached", "still")

    def __init__(self, still: Callable[[], bool] | None) -> None:
        self.still = still
        self.reached = False
        """Whether there is a connection to the one it is for, through a proxy if need be."""
        self.begun = False


_leave: ContextVar[_Leave] = ContextVar("_leave")
"""Of the call under way."""


class _LateError(aiohttp.ClientError):
    """There is a connection, and it is too late to use it."""


class _Punctual(aiohttp.ClientRequest):
    """Send nothing that may not be sent any more: making the connection took its time."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request, or hang up before its first byte."""
        leave = _leave.get()
        if leave.still is not None and not leave.still():
            conn.close()
            raise _LateError
        leave.reached = True
        # Its head is put together whole in there, before its first byte: one that cannot be has sent nothing.
        response = await super().send(conn)
        leave.begun = True
        return response

    async def write_bytes(self, *words: Any) -> None:
        """Send the body, and the head with it."""
        _leave.get().begun = True
        await super().write_bytes(*words)


class AiohttpTransport(Carrier):
    """
    Send calls through aiohttp sessions, opened on first use: orders through one of their own.

    Environment proxies, cookies and redirects play no part; bodies are passed on as they were sent.
    """

    def __init__(self, *, connections: int = 256, proxy: str = "") -> None:
        """
        Carry calls over so many ``connections`` at most, and orders over as many more.

        All but those to this machine go through ``proxy``, where one is named: it looks names up, and what it does not
        let through was not sent.
        """
        self._connections = connections
        named = URL(proxy)
        self._proxy = named.with_user(None) if proxy else None
        # Apart: aiohttp's errors repeat the address.
        who = aiohttp.encode_basic_auth(named.user, named.password or "") if named.user else ""
        self._who = {"Proxy-Authorization": who} if who else {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        """By whether what they carry may be sent again."""

    def _open(self, *, repeatable: bool) -> aiohttp.ClientSession:
        """Open a session."""
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            ssl=self._tls,
            ttl_dns_cache=30,
            keepalive_timeout=LOOKS_IDLE if repeatable else ORDERS_IDLE,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            request_class=_Punctual,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type", "Accept"),
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Whom to trust; read once, for it takes long."""
        return ssl.create_default_context()

    async def carry(self, call: Call) -> Answer:
        """
        Send one call.

        :raises UnsentError: it could not be written, so nothing was sent.
        :raises httpx.ConnectError: no connection was made, or it took too long, so nothing was sent.
        :raises httpx.ReadError: the connection ended after it was made.
        """
        session = self._sessions.get(call.repeatable)
        if session is None:
            session = self._sessions[call.repeatable] = self._open(repeatable=call.repeatable)
        with unsent():
            address, headers = _address(call.url), written(tuple(call.headers.items()))
        leave = _Leave(call.still)
        _leave.set(leave)
        proxy = None if self._proxy is None or _is_here(address) else self._proxy
        if proxy and address.scheme == "http":
            headers = {**headers, **self._who}
        try:
            response = await session.request(
                call.method,
                address,
                headers=headers,
                data=call.body or None,
                allow_redirects=False,
                timeout=_patience(call.timeout),
                proxy=proxy,
                proxy_headers=self._who if proxy else None,
            )
        except BROKEN as error:
            raise (_named(error) if leave.reached else _unreached(error)) from error
        except Exception as error:
            if leave.begun:
                raise
            raise UnsentError(type(error).__name__) from error
        if proxy and response.status == ASKS_WHO and address.scheme == "http":
            response.close()  # In TLS it would be the other side's word.
            raise httpx.ProxyError(str(ASKS_WHO))
        return Answer(response.status, lowered(response.raw_headers), _Body(response))

    async def aclose(self) -> None:
        """Close every connection."""
        while self._sessions:
            await self._sessions.popitem()[1].close()


class _Body(httpx.AsyncByteStream):
    """Pass an answer's bytes on as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self  # A generator would have to be registered with the loop, for every answer.

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except BROKEN as error:
            raise _named(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # A body read to its end has given its connection back already.
        self._response.close()


@lru_cache(maxsize=1024)
def _address(url: str) -> URL:
    """Read an address as httpx does: orders go to a few; a look's is of as few hosts, with nothing to be escaped."""
    plain = PLAIN.fullmatch(url)
    if plain is None or "/." in plain[2]:
        return _whole(url)
    scheme, authority = _origin(plain[1])
    return URL.build(scheme=scheme, authority=authority, path=plain[2], query_string=plain[3] or "", encoded=True)


@lru_cache(maxsize=1024)
def _whole(url: str) -> URL:
    """Read an address from end to end, at ten times the cost."""
    return URL(str(parsed(url)), encoded=True)


@lru_cache(maxsize=1024)
def _origin(url: str) -> tuple[str, str]:
    """Read an address without a path as httpx does: its scheme and authority."""
    origin = _whole(url)
    return origin.scheme, origin.raw_authority


@lru_cache(maxsize=64)
def _patience(silence: float) -> aiohttp.ClientTimeout:
    """Say how long to wait: for a connection, and between two bytes of an answer."""
    return aiohttp.ClientTimeout(
        total=None, connect=CONNECT["pool"], sock_connect=CONNECT["connect"], sock_read=silence
    )


def _is_here(address: URL) -> bool:
    """Whether an address is this machine's own."""
    host = address.host or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _unreached(error: Exception) -> httpx.TransportError:
    """Name an error from before there was a connection to whom a call is for: nothing of it was sent."""
    named = _named(error)
    return named if isinstance(named, NOT_SENT) else httpx.ConnectError(str(named))


def _named(error: Exception) -> httpx.TransportError:
    """Name aiohttp's errors in httpx's words; only a connection never made counts as not sent."""
    name = type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError() | _LateError():
            return httpx.ConnectError(name)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol(name)
        case TimeoutError():
            return httpx.ReadTimeout(name)
        case _:
            return httpx.ReadError(name)
