"""
Read why Google Flow did not do it, in Google's words or useapi's: what it means, how far it reaches, how long it lasts.

One reason reads alike wherever it stands: in an error answer, in a failed job, in one clip of several.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from providers.base.advice import instant, retry_after, seconds_to_midnight, seconds_until
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Invalid,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unauthorized,
    Unavailable,
    by_status,
)
from providers.base.reading import told
from providers.base.wire import Reply


class Verdict(NamedTuple):
    """Say what a word means, how far it reaches, and how long the page says to wait."""

    kind: type[ProviderError]
    scope: Scope | None = None
    wait: float | None = None
    one: bool = False
    """Whether it is about one Google account, of several that may be connected."""


class Whose(StrEnum):
    """Say which Google account an order goes to, and so how far a verdict on that account reaches."""

    NAMED = "named"
    """The one that every order goes to: as far as its words say."""
    TIED = "tied"
    """The one that holds what the order refers to: this order can go nowhere else, others can."""
    ANY = "any"
    """Whichever useapi chose: the same order may find another a moment later."""


class TurnedAway(Throttled):
    """
    One Google account does not serve: the order comes again, to whichever useapi chooses, or to that one in its time.

    Where none is left useapi says so.
    """


# Google's reason, without PUBLIC_ERROR_: ours. https://useapi.net/docs/api-google-flow-v1/get-google-flow-jobs
# (May and June 2026: reasons and waits), .../post-google-flow-videos (403, 503), and the errors of
# github useapi/google-flow-api skills/omni-flash-video/SKILL.md (October 2026: MODEL_ACCESS_DENIED).
REASONS = {
    "UNUSUAL_ACTIVITY": Verdict(Throttled, Scope.ORDER, 60),  # Google did not believe this one captcha
    "UNUSUAL_ACTIVITY_TOO_MUCH_TRAFFIC": Verdict(Throttled, Scope.ACCOUNT, 30),  # for the captcha solver
    "USER_REQUESTS_THROTTLED": Verdict(Throttled, Scope.ACCOUNT, 600, one=True),
    "USER_QUOTA_REACHED": Verdict(Exhausted, Scope.ACCOUNT, 1800, one=True),  # May: until midnight, June: half an hour
    "PER_MODEL_DAILY_QUOTA_REACHED": Verdict(Exhausted, Scope.MODEL, one=True),
    "MODEL_ACCESS_DENIED": Verdict(Unauthorized, Scope.MODEL),
    "ERROR_ZERO_BALANCE": Verdict(Exhausted, Scope.ACCOUNT),  # of the captcha solver
}
DAILY = "PER_MODEL_DAILY_QUOTA_REACHED"

# What a reason of content policy holds: UNSAFE_GENERATION, PROMINENT_PEOPLE_FILTER_FAILED, AUDIO_FILTERED,
# MINOR_UPLOAD, TRUMP_FACE_DETECTED. .../post-google-flow-videos and .../post-google-flow-assets-email (June 2026)
POLICY = ("UNSAFE", "FILTER", "PROMINENT_PEOPLE", "MINOR", "FACE_DETECTED", "CHILD_SAFETY", "SEXUAL", "VIOLENCE")

# useapi's own errors are a text and nothing else: how it begins, ours. .../post-google-flow-videos (402, 403, 404,
# 503, 596; "The account needs to be reconfigured"), .../get-google-flow-jobs (no_eligible_account)
BEGINNINGS = {
    "Account has no subscription": Verdict(Exhausted, Scope.ACCOUNT),  # at useapi, whichever Google account it is
    "captcha_quality": Verdict(Throttled, Scope.ORDER, 60),  # the commonest failure of all
    "Captcha service failed": Verdict(Unavailable, Scope.ACCOUNT, 30),  # unsolved, so Google was never asked
    "Unauthorized access to ": Verdict(Invalid, Scope.ORDER),  # a reference of another user
    "Google Flow account ": Verdict(Unauthorized, Scope.ACCOUNT, one=True),  # "... not found": not connected
    "Failed to refresh session": Verdict(Unauthorized, Scope.ACCOUNT, one=True),
    "no_eligible_account": Verdict(Throttled, Scope.ACCOUNT),
}

# A page's word that nothing was taken. 503: "safe to retry" (.../post-google-flow-videos, 2025-11-26; useapi's own
# scripts wait 30 s); 596: the Google session behind the account is gone, so nothing can be ordered with it.
# 402 in other words than those above: a Google account is short of credits; 429 in words unknown here: its limits.
# Only believed where the answer is in useapi's words: a proxy's error page proves nothing.
AT_THE_DOOR = {
    402: Verdict(Exhausted, one=True),
    429: Verdict(Throttled, one=True),
    503: Verdict(Unavailable, None, 30),
    596: Verdict(Unauthorized, Scope.ACCOUNT, one=True),
}
ANOTHER = 5.0
"""Seconds after which an order is tried at another Google account."""

WORD = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
PRIVATE = re.compile(r"user:\d+-email:\S+|[^\s@]+@[^\s@]+")
"""References and addresses of the operator's account, in texts a client may read."""

