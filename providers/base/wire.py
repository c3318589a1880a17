"""
The only way out: a call goes in, a reply or a :class:`~providers.base.errors.ProviderError` comes out.

The error says whether the provider can have seen the call. That verdict decides whether money may be
spent a second time, so it is made here, once, from what the socket did.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any, Protocol

import httpx
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from providers.base.errors import Indeterminate, Malformed, ProviderError, Unavailable
from providers.base.reading import UNREADABLE


class Call(Struct, frozen=True, kw_only=True):
    """Describe one HTTP call; ``repeatable`` says that sending it twice costs nothing."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    repeatable: bool
    timeout: float = 60.0
    """Seconds of silence after which the reply is given up."""
    still: Callable[[], bool] | None = None
    """Asked once there is a connection, before the first byte: whether it may still be sent."""

    @classmethod
    def get(cls, url: str, headers: Mapping[str, str] | None = None) -> "Call":
        """Ask for what lies at an address, which costs nothing however often it is done."""
        return cls(method="GET", url=url, headers=headers or {}, repeatable=True)

    @classmethod
    def post(
        cls,
        url: str,
        body: bytes,
        kind: str = "application/json",
        *,
        repeatable: bool,
        timeout: float = 60.0,
        headers: Mapping[str, str] | None = None,
    ) -> "Call":
        """Hand over a body of a kind."""
        said = {**(headers or {}), "content-type": kind}
        return cls(method="POST", url=url, headers=said, body=body, repeatable=repeatable, timeout=timeout)


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
        except UNREADABLE as error:
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


CONNECT = {"connect": 5.0, "pool": 10.0}
"""Seconds a connection may take to be made, or to come free: what is not connected is not sent, and tried again."""

EVERY = {"accept-encoding": "identity", "user-agent": "reelgate"}
"""Headers of every call that does not say otherwise; some providers' edges turn nameless clients away."""

SPOKEN = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"} | {
    "transfer-encoding", "x-goog-user-project"
}  # fmt: skip
"""Headers that hold no secret, whoever adds them."""
CLIPS = ("video/", "audio/", "image/", "application/octet-stream", "binary/")
"""How the types of answers begin that are not searched for secrets: they are kept as they are, and large."""
LEAST_SECRET = 8
"""Fewest characters of what is taken for a secret: a shorter text stands in answers by chance."""
HIDDEN = b"[hidden]"
MOST_HEARD = 4096
"""Bytes kept of an answer that nobody could read, or that broke off."""


class UnsentError(httpx.TransportError):
    """A call could not be written down: an address, a header or a credential no request can hold."""


NOT_SENT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol,
    UnsentError,
)  # fmt: skip
"""The socket never carried a byte of the call."""

BROKEN = (httpx.TransportError, httpx.InvalidURL, OSError)
"""What a transport raises."""


class Answer(Struct, frozen=True):
    """Hold the head of an answer, and the bytes that follow it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    stream: httpx.AsyncByteStream
    secrets: tuple[str, ...] = ()
    """What its call was signed with."""


class Carrier(httpx.AsyncBaseTransport):
    """An httpx transport that also takes a call as it stands, at half the cost: with nothing of httpx's around it."""

    @abstractmethod
    async def carry(self, call: Call) -> Answer:
        """
        Send a call and wait for the head of its answer.

        :raises httpx.TransportError: one of :data:`NOT_SENT` only where that is certain.
        """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request of httpx's."""
        silence = request.extensions.get("timeout", {}).get("read")
        return _response(await self.carry(await _call(request, silence)))


