"""
What Google's two APIs have in common: Veo's instances, parameters and operations, and how an error is said.

* Media go as base64 in ``bytesBase64Encoded`` (``inlineData`` is refused), lengths as numbers, n as ``sampleCount``.
* An operation has no state word: ``done`` is absent or false until it ends, then ``response`` or ``error`` says how.
* A clip the filter took is no error: it is counted in ``raiMediaFilteredCount``, its reasons end in support codes.
* Errors come as ``{"error": {...}}``, now and then as the one element of an array.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers.base.advice import LEAST, MOST, retry_after
from providers.base.catalog import Refusal
from providers.base.errors import (
    Exhausted,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unauthorized,
    by_status,
)
from providers.base.objections import PICTURES, unsaid
from providers.base.order import Input, Mode, Order, Role
from providers.base.reading import known, told
from providers.base.task import AssetRef, Fault, State, Task, Update, Usage
from providers.base.wire import Reply

# google.rpc code: its name. https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
CODES = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}

# Reason of a google.rpc.ErrorInfo: what it is for us.
# https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
REASONS: dict[str, type[ProviderError]] = {
    "API_KEY_INVALID": Unauthorized,  # comes with 400 INVALID_ARGUMENT
    "API_KEY_SERVICE_BLOCKED": Unauthorized,
    "SERVICE_DISABLED": Unauthorized,
    "CONSUMER_INVALID": Unauthorized,
    "CONSUMER_SUSPENDED": Unauthorized,
    "ACCESS_TOKEN_EXPIRED": Unauthorized,
    "BILLING_DISABLED": Exhausted,
    "RESOURCE_QUOTA_EXCEEDED": Exhausted,
}

# Status word, within the statuses that say a call was turned down: what it is for us.
# https://ai.google.dev/gemini-api/docs/troubleshooting (FAILED_PRECONDITION: billing is not enabled)
WORDS: dict[str, type[ProviderError]] = {
    "FAILED_PRECONDITION": Exhausted,
    "UNAUTHENTICATED": Unauthorized,
    "PERMISSION_DENIED": Unauthorized,
}

SUPPORT_CODES = re.compile(r"Support codes?: ([0-9, ]+)")
"""How a safety filter names itself: docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/
responsible-ai-and-usage-guidelines, "safety filter code categories"."""

EXTENDED = PICTURES | {Role.SOURCE}
"""What inputs an extension may have."""

FILTERED = frozenset({"raiMediaFilteredCount", "raiMediaFilteredReasons"})
RESPONSE = FILTERED | {"@type", "generateVideoResponse", "videos"}
RESULTS = FILTERED | {"generatedSamples"}
"""What an operation's response may hold in either API, and what the Developer API's results one level down."""


class _Status(Struct, frozen=True):
    """Read a google.rpc.Status, or what the Interactions API says in its place."""

    code: int | str | None = None
    message: str | None = None


class _Video(Struct, frozen=True, rename="camel"):
    """Read where a clip lies, in the words of either API."""

    uri: str | None = None
    gcs_uri: str | None = None
    encoded_video: bytes | None = None
    bytes_base64_encoded: bytes | None = None
    encoding: str | None = None
    mime_type: str | None = None


class _Sample(Struct, frozen=True):
    """Read one clip of the Developer API."""

    video: _Video | None = None


class _Results(Struct, frozen=True, rename="camel"):
    """Read what the Developer API made."""

    generated_samples: tuple[_Sample, ...] | None = None
    rai_media_filtered_count: int | None = None
    rai_media_filtered_reasons: tuple[str, ...] | None = None


class _Response(Struct, frozen=True, rename="camel"):
    """Read what was made: the Developer API's results are one level down, Vertex's are here."""

    generate_video_response: _Results | None = None
    videos: tuple[_Video, ...] | None = None
    rai_media_filtered_count: int | None = None
    rai_media_filtered_reasons: tuple[str, ...] | None = None


class _Operation(Struct, frozen=True):
    """Read an operation, as far as it can be told from any other JSON."""

    name: str
    done: bool | None = None
    error: _Status | None = None
    response: _Response | None = None


class _Violation(Struct, frozen=True, rename="camel"):
    """Read which quota was used up."""

    quota_id: str | None = None


class _Detail(Struct, frozen=True, rename="camel"):
    """Read a detail of an error: ErrorInfo, RetryInfo or QuotaFailure."""

    reason: str | None = None
    retry_delay: str | None = None
    violations: tuple[_Violation, ...] | None = None


class _Error(Struct, frozen=True):
    """Read why a call was turned down."""

    code: int | str | None = None
    message: str | None = None
    status: str | None = None
    details: tuple[_Detail, ...] | None = None


class _Problem(Struct, frozen=True):
    """Read an error answer."""

    error: _Error | None = None


def picture(each: Input, data: Mapping[str, bytes]) -> dict[str, str]:
    """Write a picture or a clip as Veo takes it."""
    return {"bytesBase64Encoded": encoded(each, data), "mimeType": each.media_type}


def encoded(each: Input, data: Mapping[str, bytes]) -> str:
    """Write an input's bytes as base64."""
    return base64.b64encode(data[each.sha256]).decode()


