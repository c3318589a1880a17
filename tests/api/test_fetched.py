"""Laws of inputs by address: fetched before the job is accepted, taken for what they are, and kept once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from gateway.door.intake import Intake, Medium
from gateway.network.errand import Errand, FetchError
from gateway.problems import ProblemError
from providers.base.order import Role
from tests.outside import HOME, SITE, Outside, gateway, page, picture, redirect, world
from tests.server import Server, eventually

ORDER = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}
URL = "http://cdn.example.com/"
HTML = b"<!doctype html><script>alert(1)</script>"


@pytest.fixture
def outside() -> Iterator[Outside]:
    with world() as built:
        built.names["cdn.example.com"] = [SITE]
        yield built


@pytest.fixture
async def client(outside: Outside, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that may reach the site, takes one megabyte and waits a second and a half."""
    limits = {"server": {"max_body_mb": 1}, "network": {"seconds": 1.5}}
    async with gateway(tmp_path, outside.outbound(at_once=4), **limits) as client:
        yield client
        assert [] == list((tmp_path / "media" / "incoming").iterdir())


def kept(folder: Path) -> list[Path]:
    """List the inputs a gateway keeps."""
    return [path for path in (folder / "media" / "inputs").rglob("*") if path.is_file()]


async def order(client: httpx.AsyncClient, path: str = "/v1/videos", **fields: Any) -> httpx.Response:
    return await client.post(path, json={**ORDER, **fields})


async def test_a_picture_is_fetched_before_the_answer(
    client: httpx.AsyncClient, outside: Outside, tmp_path: Path
) -> None:
    """Whatever type its server says it has, it is what its bytes are; the job holds its hash, not its address."""
    outside.pages["/a.png"] = page(picture(), Content_Type="application/x-whatever")
    answer = await order(client, input_reference={"image_url": URL + "a.png"})
    assert 200 == answer.status_code, answer.text
    (held,) = kept(tmp_path)
    assert picture() == held.read_bytes()
    assert "first_frame" == answer.json()["request"]["mode"]


