"""
Gemini Omni as Google's Interactions API sells it: create, get, cancel, delete, stream; inline or by address.

A body is snake_case. What media are for is said by ``generation_config.video_config.task``; where it is left out, one
picture is the first frame, several are references, and a clip (or ``previous_interaction_id``) is edited.
Shapes and words are those of google-genai 3.4.0; ai.google.dev/gemini-api/docs/omni.
"""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from litestar import delete, get, post
from litestar.types import ASGIApp

from gateway.api.calls import job_of, remove_clips
from gateway.api.desk import Desk, Incoming, body_of, desk, reply
from gateway.events.events import CANCELED, COMPLETED, FAILED
from gateway.events.letters import Letter, Reach
from gateway.events.sse import write_event
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Rendition
from gateway.problems import ProblemError, invalid
from gateway.surfaces._interactions import ID, Create, fields_of, read_id
from gateway.surfaces.common import (
    READ,
    WRITE,
    ClosingError,
    clips_of,
    create,
    fault_of,
    headers_of,
    hold_open,
    stream_of,
    told,
    watch,
    wish_of,
)
from gateway.surfaces.google import (
    MODELS,
    Inline,
    answer,
    asked_of,
    bare,
    clip_uri,
    letter,
    moment,
    noted,
    read,
)

EVENT = re.compile(r"e([1-9][0-9]{0,3})", re.ASCII)
"""What an event's id looks like; events are numbered alike in every telling of an interaction."""
CANCEL_SECONDS = 5.0
"""How long a cancel waits for its job to stop, before it says how the job stands."""

# Job state: interaction status. What is not over is in_progress: clients poll for that very word.
STATUS = {
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}

# What happened: Google's event. https://ai.google.dev/gemini-api/docs/webhooks
ENDED = {COMPLETED: "interaction.completed", FAILED: "interaction.failed", CANCELED: "interaction.cancelled"}


@post("/interactions", operation_id="googleCreateInteraction", **WRITE)
async def create_interaction(request: Incoming) -> ASGIApp:
    """Order a clip; answers at once in the background, else when it is made, or as it comes (``stream``)."""
    services = desk(request)
    async with body_of(request) as body:
        said = read(body.fields, Create)
        fields, names = fields_of(said, said.model and bare(said.model))
        echo: dict[str, str] = {"delivery": said.wanted.delivery or "inline"}
        if said.model:
            echo["model"] = said.model.removeprefix("models/")
        if said.previous_interaction_id:
            echo["previous_interaction_id"] = said.previous_interaction_id
        if said.webhook_config:
            echo |= noted(said.webhook_config.user_metadata)
        job = await create(request, fields, names, echo=echo, told_in="interactions", models=MODELS)
    stream, background = said.stream, said.background
    del said, fields  # Pictures are not kept in memory for as long as a clip takes.
    if stream:
        return _stream(request, job)
    if not background:
        job = await _held(request, job, services.settings.server.hold_seconds)
    return _shown(request, job)


@get("/interaction", operation_id="googleInteraction", **READ)
async def interaction(request: Incoming) -> ASGIApp:
    """Say how an interaction stands, or tell it (``stream=true``), from after an event on (``last_event_id``)."""
    job, query = await _find(request), request.query_params
    streamed, seen = query.get("stream") == "true", query.get("last_event_id", "")
    number = EVENT.fullmatch(seen)
    if seen and not (streamed and number):
        message = "last_event_id is the event_id of an event of this interaction, and goes with stream=true."
        raise invalid("last_event_id", message)
    return _stream(request, job, seen=int(number[1]) if number else 0) if streamed else _shown(request, job)


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
        return await hold_open(request, job, seconds)
    except ClosingError as error:
        return error.job


async def _find(request: Incoming) -> Job:
    """
    Find the job of the interaction asked for.

    :raises ProblemError: 404.
    """
    video = read_id(asked_of(request).id, "id")
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
    content = [_content(request, job, each, inline) for each in clips_of(job)]
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
        "created": moment(job.created_at),
        "updated": moment(job.updated_at),
    }


def _content(request: Incoming, job: Job, clip: Rendition, inline: Inline) -> dict[str, Any]:
    """Write a clip, in the answer itself or by its address, as was asked for."""
    head = {"type": "video", "mime_type": clip.content_type}
    if wish_of(job).echo.get("delivery") == "uri":
        return {**head, "uri": clip_uri(request, job, clip)}
    return {**head, "data": inline.put(clip)}


def _stream(request: Incoming, job: Job, *, seen: int = 0) -> ASGIApp:
    """Tell an interaction as it comes."""
    return stream_of(_events(request, desk(request), job, seen), job)


async def _events(request: Incoming, services: Desk, job: Job, seen: int) -> AsyncIterator[bytes]:
    """
    Write the events of an interaction, and a comment while there is nothing to tell.

    :param seen: how many the client has seen; no clip is read for those.
    """
    if not seen:
        yield _event(1, "interaction.created", interaction={**_head(job), "status": "in_progress"})
    with suppress(ClosingError):
        async for now in watch(services, job, services.settings.server.hold_seconds):
            job = now
            yield b": %d%%\n\n" % job.progress
    if job.state.final:
        for number, (kind, said, clip) in enumerate(_end(job), 2):
            if number > seen:
                inline = Inline(services.media.shelf)
                delta = {"delta": _content(request, job, clip, inline)} if clip else {}
                async for piece in inline.pieces(_event(number, kind, **said, **delta)):
                    yield piece
    else:
        # Numbered as what came before: who goes on from here has the end still to come.
        head = _head(job)
        yield _event(1, "interaction.status_update", interaction_id=head["id"], status=head["status"])
    yield b"event: done\ndata: [DONE]\n\n"


def _event(number: int, kind: str, **said: Any) -> bytes:
    """Write an event."""
    return write_event({"event_type": kind, "event_id": f"e{number}", **said}, kind=kind)


Telling = tuple[str, dict[str, Any], Rendition | None]
"""An event: its kind, what it says, and the clip that is in it."""


def _end(job: Job) -> list[Telling]:
    """List what is told of a job that has ended."""
    clips, head, fault = clips_of(job), _head(job), fault_of(job)
    told: list[Telling] = [("error", {"error": {"code": fault.code, "message": fault.message}}, None)]
    if clips:
        start: Telling = ("step.start", {"index": 0, "step": {"type": "model_output"}}, None)
        told = [start, *(("step.delta", {"index": 0}, each) for each in clips), ("step.stop", {"index": 0}, None)]
    elif head["status"] == "completed":
        head["status"] = "failed"
    return [*told, ("interaction.completed", {"interaction": head}, None)]


def call_back(job: Job, kind: str, _: Reach) -> Letter:
    """Write what a call's ``webhook_config`` is told: how its interaction ended."""
    fault = fault_of(job)
    why = {"error_code": fault.code, "error_message": fault.message} if kind == FAILED else {}
    return letter(job, ENDED[kind], {"id": ID + job.id.removeprefix("video_"), **why})


HANDLERS = (create_interaction, interaction, cancel, delete_interaction)


DIALECTS = {"interactions": call_back}
"""How interactions ordered here are told of."""
