"""
Hold the Interactions API's vocabulary for what is asked: its fields, parts and steps; pure.

Shapes and words are those of google-genai 3.4.0; ai.google.dev/gemini-api/docs/omni.
"""

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.api.create import MOST_MEDIA
from gateway.ids import is_id
from gateway.problems import ProblemError, invalid
from gateway.surfaces.google import Bytes, address, hook, notes, read, refuse

ID = "v1_"
"""What an interaction's name starts with."""
UNSTORED_SECONDS = 3600
"""How long a clip is kept that was not to be stored: long enough to be fetched."""


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read an object in which every field counts."""


class _Part(_Strict, frozen=True, kw_only=True):
    """Read one piece of what is handed in."""

    type: Literal["text", "image", "video", "audio"]
    text: str | None = None
    data: Bytes | None = None
    uri: str | None = None
    mime_type: str | None = None
    resolution: str | None = None
    processing: dict[str, Any] | None = None
    name: str | None = None


class _Step(_Strict, frozen=True, kw_only=True):
    """Read one step of the input."""

    type: Literal["user_input"]
    content: list[_Part] | str


class _Format(_Strict, frozen=True, kw_only=True):
    """Read what is to come back."""

    type: Literal["video"]
    aspect_ratio: str | None = None
    resolution: str | None = None
    duration: str | None = None
    delivery: Literal["inline", "uri"] | None = None
    gcs_uri: str | None = None


class _VideoConfig(_Strict, frozen=True, kw_only=True):
    """Read what the media are for."""

    task: Literal["text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale"] | None = None


class _Config(_Strict, frozen=True, kw_only=True):
    """Read how the clip is to be made."""

    seed: int | None = None
    video_config: _VideoConfig = _VideoConfig()


class _Hook(_Strict, frozen=True, kw_only=True):
    """Read where to call back."""

    uris: list[str] = []
    user_metadata: dict[str, Any] = {}


class Create(_Strict, frozen=True, kw_only=True):
    """Read the body of a create call."""

    model: str | None = None
    input: Any = None
    response_format: _Format | Annotated[list[_Format], Meta(min_length=1, max_length=1)] | None = None
    generation_config: _Config = _Config()
    background: bool = False
    stream: bool = False
    store: bool = True
    previous_interaction_id: str | None = None
    webhook_config: _Hook | None = None
    labels: dict[str, str] = {}
    response_modalities: Annotated[list[Literal["video", "VIDEO"]], Meta(min_length=1)] | None = None
    agent: str | None = None
    agent_config: Any = None
    cached_content: str | None = None
    continuation_token: str | None = None
    environment: Any = None
    response_mime_type: str | None = None
    safety_settings: Any = None
    service_tier: str | None = None
    system_instruction: Any = None
    tools: Any = None

    @property
    def wanted(self) -> _Format:
        """What is to come back."""
        said = self.response_format
        return (said[0] if isinstance(said, list) else said) or _Format(type="video")


UNDONE = {
    "agent": "Only models are served here; name one in model.",
    "agent_config": "Only models are served here; leave agent_config out.",
    "cached_content": "Nothing is cached here; send the content itself.",
    "continuation_token": "Interactions end in one piece here; leave continuation_token out.",
    "environment": "No environment is served here; leave it out.",
    "response_mime_type": "Say what is to come back in response_format, with type video.",
    "safety_settings": "No offer here takes safety settings; leave them out.",
    "service_tier": "Offers have no tiers here; leave service_tier out.",
    "system_instruction": "Say everything in the input; no offer here takes a system instruction.",
    "tools": "Clips are made without tools; leave them out.",
}
"""Fields of the Interactions API that say nothing of a clip."""

UNDONE_PARTS = {
    "processing": "Media are handed on as they are; leave processing out.",
    "resolution": "Media are handed on as they are; leave resolution out.",
}

NAMES = {
    "seconds": "response_format.duration",
    "duration": "response_format.duration",
    "resolution": "response_format.resolution",
    "aspect_ratio": "response_format.aspect_ratio",
    "seed": "generation_config.seed",
    "task": "generation_config.video_config.task",
    "mode": "generation_config.video_config.task",
    "prompt": "input",
    "video": "input",
    "input_references": "input",
    "references": "input",
    "frame_images": "input",
    "frames": "input",
    "input_reference": "input",
    "metadata": "labels",
    "callback_url": "webhook_config.uris",
}
"""Our fields in Google's words."""

DURATION = re.compile(r"(\d{1,4})(?:\.0{1,9})?s", re.ASCII)
FRAMES = ("first_frame", "last_frame")


