"""Say how a clip, a task or an order turned out, in the words a client reads: pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from gateway.jobs.job import CONFIRM, UNDER_WAY, Job, backoff
from gateway.jobs.wish import Choice, Notice, Problem, Rendition, ResultLink, Wish
from providers.base.errors import ProviderError, Refused
from providers.base.order import Mode, Spec
from providers.base.task import State as TaskState
from providers.base.task import Update

ROUNDING = 0.02
"""How far a picture may be off: encoders pad to whole blocks, 1088 lines for 1080."""
DENIED = "its provider does not know it"
"""What an attempt says that its provider has denied once when it was no longer on its way."""
NO_ACCOUNT = "account_missing"
"""The code of what a job says while it waits for its account to be configured again."""
RESTING = "account_resting"
"""The code of what a job says while it waits for an account that rests for long."""
TURNED_AWAY = "turned_away"
"""The code of what a job says while it waits to be ordered again where its order was not taken."""
FULL = "media_full"
"""The code of what a job says while it waits for room for its clip."""
NEWER = "version_newer"
"""The code of what a job says while it waits for a program that can read all it asks for."""
CONTAINERS = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm"}


def compare(choice: Choice, wish: Wish, kept: list[Rendition]) -> list[Notice]:
    """Say where the clips differ from what was ordered; pure."""
    spec = choice.spec
    ordered = spec.length(wish.request)
    clips = [each for each in kept if each.kind == "video"]
    found: list[tuple[str, str]] = []
    if len(clips) != spec.n:
        found.append(("n", f"{spec.n} clips were ordered, {len(clips)} came"))
    for clip in clips:
        if clip.duration_seconds is not None and abs(clip.duration_seconds - ordered) > 0.5:
            found.append(("seconds", f"{ordered:g} s were ordered, {clip.duration_seconds:g} s came"))
        if spec.mode is not Mode.EXTEND:
            found += _misframed(spec, clip)
        if clip.content_type != CONTAINERS.get(spec.container, clip.content_type):
            found.append(("container", f"{CONTAINERS[spec.container]} was ordered, {clip.content_type} came"))
        if clip.has_audio is not None and clip.has_audio is not spec.audio:
            found.append(("audio", f"sound was {'' if spec.audio else 'not '}ordered; the opposite came"))
    return [Notice(type="mismatch", feature=feature, details=details) for feature, details in found]


def _misframed(spec: Spec, clip: Rendition) -> Iterator[tuple[str, str]]:
    """Say how a clip's picture differs: in its lines, its shape, or both."""
    (width, height), came = spec.frame, (clip.width, clip.height)
    told = f"{width}x{height} was ordered, {clip.width}x{clip.height} came"
    if abs(min(came) / min(width, height) - 1) > ROUNDING:
        yield "resolution", told
    if not clip.height or abs(clip.width / clip.height * height / width - 1) > ROUNDING:
        yield "aspect_ratio", told


def verdict(update: Update, provider: str) -> Problem:
    """Describe a task that ended badly to the client."""
    fault = update.fault
    refused = update.state is TaskState.REFUSED
    codes = {TaskState.REFUSED: "content_policy_violation", TaskState.EXPIRED: "task_expired"}
    return Problem(
        code=codes.get(update.state, "generation_failed"),
        message=fault.message if fault else "The provider could not make the clip.",
        type="invalid_request_error" if refused else "server_error",
        provider=provider,
        provider_code=fault.code if fault else update.raw_state or None,
    )


def problem_of(error: ProviderError, provider: str) -> Problem:
    """Describe a provider's refusal of an order to the client."""
    refused = isinstance(error, Refused)
    return Problem(
        code="content_policy_violation" if refused else f"provider_{error.kind}",
        message=error.message,
        type="invalid_request_error" if refused else "server_error",
        provider=provider,
        provider_code=error.code or None,
    )


def still_there(job: str, ends: int, where: str, links: Sequence[ResultLink]) -> str:
    """Add to the words about a lost clip until when it should lie at its provider, and where that is told."""
    if not links:
        return ""
    until = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f" Its provider should keep it until {until}: the link is in {where}, in GET /v1/videos/{job}."


def alone(account: str | None) -> str:
    """Say which account is waited for that is not configured."""
    return f"account {account} is not configured"


def alone_with(account: str, model: str) -> str:
    """Say which account is waited for that is configured here, but without what is wanted of it."""
    return f"account {account} does not sell {model}"


def sentence(said: str) -> str:
    """Begin a sentence."""
    return f"{said[0].upper()}{said[1:]}"


def waiting_for(job: Job) -> str | None:
    """Say what a job under way waits for beside its turn: an account that is gone or rests, room, a newer program."""
    if job.error is None or job.state.final:
        return None
    problem = msgspec.json.decode(job.error, type=Problem)
    return problem.message if problem.code in {NO_ACCOUNT, RESTING, TURNED_AWAY, FULL, NEWER} else None


def resumed(job: Job) -> Job:
    """Wait no more."""
    return job if waiting_for(job) is None else replace(job, error=None)


def until_absent(waited: float, tries: int, *, denied: bool) -> tuple[float | None, bool]:
    """
    Decide how long to go on asking for an order its provider denies, ``None`` once it never arrived; and whether to
    remember that it was denied.

    ``waited`` counts from the intent to buy: an order that is not there yet may still be on its way, in a queue, a
    proxy or a retry of somebody's. Buying it again before that is over buys it twice, and so may one look at a list
    that is behind: it must have been ``denied`` before, when it was no longer on its way.
    """
    if waited < UNDER_WAY:
        return min(UNDER_WAY - waited, backoff(tries, None, 0.5)), False
    return None if denied else CONFIRM, True
