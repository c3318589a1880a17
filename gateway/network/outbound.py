"""
Fetch what strangers name: the one client for addresses that are not the operator's.

The rule (:mod:`gateway.network.guard`) is asked where the connection is made: of everything a name stands for, looked
up once, and again of the very address a socket is made for. Each hop has a connector, a socket and a check of its own,
so nothing checked for one is ever used by another, and a name that changes its mind changes nothing.

Everything that takes long is somebody's: fetches and look-ups are shared among owners (:mod:`gateway.network.places`),
so that servers that drip and names that do not resolve keep nobody waiting but those who named them.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from ipaddress import ip_address
from typing import NoReturn

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.typedefs import LooseHeaders
from yarl import URL

from gateway.network.errand import ELSE, Errand, FetchError
from gateway.network.guard import NotAllowedError, Rules, Target, is_literal
from gateway.network.names import LookUp, Names
from gateway.network.places import Places

log = structlog.get_logger()

AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""What a connector says of the socket it wants, as ``getaddrinfo`` does."""

MAX_REDIRECTS = 5
MAX_HEAD = 64 * 2**10
"""Most bytes of an answer's headers."""
CONNECT_SECONDS = 5
SILENT_SECONDS = 5
"""Longest silence within an answer."""
PATIENCE_SECONDS = 10
"""How long a call waits until its name can be looked up."""
REDIRECTS = {301, 302, 303, 307, 308}
HEADERS = {
    "User-Agent": "reelgate",
    "Accept": "image/*, video/*, audio/*",
    "Accept-Encoding": "identity",  # What unpacks to a thousand times its size is not taken at all.
}
UNKNOWN_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Outbound:
    """
    Send calls to strangers, under one set of rules.

    Environment proxies, cookies, credentials and kept connections play no part.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        at_once: int = 32,
        names: Names | None = None,
        resolver: Callable[[], AbstractResolver] | None = None,
        dial: Callable[[AddrInfo], socket.socket] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._slots = Places(at_once)
        self._names = names or Names()
        self._given_resolver = resolver
        self._dial = dial or _open_socket
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Whom to trust; read once, for it takes long."""
        return self._given_tls or ssl.create_default_context()

    def read(self, address: str) -> Target:
        """
        Read an address under these rules; nothing is looked up.

        :raises NotAllowedError: when it is not open, whatever it stands for.
        """
        return self._rules.read(address)

    async def fetch(self, address: str, write: Callable[[bytes], None], errand: Errand, *, owner: str) -> None:
        """
        Get what lies at an address, following redirects, each hop checked as the first.

        ``owner`` is whose errand it is: at whose expense it may take long.

        :raises FetchError: when it is not allowed, not to be had, too large or too slow.
        """
        try:
            target = self._rules.read(address)
            await self._take_slot(errand, owner)
            try:
                async with asyncio.timeout(errand.left):
                    await self._fetch(target, write, errand, owner)
            finally:
                self._slots.leave(owner)
        except NotAllowedError as error:
            log.info("address.refused", reason=str(error))
            raise FetchError("url_not_allowed", self._terms) from error
        except TimeoutError as error:
            message = f"What a call names by address must come within {errand.seconds:g} s; {ELSE}"
            raise FetchError("url_unreachable", message) from error

    async def _take_slot(self, errand: Errand, owner: str) -> None:
        """
        Wait until one more may be fetched for its owner.

        :raises FetchError: when that leaves too little time for the fetching.
        """
        try:
            await self._slots.take(owner, errand.left / 2)
        except TimeoutError as error:
            raise FetchError("fetching_busy", "Too much is being fetched; try again.", busy=True) from error

    async def _fetch(self, target: Target, write: Callable[[bytes], None], errand: Errand, owner: str) -> None:
        """Follow redirects to the end."""
        for _ in range(MAX_REDIRECTS + 1):
            async with self.call("GET", target, HEADERS, owner=owner, patience=errand.left / 2) as answer:
                location = answer.headers.get("location")
                if answer.status not in REDIRECTS or location is None:
                    await _receive(answer, write, errand)
                    return
            target = self._rules.follow(target, location)
        raise FetchError("url_unreachable", f"This address leads on to more than {MAX_REDIRECTS} others.")

    @asynccontextmanager
    async def call(
        self,
        method: str,
        target: Target,
        headers: LooseHeaders,
        body: bytes | None = None,
        *,
        owner: str,
        silent: float | None = None,
        seconds: float | None = None,
        patience: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Make one call, on a connection of its own; redirects are not followed.

        :param owner: at whose expense it may take long.
        :param silent: how many seconds the other side may say nothing, where not as usual.
        :param seconds: how many it may take in all, its name server among it; what is our own wait is not counted.
        :param patience: how many seconds that may be, where not as usual.
        :raises NotAllowedError: when what the name stands for is not open.
        :raises FetchError: when no answer comes; busy, when it is we who did not come to ask.
        :raises TimeoutError: when ``seconds`` are over.
        """
        resolver = await self._resolver(target, owner, PATIENCE_SECONDS if patience is None else patience)
        async with asyncio.timeout(seconds), self._session(target, resolver, silent) as (session, hop):
            with _as_ours(hop):
                answer = await session.request(
                    method, URL(target.url, encoded=True), headers=headers, data=body, allow_redirects=False
                )
            async with answer:
                if sum(len(name) + len(value) for name, value in answer.raw_headers) > MAX_HEAD:
                    raise FetchError("url_unreachable", "The server's headers are too large.")
                yield answer

    async def _resolver(self, target: Target, owner: str, patience: float) -> AbstractResolver:
        """
        Begin to look a call's name up.

        :raises FetchError: when too many are being looked up.
        """
        if self._given_resolver:
            return self._given_resolver()
        if is_literal(target.host):
            return _Begun(None)
        host = URL(target.url, encoded=True).raw_host or target.host  # With its last dot, which means something.
        try:
            return _Begun(await self._names.begin(host, owner, patience=patience))
        except TimeoutError as error:
            raise FetchError("fetching_busy", "Too many names are being looked up; try again.", busy=True) from error

    @asynccontextmanager
    async def _session(
        self, target: Target, resolver: AbstractResolver, silent: float | None
    ) -> AsyncIterator[tuple[aiohttp.ClientSession, "_Hop"]]:
        """Open what makes one connection, and that connection's permission."""
        hop = _Hop(self._rules, target, self._dial)
        connector = aiohttp.TCPConnector(
            ssl=self._tls if target.url.startswith("https:") else True,
            resolver=_CheckedResolver(resolver, hop),
            socket_factory=hop.dial,
            use_dns_cache=False,
            force_close=True,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silent or SILENT_SECONDS),
            max_headers=64,
        ) as session:
            yield session, hop

    @staticmethod
    async def pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """
        Hand an answer's bytes over as they come.

        :raises FetchError: when it breaks off.
        """
        while True:
            with _as_ours():
                chunk = await answer.content.readany()
            if not chunk:
                return
            yield chunk

    @property
    def _terms(self) -> str:
        """Say which addresses are fetched: the same words, whatever was wrong with one."""
        ports = ", ".join(map(str, sorted(self._rules.ports)))
        return (
            f"This address is not fetched. Give an http or https address without user and password, at port {ports}, "
            f"whose host is known to the public internet and nothing else; {ELSE}"
        )


