"""``/v1/videos``: OpenAI's contract to the letter, and a little more."""

from collections.abc import Callable, Mapping
from typing import Any

from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec.structs import replace

from gateway.api import answers
from gateway.api.answers import Outlook
from gateway.api.calls import is_dry, job_of, remove_clips, take_in
from gateway.api.content import lists
from gateway.api.create import VideoCreate, parse
from gateway.api.desk import Desk, Incoming, Reply, bad_cursor, body_of, caller, desk, leave_of, page, page_of, reply
from gateway.api.forms import Body
from gateway.api.outlook import outlook, stands_in_line
from gateway.api.progress import wait
from gateway.api.quotes import quotes_of
from gateway.api.wanted import ASKED, link, wanted
from gateway.clips.links import Leave
from gateway.ids import is_id
from gateway.jobs.job import Job
from gateway.problems import ProblemError, invalid, missing_video
from providers.base.order import Mode

READ: dict[str, Any] = {"scope": "read"}
WRITE: dict[str, Any] = {"scope": "write"}
DEPRECATED = dict.fromkeys(("sora-2", "sora-2-pro"), "@1774310400")
"""
Names of models their maker has deprecated, and since when (RFC 9745): OpenAI on 2026-03-24, by its models page as of
2026-11-21. It switched them off on 2026-09-24; here they go on as aliases, so none has a ``Sunset``.
"""


@post("/videos", status_code=200, opt=WRITE, operation_id="createVideo")
async def create_video(request: Incoming) -> ASGIApp:
    """
    Order a clip; answers at once, with the job durably kept and nothing bought yet.

    With ``?dry_run=true`` nothing is kept and nothing will be bought: the answer is that of ``/v1/quotes``.
    """
    return await _order(request, parse, mode=None, operation="create")


@post("/videos/edits", status_code=200, opt=WRITE, operation_id="editVideo")
async def edit_video(request: Incoming) -> ASGIApp:
    """Change a clip as a prompt says; the clip is a file or an earlier video."""
    return await _order(request, _from_clip, mode=Mode.EDIT, operation="edit")


@post(
    "/videos/extensions",
    status_code=200,
    opt=WRITE,
    operation_id="extendVideo",
)
async def extend_video(request: Incoming) -> ASGIApp:
    """Let a clip go on; the result is both, stitched."""
    return await _order(request, _from_clip, mode=Mode.EXTEND, operation="extend")


@post(
    "/videos/{video_id:str}/remix",
    status_code=200,
    opt=WRITE,
    operation_id="remixVideo",
)
async def remix_video(request: Incoming, video_id: str) -> ASGIApp:
    """Make an earlier clip again with another prompt."""

    def read(body: Body) -> VideoCreate:
        call = parse(body)
        if call.video is not None or call.previous_video_id or call.previous_job_id:
            raise invalid("video", "The clip to remix is the one in the address.")
        return replace(call, video={"id": video_id})

    return await _order(request, read, mode=Mode.EDIT, operation="remix")


@get("/videos", opt=READ, operation_id="listVideos")
async def list_videos(request: Incoming) -> ASGIApp:
    """
    List videos, newest first; ``after`` or ``before``, ``limit`` (1 to 100) and ``order`` page through them.

    ``status``, ``provider`` and ``model``, each once or several times, ``key``, ``since`` and ``until`` say which.
    """
    after, limit, newest_first = page_of(request, "video", "before", *ASKED)
    services, tenant = desk(request), caller(request).tenant
    before = request.query_params.get("before")
    cursor, way = (after, "after") if before is None else (before, "before")
    if (after and before) or (before is not None and not is_id("video", before)):
        raise bad_cursor("before")
    if cursor is not None and not await services.store.owns(cursor, tenant):
        raise bad_cursor(way)
    found = await services.store.jobs(
        tenant,
        after=cursor,
        limit=limit,
        newest_first=newest_first if before is None else not newest_first,
        wanted=wanted(request, services),
    )
    jobs = found.jobs if before is None else found.jobs[::-1]
    headers = {"link": link(request, way, found.jobs[-1].id)} if found.more else {}
    leave = leave_of(request)
    return reply(page([answers.video(job, leave=leave) for job in jobs], more=found.more), headers)


@get(
    "/videos/{video_id:str}",
    opt=READ,
    operation_id="retrieveVideo",
)
async def retrieve_video(request: Incoming, video_id: str) -> ASGIApp:
    """Say how a video stands, from our own store; no provider is asked. ``Prefer: wait=n`` waits for its end."""
    services, tenant = desk(request), caller(request).tenant
    if "prefer" in request.headers:
        job, waited = await wait(request, services, await job_of(request, video_id))
        leave = leave_of(request)
        return await _stands(services, job, leave, await outlook(services, job), waited)
    version = await services.store.version(video_id, tenant) if is_id("video", video_id) else None
    if version is None:
        raise missing_video(video_id)
    leave = leave_of(request)
    known = request.headers.get("if-none-match", "")
    if known and lists(known, etag := _etag(video_id, *version, leave)):
        return _unchanged(etag)
    # Clients ask far more often than anything changes.
    same = (video_id, version, leave.stamp)
    shown = services.shown.get(same)
    if shown is not None:
        return shown
    job = await job_of(request, video_id)
    ahead = await outlook(services, job)
    if stands_in_line(job):  # Its place changes, though the job does not.
        etag = _etag(job.id, job.seq, job.cancel_requested, leave, ahead.place)
        return _unchanged(etag) if lists(known, etag) else await _stands(services, job, leave, ahead)
    return services.shown.put(same, await _stands(services, job, leave, ahead))


