"""
What the founding documents do by hand, done through our API: each order reaches the seller's wire as documented.

One gateway, one seller on loopback that keeps what it is told; every clip is then fetched and kept. What a sample
leaves to the seller's default, the gateway says: a clip's length is never left open.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from gateway.store.database import Kind
from tests import databases
from tests.outside import picture
from tests.server import Server, eventually
from tests.upstream import Said, Seen, Upstream, selling

EMAIL = "jo@example.com"
TOKEN, AIG, COMET = "user:1-token", "sk-aig-key", "cometapi_KEY"
FLOW = "/v1/google-flow"
CHAT = "/v1/chat/completions"

MOUNTAIN = "A serene mountain landscape at sunset, camera slowly panning right"
MOUNTAIN_2025 = "A serene mountain landscape at sunset with camera slowly panning right"
CAT = "Brave Captain Cat chasing away the pirates!"
LADY = (
    'A lady says to the dog, "Say meow meow meow." The dog looks at the lady with a surprised, frustrated look and '
    'woofs in a human voice, "What the heck lady?!"'
)
RETRIEVER = "A golden retriever running through autumn leaves at golden hour, slow dolly follow, cinematic"
FOREST = "Aerial shot over a misty pine forest at sunrise, slow forward push"
KITTEN = "Generate a cute kitten sitting on a cloud, cartoon style"
ROOFTOP = (
    "Create a cinematic 6s shot: a fashion editorial on a city rooftop at golden hour. "
    "Keep the subject look consistent with the reference images."
)
PARLOR = (
    "Interpolate between these two images to create an 8s cinematic morph: from 'sunlit victorian parlor' (first) "
    "to 'overgrown ruin' (last). Add soft ambient sound."
)
BUTTERFLY = (
    "Extend the last scene: the origami butterfly flies into the garden and a puppy runs up to the flower; "
    "continue action for ~7 seconds."
)

CONFIG = """
[accounts.flow]
provider = "flow"
plan = "ultra-200"
base_url = "{url}/v1/google-flow"
max_running = 16

[accounts.aigenerate]
provider = "aigenerate"
base_url = "{url}/api/v1"

[accounts.cometapi]
provider = "cometapi"
base_url = "{url}"

[offers."aigenerate:aigenerate/veo-3-1"]
usd = "0.40"
ceiling = true

