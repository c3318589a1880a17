"""A second gateway as Google: what our own adapter orders, our own surface sells, and each keeps the other honest."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.server import Server, eventually

FAST = "google/veo-3.1-fast"
OMNI = "google/gemini-omni-1.2-flash"

# A word in the prompt, and what the client at this end must read.
FAULTS = {
    "[fail]": ("failed", "generation_failed"),
    "[refuse]": ("failed", "content_policy_violation"),
    "[reject]": ("failed", "generation_failed"),
    "[block]": ("failed", "content_policy_violation"),
    "[throttle]": ("completed", None),
    "[unavailable]": ("completed", None),
    "[vanish]": ("failed", "generation_failed"),
    "[lost]": ("completed", None),
}


class Pair:
    """Hold a gateway whose one account is Gemini's, and the gateway that stands in for Google."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def order(self, model: str, **words: Any) -> str:
        """Order a clip."""
        answer = self._client.post("/videos", json={"model": model, "prompt": "a cat", **words})
        assert 200 == answer.status_code, answer.text
        return str(answer.json()["id"])

    def ended(self, id_: str) -> dict[str, Any]:
        """Wait for a clip, and read the job."""
        eventually(lambda: self.job(id_)["status"] in {"completed", "failed"}, seconds=110)
        return self.job(id_)

    def job(self, id_: str) -> dict[str, Any]:
        """Read a job."""
        found: dict[str, Any] = self._client.get(f"/videos/{id_}").json()
        return found

    def post(self, path: str) -> httpx.Response:
        """Tell the gateway something."""
        return self._client.post(path, json={})


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Start both, the one with the other's key."""
    far, folder = Server(tmp_path_factory.mktemp("far")), tmp_path_factory.mktemp("near")
    near = Server(folder, GEMINI_API_KEY=far.create_key("--name", "near"))
    near.module = far.module = "tests.hasty"
    # Veo has ended on the Developer API; who stands in for it still sells it.
    offers = "\n".join(f'[offers."gemini:{model}"]\nenabled = true' for model in ("google/veo-3.1", FAST))
    account = f'[accounts.gemini]\nprovider = "gemini"\nbase_url = "{far.url}"\nmax_running = 32'
    (folder / "config.toml").write_text(f"{offers}\n{account}\n")
    key = near.create_key("--name", "app")
    far.start()
    try:
        near.start()
        try:
            with httpx.Client(base_url=near.api, headers={"x-api-key": key}, trust_env=False, timeout=30) as client:
                yield Pair(client)
        finally:
            near.stop()
    finally:
        far.stop()


@pytest.fixture(scope="module")
def picture() -> str:
    """Draw a picture, as a data URL."""
    drawn = io.BytesIO()
    Image.linear_gradient("L").resize((640, 360)).convert("RGB").save(drawn, "PNG")
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"


@pytest.fixture(scope="module")
def made(pair: Pair, picture: str) -> dict[str, dict[str, Any]]:
    """Make a clip in every mode the two dialects can express, and one for every fault, all at the same time."""
    first, last = ({"url": picture, "frame_type": f"{which}_frame"} for which in ("first", "last"))
    veo: dict[str, Any] = {"seconds": 4, "resolution": "720p"}
    omni: dict[str, Any] = {"seconds": 3, "resolution": "360p", "aspect_ratio": "9:16"}
    first_round = {
        "veo text": pair.order("google/veo-3.1", **veo, seed=7, negative_prompt="blur"),
        "veo first frame": pair.order("google/veo-3.1", **veo, frame_images=[first]),
        "veo frames": pair.order("google/veo-3.1", **veo, frame_images=[first, last]),
        "veo references": pair.order(FAST, input_references=[{"url": picture}] * 3),
        "omni text": pair.order(OMNI, **omni, seed=7),
        "omni first frame": pair.order(OMNI, **omni, frame_images=[first]),
        "omni frames": pair.order(OMNI, **omni, frame_images=[first, last]),
        "omni references": pair.order(OMNI, **omni, input_references=[{"url": picture}] * 2),
        **{f"veo {word}": pair.order(FAST, **{**veo, "prompt": f"a cat {word}"}) for word in FAULTS},
        **{f"omni {word}": pair.order(OMNI, **{**omni, "prompt": f"a cat {word}"}) for word in FAULTS},
    }
    ended = {name: pair.ended(id_) for name, id_ in first_round.items()}
    second_round = {
        "veo extended": pair.order("google/veo-3.1", task="extend", video={"id": first_round["veo text"]}),
        "omni edited": pair.order(OMNI, task="edit", video={"id": first_round["omni text"]}),
        "omni extended": pair.order(OMNI, task="extend", seconds=3, video={"id": first_round["omni text"]}),
        "omni upscaled": pair.order(OMNI, task="upscale", resolution="720p", video={"id": first_round["omni text"]}),
    }
    return {**ended, **{name: pair.ended(id_) for name, id_ in second_round.items()}}


