"""Laws of pictures inside JSON: one too long to be held as text is taken, refused and remembered as a short one is."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.cutting import WINDOW
from tests.server import Server, eventually
from tests.surfaces.conftest import picture

SHORT, LONG = WINDOW // 2, WINDOW
"""Bytes of a picture whose base64 is looked at whole, and of one whose is cut out."""
PROMPT = "a fox [reject]"
CLIP = {"model": "sandbox/demo", "prompt": PROMPT, "seconds": 1, "resolution": "360p"}
VEO = "/v1beta/models/sandbox/demo:predictLongRunning"
HOOK = {"uris": ["https://hooks.example.com/x"], "user_metadata": {"a": {"data": "x"}}}
PARAMETERS = {"durationSeconds": 1, "resolution": "360p"}


def predict(image: dict[str, Any]) -> dict[str, Any]:
    """Write an order in Google's words."""
    return {
        "instances": [{"prompt": PROMPT, "image": image}],
        "parameters": PARAMETERS,
        "labels": {"a": "x"},
        "webhookConfig": HOOK,
    }


def interact(part: dict[str, Any]) -> dict[str, Any]:
    """Write an order in the newer ones."""
    asked = {"type": "video", "duration": "1s", "resolution": "360p"}
    words = [{"type": "text", "text": PROMPT}, {"type": "image", **part}]
    more = {"background": True, "labels": {"a": "x"}, "webhook_config": HOOK}
    return {"model": "sandbox/demo", "input": words, "response_format": asked, **more}


def chat(content: Any, **google: Any) -> dict[str, Any]:
    """Write an order as a chat."""
    said = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p", "metadata": {"a": "x"}}
    more = {"google": google} if google else {}
    return {**said, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": content}], **more}


CALLS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "videos": (
        "/v1/videos",
        lambda data: {
            **CLIP,
            "input_reference": {"image_url": f"data:image/png;base64,{data}"},
            "metadata": {"a": "x"},
            "user": "x",
            "shots": [{"prompt": "x", "seconds": 1}],
            "provider_options": {"sandbox": {"data": "x"}},
        },
    ),
    "videos by name": ("/v1/videos", lambda data: {**CLIP, "input_reference": f"DATA:image/png;base64,{data}"}),
    "frames": (
        "/v1/videos",
        lambda data: {
            **CLIP, "frame_images": [{"frame_type": "first_frame", "image_url": {"url": f"data:;base64,{data}"}}]
        },
    ),
    "chat": (
        "/v1/chat/completions",
        lambda data: chat(
            [
                {"type": "text", "text": PROMPT},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            ]
        ),
    ),
    "chat in Google's words": (
        "/v1/chat/completions",
        lambda data: chat(PROMPT, image={"bytesBase64Encoded": data, "mimeType": "image/png"}),
    ),
    "openrouter": (
        "/api/v1/videos",
        lambda data: {
            "model": "sandbox/demo", "prompt": PROMPT, "duration": 1, "resolution": "360p", "trace": {"a": {"b": "x"}},
            "frame_images": [{"image_url": {"url": f"data:image/png;base64,{data}"}, "frame_type": "first_frame"}],
        },
    ),
    "kie": (
        "/api/v1/jobs/createTask",
        lambda data: {
            "model": "sandbox/demo",
            "input": {
                "prompt": PROMPT, "duration": 1, "resolution": "360p", "image_urls": [f"data:image/png;base64,{data}"]
            },
        },
    ),
    "kie's veo": (
        "/api/v1/veo/generate",
        lambda data: {"model": "sandbox/demo", "prompt": PROMPT, "imageUrls": [f"data:image/png;base64,{data}"]},
    ),
    "new-api": (
        "/veo/v1/video/create",
        lambda data: {"model": "sandbox/demo", "prompt": PROMPT, "images": [f"data:image/png;base64,{data}"]},
    ),
    "gemini": (VEO, lambda data: predict({"bytesBase64Encoded": data, "mimeType": "image/png"})),
    "gemini inline": (VEO, lambda data: predict({"inlineData": {"data": data, "mimeType": "image/png"}})),
    "interactions": ("/v1beta/interactions", lambda data: interact({"data": data, "mime_type": "image/png"})),
}  # fmt: skip
"""How each dialect that takes media inside its calls is spoken."""
OWN = re.compile(r"(video_|req_|v1_)?[0-9a-f]{16,}|\d{10,}|\d\d:\d\d:\d\dZ|(?<=bytes.:)\d+", re.ASCII)
"""What an answer says that no other does."""


