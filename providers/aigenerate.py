"""
AI Generate: a reseller that speaks kie.ai's words at its own address, and says so itself.

- Two surfaces: ``jobs`` takes a slug and an ``input``; ``veo`` takes Veo's own fields. A task is looked at where it
  was made, so :attr:`Task.data <providers.base.task.Task>` says which it was.
- Errors come as a ``code`` in a body whose HTTP status may be 200; a failed task comes in an answer whose code is 200.
- A create answers ``{"taskId"}`` or ``{"code", "data": {"taskId"}}``; ``data`` is opened only where it is an object.
- ``resultJson`` is JSON inside a string, or empty, or null; its neighbours' empties are ``""``, 0 or null.
- ``aspect_ratio`` in ``input``, ``aspectRatio`` on ``veo``; ``callBackUrl``, with a capital B, at the root of both.
- What was charged stands in a header of the create; a failed generation is not charged.
- A callback's signature covers the task's id and a time, never the body: it is a reason to look and nothing else.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from providers.base.advice import retry_after
from providers.base.errors import (
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
from providers.base.hooks import ForgedError, HookCall, check_age
from providers.base.order import Input, Mode, Order, Role
from providers.base.provider import HookHint, Provider
from providers.base.signing import HomeAuth
from providers.base.task import AssetRef, Fault, State, Task, Update, Usage
from providers.base.wire import Call, Reply, Wire

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

MAINTENANCE = 455
"""Nobody is at work, so nothing was taken: it is to be sent again later."""
# https://docs.kie.ai/market/common/get-task-detail: codes HTTP has no word for, by the status that means the same.
CODES = {
    433: 402,  # a sub-key's usage cap
    MAINTENANCE: 503,
    505: 405,  # "Feature Disabled", not HTTP's version
}
UNKNOWN_TASK = 422
"""A look carries nothing but the task's id, so what is invalid in it is the id; kie says 404 or this."""
GENERATION_FAILED = 501
FINE = frozenset({0, 200})
"""Codes of an answer that reports no error; 0 where it has none."""

# https://docs.kie.ai/veo3-api/generate-veo-3-video, as far as we have no words of our own for it
OPTIONS = {"jobs": frozenset[str](), "veo": frozenset({"seeds", "watermark", "enableTranslation"})}

# https://docs.kie.ai/veo3-api/generate-veo-3-video: one picture is a first frame, two are first and last.
# Text needs no word: AI Generate's own example has none.
PICTURES = {
    Mode.FIRST_FRAME: ("FIRST_AND_LAST_FRAMES_2_VIDEO", (Role.FIRST_FRAME,)),
    Mode.FRAMES: ("FIRST_AND_LAST_FRAMES_2_VIDEO", (Role.FIRST_FRAME, Role.LAST_FRAME)),
    Mode.REFERENCE: ("REFERENCE_2_VIDEO", (Role.REFERENCE,)),
}

# Where a record keeps its clips, first found first: the jobs surface, the veo surface, AI Generate's blog.
PLACES = ("resultJson", "response", "resultUrls", "results", "output", "url")

WINDOW = 10.0
"""Seconds in which orders are counted; one turned away before is not queued. docs.aimarcusimage.eu, rate limits."""


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


def encode_jobs(order: Order) -> dict[str, Any]:
    """Put an order into the jobs surface's words."""
    spec = order.spec
    said = {"prompt": order.request.prompt, "aspect_ratio": spec.aspect_ratio, "duration": spec.seconds}
    return {"model": order.wire_name, "input": said}


def encode_veo(order: Order) -> dict[str, Any]:
    """Put an order into the veo surface's words; length and resolution are not asked for there."""
    spec = order.spec
    said: dict[str, Any] = {"prompt": order.request.prompt, "model": order.wire_name, "aspectRatio": spec.aspect_ratio}
    if spec.mode in PICTURES:
        kind, roles = PICTURES[spec.mode]
        pictures = [each for role in roles for each in order.request.inputs if each.role is role]
        said |= {"generationType": kind, "imageUrls": [_link(order, each) for each in pictures]}
    return said


