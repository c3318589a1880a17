"""
What Google's two APIs have in common: Gemini Omni by the Interactions API.

* The body is snake_case; a length is a text with its unit, ``8s``.
* ``task`` says what the media are for, their order says which is which: first frame, then last.
* An edit and an upscale are as long and as wide as their source, so neither is said.
* Stored interactions can be gone on with by their id, without handing the clip over again.
* ``completed`` with nothing in it is how uploads blocked by region or policy come back.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from providers._veo import CODES, encoded, support_codes
from providers.base.catalog import Refusal
from providers.base.errors import Malformed
from providers.base.objections import unsaid
from providers.base.order import Input, Mode, Order, Role
from providers.base.provider import HookHint
from providers.base.reading import known, told
from providers.base.task import AssetRef, Fault, State, Task, Update, Usage

# Interaction word: ours. The google-genai 3.4.0 SDK, Interaction.status
STATES = {
    "queued": State.QUEUED,
    "in_progress": State.RUNNING,
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
    "incomplete": State.FAILED,
    "budget_exceeded": State.FAILED,
    "requires_action": State.FAILED,  # it waits for a tool's answer, and was given no tool
    "requires_continuation": State.UNKNOWN,  # no page says what becomes of a clip that asks for it
}

# Ours: a task of generation_config.video_config. https://ai.google.dev/gemini-api/docs/omni
TASKS = {
    Mode.TEXT: "text_to_video",
    Mode.FIRST_FRAME: "image_to_video",
    Mode.FRAMES: "image_to_video",
    Mode.REFERENCE: "reference_to_video",
    Mode.EDIT: "edit",
    Mode.EXTEND: "extend",
    Mode.UPSCALE: "upscale",
}

SHAPES: dict[Mode, tuple[str, ...]] = {
    Mode.EDIT: (),
    Mode.EXTEND: ("duration",),
    Mode.UPSCALE: (),
}
"""What is said beside the resolution where it is not all: the rest comes with the source."""

REFUSALS = frozenset({"content_policy_violation"})
"""Error codes that say a policy forbids it: relays that speak this dialect use them, Google writes support codes."""

MADE = "interactions/"
"""What the handle of a clip made by an interaction starts with; a Veo clip's is its address."""

PLACES = [Role.FIRST_FRAME, Role.LAST_FRAME, Role.SOURCE, Role.REFERENCE]
"""The order of media in the input; two pictures of ``image_to_video`` are the first and the last frame."""


MOST_TOKENS = 10**9
"""More than any clip comes to (forty seconds in 4k are 700,000): what says more was not counted."""


class _Error(Struct, frozen=True):
    """Read why an interaction or a step of it failed."""

    code: int | str | None = None
    message: str | None = None


class _Content(Struct, frozen=True):
    """Read one piece of what was made."""

    type: str = ""
    uri: str | None = None
    data: bytes | None = None
    mime_type: str | None = None


class _Step(Struct, frozen=True):
    """Read a step of the model's own."""

    content: tuple[_Content, ...] | None = None
    error: _Error | None = None


class _Counted(Struct, frozen=True):
    """Read what was counted of one kind of output."""

    modality: str = ""
    tokens: int | None = None


class _Usage(Struct, frozen=True):
    """Read what was counted."""

    total_output_tokens: int | None = None
    output_tokens_by_modality: tuple[_Counted, ...] | None = None


class _Interaction(Struct, frozen=True):
    """Read an interaction, as far as it can be told from any other JSON."""

    id: str
    status: str
    steps: tuple[dict[str, Any], ...] | None = None
    errors: tuple[_Error, ...] | None = None
    usage: _Usage | None = None


class _Named(Struct, frozen=True):
    """Read what a callback is about."""

    id: str


class _Event(Struct, frozen=True):
    """Read a callback's envelope."""

    type: str
    data: _Named


def encode(
    order: Order, data: Mapping[str, bytes], *, delivery: Mapping[str, str], hook: bool = False
) -> dict[str, Any]:
    """
    Put an order into an interaction's words.

    :param delivery: how the clip is to come back, in ``response_format``'s words.
    :param hook: whether this API takes a callback address.
    """
    spec, request = order.spec, order.request
    handle = previous(order)
    media = [_part(each, data) for each in _ordered(request.inputs) if not (handle and each.role is Role.SOURCE)]
    text = [{"type": "text", "text": request.prompt}] if request.prompt else []
    shape = {"aspect_ratio": spec.aspect_ratio, "duration": f"{spec.seconds}s"}
    said = {name: shape[name] for name in SHAPES.get(spec.mode, tuple(shape))}
    return {
        "model": order.wire_name,
        "background": True,
        "store": True,  # what is not stored can be neither polled nor gone on with
        "input": [{"type": "user_input", "content": [*media, *text]}] if media else request.prompt,
        "response_format": {"type": "video", "resolution": spec.resolution, **said, **delivery},
        "generation_config": {
            "video_config": {"task": TASKS[spec.mode]},
            **({} if request.seed is None else {"seed": request.seed}),
        },
        **({"previous_interaction_id": handle} if handle else {}),
        **({"webhook_config": {"uris": [order.hook_url]}} if hook and order.hook_url else {}),
    }