def padded(size: int, colour: str) -> bytes:
    """Draw a picture of so many bytes."""
    drawn = picture(colour)
    return drawn + bytes(size - len(drawn))


def encoded(data: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode()


def newest(api: httpx.Client) -> list[Any]:
    """Say what was asked for last, and in which order."""
    return [(each["id"], each["request"]) for each in api.get("/v1/videos?limit=1").json()["data"]]


def told(answer: httpx.Response) -> tuple[int, str]:
    """Say what was answered, but for what any other call would be answered otherwise."""
    return answer.status_code, OWN.sub("", answer.text)


@pytest.mark.parametrize("name", CALLS)
def test_a_long_picture_is_taken_as_a_short_one(api: httpx.Client, name: str) -> None:
    """The answer is the same, and so is what was ordered, but for what the picture is."""
    path, write = CALLS[name]
    seen = []
    for size in (SHORT, LONG):
        data = padded(size, "teal")
        answer = api.post(path, json=write(encoded(data)))
        ((_, asked),) = newest(api)
        seen.append((told(answer), asked))
        (given,) = asked["inputs"]
        assert (hashlib.sha256(data).hexdigest(), size) == (given.pop("sha256"), given.pop("bytes"))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("spoilt", ["no picture", "no base64", "an end in the middle", "broken lines"])
def test_a_long_picture_is_refused_as_a_short_one(api: httpx.Client, name: str, spoilt: str) -> None:
    """In the same words, of the same field; and no order comes of it."""
    path, write = CALLS[name]
    before, seen = newest(api), []
    for size in (SHORT, LONG):
        data = encoded(bytes(size) if spoilt == "no picture" else padded(size, "red"))
        half = len(data) // 8 * 4
        spoil = {"no base64": "?", "an end in the middle": "====", "broken lines": "\n"}.get(spoilt, "")
        seen.append(told(api.post(path, json=write(data[:half] + spoil + data[half + len(spoil) :]))))
    assert seen[0] == seen[1]
    assert 400 <= seen[0][0] < 500
    assert before == newest(api)


def places(value: Any, *at: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """List where in a body a text stands, and which."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(each, *at, name)


def planted(body: Any, at: tuple[Any, ...], text: str) -> Any:
    """Put a text into a body at some place."""
    changed = body = deepcopy(body)
    *way, last = at
    for step in way:
        body = body[step]
    body[last] = text
    return changed


@pytest.mark.parametrize("name", CALLS)
def test_a_picture_is_never_taken_for_a_text(api: httpx.Client, guarded: tuple[Server, str], name: str) -> None:
    """Wherever a text may stand, a picture does as little as any text as long: nothing of it is told, kept or left."""
    path, write = CALLS[name]
    body = write("x")
    before = newest(api)
    url = f"data:image/png;base64,{encoded(padded(LONG, 'blue'))}"
    for at, text in places(body):
        if at[:2] == ("messages", 0) or text.endswith(",x"):
            continue  # What is said before the prompt is nobody's; and here a picture may stand.
        answers = [api.post(path, json=planted(body, at, each)) for each in (url, "x" * len(url))]
        statuses = [each.status_code for each in answers]
        assert all(400 <= status < 500 for status in statuses), (at, statuses, answers[0].text[:300])
        assert "~" not in answers[0].text
        assert "Enclosed" not in answers[0].text
    assert before == newest(api)
    eventually(lambda: not [*Path(guarded[0].folder, "media", "incoming").iterdir()])


def test_a_long_picture_is_known_again(api: httpx.Client) -> None:
    """The same call is the same order, however it is written; another picture under its key is a mistake."""
    path, write = CALLS["videos"]
    headers = {"idempotency-key": "enclosed", "content-type": "application/json"}
    same, other = (json.dumps(write(encoded(padded(LONG, colour)))) for colour in ("teal", "red"))
    first, again, escaped, wrong = (
        api.post(path, content=text, headers=headers) for text in (same, same, same.replace("/", r"\/"), other)
    )
    assert 200 == first.status_code
    assert first.json()["id"] == again.json()["id"] == escaped.json()["id"]
    assert 400 <= wrong.status_code < 500


def test_a_file_is_no_picture_inside_json(api: httpx.Client) -> None:
    """Files are sent as forms, long or short."""
    answers = [api.post("/v1/files", json={"file": f"data:;base64,{encoded(bytes(size))}"}) for size in (SHORT, LONG)]
    assert told(answers[0]) == told(answers[1])
    assert 422 == answers[0].status_code
