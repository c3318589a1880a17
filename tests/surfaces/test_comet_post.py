"""Laws of CometAPI's own post: its bodies work as they stand there, but for where the pictures and the clip lie."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.server import Server
from tests.surfaces.conftest import as_url, picture

CHAT = "/v1/chat/completions"

# www.cometapi.com/how-to-use-veo-3-1-api: "Maintain character consistency with reference images"
REFERENCES = """{
    "model": "veo3.1-pro",
    "messages": [
      {
        "role": "user",
        "content": "Create a cinematic 6s shot: a fashion editorial on a city rooftop at golden hour. Keep the subject look consistent with the reference images."
      }
    ],
    "extra_body": {
      "google": {
        "referenceImages": [
          { "image": { "uri": "https://example.com/ref1.jpg" }, "referenceType": "asset" },
          { "image": { "uri": "https://example.com/ref2.jpg" }, "referenceType": "asset" },
          { "image": { "uri": "https://example.com/ref3.jpg" }, "referenceType": "asset" }
        ],
        "config": {
          "resolution": "1080p",
          "durationSeconds": 6,
          "fps": 24,
          "aspectRatio": "16:9",
          "generateAudio": true
        }
      }
    }
  }"""  # noqa: E501
# "First-and-last frame transitions"
FRAMES = """{
    "model": "veo-3.1",
    "messages": [
      {
        "role": "user",
        "content": "Interpolate between these two images to create an 8s cinematic morph: from 'sunlit victorian parlor' (first) to 'overgrown ruin' (last). Add soft ambient sound."
      }
    ],
    "extra_body": {
      "google": {
        "image": { "uri": "https://example.com/first_frame.jpg" },
        "lastFrame": { "uri": "https://example.com/last_frame.jpg" },
        "config": {
          "resolution": "1080p",
          "durationSeconds": 8,
          "fps": 24,
          "aspectRatio": "16:9",
          "generateAudio": true
        }
      }
    }
  }"""  # noqa: E501
# "Scene extension"
EXTENSION = """{
    "model": "veo-3.1",
    "messages": [
      {
        "role": "user",
        "content": "Extend the last scene: the origami butterfly flies into the garden and a puppy runs up to the flower; continue action for ~7 seconds."
      }
    ],
    "extra_body": {
      "google": {
        "video": { "uri": "https://storage.googleapis.com/your-bucket/butterfly_video_id.mp4" },
        "config": {
          "numberOfVideos": 1,
          "resolution": "720p",
          "durationSeconds": 7,
          "fps": 24,
          "generateAudio": true
        }
      }
    }
  }"""  # noqa: E501

BUYER = """
[accounts.sandbox]
provider = "sandbox"
enabled = false

[accounts.comet]
provider = "cometapi"
base_url = "{url}"

[offers."cometapi:cometapi/veo-3.1"]
usd = "0.40"
"""


@pytest.fixture(scope="module")
def buyer(guarded: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway that has CometAPI alone, which is another with the sandbox behind the same chat; and a client of it."""
    seller, key = guarded
    shop = Server(tmp_path_factory.mktemp("buyer"), COMETAPI_KEY=key)
    shop.module = "tests.hasty"
    (shop.folder / "config.toml").write_text(BUYER.format(url=seller.url))
    mine = {"authorization": f"Bearer {shop.create_key('--name', 'app')}"}
    with ExitStack() as stack:
        shop.start()
        stack.callback(shop.stop)
        yield stack.enter_context(httpx.Client(base_url=shop.url, headers=mine, trust_env=False, timeout=100))


@pytest.fixture(params=["sandbox", "bought"])
def client(request: pytest.FixtureRequest) -> httpx.Client:
    """Whom the post's reader calls instead of CometAPI."""
    found: httpx.Client = request.getfixturevalue({"sandbox": "api", "bought": "buyer"}[request.param])
    return found


PICTURES = {
    "ref1": "red", "ref2": "blue", "ref3": "green", "first_frame": "red", "last_frame": "blue",
}  # fmt: skip


def placed(body: str, **places: str) -> str:
    """Put places that can be reached into a body."""
    for name, url in places.items():
        body = re.sub(rf"https://[\w./-]*{name}\.\w+", lambda _, url=url: url, body)
    assert "example.com" not in body
    return body


def pictured(body: str) -> str:
    """Put pictures into a body."""
    return placed(body, **{name: as_url(picture(colour)) for name, colour in PICTURES.items()})


def chat(client: httpx.Client, body: str) -> tuple[dict[str, Any], httpx.Response]:
    """Send a body as curl does; answers the video it stands for, and what it said."""
    answer = client.post(CHAT, content=body, headers={"content-type": "application/json"}, timeout=100)
    assert "x-reelgate-video" in answer.headers, answer.text
    video: dict[str, Any] = client.get(f"/v1/videos/{answer.headers['x-reelgate-video']}").json()
    return video, answer


@pytest.mark.parametrize(
    ("body", "seller", "asked"),
    [
        (REFERENCES, "cometapi/veo3.1-pro-references", ("reference", ["reference"] * 3, "1920x1080", 6)),
        (FRAMES, "cometapi/veo-3.1", ("frames", ["first_frame", "last_frame"], "1920x1080", 8)),
    ],
    ids=["references", "frames"],
)
def test_what_the_post_orders_is_taken_as_it_stands(
    client: httpx.Client, body: str, seller: str, asked: tuple[Any, ...]
) -> None:
    """Three references for six seconds at 1080p, a clip between two frames; failed on purpose, to draw neither."""
    video, answer = chat(client, pictured(body).replace('"content": "', '"content": "[fail] '))
    request = video["request"]

    assert (422, "failed") == (answer.status_code, video["status"]), answer.text
    assert asked == (request["mode"], [each["role"] for each in request["inputs"]], video["size"], request["seconds"])
    assert (24, True) == (request["fps"], request["audio"])
    assert seller == video["resolved_model"] or (video["provider"], "frames") == ("sandbox", request["mode"])


@pytest.mark.timeout(180)
def test_the_post_s_extension_goes_on_from_the_link_it_was_answered(client: httpx.Client) -> None:
    """Seven seconds more of a clip made by the same name, however its link is written."""
    small = FRAMES.replace("1080p", "720p").replace('"durationSeconds": 8', '"durationSeconds": 4')
    _, answer = chat(client, pictured(small))
    link = re.search(r"\[▶️ Watch Online\]\((.+?)\)", answer.json()["choices"][0]["message"]["content"])
    assert link, answer.text
    video, answer = chat(client, placed(EXTENSION, butterfly_video_id=link[1]))

    assert (200, "completed") == (answer.status_code, video["status"]), answer.text
    assert ("extend", 7, "720p") == tuple(video["request"][name] for name in ("mode", "seconds", "resolution"))
    assert {"sandbox"} >= {each["type"] for each in video["warnings"]}