def objections(order: Order) -> Iterator[Refusal]:
    """Name what of an order's inputs Omni has no word for."""
    return unsaid(order, "Gemini Omni", PLACES)


def previous(order: Order) -> str:
    """Name the interaction that made the source, where this provider did; else nothing."""
    source = order.source()
    handle = source.handle if source else ""
    return handle.removeprefix(MADE) if handle.startswith(MADE) else ""


def _ordered(inputs: tuple[Input, ...]) -> list[Input]:
    """Put media in the order their task expects."""
    return sorted(inputs, key=lambda each: PLACES.index(each.role))


def _part(each: Input, data: Mapping[str, bytes]) -> dict[str, str]:
    """Write a picture or a clip as content."""
    return {"type": each.media_type.partition("/")[0], "data": encoded(each, data), "mime_type": each.media_type}


def decode(body: Any, place: Callable[[str], AssetRef]) -> Update:
    """
    Read an interaction.

    :param place: says how a clip is fetched, from the address Google gives.
    :raises Malformed: when it is none.
    """
    said = known(body, _Interaction, "interaction")
    steps = (step for step in said.steps or () if step.get("type") == "model_output")
    made = [known(step, _Step, "interaction") for step in steps]
    if not said.id:
        raise Malformed("the interaction has no id")
    state, task = STATES.get(said.status, State.UNKNOWN), Task(said.id)
    clips = [[each for each in step.content or () if each.type == "video" and (each.data or each.uri)] for step in made]
    videos = next((each for each in reversed(clips) if each), [])
    assets = tuple(_asset(each, at, said.id, place) for at, each in enumerate(videos))
    if state is State.SUCCEEDED and assets:
        return Update(state=state, task=task, assets=assets, usage=_usage(said.usage), raw_state=said.status)
    fault = None
    if state is State.SUCCEEDED and _unread(said, made):
        state = State.UNKNOWN
    elif state in {State.SUCCEEDED, State.FAILED}:
        state, fault = _fault(said, made)
    return Update(state=state, task=task, fault=fault, raw_state=said.status)


def _usage(said: _Usage | None) -> Usage | None:
    """
    Read the bill of a clip: its video tokens, else all that came out; a clip that cost none was not counted.

    https://ai.google.dev/gemini-api/docs/pricing
    """
    if said is None:
        return None
    video = [each.tokens for each in said.output_tokens_by_modality or () if each.modality.lower() == "video"]
    tokens = sum(each or 0 for each in video) or said.total_output_tokens or 0
    return Usage(tokens=tokens) if 0 < tokens <= MOST_TOKENS else None


def _unread(said: _Interaction, made: list[_Step]) -> bool:
    """Whether something was made that we have no word for: it was counted, no error is told, and it is not all text."""
    if (said.usage and said.usage.total_output_tokens == 0) or said.errors or any(step.error for step in made):
        return False
    parts = [each for step in made for each in step.content or ()]
    return not parts or any(each.type != "text" for each in parts)


def _asset(said: _Content, at: int, name: str, place: Callable[[str], AssetRef]) -> AssetRef:
    """Read a clip; it is gone on with by the interaction that made it."""
    found = AssetRef(data=said.data) if said.data else place(said.uri or "")
    return msgspec.structs.replace(found, index=at, media_type=said.mime_type or "video/mp4", handle=MADE + name)


def _fault(said: _Interaction, made: list[_Step]) -> tuple[State, Fault]:
    """Say why there is no clip; output tokens are the bill, so none of them is no bill."""
    tokens = said.usage.total_output_tokens if said.usage else None
    billed = False if tokens == 0 else None
    errors = [*(said.errors or ()), *(step.error for step in made if step.error)]
    for each in errors:
        word = CODES.get(each.code, str(each.code)) if isinstance(each.code, int) else each.code or said.status
        message = each.message or word
        codes = support_codes(message)
        refused = codes or word in REFUSALS
        return State.REFUSED if refused else State.FAILED, Fault(code=codes or word, message=message, billed=billed)
    if said.status == "completed" and tokens == 0:
        # https://github.com/google-gemini/gemini-skills skills/gemini-omni-flash-api: regional restrictions
        message = "Google made nothing of it: uploads are blocked by region or policy"
        return State.REFUSED, Fault(code="empty_output", message=message, billed=False)
    code = "empty_output" if said.status == "completed" else said.status
    return State.FAILED, Fault(code=code, message=f"the interaction ended without a clip: {said.status}", billed=billed)


def read_hook(body: bytes) -> tuple[HookHint, ...]:
    """
    Read a thin callback: which operation or interaction moved.

    https://ai.google.dev/gemini-api/docs/webhooks
    """
    event = told(body, _Event)
    if event is None or not event.data.id or not event.type.startswith(("video.", "interaction.")):
        return ()
    return (HookHint(event.data.id),)


def path(task: Task) -> str:
    """Name an interaction in an address."""
    return MADE + quote(task.id, safe="")
