"""Laws of a call made again: the same call is the same job, whatever has become of the rest of the world since."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Struct

from gateway.api.create import Output, Provider, VideoCreate
from gateway.door.accept import fingerprint_of
from gateway.offers.asking import UnknownModelError
from gateway.offers.shop import Shop
from providers.base.order import Shot
from tests.outside import gateway, picture, world

ORDER = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with world() as outside:
        async with gateway(tmp_path, outside.outbound()) as client:
            yield client
    assert [] == list((tmp_path / "media" / "incoming").iterdir())


def gone(_: Shop, __: object) -> None:
    raise UnknownModelError("sandbox/demo", [])


@pytest.mark.parametrize("again", [{"idempotency-key": "k"}, {"x-stainless-retry-count": "1"}])
async def test_a_repeat_is_answered_after_its_seller_is_gone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, again: dict[str, str]
) -> None:
    """A client that is refused there orders anew, and pays twice; with or without pictures, by form or as JSON."""
    keyed = {name: value for name, value in again.items() if name == "idempotency-key"}
    calls: list[dict[str, Any]] = [
        {"json": ORDER},
        {"data": {**ORDER, "prompt": "a hen"}, "files": {"input_reference": ("a.png", picture(), "image/png")}},
    ]
    for number, call in enumerate(calls):
        mine = {name: f"{value}{number}" for name, value in keyed.items()}
        first = await client.post("/v1/videos", headers=mine, **call)
        assert first.status_code == 200, first.text
        with monkeypatch.context() as patch:
            patch.setattr(Shop, "decide", gone)
            repeat = await client.post("/v1/videos", headers=mine or again, **call)
            other = await client.post("/v1/videos", headers=again, json={**ORDER, "prompt": f"a dog {number}"})
        assert (repeat.status_code, repeat.json().get("id")) == (200, first.json()["id"])
        assert repeat.headers["idempotency-replayed"] == "true"
        assert other.status_code == 404


async def test_a_repeat_is_answered_after_its_picture_is_gone(client: httpx.AsyncClient) -> None:
    """The picture was kept with the job."""
    uploaded = await client.post("/v1/files", files={"file": ("a.png", picture(), "image/png")})
    file = uploaded.json()["id"]
    call = {**ORDER, "input_reference": {"file_id": file}}
    first = await client.post("/v1/videos", json=call, headers={"idempotency-key": "k"})
    assert (await client.delete(f"/v1/files/{file}")).status_code == 200
    repeat = await client.post("/v1/videos", json=call, headers={"idempotency-key": "k"})
    fresh = await client.post("/v1/videos", json=call, headers={"idempotency-key": "another"})

    assert (first.status_code, repeat.status_code) == (200, 200)
    assert repeat.json()["id"] == first.json()["id"]
    assert (fresh.status_code, fresh.json()["error"]["code"]) == (404, "file_not_found")


async def test_one_key_is_for_one_address(client: httpx.AsyncClient) -> None:
    """The same body at another address is another call, and answered in that address's own words."""
    mine = {"idempotency-key": "k"}
    first = await client.post("/v1/videos", json={"model": "sandbox/demo", "prompt": "a kite"}, headers=mine)
    other = await client.post("/api/v1/videos", json={"model": "sandbox/demo", "prompt": "a kite"}, headers=mine)

    assert (first.status_code, other.status_code) == (200, 400)
    assert "Idempotency-Key" in other.json()["error"]["message"]


def structs(kind: msgspec.inspect.Type) -> Iterator[type[Struct]]:
    """Find every record a type is made of."""
    match kind:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            yield cls
            yield from (each for field in fields for each in structs(field.type))
        case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.Metadata(type=inner):
            yield from structs(inner)
        case msgspec.inspect.UnionType(types=types):
            yield from (each for one in types for each in structs(one))


async def test_a_call_is_known_again_across_an_upgrade() -> None:
    """A field that is new is in no call made before: it is left out of what a call is known by, until one uses it."""
    used = [*structs(msgspec.inspect.type_info(VideoCreate))]
    assert {VideoCreate, Output, Provider, Shot} <= set(used)
    assert [each for each in used if not each.__struct_config__.omit_defaults] == []

    call = VideoCreate(prompt="a kite", seconds="1", shots=[Shot(prompt="up", seconds=1)], provider=Provider())
    said = fingerprint_of("/v1/videos", call, None, "create", None)
    assert said.startswith("ced29ff780f9e648"), "calls made before an upgrade are not known after it"
