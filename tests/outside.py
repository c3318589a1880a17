"""A world of one machine: names, one site that they lead to, and a record of what was asked, dialled and sent."""

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from litestar.exceptions import LitestarDeprecationWarning
from PIL import Image

from gateway.app import create_app
from gateway.network.guard import Rules, make_rules
from gateway.network.outbound import AddrInfo, Outbound
from gateway.settings import Settings

HOME = "127.0.0.1"
SITE = "the site"
"""What a name stands for that leads there; 127.0.0.1 itself is as closed as ever."""
CERTIFICATE = Path(__file__).parent / "outside.pem"
"""For cdn.example.com, trusted by nobody: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes
-days 36500 -subj /CN=outside -addext subjectAltName=DNS:cdn.example.com"""

Talk = Callable[[socket.socket], None]
Answers = list[str] | Callable[[], list[str]]


def picture(size: tuple[int, int] = (64, 36)) -> bytes:
    """Draw a picture."""
    out = BytesIO()
    Image.new("RGB", size, "teal").save(out, "PNG")
    return out.getvalue()


def page(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """Write an answer."""
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Write an answer that leads elsewhere."""
    return page(status=status, Location=location.encode().decode("latin-1"))


class Outside:
    """Hold the world as one gateway sees it."""

    def __init__(self) -> None:
        self.names: dict[str, Answers] = {}
        self.pages: dict[str, bytes | Talk] = {}
        """What the site answers by path; a picture elsewhere."""
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.heads: list[str] = []
        self._listener = socket.create_server((HOME, 0))
        self.port: int = self._listener.getsockname()[1]
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(CERTIFICATE)
        self._picture = page(picture(), Content_Type="text/html")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Begin the record anew."""
        for record in (self.names, self.pages, self.asked, self.dialled, self.heads):
            record.clear()

    def outbound(self, rules: Rules | None = None, **more: Any) -> Outbound:
        """Make a client that lives in this world; without rules of its own it may reach the site."""
        rules = rules or make_rules([f"{HOME}:{self.port}"], [80, 443, 8443])
        return Outbound(rules, resolver=lambda: _Names(self), dial=self._dial, **more)

    def look_up(self, host: str) -> list[str]:
        """Say what a name stands for."""
        self.asked.append(host)
        known = self.names.get(host.rstrip("."))
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known() if callable(known) else known

    def _dial(self, wanted: AddrInfo) -> socket.socket:
        """Note whom a connection is for, and let it go no further than this machine."""
        place = str(wanted[4][0]), int(wanted[4][1])
        self.dialled.append(place)
        if place != (HOME, self.port):
            raise ConnectionRefusedError(111, "not of this world")
        return socket.socket(*wanted[:3])

    def _serve(self) -> None:
        """Take connections until the end."""
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        """Answer one connection, in TLS where it begins so."""
        with suppress(OSError), connection:
            connection.settimeout(20)
            if connection.recv(1, socket.MSG_PEEK) == b"\x16":
                with self._tls.wrap_socket(connection, server_side=True) as safe:
                    self._answer(safe)
            else:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Answer one request."""
        head = b""
        while b"\r\n\r\n" not in head and (more := connection.recv(65_536)):
            head += more
        if b"\r\n\r\n" not in head:
            return  # They went away.
        self.heads.append(head.decode("latin-1"))
        said = self.pages.get(head.split(b" ")[1].decode("latin-1"), self._picture)
        if callable(said):
            said(connection)
        else:
            connection.sendall(said)

    def close(self) -> None:
        """End the site."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


class _Names(AbstractResolver):
    """Look names up in a world."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up; whatever port it is asked for, the site is at its own."""
        return [
            ResolveResult(
                hostname=host,
                host=HOME if each == SITE else each,
                port=self._outside.port if each == SITE else port,
                family=family,
                proto=0,
                flags=0,
            )
            for each in self._outside.look_up(host)
        ]

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def world() -> Iterator[Outside]:
    """Run a world."""
    outside = Outside()
    try:
        yield outside
    finally:
        outside.close()


@asynccontextmanager
async def gateway(
    folder: Path, outbound: Outbound, *, clock: Callable[[], int] | None = None, **server: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway that makes nothing in this process, and a client of it."""
    tree = {
        "store": {"url": f"sqlite:///{folder}/reelgate.db"},
        "media": {"url": f"file:///{folder}/media"},
        "worker": {"enabled": False},
        **server,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # Of how handlers declare what is in a path.
        built = await create_app(msgspec.convert(tree, Settings), {}, clock=clock, outbound=lambda: outbound)
    async with _alive(built.asgi):
        transport = httpx.ASGITransport(built.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@asynccontextmanager
async def _alive(asgi: Any) -> AsyncIterator[None]:
    """Start an application and stop it, as a server does."""
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.ensure_future(asgi(scope, said.get, heard.put))
    await said.put({"type": "lifespan.startup"})
    assert {"type": "lifespan.startup.complete"} == await heard.get()
    try:
        yield
    finally:
        await said.put({"type": "lifespan.shutdown"})
        assert {"type": "lifespan.shutdown.complete"} == await heard.get()
        await running