async def test_a_quote_fetches_and_keeps_nothing(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """What a clip would cost depends on what it is made from."""
    answer = await order(client, "/v1/quotes", input_reference=URL)
    assert 200 == answer.status_code
    assert "first_frame" == answer.json()["data"][0]["spec"]["mode"]
    assert [] == kept(tmp_path)


async def test_several_are_fetched_at_the_same_time(
    client: httpx.AsyncClient, outside: Outside, tmp_path: Path
) -> None:
    """Each in its place, however fast it comes; the same bytes are kept once."""
    for at in range(3):
        outside.pages[f"/{at}"] = page(picture((64, 36 + at)))
    outside.pages["/led"] = redirect("/0")
    urls = [{"url": URL + name} for name in ("0", "1", "2", "led")]
    answer = await order(client, input_references=urls)
    assert 200 == answer.status_code, answer.text
    assert 3 == len(kept(tmp_path))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (page(HTML, Content_Type="image/png"), "url_not_media"),
        (page(b""), "url_not_media"),
        (page(b"\x89PNG\r\n\x1a\n"), "url_not_media"),
        (page(b"\x1f\x8b", Content_Encoding="gzip"), "url_not_media"),
        (page(b"\x00\x00\x00\x18ftypmp42junk junk junk"), "url_not_media"),
        (page(picture() + bytes(2**20)), "url_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + picture() + bytes(2**20), "url_too_large"),
        (page(HTML, status="404 Not Found"), "url_unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + picture(), "url_unreachable"),
        (redirect("http://169.254.169.254/latest/meta-data/"), "url_not_allowed"),
        (redirect("file:///etc/passwd"), "url_not_allowed"),
        (redirect("/"), "url_unreachable"),
    ],
)
async def test_what_cannot_be_taken_is_said(
    client: httpx.AsyncClient, outside: Outside, tmp_path: Path, said: bytes, code: str
) -> None:
    """By the name of the field, without a byte of what came; nothing is kept of it or of what came beside it."""
    outside.pages["/"] = said
    answer = await order(client, input_references=[URL + "good", {"role": "subject", "image_url": {"url": URL}}])
    error = answer.json()["error"]
    assert (422, code, "input_references[1].image_url") == (answer.status_code, error["code"], error["param"])
    assert "script" not in answer.text
    assert [] == kept(tmp_path)
    assert [] == (await client.get("/v1/videos")).json()["data"]


async def test_a_clip_where_a_picture_belongs(client: httpx.AsyncClient, outside: Outside) -> None:
    """The field says what it takes."""
    outside.pages["/"] = page(picture())
    answer = await order(client, "/v1/videos/edits", video=URL)
    assert (422, "invalid_value", "video") == (answer.status_code, *map(answer.json()["error"].get, ("code", "param")))


async def test_a_slow_server_costs_so_long_and_no_longer(client: httpx.AsyncClient, outside: Outside) -> None:
    """The call ends in time, others are answered meanwhile, and those that find no place hear that it is our fault."""

    def drip(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"a")
            stalled.wait(0.05)

    stalled = threading.Event()
    outside.pages["/slow"] = drip
    loop = asyncio.get_running_loop()
    started = loop.time()
    slow = asyncio.gather(*(order(client, input_reference=f"{URL}slow") for _ in range(6)))
    await asyncio.sleep(0.1)
    assert 200 == (await client.get("/v1/models")).status_code
    assert loop.time() - started < 1
    codes = sorted((answer.status_code, answer.json()["error"]["code"]) for answer in await slow)
    assert [(422, "url_unreachable")] * 3 + [(503, "fetching_busy")] * 3 == codes
    assert loop.time() - started < 5


async def test_a_fetch_is_at_its_tenants_expense(tmp_path: Path) -> None:
    """Every address of a call's is."""
    whose: list[str] = []

    class Way:
        async def fetch(self, address: str, write: object, errand: Errand, *, owner: str) -> None:
            whose.append(owner)
            raise FetchError("url_unreachable", "no")

    where: Any = SimpleNamespace(incoming=tmp_path)
    intake = Intake(where, cast("Any", None), lambda: cast("Any", Way()), max_bytes=1, seconds=1)
    named = [Medium(role=Role.REFERENCE, source=URL, param="p")] * 2
    for tenant in ("alice", "bob"):
        with pytest.raises(ProblemError):
            await intake.gather(named, tenant)
    assert ["inputs/alice"] * 2 + ["inputs/bob"] * 2 == whose


async def test_a_call_repeated_is_the_same_call(client: httpx.AsyncClient, outside: Outside) -> None:
    """Nothing is bought twice because an address answers another picture the second time."""
    turn = iter(range(36, 50))
    outside.pages["/random"] = lambda connection: connection.sendall(page(picture((64, next(turn)))))
    body = {**ORDER, "input_reference": URL + "random"}
    keyed = [await client.post("/v1/videos", json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
    first = await client.post("/v1/videos", json=body)
    again = await client.post("/v1/videos", json=body, headers={"x-stainless-retry-count": "1"})
    other = await client.post("/v1/videos", json={**body, "input_reference": URL}, headers={"idempotency-key": "k"})
    assert [200] * 4 == [answer.status_code for answer in (*keyed, first, again)]
    assert 1 == len({answer.json()["id"] for answer in keyed})
    assert first.json()["id"] == again.json()["id"] != keyed[0].json()["id"]
    assert (422, "idempotency_key_reused") == (other.status_code, other.json()["error"]["code"])


async def test_errands_are_for_one_call(client: httpx.AsyncClient, outside: Outside) -> None:
    """What one call has fetched is not counted against the next."""
    outside.pages["/"] = page(picture() + bytes(600_000))
    for _ in range(3):
        answer = await order(client, input_reference=URL)
        assert 200 == answer.status_code, answer.text
    assert 0 <= Errand(max_bytes=1, seconds=0).left < 1


def test_a_gateway_as_it_is_started(outside: Outside, tmp_path: Path) -> None:
    """What the operator opens is fetched and made into a clip; what he does not is not, even next door."""
    allow = f'["{HOME}:{outside.port}"]'
    server = Server(tmp_path, REELGATE__NETWORK__ALLOW=allow).start()
    try:
        site = f"http://{HOME}:{outside.port}/"
        outside.pages["/a.png"] = page(picture())
        made = server.post("/v1/videos", {**ORDER, "input_reference": f"{site}a.png"})
        assert 200 == made.status_code, made.text
        path = f"/v1/videos/{made.json()['id']}"
        eventually(lambda: "completed" == server.get(path).json()["status"])
        outside.pages["/a.mp4"] = page(server.get(f"{path}/content").content, Content_Type="text/plain")
        edit = {"model": "sandbox/demo", "prompt": "in blue", "video": {"video_url": f"{site}a.mp4"}}
        edited = server.post("/v1/videos/edits", edit)
        assert 200 == edited.status_code, edited.text
        edited_path = f"/v1/videos/{edited.json()['id']}"
        eventually(lambda: "completed" == server.get(edited_path).json()["status"])
        for url in (f"http://{HOME}:{server.port}/v1/videos", f"http://127.0.0.2:{outside.port}/a.png"):
            refused = server.post("/v1/videos", {**ORDER, "input_reference": url})
            assert (422, "url_not_allowed") == (refused.status_code, refused.json()["error"]["code"])
        assert "address.excepted" in server.log.read_text()
        assert "a.png" not in server.log.read_text()
    finally:
        assert 0 == server.stop()
