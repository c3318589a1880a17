"""Take a call in: gather its media, decide who makes the clip, keep the job. Every surface comes this way."""

from collections.abc import Mapping, Sequence

import structlog
from msgspec.structs import replace

from gateway.api.create import FIELDS, VideoCreate
from gateway.api.desk import Desk, Incoming, caller, check_query, desk, repeat_of
from gateway.api.wishes import media, wish
from gateway.clips.shelf import ShelfError
from gateway.door.accept import fingerprint_of
from gateway.door.answering import trace_of
from gateway.ids import is_id
from gateway.jobs.job import Job
from gateway.jobs.wish import Wish, read_wish
from gateway.offers.asking import AUTO, UnknownModelError
from gateway.problems import ORDERED, ProblemError, invalid, missing_video
from gateway.store.database import Statement
from providers.base.order import Mode

log = structlog.get_logger()

DRY = {"true": True, "1": True, "false": False, "0": False}
"""How a client says whether it only asks for the price."""


def is_dry(request: Incoming) -> bool:
    """
    Whether an order is only to be priced (``?dry_run=true``); what else a call says of a clip goes in its body.

    :raises ProblemError: 400 for any other query parameter, 422 for a ``dry_run`` that is not plain.
    """
    query = request.query_params
    misplaced = sorted(FIELDS & set(query.keys()))
    if misplaced:
        message = f"{misplaced[0]} goes in the body; nothing of a call is read from its address but dry_run."
        raise ProblemError(400, "unknown_parameter", message, param=misplaced[0])
    check_query(request, ("dry_run",), status=400)
    said = query.getall("dry_run", ["false"])
    if len(said) > 1 or said[0] not in DRY:
        raise invalid("dry_run", "dry_run is true or false.")
    return DRY[said[0]]


async def take_in(
    request: Incoming,
    call: VideoCreate,
    *,
    mode: Mode | None = None,
    operation: str = "create",
    echo: Mapping[str, str] | None = None,
    models: Sequence[str] = (),
    length: int | None = None,
) -> tuple[Job, bool]:
    """
    Gather, decide, keep: the one way a job comes to be; the flag says whether it is new, or an earlier call's.

    From then on no error this call may end with denies that it was ordered.

    :param echo: what a surface needs again to answer in its client's own words.
    :param models: what the call's model stands for, in order, where a surface's client means several by it.
    :param length: how many seconds a clip has there whose client leaves that open.
    :raises ProblemError: what is wrong with the call, or why nobody can do it.
    """
    job, new = await _kept(request, call, mode, operation, echo, tuple(models), length)
    if new and (trace := trace_of(request.scope)):
        # By which whoever follows a trace finds every later line of the job. It goes to no seller, who joins no trace.
        log.info("job.traced", job=job.id, trace=trace)
    request.scope[ORDERED] = job.id  # type: ignore[literal-required]
    return job, new


async def _kept(
    request: Incoming,
    call: VideoCreate,
    mode: Mode | None,
    operation: str,
    echo: Mapping[str, str] | None,
    models: tuple[str, ...],
    length: int | None,
) -> tuple[Job, bool]:
    """Find the job of an earlier call like this one, or make it."""
    services, who = desk(request), caller(request)
    repeat = repeat_of(request)
    # What the client left open is no part of it: a newer gateway that closes it otherwise still knows the call.
    said = fingerprint_of(request.scope["path"], call, mode, operation, echo)
    if (made := await services.acceptor.earlier(who.tenant, repeat, said)) is not None:
        return made, False
    call = call if length is None else replace(call, seconds=length)
    named = call.model is not None
    call, parent = await of_parent(request, call)
    gathered = await services.intake.gather(media(call), who.tenant)
    try:
        model = services.settings.routing.default_model
        wanted = wish(call, gathered.inputs, mode=mode, default_model=model, policy=who.policy)
        wanted = replace(wanted, echo=dict(echo)) if echo else wanted
        wanted = replace(wanted, preferences=replace(wanted.preferences, models=models)) if models else wanted
        wanted = wanted if named or parent is None else with_heirs(services, wanted)
        decision = services.acceptor.decide(wanted, size=call.size, named=bool(call.model))
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


async def of_parent(request: Incoming, call: VideoCreate) -> tuple[VideoCreate, Job | None]:
    """
    Find the earlier video a call builds on, where it names one: its model is the call's where that names none.

    :raises ProblemError: 404 for a video the caller has not.
    """
    given = call.video if isinstance(call.video, dict) else {}
    named = given.get("id") or call.previous_video_id or call.previous_job_id
    parent = await job_of(request, named) if isinstance(named, str) else None
    if parent is not None and call.model is None:
        call = replace(call, model=read_wish(parent.wish).request.model)
    return call, parent


def with_heirs(services: Desk, wanted: Wish) -> Wish:
    """Let any model make a clip from another whose own model, which the call does not name, cannot."""
    model = wanted.request.model
    try:
        decision = services.shop.decide(wanted)
    except UnknownModelError:  # It is sold no more.
        able = False
    else:
        able = any(line.usual for line in (*decision.ranked, *decision.apart, *decision.others))
    return wanted if able else replace(wanted, preferences=replace(wanted.preferences, models=(model, AUTO)))


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
