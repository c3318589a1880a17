"""
Slow down whoever guesses keys, pure: so many wrong ones a minute from one peer, then no more until more are allowed.

Only wrong keys are counted and only callers without a right one are refused, so that nobody can lock anybody out: not
by guessing from behind the same address either. The peer is who opened the connection. What it says of others
(``X-Forwarded-For``) is believed of the proxies an operator names, and of nobody else.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.door.rates import Allowance, take

MOST_PEERS = 10_000
"""Peers remembered; beyond that the one that guessed first is forgotten."""
HOPS = 16
"""Most words of ``X-Forwarded-For`` that are read, from the last."""
SITE = 64
"""Bits of an IPv6 address that name a site: within it anybody has as many addresses as wanted."""

Network = IPv4Network | IPv6Network


def networks(said: Sequence[str]) -> list[Network]:
    """
    Read addresses and ranges.

    :raises ValueError: naming the one that is none.
    """
    return [ip_network(each, strict=False) for each in said]


class Guesses:
    """Count the wrong keys of each peer: a minute's worth at once, filling up evenly; in this process."""

    def __init__(self, per_minute: int, proxies: Sequence[Network] = ()) -> None:
        self._per_minute = per_minute
        self._proxies = proxies
        self._allowance: dict[str, Allowance] = {}
        """Wrong keys a peer may still send."""

    def count(self, host: str, forwarded: Sequence[str], now: int) -> int | None:
        """
        Count a wrong key; where it is one too many, say in how many seconds to come back.

        ``host`` opened the connection, ``forwarded`` are its ``X-Forwarded-For`` headers.
        """
        peer = self._peer(host, forwarded)
        left, wait = take(self._allowance.pop(peer, None), self._per_minute, now)
        if len(self._allowance) >= MOST_PEERS:
            del self._allowance[next(iter(self._allowance))]
        self._allowance[peer] = left
        return wait or None

    def _peer(self, host: str, forwarded: Sequence[str]) -> str:
        """Name who asks: the nearest who is no proxy of ours."""
        if not self._is_proxy(host):
            return _site(host)
        for each in reversed([word.strip() for word in ",".join(forwarded).split(",")][-HOPS:]):
            if not self._is_proxy(each):
                return _site(each) or _site(host)
        return _site(host)

    def _is_proxy(self, host: str) -> bool:
        """Whether an address is one of the operator's proxies."""
        return lies_in(host, self._proxies)


def lies_in(host: str, among: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in among)


def scheme_of(host: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """
    Say how a call reached the first of the proxies, by what the one that passed it on says; nothing of anybody else.

    ``host`` opened the connection, ``forwarded`` are its ``X-Forwarded-Proto`` headers.
    """
    said = ",".join(forwarded).partition(",")[0].strip().lower()
    return said if said in {"https", "http"} and lies_in(host, proxies) else ""


def _site(host: str) -> str:
    """Name an address by what one customer of a network has; what is no address names nobody."""
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((int(address), SITE), strict=False).network_address)
