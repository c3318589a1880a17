"""
Google Flow in useapi.net's words: ``/v1/google-flow``, for scripts written against its API.

A Google account is a label here: whatever e-mail a script names is healthy as long as anything can be ordered, and is
written into the ids of what is uploaded and made under it. An extension is served stitched to its source, as
everywhere here; joining the two, as useapi's clients do, answers that same clip. A character is an element of the
clips ordered with it.
https://useapi.net/docs/api-google-flow-v1
"""

import asyncio
import base64
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
from litestar import get, post
from litestar.types import ASGIApp

from gateway.api.calls import job_of
from gateway.api.content import Answer, deliver
from gateway.api.desk import Incoming, body_of, caller, desk, leave_of, reply
from gateway.api.files import keep_upload
from gateway.api.forms import Pieces
from gateway.clips.inputs import InputError
from gateway.clips.uploads import Upload
from gateway.events.events import CREATED, ENDED, STARTED
from gateway.events.letters import Letter, Reach
from gateway.jobs.finished import ClipError
from gateway.jobs.job import Job
from gateway.jobs.wish import Rendition, read_renditions
from gateway.problems import ProblemError, invalid
from gateway.surfaces import _flow as words
from gateway.surfaces.common import (
    READ,
    WRITE,
    base_url,
    clip_of,
    clips_of,
    create,
    ended,
    fault_of,
    reach,
    told,
)
from providers.base.order import Mode

IMAGE_MOST = 20 * 2**20
UPLOADS = frozenset({"image/png", "image/jpeg", "image/webp", "video/mp4"})


@post("/videos", operation_id="createFlowVideo", **WRITE)
async def create_video(request: Incoming) -> ASGIApp:
    """Order clips: from a prompt, frames, references, or a clip to edit."""
    return await _order(request, words.VIDEO, None)


@post("/videos/extend", operation_id="extendFlowVideo", **WRITE)
async def extend_video(request: Incoming) -> ASGIApp:
    """Let an earlier clip go on."""
    return await _order(request, words.EXTEND, Mode.EXTEND)


@post("/videos/upscale", operation_id="upscaleFlowVideo", **WRITE)
async def upscale_video(request: Incoming) -> ASGIApp:
    """Make an earlier clip larger, where an offer can."""
    return await _order(request, words.UPSCALE, Mode.UPSCALE)


@post("/videos/concatenate", operation_id="joinFlowVideos", **WRITE)
async def join_videos(request: Incoming) -> ASGIApp:
    """Answer a clip and what was extended from it as one; other clips are not joined here."""
    async with body_of(request) as body:
        words.refuse_strangers(body.fields, frozenset({"media"}))
        given = body.fields.get("media")
    if not isinstance(given, list) or not 2 <= len(given) <= 10 or not all(isinstance(each, dict) for each in given):
        raise invalid("media", "media is a list of 2 to 10 clips")
    jobs = [await _part(request, each, f"media[{at}]") for at, each in enumerate(given)]
    for at, (before, after) in enumerate(pairwise(jobs), 1):
        if after.parent != before.id or after.operation != "extend":
            message = f"media[{at}] is not an extension of the clip before it; only such clips can be joined here"
            raise invalid(f"media[{at}]", message)
    clip = clips_of(jobs[-1])[0]
    data = await desk(request).media.whole(clip)
    answer = {
        "jobId": jobs[-1].id,
        "status": words.SUCCESSFUL,
        "inputsCount": len(jobs),
        "encodedVideo": base64.b64encode(data).decode(),
    }
    return reply(answer, told(jobs[-1]))


@post("/videos/gif", operation_id="animateFlowVideo", **WRITE)
async def animate_video(request: Incoming) -> ASGIApp:
    """Draw a clip as a GIF."""
    async with body_of(request) as body:
        words.refuse_strangers(body.fields, frozenset({"mediaGenerationId"}))
        job, clip = await _clip(request, body.fields, "mediaGenerationId")
    try:
        data = await desk(request).media.animate(clip)
    except ClipError as error:
        raise invalid("mediaGenerationId", f"mediaGenerationId: {error}") from error
    return reply({"encodedGif": base64.b64encode(data).decode()}, told(job))


@get("/jobs/{name:str}", operation_id="readFlowJob", **READ)
async def read_job(request: Incoming, name: str) -> ASGIApp:
    """Say how a job stands."""
    try:
        job = await job_of(request, name)
    except ProblemError as problem:
        raise ProblemError(404, "job_not_found", "Job not found", param="jobid") from problem
    return reply(words.record(job, _media(reach(request), job)), told(job))


