"""Laws of the only way out: what a broken connection proves, and what it does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, suppress

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpx import HTTPXMock

from providers.base import transport
from providers.base.errors import Billed, Indeterminate, Malformed, ProviderError, Unavailable
from providers.base.signing import HomeAuth
from providers.base.transport import AiohttpTransport
from providers.base.wire import Call, HttpWire
from tests.server import free_port

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def upstream(talk: Talk) -> AsyncIterator[str]:
    """Run a peer that says exactly what the test wants."""
    talking: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.append((task, writer))
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tasks"
    for task, writer in talking:
        task.cancel()
        writer.transport.abort()
        with suppress(asyncio.CancelledError, OSError):
            await writer.wait_closed()


@asynccontextmanager
async def wire() -> AsyncIterator[HttpWire]:
    """Carry calls as production does."""
    async with AiohttpTransport() as transport:
        yield HttpWire(transport)


def buying(url: str, **changes: object) -> Call:
    return Call(method="POST", url=url, body=b"{}", repeatable=False, **{"timeout": 5.0, **changes})  # type: ignore[arg-type]


async def reset_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.transport.abort()


async def close_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()


async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"{}")
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


LOST = [reset_after_reading, close_after_reading, half_an_answer, not_http]


@pytest.mark.parametrize("talk", LOST)
async def test_silence_after_a_purchase_is_never_called_not_sent(talk: Talk) -> None:
    """Once the order left, no broken connection proves that it was not taken."""
    async with upstream(talk) as url, wire() as out:
        with pytest.raises(Indeterminate) as caught:
            await out.send(buying(url))

    assert caught.value.billed is Billed.MAYBE


@pytest.mark.parametrize("talk", LOST)
async def test_silence_after_a_look_costs_nothing(talk: Talk) -> None:
    """A repeatable call that was lost may simply be made again."""
    async with upstream(talk) as url, wire() as out:
        with pytest.raises(Unavailable) as caught:
            await out.send(Call(method="POST", url=url, body=b"{}", repeatable=True))

    assert caught.value.billed is Billed.NO


async def test_a_hung_purchase_is_indeterminate() -> None:
    """A peer that takes the order and says nothing may have sold it."""
    async with upstream(silence) as url, wire() as out:
        with pytest.raises(Indeterminate):
            await out.send(buying(url, timeout=0.05))


async def test_a_refused_connection_was_not_sent() -> None:
    """Where nobody listens nothing was bought."""
    async with wire() as out:
        with pytest.raises(Unavailable):
            await out.send(buying(f"http://127.0.0.1:{free_port()}/tasks"))


@pytest.mark.parametrize("auth", [None, HomeAuth("http://127.0.0.1", {"authorization": "Bearer x"})])
async def test_what_may_not_be_sent_any_more_is_not(auth: httpx.Auth | None) -> None:
    """A purchase is asked about once more when its connection is there: nothing of a late one is sent, nor bought."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        await half_an_answer(reader, writer)

    carrier = AiohttpTransport()
    async with upstream(listen) as url:
        with pytest.raises(Unavailable):
            await HttpWire(carrier, auth).send(buying(url, still=lambda: False))
        with pytest.raises(Indeterminate):
            await HttpWire(carrier, auth).send(buying(url, still=lambda: True))
        with pytest.raises(Indeterminate):
            await HttpWire(carrier, auth).send(buying(url))
    await carrier.aclose()

    assert heard == [b"", b"P", b"P"]


@pytest.mark.parametrize(
    ("key", "signed"),
    [*[(key, signed) for key in ("k\r", "k\n", "k\0") for signed in (True, False)], ("clé", True), ("\ud800", True)],
)
async def test_a_call_that_cannot_be_written_was_not_sent(key: str, signed: bool) -> None:
    """A key no header can hold puts no order in doubt: not a byte of it leaves, and nothing said repeats it."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))

    headers = {"authorization": f"Bearer {key}"}
    async with upstream(listen) as url, AiohttpTransport() as carrier:
        out = HttpWire(carrier, HomeAuth(url, headers) if signed else None)
        with pytest.raises(Unavailable, match="nothing was sent") as caught:
            await out.send(buying(url, headers={} if signed else headers))

    assert b"" == b"".join(heard)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/tasks", "http://:80/tasks", "http://[::1/tasks", "sandbox:"])
@pytest.mark.parametrize("auth", [None, HomeAuth("http://127.0.0.1", {"authorization": "Bearer x"})])
async def test_an_address_nobody_can_call_was_not_called(url: str, auth: httpx.Auth | None) -> None:
    """Nor is an order in doubt for an address that is none."""
    async with AiohttpTransport() as carrier:
        with pytest.raises(Unavailable):
            await HttpWire(carrier, auth).send(buying(url))


async def test_a_crash_after_the_first_byte_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails of ours once an order is on its way, nobody says that it was not sent."""

    def crash(*_: object, **__: object) -> None:
        raise ValueError("a defect")

    async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    monkeypatch.setattr(transport.aiohttp.ClientResponse, "start", crash)
    async with upstream(fine) as url, wire() as out:
        with pytest.raises(ValueError, match="a defect"):
            await out.send(buying(url))