@delete(
    "/videos/{video_id:str}",
    status_code=200,
    opt=WRITE,
    operation_id="deleteVideo",
)
async def delete_video(request: Incoming, video_id: str) -> ASGIApp:
    """Remove an ended video and its clips."""
    job = await job_of(request, video_id)
    services = desk(request)
    if await services.store.delete(job.id, job.tenant) is None:
        raise ProblemError(
            409,
            "video_not_finished",
            f"Video '{job.id}' is still being made; cancel it first.",
            headers={"x-should-retry": "false"},
        )
    await remove_clips(services, job.id)
    return reply({"id": job.id, "object": "video.deleted", "deleted": True})


@post(
    "/videos/{video_id:str}/cancel",
    status_code=200,
    opt=WRITE,
    operation_id="cancelVideo",
)
async def cancel_video(request: Incoming, video_id: str) -> ASGIApp:
    """Ask for a video not to be made; what a provider has already sold stays sold."""
    job = await job_of(request, video_id)
    services = desk(request)
    asked = await services.store.cancel(job.id, job.tenant)
    if asked is None:
        raise ProblemError(
            409, "video_finished", f"Video '{job.id}' has ended already.", headers={"x-should-retry": "false"}
        )
    services.wake()
    return await _answer(services, asked, leave_of(request))


@get(
    "/videos/{video_id:str}/attempts",
    opt=READ,
    operation_id="listAttempts",
)
async def list_attempts(request: Incoming, video_id: str) -> ASGIApp:
    """List every order made for a video: where, at what price, and what came of it."""
    job = await job_of(request, video_id)
    made = await desk(request).store.attempts(job.id)
    return reply({"object": "list", "data": [answers.attempt(each, job) for each in made], "has_more": False})


@post("/videos/characters", status_code=200, opt=WRITE, operation_id="createCharacter", include_in_schema=False)
async def create_character(request: Incoming) -> ASGIApp:
    """Refuse to make a character of a clip, once that has been heard out."""
    async with body_of(request):
        raise invalid(
            "video",
            "No offer here makes a character of a clip. Give pictures of it in elements or input_references, the clip "
            "itself where the model takes one, or a seller's own character in characters.",
            code="not_sold",
        )


@get("/videos/characters/{name:str}", opt=READ, operation_id="retrieveCharacter", include_in_schema=False)
async def retrieve_character(_: Incoming, name: str) -> ASGIApp:
    """Know of no character: none is made here."""
    del name
    raise ProblemError(404, "character_not_found", "No character is made or kept here.", param="character_id")


def _from_clip(body: Body) -> VideoCreate:
    """Read a call for a clip that is made from another."""
    call = parse(body)
    if call.video is None and not (call.previous_video_id or call.previous_job_id):
        raise invalid("video", 'Say which clip: a file, or {"id": "video_..."}.')
    return call


async def _order(
    request: Incoming, read: Callable[[Body], VideoCreate], *, mode: Mode | None, operation: str
) -> ASGIApp:
    """Order a clip, and answer it, at once or when it has ended, as the client prefers; or only say what it costs."""
    async with body_of(request) as body:
        if is_dry(request):
            return reply(await quotes_of(request, read(body), mode=mode))
        job, new = await take_in(request, read(body), mode=mode, operation=operation)
    # The body is let go of by now: nobody keeps pictures in memory for as long as a clip takes.
    job, waited = await wait(request, desk(request), job)
    headers = {"location": f"/v1/videos/{job.id}", **waited}
    if not new:
        headers["idempotency-replayed"] = "true"
    return await _answer(desk(request), job, leave_of(request), headers)


async def _answer(
    services: Desk, job: Job, leave: Leave, headers: Mapping[str, str] | None = None, ahead: Outlook | None = None
) -> Reply:
    """Answer a video, and say when to ask again while it is being made."""
    out = {**(headers or {}), "x-reelgate-provider": (job.offer or "").partition(":")[0]}
    shown = answers.video(job, ahead or await outlook(services, job), leave)
    out["x-reelgate-cost-usd"] = f"{shown['usage']['cost']:.6f}"
    if (since := DEPRECATED.get(shown["model"])) is not None:
        out["deprecation"] = since
    if not job.state.final:
        wait = answers.poll_after_ms(services.shop.typical_seconds(job.offer))
        out["openai-poll-after-ms"] = str(wait)
        out["retry-after"] = str(max(1, wait // 1000))
        out["retry-after-ms"] = str(wait)
    return reply(shown, out)


async def _stands(
    services: Desk, job: Job, leave: Leave, ahead: Outlook, headers: Mapping[str, str] | None = None
) -> Reply:
    """Answer how a video stands, and by which name the client asks whether it still does."""
    etag = _etag(job.id, job.seq, job.cancel_requested, leave, ahead.place if stands_in_line(job) else None)
    return await _answer(services, job, leave, {"etag": etag, **(headers or {})}, ahead)


def _unchanged(etag: str) -> Reply:
    """Answer that a video stands as its client knows."""
    return Reply(304, {"etag": etag, "cache-control": "no-store"}, b"")


def _etag(id_: str, seq: int, cancel_requested: int, leave: Leave, place: int | None = None) -> str:
    """Name how a video stands, with what links and where in line: where the name is the same, nothing has changed."""
    return f'W/"{id_}-{seq}-{int(cancel_requested)}-{leave.stamp}{"" if place is None else f"-{place}"}"'


HANDLERS = (
    create_video, edit_video, extend_video, remix_video, list_videos, retrieve_video, delete_video, cancel_video,
    list_attempts, create_character, retrieve_character,
)  # fmt: skip
