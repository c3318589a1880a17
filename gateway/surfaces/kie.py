"""
Tasks in kie.ai's words, as AI Generate sells them: ``/api/v1/jobs`` and ``/api/v1/veo``.

Two readers are out there: one opens ``data``, the other (AI Generate's own sample) reads ``taskId`` and ``state`` at
the top, where it waits for ``failed`` and never for kie's ``fail``. Every answer serves both. Errors carry their code
in the body as kie does, and the same HTTP status, so that a client that only looks at that is not misled.
docs.kie.ai/market/common/get-task-detail, docs.kie.ai/veo3-api/quickstart,
aimarcusimage.eu/sk/blog/google-veo-3-1-api-generate-video
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import get, post
from litestar.types import ASGIApp

from gateway.api.calls import job_of
from gateway.api.desk import Incoming, body_of, reply
from gateway.events.letters import Letter, Reach
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Problem
from gateway.problems import ProblemError, invalid
from gateway.surfaces.common import (
    READ,
    WRITE,
    Models,
    choice_of,
    clip_at,
    create,
    fault_of,
    frames,
    is_policy,
    links,
    reach,
    references,
    told,
    unknown,
    wish_of,
)
from providers.base.order import Mode

# Their word: ours, unless the operator's [aliases] say otherwise. The slug is AI Generate's blog's; the others:
# on kie's page of Veo 3.1 (docs.kie.ai/veo3-api/generate-veo-3-video), where veo3 is the one called Quality.
MODELS: Models = {
    "google/veo-3-1": ("google/veo-3.1", "aigenerate/veo-3-1"),
    "google/veo-3-1-fast": "google/veo-3.1-fast",
    "veo3": "google/veo-3.1",
    "veo3_fast": "google/veo-3.1-fast",
    "veo3_lite": "google/veo-3.1-lite",
}
LENGTHS = dict.fromkeys(("google/veo-3.1", "google/veo-3.1-fast", "google/veo-3.1-lite"), 8)
"""
Seconds of who names no duration; the veo surface has no word for it. docs.kie.ai/veo3-api/quickstart prices clips of
8 seconds, and AI Generate's blog asks for 8; Google's own default is 8 as well.
"""

# input's fields: ours. AI Generate names the first three; the rest is kie's for models of other makers
INPUT = {
    "prompt": "prompt",
    "aspect_ratio": "aspect_ratio",
    "duration": "seconds",
    "resolution": "resolution",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
    "sound": "generate_audio",
    "generate_audio": "generate_audio",
    "video_url": "video",
}
PICTURES = ("image_url", "image_urls")

# The veo surface's fields: ours. enableTranslation has nobody here to do it: prompts go out as they are written.
# resolution is not among kie's, whose 1080p and 4K are fetched of a finished clip; here a clip is made in it.
VEO = {
    "prompt": "prompt",
    "model": "model",
    "aspectRatio": "aspect_ratio",
    "aspect_ratio": "aspect_ratio",
    "resolution": "resolution",
    "seeds": "seed",
    "callBackUrl": "callback_url",
}
VEO_ELSE = frozenset({"generationType", "imageUrls", "enableFallback", "enableTranslation", "watermark", "taskId"})

STATES = {
    State.QUEUED: "waiting",
    State.SUBMITTING: "queuing",
    State.UNKNOWN: "generating",
    State.RUNNING: "generating",
    State.STORING: "generating",
    State.SUCCEEDED: "success",
    State.FAILED: "fail",
    State.CANCELLED: "fail",
}
BLOG = {"fail": "failed"}
"""The blog's word, where it is not kie's."""

POLICY = "Your prompt was flagged by Website as violating content policies."
"""How kie begins what a content policy says; it has no code of its own."""

# Ours: the code, in kie's table of them. docs.kie.ai/market/common/get-task-detail
CODES = {400: 422, 405: 404, 409: 422, 410: 404, 413: 422, 415: 422, 503: 455}
KNOWN_CODES = frozenset({401, 402, 403, 404, 422, 429, 500})
MESSAGES = {401: "You do not have access permissions", 402: "Insufficient Credits"}


@post("/jobs/createTask", operation_id="createTask", **WRITE)
async def create_task(request: Incoming) -> ASGIApp:
    """Order a clip by slug and input."""
    async with body_of(request) as body:
        fields, names = read_task(body.fields)
        if isinstance(fields.get("video"), str):
            fields["video"] = clip_at(request, fields["video"])
        job = await create(request, fields, names, told_in="kie", models=MODELS, lengths=LENGTHS)
    return _created(job)


@post("/veo/generate", operation_id="createVeoTask", **WRITE)
async def create_veo_task(request: Incoming) -> ASGIApp:
    """Order a clip in Veo's own fields."""
    async with body_of(request) as body:
        fields, names = read_veo(body.fields)
        fields["model"] = fields.get("model") or "veo3_fast"
        job = await create(request, fields, names, told_in="kie-veo", models=MODELS, lengths=LENGTHS)
    return _created(job)