async def test_a_connection_that_died_idle_is_not_silence_of_ours_to_repeat() -> None:
    """A keep-alive connection the peer dropped is still not proof: a purchase on it is indeterminate or made anew."""
    seen: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"{}"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    async with upstream(once) as url, wire() as out:
        await out.send(buying(url))
        try:
            await out.send(buying(url))
        except ProviderError as error:
            assert isinstance(error, Indeterminate)  # noqa: PT017
        assert len(seen) <= 2


class Keeping:
    """A server that keeps connections for so long, by the clock of both; one that idled longer dies as it is used."""

    def __init__(self, patch: pytest.MonkeyPatch, *, keeps: float) -> None:
        self.now, self.keeps, self.connections, self.taken = 100.0, keeps, 0, 0
        patch.setattr(aiohttp.connector, "monotonic", lambda: self.now)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            since = self.now
            await reader.readuntil(b"{}")
            if self.now - since > self.keeps:
                return
            self.taken += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("idle", [1.01, 2.5, 14.9])
async def test_no_order_leaves_on_a_connection_that_idled(
    monkeypatch: pytest.MonkeyPatch, idle: float, signed: bool
) -> None:
    """Whoever closes one just as the order arrives would leave it in doubt: the next order makes a fresh one."""
    server = Keeping(monkeypatch, keeps=1.0)
    async with upstream(server.talk) as url, AiohttpTransport() as carrier:
        out = HttpWire(carrier, HomeAuth(url, {"authorization": "Bearer a-secret"}) if signed else None)
        for _ in range(3):
            assert (await out.send(buying(url))).json() == {}
            server.now += idle

    assert (3, 3) == (server.connections, server.taken)


@pytest.mark.parametrize("signed", [True, False])
async def test_orders_in_a_row_share_a_connection(monkeypatch: pytest.MonkeyPatch, signed: bool) -> None:
    """A busy gateway pays for one handshake; looks keep theirs for longer, and lend it to no order."""
    server = Keeping(monkeypatch, keeps=60.0)
    async with upstream(server.talk) as url, AiohttpTransport() as carrier:
        out = HttpWire(carrier, HomeAuth(url, {"authorization": "Bearer a-secret"}) if signed else None)
        look = Call(method="POST", url=url, body=b"{}", repeatable=True)
        for _ in range(5):
            await out.send(buying(url))
            server.now += 0.9
        assert server.connections == 1
        await out.send(look)
        server.now += 10.0
        await out.send(look)
        assert server.connections == 2
        await out.send(buying(url))

    assert (3, 8) == (server.connections, server.taken)


async def test_redirects_are_answers_and_nothing_is_unpacked(httpx_mock: HTTPXMock) -> None:
    """A redirect is not followed, no body is decompressed, and identity is asked for."""
    httpx_mock.add_response(
        status_code=302, headers={"location": "http://127.0.0.1:1/", "content-encoding": "gzip"}, content=b"x"
    )
    async with httpx.AsyncHTTPTransport() as transport:
        reply = await HttpWire(transport).send(Call(method="GET", url="https://acme.test/a", repeatable=True))

    assert (reply.status, reply.body) == (302, b"x")
    (request,) = httpx_mock.get_requests()
    assert request.headers["accept-encoding"] == "identity"


async def test_an_endless_answer_is_cut(httpx_mock: HTTPXMock) -> None:
    """No answer takes more memory than any dialect needs."""
    httpx_mock.add_response(content=b"x" * 2048)
    async with httpx.AsyncHTTPTransport() as transport:
        with pytest.raises(Malformed) as caught:
            await HttpWire(transport, max_bytes=1024).send(
                Call(method="GET", url="https://acme.test/a", repeatable=True)
            )
    assert caught.value.heard == b"x" * 2048


@pytest.mark.parametrize("cut", [0, 3, 12, 26])
async def test_what_came_of_an_answer_is_not_lost_with_it(cut: int) -> None:
    """It may name what was bought; the key it was asked with is hidden in it, and so is half of it at the end."""
    key = "canary-key-of-acme-7Qz-abc"
    said = f'{{"id": "t1", "key": "{key}", "again": "{key[:cut]}'.encode()

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + said)
        await writer.drain()

    async with upstream(break_off) as url, AiohttpTransport() as transport:
        carrier = HttpWire(transport, HomeAuth(url, {"authorization": f"Bearer {key}"}))
        with pytest.raises(Indeterminate) as caught:
            await carrier.send(buying(url))

    hidden = {0: b"", 3: b"can", 12: b"", 26: b"[hidden]"}[cut]
    assert caught.value.heard == b'{"id": "t1", "key": "[hidden]", "again": "' + hidden
    assert "t1" not in f"{caught.value}{caught.value.message}"


