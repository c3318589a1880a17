"""
Say which addresses of strangers may be dialled: a pure rule over texts and numbers.

Two questions are asked, one of the text (:meth:`Rules.read`) and one of every address a name stands for and of the one
really dialled (:meth:`Rules.check`); :mod:`gateway.network.outbound` asks both, the second where the socket is made.

``ipaddress.is_global`` is not the rule. It says yes to multicast, to NAT64 and IPv4-compatible spellings of
127.0.0.1, to Azure's wire server, and differs between Python's patch releases. "No IP literal" is not one either:
``getaddrinfo`` reads 2130706433, 0x7f.1 and 127.1 as 127.0.0.1. So a host that ends in a number is an address in
the one spelling there is or nothing; IPv4 has a list of what is closed, IPv6 of what is open.

Written here because no library does it (2026-11-21): none sits under aiohttp, and of the closed addresses in
tests/unit/test_guard.py httpx-secure 2.0.0 lets 19 through, drawbridge 0.1.2 nine, microsoft-antissrf 1.0.0 and
safe-outbound 0.1.0 four each.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urljoin

from msgspec import Struct

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

USUAL_PORTS = {"http": 80, "https": 443}
MAX_TEXT = 2048
"""Longest address in characters."""

CLOSED = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""IPv4 that is nobody's on the internet, and Azure's wire server, which is.
https://www.iana.org/assignments/iana-ipv4-special-registry"""

OPEN6 = IPv6Network("2000::/3")
CLOSED6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""The one range of IPv6 that is given out, and what of it is not the internet: Teredo, ORCHID, examples, 6to4.
https://www.iana.org/assignments/iana-ipv6-special-registry"""

NEVER = tuple(map(ip_network, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "64:ff9b:1::/48", "ff00::/8")))
"""What is no one machine's address, or of which nobody can say whose it is: no setting opens it."""

METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
            "100.100.100.200", "168.63.129.16", "192.0.0.192",
        ),
    )
)  # fmt: skip
"""Where clouds hand out credentials to whoever asks: opened only by an entry that names the address itself."""

TRANSLATED = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""IPv4-compatible, SIIT and NAT64: the last 32 bits are an IPv4 address. RFC 4291, 2765, 6052."""

AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:@%]{1,253})(?::([0-9]{1,5}))?")
ADDRESS = re.compile(r"(https?)://([^/?#]+)([/?#].*)?", re.IGNORECASE)
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class NotAllowedError(OSError):
    """
    An address that is not dialled; the message is for the operator, a client is told one thing for all causes.

    An ``OSError``, so that it comes back through a connector as whatever else keeps a socket from being made.
    """


class Target(Struct, frozen=True):
    """Hold an address that was read: what is sent is what was checked."""

    url: str
    """ASCII, no user, no fragment, its host spelt in one way."""
    host: str
    """A name in lower case without a last dot, or an IP address."""
    port: int


class Entry(Struct, frozen=True):
    """Hold one exception to the rule, as the operator made it."""

    host: str = ""
    """A name, or nothing where a network is given."""
    network: Network | None = None
    port: int | None = None
    """The one port it opens; any of the usual ones where there is none."""

    def opens(self, address: Address, host: str, port: int, usual: frozenset[int]) -> bool:
        """Whether this exception covers an address a host stands for."""
        if port not in (usual if self.port is None else {self.port}):
            return False
        exact = self.network is not None and self.network.num_addresses == 1
        if address in METADATA and not exact:
            return False
        if self.network is None:
            return host == self.host
        return address.version == self.network.version and address in self.network


class Rules(Struct, frozen=True):
    """Hold what may be dialled: the internet on some ports, and the operator's exceptions."""

    ports: frozenset[int] = frozenset({80, 443, 8443})
    allow: tuple[Entry, ...] = ()

    def read(self, text: str) -> Target:
        """
        Read a stranger's address; nothing is looked up.

        :raises NotAllowedError: for anything but http(s) to a host that may be one of the internet's.
        """
        if len(text) > MAX_TEXT or not text.isprintable() or any(sign in text for sign in " \\"):
            raise NotAllowedError("it is too long, or holds a space, a backslash or a control character")
        whole = ADDRESS.fullmatch(text)
        authority = AUTHORITY.fullmatch(whole[2]) if whole else None
        if whole is None or authority is None:
            raise NotAllowedError("it is not http(s)://host[:port]/...")
        scheme = whole[1].lower()
        host = read_host(authority[1])
        port = int(authority[2] or USUAL_PORTS[scheme])
        self._check_port(host, port)
        shown = f"[{host}]" if ":" in host else host
        dotted = "." if authority[1].endswith(".") else ""
        where = shown + dotted + ("" if port == USUAL_PORTS[scheme] else f":{port}")
        rest = (whole[3] or "/").partition("#")[0]
        slash = "" if rest.startswith("/") else "/"
        rest = quote(rest, safe="/?:@!$&'()*+,;=-._~%[]|")
        return Target(f"{scheme}://{where}{slash}{rest}", host, port)

    def follow(self, target: Target, location: str) -> Target:
        """
        Read where an answer sends us on to, which may leave out what stays the same.

        :raises NotAllowedError: as for :meth:`read`.
        """
        if len(location) > MAX_TEXT or not location.isprintable() or "\\" in location:
            raise NotAllowedError("a redirect to something that is no address")
        try:
            # With a scheme it must be whole: urljoin reads http:///x as a path at the same host.
            return self.read(location if SCHEME.match(location) else urljoin(target.url, location))
        except ValueError as error:  # What urljoin makes of half a bracket.
            raise NotAllowedError("a redirect to something that is no address") from error

    def check(self, address: str, host: str, port: int) -> bool:
        """
        Decide about an IP address a host stands for; the flag says whether the operator made an exception.

        :raises NotAllowedError: unless it is the internet's or an exception.
        """
        try:
            found = ip_address(address)
        except ValueError as error:
            raise NotAllowedError(f"{address[:64]!r} is not an IP address") from error
        if not self._permits(found, host, port):
            raise NotAllowedError(f"{host} stands for {found}, port {port}, which is not open")
        return not (is_public(found) and port in self.ports)

    def _permits(self, address: Address, host: str, port: int) -> bool:
        """Whether an address may be dialled, and every one it carries."""
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            address = address.ipv4_mapped or address
        if is_public(address) and port in self.ports:
            return True
        if any(address in each for each in NEVER if each.version == address.version):
            return False
        if not any(entry.opens(address, host, port, self.ports) for entry in self.allow):
            return False
        return all(self._permits(each, host, port) for each in carried(address))

    def _check_port(self, host: str, port: int) -> None:
        """Refuse a port nobody opened, and a host that needs no look-up to be refused."""
        if port not in self.ports and port not in {entry.port for entry in self.allow}:
            raise NotAllowedError(f"port {port} is not open")
        if is_literal(host):
            self.check(host, host, port)
        elif (host == "localhost" or host.endswith(".localhost")) and host not in {each.host for each in self.allow}:
            raise NotAllowedError(f"{host} is this machine")


