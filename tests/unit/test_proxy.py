"""Laws of the way out through a proxy: it carries what goes to sellers, and puts no order in doubt."""

import asyncio
import base64
import socket
import ssl
import traceback
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
import structlog
from litestar.exceptions import LitestarDeprecationWarning

from gateway import app
from gateway.checks import mistakes
from gateway.offers.accounts import Account
from gateway.settings import NetworkSettings, Settings
from gateway.store.store import Store
from providers.base import transport
from providers.base.errors import Indeterminate, ProviderError, Unavailable
from providers.base.signing import HomeAuth
from providers.base.transport import AiohttpTransport
from providers.base.wire import Call, HttpWire
from tests.outside import CERTIFICATE, Outside, page, world
from tests.server import free_port

HOST = "cdn.example.com"
"""Stands on the site's certificate; nobody here can look it up but the proxy."""
SECRET = "canary-of-the-proxy"
SELLERS = "canary-of-the-seller"


class Proxy:
    """Pass on what is asked for to one site, whatever its name, as far as it is told to."""

    def __init__(self, site: Outside) -> None:
        self.site = site
        self.refuses = b""
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://app:{SECRET}@127.0.0.1:{self.port}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer CONNECT and open a tunnel, or pass one call on as it is."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self.refuses:
            writer.write(self.refuses)
        if self.refuses or self.site.port == 0:
            return
        there, onward = await asyncio.open_connection("127.0.0.1", self.site.port)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            onward.write(b" ".join((method, b"/" + url.split(b"/", 3)[3], rest)))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pour(reader, onward))
                both.create_task(self._pour(there, writer))
        finally:
            onward.transport.abort()

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until there are no more."""
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
            writer.close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """Run the one site there is, and trust its certificate."""
    trusted = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr(transport.ssl, "create_default_context", lambda *_, **__: trusted)
    with world() as outside:
        outside.pages["/tasks"] = page(b"{}")
        yield outside


@asynccontextmanager
async def proxied(site: Outside) -> AsyncIterator[Proxy]:
    """Run a proxy before the site."""
    proxy = Proxy(site)
    talking: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.append((task, writer))
        with suppress(OSError, asyncio.IncompleteReadError):
            await proxy.talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
    for task, writer in talking:
        task.cancel()
        writer.transport.abort()
        with suppress(asyncio.CancelledError, OSError):
            await writer.wait_closed()


def buying(scheme: str, *, host: str = HOST) -> Call:
    return Call(method="POST", url=f"{scheme}://{host}/tasks", body=b"{}", repeatable=False, timeout=5.0)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_carries_orders_and_looks_names_up(site: Outside, scheme: str) -> None:
    """It hears who asks, and of TLS no more than the name; the seller hears nothing of the proxy's password."""
    async with proxied(site) as proxy, AiohttpTransport(proxy=proxy.url) as carrier:
        auth = HomeAuth(f"{scheme}://{HOST}", {"authorization": f"Bearer {SELLERS}"})
        assert (await HttpWire(carrier, auth).send(buying(scheme))).json() == {}

    (asked,), (heard,) = proxy.heads, site.heads
    assert asked.startswith(f"CONNECT {HOST}:443 " if scheme == "https" else f"POST http://{HOST}/tasks ")
    word = base64.b64encode(f"app:{SECRET}".encode()).decode()
    assert f"Proxy-Authorization: Basic {word}" in asked
    assert SELLERS in heard
    if scheme == "https":
        assert SELLERS not in asked
        assert word not in heard