class _Hop:
    """Hold one connection's permission: what was checked, and what the check said."""

    def __init__(self, rules: Rules, target: Target, dial: Callable[[AddrInfo], socket.socket]) -> None:
        self._rules = rules
        self._target = target
        self._dial = dial
        self.refused: NotAllowedError | None = None

    def check(self, address: str, port: int) -> bool:
        """Decide about an address this hop may be made to; the flag says whether it is an exception."""
        try:
            return self._rules.check(address, self._target.host, port)
        except NotAllowedError as error:
            self.refused = error
            raise

    def refuse(self, reason: str) -> NoReturn:
        """Refuse for a reason of our own."""
        self.refused = NotAllowedError(reason)
        raise self.refused

    def dial(self, wanted: AddrInfo) -> socket.socket:
        """Make a socket for an address, once that is known to be open."""
        family, _, _, _, place = wanted
        if family not in (socket.AF_INET, socket.AF_INET6):
            self.refuse(f"family {family} is not the internet's")
        address, port = str(place[0]), int(place[1])
        if self.check(address, port):
            log.info("address.excepted", host=self._target.host, address=address, port=port)
        elif is_own(family, address):
            self.refuse(f"{address} is this machine's own")
        return self._dial(wanted)


class _Begun(AbstractResolver):
    """Wait for a look-up that has begun."""

    def __init__(self, look_up: LookUp | None) -> None:
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Say what the name stands for; others may wait for the same."""
        del family
        if self._look_up is None:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is an address")
        return [
            ResolveResult(
                hostname=host, host=each.address, port=port, family=each.family, proto=each.proto,
                flags=socket.AI_NUMERICHOST,
            )
            for each in await asyncio.shield(self._look_up)
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""


class _CheckedResolver(AbstractResolver):
    """Look a name up, and answer only if the hop may be made to everything it stands for."""

    def __init__(self, inner: AbstractResolver, hop: _Hop) -> None:
        self._inner = inner
        self._hop = hop

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Look a name up, once.

        :raises NotAllowedError: when it stands for nothing, or for one address that is not open.
        """
        try:
            found = await self._inner.resolve(host, port, family)
        except socket.gaierror as error:
            # Whoever asks must not learn which names of an inner network exist.
            if error.errno in UNKNOWN_NAME:
                self._hop.refuse(f"{host} is no name")
            raise
        if not found:
            self._hop.refuse(f"{host} stands for nothing")
        for each in found:
            self._hop.check(each["host"], each["port"])
        return found

    async def close(self) -> None:
        """Close the resolver below."""
        await self._inner.close()


def is_own(family: int, address: str) -> bool:
    """Whether an address is one of this machine's: a datagram socket says which it would send from, and sends none."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return ip_address(probe.getsockname()[0]) == ip_address(address)
    except OSError:
        return False


def _open_socket(wanted: AddrInfo) -> socket.socket:
    """Make a socket."""
    return socket.socket(*wanted[:3])


@contextmanager
def _as_ours(hop: _Hop | None = None) -> Iterator[None]:
    """Name what breaks: our own refusal, however it was wrapped, or a server that cannot be reached."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:  # uvloop's sockets raise the last.
        if hop and hop.refused:
            raise hop.refused from error
        log.info("address.unreachable", reason=type(error).__name__)
        raise FetchError("url_unreachable", "The server at this address gives no whole answer.") from error


async def _receive(answer: aiohttp.ClientResponse, write: Callable[[bytes], None], errand: Errand) -> None:
    """
    Take an answer's bytes as they come.

    :raises FetchError: when it is no success, packed, or too large.
    """
    if answer.status != 200:
        raise FetchError("url_unreachable", f"The server at this address answers {answer.status}.")
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise FetchError("url_not_media", "The server at this address sends its answer packed, which is not taken.")
    errand.expect(answer.content_length or 0)
    async for chunk in Outbound.pieces(answer):
        errand.take(len(chunk))
        write(chunk)