def make_rules(allow: Iterable[str], ports: Iterable[int]) -> Rules:
    """
    Read the operator's exceptions: ``10.0.0.0/8``, ``10.1.2.3:9000``, ``[fd00::1]:8443``, ``hooks.internal:8443``.

    :raises ValueError: naming the entry nobody can read.
    """
    open_ = frozenset(ports)
    wrong = sorted(port for port in open_ if not 0 < port < 65_536)
    if wrong:
        raise ValueError(f"there is no port {wrong[0]}")
    return Rules(ports=open_, allow=tuple(map(_entry, allow)))


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet's."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return address.scope_id is None and address in OPEN6 and not any(address in each for each in CLOSED6)
        address = address.ipv4_mapped
    return not any(address in each for each in CLOSED)


def is_literal(host: str) -> bool:
    """Whether a host as it was read is an address itself, and no name."""
    return ":" in host or NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def carried(address: Address) -> Iterator[IPv4Address]:
    """List the IPv4 addresses an IPv6 address has a translator or a tunnel send to."""
    if isinstance(address, IPv4Address):
        return
    if address.sixtofour:
        yield address.sixtofour
    yield from address.teredo or ()
    if int(address) > 1 and any(address in each for each in TRANSLATED):  # ::1 is itself.
        yield IPv4Address(address.packed[-4:])


def read_host(text: str) -> str:
    """
    Spell a host in the one way it is checked and dialled.

    :raises NotAllowedError: when it is neither a name nor an IP address in its usual spelling.
    """
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError as error:
            raise NotAllowedError("its host is no IPv6 address") from error
    name = text.lower()
    if not name.isascii():
        import idna  # noqa: PLC0415  Only when it is needed: its tables are large.

        try:
            name = idna.encode(text, uts46=True).decode()
        except UnicodeError as error:
            raise NotAllowedError("its host is no name in any script") from error
    bare = name.removesuffix(".")
    labels = bare.split(".")
    if NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except ValueError as error:
            raise NotAllowedError("its host is a number in an unusual spelling") from error
    if len(bare) > 253 or not all(map(LABEL.fullmatch, labels)):
        raise NotAllowedError("its host is no name")
    return bare


def _entry(text: str) -> Entry:
    """Read one exception."""
    where, port = text, None
    found = re.fullmatch(r"\[([0-9A-Fa-f:./]+)\](?::([0-9]{1,5}))?", where) or (
        where.count(":") <= 1 and re.fullmatch(r"([^\[\]:]+)(?::([0-9]{1,5}))?", where)
    )
    if found:
        where, port = found[1], int(found[2]) if found[2] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError(f"{text!r}: there is no port {port}")
    try:
        if "%" in where:
            raise ValueError("a zone is not part of an address")
        if ":" in where or "/" in where or NUMBER.fullmatch(where.lower().rpartition(".")[2]):
            network = ip_network(where)
        else:
            return Entry(host=read_host(where), port=port)
    except (NotAllowedError, ValueError) as error:
        raise ValueError(f"{text!r} is no address, range or name with or without a port: {error}") from error
    if any(network.version == each.version and network.subnet_of(each) for each in NEVER):  # type: ignore[arg-type]
        raise ValueError(f"{text!r} is no one machine's address")
    if network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        raise ValueError(f"{text!r}: write the IPv4 range")
    return Entry(network=network, port=port)