REFUSALS = [b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n"]
BROKEN = [b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 502 Not there\r\n\r\n", b"what?\r\n\r\n", b"\0"]


@pytest.mark.parametrize(
    ("scheme", "refuses"), [("http", REFUSALS[0]), *(("https", each) for each in REFUSALS + BROKEN)]
)
async def test_what_a_proxy_does_not_let_through_was_not_sent(site: Outside, scheme: str, refuses: bytes) -> None:
    """No order is in doubt for it, and nothing that is said repeats a password."""
    async with proxied(site) as proxy, AiohttpTransport(proxy=proxy.url) as carrier:
        proxy.refuses = refuses
        with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable) as caught:
            await HttpWire(carrier).send(buying(scheme))

    assert [] == site.heads
    assert SECRET not in f"{logs}{caught.value.message}{traceback.format_exception(caught.value)}"


async def test_a_proxy_that_is_not_there_sent_nothing(site: Outside) -> None:
    """Nor does anything go past it."""
    async with AiohttpTransport(proxy=f"http://app:{SECRET}@127.0.0.1:{free_port()}") as carrier:
        for scheme in ("http", "https"):
            with pytest.raises(Unavailable) as caught:
                await HttpWire(carrier).send(buying(scheme))
            assert SECRET not in f"{caught.value.message}{traceback.format_exception(caught.value)}"
    assert [] == site.heads


async def test_silence_behind_a_tunnel_is_still_no_proof(site: Outside) -> None:
    """Once the seller was reached, an order without an answer is in doubt as ever."""
    site.pages["/tasks"] = lambda connection: connection.shutdown(socket.SHUT_RDWR)
    async with proxied(site) as proxy, AiohttpTransport(proxy=proxy.url) as carrier:
        with pytest.raises(Indeterminate):
            await HttpWire(carrier).send(buying("https"))


async def test_this_machine_is_called_without_a_proxy(site: Outside) -> None:
    """What listens on loopback no proxy reaches."""
    async with proxied(site) as proxy, AiohttpTransport(proxy=proxy.url) as carrier:
        for host in ("127.0.0.1", "localhost"):
            with suppress(ProviderError):  # The site is at 127.0.0.1 alone.
                await HttpWire(carrier).send(buying("http", host=f"{host}:{site.port}"))
    assert [] == proxy.heads
    assert site.heads


@pytest.mark.parametrize("through", [True, False])
async def test_accounts_are_called_through_it_and_strangers_are_not(
    site: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, through: bool
) -> None:
    """Orders, looks and clips at the hosts a listing names; the guard dials for itself, as it checks what it dials."""
    opened: list[dict[str, Account]] = []

    def spy(*words: object, **named: object) -> object:
        found = open_accounts(*words, **named)  # type: ignore[arg-type]
        opened.append(found[0])
        return found

    async def guarded(_: Store) -> bool:
        return True

    open_accounts = app.open_accounts
    monkeypatch.setattr(app, "open_accounts", spy)
    monkeypatch.setattr(Store, "has_keys", guarded)
    async with proxied(site) as proxy:
        settings = {
            "network": {"proxy": proxy.url if through else ""},
            "store": {"url": f"sqlite:///{tmp_path}/reelgate.db"},
            "media": {"url": f"file:///{tmp_path}/media"},
            "worker": {"enabled": False},
            "accounts": {"gemini": {"provider": "gemini", "base_url": f"https://{HOST}"}},
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LitestarDeprecationWarning)  # Of how handlers declare what is in a path.
            told = msgspec.convert(settings, Settings)
            built = await app.create_app(told, {"GEMINI_API_KEY": SELLERS}, outbound=site.outbound)
        account = opened[0]["gemini"]
        async with built.alive():
            for wire in (account.wire, account.abroad):
                with suppress(ProviderError):
                    async with wire.stream(Call.get(f"https://{HOST}/tasks")) as download:
                        assert download.status == 200
    assert (2 if through else 0) == len([head for head in proxy.heads if head.startswith(f"CONNECT {HOST}:443 ")])
    assert bool(site.asked) is not through


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128",
        "https://proxy:3128",
        "socks5://proxy",
        f"http://app:{SECRET}@",
        f"http://app:{SECRET}@proxy/x",
        f"http://a%3Ab:{SECRET}@proxy",
    ],
)
def test_what_is_no_proxy_is_told_without_its_password(proxy: str) -> None:
    """The start is refused, and what is said holds no word of it."""
    ((key, said),) = mistakes(Settings(network=NetworkSettings(proxy=proxy)))
    assert ("network", "proxy") == key
    assert SECRET not in said


@pytest.mark.parametrize("proxy", ["", "http://proxy:3128", "http://proxy/", f"http://app:{SECRET}@10.0.0.1:3128"])
def test_what_is_one_is_taken(proxy: str) -> None:
    """With and without who asks."""
    assert not [*mistakes(Settings(network=NetworkSettings(proxy=proxy)))]