[offers."cometapi:cometapi/veo-3.1"]
usd = "0.40"
ceiling = true
"""


def data_url(image: bytes) -> str:
    """Write a picture into an address."""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def asset_id(image: bytes) -> str:
    """Name an upload as Flow does, whose ids tell the Google account."""
    return f"user:12345-email:{EMAIL.encode().hex()}-image:{hashlib.sha256(image).hexdigest()[:12]}"


def sell(upstream: Upstream, seen: Seen) -> Said:
    """Answer as the documents show."""
    if seen.path.startswith(f"{FLOW}/assets"):
        return Said({"mediaGenerationId": {"mediaGenerationId": asset_id(seen.body)}, "email": "jo***@example.com"})
    if seen.path == f"{FLOW}/videos":
        task = base64.urlsafe_b64encode(seen.body[:600]).decode()
        return Said({"jobid": f"j1-{task}-bot:google-flow", "type": "video", "status": "created"}, 201)
    if seen.path.startswith(f"{FLOW}/jobs/"):
        name = unquote(seen.path.rpartition("/")[2])
        order = base64.urlsafe_b64decode(name.removeprefix("j1-").removesuffix("-bot:google-flow"))
        return Said({"jobid": name, "type": "video", "status": "completed", "response": made(upstream, order)})
    if seen.path == "/api/v1/jobs/createTask":
        return Said({"taskId": hashlib.md5(seen.body).hexdigest()})
    if seen.path == "/api/v1/jobs/recordInfo":
        result = json.dumps({"resultUrls": [upstream.clip(name="aig")]})
        record = {"taskId": seen.target.partition("=")[2], "state": "success", "resultJson": result}
        return Said({"code": 200, "msg": "success", "data": record})
    if seen.path == CHAT:
        return chat(upstream, seen.json)
    return Said({"error": "no such path"}, 404)


def made(upstream: Upstream, order: bytes) -> dict[str, Any]:
    """Show a finished job: in the shape of 2025 where a seed was asked for, else in that of 2026."""
    upright = b'"portrait"' in order
    size = (720, 1280) if upright else (1280, 720)
    if b'"seed":123456' in order:
        videos = [
            {"seed": 123456 + at, "mediaGenerationId": f"CAUSJ{at}", "fifeUrl": upstream.clip(name=str(at))}
            for at in range(2)
        ]
        return {
            "operations": [{"operation": {"metadata": {"video": video}}} for video in videos],
            "remainingCredits": 18760,
        }
    clip = {"mediaGenerationId": "user:12345-video:a1", "videoUrl": upstream.clip(8, size)}
    return {"media": [clip], "remainingCredits": 18760}


def chat(upstream: Upstream, asked: dict[str, Any]) -> Said:
    """Tell the log of a finished clip: as a stream where one was asked for."""
    config = asked.get("extra_body", {}).get("google", {}).get("config", {})
    size = (1920, 1080) if config.get("resolution") == "1080p" else (1280, 720)
    seconds = {6: 6, 7: 15}.get(config.get("durationSeconds"), 8)
    link = upstream.clip(seconds, size, name="chat")
    text = f"> High-quality video generated\n\n[Watch Online]({link})\n"
    if not asked.get("stream"):
        whole = {"id": "chatcmpl-1", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        return Said(whole)
    events = [
        {"id": "chatcmpl-1", "choices": [{"delta": {"content": text}}]},
        {"id": "chatcmpl-1", "choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    lines = [f"data: {json.dumps(each)}\n\n" for each in events]
    return Said("".join([*lines, "data: [DONE]\n\n"]).encode(), headers={"content-type": "text/event-stream"})


class Shop:
    """Hold the gateway, the seller behind it, and a client with a key."""

    def __init__(self, folder: Path, upstream: Upstream, config: str, **environ: str) -> None:
        (folder / "config.toml").write_text(config.format(url=upstream.url))
        self.upstream = upstream
        self.server = Server(folder, SSL_CERT_FILE=str(upstream.certificate), **environ)
        self.server.module = "tests.hasty"
        key = self.server.create_key("--name", "app")
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=self.server.url, headers=headers, trust_env=False, timeout=30)
        self.server.start()

    def order(self, **fields: Any) -> str:
        """Order a clip, and name it."""
        answer = self.http.post("/v1/videos", json=fields)
        assert 200 == answer.status_code, answer.text
        name: str = answer.json()["id"]
        return name

    def finished(self, name: str) -> dict[str, Any]:
        """Wait for a clip's end; it must be whole, and what was ordered."""
        eventually(lambda: self.http.get(f"/v1/videos/{name}").json()["status"] in {"completed", "failed"})
        video: dict[str, Any] = self.http.get(f"/v1/videos/{name}").json()
        assert "completed" == video["status"], video["error"]
        assert [] == [each for each in video["warnings"] if each["type"] == "mismatch"]
        assert b"ftyp" == self.http.get(f"/v1/videos/{name}/content").content[4:8]
        return video


@pytest.fixture(autouse=True, scope="module")
def kind() -> Iterator[Kind]:
    """One database: what a seller is sent is the same with either."""
    with databases.using("sqlite"):
        yield "sqlite"


