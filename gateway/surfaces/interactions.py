"""
Gemini Omni as Google's Interactions API sells it: create, get, cancel, delete, stream; inline or by address.

A body is snake_case. What media are for is said by ``generation_config.video_config.task``; where it is left out, one
picture is the first frame, several are references, and a clip (or ``previous_interaction_id``) is edited.
Shapes and words are those of google-genai 3.4.0; ai.google.dev/gemini-api/docs/omni.
"""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from gateway.api.desk import Desk, Incoming, body_of, desk, reply
from gateway.api.order import job_of, remove_clips
from gateway.api.problems import ProblemError, invalid
from gateway.ids import is_id
from gateway.job import Job, State
from gateway.surfaces.common import (
    READ,
    WRITE,
    ClosingError,
    Stream,
    clips_of,
    create,
    fault_of,
    hold,
    told,
    watch,
    wish_of,
)
from gateway.surfaces.google import (
    Inline,
    address,
    answer,
    asked_of,
    data_url,
    file_uri,
    headers_of,
    hook,
    model_of,
    notes,
    read,
    refuse,
)
from gateway.wish import Rendition

ID = "v1_"
"""What an interaction's name starts with."""
CANCEL_SECONDS = 5.0
"""How long a cancel waits for its job to stop, before it says how the job stands."""
UNSTORED_SECONDS = 3600
"""How long a clip is kept that was not to be stored: long enough to be fetched."""

