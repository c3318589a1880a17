"""Take a call in: gather its media, decide who makes the clip, keep the job. Every surface comes this way."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
from msgspec.structs import replace

from gateway.accept import fingerprint_of
from gateway.api.create import VideoCreate
from gateway.api.desk import Desk, Incoming, caller, desk, repeat_of
from gateway.api.problems import ProblemError, missing_video
from gateway.api.wishes import media, wish
from gateway.database import Statement
from gateway.ids import is_id
from gateway.job import Job
from gateway.routing import Decision
from gateway.shelf import ShelfError
from gateway.wish import Wish, read_wish
from providers.base.order import Mode, Role, read_size

log = structlog.get_logger()


async def place(
    request: Incoming,
    call: VideoCreate,
    *,
    mode: Mode | None = None,
    operation: str = "create",
    echo: Mapping[str, str] | None = None,
) -> tuple[Job, bool]:
    """
    Gather, decide, keep: the one way a job comes to be; the flag says whether it is new, or an earlier call's.

    :param echo: what a surface needs again to answer in its client's own words.
    :raises ProblemError: what is wrong with the call, or why nobody can do it.
    """
    services, who = desk(request), caller(request)
    repeat = repeat_of(request)
    said = fingerprint_of(request.scope["path"], call, mode, operation, echo)
    if (made := await services.acceptor.earlier(who.tenant, repeat, said)) is not None:
        return made, False
    parent = await _parent(request, call)
    if parent is not None and call.model is None:
        call = replace(call, model=read_wish(parent.wish).request.model)
    gathered = await services.intake.gather(media(call), who.tenant)
    try:
        model = services.settings.routing.default_model
        wanted = wish(call, gathered.inputs, mode=mode, default_model=model, policy=who.policy)
        wanted, decision = _decide(services, replace(wanted, echo=dict(echo)) if echo else wanted)
        await gathered.keep()
    except BaseException:
        gathered.drop()
        raise
    return await services.acceptor.accept(
        wanted,
        decision,
        who.tenant,
        repeat,
        fingerprint=said,
        operation=operation,
        parent=parent.id if parent else None,
        buyer=who.key or "local",
        limits=who.limits,
    )


async def _parent(request: Incoming, call: VideoCreate) -> Job | None:
    """Find the earlier video a call builds on, where it names one."""
    given = call.video if isinstance(call.video, dict) else {}
    named = given.get("id") or call.previous_video_id or call.previous_job_id
    return await job_of(request, named) if isinstance(named, str) else None


def _decide(services: Desk, wanted: Wish) -> tuple[Wish, Decision]:
    """Choose an offer; a clip made from another keeps its shape and length where left open and sold."""
    source = next((each for each in wanted.request.inputs if each.role is Role.SOURCE), None)
    if source is not None and source.width and source.height:
        resolution, ratio = read_size(f"{source.width}x{source.height}")
        alike: dict[str, Any] = {"resolution": resolution, "aspect_ratio": ratio}
        if wanted.request.mode is Mode.UPSCALE:
            del alike["resolution"]
        as_long = wanted.request.mode in {Mode.EDIT, Mode.UPSCALE}
        longer = {**alike, "seconds": round(source.seconds)} if as_long else alike
        for wish_for in (longer, alike):
            open_ = {name: value for name, value in wish_for.items() if getattr(wanted.request, name) is None}
            closer = replace(wanted, request=replace(wanted.request, **open_))
            with suppress(ProblemError):
                return closer, services.acceptor.decide(closer)
    return wanted, services.acceptor.decide(wanted)


async def job_of(request: Incoming, video_id: str) -> Job:
    """
    Find the caller's video.

    :raises ProblemError: 404, the same for an unknown id and for another tenant's.
    """
    job = await desk(request).store.job(video_id, caller(request).tenant) if is_id("video", video_id) else None
    if job is None:
        raise missing_video(video_id)
    return job


async def remove_clips(services: Desk, job: str) -> None:
    """Remove the clips of a job that was just deleted; where they cannot be reached, a worker goes on trying."""
    try:
        await services.media.remove_clips(job)
    except ShelfError as error:
        log.error("clips.unremoved", job=job, reason=str(error))
        retire = Statement("job_retire", {"id": job, "now": services.clock()})
        await services.store.database.write(retire, wakes=True)
        services.wake()