class Through(Carrier):
    """Carry calls by any httpx transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def carry(self, call: Call) -> Answer:
        """Send a call as a request of httpx's."""
        with unsent():
            request = _request(call)
        return _answer(await self.handle_async_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request of httpx's."""
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


class ByScheme(Carrier):
    """Send each call by the transport that knows its scheme, opened when first one comes."""

    def __init__(self, openers: Mapping[str, Callable[[], httpx.AsyncBaseTransport]]) -> None:
        self._openers = openers
        self._open: dict[str, Carrier] = {}

    async def carry(self, call: Call) -> Answer:
        """
        Send one call.

        :raises httpx.UnsupportedProtocol: nobody knows the scheme.
        """
        scheme = call.url.partition(":")[0].lower()
        carrier = self._open.get(scheme)
        if carrier is None:
            if scheme not in self._openers:
                raise httpx.UnsupportedProtocol(scheme)
            carrier = self._open[scheme] = _carrier(self._openers[scheme]())
        return await carrier.carry(call)

    async def aclose(self) -> None:
        """Close every transport that was opened."""
        for carrier in self._open.values():
            await carrier.aclose()


class HttpWire:
    """
    Send calls through one long-lived transport, signed with one account's credentials.

    httpx's transports and signing, without its client: that would merge addresses, keep cookies and follow
    redirects, none of which a purchase wants, at twice the cost of the call. Nothing is retried.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, auth: httpx.Auth | None = None, *, max_bytes: int = 64 * 2**20
    ) -> None:
        self._carrier = _carrier(transport)
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
        answer, body = None, bytearray()
        try:
            answer = await self._open(call)
            try:
                async for chunk in answer.stream:
                    body += chunk
                    if len(body) > self._max_bytes:
                        msg = f"the answer is larger than {self._max_bytes} bytes"
                        raise Malformed(msg, status=answer.status, heard=beginning(body, answer.secrets))
            finally:
                await answer.stream.aclose()
        except BROKEN as error:
            lost = judge(error, call)
            lost.heard = beginning(body, answer.secrets) if answer else b""
            raise lost from error
        return hide(Reply(status=answer.status, headers=answer.headers, body=bytes(body)), answer.secrets)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """
        Send and hand the answer over piece by piece; errors as for :meth:`send`.

        Bytes come as they were sent: a compressed answer is not unpacked.
        """
        try:
            answer = await self._open(call)
        except BROKEN as error:
            raise judge(error, call) from error
        try:
            chunks = _chunks(answer, call)
            if answer.secrets and not answer.headers.get("content-type", "").startswith(CLIPS):
                chunks = _hidden(chunks, [secret.encode("latin-1", "replace") for secret in answer.secrets])
            head = hide(Reply(status=answer.status, headers=answer.headers, body=b""), answer.secrets)
            yield Download(status=head.status, headers=head.headers, chunks=chunks)
        finally:
            await answer.stream.aclose()

    async def _open(self, call: Call) -> Answer:
        """Send a call, signed, and wait for the head of its answer."""
        if self._plain:
            return await self._carrier.carry(call)
        with unsent():
            flow = self._auth.async_auth_flow(_request(call))
        try:
            with unsent():
                request = await anext(flow)
                signed = await _signed(request, call)
            while True:
                response = _response(await self._carrier.carry(signed))
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return replace(_answer(response), secrets=_added(call, signed))
                await response.aclose()  # Some credentials need an answer first: a token that ran out.
                signed = await _signed(request, call)
        finally:
            await flow.aclose()


@contextmanager
def unsent() -> Iterator[None]:
    """
    Write a call down; whatever fails at that, nothing was sent.

    :raises UnsentError: without the words of what failed, which may repeat a credential.
    """
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:
        raise UnsentError(type(error).__name__) from error


def judge(error: Exception, call: Call) -> ProviderError:
    """Say what a broken connection means for a call; an address, which may hold a key, is not repeated."""
    message = f"no answer: {type(error).__name__}"
    if isinstance(error, UnsentError):
        message = "the call could not be written, so nothing was sent: look at the account's key and base_url"
    if call.repeatable or isinstance(error, NOT_SENT):
        return Unavailable(message)
    return Indeterminate(message)


def _added(call: Call, signed: Call) -> tuple[str, ...]:
    """Read what signing a call has put into it: values alone, without the word of the scheme before them."""
    before = {name.lower(): value for name, value in call.headers.items()}
    added = (value for name, value in signed.headers.items() if before.get(name) != value and name not in SPOKEN)
    return tuple(value.rpartition(" ")[2] for value in added if len(value.rpartition(" ")[2]) >= LEAST_SECRET)


def hide(reply: Reply, secrets: tuple[str, ...]) -> Reply:
    """
    Take out of an answer what its call was signed with; pure.

    Some providers repeat a key they refuse, and what they say goes into logs, rows and answers to clients.
    """
    for secret in secrets:
        raw = secret.encode("latin-1", "replace")
        if raw in reply.body:
            reply = replace(reply, body=reply.body.replace(raw, HIDDEN))
        if any(secret in value for value in reply.headers.values()):
            clean = {name: value.replace(secret, HIDDEN.decode()) for name, value in reply.headers.items()}
            reply = replace(reply, headers=clean)
    return reply


def beginning(body: bytes | bytearray, secrets: Iterable[str]) -> bytes:
    """Take secrets out of how a body begins, also one that is cut at its end; pure."""
    text = bytes(body[:MOST_HEARD])
    for secret in secrets:
        raw = secret.encode("latin-1", "replace")
        text = text.replace(raw, HIDDEN)
        begun = next((size for size in range(len(raw) - 1, LEAST_SECRET // 2, -1) if text.endswith(raw[:size])), 0)
        text = text[: len(text) - begun]
    return text[:MOST_HEARD]


def _carrier(transport: httpx.AsyncBaseTransport) -> Carrier:
    """Let calls be carried by a transport, whatever its kind."""
    return transport if isinstance(transport, Carrier) else Through(transport)


def _request(call: Call) -> httpx.Request:
    """Write a call as a request of httpx's."""
    return httpx.Request(
        call.method,
        parsed(call.url),
        headers=written(tuple(call.headers.items())),
        content=call.body or None,
        extensions={"timeout": {**CONNECT, "read": call.timeout, "write": call.timeout}},
    )


async def _signed(request: httpx.Request, call: Call) -> Call:
    """Read a request of httpx's that signs a call, or is sent on its behalf."""
    return replace(await _call(request, call.timeout), still=call.still, repeatable=call.repeatable)


async def _call(request: httpx.Request, silence: float) -> Call:
    """Read a request of httpx's, signed or its own."""
    return Call(
        method=request.method,
        url=str(request.url),
        headers=lowered(request.headers.raw),
        body=await request.aread(),
        repeatable=False,
        timeout=silence,
    )


def _response(answer: Answer) -> httpx.Response:
    """Write an answer as httpx's, which takes other signs than ASCII in bytes alone."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    return httpx.Response(answer.status, headers=headers, stream=answer.stream)


def _answer(response: httpx.Response) -> Answer:
    """Read an answer of httpx's; whoever signed the call may have read its body."""
    stream = httpx.ByteStream(response.content) if response.is_stream_consumed else response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return Answer(response.status_code, lowered(response.headers.raw), stream)


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Read headers, names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


@lru_cache(maxsize=256)
def written(headers: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Write a call's headers, names in lower case; most calls of an account have the same few."""
    return {**EVERY, **{name.lower(): value for name, value in headers}}


@lru_cache(maxsize=1024)
def parsed(url: str) -> httpx.URL:
    """Read an address; orders go to a few, and reading one costs as much as sending a small call."""
    return httpx.URL(url)


async def _hidden(chunks: AsyncIterator[bytes], secrets: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Take secrets out of bytes as they come; what may be the beginning of one waits for what follows it."""
    for secret in secrets:
        chunks = _without(chunks, secret)
    async for chunk in chunks:
        yield chunk


async def _without(chunks: AsyncIterator[bytes], secret: bytes) -> AsyncIterator[bytes]:
    """Take one secret out of bytes as they come."""
    kept = b""
    async for chunk in chunks:
        text = (kept + chunk).replace(secret, HIDDEN)
        begun = next((size for size in range(len(secret) - 1, 0, -1) if text.endswith(secret[:size])), 0)
        text, kept = text[: len(text) - begun], text[len(text) - begun :]
        if text:
            yield text
    if kept:
        yield kept


async def _chunks(answer: Answer, call: Call) -> AsyncIterator[bytes]:
    """Pass an answer's bytes on as they were sent."""
    try:
        async for chunk in answer.stream:
            yield chunk
    except BROKEN as error:
        raise judge(error, call) from error