@post("/assets", operation_id="createFlowAsset", **WRITE)
async def create_asset(request: Incoming) -> ASGIApp:
    """Upload a picture or a clip."""
    return await _take(request, words.ACCOUNT)


@post("/assets/{name:str}", operation_id="createFlowAssetFor", **WRITE)
async def create_asset_for(request: Incoming, name: str) -> ASGIApp:
    """Upload a picture or a clip under an e-mail."""
    return await _take(request, words.read_email(name))


@get("/assets/{name:str}", operation_id="readFlowAsset", **READ)
async def read_asset(request: Incoming, name: str) -> ASGIApp:
    """Say where an upload or a clip lies; with ``?raw``, send it."""
    services, tenant = desk(request), caller(request).tenant
    found = words.read_name(name, "mediaGenerationId")
    file = await services.store.file(found.file, tenant) if found.file else None
    if file is not None:
        key, kind, size = await services.media.place_of(file.sha256), file.media_type, file.bytes
        url = base_url(request) + leave_of(request).to_file(file)
    else:
        made = await _made(request, found)
        if made is None:
            raise ProblemError(404, "asset_not_found", "Asset not found", param="mediaGenerationId")
        job, clip = made
        key, kind, size = clip.path, clip.content_type, clip.bytes
        url = reach(request).link(job, clip)
    if b"raw" not in request.scope["query_string"].replace(b"=", b"&").split(b"&"):
        return reply({"url": url, "mediaGenerationId": name})
    headers = {"content-type": kind, "content-length": str(size), "x-content-type-options": "nosniff"}
    return await deliver(request, key, Answer(200, headers, 0, size))


@get("/accounts", operation_id="listFlowAccounts", **READ)
async def list_accounts(request: Incoming) -> ASGIApp:
    """List the one account there seems to be."""
    return reply({words.ACCOUNT: _account(request)})


@get("/accounts/{name:str}", operation_id="readFlowAccount", **READ)
async def read_account(request: Incoming, name: str) -> ASGIApp:
    """Say whether anything can be ordered, and which of Flow's models."""
    if not words.read_email(name):
        raise ProblemError(404, "account_not_found", "Google Flow account not found", param="email")
    services = desk(request)
    listings = [seller.listing for seller in services.shop.sellers]
    models = [
        {"key": word, "displayName": word, "videoLengthSeconds": offer.seconds[0]}
        for word, model in words.MODELS.items()
        if (offer := next((found for each in listings if (found := each.offer(model))), None))
    ]
    return reply({**_account(request), "models": {"videoModels": models}})


@post("/characters", operation_id="createFlowCharacter", **WRITE)
async def create_character(request: Incoming) -> ASGIApp:
    """Make a character of uploaded pictures: its name holds what it is made of, so it is nowhere kept or listed."""
    services, tenant = desk(request), caller(request).tenant
    async with body_of(request) as body:
        character, name = words.read_new(body.fields)
    for field, id_ in zip(words.PICTURES, character.files, strict=False):
        file = await services.store.file(id_, tenant)
        if file is None or not file.media_type.startswith("image/"):
            raise invalid(field, f"{field} names no picture that was uploaded here")
    answer = {
        "entityId": name.partition("-character:")[2].partition("-imgs:")[0],
        "character": name,
        "displayName": character.name,
        "personalityNotes": character.notes,
        "imageReferences": [{"mediaId": each} for each in character.files],
        "voice": character.voice,
    }
    return reply({name: value for name, value in answer.items() if value})


async def _order(request: Incoming, known: frozenset[str], mode: Mode | None) -> ASGIApp:
    """Order clips, and answer at once or when they are made."""
    async with body_of(request) as body:
        said = body.fields if body.strict else words.loosened(body.fields)
        at_once = words.is_async(said)
        fields, names = words.read_video(said) if mode is None else words.read_source(said, known)
        if mode is Mode.EXTEND:
            fields.setdefault("model", words.DEFAULT_MODEL)
        if mode is Mode.UPSCALE:
            fields.setdefault("resolution", "1080p")
        job = await create(
            request,
            fields,
            names,
            mode=mode,
            operation="extend" if mode is Mode.EXTEND else "create",
            told_in="flow",
            told_of=(CREATED, STARTED, *ENDED),
            models=words.MODELS,
            lengths=words.LENGTHS,
        )
    del said, fields  # Pictures are not kept in memory for as long as a clip takes.
    if at_once:
        return reply(words.record(job, _media(reach(request), job)), told(job), status=201)
    job = await ended(request, job)
    media = _media(reach(request), job)
    if not media:
        fault = fault_of(job)
        raise ProblemError(words.google_error(fault)["code"], fault.code, fault.message, headers=told(job))
    return reply({"jobId": job.id, **words.results(job, media)}, told(job))


