"""Laws of elements: what shows them is taken in as any picture or clip is, and belongs to the one it was named in."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.outside import SITE, gateway, page, picture, world
from tests.scripted import clip

ORDER = {"model": "sandbox/demo", "prompt": "@fox meets @Cub", "seconds": 1, "resolution": "360p"}
CDN = "http://cdn.example.com/"
FIRST, SECOND, THIRD = (picture((64, 36 + at)) for at in range(3))
FILM = clip(1, (64, 36))
URL = f"data:image/png;base64,{base64.b64encode(FIRST).decode()}"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that may reach a site of pictures, and has a file; nothing is left half taken."""
    with world() as outside:
        outside.names["cdn.example.com"] = [SITE]
        outside.pages |= {"/a.png": page(SECOND), "/film": page(FILM), "/no": page(status="404 Not Found")}
        async with gateway(tmp_path, outside.outbound()) as client:
            yield client
            assert [] == list((tmp_path / "media" / "incoming").iterdir())


async def order(client: httpx.AsyncClient, *elements: Any, path: str = "/v1/videos", **more: Any) -> httpx.Response:
    return await client.post(path, json={**ORDER, "elements": elements, **more})


def inputs(answer: httpx.Response) -> list[tuple[str, str, str]]:
    """What an order is made from: role, whose, and the hash."""
    assert 200 == answer.status_code, answer.text
    return [(each["role"], each["name"], each["sha256"]) for each in answer.json()["request"]["inputs"]]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_what_shows_an_element_comes_as_every_input_does(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """As a data URL, an address, an uploaded file; each is kept once, and named after its element."""
    upload = await client.post("/v1/files", files={"file": ("a.png", THIRD)}, data={"purpose": "user_data"})
    there = {"image_url": {"url": CDN + "a.png"}}
    fox = {"name": "fox", "description": "red", "images": [URL, there], "voice_id": "v"}
    cub = {"name": "Cub", "images": [{"file_id": upload.json()["id"]}, URL], "videos": [{"video_url": CDN + "film"}]}
    answer = await order(client, fox, cub)
    mine = [("element", "fox", digest(FIRST)), ("element", "fox", digest(SECOND))]
    others = [("element", "Cub", digest(each)) for each in (THIRD, FIRST, FILM)]

    assert [*mine, *others] == inputs(answer)
    said = answer.json()["request"]
    assert "reference" == said["mode"]
    assert [{"name": "fox", "description": "red", "voice_id": "v"}, {"name": "Cub"}] == said["elements"]
    kept = [path for path in (tmp_path / "media" / "inputs").rglob("*") if path.is_file()]
    assert 4 == len(kept)


async def test_a_form_says_what_json_says(client: httpx.AsyncClient) -> None:
    """As files of bracketed names, or as one JSON text with a data URL of any length."""
    plain = {name: str(value) for name, value in ORDER.items()}
    names = [
        ("elements[0][name]", "fox"), ("elements[1][name]", "Cub"), ("elements[1][images][0][image_url]", URL),
    ]  # fmt: skip
    parts = [(name, (None, value)) for name, value in [*plain.items(), *names]]
    filed = await client.post("/v1/videos", files=[*parts, ("elements[0][images][]", ("a.png", SECOND))])
    text = json.dumps([{"name": "fox", "images": [CDN + "a.png"]}, {"name": "Cub", "images": [URL]}])
    written = await client.post("/v1/videos", files=as_form({**plain, "elements": text}))

    assert [("element", "fox", digest(SECOND)), ("element", "Cub", digest(FIRST))] == inputs(filed) == inputs(written)
    assert filed.json()["request"] == written.json()["request"]
    long = base64.b64encode(b"\x89PNG\r\n\x1a\n" + 4 * 2**20 * b"a").decode()
    body = as_form({**plain, "elements": json.dumps([{"name": "fox", "images": [f"data:image/png;base64,{long}"]}])})
    refused = (await client.post("/v1/videos", files=body)).json()["error"]
    assert ("unsupported_image", "elements[0].images[0]") == (refused["code"], refused["param"])


def as_form(fields: dict[str, str]) -> dict[str, tuple[None, str]]:
    return {name: (None, value) for name, value in fields.items()}


@pytest.mark.parametrize(
    ("elements", "status", "param", "why"),
    [
        ([{"name": "fox", "images": [CDN + "film"]}], 422, "elements[0].images[0]", "takes image"),
        ([{"name": "fox", "images": [URL], "videos": [URL]}], 422, "elements[0].videos[0]", "takes video"),
        ([{"name": "fox"}, {"name": "cub", "images": [URL, CDN + "no"]}], 422, "elements[1].images[1]", ""),
        ([{"name": "fox", "images": [{"file_id": "file_1"}]}], 404, "elements[0].images[0]", "No file"),
        ([{"name": "fox", "images": [{"url": URL, "crop": 1}]}], 400, "elements[0].images[0].crop", "Unknown"),
        ([{"name": "fox", "images": [{"url": URL, "name": "cub"}]}], 400, "elements[0].images[0].name", "Unknown"),
        ([{"name": "fox", "pictures": [URL]}], 400, "elements[0]", "pictures"),
        ([{"name": "fox"}, {"name": "FOX"}], 422, "elements[1].name", "already"),
        ([{"name": "  "}], 422, "elements[0].name", ""),
        ([{"name": "f" * 201}], 422, "elements[0].name", ""),
    ],
)  # fmt: skip
async def test_what_cannot_be_taken_is_named(
    client: httpx.AsyncClient, tmp_path: Path, elements: list[Any], status: int, param: str, why: str
) -> None:
    """By the field of the element it is in; and nothing of the call is kept."""
    answer = await order(client, *elements)
    error = answer.json()["error"]

    assert (status, param) == (answer.status_code, error["param"]), answer.text
    assert why in error["message"]
    assert [] == (await client.get("/v1/videos")).json()["data"]
    assert [] == [each for each in (tmp_path / "media" / "inputs").rglob("*") if each.is_file()]


async def test_a_seller_s_own_word_may_be_long(client: httpx.AsyncClient) -> None:
    """Flow names a character by its account's address, two ids and its voice; such a one is taken."""
    word = f"user:12345-email:{b'somebody@example.com'.hex()}-character:{36 * 'c'}-imgs:2-voice:{36 * 'd'}"
    answer = await order(client, {"name": "fox", "voice_id": word}, characters=[{"id": word}])
    assert 200 == answer.status_code, answer.text
    assert [word] == answer.json()["request"]["characters"]
    assert 422 == (await order(client, characters=[{"id": 513 * "a"}])).status_code


async def test_a_name_means_one_thing(client: httpx.AsyncClient) -> None:
    """An element cannot be called what a reference is called: the prompt could mean either."""
    answer = await order(client, {"name": "Fox", "images": [URL]}, input_references=[{"url": URL, "name": "fox"}])
    assert (422, "elements[0].name") == (answer.status_code, answer.json()["error"]["param"])


async def test_a_quote_is_told_of_them_and_keeps_nothing(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Whoever takes no elements says so by their name."""
    asked = {"name": "fox", "images": [URL]}
    quotes = (await order(client, asked, path="/v1/quotes", model="auto")).json()["data"]
    sold = {each["offer"] for each in quotes if each["usd"] is not None}
    unsold = [reason["field"] for each in quotes if each["offer"] not in sold for reason in each["reasons"]]

    assert "sandbox:sandbox/demo" in sold
    assert "elements" in unsold
    assert not (tmp_path / "media" / "inputs").exists() or [] == [*(tmp_path / "media" / "inputs").rglob("*.png")]


async def test_the_same_call_is_the_same_order(client: httpx.AsyncClient) -> None:
    """Known by what shows its elements, however the file is named; another picture is another call."""
    key = {"idempotency-key": "fox"}
    body = {**ORDER, "elements": [{"name": "fox", "images": [URL]}]}
    first, again = [(await client.post("/v1/videos", json=body, headers=key)).json()["id"] for _ in range(2)]
    body["elements"] = [{"name": "fox", "images": [CDN + "a.png"]}]
    other = await client.post("/v1/videos", json=body, headers=key)

    assert first == again
    assert 422 == other.status_code
