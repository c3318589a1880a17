"""
The older ``/veo/v1`` of CometAPI, in the words of new-api, which it is made of.

cometapi.com/new-veo3-1-more-consistency-diverse-output-and-richer/, github QuantumNous/new-api dto/task.go
"""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import get, post
from litestar.types import ASGIApp

from gateway.api.calls import job_of
from gateway.api.desk import Incoming, body_of, reply
from gateway.jobs.job import Job, State
from gateway.problems import ProblemError, invalid
from gateway.surfaces.chat import LENGTHS, MODELS
from gateway.surfaces.common import (
    BARE_READ,
    BARE_WRITE,
    create,
    fault_of,
    frames,
    links,
    reach,
    told,
    unknown,
)

FIELDS = frozenset({"model", "prompt", "enhance_prompt", "images", "aspect_ratio"})

# new-api model/task.go has FAILURE for an end; the provider's own sample waits for FAILED, and that is who asks here.
STATES = {
    State.QUEUED: "NOT_START",
    State.SUBMITTING: "SUBMITTED",
    State.UNKNOWN: "IN_PROGRESS",
    State.RUNNING: "IN_PROGRESS",
    State.STORING: "IN_PROGRESS",
    State.SUCCEEDED: "SUCCESS",
    State.FAILED: "FAILED",
    State.CANCELLED: "FAILED",
}
INNER = {
    "NOT_START": "pending", "SUBMITTED": "pending", "IN_PROGRESS": "video_generating", "SUCCESS": "completed",
    "FAILED": "failed",
}  # fmt: skip


@post("/video/create", operation_id="createNewApiTask", **BARE_WRITE)
async def create_video(request: Incoming) -> ASGIApp:
    """Order a clip."""
    async with body_of(request) as body:
        fields, names = read(body.fields)
        job = await create(request, fields, names, models=MODELS, lengths=LENGTHS)
    return reply({"id": job.id, "status": "pending"}, told(job))


@get("/video/query/{video_id:str}", operation_id="readNewApiTask", **BARE_READ)
async def query_video(request: Incoming, video_id: str) -> ASGIApp:
    """Say how a clip stands."""
    job = await job_of(request, video_id)
    return reply(task(job, links(reach(request), job)), told(job))


def read(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn a call's words into ours, and say what it calls each field.

    :raises ProblemError: naming what it cannot say.
    """
    unknown(said, FIELDS)
    names = {"mode": "images"}
    fields = {name: value for name, value in said.items() if name != "images"}
    images = said.get("images") or []
    if not isinstance(images, list):
        raise invalid("images", "images is a list of addresses.")
    return fields | (frames(images, "images", names) if images else {}), names


def task(job: Job, urls: Sequence[str]) -> dict[str, Any]:
    """Write a task and the upstream's task inside it."""
    state = "FAILED" if job.state.final and not urls else STATES[job.state]
    reason = fault_of(job).message if state == "FAILED" else ""
    inner = {"id": job.id, "status": INNER[state], "video_url": urls[0] if urls else None}
    data = {
        "task_id": job.id,
        "action": "",
        "status": state,
        "fail_reason": reason,
        "submit_time": job.created_at // 1000,
        "start_time": (job.started_at or 0) // 1000,
        "finish_time": (job.completed_at or 0) // 1000,
        "progress": f"{job.progress}%",
        "data": inner,
    }
    return {"code": "success", "message": "", "data": data}


def write_problem(problem: ProblemError) -> tuple[int, dict[str, Any]]:
    """Write a problem as new-api's task routes do."""
    return problem.status, {"code": problem.code, "message": problem.message, "data": None}


HANDLERS = (create_video, query_video)
