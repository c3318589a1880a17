"""
Read tasks and errors as new-api words them, the relay software CometAPI's answers look like; pure.

- A task may be wrapped, twice even: ``data`` of an answer is a task, and its own ``data`` the upstream's.
- Progress is a number or a text, ``30`` or ``"30%"``; an error is an object, or a text.
- No word of it tells policy from failure.
"""

from typing import Any

import msgspec
from msgspec import Struct

from providers.base.errors import Malformed
from providers.base.reading import percent, told
from providers.base.task import AssetRef, Fault, State, Task, Update

# queued to failed: apidoc.cometapi.com/api/video/omni/retrieve; error: apidoc.cometapi.com/api/video/veo3.
# SUCCESS and FAILED: cometapi.com/new-veo3-1-more-consistency-diverse-output-and-richer/ (its pending: the same page).
# The rest: github QuantumNous/new-api dto/openai_video.go and model/task.go, which this seller's answers look like.
# One caller of it lowers the case before comparing, so the case varies.
STATES = {
    "queued": State.QUEUED,
    "pending": State.QUEUED,
    "not_start": State.QUEUED,
    "submitted": State.QUEUED,
    "in_progress": State.RUNNING,
    "completed": State.SUCCEEDED,
    "success": State.SUCCEEDED,
    "failed": State.FAILED,
    "failure": State.FAILED,
    "error": State.FAILED,
    "unknown": State.UNKNOWN,
}


class Wrong(Struct, frozen=True):
    """Read an error object."""

    message: str | None = None
    code: str | int | None = None

    @property
    def word(self) -> str:
        """The code, as a word."""
        return "" if self.code is None else str(self.code)

    @classmethod
    def of(cls, said: "Wrong | str") -> "Wrong":
        """Read an error that may be a mere text."""
        return cls(message=said) if isinstance(said, str) else said


class _Meta(Struct, frozen=True):
    """Read what stock new-api keeps beside a task."""

    url: str | None = None


class _Layer(Struct, frozen=True):
    """Read a task, or an envelope around one."""

    id: str | None = None
    task_id: str | None = None
    status: str | None = None
    progress: float | str | None = None
    video_url: str | None = None
    metadata: _Meta | None = None
    error: Wrong | str | None = None
    fail_reason: str | None = None
    data: Any = None


class _Problem(Struct, frozen=True):
    """Read an error answer; task routes of stock new-api have no ``error`` in it."""

    error: Wrong | str | None = None
    code: str | int | None = None
    message: str | None = None


def read_problem(body: bytes) -> Wrong:
    """Read an error answer; one that cannot be read says nothing."""
    problem = told(body, _Problem) or _Problem()
    return Wrong.of(problem.error or Wrong(message=problem.message, code=problem.code))


def asset_at(url: str) -> AssetRef:
    """Read where a clip lies; a later order names it by the same address."""
    return AssetRef(url=url, handle=url)


def decode(body: Any, task: Task | None = None, *, route: str = "videos") -> Update:
    """
    Read a task of ``videos`` or ``veo``, bare or wrapped.

    :param task: the one that was asked for; ``None`` for the answer to a purchase.
    :raises Malformed: when it is none.
    """
    layers = _layers(body)
    known = task or Task(next((id_ for each in layers if (id_ := each.id or each.task_id)), ""), {"route": route})
    words = [each.status for each in layers if each.status]
    if not known.id or not (words or task is None):
        raise Malformed("the answer is no task", status=200)
    word = words[0] if words else ""
    # The provider's sample is done when the task, or else the upstream's task inside it, says so.
    word = next((each for each in words[1:] if _state(each) is State.SUCCEEDED and not _state(word).final), word)
    state = _state(word)
    links = [link for each in layers for link in (each.video_url, each.metadata.url if each.metadata else None) if link]
    return Update(
        state=state,
        task=known,
        progress=next((done for each in layers if (done := _percent(each.progress)) is not None), None),
        assets=tuple(asset_at(link) for link in links[:1]) if state is State.SUCCEEDED else (),
        fault=_fault(layers) if state is State.FAILED else None,
        raw_state=word,
    )


def _layers(body: Any) -> list[_Layer]:
    """Read a task and what wraps it, outermost first."""
    layers: list[_Layer] = []
    while len(layers) < 3 and (isinstance(body, dict) or not layers):
        try:
            layers.append(msgspec.convert(body, _Layer, strict=True))
        except msgspec.ValidationError as error:
            if layers:
                break  # What the upstream said beside it is nobody's promise.
            raise Malformed(f"the answer is no task: {error}", status=200) from error
        body = layers[-1].data
    return layers


def _state(word: str) -> State:
    """Say what a word means."""
    return STATES.get(word.lower(), State.UNKNOWN)


def _percent(said: float | str | None) -> int | None:
    """Read progress: ``30`` or ``"30%"``."""
    if isinstance(said, str):
        digits = said.removesuffix("%")
        said = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else None
    return percent(said)


def _fault(layers: list[_Layer]) -> Fault:
    """Read why a task failed."""
    wrong = Wrong.of(next((each.error for each in layers if each.error), ""))
    reason = next((each.fail_reason for each in layers if each.fail_reason), "")
    return Fault(code=wrong.word, message=wrong.message or reason or "the clip could not be made")