def instance(order: Order, data: Mapping[str, bytes]) -> dict[str, Any]:
    """Put prompt, frames and references into Veo's words; the clip to go on with is each API's own."""
    said: dict[str, Any] = {"prompt": order.request.prompt}
    references = []
    for each in order.request.inputs:
        match each.role:
            case Role.FIRST_FRAME:
                said["image"] = picture(each, data)
            case Role.LAST_FRAME:
                said["lastFrame"] = picture(each, data)
            case Role.REFERENCE:  # STYLE was Veo 2's
                references.append({"image": picture(each, data), "referenceType": "ASSET"})
    if references:
        said["referenceImages"] = references
    return said


def objections(order: Order) -> Iterator[Refusal]:
    """Name what of an order's inputs Veo 3.1 has no word for: a clip is gone on with only in an extension."""
    return unsaid(order, "Veo 3.1", EXTENDED if order.spec.mode is Mode.EXTEND else PICTURES)


def parameters(order: Order) -> dict[str, Any]:
    """Put every choice and the features that were set into Veo's words, what was left open into none."""
    spec, request = order.spec, order.request
    said: dict[str, Any] = {"sampleCount": spec.n, "resolution": spec.resolution}
    if spec.mode is not Mode.EXTEND:  # an extension has its own length and its source's shape
        said |= {"durationSeconds": spec.seconds, "aspectRatio": spec.aspect_ratio}
    features = {
        "seed": request.seed,
        "negativePrompt": request.negative_prompt,
        "personGeneration": request.person_generation,
        "enhancePrompt": request.enhance_prompt,
    }
    return said | {name: value for name, value in features.items() if value is not None}


def decode(body: Any, place: Callable[[str], AssetRef]) -> Update:
    """
    Read an operation in either API's words.

    :param place: says how a clip is fetched, from the address Google gives.
    :raises Malformed: when it is none.
    """
    operation = known(body, _Operation, "operation")
    if not operation.name:
        raise Malformed("the operation has no name")
    task = Task(operation.name)
    if operation.error is not None:
        if not (operation.error.code or operation.error.message):
            raise Malformed("the operation's error says nothing")
        return _failed(task, operation.error)
    if not operation.done:
        return Update(state=State.RUNNING, task=task)
    response = operation.response or _Response()
    results = response.generate_video_response or _Results()
    videos = [*(response.videos or ()), *(each.video for each in results.generated_samples or ())]
    clips = [_clip(each, at, place) for at, each in enumerate(videos) if each]
    reasons = (*(response.rai_media_filtered_reasons or ()), *(results.rai_media_filtered_reasons or ()))
    filtered = reasons or response.rai_media_filtered_count or results.rai_media_filtered_count
    if assets := tuple(each for each in clips if each):
        # Only clips that were made are charged, those we cannot read too, whatever is said of those that are missing:
        # ai.google.dev/gemini-api/docs/pricing.
        usage = Usage(clips=len(videos))
        return Update(state=State.SUCCEEDED, task=task, assets=assets, usage=usage, raw_state="done")
    if videos or not operation.response or _strange(body["response"]):
        # Something was made that we have no word for; that is not to say that nothing was.
        return Update(state=State.UNKNOWN, task=task, raw_state="done")
    if filtered:
        message = " ".join(reasons) or "the safety filter took the clip"
        # As above: what the filter took is not charged.
        fault = Fault(code=support_codes(message) or "raiMediaFiltered", message=message, billed=False)
        return Update(state=State.REFUSED, task=task, fault=fault, raw_state="done")
    nothing = Fault(code="empty", message="the operation ended without a clip")
    return Update(state=State.FAILED, task=task, fault=nothing, raw_state="done")


