"""Laws of which addresses may be dialled."""

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.configuration import load
from gateway.network.guard import METADATA, NotAllowedError, Rules, is_public, make_rules
from gateway.network.outbound import _Hop, is_own
from gateway.settings import SettingsError

PLAIN = Rules()


def words(text: str) -> list[str]:
    return text.split()


CLOSED = words("""
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::7f00:1 100::1
    2001::1 2001:0:4136:e378:8000:63bf:80ff:fffe 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 4000::1 5f00::1
    fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1 2606:4700::1111%eth0
""")
OPEN = words("""
    8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 168.63.129.15 192.0.1.0 223.255.255.255
    2606:4700::1111 2001:200::1 2a00:1450:4001:81b::200e ::ffff:8.8.8.8
""")
LIARS = words("""
    224.0.0.1 ff02::1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 fec0::1 5f00::1 168.63.129.16 192.88.99.1
""")
"""Addresses ``is_global`` calls global."""


@pytest.mark.parametrize("address", CLOSED)
def test_closed(address: str) -> None:
    """What is not the internet's is not dialled, whatever host it is said to be."""
    assert not is_public(ip_address(address))
    for port in (80, 443, 8443):
        with pytest.raises(NotAllowedError):
            PLAIN.check(address, "cdn.example.com", port)


@pytest.mark.parametrize("address", OPEN)
def test_open(address: str) -> None:
    """What is the internet's is dialled, on the ports that are open, and is no exception."""
    assert is_public(ip_address(address))
    assert not PLAIN.check(address, "cdn.example.com", 443)
    for port in (0, 22, 6379, 8080):
        with pytest.raises(NotAllowedError):
            PLAIN.check(address, "cdn.example.com", port)


def test_is_global_is_not_the_rule() -> None:
    """The day this fails the standard library has learnt something; the rule stays."""
    assert all(ip_address(address).is_global for address in LIARS)
    assert not any(is_public(ip_address(address)) for address in LIARS)


@pytest.mark.parametrize(
    "text", ["localhost", "", "127.1", "0x7f.1", "2130706433", "cdn.example.com", "::1%", "1.1.1.1 "]
)
def test_what_is_no_ip_address_is_not_dialled(text: str) -> None:
    """A socket is made for a number, never for a name that something below us would look up."""
    with pytest.raises(NotAllowedError):
        PLAIN.check(text, "cdn.example.com", 443)


# Spellings

closed4 = st.sampled_from([each for each in CLOSED if ":" not in each]).map(IPv4Address) | st.ip_addresses(v=4).filter(
    lambda each: not is_public(each)
)
closed6 = st.sampled_from([each for each in CLOSED if ":" in each and "%" not in each]).map(IPv6Address) | (
    st.ip_addresses(v=6).filter(lambda each: not is_public(each))
)


@st.composite
def spelt4(draw: st.DrawFn, addresses: st.SearchStrategy[IPv4Address]) -> str:
    """Spell an IPv4 address in one of the ways ``inet_aton`` reads: one to four parts, each in any base."""
    number, parts = int(draw(addresses)), draw(st.integers(1, 4))
    octets = [number >> shift & 255 for shift in (24, 16, 8, 0)]
    last = number & (1 << 8 * (5 - parts)) - 1
    spell = st.sampled_from(["{}", "0{:o}", "00{:o}", "0x{:x}", "0X{:X}", "0x000{:x}"])
    text = ".".join(draw(spell).format(each) for each in [*octets[: parts - 1], last])
    return text + draw(st.sampled_from(["", ".", ":80", ":8443", ".:80"]))


