"""
Read kie.ai's answers, which its resellers give as well: tasks, their records, error codes, signed callbacks; pure.

- Errors come as a ``code`` in a body whose HTTP status may be 200; a failed task comes in an answer whose code is 200.
- A create answers ``{"taskId"}`` or ``{"code", "data": {"taskId"}}``; ``data`` is opened only where it is an object.
- ``resultJson`` is JSON inside a string, or empty, or null; its neighbours' empties are ``""``, 0 or null.
- A callback's signature covers the task's id and a time, never the body: it is a reason to look and nothing else.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers.base.advice import retry_after
from providers.base.errors import (
    Exhausted,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unavailable,
    by_status,
)
from providers.base.reading import UNREADABLE, known, percent, told
from providers.base.task import AssetRef, Fault, State, Task, Update
from providers.base.wire import Reply

# https://docs.kie.ai/market/common/get-task-detail: waiting queuing generating success fail
# https://aimarcusimage.eu/sk/blog/google-veo-3-1-api-generate-video, its sample client: completed failed error
# https://docs.kie.ai/veo3-api/quickstart: successFlag 0 to 3
STATES: dict[str | int, State] = {
    "waiting": State.QUEUED,
    "queuing": State.QUEUED,
    "generating": State.RUNNING,
    "success": State.SUCCEEDED,
    "completed": State.SUCCEEDED,
    "fail": State.FAILED,
    "failed": State.FAILED,
    "error": State.FAILED,
    0: State.RUNNING,
    1: State.SUCCEEDED,
    2: State.FAILED,
    3: State.FAILED,
}

# https://docs.kie.ai/veo3-api/generate-veo-3-video-callbacks: policy shares its codes, 400 and 422, with pictures
# that cannot be fetched and values that are wrong; these fixed beginnings are all there is to tell it by.
POLICY = (
    "Your prompt was flagged by Website as violating content policies",
    "Public error: unsafe image upload",
    "Your request was rejected by Flow(",
)

FEATURE_DISABLED = 505
# https://docs.kie.ai/market/common/get-task-detail: codes HTTP has no word for, or another: ours.
CODES: dict[int, type[ProviderError]] = {
    433: Exhausted,  # a sub-key's usage cap
    455: Unavailable,  # maintenance: nobody is at work, so nothing was taken
    FEATURE_DISABLED: Invalid,
}
UNKNOWN_TASK = 422
"""A look carries nothing but the task's id, so what is invalid in it is the id; kie says 404 or this."""
GENERATION_FAILED = 501
FINE = frozenset({0, 200})
"""Codes of an answer that reports no error; 0 where it has none."""

# Where a record keeps its clips, first found first: the jobs surface, the veo surface, AI Generate's blog.
PLACES = ("resultJson", "response", "resultUrls", "results", "output", "url")


class _Said(Struct, frozen=True):
    """Read what an envelope itself says; siblings of kie write ``message`` for ``msg``."""

    code: int | str | None = None
    msg: str | None = None
    message: str | None = None

    @property
    def number(self) -> int:
        """The code; 0 where there is none."""
        said = str(self.code)
        return int(said) if re.fullmatch(r"\d{1,4}", said, re.ASCII) else 0


class _Named(Struct, frozen=True):
    """Read a task's name, in either spelling."""

    camel: str | None = msgspec.field(default=None, name="taskId")
    snake: str | None = msgspec.field(default=None, name="task_id")


class _Record(Struct, frozen=True, rename="camel"):
    """Read a record of either surface."""

    state: str | None = None
    status: Any = None
    """The blog's word for ``state``; elsewhere it may be anything."""
    success_flag: int | None = None
    progress: float | None = None
    fail_code: str | int | None = None
    fail_msg: str | None = None
    error_code: str | int | None = None
    error_message: str | None = None

    @property
    def word(self) -> str | int | None:
        """What it calls its state, if it is a record at all."""
        return self.state or (self.status if isinstance(self.status, str) else None) or self.success_flag


def decode_created(body: Any) -> str:
    """
    Read the name of the task a create made, bare or in an envelope.

    :raises Malformed: when it names none.
    """
    found = next(filter(None, map(_name, _frames(body))), "")
    if not found:
        raise Malformed("the answer names no task")
    return found