def fields_of(said: Create, model: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Put a call into the fields of ``POST /v1/videos``, and say what its client calls each.

    :raises ProblemError: 422 for what no field of ours can say.
    """
    refuse(said, UNDONE)
    if said.background and not said.store:
        raise invalid("store", "What is not stored cannot be made in the background; leave store out.")
    wanted, names = said.wanted, dict(NAMES)
    if wanted.gcs_uri is not None:
        raise invalid("response_format.gcs_uri", "No clip is written to a bucket from here; leave gcs_uri out.")
    parts, places = _parts(said.input)
    hooked = said.webhook_config
    return {
        "model": model,
        "prompt": "\n".join(each.text or "" for each in parts if each.type == "text"),
        "seconds": _seconds(wanted.duration),
        "resolution": wanted.resolution,
        "aspect_ratio": wanted.aspect_ratio,
        "seed": said.generation_config.seed,
        "metadata": {**said.labels, **(notes(hooked.user_metadata) if hooked else {})},
        "callback_url": hook(hooked.uris, "webhook_config.uris") if hooked else None,
        "output": None if said.store else {"retention_seconds": UNSTORED_SECONDS},
        **_media(said, parts, places, names),
    }, names


def _parts(given: Any) -> tuple[list[_Part], list[str]]:
    """
    Read the input, which may be a text, a part, parts, or steps; each part with its place.

    :raises ProblemError: 422 for anything else.
    """
    if given is None or isinstance(given, str):
        return [_Part(type="text", text=given or "")], ["input"]
    items = [given] if isinstance(given, dict) else given
    if not isinstance(items, list):
        raise invalid("input", "input is a text, or a list of parts.")
    parts: list[_Part] = []
    places: list[str] = []
    for at, each in enumerate(items):
        where = f"input[{at}]"
        if not (isinstance(each, dict) and each.get("type") == "user_input"):
            parts.append(_read(each, _Part, where))
            places.append(where)
            continue
        content = _read(each, _Step, where).content
        found = [_Part(type="text", text=content)] if isinstance(content, str) else content
        parts += found
        places += [f"{where}.content[{number}]" for number in range(len(found))]
    return parts, places


def _read(given: Any, shape: Any, where: str) -> Any:
    """Read one item of the input."""
    try:
        return read(given, shape)
    except ProblemError as problem:
        problem.param = f"{where}.{problem.param}" if problem.param else where
        raise


def _media(said: Create, parts: list[_Part], places: list[str], names: dict[str, str]) -> dict[str, Any]:
    """
    Say what each piece of media is for.

    :raises ProblemError: 422 where the task has no use for it, or nobody takes as much.
    """
    task = said.generation_config.video_config.task
    held = [(each, where) for each, where in zip(parts, places, strict=True) if each.type != "text"]
    clips = [(each, where) for each, where in held if each.type == "video"]
    source: dict[str, Any] | None = None
    if said.previous_interaction_id is not None:
        source = {"id": read_id(said.previous_interaction_id, "previous_interaction_id")}
        names["video"] = "previous_interaction_id"
    elif clips and task in {None, "edit", "extend", "upscale"}:
        source, names["video"] = _named(*clips[0]), clips[0][1]
        held.remove(clips[0])
    if len(held) > MOST_MEDIA:
        raise invalid("input", f"input takes at most {MOST_MEDIA} pictures, clips and voices.")
    kinds = [each.type for each, _ in held]
    if task == "image_to_video" or (task is None and source is None and kinds == ["image"]):
        if len(held) > len(FRAMES) or {*kinds} - {"image"}:
            raise invalid("input", "image_to_video takes one picture, or two: the first frame and the last.")
        names |= {f"frame_images[{at}]": where for at, (_, where) in enumerate(held)}
        frames = [{**_named(each, where), "frame_type": FRAMES[at]} for at, (each, where) in enumerate(held)]
        return {"frame_images": frames, "task": task}
    names |= {f"input_references[{at}]": where for at, (_, where) in enumerate(held)}
    references = [_named(each, where) for each, where in held]
    return {"video": source, "input_references": references, "task": task}


def _named(part: _Part, where: str) -> dict[str, Any]:
    """
    Name a piece of media as ``POST /v1/videos`` does.

    :raises ProblemError: 422 where it is given twice or not at all.
    """
    if (part.data is None) == (part.uri is None):
        raise invalid(where, "Give either data (base64) or uri.")
    refuse(part, UNDONE_PARTS, f"{where}.")
    return part.data.named() if part.data is not None else address(part.uri or "", f"{where}.uri")


def _seconds(duration: str | None) -> int | None:
    """Read a length: a text with its unit."""
    if duration is None:
        return None
    found = DURATION.fullmatch(duration)
    if found is None:
        raise invalid("response_format.duration", 'duration is whole seconds with their unit: "8s".')
    return int(found[1])


def read_id(id_: str, param: str) -> str:
    """
    Read an interaction's id as ours.

    :raises ProblemError: 404 for one that cannot be.
    """
    found = f"video_{id_.removeprefix(ID)}"
    if not (id_.startswith(ID) and is_id("video", found)):
        raise ProblemError(404, "interaction_not_found", "There is no interaction by that id.", param=param)
    return found