@st.composite
def spelt6(draw: st.DrawFn, addresses: st.SearchStrategy[IPv6Address]) -> str:
    """Spell an IPv6 address: long or short, in either case, its end as IPv4 or not."""
    address = draw(addresses)
    groups = address.exploded.split(":")
    tail = str(IPv4Address(address.packed[-4:]))
    forms = [
        str(address),
        address.exploded,
        ":".join(each.lstrip("0") or "0" for each in groups),
        ":".join([*groups[:6], tail]),
    ]
    if set(groups[:6]) == {"0000"}:
        forms.append(f"::{tail}")
    if set(groups[:5]) == {"0000"} and groups[5] == "ffff":
        forms += [f"::ffff:{tail}", f"0::FFFF:{tail}"]
    text = draw(st.sampled_from(forms))
    return f"[{draw(st.sampled_from([text, text.upper()]))}]"


mapped = closed4.map(lambda each: IPv6Address(f"::ffff:{each}"))
translated = st.builds(
    lambda prefix, each: IPv6Address(int(IPv6Address(prefix)) | int(each)),
    st.sampled_from(["::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]),
    st.ip_addresses(v=4),
)
sixtofour = st.ip_addresses(v=4).map(lambda each: IPv6Address((0x2002 << 112) | (int(each) << 80) | 1))
scheme = st.sampled_from(["http", "https", "HTTP", "hTTps"])
rest = st.sampled_from(["", "/", "/a.png", "?a", "#a", "/a@b", "/?u=http://cdn.example.com/"])


@settings(deadline=None)
@given(scheme, spelt4(closed4), rest)
def test_no_spelling_of_a_closed_ipv4_address(scheme: str, host: str, rest: str) -> None:
    """However ``inet_aton`` may be told of it."""
    with pytest.raises(NotAllowedError):
        PLAIN.read(f"{scheme}://{host}{rest}")


@settings(deadline=None)
@given(scheme, spelt6(closed6 | mapped | translated | sixtofour), rest)
def test_no_spelling_of_a_closed_ipv6_address(scheme: str, host: str, rest: str) -> None:
    """Long, short, and with IPv4 inside."""
    with pytest.raises(NotAllowedError):
        PLAIN.read(f"{scheme}://{host}{rest}")


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("0123456789.xXaAfF:[]%@\\/?#。\uff0e①⑦-_ \t\0ⅷ٣"), max_size=24))
def test_what_is_read_is_what_is_dialled(host: str) -> None:
    """Whatever passes is a name, or the usual spelling of an open address; no resolver sees another address in it."""
    with suppress(NotAllowedError):
        target = PLAIN.read(f"http://{host}/")
        assert target.url.isascii()
        assert target.url.startswith(("http://" + target.host, f"http://[{target.host}]"))
        try:
            address = ip_address(target.host)
        except ValueError:
            with pytest.raises(OSError, match=r"illegal|invalid"):
                socket.inet_aton(target.host)
        else:
            assert is_public(address)
            assert str(address) == target.host


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else is ever raised."""
    for each in (text, f"http://{text}", f"http://{text}/", f"http://a.example/{text}", f"http://[{text}]:80/"):
        with suppress(NotAllowedError):
            assert PLAIN.read(PLAIN.read(each).url) == PLAIN.read(each)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_redirect_is_read_or_refused(location: str) -> None:
    """Nothing else is ever raised of what a server says."""
    here = PLAIN.read("http://a.example/b/c?d")
    for each in (location, f"//{location}", f"http:{location}", f"/{location}", f"[{location}"):
        with suppress(NotAllowedError):
            PLAIN.follow(here, each)


@pytest.mark.parametrize("sign", [" ", "\\", "\t", "\r", "\n", "\0", "\x7f", "\u202e", "\u2028"])
def test_no_sign_that_readers_take_differently(sign: str) -> None:
    """A space, a backslash or what nobody sees is refused wherever it stands, in an address and in a redirect."""
    here = PLAIN.read("https://a.example/b")
    for text in (f"https://a.example/{sign}", f"https://a.example{sign}.b.example/", f"{sign}https://a.example/"):
        with pytest.raises(NotAllowedError):
            PLAIN.read(text)
        if sign != " ":  # Browsers leave those out at the ends of a redirect.
            with pytest.raises(NotAllowedError):
                PLAIN.follow(here, text)


def test_an_address_has_a_length() -> None:
    """As long as any browser takes, and no longer."""
    longest = "https://a.example/".ljust(2048, "x")
    here = PLAIN.read("https://a.example/b")
    assert (PLAIN.read(longest).url, PLAIN.follow(here, longest).url) == (longest, longest)
    for text in (longest + "x", "/".ljust(2049, "x")):
        with pytest.raises(NotAllowedError):
            PLAIN.read(text)
        with pytest.raises(NotAllowedError):
            PLAIN.follow(here, text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://[2606:4700::1111]:8443/a", "http://[2606:4700::1111]:8443/a"),
        ("http://a.example.:8443", "http://a.example.:8443/"), ("https://a.example:443?x#y", "https://a.example/?x"),
        ("HTTP://A.example:443/%41", "http://a.example:443/%41"),
    ],
)  # fmt: skip
def test_what_is_sent_is_whole(text: str, url: str) -> None:
    """Brackets, the last dot and a port that is not the usual one are kept; what no server sees is left out."""
    assert url == PLAIN.read(text).url


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "https://a.example/x"),
        ("x", "https://a.example/b/x"),
        ("../x?y", "https://a.example/x?y"),
        ("?y", "https://a.example/b/c?y"),
        ("//b.example/x", "https://b.example/x"),
        ("http://b.example", "http://b.example/"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
    ],
)
def test_redirects_are_read_as_browsers_do(location: str, url: str) -> None:
    """What a redirect leaves out stays as it was."""
    assert url == PLAIN.follow(PLAIN.read("https://a.example/b/c?d"), location).url


# Exceptions

WIDE = ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    ("allow", "address", "host", "port"),
    [
        (["10.0.0.0/8"], "10.1.2.3", "anything.example", 80),
        (["10.0.0.0/8"], "10.1.2.3", "10.1.2.3", 8443),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", "anything.example", 443),
        (["10.1.2.3"], "10.1.2.3", "anything.example", 443),
        (["10.1.2.3:9000"], "10.1.2.3", "anything.example", 9000),
        (["10.0.0.0/8:9000"], "10.1.2.3", "anything.example", 9000),
        (["fd00::/8"], "fd00::1", "anything.example", 443),
        (["[fd00::/8]:9000"], "fd00::1", "anything.example", 9000),
        (["[fd00::1]:9000"], "fd00::1", "anything.example", 9000),
        (["fd00::1"], "fd00::1", "anything.example", 443),
        (["media.internal"], "10.1.2.3", "media.internal", 443),
        (["Media.Internal."], "127.0.0.1", "media.internal", 443),
        (["media.internal:9000"], "10.1.2.3", "media.internal", 9000),
        (["localhost:9000"], "127.0.0.1", "localhost", 9000),
        (["receiver:9000"], "172.17.0.2", "receiver", 9000),
        (["cdn.example.com:9000"], "8.8.8.8", "cdn.example.com", 9000),
        (["bücher.internal"], "10.0.0.1", "xn--bcher-kva.internal", 443),
        (["169.254.169.254"], "169.254.169.254", "anything.example", 80),
        (["169.254.169.254/32"], "169.254.169.254", "anything.example", 80),
        (["fd00:ec2::254"], "fd00:ec2::254", "anything.example", 80),
        (WIDE, "192.168.0.1", "anything.example", 80),
        (WIDE, "::1", "anything.example", 80),
        ([*WIDE, "64:ff9b::/96"], "64:ff9b::a00:1", "anything.example", 80),
        (["64:ff9b::/96"], "64:ff9b::808:808", "anything.example", 80),
    ],
)
def test_an_exception_opens_what_it_says(allow: list[str], address: str, host: str, port: int) -> None:
    """An address, a range or a name is open to calls once the operator says so, and the log can tell."""
    assert make_rules(allow, [80, 443, 8443]).check(address, host, port)


@pytest.mark.parametrize(
    ("allow", "address", "host", "port"),
    [
        (["10.0.0.0/8"], "11.0.0.1", "a.example", 22),
        (["10.0.0.0/8"], "10.1.2.3", "a.example", 9000),
        (["10.0.0.0/8"], "192.168.0.1", "a.example", 80),
        (["10.0.0.0/8"], "64:ff9b::a00:1", "a.example", 80),
        (["10.0.0.0/8"], "2002:a00:1::", "a.example", 80),
        (["10.1.2.3:9000"], "10.1.2.3", "a.example", 80),
        (["10.1.2.3:9000"], "10.1.2.4", "a.example", 9000),
        (["10.1.2.3:9000"], "8.8.8.8", "a.example", 9000),
        (["media.internal"], "10.1.2.3", "other.internal", 443),
        (["media.internal"], "10.1.2.3", "x.media.internal", 443),
        (["media.internal"], "10.1.2.3", "media.internal", 9000),
        (["media.internal:9000"], "10.1.2.3", "media.internal", 443),
        (["media.internal"], "169.254.169.254", "media.internal", 80),
        (["media.internal"], "::ffff:169.254.169.254", "media.internal", 80),
        (["media.internal"], "0.0.0.0", "media.internal", 80),
        (["169.254.0.0/16"], "169.254.169.254", "a.example", 80),
        (["169.254.169.254/31"], "169.254.169.254", "a.example", 80),
        (["169.254.169.254"], "169.254.170.2", "a.example", 80),
        (["169.254.169.254"], "64:ff9b::a9fe:a9fe", "a.example", 80),
        (["64:ff9b::/96"], "64:ff9b::7f00:1", "a.example", 80),
        ([*WIDE], "64:ff9b::a9fe:a9fe", "a.example", 80),
        ([*WIDE], "2002:a9fe:a9fe::", "a.example", 80),
        ([*WIDE], "2001:0:4136:e378:8000:63bf:5601:5601", "a.example", 80),  # By Teredo, to 169.254.169.254.
        (["2001::/32"], "2001:0:4136:e378:8000:63bf:f5ff:fffe", "a.example", 80),  # And to 10.0.0.1.
        (["2001::/32"], "2001:0:a00:1:8000:63bf:f7f7:f7f7", "a.example", 80),  # Through a server at 10.0.0.1.
        ([*WIDE], "64:ff9b:1:a9fe:a9:fe00::", "a.example", 80),
        ([*WIDE], "224.0.0.1", "a.example", 80),
        ([*WIDE], "0.0.0.0", "a.example", 80),
        ([*WIDE], "::", "a.example", 80),
        ([*WIDE], "255.255.255.255", "a.example", 80),
        ([*WIDE], "ff02::1", "a.example", 80),
        ([*WIDE], "fe80::1%eth0", "a.example", 80),
        ([*WIDE], "192.168.0.1", "a.example", 22),
    ],
)
def test_an_exception_opens_nothing_else(allow: list[str], address: str, host: str, port: int) -> None:
    """Neighbours, other ports, other names and what a translator would make of an address stay closed."""
    with pytest.raises(NotAllowedError):
        make_rules(allow, [80, 443, 8443]).check(address, host, port)


@pytest.mark.parametrize(("port", "is_one"), [(0, False), (1, True), (65_535, True), (65_536, False)])
def test_only_a_port_there_is_can_be_open(port: int, is_one: bool) -> None:
    """From 1 to 65,535."""
    if is_one:
        assert f"http://a.example:{port}/" == make_rules([], [port]).read(f"http://a.example:{port}").url
    else:
        with pytest.raises(ValueError, match=f"no port {port}"):
            make_rules([], [80, port])


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_where_clouds_keep_credentials_must_be_named(address: str) -> None:
    """No range, however narrow, and no name opens them: only their own address does."""
    for allow in (WIDE, ["metadata.google.internal"], [], ["169.254.0.0/16", "fd00::/8", "100.64.0.0/10"]):
        with pytest.raises(NotAllowedError):
            make_rules(allow, [80]).check(address, "metadata.google.internal", 80)
    assert make_rules([address], [80]).check(address, "metadata.google.internal", 80)


def test_an_exception_is_read_before_anything_is_looked_up() -> None:
    """An excepted port or name passes the text, and the address decides."""
    rules = make_rules(["10.0.0.0/8:9000", "localhost:9000"], [80, 443])
    assert 9000 == rules.read("http://anything.example:9000/").port
    assert "localhost" == rules.read("http://LOCALHOST.:9000/").host
    for url in ("http://x.localhost/", "http://anything.example:9001/", "http://11.0.0.1:9000/", "http://[::1]:9000/"):
        with pytest.raises(NotAllowedError):
            rules.read(url)


@pytest.mark.parametrize(
    "entry",
    [
        "", "10.1.2.3/8", "10.0.0.0/33", "10.0.0.0/x", "10.1", "0x7f.1", "2130706433", "http://media.internal",
        "*.internal", "a b", "media.internal:", "media.internal:0", "media.internal:65536", "media.internal:http",
        "media.internal/8", "[::1", "::1]", "[media.internal]", "user@media.internal", "0.0.0.0", "0.0.0.0/8",
        "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "64:ff9b:1::/48",
        "fe80::1%eth0", "a..b", "-a",
    ],
)  # fmt: skip
def test_an_exception_nobody_can_read_stops_the_start(entry: str) -> None:
    """It is named, and nothing is guessed."""
    with pytest.raises(ValueError, match=r"is no|write the|there is no"):
        make_rules([entry], [80])
    with pytest.raises(SettingsError, match="network"):
        load(None, {"REELGATE__NETWORK__ALLOW": f"['{entry}']"})


def test_settings_say_what_is_open(tmp_path: Path) -> None:
    """The file and the environment are read alike; the ports there are can be changed."""
    path = tmp_path / "config.toml"
    path.write_text('[network]\nallow = ["10.0.0.0/8", "hooks.internal:8443"]\nports = [443]\n')
    network = load(path, {"REELGATE__NETWORK__SECONDS": "5"}).network
    rules = make_rules(network.allow, network.ports)
    assert (5, {443}) == (network.seconds, set(rules.ports))
    with pytest.raises(NotAllowedError):
        rules.read("http://cdn.example.com/")
    with pytest.raises(SettingsError, match="there is no port 0"):
        load(None, {"REELGATE__NETWORK__PORTS": "[0]"})


# The hook


def hop(rules: Rules = PLAIN, url: str = "http://cdn.example.com/") -> tuple[_Hop, list[object]]:
    """Make a hop whose sockets are only noted."""
    made: list[object] = []

    def dial(wanted: object) -> socket.socket:
        made.append(wanted)
        return socket.socket()

    return _Hop(rules, rules.read(url), dial), made


@pytest.mark.parametrize("address", CLOSED)
def test_no_socket_is_made_for_a_closed_address(address: str) -> None:
    """Even if everything before it had been fooled."""
    guarded, made = hop()
    family, place = (socket.AF_INET6, (address, 80, 0, 0)) if ":" in address else (socket.AF_INET, (address, 80))
    with pytest.raises(NotAllowedError):
        guarded.dial((family, socket.SOCK_STREAM, 6, "", place))
    assert [] == made
    assert guarded.refused is not None


def test_no_other_kind_of_socket_is_made() -> None:
    """A socket of this machine is not the internet's."""
    guarded, made = hop()
    with pytest.raises(NotAllowedError):
        guarded.dial((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/var/run/docker.sock", 80)))
    assert [] == made


def test_this_machines_own_public_address_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a firewall keeps outside is not reached from within, unless the operator says so."""
    assert is_own(socket.AF_INET, "127.0.0.1")
    monkeypatch.setattr("gateway.network.outbound.is_own", lambda family, address: address == "8.8.8.8")
    wanted = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))
    guarded, made = hop()
    with pytest.raises(NotAllowedError, match="own"):
        guarded.dial(wanted)
    assert [] == made