@pytest.fixture(scope="module")
def shop(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A gateway with an account at each seller of the documents."""
    folder = tmp_path_factory.mktemp(f"seeds-{kind}")
    with selling(folder, sell) as upstream:
        built = Shop(folder, upstream, CONFIG, USEAPI_TOKEN=TOKEN, AIGENERATE_API_KEY=AIG, COMETAPI_KEY=COMET)
        yield built
        built.http.close()
        built.server.stop()


FIRST, LAST = picture((64, 36)), picture((64, 38))
REFERENCES = [picture((64, 40 + at)) for at in range(3)]

USES: dict[str, dict[str, Any]] = {
    "text": {
        "model": "flow:google/veo-3.1-fast", "prompt": MOUNTAIN, "aspect_ratio": "16:9", "duration": 8,
    },
    "first frame": {
        "model": "flow:google/veo-3.1-fast", "prompt": CAT, "aspect_ratio": "9:16",
        "input_reference": {"image_url": data_url(FIRST)},
    },
    "references": {
        "model": "flow:google/veo-3.1-fast", "prompt": LADY, "aspect_ratio": "9:16",
        "input_references": [{"image_url": data_url(REFERENCES[0])}],
    },
    "two of one": {
        "model": "flow:google/veo-3.1-fast", "prompt": MOUNTAIN_2025, "aspect_ratio": "16:9", "n": 2, "seed": 123456,
    },
    "task": {
        "model": "aigenerate:aigenerate/veo-3-1", "prompt": RETRIEVER, "aspect_ratio": "16:9", "duration": 8,
    },
    "task in Python": {
        "model": "aigenerate:aigenerate/veo-3-1", "prompt": FOREST, "aspect_ratio": "16:9", "duration": 8,
    },
    "chat": {"model": "cometapi:cometapi/veo3.1-pro", "prompt": KITTEN},
    "chat with references": {
        "model": "cometapi:cometapi/veo3.1-pro-references", "prompt": ROOFTOP, "resolution": "1080p", "duration": 6,
        "fps": 24, "aspect_ratio": "16:9", "generate_audio": True,
        "input_references": [{"image_url": data_url(each)} for each in REFERENCES],
    },
    "chat between frames": {
        "model": "cometapi:cometapi/veo-3.1", "prompt": PARLOR, "resolution": "1080p", "duration": 8, "fps": 24,
        "aspect_ratio": "16:9", "generate_audio": True,
        "frame_images": [
            {"image_url": data_url(FIRST), "frame_type": "first_frame"},
            {"image_url": data_url(LAST), "frame_type": "last_frame"},
        ],
    },
}  # fmt: skip
"""What a client asks us for."""


def config(seconds: int, resolution: str, **more: object) -> dict[str, object]:
    """Write ``extra_body.google.config`` as the post prints it."""
    return {"resolution": resolution, "durationSeconds": seconds, "fps": 24, "generateAudio": True, **more}


def said(model: str, prompt: str, **more: object) -> dict[str, object]:
    """Write a chat's body as the post prints it."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


WIRE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text": (f"{FLOW}/videos", TOKEN, {
        "prompt": MOUNTAIN, "model": "veo-3.1-fast", "aspectRatio": "landscape", "duration": 8, "async": True,
    }),
    "first frame": (f"{FLOW}/videos", TOKEN, {
        "prompt": CAT, "model": "veo-3.1-fast", "aspectRatio": "portrait", "startImage": asset_id(FIRST),
        "async": True, "duration": 8,
    }),
    "references": (f"{FLOW}/videos", TOKEN, {
        "prompt": LADY, "model": "veo-3.1-fast", "aspectRatio": "portrait",
        "referenceImage_1": asset_id(REFERENCES[0]), "async": True, "duration": 8,
    }),
    "two of one": (f"{FLOW}/videos", TOKEN, {
        "prompt": MOUNTAIN_2025, "model": "veo-3.1-fast", "aspectRatio": "landscape", "count": 2, "seed": 123456,
        "async": True, "duration": 8,
    }),
    "task": ("/api/v1/jobs/createTask", AIG, {
        "model": "google/veo-3-1", "input": {"prompt": RETRIEVER, "aspect_ratio": "16:9", "duration": 8},
    }),
    "task in Python": ("/api/v1/jobs/createTask", AIG, {
        "model": "google/veo-3-1", "input": {"prompt": FOREST, "aspect_ratio": "16:9", "duration": 8},
    }),
    "chat": (CHAT, COMET, said("veo3.1-pro", KITTEN, stream=True)),
    "chat with references": (CHAT, COMET, said("veo3.1-pro", ROOFTOP, extra_body={"google": {
        "referenceImages": [
            {"image": {"uri": data_url(each)}, "referenceType": "asset"} for each in REFERENCES
        ],
        "config": config(6, "1080p", aspectRatio="16:9"),
    }})),
    "chat between frames": (CHAT, COMET, said("veo-3.1", PARLOR, extra_body={"google": {
        "image": {"uri": data_url(FIRST)}, "lastFrame": {"uri": data_url(LAST)},
        "config": config(8, "1080p", aspectRatio="16:9"),
    }})),
}  # fmt: skip
"""What must arrive: the path, the key, the body."""


BATCH: list[tuple[str, bytes, bytes]] = [
    ("one: a kite", b"", b""),
    ("two: a kite from here", FIRST, b""),
    ("three: a kite from here to there", FIRST, LAST),
    ("four: and back", LAST, FIRST),
]
"""Prompts with the pictures each starts from and ends with."""

BATCH_CONFIG = """
[worker]
at_once = 1

[accounts.flow]
provider = "flow"
plan = "pro"
base_url = "{url}/v1/google-flow"
"""