MODES = {
    "veo text": ("veo", "text"),
    "veo first frame": ("veo", "first_frame"),
    "veo frames": ("veo", "frames"),
    "veo references": ("veo", "reference"),
    "veo extended": ("veo", "extend"),
    "omni text": ("interactions", "text"),
    "omni first frame": ("interactions", "first_frame"),
    "omni frames": ("interactions", "frames"),
    "omni references": ("interactions", "reference"),
    "omni edited": ("interactions", "edit"),
    "omni extended": ("interactions", "extend"),
    "omni upscaled": ("interactions", "upscale"),
}
"""What is made, by which way, from what."""


@pytest.mark.parametrize("name", MODES)
def test_every_mode_is_made(made: dict[str, dict[str, Any]], name: str) -> None:
    """What one gateway orders in Google's words, the other makes as it was ordered."""
    job = made[name]
    assert "completed" == job["status"], job["error"]
    assert MODES[name][1] == job["request"]["mode"]
    clip = job["outputs"][0]
    assert [] == [each["feature"] for each in job["warnings"] if each["type"] == "mismatch"]
    assert "gemini" == job["provider"]
    assert clip["has_audio"] is True


def test_shape_and_length_arrive(made: dict[str, dict[str, Any]]) -> None:
    """Seconds, resolution and ratio come through both dialects unchanged, and an edit keeps its source's."""
    shapes = {
        name: (round(made[name]["outputs"][0]["duration_seconds"]), made[name]["outputs"][0]["width"])
        for name in ("veo text", "omni text", "omni edited", "omni extended", "omni upscaled")
    }

    assert {
        "veo text": (4, 1280),
        "omni text": (3, 360),
        "omni edited": (3, 360),
        "omni extended": (6, 360),
        "omni upscaled": (3, 720),
    } == shapes


@pytest.mark.parametrize("word", FAULTS)
@pytest.mark.parametrize("route", ["veo", "omni"])
def test_faults_come_through_as_what_they_are(made: dict[str, dict[str, Any]], route: str, word: str) -> None:
    """A failure stays a failure, a refusal a refusal, and what passes is made: through two gateways."""
    job = made[f"{route} {word}"]

    assert FAULTS[word] == (job["status"], job["error"] and job["error"]["code"])


@pytest.mark.parametrize("route", ["veo", "omni"])
def test_what_is_refused_costs_nothing(made: dict[str, dict[str, Any]], route: str) -> None:
    """A clip the policy took is charged to nobody."""
    assert 0 == made[f"{route} [refuse]"]["usage"]["cost"]


def test_a_cancel_reaches_the_far_end(pair: Pair) -> None:
    """An interaction cancelled here is cancelled there, and that is the verdict."""
    id_ = pair.order(OMNI, prompt="a cat [stuck]", seconds=3)
    eventually(lambda: pair.job(id_)["status"] == "in_progress")

    assert pair.post(f"/videos/{id_}/cancel").is_success
    assert "cancelled" == pair.ended(id_)["error"]["code"]