def decode(body: Any, task: Task) -> Update:
    """
    Read a task's record, bare or in an envelope, of either surface.

    A record in ``data`` counts whatever the code around it. One at the root counts only where no error is told of
    and it names its task or a clip: ``{"status": "error"}`` alone may be about the look.

    :raises Malformed: when it is none.
    """
    said, frames = known(body, _Said, "task"), _frames(body)
    records = [(frame, known(frame, _Record, "task")) for frame in frames]
    frame, record = next((each for each in records if each[1].word is not None), records[-1])
    if frame is body and said.number == GENERATION_FAILED:
        record = _Record(state="fail", fail_code=GENERATION_FAILED, fail_msg=said.msg or said.message)
    elif frame is body and (said.number not in FINE or not (_name(frame) or _links(frame))):
        raise Malformed("the answer is no task")
    if record.word is None:
        raise Malformed("the answer is no task")
    state, fault = STATES.get(record.word, State.UNKNOWN), None
    if state is State.FAILED:
        message = record.fail_msg or record.error_message or "the generation failed"
        state = State.REFUSED if message.startswith(POLICY) else state
        # "you are not charged for a failed generation": the blog, "What happens if a render fails?"
        fault = Fault(code=str(record.fail_code or record.error_code or record.word), message=message, billed=False)
    # What the veo surface can extend or render larger, it is told by the task's id.
    handle = task.id if task.data.get("route") == "veo" else ""
    links = _links(frame) if state is State.SUCCEEDED else []
    return Update(
        state=state,
        task=task,
        progress=percent(record.progress),
        assets=tuple(AssetRef(url=url, index=index, handle=handle) for index, url in enumerate(links)),
        fault=fault,
        raw_state=str(record.word),
    )


def is_signed(headers: Mapping[str, str], name: str, key: str) -> bool:
    """
    Whether a callback about a task carries its key's signature; nothing is signed with an empty key.

    https://docs.kie.ai/common-api/webhook-verification: base64(HMAC-SHA256(key, taskId + "." + seconds)).
    """
    lower = {header.lower(): value for header, value in headers.items()}
    at, given = lower.get("x-webhook-timestamp", ""), lower.get("x-webhook-signature", "")
    if not (key and at and given):
        return False
    mac = hmac.digest(key.encode(), f"{name}.{at}".encode(), "sha256")
    return hmac.compare_digest(base64.b64encode(mac), given.encode())


def is_fine(reply: Reply) -> bool:
    """Whether an answer reports no error, in its status or in its code."""
    return 200 <= reply.status < 300 and _heard(reply.body).number in FINE


def explain(reply: Reply, seller: str, *, buying: bool, window: float) -> ProviderError:
    """
    Turn an error answer into our words; a body's code stands for the status where that says 200 or the same.

    :param window: seconds in which orders are counted; one turned away before is not queued.
    """
    said = _heard(reply.body)
    code = said.number if 200 <= reply.status < 300 or said.number == reply.status else 0
    kind = CODES.get(code) or by_status(code or reply.status, buying=buying)
    text = "" if said.number == 200 else said.msg or said.message or ""
    if kind is Invalid and text.startswith(POLICY):
        kind = Refused
    elif not buying and code == UNKNOWN_TASK:
        kind = Missing
    elif not buying and kind is Missing and not code:
        # A wrong address is a real 404 without their words: it says nothing of the task.
        kind = Unavailable
    wait = retry_after(reply.headers)
    return kind(
        text or f"{seller} answered {reply.status} without a task",
        code=str(code or ""),
        status=reply.status,
        retry_after=max(wait or 0, window) or None if kind is Throttled else wait,
        scope=Scope.MODEL if code == FEATURE_DISABLED else None,
    )


def _heard(body: bytes) -> _Said:
    """Read an envelope's own words; none where it cannot be read."""
    return told(body, _Said) or _Said()


def _frames(body: Any) -> list[dict[str, Any]]:
    """List where a task may be told of: in ``data`` where that is an object, then around it."""
    if not isinstance(body, dict):
        raise Malformed("the answer is no object")
    inner = body.get("data")
    return [inner, body] if isinstance(inner, dict) else [body]


def _name(frame: Any) -> str:
    """Read what a frame calls its task, in either spelling; nothing where it names none."""
    named = known(frame, _Named, "task")
    return named.camel or named.snake or ""


def _links(found: Any, depth: int = 6) -> list[str]:
    """Find addresses in what may be one, a list of them, an object holding some, or JSON of these in a string."""
    if isinstance(found, str) and found.startswith(("https://", "http://")):
        return [found]
    if not depth:
        return []
    if isinstance(found, str):
        try:
            return _links(msgspec.json.decode(found), depth - 1)
        except UNREADABLE:
            return []
    if isinstance(found, list):
        return list(dict.fromkeys(link for each in found for link in _links(each, depth - 1)))
    if isinstance(found, dict):
        return next((links for name in PLACES if (links := _links(found.get(name), depth - 1))), [])
    return []