# Job state: interaction status. What is not over is in_progress: clients poll for that very word.
STATUS = {
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read an object in which every field counts."""


class _Part(_Strict, frozen=True, kw_only=True):
    """Read one piece of what is handed in."""

    type: Literal["text", "image", "video", "audio"]
    text: str | None = None
    data: str | None = None
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


class _Create(_Strict, frozen=True, kw_only=True):
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


def fields_of(said: _Create, model: str | None) -> tuple[dict[str, Any], dict[str, str]]:
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


def _media(said: _Create, parts: list[_Part], places: list[str], names: dict[str, str]) -> dict[str, Any]:
    """
    Say what each piece of media is for.

    :raises ProblemError: 422 where the task has no use for it.
    """
    task = said.generation_config.video_config.task
    held = [(each, where) for each, where in zip(parts, places, strict=True) if each.type != "text"]
    clips = [(each, where) for each, where in held if each.type == "video"]
    source: dict[str, Any] | None = None
    if said.previous_interaction_id is not None:
        source = {"id": _video(said.previous_interaction_id, "previous_interaction_id")}
        names["video"] = "previous_interaction_id"
    elif clips and task in {None, "edit", "extend", "upscale"}:
        source, names["video"] = _named(*clips[0]), clips[0][1]
        held.remove(clips[0])
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
    return data_url(part.data) if part.data is not None else address(part.uri or "", f"{where}.uri")


def _seconds(duration: str | None) -> int | None:
    """Read a length: a text with its unit."""
    if duration is None:
        return None
    found = DURATION.fullmatch(duration)
    if found is None:
        raise invalid("response_format.duration", 'duration is whole seconds with their unit: "8s".')
    return int(found[1])


def _video(id_: str, param: str) -> str:
    """
    Read an interaction's id as ours.

    :raises ProblemError: 404 for one that cannot be.
    """
    found = f"video_{id_.removeprefix(ID)}"
    if not (id_.startswith(ID) and is_id("video", found)):
        raise ProblemError(404, "interaction_not_found", "There is no interaction by that id.", param=param)
    return found


@post("/interactions", operation_id="googleCreateInteraction", **WRITE)
async def create_interaction(request: Incoming) -> ASGIApp:
    """Order a clip; answers at once in the background, else when it is made, or as it comes (``stream``)."""
    services = desk(request)
    body = await body_of(request)
    try:
        said = read(body.fields, _Create)
        model = said.model and model_of(services, said.model)
        fields, names = fields_of(said, model)
        echo: dict[str, str] = {"delivery": said.wanted.delivery or "inline"}
        if said.model:
            echo["model"] = said.model.removeprefix("models/")
        if said.previous_interaction_id:
            echo["previous_interaction_id"] = said.previous_interaction_id
        job = await create(request, fields, names, echo=echo)
    finally:
        body.drop()
    if said.stream:
        return _stream(request, job)
    if not said.background:
        job = await _held(request, job, services.settings.server.hold_seconds)
    return _shown(request, job)


@get("/interaction", operation_id="googleInteraction", **READ)
async def interaction(request: Incoming) -> ASGIApp:
    """Say how an interaction stands, or go on telling it (``stream=true``)."""
    job = await _find(request)
    if request.query_params.get("stream") == "true":
        return _stream(request, job)
    return _shown(request, job)


@post("/cancel", operation_id="googleCancelInteraction", **WRITE)
async def cancel(request: Incoming) -> ASGIApp:
    """Ask for an interaction to be stopped; one that has ended stays as it is."""
    job = await _find(request)
    services = desk(request)
    asked = await services.store.cancel(job.id, job.tenant)
    if asked is not None:
        services.wake()
        job = await _held(request, asked, CANCEL_SECONDS)
    return _shown(request, job)


@delete("/interaction", operation_id="googleDeleteInteraction", **WRITE)
async def delete_interaction(request: Incoming) -> ASGIApp:
    """Remove an ended interaction and its clip."""
    job = await _find(request)
    services = desk(request)
    if await services.store.delete(job.id, job.tenant) is None:
        raise ProblemError(409, "interaction_not_finished", "It is still being made; cancel it first.")
    await remove_clips(services, job.id)
    return reply({})


async def _held(request: Incoming, job: Job, seconds: float) -> Job:
    """
    Hold a call until its job has ended or the time is over.

    A gateway that stops lets it go as well, and says how the job stands: an error would be answered with a new order.
    """
    try:
        return await hold(request, job, seconds)
    except ClosingError:
        return await job_of(request, job.id)


async def _find(request: Incoming) -> Job:
    """
    Find the job of the interaction asked for.

    :raises ProblemError: 404.
    """
    video = _video(asked_of(request).id, "id")
    try:
        return await job_of(request, video)
    except ProblemError as problem:
        message = "There is no interaction by that id."
        raise ProblemError(404, "interaction_not_found", message, param="id") from problem


def _shown(request: Incoming, job: Job) -> ASGIApp:
    """Answer how an interaction stands."""
    inline = Inline(desk(request).media.shelf)
    return answer(_interaction(request, job, inline), inline, headers_of(request, job))


def _interaction(request: Incoming, job: Job, inline: Inline) -> dict[str, Any]:
    """Write a job as an interaction."""
    wish = wish_of(job)
    said = {**_head(job), "steps": [{"type": "user_input", "content": [{"type": "text", "text": wish.request.prompt}]}]}
    if "previous_interaction_id" in wish.echo:
        said["previous_interaction_id"] = wish.echo["previous_interaction_id"]
    content = _content(request, job, inline)
    if content:
        said["steps"].append({"type": "model_output", "content": content})
    elif job.state.final:
        fault = fault_of(job)
        said["status"] = "cancelled" if job.state is State.CANCELLED else "failed"
        if job.state is not State.CANCELLED:
            said["errors"] = [{"code": fault.code, "message": fault.message}]
        if not float(told(job)["x-reelgate-cost-usd"]):
            said["usage"] = {"total_output_tokens": 0}
    return said


def _head(job: Job) -> dict[str, Any]:
    """Write what every telling of an interaction begins with."""
    wish = wish_of(job)
    return {
        "id": ID + job.id.removeprefix("video_"),
        "object": "interaction",
        "model": wish.echo.get("model", wish.request.model),
        "status": STATUS.get(job.state, "in_progress"),
        "created": _time(job.created_at),
        "updated": _time(job.updated_at),
    }


def _content(request: Incoming, job: Job, inline: Inline) -> list[dict[str, Any]]:
    """Write the clips of a job, each in the answer itself or by its address, as was asked for."""
    by_address = wish_of(job).echo.get("delivery") == "uri"

    def write(clip: Rendition) -> dict[str, Any]:
        head = {"type": "video", "mime_type": clip.content_type}
        if by_address:
            return {**head, "uri": file_uri(request, job, clip)}
        return {**head, "data": inline.put(clip)}

    return [write(each) for each in clips_of(job)]


def _stream(request: Incoming, job: Job) -> ASGIApp:
    """Tell an interaction as it comes."""
    return Stream(_events(request, desk(request), job), told(job))


async def _events(request: Incoming, services: Desk, job: Job) -> AsyncIterator[bytes]:
    """Write the events of an interaction, and a comment while there is nothing to tell."""
    number = 0

    def event(kind: str, **more: Any) -> bytes:
        nonlocal number
        number += 1
        body = msgspec.json.encode({"event_type": kind, "event_id": f"e{number}", **more})
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), body)

    yield event("interaction.created", interaction={**_head(job), "status": "in_progress"})
    with suppress(ClosingError):
        async for seen in watch(services, job, services.settings.server.hold_seconds):
            job = seen
            yield b": %d%%\n\n" % job.progress
    inline = Inline(services.media.shelf)
    content = _content(request, job, inline)
    if content:
        yield event("step.start", index=0, step={"type": "model_output"})
        for each in content:
            async for piece in inline.pieces(event("step.delta", index=0, delta=each)):
                yield piece
        yield event("step.stop", index=0)
    elif job.state.final:
        fault = fault_of(job)
        yield event("error", error={"code": fault.code, "message": fault.message})
    head = _head(job)
    if job.state.final:
        if not content and head["status"] == "completed":
            head["status"] = "failed"
        yield event("interaction.completed", interaction=head)
    else:
        yield event("interaction.status_update", interaction_id=head["id"], status=head["status"])
    yield b"event: done\ndata: [DONE]\n\n"


def _time(milliseconds: int) -> str:
    """Write a time as Google does."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


HANDLERS = (create_interaction, interaction, cancel, delete_interaction)
