"""
What an app does with Google's SDK, call by call; prints one line of JSON with what it found.

    python genai_flows.py http://127.0.0.1:8080 KEY FOLDER

google-genai 2.x sends Veo to the Developer API; 3.x knows Veo on Vertex only, and Omni by interactions. Nothing but
``google.genai`` and the standard library may be imported. The folder holds ``first.png`` and takes what is downloaded.
"""

import asyncio
import base64
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types

MAJOR = int(genai.__version__.partition(".")[0])
VEO = "veo-3.1-fast-generate-preview"
OMNI = "gemini-omni-1.1-flash"
FORMAT = {"type": "video", "aspect_ratio": "16:9", "duration": "4s", "resolution": "360p"}
BY_URI = {**FORMAT, "delivery": "uri"}


class Token(Credentials):
    """Stand in for a Google account: the gateway's key is the token."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.token = key

    def refresh(self, request: Any) -> None:
        """Stay as it is."""


class App:
    """One app: its clients, and a place for its files."""

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self.folder = folder
        self.picture = (folder / "first.png").read_bytes()
        self.image = types.Image(image_bytes=self.picture, mime_type="image/png")
        self.client = self.connect(url, key)
        self.wrong = self.connect(url, "rgk_wrong")
        vertex: dict[str, Any] = {"project": "p", "location": "us-central1", "credentials": Token(key)}
        self.vertex = genai.Client(vertexai=True, http_options={"base_url": url}, **vertex)

    def connect(self, url: str, key: str) -> genai.Client:
        """Make a client of the Developer API as an app does."""
        return genai.Client(api_key=key, http_options={"base_url": url})

    def ended(self, client: genai.Client, operation: Any) -> Any:
        """Wait for an operation."""
        while not operation.done:
            time.sleep(0.2)
            operation = client.operations.get(operation)
        return operation

    def made(self, **words: Any) -> Any:
        """Order a clip of Veo and wait."""
        config = {"duration_seconds": 4, **words.pop("config", {})}
        return self.ended(self.client, self.client.models.generate_videos(model=VEO, config=config, **words))

    def watched(self, interaction: Any) -> Any:
        """Wait for an interaction."""
        while interaction.status == "in_progress":
            time.sleep(0.2)
            interaction = self.client.interactions.get(interaction.id)
        return interaction


def refusal(call: Callable[[], Any]) -> list[Any]:
    """Say how a call is refused."""
    try:
        call()
    except errors.APIError as error:
        details = (error.details or {}).get("error", {}).get("details", [])
        violations = [each for detail in details for each in detail.get("fieldViolations", [])]
        return [error.code, error.status, violations[0]["field"] if violations else None]
    return ["not refused"]


def clip(data: bytes) -> list[Any]:
    """Say what a clip is."""
    return [data[4:8].decode("latin-1"), len(data) > 10_000]


# Veo on the Developer API


def veo(app: App) -> Any:
    words = {"aspect_ratio": "9:16", "resolution": "720p", "negative_prompt": "blur", "number_of_videos": 1}
    ordered = app.client.models.generate_videos(
        model=VEO, prompt="A calico kitten", config={"duration_seconds": 4, **words}
    )
    ended = app.ended(app.client, ordered)
    generated = ended.response.generated_videos[0]
    data = app.client.files.download(file=generated.video)
    generated.video.save(str(app.folder / "veo.mp4"))
    return {
        "ordered": [ordered.done, ordered.name.startswith(f"models/{VEO}/operations/")],
        "ended": [ended.done, ended.error, ended.name == ordered.name],
        "clip": clip(data),
        "saved": clip((app.folder / "veo.mp4").read_bytes()),
    }


def veo_media(app: App) -> Any:
    reference = types.VideoGenerationReferenceImage(image=app.image, reference_type="ASSET")
    first = app.made(prompt="go", image=app.image, config={"last_frame": app.image}).response.generated_videos[0]
    return {
        "image": len(app.made(prompt="go", image=app.image).response.generated_videos),
        "frames": first.video.uri is not None,
        "references": len(
            app.made(
                prompt="go", config={"reference_images": [reference], "duration_seconds": 8}
            ).response.generated_videos
        ),
        "extended": len(
            app.made(prompt="go on", video=first.video, config={"duration_seconds": 8}).response.generated_videos
        ),
    }


def veo_ends_badly(app: App) -> Any:
    filtered = app.made(prompt="a cat [refuse]").response
    failed = app.made(prompt="a cat [fail]")
    return {
        "filtered": [filtered.rai_media_filtered_count, filtered.rai_media_filtered_reasons, filtered.generated_videos],
        "failed": failed.error,
    }


def veo_refused(app: App) -> Any:
    def order(client: genai.Client = app.client, model: str = VEO, **config: Any) -> Callable[[], Any]:
        return lambda: client.models.generate_videos(model=model, prompt="a cat", config=config or None)

    nobody = types.GenerateVideosOperation(name=f"models/{VEO}/operations/{'0' * 32}")
    return {
        "length": refusal(order(duration_seconds=5)),
        "resolution": refusal(order(resolution="8k")),
        "count": refusal(order(number_of_videos=5)),
        "model": refusal(order(model="veo-9")),
        "key": refusal(order(client=app.wrong)),
        "operation": refusal(lambda: app.client.operations.get(nobody)),
        "file": refusal(lambda: app.client.files.download(file=f"files/{'0' * 32}")),
    }


def listed(app: App) -> Any:
    names = [each.name for each in app.client.models.list()]
    words = refusal(lambda: app.client.models.generate_content(model=VEO, contents="a cat"))
    return [f"models/{VEO}" in names, f"models/{OMNI}" in names, app.client.models.get(model=VEO).display_name, words]


# Files


def files(app: App) -> Any:
    files = app.client.files
    uploaded = files.upload(file=str(app.folder / "first.png"))
    long = io.BytesIO(app.picture + bytes(9 << 20))
    pieces = files.upload(file=long, config={"mime_type": "image/png", "display_name": "A long one"})
    later = asyncio.run(app.client.aio.files.upload(file=str(app.folder / "first.png")))
    (app.folder / "notes.txt").write_text("no picture")
    made = _made(app, uploaded.uri)
    clip_ = files.get(name=made)
    for each in (made, uploaded.name, pieces.name):
        files.delete(name=each)
    names = [each.name for each in files.list(config={"page_size": 1})]
    return {
        "uploaded": [uploaded.mime_type, uploaded.state.name, uploaded.source.name],
        "size": uploaded.size_bytes == len(app.picture),
        "hash": uploaded.sha256_hash == base64.b64encode(hashlib.sha256(app.picture).digest()).decode(),
        "two days": round((uploaded.expiration_time - uploaded.create_time).total_seconds() / 3600),
        "pieces": [pieces.size_bytes == len(long.getvalue()), pieces.display_name],
        "listed": [later.name in names, uploaded.name in names],
        "got": files.get(name=later.name) == later,
        "clip": [clip_.mime_type, clip_.source.name],
        "refused": {
            "text": refusal(lambda: files.upload(file=str(app.folder / "notes.txt"))),
            "key": refusal(lambda: app.wrong.files.upload(file=str(app.folder / "first.png"))),
            "name": refusal(lambda: files.upload(file=str(app.folder / "first.png"), config={"name": "mine"})),
            "deleted": refusal(lambda: files.get(name=uploaded.name)),
            "deleted clip": refusal(lambda: files.download(file=made)),
        },
    }


def _made(app: App, uri: str) -> str:
    """Make a clip of an uploaded picture; of Veo, whose SDK hands pictures over only as bytes, of an uploaded clip."""
    if MAJOR > 2:
        parts = [{"type": "image", "uri": uri}, {"type": "text", "text": "go"}]
        words: dict[str, Any] = {"model": OMNI, "input": parts, "response_format": BY_URI}
        return str(app.client.interactions.create(**words).output_video.uri)
    first = app.made(prompt="go").response.generated_videos[0].video
    app.client.files.download(file=first)
    source = io.BytesIO(first.video_bytes)
    uploaded = app.client.files.upload(file=source, config={"mime_type": "video/mp4"})
    made = app.made(prompt="go on", video=types.Video(uri=uploaded.uri), config={"duration_seconds": 8})
    app.client.files.delete(name=uploaded.name)
    return str(made.response.generated_videos[0].video.uri)


# Veo on Vertex


def vertex(app: App) -> Any:
    def order(prompt: str, **config: Any) -> Any:
        return app.vertex.models.generate_videos(
            model="veo-3.1-generate-001", prompt=prompt, config={"duration_seconds": 4, **config}
        )

    ordered = order("A calico kitten", seed=7)
    ended = app.ended(app.vertex, ordered)
    video = ended.response.generated_videos[0].video
    filtered = app.ended(app.vertex, order("a cat [refuse]")).response
    return {
        "name": ordered.name.partition("/operations/")[0],
        "clip": [*clip(video.video_bytes), video.mime_type],
        "filtered": [filtered.rai_media_filtered_count, filtered.generated_videos],
        "failed": app.ended(app.vertex, order("a cat [fail]")).error,
        "bucket": refusal(lambda: order("x", output_gcs_uri="gs://b/c")),
        "silent": refusal(lambda: order("a cat [fail]", generate_audio=False)),
        "rate": refusal(lambda: order("x", fps=30)),
    }


# Omni by interactions


def omni(app: App) -> Any:
    ordered = app.client.interactions.create(model=OMNI, input="A kitten", background=True, response_format=BY_URI)
    ended = app.watched(ordered)
    data = app.client.files.download(file=ended.output_video.uri)
    edited = app.client.interactions.create(
        model=OMNI,
        input="make it rain",
        previous_interaction_id=ended.id,
        generation_config={"video_config": {"task": "edit"}},
        response_format={"type": "video"},
    )
    return {
        "ordered": [ordered.status, ordered.model, ordered.id.startswith("v1_")],
        "ended": [ended.status, clip(data)],
        "edited": [edited.status, edited.previous_interaction_id == ended.id, clip(_bytes(edited))],
    }


def _bytes(interaction: Any) -> bytes:
    return base64.b64decode(interaction.output_video.data)


def omni_media(app: App) -> Any:
    picture = {"type": "image", "data": base64.b64encode(app.picture).decode(), "mime_type": "image/png"}
    text = {"type": "text", "text": "animate"}

    def make(task: str | None, *pictures: dict[str, str]) -> str:
        config = {"seed": 5, **({"video_config": {"task": task}} if task else {})}
        words: dict[str, Any] = {"generation_config": config, "response_format": [BY_URI]}
        return str(app.client.interactions.create(model=OMNI, input=[*pictures, text], **words).status)

    return {
        "image": make("image_to_video", picture),
        "frames": make("image_to_video", picture, picture),
        "references": make("reference_to_video", picture, picture),
        "unsaid": make(None, picture),
    }


def omni_streamed(app: App) -> Any:
    def kinds(prompt: str) -> list[str]:
        stream = app.client.interactions.create(model=OMNI, input=prompt, stream=True, response_format=FORMAT)
        return [each.event_type for each in stream]

    def told(last: str | None = None) -> list[Any]:
        return [each.event_id for each in app.client.interactions.get(ended.id, stream=True, last_event_id=last)]

    ended = app.client.interactions.create(model=OMNI, input="A kitten", response_format=FORMAT)
    whole = told()
    resumed = [told(last) == whole[at:] for at, last in enumerate(whole, 1)]
    return {"made": kinds("A kitten"), "failed": kinds("a cat [fail]"), "resumed": resumed}


def omni_ends_badly(app: App) -> Any:
    def end(prompt: str) -> Any:
        ended = app.client.interactions.create(model=OMNI, input=prompt, response_format=BY_URI)
        return [ended.status, *[[each.code, each.message] for each in ended.errors or []]]

    slow = app.client.interactions.create(model=OMNI, input="x [slow 60]", background=True, response_format=BY_URI)
    cancelled = app.client.interactions.cancel(slow.id)
    app.client.interactions.delete(slow.id)
    return {
        "failed": end("a cat [fail]"),
        "refused": end("a cat [refuse]"),
        "cancelled": cancelled.status,
        "deleted": _interaction_refusal(lambda: app.client.interactions.get(slow.id)),
    }


def omni_refused(app: App) -> Any:
    def order(client: genai.Client = app.client, **words: Any) -> Callable[[], Any]:
        said = {"model": OMNI, "input": "x", "background": True, **words}
        return lambda: client.interactions.create(**said)

    return {
        "length": _interaction_refusal(order(response_format={**BY_URI, "duration": "60s"})),
        "tools": _interaction_refusal(order(tools=[{"type": "google_search"}])),
        "key": _interaction_refusal(order(client=app.wrong)),
        "id": _interaction_refusal(lambda: app.client.interactions.get("v1_nobody")),
    }


def _interaction_refusal(call: Callable[[], Any]) -> list[Any]:
    try:
        call()
    except Exception as error:  # noqa: BLE001  The SDK's class for these is private.
        body = getattr(error, "body", None) or {}
        said = body.get("error", {}) if isinstance(body, dict) else {}
        violations = [each for detail in said.get("details", []) for each in detail.get("fieldViolations", [])]
        field = violations[0]["field"] if violations else None
        return [getattr(error, "status_code", repr(error)), said.get("status"), field]
    return ["not refused"]


FLOWS: list[Callable[[App], Any]] = (
    [veo, veo_media, veo_ends_badly, veo_refused, listed, files, vertex]
    if MAJOR == 2
    else [listed, files, vertex, omni, omni_media, omni_streamed, omni_ends_badly, omni_refused]
)

if __name__ == "__main__":
    url, key, folder = sys.argv[1:4]
    app = App(url, key, Path(folder))
    sys.stdout.write(json.dumps({"version": genai.__version__, "facts": {flow.__name__: flow(app) for flow in FLOWS}}))