@pytest.fixture(scope="module")
def batch(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, list[str]]]:
    """A gateway whose Flow account names its e-mail, with every prompt ordered."""
    folder = tmp_path_factory.mktemp(f"batch-{kind}")
    with selling(folder, sell) as upstream:
        shop = Shop(folder, upstream, BATCH_CONFIG, USEAPI_TOKEN=TOKEN, USEAPI_EMAIL=EMAIL)
        names = []
        for prompt, *images in BATCH:
            frames = [
                {"image_url": data_url(image), "frame_type": kind}
                for image, kind in zip(images, ("first_frame", "last_frame"), strict=True)
                if image
            ]
            fields = {"frame_images": frames} if frames else {}
            names.append(shop.order(model="google/veo-3.1-fast", prompt=prompt, aspect_ratio="16:9", **fields))
        yield shop, names
        shop.http.close()
        shop.server.stop()


@pytest.fixture(scope="module")
def orders(shop: Shop, batch: tuple[Shop, list[str]]) -> dict[str, str]:
    """Order everything at once, the batch included."""
    return {use: shop.order(**fields) for use, fields in USES.items()}


@pytest.mark.parametrize("use", USES)
def test_an_order_arrives_as_documented(shop: Shop, orders: dict[str, str], use: str) -> None:
    """One purchase, in the seller's own words, signed with its key; the clip it answers is ours to keep."""
    path, key, body = WIRE[use]
    video = shop.finished(orders[use])
    (bought,) = shop.upstream.calls(path, saying=json.dumps(USES[use]["prompt"])[1:-1])
    assert body == bought.json
    assert f"Bearer {key}" == bought.headers["authorization"]
    assert "application/json" == bought.headers["content-type"]
    assert USES[use].get("n", 1) == len([each for each in video["outputs"] if each["kind"] == "video"])


def test_pictures_are_handed_over_first(shop: Shop, orders: dict[str, str]) -> None:
    """As raw bytes of their own type; what Flow calls them is what the order names."""
    shop.finished(orders["first frame"])
    for image in (FIRST, REFERENCES[0]):
        (upload,) = (each for each in shop.upstream.seen if each.body == image)
        assert (f"{FLOW}/assets", "image/png") == (upload.path, upload.headers["content-type"])
        assert f"Bearer {TOKEN}" == upload.headers["authorization"]


def test_tasks_are_looked_at_by_their_names(shop: Shop, orders: dict[str, str]) -> None:
    """``jobs/{jobid}`` and ``recordInfo?taskId=``, each with the seller's key."""
    for use, start in (("text", f"{FLOW}/jobs/j1-"), ("task", "/api/v1/jobs/recordInfo?taskId=")):
        shop.finished(orders[use])
        looks = [each for each in shop.upstream.seen if each.target.startswith(start)]
        assert {("GET", f"Bearer {WIRE[use][1]}")} == {(each.method, each.headers["authorization"]) for each in looks}


def test_a_clip_goes_on_at_its_seller(shop: Shop, orders: dict[str, str]) -> None:
    """An extension names the earlier clip by the address its seller gave it."""
    shop.finished(orders["chat"])
    longer = shop.order(
        model="cometapi:cometapi/veo-3.1", prompt=BUTTERFLY, task="extend", previous_video_id=orders["chat"],
        resolution="720p", duration=7, fps=24, generate_audio=True,
    )  # fmt: skip
    video = shop.finished(longer)
    (bought,) = shop.upstream.calls(CHAT, saying="origami")
    google = {"video": {"uri": shop.upstream.clip(name="chat")}, "config": {"numberOfVideos": 1, **config(7, "720p")}}
    assert said("veo-3.1", BUTTERFLY, extra_body={"google": google}) == bought.json
    assert ("15", orders["chat"]) == (video["seconds"], video["parent_video_id"])


def test_a_batch_with_start_and_end_frames(batch: tuple[Shop, list[str]]) -> None:
    """A list of prompts becomes a list of jobs at one Google account; the same picture is handed over once."""
    shop, names = batch
    for at, name in enumerate(names):
        prompt, start, end = BATCH[at]
        shop.finished(name)
        (bought,) = shop.upstream.calls(f"{FLOW}/videos", saying=prompt)
        frames = {"startImage": start, "endImage": end}
        want = {name: asset_id(image) for name, image in frames.items() if image}
        plain = {"model": "veo-3.1-fast", "aspectRatio": "landscape", "duration": 8, "async": True}
        assert {"prompt": prompt, "email": EMAIL, **plain, **want} == bought.json
    uploads = [each for each in shop.upstream.seen if each.path.startswith(f"{FLOW}/assets")]
    assert {f"{FLOW}/assets/{quote(EMAIL, safe='')}"} == {each.path for each in uploads}
    assert sorted([FIRST, LAST]) == sorted(each.body for each in uploads)