TEXT_MOST = 500
"""Characters of an error's text that are read."""


class Said(Struct, frozen=True, rename="camel"):
    """Begin a struct of theirs: camelCase, unknown keys ignored."""


class Detail(Said, frozen=True):
    """Hold Google's reason for an error."""

    reason: str | None = None


class GoogleError(Said, frozen=True):
    """Hold an error as Google words it."""

    message: str | None = None
    status: str | None = None
    details: list[Detail] | None = None


class MediaStatus(Said, frozen=True):
    """Hold how one clip ended."""

    media_generation_status: str | None = None
    error: GoogleError | None = None
    failure_reasons: list[str] | None = None


class Skip(Said, frozen=True):
    """Hold why useapi's balancer passed an account over; ``*`` is every model."""

    model: str | None = None


class Problem(Said, frozen=True):
    """Hold an error answer: a text by useapi, an object by Google."""

    error: str | GoogleError | None = None
    media_status: MediaStatus | None = None
    retry_after: str | float | None = None
    """An instant in ISO 8601."""
    skip_reasons: list[Skip] | None = None


class Words(NamedTuple):
    """Hold what was said about a failure: the machine's word, the text, and what they mean if we know."""

    code: str
    message: str
    verdict: Verdict | None


def words(*said: str | GoogleError | MediaStatus | None) -> Words:
    """Find the word that decides among what was said, the most telling first."""
    texts = [text[:TEXT_MOST] for each in said for text in _texts(each) if text]
    found = [word for text in texts for word in WORD.findall(text)]
    known = next(((word, verdict) for word in found if (verdict := _meaning(word))), None)
    verdict = known[1] if known else next((each for text in texts if (each := _beginning(text))), None)
    code = known[0] if known else next(iter([*found, *filter(str.isidentifier, texts)]), "")
    message = next((text for text in texts if " " in text), next(iter(texts), ""))
    return Words(code, PRIVATE.sub("(hidden)", message), verdict)


def read_error(reply: Reply, *, buying: bool, whose: Whose) -> ProviderError:
    """Turn an error answer into our words: the status first, then Google's reason, then useapi's fixed texts."""
    status, kind = reply.status, by_status(reply.status, buying=buying)
    problem = told(reply.body, Problem) or Problem()
    code, message, verdict = words(problem.error, problem.media_status)
    door = AT_THE_DOOR.get(status) if message else None
    if status < 400 or (kind is Indeterminate and not door):
        verdict = None  # whatever the text says, nobody said that the order was not taken
    verdict = verdict or door or Verdict(kind)
    scope = verdict.scope
    if verdict.one and whose is not Whose.NAMED:
        scope = Scope.ORDER
    if problem.skip_reasons and all(each.model not in {None, "*"} for each in problem.skip_reasons):
        scope = Scope.MODEL
    free = verdict.one and whose is Whose.ANY
    waits = verdict.one and whose is Whose.TIED and issubclass(verdict.kind, Exhausted | Throttled)
    return (TurnedAway if free or waits else verdict.kind)(
        message or f"Flow answered {status}",
        code=code,
        status=status,
        retry_after=ANOTHER if free else _wait(problem, reply.headers, code, verdict),
        scope=scope,
    )


def _wait(problem: Problem, headers: Mapping[str, str], code: str, verdict: Verdict) -> float | None:
    """Read how long to wait: off the header, off the instant in the body, off the page."""
    named = seconds_until(instant(problem.retry_after), headers) if isinstance(problem.retry_after, str) else None
    daily = seconds_to_midnight(headers) if code.endswith(DAILY) else None
    return retry_after(headers) or named or daily or verdict.wait


def _texts(said: str | GoogleError | MediaStatus | None) -> Iterator[str | None]:
    """List what was said, reasons before prose."""
    if isinstance(said, MediaStatus):
        yield from _texts(said.error)
        yield from said.failure_reasons or ()
    elif isinstance(said, GoogleError):
        yield from (each.reason for each in said.details or ())
        yield from (said.message, said.status)
    else:
        yield said


def _meaning(word: str) -> Verdict | None:
    """Look a machine's word up."""
    reason = word.removeprefix("PUBLIC_ERROR_")
    return REASONS.get(reason) or (Verdict(Refused) if any(part in reason for part in POLICY) else None)


def _beginning(text: str) -> Verdict | None:
    """Look a text up by how it begins."""
    return next((verdict for begins, verdict in BEGINNINGS.items() if text.startswith(begins)), None)
