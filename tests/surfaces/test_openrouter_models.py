"""Laws of what OpenRouter's clients are shown: each value can be ordered, each price is somebody's to pay."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from providers.base.listing import listings
from tests.market import CONFIG, trading
from tests.surfaces.conftest import as_url, picture

WORLD = "https://video.gateway.test"
FRAME = {"type": "image_url", "image_url": {"url": as_url(picture())}}
WAYS: list[dict[str, Any]] = [
    {},
    {"frame_images": [{**FRAME, "frame_type": "first_frame"}]},
    {"frame_images": [{**FRAME, "frame_type": each} for each in ("first_frame", "last_frame")]},
    {"input_references": [FRAME]},
]
"""What a call brings, one after the other until it is taken."""
SUPPORTED = {
    "supported_durations": "duration",
    "supported_resolutions": "resolution",
    "supported_aspect_ratios": "aspect_ratio",
    "supported_sizes": "size",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, dict[str, Any]]]]:
    """An account at every seller that is called by nobody, and what it says it sells."""
    folder = tmp_path_factory.mktemp("openrouter")
    with trading(folder, CONFIG, REELGATE__SERVER__PUBLIC_URL=WORLD) as market:
        headers = {"authorization": f"Bearer {market.key}"}
        with httpx.Client(base_url=market.server.url, headers=headers, trust_env=False, timeout=30) as http:
            data = http.get("/api/v1/videos/models").json()["data"]
            yield http, {each["id"]: each for each in data}


def test_what_is_shown_can_be_ordered(shown: tuple[httpx.Client, dict[str, dict[str, Any]]]) -> None:
    """Every length, resolution, ratio and size of every model is taken, where it is all that a call chooses."""
    http, sold = shown
    refused = [
        (name, field, value)
        for name, model in sold.items()
        for supported, field in SUPPORTED.items()
        for value in model[supported]
        if not any(
            202
            == http.post("/api/v1/videos", json={"model": name, "prompt": "a kite", field: value, **way}).status_code
            for way in WAYS
        )
    ]

    assert {"google/veo-3.1", "google/veo-3.1-fast", "google/gemini-omni-flash", "sandbox/demo"} <= sold.keys()
    assert all(model[each] for model in sold.values() for each in SUPPORTED)
    assert [] == refused


def test_what_is_not_shown_cannot_be_ordered(shown: tuple[httpx.Client, dict[str, dict[str, Any]]]) -> None:
    """A length some listing has for extensions only is left out, and refused."""
    http, sold = shown
    lengths = {each for listing in listings().values() for offer in listing.offers for each in offer.seconds if each}
    for name in ("google/veo-3.1", "google/veo-3.1-fast"):
        left_out = lengths - {*sold[name]["supported_durations"]}
        assert 7 in left_out
        for seconds in left_out:
            said = {"model": name, "prompt": "a kite", "duration": seconds}
            assert 400 == http.post("/api/v1/videos", json=said).status_code


def test_options_for_whom_nothing_is_bought_of_are_refused(api: httpx.Client) -> None:
    """By the name the client gave, which is OpenRouter's; for whom is sold here they are taken."""
    said = {"model": "sandbox/demo", "prompt": "a kite", "duration": 1, "resolution": "360p"}
    for slug in ("google-vertex", "flow", "nobody"):
        error = api.post("/api/v1/videos", json={**said, "provider": {"options": {slug: {"a": 1}}}}).json()["error"]
        assert (400, f"provider.options.{slug}") == (error["code"], error["metadata"]["param"])
        assert f"'{slug}'" in error["message"]
    taken = api.post("/api/v1/videos", json={**said, "provider": {"options": {"sandbox": {}}}})
    assert 202 == taken.status_code


def test_prices_are_those_somebody_pays(shown: tuple[httpx.Client, dict[str, dict[str, Any]]]) -> None:
    """One price for one thing, the newest; of another plan none, of what cannot be ordered here none; free is 0."""
    _, sold = shown
    omni = sold["google/gemini-omni-flash"]["pricing_skus"]
    fast = sold["google/veo-3.1-fast"]["pricing_skus"]
    free = sold["google/veo-3.1-lite-low-priority"]["pricing_skus"]

    assert 8 == len([sku for sku in omni if sku.startswith("flow_per_video_text")]), "June's have a successor each"
    assert "0.0959952" == omni["flow_per_video_text_first_frame_frames_reference_720p_8"]
    assert [] == [sku for sku in (*omni, *fast) if any(each in sku for each in ("extend", "upscale", "ultra", "pro"))]
    assert {"0"} == {*free.values()}