@post("/veo/extend", operation_id="extendVeoTask", **WRITE)
async def extend_veo_task(request: Incoming) -> ASGIApp:
    """Let a finished clip go on."""
    async with body_of(request) as body:
        said = dict(body.fields)
        source = said.pop("taskId", None)
        if not isinstance(source, str):
            raise invalid("taskId", "taskId names the clip to go on from.")
        fields, names = read_veo(said)
        fields["video"] = {"id": source}
        names["video"] = "taskId"
        job = await create(
            request, fields, names, mode=Mode.EXTEND, operation="extend", told_in="kie-veo", models=MODELS
        )
    return _created(job)


@get("/jobs/recordInfo", operation_id="readTask", **READ)
async def read_record(request: Incoming) -> ASGIApp:
    """Say how a task stands."""
    job = await _task(request)
    return reply(record(job, links(reach(request), job)), told(job))


@get("/veo/record-info", operation_id="readVeoTask", **READ)
async def read_veo_record(request: Incoming) -> ASGIApp:
    """Say how a task stands, in the veo surface's record."""
    job = await _task(request)
    return reply(veo_record(job, links(reach(request), job)), told(job))


def read_task(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn a task's words into ours, and say what it calls each field.

    :raises ProblemError: naming what it cannot say.
    """
    unknown(said, frozenset({"model", "input", "callBackUrl"}))
    given = said.get("input")
    if not isinstance(given, dict):
        raise invalid("input", "input is an object with the prompt in it.")
    unknown(given, {**INPUT, **dict.fromkeys(PICTURES)}, "input.")
    names = {
        "callback_url": "callBackUrl",
        **{ours: f"input.{theirs}" for theirs, ours in INPUT.items() if theirs in given},
    }
    names |= {"prompt": "input.prompt", "audio": "input.sound", "mode": "input"}
    fields = {INPUT[name]: value for name, value in given.items() if name in INPUT}
    fields |= {
        "model": said.get("model"),
        "callback_url": said.get("callBackUrl") if said.get("callBackUrl") != "" else None,
    }
    where = next((name for name in PICTURES if given.get(name)), "")
    if where:
        pictures = given[where]
        fields |= frames(pictures if isinstance(pictures, list) else [pictures], f"input.{where}", names)
    return fields, names


def read_veo(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn the veo surface's words into ours, and say what it calls each field.

    :raises ProblemError: naming what it cannot say.
    """
    unknown(said, frozenset(VEO) | (VEO_ELSE - {"taskId"}))
    names = {ours: theirs for theirs, ours in VEO.items() if theirs in said} | {
        "prompt": "prompt",
        "mode": "generationType",
    }
    fields = {VEO[name]: value for name, value in said.items() if name in VEO and value != ""}
    if fields.get("aspect_ratio") == "Auto":
        del fields["aspect_ratio"]
    if said.get("watermark"):
        raise invalid("watermark", "watermark writes a text into the clip, which nobody here can; leave it out.")
    if said.get("enableFallback") is False:
        fields["provider"] = {"allow_fallbacks": False}
    pictures, kind = said.get("imageUrls") or [], said.get("generationType")
    if not isinstance(pictures, list):
        raise invalid("imageUrls", "imageUrls is a list of addresses.")
    if kind not in (None, *KINDS):
        raise invalid("generationType", f"generationType is {', '.join(KINDS)}.")
    least, most = KINDS.get(str(kind), (0, 3))
    if not least <= len(pictures) <= most:
        raise invalid("imageUrls", f"imageUrls holds {least} to {most} addresses for {kind or 'this call'}.")
    if kind == "REFERENCE_2_VIDEO":
        return fields | references(pictures, "imageUrls", names), names
    return fields | (frames(pictures, "imageUrls", names) if pictures else {}), names


# docs.kie.ai/veo3-api/generate-veo-3-video: how many pictures each takes
KINDS = {"TEXT_2_VIDEO": (0, 0), "FIRST_AND_LAST_FRAMES_2_VIDEO": (1, 2), "REFERENCE_2_VIDEO": (1, 3)}


def record(job: Job, urls: Sequence[str]) -> dict[str, Any]:
    """Write a task's record, for either reader."""
    state, fault = STATES[job.state], _fault(job, urls)
    wish = wish_of(job)
    asked = {"prompt": wish.request.prompt, "aspect_ratio": wish.request.aspect_ratio, "duration": wish.request.seconds}
    param = {"model": wish.request.model, "callBackUrl": wish.callback_url, "input": asked}
    if fault and state == "success":
        state = "fail"
    data = {
        "taskId": job.id,
        "model": wish.request.model,
        "state": state,
        "param": _text(param),
        "resultJson": _text({"resultUrls": urls}) if urls else "",
        "failCode": _code(fault) if fault else "",
        "failMsg": _message(fault) if fault else "",
        "costTime": (job.completed_at or job.created_at) - job.created_at,
        "completeTime": job.completed_at or 0,
        "createTime": job.created_at,
        "updateTime": job.updated_at,
        "progress": job.progress,
    }
    word = BLOG.get(state, state)
    bare = {"taskId": job.id, "state": word, "status": word, "results": urls, "output": urls}
    return {"code": 200, "msg": "success", "data": data, **bare, **({"error": _message(fault)} if fault else {})}


def veo_record(job: Job, urls: Sequence[str]) -> dict[str, Any]:
    """Write a task's record as the veo surface does."""
    fault = _fault(job, urls)
    flag = 1 if urls else 0 if not job.state.final else 3 if job.task else 2
    wish, choice = wish_of(job), choice_of(job)
    made = {"taskId": job.id, "resultUrls": urls, "originUrls": None, "resolution": choice.spec.resolution}
    data = {
        "taskId": job.id,
        "paramJson": _text({"prompt": wish.request.prompt, "model": wish.request.model}),
        "completeTime": _time(job.completed_at),
        "response": made if urls else None,
        "successFlag": flag,
        "errorCode": int(_code(fault)) if fault else None,
        "errorMessage": _message(fault) if fault else "",
        "createTime": _time(job.created_at),
        "fallbackFlag": job.attempts > 1,
    }
    return {"code": 200, "msg": "success", "data": data, "taskId": job.id}


def call_back(job: Job, _: str, there: Reach) -> Letter:
    """Write what a task's ``callBackUrl`` is told: its record, whose code says how it ended."""
    said = record(job, links(there, job))
    del said["data"]["progress"]
    if "error" in said:
        del said["data"]["resultJson"]
        return _letter(job, said | {"code": 501, "msg": "Playground task failed."})
    return _letter(job, said | {"msg": "Playground task completed successfully."})


def call_back_veo(job: Job, _: str, there: Reach) -> Letter:
    """Write what a veo task's ``callBackUrl`` is told: what was made stands under ``info``, not under ``response``."""
    data = veo_record(job, links(there, job))["data"]
    told_ = {name: data[name] for name in ("taskId", "fallbackFlag")}
    if data["errorCode"]:
        return _letter(job, {"code": data["errorCode"], "msg": data["errorMessage"], "data": told_})
    made = {name: value for name, value in data["response"].items() if name != "taskId"}
    said = {**told_, "info": made, "promptJson": data["paramJson"]}
    return _letter(job, {"code": 200, "msg": "success", "data": said})


def _letter(job: Job, said: Mapping[str, Any]) -> Letter:
    """Seal a callback as kie does: over the task's name and the time, by the tenant's secret for callbacks."""

    def sign(secret: str, seconds: int) -> dict[str, str]:
        mac = hmac.digest(secret.encode(), f"{job.id}.{seconds}".encode(), "sha256")
        return {"X-Webhook-Timestamp": str(seconds), "X-Webhook-Signature": base64.b64encode(mac).decode()}

    return Letter(msgspec.json.encode(said), told(job), sign)


def write_problem(problem: ProblemError) -> tuple[int, dict[str, Any]]:
    """Write a problem as kie does: a code and a text."""
    code = CODES.get(problem.status, problem.status)
    if problem.status == 404 and problem.code not in {"task_not_found", "unknown_url"}:
        code = 422  # A model or a file nobody knows is a wrong value; only tasks are not found.
    code = code if code in KNOWN_CODES | {455} else 500
    message = f"{MESSAGES[code]}: {problem.message}" if code in MESSAGES else problem.message
    return 503 if code == 455 else code, {"code": code, "msg": message, "data": None}


async def _task(request: Incoming) -> Job:
    """
    Find the task a look names.

    :raises ProblemError: 404 for one nobody knows, 422 where none is named.
    """
    name = request.query_params.get("taskId")
    if not name:
        raise invalid("taskId", "taskId names the task: ?taskId=...")
    try:
        return await job_of(request, name)
    except ProblemError as problem:
        raise ProblemError(404, "task_not_found", "Task not found", param="taskId") from problem


def _created(job: Job) -> ASGIApp:
    """Answer with the task's name, for either reader."""
    return reply({"code": 200, "msg": "success", "data": {"taskId": job.id}, "taskId": job.id}, told(job))


def _fault(job: Job, urls: Sequence[str]) -> Problem | None:
    """Say why an ended task has no clip."""
    return fault_of(job) if job.state.final and not urls else None


def _code(fault: Problem) -> str:
    """Say why in kie's codes: 400 is its policy, 501 a generation that failed."""
    return "400" if is_policy(fault) else "501"


def _message(fault: Problem) -> str:
    """Say why in words; how they begin is all that tells a policy."""
    return f"{POLICY} {fault.message}" if is_policy(fault) else fault.message


def _text(value: Any) -> str:
    """Write JSON into a string, as they do."""
    return msgspec.json.encode(value).decode()


def _time(milliseconds: int | None) -> str | None:
    """Write a time as the veo surface does: UTC, and not saying so."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


HANDLERS = (create_task, create_veo_task, extend_veo_task, read_record, read_veo_record)


DIALECTS = {"kie": call_back, "kie-veo": call_back_veo}
"""How tasks ordered here are told of."""