class Surface(NamedTuple):
    """Say how tasks are made and looked at in one place."""

    create: str
    record: str
    encode: Callable[[Order], dict[str, Any]]


# https://docs.aimarcusimage.eu and https://aimarcusimage.eu/sk/blog/google-veo-3-1-api-generate-video
SURFACES = {
    "jobs": Surface("/jobs/createTask", "/jobs/recordInfo", encode_jobs),
    "veo": Surface("/veo/generate", "/veo/record-info", encode_veo),
}


def encode(order: Order, slug: str = "aigenerate") -> dict[str, Any]:
    """
    Put an order into the words of the surface it is sold on.

    :raises Invalid: when it passes something through that is not known here, or a picture has no public address.
    """
    options = order.request.options.get(slug) or {}
    if not isinstance(options, dict):
        raise Invalid(f"options.{slug} is no object")
    for key in options:
        if key not in OPTIONS[order.route]:
            raise Invalid(f"options.{slug}.{key} is not passed on", code=str(key))
    body = {**options, **SURFACES[order.route].encode(order)}
    return {**body, "callBackUrl": order.hook_url} if order.hook_url else body


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
    said, frames = _converted(body, _Said), _frames(body)
    records = [(frame, _converted(frame, _Record)) for frame in frames]
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
        progress=None if record.progress is None else int(min(max(record.progress, 0), 100)),
        assets=tuple(AssetRef(url=url, index=index, handle=handle) for index, url in enumerate(links)),
        fault=fault,
        raw_state=str(record.word),
    )


def charged(headers: Mapping[str, str]) -> Decimal | None:
    """
    Read what a create charged, in credits; ``None`` where it does not say.

    Records have a ``creditsConsumed`` of their own, which counts the upstream's credits and not these.

    >>> charged({"x-ai-credits-charged": "12.5"}), charged({})
    (Decimal('12.5'), None)
    """
    said = headers.get("x-ai-credits-charged", "").strip()
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said, re.ASCII):
        return None
    return Decimal(said)


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


