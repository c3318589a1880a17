"""
Rows 48 to 78: addresses strangers name, in every field that takes one, and as what a redirect leads to.

The proof that nothing was dialled is a record of every socket asked for, in a gateway of this process.
"""

import asyncio
import re
import ssl
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from gateway.network.errand import Errand, FetchError
from gateway.network.guard import Rules
from tests.outside import HOME, SITE, Outside, gateway, redirect, world

DATA = tomllib.loads((Path(__file__).parent / "addresses.toml").read_text(encoding="utf-8"))
REFUSED = [
    *((row["row"], form) for row in DATA["refused"] for form in row["forms"]),
    (75, "http://cdn.example.com/" + "a" * 2026),
    (75, "http://" + "a" * 64 + ".example/"),
    (75, "http://" + "a." * 126 + "ab/"),
    (75, "http://" + "ü" * 60 + ".example/"),
    (75, "http://cdn.example.com/" + "a" * 70_000),
    (75, "http://cdn.example.com:" + "0" * 5_000 + "80/"),
]
LED_TO = [url for _, url in REFUSED if re.match(r"[\w+-]+:|//", url) and url.isprintable() and len(url) < 8_000]
"""What means the same in a redirect; the rest would be a path at the same host, or no header."""
ACCEPTED = [tuple(form) for row in DATA["accepted"] for form in row["forms"]]
LITERAL = [form for row in DATA["accepted"] for form in row["literal"]]
PUBLIC = {"cdn.example.com": ["93.184.216.34"], "example.com": ["93.184.216.34"]}
ORDER = {"model": "sandbox/demo", "prompt": "a red fox", "resolution": "360p"}


class Entrance(NamedTuple):
    """Hold one field that takes an address: where it is sent, how it is written, what an answer calls it."""

    name: str
    path: str
    fields: Callable[[str], dict[str, Any]]
    param: str


ENTRANCES = [
    Entrance("input_reference", "/v1/videos", lambda url: {"input_reference": url}, "input_reference"),
    Entrance(
        "image_url", "/v1/videos", lambda url: {"input_reference": {"image_url": url}}, "input_reference.image_url"
    ),
    Entrance(
        "url of image_url",
        "/v1/quotes",
        lambda url: {"input_reference": {"image_url": {"url": url}}},
        "input_reference.image_url",
    ),
    Entrance(
        "frame_images",
        "/v1/videos",
        lambda url: {"frame_images": [{"frame_type": "first_frame", "image_url": url}]},
        "frame_images[0].image_url",
    ),
    Entrance(
        "input_references",
        "/v1/videos",
        lambda url: {"input_references": [{"role": "subject", "url": url}]},
        "input_references[0].url",
    ),
    Entrance("text of input_references", "/v1/videos", lambda url: {"input_references": [url]}, "input_references[0]"),
    Entrance("video", "/v1/videos", lambda url: {"video": {"video_url": url}}, "video.video_url"),
    Entrance("video of an edit", "/v1/videos/edits", lambda url: {"video": url}, "video"),
    Entrance(
        "audio_url",
        "/v1/videos",
        lambda url: {"input_references": [{"role": "voice", "audio_url": url}]},
        "input_references[0].audio_url",
    ),
    Entrance(
        "element", "/v1/videos", lambda url: {"elements": [{"name": "a", "images": [url]}]}, "elements[0].images[0]"
    ),
    Entrance("mask", "/v1/videos", lambda url: {"mask": {"image": {"image_url": url}}}, "mask.image_url"),
]
"""Every place where a call names an address we are to fetch."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with world() as built:
        yield built


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(outside: Outside, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway under the rules it ships with."""
    folder = tmp_path_factory.mktemp("addresses")
    async with gateway(folder, outside.outbound(Rules())) as client:
        yield client
        assert [] == (await client.get("/v1/videos")).json()["data"]
    kept = [path for name in ("inputs", "incoming", "clips") for path in (folder / "media" / name).rglob("*")]
    assert [] == [path for path in kept if path.is_file()]


def flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Write a value as the parts of a form, as SDKs do."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flat(f"{name}[{key}]", each)
    elif isinstance(value, list):
        for each in value:
            yield from flat(f"{name}[]", each)
    else:
        yield name, value


def write_form(fields: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """Write a form."""
    parts = [pair for name, value in {**ORDER, **fields}.items() for pair in flat(name, value)]
    body = "".join(
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    )
    return {"content-type": "multipart/form-data; boundary=frontier"}, (body + "--frontier--\r\n").encode()


async def ask(client: httpx.AsyncClient, entrance: Entrance, url: str, *, form: bool) -> httpx.Response:
    """Name an address in one field."""
    fields = entrance.fields(url)
    if not form:
        return await client.post(entrance.path, json={**ORDER, **fields})
    headers, body = write_form(fields)
    return await client.post(entrance.path, headers=headers, content=body)


async def test_there_are_enough() -> None:
    """As many forms as the goals ask for, none twice."""
    assert len({form for _, form in REFUSED}) == len(REFUSED) >= 150
    assert len({form[0] for form in ACCEPTED} | set(LITERAL)) == len(ACCEPTED) + len(LITERAL) >= 30
    assert {*range(48, 72), 75} == {row for row, _ in REFUSED}


@pytest.mark.parametrize(("row", "url"), REFUSED, ids=lambda value: str(value)[:60])
async def test_refused_wherever_it_is_named(client: httpx.AsyncClient, outside: Outside, row: int, url: str) -> None:
    """An address that is not the internet's gets one answer for all causes, and nothing is dialled."""
    outside.forget()
    outside.names.update(DATA["names"])
    outside.names.update(PUBLIC)
    told = set()
    for entrance in ENTRANCES:
        for form in (False, True):
            answer = await ask(client, entrance, url, form=form)
            error = answer.json()["error"]
            assert (422, "url_not_allowed", entrance.param) == (answer.status_code, error["code"], error["param"])
            told.add(error["message"])
    assert 1 == len(told)
    assert [] == outside.dialled
    if row not in {52, 63, 64, 71}:
        assert [] == outside.asked


async def test_all_causes_read_the_same(client: httpx.AsyncClient, outside: Outside) -> None:
    """Nobody learns which inner names exist from what is said of them."""
    outside.forget()
    outside.names.update(DATA["names"])
    said = {
        (await ask(client, ENTRANCES[0], url, form=False)).json()["detail"]
        for url in ("http://db/", "http://nobody.example/", "http://127.0.0.1/", "file:///etc/passwd", "http://x:22/")
    }
    assert 1 == len(said)


@pytest.mark.parametrize("url", LED_TO, ids=lambda u: u[:60])
async def test_refused_as_a_redirect(outside: Outside, url: str) -> None:
    """What may not be named may not be led to either: only the first hop is dialled."""
    outside.forget()
    outside.names.update(DATA["names"])
    outside.names["first.example"] = [SITE]
    outside.names.update(PUBLIC)
    outside.pages["/"] = redirect(url)
    got = bytearray()
    with pytest.raises(FetchError) as caught:
        await outside.outbound().fetch(
            "http://first.example/", got.extend, Errand(max_bytes=10**6, seconds=5), owner="t"
        )
    assert ("url_not_allowed", b"") == (caught.value.code, bytes(got))
    assert [(HOME, outside.port)] == outside.dialled


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Same", "308 Same"])
@pytest.mark.parametrize("hop", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://10.0.0.1/", "file:///etc/passwd", "http://lvh.me/", "//db/"]
)
async def test_refused_at_each_hop(outside: Outside, hop: int, url: str, status: str) -> None:
    """Every hop is checked as the first one."""
    outside.forget()
    outside.names.update({"lvh.me": ["127.0.0.1", "10.0.0.1"], "db": ["172.17.0.3"], "first.example": [SITE]})
    for at in range(hop):
        outside.pages[f"/{at}"] = redirect(f"/{at + 1}" if at + 1 < hop else url, status)
    with pytest.raises(FetchError) as caught:
        await outside.outbound().fetch("http://first.example/0", len, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert "url_not_allowed" == caught.value.code
    assert [(HOME, outside.port)] * hop == outside.dialled


@pytest.mark.parametrize(("url", "host", "path"), ACCEPTED, ids=lambda value: value[:60])
async def test_ordinary_addresses_are_fetched(outside: Outside, url: str, host: str, path: str) -> None:
    """What is ordinary is asked for as it was written, with nothing about us, and comes whole."""
    outside.forget()
    outside.names[host.partition(":")[0]] = [SITE]
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    got = bytearray()
    await outside.outbound(tls=trusting).fetch(url, got.extend, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert got.startswith(b"\x89PNG")
    assert [(HOME, outside.port)] == outside.dialled
    (head,) = outside.heads
    line, *headers = head.removesuffix("\r\n\r\n").split("\r\n")
    assert f"GET {path} HTTP/1.1" == line
    named = {name.lower(): value.rstrip(".") for name, _, value in (each.partition(": ") for each in headers)}
    assert {
        "host": host,
        "accept": "image/*, video/*, audio/*",
        "accept-encoding": "identity",
        "user-agent": "reelgate",
    } == {name: value for name, value in named.items() if name != "connection"}


@pytest.mark.parametrize("url", LITERAL)
async def test_ordinary_addresses_without_a_name_are_dialled(
    outside: Outside, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An IP address of the internet is dialled as it stands, and no name is looked up."""
    monkeypatch.setattr("gateway.network.outbound.is_own", lambda family, address: False)
    outside.forget()
    with pytest.raises(FetchError) as caught:
        await outside.outbound(Rules()).fetch(url, len, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert "url_unreachable" == caught.value.code
    (dialled,) = outside.dialled
    assert dialled[0].replace("::ffff:808:808", "8.8.8.8") in url
    assert [] == outside.asked


async def test_a_name_that_changes_its_mind(outside: Outside) -> None:
    """A thousand times, public first and private second: only what was checked is dialled, and asked for once."""
    outside.forget()
    turn = 0

    def flip() -> list[str]:
        nonlocal turn
        turn += 1
        return [SITE] if turn % 2 else ["127.0.0.2"]

    outside.names["flip.example"] = flip
    outbound = outside.outbound()
    ends = []
    for _ in range(1_000):
        try:
            await outbound.fetch("http://flip.example/", len, Errand(max_bytes=10**6, seconds=5), owner="t")
            ends.append("fetched")
        except FetchError as error:
            ends.append(error.code)
    assert ["fetched", "url_not_allowed"] * 500 == ends
    assert {(HOME, outside.port)} == set(outside.dialled)
    assert (500, 1_000) == (len(outside.dialled), len(outside.asked))


async def test_a_name_that_changes_its_mind_within_a_fetch(outside: Outside) -> None:
    """A redirect to the same name is another hop: it is looked up and checked anew."""
    outside.forget()
    answers = iter([[SITE], ["10.0.0.1"]])
    outside.names["flip.example"] = lambda: next(answers)
    outside.pages["/"] = redirect("/again")
    with pytest.raises(FetchError) as caught:
        await outside.outbound().fetch("http://flip.example/", len, Errand(max_bytes=10**6, seconds=5), owner="t")
    assert "url_not_allowed" == caught.value.code
    assert [(HOME, outside.port)] == outside.dialled


async def test_many_at_once(client: httpx.AsyncClient, outside: Outside) -> None:
    """A call that names sixteen addresses, one of them inside, is refused as a whole."""
    outside.forget()
    urls = [f"http://cdn{at}.example/" for at in range(15)]
    outside.names.update({f"cdn{at}.example": ["10.0.0.1"] for at in range(15)})
    answers = await asyncio.gather(
        *(client.post("/v1/videos", json={**ORDER, "input_references": [*urls, "http://[::1]/"]}) for _ in range(4))
    )
    assert [422] * 4 == [answer.status_code for answer in answers]
    assert [] == outside.dialled