async def test_errors_carry_no_address(httpx_mock: HTTPXMock) -> None:
    """An address may hold a key; what is said of a failure does not repeat it."""
    httpx_mock.add_exception(httpx.ReadError("https://acme.test/?key=canary"))
    async with httpx.AsyncHTTPTransport() as transport:
        with pytest.raises(Unavailable) as caught:
            await HttpWire(transport).send(Call(method="GET", url="https://acme.test/?key=canary", repeatable=True))

    assert "canary" not in f"{caught.value}{caught.value.message}"


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies named in the environment are not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    async with upstream(fine) as url, wire() as out:
        assert (await out.send(buying(url))).json() == {}


class Badge(httpx.Auth):
    """Sign each call with a token, and get a new one where it is turned away, having read why."""

    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = "Bearer old"
        if (yield request).status_code == 401:
            request.headers["authorization"] = "Bearer new"
            yield request


async def test_credentials_of_httpx_sign_what_aiohttp_carries() -> None:
    """Signing may need an answer first; the body goes out whole each time, and one Host and one length with it."""
    heads: list[bytes] = []

    async def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for status in (b"401 Unauthorized", b"201 Created"):
            heads.append((await reader.readuntil(b"{}")).lower())
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nX-Task: 7\r\n\r\n{}")
            await writer.drain()

    async with upstream(gate) as url, AiohttpTransport() as transport:
        reply = await HttpWire(transport, Badge()).send(buying(url, headers={"Content-Type": "application/json"}))

    assert (201, "7", b"{}") == (reply.status, reply.headers["x-task"], reply.body)
    assert [b"bearer old" in heads[0], b"bearer new" in heads[1]] == [True, True]
    for head in heads:
        for name in (b"host", b"content-length", b"content-type", b"accept-encoding: identity"):
            assert 1 == head.count(b"\r\n" + name)


async def test_an_aiohttp_transport_serves_a_client_of_httpx() -> None:
    """What carries calls is still a transport like any other."""

    async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    async with upstream(fine) as url, httpx.AsyncClient(transport=AiohttpTransport(), trust_env=False) as client:
        assert {} == (await client.get(url)).json()


SIGNS = st.text(st.sampled_from("abcZ019-_.~!$&'()*+,;=:@/?%#[]\\ é<>^`{|}"), max_size=10)


@given(
    st.sampled_from(
        ["https://a.test", "http://1.2.3.4", "https://a.test:443", "http://a.test:8443", "http://[::1]:80"]
    ),
    SIGNS,
    st.none() | SIGNS,
)
def test_a_short_cut_leads_to_the_same_address(origin: str, path: str, query: str | None) -> None:
    """An address read by its origin, as those of looks are, is the one that is read from end to end."""
    url = f"{origin}/{path}" + ("" if query is None else f"?{query}")
    try:
        whole = transport._whole(url)
    except ValueError as error:
        with pytest.raises(type(error)):
            transport._address(url)
        return
    short = transport._address(url)

    assert (str(short), short.raw_host, short.port, short.raw_path_qs) == (
        str(whole), whole.raw_host, whole.port, whole.raw_path_qs
    )  # fmt: skip


KEY = "a-key-nobody-may-see"


@pytest.mark.parametrize("size", [1, 7, 19, 20, 21, 1000])
async def test_what_signed_a_call_is_taken_out_of_its_answer(size: int) -> None:
    """However the answer is cut into pieces, whole or as it comes, whatever its status; all else stays as it was."""
    said = f"{KEY[:5]} Bearer {KEY}, {KEY}{KEY} and {KEY[:-1]}".encode()

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nx-said: %s\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode())
        for at in range(0, len(said), size):
            piece = said[at : at + size]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    expected = said.replace(KEY.encode(), b"[hidden]")
    async with upstream(repeat) as url, AiohttpTransport() as transport:
        out = HttpWire(transport, HomeAuth(url, {"authorization": f"Bearer {KEY}"}))
        reply = await out.send(Call(method="GET", url=url, repeatable=True))
        async with out.stream(Call(method="GET", url=url, repeatable=True)) as download:
            streamed = b"".join([chunk async for chunk in download.chunks])
    assert expected == reply.body == streamed
    assert "[hidden]" == reply.headers["x-said"] == download.headers["x-said"]
