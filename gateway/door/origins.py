"""
Tell a program of this machine from a web page that is open on it, pure.

Without an API key whoever reaches the gateway may use it, and only this machine can. So can every page in a browser
here: a form needs nobody's leave to be sent to 127.0.0.1, and a name of the page's own may stand for that address the
next time it is looked up. Browsers say so, in headers no page can write; programs and SDKs send neither.
"""

from collections.abc import Sequence
from ipaddress import ip_address

HERE = "localhost"
OWN = frozenset({"same-origin", "none"})
"""``Sec-Fetch-Site`` of our own pages, and of what a person asked a browser for."""
LEAVE = "make an API key (reelgate keys create --name NAME) and send it as Authorization: Bearer"


def is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a ``Host`` is a name of this machine for itself, at any port, or one the gateway was given."""
    name = _name(host)
    if name in names or name == HERE or name.endswith(f".{HERE}"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return not name  # HTTP/1.0 needs none; every browser sends one.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_page(host: str, sites: Sequence[str], origins: Sequence[str]) -> bool:
    """Whether a web page asks that is not ours, by its ``Sec-Fetch-Site`` and ``Origin`` headers."""
    ours = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}
    return not (OWN.issuperset(sites) and ours.issuperset(each.lower() for each in origins))


def foreign(
    hosts: Sequence[str], sites: Sequence[str], origins: Sequence[str], names: frozenset[str], *, reads: bool = False
) -> str:
    """
    Say why a call is not one of this machine's own, and what to change; nothing where it is.

    What only ``reads`` any page may ask for, to link to a clip or show it: browsers keep the answer from the page.
    """
    host = hosts[0] if hosts else ""
    if not is_ours(host, names):
        return (
            f"Without an API key the gateway answers to localhost, 127.0.0.1 and [::1], not to {_name(host)[:64]!r}: "
            f"use one of them, or {LEAVE}."
        )
    if not reads and is_page(host, sites, origins):
        return f"Without an API key the gateway obeys no web page but its own: {LEAVE}."
    return ""


def _name(host: str) -> str:
    """Read a host without its port, in one spelling."""
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[]").lower().removesuffix(".")
