"""Laws of pictures that a seller does not take as they are, from the client's call to the seller's wire."""

import base64
import io
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from gateway.cli.quote import quotes_table
from gateway.store.database import Kind
from tests import databases
from tests.api.test_seed_uses import CONFIG, FLOW, TOKEN, Shop, asset_id, sell
from tests.server import eventually
from tests.upstream import selling

FAST = "flow:google/veo-3.1-fast"


@pytest.fixture(autouse=True, scope="module", params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each of the databases."""
    with databases.using(request.param):
        yield request.param


@pytest.fixture(scope="module")
def shop(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A gateway with an account at Flow, and Vertex AI's beside it to be quoted."""
    folder = tmp_path_factory.mktemp(f"converted-{kind}")
    with selling(folder, sell) as upstream:
        config = f'{CONFIG}\n[accounts.vertex]\nprovider = "vertex"\n'
        built = Shop(folder, upstream, config, USEAPI_TOKEN=TOKEN, GOOGLE_CLOUD_PROJECT="a-project")
        yield built
        built.http.close()
        built.server.stop()


def drawn(kind: str, colour: str = "teal") -> bytes:
    out = BytesIO()
    Image.new("RGB", (128, 72), colour).save(out, kind)
    return out.getvalue()


def frame(data: bytes) -> dict[str, Any]:
    return {"input_reference": {"image_url": f"data:;base64,{base64.b64encode(data).decode()}"}}


def notices(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in one["warnings"] if each["type"] == "converted"]


@pytest.mark.parametrize(
    ("picture", "converted"), [("GIF", {"flow", "vertex"}), ("WEBP", {"vertex"}), ("PNG", set()), ("JPEG", set())]
)
def test_a_quote_says_who_needs_it_converted(shop: Shop, picture: str, converted: set[str], tmp_path: Path) -> None:
    """Everybody can make it; of whom it will be converted for, the field and both types are named."""
    model = {"model": "google/veo-3.1-fast", "seconds": 8, "prompt": "a kite"}
    answer = shop.http.post("/v1/quotes", json={**model, **frame(drawn(picture))}).json()
    quoted = {each["provider"]: each for each in answer["data"] if each["provider"] in {"flow", "vertex"}}
    assert {"flow": True, "vertex": True} == {name: each["can"] for name, each in quoted.items()}
    assert converted == {name for name, each in quoted.items() if notices(each)}
    screen = io.StringIO()
    Console(file=screen, width=200).print(quotes_table([*quoted.values()]))
    for name in converted:
        (notice,) = quoted[name]["warnings"]
        assert "frame_images" == notice["feature"]
        assert f"not image/{picture.lower()}; this one is converted for it" in notice["details"]
        assert f"note: {name}:google/veo-3.1-fast: {notice['details']}" in screen.getvalue()
    assert len(converted) == screen.getvalue().count("note: ")


def test_a_seller_is_handed_what_it_takes(shop: Shop) -> None:
    """A GIF goes up as the same picture in PNG; the video shows the GIF, says that it was converted, and is made."""
    gif = drawn("GIF")
    video = shop.finished(shop.order(model=FAST, prompt="a kite", seconds=8, **frame(gif)))
    (upload,) = [each for each in shop.upstream.seen if each.path.startswith(f"{FLOW}/assets")]
    assert "image/png" == upload.headers["content-type"]
    with Image.open(BytesIO(upload.body)) as handed, Image.open(BytesIO(gif)) as given:
        assert ("PNG", given.size) == (handed.format, handed.size)
        assert given.convert("RGB").tobytes() == handed.convert("RGB").tobytes()
    (order,) = shop.upstream.calls(f"{FLOW}/videos")
    assert asset_id(upload.body) == order.json["startImage"]
    (shown,) = video["request"]["inputs"]
    assert ("image/gif", len(gif)) == (shown["media_type"], shown["bytes"])
    assert 1 == len(notices(video))


def test_a_broken_picture_costs_nothing(shop: Shop) -> None:
    """Its header was whole: the video fails at once, says which field and what to send, and no seller heard of it."""
    whole = Image.effect_noise((200, 160), 90).convert("RGB")
    out = BytesIO()
    whole.save(out, "GIF")
    before = len(shop.upstream.seen)
    name = shop.order(model=FAST, prompt="a kite", seconds=8, **frame(out.getvalue()[:-2_000]))
    eventually(lambda: shop.http.get(f"/v1/videos/{name}").json()["status"] == "failed")
    video = shop.http.get(f"/v1/videos/{name}").json()
    assert ("unsupported_image", "frame_images") == (video["error"]["code"], video["error"]["param"])
    assert "send it with a new call as a PNG or JPEG" in video["error"]["message"]
    assert (0, []) == (video["usage"]["cost"], shop.http.get(f"/v1/videos/{name}/attempts").json()["data"])
    assert before == len(shop.upstream.seen)
