"""Laws of fetching from strangers: what is taken of them, how much, and for how long."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gateway.network import outbound as module
from gateway.network.errand import Errand, FetchError
from gateway.network.guard import Rules, make_rules
from gateway.network.names import Found, Names
from gateway.network.outbound import MAX_REDIRECTS
from tests.outside import CERTIFICATE, HOME, SITE, Outside, page, picture, redirect, world

URL = "http://cdn.example.com/"


@pytest.fixture
def outside() -> Iterator[Outside]:
    with world() as built:
        built.names["cdn.example.com"] = [SITE]
        yield built


async def fetch(outside: Outside, url: str = URL, *, max_bytes: int = 10**6, seconds: float = 5) -> bytes:
    """Fetch, as a gateway does that may reach the site."""
    got = bytearray()
    await outside.outbound().fetch(url, got.extend, Errand(max_bytes=max_bytes, seconds=seconds), owner="t")
    return bytes(got)


async def refusal(outside: Outside, url: str = URL, *, max_bytes: int = 10**6, seconds: float = 5) -> FetchError:
    """Fetch in vain."""
    with pytest.raises(FetchError) as caught:
        await fetch(outside, url, max_bytes=max_bytes, seconds=seconds)
    return caught.value


async def test_what_comes_is_what_was_sent(outside: Outside) -> None:
    """Whole, byte for byte; in chunks or until the connection ends."""
    outside.pages["/"] = page(picture())
    outside.pages["/chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    outside.pages["/end"] = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
    outside.pages["/early"] = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + page(b"later")
    outside.pages["/same"] = page(b"same", Content_Encoding="identity")
    assert picture() == await fetch(outside)
    assert b"abcde" == await fetch(outside, URL + "chunks")
    assert b"until the end" == await fetch(outside, URL + "end")
    assert b"later" == await fetch(outside, URL + "early")
    assert b"same" == await fetch(outside, URL + "same")


# How much


async def test_too_much_by_its_length(outside: Outside) -> None:
    """What says that it is too large is not read."""
    outside.pages["/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n"
    assert "url_too_large" == (await refusal(outside)).code


def endless(piece: bytes, head: bytes, pause: float = 0) -> Callable[[socket.socket], None]:
    """Never stop."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return talk


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(4096) + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(4096)),
    ],
    ids=["chunks", "until the end"],
)
async def test_too_much_without_a_length(outside: Outside, head: bytes, piece: bytes) -> None:
    """What does not end is cut off at the limit."""
    outside.pages["/"] = endless(piece, head)
    got = bytearray()
    with pytest.raises(FetchError) as caught:
        await outside.outbound().fetch(URL, got.extend, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert "url_too_large" == caught.value.code
    assert 10**6 - 2**20 < len(got) <= 10**6


async def test_the_limit_is_for_all_that_a_call_names(outside: Outside) -> None:
    """Two halves go, a third does not."""
    outside.pages["/"] = page(bytes(500_000))
    errand, outbound = Errand(max_bytes=10**6, seconds=5), outside.outbound()
    await outbound.fetch(URL, len, errand, owner="t")
    await outbound.fetch(URL, len, errand, owner="t")
    with pytest.raises(FetchError) as caught:
        await outbound.fetch(URL, len, errand, owner="t")
    assert "url_too_large" == caught.value.code


async def test_a_length_that_lies(outside: Outside) -> None:
    """Too short an answer is no answer; what comes after the length said is not taken."""
    outside.pages["/short"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
    outside.pages["/long"] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" + bytes(100_000)
    outside.pages["/cut"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc"
    outside.pages["/both"] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    outside.pages["/minus"] = b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabcd"
    outside.pages["/huge"] = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\nabcd"
    got = bytearray()
    with suppress(FetchError):  # Where the rest came in the same packet.
        await outside.outbound().fetch(URL + "long", got.extend, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert bytes(got) in {b"abc", b""}
    for path in ("short", "cut", "both", "minus"):
        assert "url_unreachable" == (await refusal(outside, URL + path)).code, path
    assert (await refusal(outside, URL + "huge")).code in {"url_unreachable", "url_too_large"}


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip", "x", "GZIP"])
async def test_what_is_packed_is_not_taken(outside: Outside, coding: str) -> None:
    """Nothing is unpacked, so nothing can grow."""
    outside.pages["/"] = page(b"\x1f\x8b" + bytes(100), Content_Encoding=coding)
    assert "url_not_media" == (await refusal(outside)).code
    assert "accept-encoding: identity" in outside.heads[0].lower()


@pytest.mark.parametrize(
    "head",
    [
        b"X-A: " + b"a" * 2**20 + b"\r\n",
        b"".join(b"X-%d: a\r\n" % at for at in range(100_000)),
        b"".join(b"X-%d: %s\r\n" % (at, b"a" * 8000) for at in range(20)),
        b"X-A: " + b"a" * 2**20,
        b"X" * 2**20,
    ],
    ids=["one", "many", "some large ones", "one without end", "a name without end"],
)
async def test_headers_have_a_limit(outside: Outside, head: bytes) -> None:
    """A megabyte of headers is not read to its end."""
    outside.pages["/"] = b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 3\r\n\r\nabc"
    assert "url_unreachable" == (await refusal(outside)).code


# How long


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /",
    ],
    ids=["nothing", "head", "body", "redirect"],
)
async def test_a_slow_drip_ends_in_time(outside: Outside, head: bytes) -> None:
    """A server that sends a byte now and then is left after the seconds a call has, however often it sends one."""
    outside.pages["/"] = endless(b"a", head, 0.05)
    started = time.monotonic()
    assert (await refusal(outside, seconds=0.5)).code == "url_unreachable"
    assert time.monotonic() - started < 3


async def test_early_hints_without_end(outside: Outside) -> None:
    """A server that never comes to its answer is left as well."""
    outside.pages["/"] = endless(b"HTTP/1.1 103 Early Hints\r\n\r\n", b"", 0.01)
    assert "url_unreachable" == (await refusal(outside, seconds=0.5)).code


async def test_silence_ends_sooner(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing does not use up the call's time."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.2)
    outside.pages["/"] = lambda connection: time.sleep(2)
    started = time.monotonic()
    assert "url_unreachable" == (await refusal(outside, seconds=20)).code
    assert time.monotonic() - started < 2


async def test_a_resolver_that_hangs(outside: Outside) -> None:
    """The look-up counts towards the time."""

    class Hanging(module.aiohttp.abc.AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[module.ResolveResult]:
            await asyncio.sleep(60)
            raise AssertionError

        async def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(FetchError) as caught:
        await module.Outbound(Rules(), resolver=Hanging).fetch(URL, len, Errand(max_bytes=1, seconds=0.2), owner="t")
    assert "url_unreachable" == caught.value.code


async def test_a_name_server_that_hangs_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups have threads of their own: files are written meanwhile."""
    hanging = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        hanging.wait(10)
        return []

    monkeypatch.setattr(module.socket, "getaddrinfo", hang)
    outbound = module.Outbound(Rules(), at_once=40)
    errand = Errand(max_bytes=1, seconds=20)
    fetching = [asyncio.ensure_future(outbound.fetch(URL, len, errand, owner="t")) for _ in range(40)]
    await asyncio.sleep(0.1)
    assert "done" == await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 2)
    hanging.set()
    ends = await asyncio.gather(*fetching, return_exceptions=True)
    assert ["url_not_allowed"] * 40 == [getattr(each, "code", each) for each in ends]


async def test_names_are_looked_up_as_this_machine_does() -> None:
    """The hosts file counts, and every address is listed."""
    look_up = await Names().begin("localhost", "t", patience=1)
    found = await module._Begun(look_up).resolve("localhost", 80)
    assert {"127.0.0.1"} <= {each["host"] for each in found} <= {"127.0.0.1", "::1"}
    assert {80} == {each["port"] for each in found}


async def test_as_many_at_once_as_said(outside: Outside) -> None:
    """One more waits, and when its time is up hears that it is not its fault."""
    talking = []

    def talk(connection: socket.socket) -> None:
        talking.append(connection)
        time.sleep(0.5)
        connection.sendall(page(b"abc"))

    outside.pages["/"] = talk
    outbound = outside.outbound(at_once=2)
    errands = [Errand(max_bytes=100, seconds=seconds) for seconds in (5, 5, 5, 0.2)]
    ends = await asyncio.gather(
        *(outbound.fetch(URL, len, each, owner="t") for each in errands), return_exceptions=True
    )
    assert [None] * 3 == ends[:3]
    assert isinstance(ends[3], FetchError)
    assert ("fetching_busy", True) == (ends[3].code, ends[3].busy)
    assert 3 == len(talking)


async def test_servers_that_drip_keep_nobody_elses_fetch_waiting(outside: Outside) -> None:
    """However many one owner names, a newcomer's place is kept; the owner's own wait in line."""
    outside.pages["/slow"] = endless(b"a", b"HTTP/1.1 200 OK\r\n\r\n", 0.05)
    outside.pages["/"] = page(b"abc")
    outbound = outside.outbound(at_once=4)
    errand = Errand(max_bytes=10**6, seconds=1.5)
    dripping = [asyncio.ensure_future(outbound.fetch(URL + "slow", len, errand, owner="alice")) for _ in range(8)]
    async with asyncio.timeout(5):
        while len(outside.heads) < 3:  # noqa: ASYNC110  What happens, happens on the other side of a socket.
            await asyncio.sleep(0.01)
    for owner in ("bob", "carol", "bob"):
        started = time.monotonic()
        await outbound.fetch(URL, len, Errand(max_bytes=100, seconds=5), owner=owner)
        assert time.monotonic() - started < 1
    assert 3 == sum("/slow" in head for head in outside.heads)
    ends = [getattr(each, "code", each) for each in await asyncio.gather(*dripping, return_exceptions=True)]
    assert ["url_unreachable"] * 3 + ["fetching_busy"] * 5 == sorted(ends, reverse=True)


async def test_names_that_do_not_resolve_keep_nobody_elses_fetch_waiting(outside: Outside) -> None:
    """As with servers; who finds no thread for a name hears that it is our fault."""
    hanging = threading.Event()

    def ask(host: str) -> list[Found]:
        if host.startswith("deaf"):
            hanging.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [Found(socket.AF_INET, 6, HOME)]

    outside.pages["/"] = page(b"abc")
    rules = make_rules([f"{HOME}:{outside.port}"], [80])
    outbound = module.Outbound(rules, names=Names(ask, most=4))
    urls = [f"http://deaf{number}.example/" for number in range(6)]
    deaf = [
        asyncio.ensure_future(outbound.fetch(url, len, Errand(max_bytes=100, seconds=0.4), owner="alice"))
        for url in urls
    ]
    await asyncio.sleep(0.05)
    started, got = time.monotonic(), bytearray()
    well = f"http://well.example:{outside.port}/"
    await outbound.fetch(well, got.extend, Errand(max_bytes=100, seconds=5), owner="bob")
    assert (b"abc", True) == (bytes(got), time.monotonic() - started < 1)
    ends = [getattr(each, "code", each) for each in await asyncio.gather(*deaf, return_exceptions=True)]
    assert ["url_unreachable"] * 3 + ["fetching_busy"] * 3 == sorted(ends, reverse=True)
    hanging.set()


# What else a server may say


@pytest.mark.parametrize(
    "answer",
    [
        page(status="407 Proxy Authentication Required", Proxy_Authenticate="Basic"),
        page(status="401 Unauthorized", WWW_Authenticate="Basic"),
        page(status="101 Switching Protocols", Upgrade="websocket", Connection="upgrade"),
        page(b"x", status="206 Partial Content"),
        page(status="204 No Content"),
        page(status="304 Not Modified"),
        page(status="302 Found"),
        page(status="300 Multiple Choices", Location="http://cdn.example.com/x"),
        page(status="404 Not Found"),
        page(status="500 Internal Server Error"),
        page(status="999 What"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_no_success(outside: Outside, answer: bytes) -> None:
    """Anything but a whole 200 is no picture."""
    outside.pages["/"] = answer
    assert "url_unreachable" == (await refusal(outside)).code
    assert {(HOME, outside.port)} == set(outside.dialled)


async def test_nobody_listens(outside: Outside) -> None:
    """A public address that refuses, and a name server that does not answer, may do another time."""
    outside.names["dead.example"] = ["93.184.216.34"]

    def silent() -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    outside.names["unknown.example"] = silent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "is_own", lambda family, address: False)
        assert "url_unreachable" == (await refusal(outside, "http://dead.example/")).code
    assert "url_unreachable" == (await refusal(outside, "http://unknown.example/")).code
    assert "url_not_allowed" == (await refusal(outside, "http://nobody.example/")).code


async def test_redirects_are_followed_to_a_point(outside: Outside) -> None:
    """Five go, six do not, nor does a circle; each hop is a connection of its own."""
    for at in range(10):
        outside.pages[f"/{at}"] = redirect(f"/{at + 1}")
    outside.pages["/10"] = page(b"the end")
    outside.pages["/circle"] = redirect("/circle")
    assert b"the end" == await fetch(outside, f"{URL}{10 - MAX_REDIRECTS}")
    assert MAX_REDIRECTS + 1 == len(outside.dialled) == len(outside.heads)
    assert "url_unreachable" == (await refusal(outside, f"{URL}{9 - MAX_REDIRECTS}")).code
    assert "url_unreachable" == (await refusal(outside, f"{URL}circle")).code


async def test_nothing_is_carried_from_hop_to_hop(outside: Outside) -> None:
    """Neither cookies nor where we came from; a password in a redirect stops it."""
    outside.names["other.example"] = [SITE]
    cookies = {"Set_Cookie": "a=b; Path=/", "WWW_Authenticate": "Basic"}
    outside.pages["/first?key=secret"] = page(status="302 Found", Location="http://other.example/second", **cookies)
    outside.pages["/second"] = page(status="307 Same", Location="http://cdn.example.com/third", **cookies)
    outside.pages["/third"] = page(b"abc")
    assert b"abc" == await fetch(outside, URL + "first?key=secret")
    for head in outside.heads:
        names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
        assert {"host", "accept", "accept-encoding", "user-agent"} == names - {"connection"}
    assert "secret" not in "".join(outside.heads[1:])
    outside.pages["/first"] = redirect("http://user:pw@cdn.example.com/third")
    assert "url_not_allowed" == (await refusal(outside, URL + "first")).code


async def test_the_environment_plays_no_part(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither a proxy nor a .netrc."""
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("machine cdn.example.com login me password canary\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://10.0.0.1:3128")
    outside.pages["/"] = page(b"abc")
    assert b"abc" == await fetch(outside)
    assert [(HOME, outside.port)] == outside.dialled
    assert "authorization" not in outside.heads[0].lower()


async def test_certificates_are_checked(outside: Outside) -> None:
    """A server must prove that it is the one that was named."""
    outside.names["other.example"] = [SITE]
    outside.pages["/"] = page(b"abc")
    assert "url_unreachable" == (await refusal(outside, "https://cdn.example.com/")).code
    trusting = outside.outbound(tls=ssl.create_default_context(cafile=str(CERTIFICATE)))
    got = bytearray()
    await trusting.fetch("https://cdn.example.com/", got.extend, Errand(max_bytes=100, seconds=5), owner="t")
    assert b"abc" == got
    with pytest.raises(FetchError) as caught:
        await trusting.fetch("https://other.example/", got.extend, Errand(max_bytes=100, seconds=5), owner="t")
    assert "url_unreachable" == caught.value.code


async def test_a_disk_that_is_full_is_not_the_servers_fault(outside: Outside) -> None:
    """What goes wrong on our side is not told as theirs."""

    def full(chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    outside.pages["/"] = page(b"abc")
    with pytest.raises(OSError, match="No space"):
        await outside.outbound().fetch(URL, full, Errand(max_bytes=100, seconds=5), owner="t")