def _media(there: Reach, job: Job) -> list[dict[str, Any]]:
    """Write the clips of a job."""
    kept = read_renditions(job.outputs)
    drawn = {each.index: there.link(job, each) for each in kept if each.kind == "thumbnail"}
    return [words.entry(job, clip, there.link(job, clip), drawn.get(clip.index)) for clip in clips_of(job)]


def call_back(job: Job, _: str, there: Reach) -> Letter:
    """Write what a call's ``replyUrl`` is told: the job's record as it stood; useapi signs nothing."""
    return Letter(msgspec.json.encode(words.record(job, _media(there, job))), told(job))


async def _part(request: Incoming, part: dict[str, Any], where: str) -> Job:
    """
    Find the job a part to be joined was made by.

    :raises ProblemError: when it is no finished clip, or is to be cut.
    """
    for name, value in part.items():
        if name not in {"mediaGenerationId", "trimStart"} and value:
            raise invalid(f"{where}.{name}"[:64], f"{where}.{name[:64]}: clips are not cut here")
    if part.get("trimStart") not in (None, 0, 1):
        raise invalid(f"{where}.trimStart", f"{where}.trimStart is 1: an extension overlaps its source by a second")
    job, _ = await _clip(request, part, f"{where}.mediaGenerationId")
    return job


async def _clip(request: Incoming, said: Mapping[str, Any], where: str) -> tuple[Job, Rendition]:
    """
    Find the clip a call names, and the job that made it.

    :raises ProblemError: when it is no finished clip of the caller's.
    """
    made = await _made(request, words.read_name(said.get("mediaGenerationId"), where))
    if made is None:
        raise invalid(where, f"{where} names no clip that was made here")
    return made


async def _made(request: Incoming, named: words.Reference) -> tuple[Job, Rendition] | None:
    """Find a finished clip of the caller's, and the job that made it; ``None`` where there is no such."""
    job = await desk(request).store.job(named.video, caller(request).tenant) if named.video else None
    clip = clip_of(job, named.index) if job else None
    return (job, clip) if job and clip else None


async def _take(request: Incoming, email: str) -> ASGIApp:
    """Take an upload in: the body is the file."""
    services = desk(request)
    limits = services.settings.server
    upload = Upload(services.media.incoming, "asset")
    try:
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for piece in Pieces(request, limits.max_body_mb * 2**20):
                    upload.write(piece)
        except TimeoutError as error:
            raise ProblemError(
                408, "body_timeout", f"The file did not arrive within {limits.body_seconds:g} s"
            ) from error
        upload.close()
        try:
            sniffed, seconds = await services.media.study_input(upload.path, upload.size)
        except InputError as error:
            raise invalid("body", error.message, code=error.code) from error
        if sniffed.media_type not in UPLOADS:
            raise invalid("body", f"Send {', '.join(sorted(UPLOADS))}; this is {sniffed.media_type}")
        if sniffed.kind == "image" and upload.size > IMAGE_MOST:
            raise invalid("body", f"File size ({upload.size}) is over {IMAGE_MOST} bytes", code="too_large")
        file = await keep_upload(request, upload, sniffed, seconds=seconds, filename="asset", purpose="user_data")
    finally:
        upload.drop()
    length = {"durationSeconds": round(seconds, 3)} if sniffed.kind == "video" else {}
    answer = {
        "mediaGenerationId": {"mediaGenerationId": words.encode_name(sniffed.kind, file.id, email)},
        "width": sniffed.width,
        "height": sniffed.height,
        "email": words.masked(email),
        **length,
    }
    return reply(answer)


def _account(request: Incoming) -> dict[str, Any]:
    """Describe an account: healthy while any of Flow's models can be ordered."""
    sellers = desk(request).shop.sellers
    sold = any(
        seller.listing.offer(model) and not {"*", model} & seller.shut.keys()
        for seller in sellers
        for model in words.MODELS.values()
    )
    health = "OK" if sold else "No account of this gateway sells Google's models now"
    return {"created": words.moment(0), "health": health, "project": {"projectTitle": "Reelgate"}}


HANDLERS = (
    create_video, extend_video, upscale_video, join_videos, animate_video, read_job, create_asset, create_asset_for,
    read_asset, create_character, list_accounts, read_account,
)  # fmt: skip


DIALECTS = {"flow": call_back}
"""How jobs ordered here are told of."""