def _strange(response: Any) -> bool:
    """Whether results hold what we have no word for."""
    frames = ((RESPONSE, response), (RESULTS, response.get("generateVideoResponse") or {}))
    return any(value and name not in known for known, frame in frames for name, value in frame.items())


def _failed(task: Task, said: _Status) -> Update:
    """Read an operation that ended with an error; a support code tells a refusal from a failure."""
    word = CODES.get(said.code, str(said.code)) if isinstance(said.code, int) else said.code or "error"
    message = said.message or word
    codes = support_codes(message)
    state = State.REFUSED if codes else State.CANCELLED if word == "CANCELLED" else State.FAILED
    return Update(
        state=state, task=task, fault=Fault(code=codes or word, message=message, billed=False), raw_state=word
    )


def _clip(video: _Video, at: int, place: Callable[[str], AssetRef]) -> AssetRef | None:
    """Read where one clip lies, or the clip itself."""
    kind = video.mime_type or video.encoding or "video/mp4"
    if data := video.bytes_base64_encoded or video.encoded_video:
        return AssetRef(data=data, index=at, media_type=kind)
    address = video.gcs_uri or video.uri
    return msgspec.structs.replace(place(address), index=at, media_type=kind) if address else None


def support_codes(message: str) -> str:
    """
    Read the codes of the safety filters that stopped a clip.

    >>> support_codes("It violates the guidelines. Support codes: 58061214")
    '58061214'
    """
    found = SUPPORT_CODES.search(message)
    return found[1].strip(" ,") if found else ""


def explain(reply: Reply, *, buying: bool) -> ProviderError:
    """
    Turn an error answer of either API into our words.

    503 stays in doubt on a purchase: of UNAVAILABLE, code.proto says that it is "not always safe to retry
    non-idempotent operations".
    """
    error = _read_error(reply.body)
    details = error.details or ()
    reason = next((each.reason for each in details if each.reason), "")
    word = error.status or ("" if error.code in {None, reply.status} else str(error.code))
    kind, scope = by_status(reply.status, buying=buying), None
    if kind in {Invalid, Missing, Unauthorized, Throttled, Exhausted}:
        kind = REASONS.get(reason) or WORDS.get(word) or kind
    if reply.status == 404 and buying:
        scope = Scope.MODEL  # a model retired or not opened to the account: "is no longer available"
    if kind is Throttled:
        scope = Scope.MODEL  # requests are counted by model: ai.google.dev/gemini-api/docs/rate-limits
        if any("PerDay" in (each.quota_id or "") for detail in details for each in detail.violations or ()):
            kind = Exhausted
    if kind is Invalid and support_codes(error.message or ""):
        kind, word = Refused, support_codes(error.message or "")
    return kind(
        error.message or f"Google answered {reply.status}",
        code=reason or word,
        status=reply.status,
        retry_after=_delay(details) or retry_after(reply.headers),
        scope=scope,
    )


def _read_error(body: bytes) -> _Error:
    """Read an error answer, bare or as the one element of an array; anything else says nothing."""
    problem = told(body, _Problem) or next(iter(told(body, list[_Problem]) or ()), _Problem())
    return problem.error or _Error()


def _delay(details: tuple[_Detail, ...]) -> float | None:
    """Read RetryInfo.retryDelay, a protobuf Duration: ``59s``, ``18.5s``."""
    for each in details:
        if found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", each.retry_delay or "", re.ASCII):
            return min(max(float(found[1]), LEAST), MOST)
    return None