class AiGenerate(Provider):
    """Order clips from AI Generate, on whichever of its surfaces sells them."""

    def auth(self) -> httpx.Auth:
        """Sign calls to AI Generate with the account's key."""
        return HomeAuth(self.base_url, {"authorization": f"Bearer {self.credentials['AIGENERATE_API_KEY']}"})

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over; it comes back as the name of a task."""
        reply = await wire.send(
            Call(
                method="POST",
                url=self.base_url + SURFACES[order.route].create,
                headers={"content-type": "application/json"},
                body=msgspec.json.encode(encode(order, self.listing.slug)),
                repeatable=False,
                timeout=120.0,
            )
        )
        if not 200 <= reply.status < 300 or _said(reply.body).number not in FINE:
            raise self.explain(reply, buying=True)
        credits_ = charged(reply.headers)
        return Update(
            state=State.QUEUED,
            task=Task(decode_created(reply.json()), {"route": order.route}),
            usage=None if credits_ is None else Usage(credits=credits_),
        )

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a task where it was made; one known from its callback alone is looked for on both surfaces."""
        if task.data.get("route") in SURFACES:
            return await self._look(task, wire)
        try:
            return await self._look(Task(task.id, {"route": "veo"}), wire)
        except Missing:
            return await self._look(Task(task.id, {"route": "jobs"}), wire)

    def check_hook(self, call: HookCall) -> None:
        """Refuse what the account's key for callbacks did not sign just now; without such a key each is a hint."""
        key = self.credentials.get("AIGENERATE_WEBHOOK_KEY", "")
        if not key:
            return
        check_age(call, call.header("x-webhook-timestamp"))
        names = [hint.task for hint in self.read_hook(call.headers, call.body)]
        if not names or not is_signed(call.headers, names[0], key):
            raise ForgedError("it is not signed with the key of this account")

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        """Read which task a callback speaks of."""
        del headers
        try:
            return (HookHint(decode_created(msgspec.json.decode(body))),)
        except (msgspec.MsgspecError, RecursionError, Malformed):
            return ()

    def fetch(self, asset: AssetRef) -> Call:
        """Say how to download a clip."""
        return Call(method="GET", url=asset.url, repeatable=True)

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words; a body's code stands for the status where that says 200 or the same."""
        said = _said(reply.body)
        code = said.number if 200 <= reply.status < 300 or said.number == reply.status else 0
        kind = by_status(CODES.get(code, code) or reply.status, buying=buying)
        text = "" if said.number == 200 else said.msg or said.message or ""
        if kind is Invalid and text.startswith(POLICY):
            kind = Refused
        elif code == MAINTENANCE:
            kind = Unavailable
        elif not buying and code == UNKNOWN_TASK:
            kind = Missing
        elif not buying and kind is Missing and not code:
            # A wrong address is a real 404 without their words: it says nothing of the task.
            kind = Unavailable
        wait = retry_after(reply.headers)
        return kind(
            text or f"AI Generate answered {reply.status} without a task",
            code=str(code or ""),
            status=reply.status,
            retry_after=max(wait or 0, WINDOW) if kind is Throttled else wait,
            scope=Scope.MODEL if code == 505 else None,
        )

    async def _look(self, task: Task, wire: Wire) -> Update:
        """Ask for a task's record."""
        where = SURFACES[task.data["route"]].record
        url = f"{self.base_url}{where}?taskId={quote(task.id, safe='')}"
        reply = await wire.send(Call(method="GET", url=url, repeatable=True))
        if not 200 <= reply.status < 300:
            raise self.explain(reply)
        try:
            return decode(reply.json(), task)
        except Malformed as error:
            raise self.explain(reply) from error


def _link(order: Order, picture: Input) -> str:
    """Say where AI Generate can fetch a picture."""
    if not order.links.get(picture.sha256):
        raise Invalid("AI Generate fetches pictures from a public address, and this one has none")
    return order.links[picture.sha256]


def _said(body: bytes) -> _Said:
    """Read an envelope's own words; none where it cannot be read."""
    try:
        return msgspec.json.decode(body, type=_Said)
    except (msgspec.MsgspecError, RecursionError):
        return _Said()


def _frames(body: Any) -> list[dict[str, Any]]:
    """List where a task may be told of: in ``data`` where that is an object, then around it."""
    if not isinstance(body, dict):
        raise Malformed("the answer is no object")
    inner = body.get("data")
    return [inner, body] if isinstance(inner, dict) else [body]


def _name(frame: Any) -> str:
    """Read what a frame calls its task, in either spelling; nothing where it names none."""
    named = _converted(frame, _Named)
    return named.camel or named.snake or ""


T = TypeVar("T")


def _converted(frame: Any, kind: type[T]) -> T:
    """Read a frame as one of our structs."""
    try:
        return msgspec.convert(frame, kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"the answer is no task: {error}") from error


def _links(found: Any, depth: int = 6) -> list[str]:
    """Find addresses in what may be one, a list of them, an object holding some, or JSON of these in a string."""
    if isinstance(found, str) and found.startswith(("https://", "http://")):
        return [found]
    if not depth:
        return []
    if isinstance(found, str):
        try:
            return _links(msgspec.json.decode(found), depth - 1)
        except (msgspec.MsgspecError, RecursionError):
            return []
    if isinstance(found, list):
        return list(dict.fromkeys(link for each in found for link in _links(each, depth - 1)))
    if isinstance(found, dict):
        return next((links for name in PLACES if (links := _links(found.get(name), depth - 1))), [])
    return []
