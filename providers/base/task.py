"""What a provider answers: a handle, observations of it, and where the clip lies."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct


class State(StrEnum):
    """Name where a task stands; a word never seen is ``UNKNOWN``, which is not final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    """The provider's policy stopped it."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """It once existed and its result is gone."""
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the task will never change again."""
        return self not in {State.QUEUED, State.RUNNING, State.UNKNOWN}


class Task(Struct, frozen=True):
    """Hold the provider's own handle for an order."""

    id: str
    data: Mapping[str, Any] = {}
    """What else the dialect needs to find it again."""


class AssetRef(Struct, frozen=True, kw_only=True):
    """Say where a provider put a finished piece of media."""

    url: str = ""
    data: bytes = b""
    """The clip itself, where the provider sends it in its answer."""
    index: int = 0
    """Which clip of several."""
    media_type: str = "video/mp4"
    handle: str = ""
    """The provider's own name for the clip, by which it can be edited, extended or upscaled there."""


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what the provider says it counted; ``None`` where it said nothing."""

    usd_micros: int | None = None
    credits: Decimal | None = None
    """Credits charged."""
    tokens: int | None = None
    """Tokens of video made."""
    clips: int | None = None
    """Clips charged, where they are fewer than were ordered."""
    seconds: int | None = None
    remaining_credits: int | None = None


class Fault(Struct, frozen=True, kw_only=True):
    """Hold why a task ended badly."""

    code: str
    """The provider's own word."""
    message: str
    billed: bool | None = None
    """``None`` where the provider does not say."""


class Update(Struct, frozen=True, kw_only=True):
    """Hold one observation of a task, by submit, poll or cancel."""

    state: State
    task: Task
    progress: int | None = None
    """0 to 100, only where the provider measures it."""
    assets: tuple[AssetRef, ...] = ()
    fault: Fault | None = None
    usage: Usage | None = None
    poll_after: float | None = None
    """Seconds until it is worth looking again, where the provider says."""
    raw_state: str = ""
    """The provider's own word for ``state``."""
