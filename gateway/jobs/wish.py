"""What a job's row keeps as JSON: what its client asked for, the offer that was chosen, and what came of it."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from providers.base.order import Request, Spec

Kept = TypeVar("Kept", bound=Struct)


class Preferences(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold how the client wants an offer chosen."""

    models: tuple[str, ...] = ()
    """What the model asked for stands for, in order, where a borrowed dialect's name of it means several."""
    policy: str | None = None
    only: tuple[str, ...] = ()
    """Providers it may be, by slug; empty for any."""
    order: tuple[str, ...] = ()
    """Providers to try first, in this order."""
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    max_usd_micros: int | None = None
    on_unsupported: Literal["error", "warn"] = "error"
    on_unknown: Literal["fail", "resubmit"] = "fail"
    """What becomes of an order nobody knows the fate of: its job fails, or is ordered once more, at most."""


class Wish(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold one create call, validated; never changed afterwards."""

    request: Request
    preferences: Preferences = Preferences()
    metadata: dict[str, str] = {}
    user: str | None = None
    external_id: str | None = None
    callback_url: str | None = None
    retention_seconds: int | None = None
    converts: bool = False
    """
    Whether a picture has to be converted for the offer it was accepted at.

    It is read by nobody but older programs, which cannot: they leave it to one that does (:func:`read_whole`).
    """
    echo: dict[str, str] = {}
    """What a borrowed dialect needs again to answer in its client's own words."""


Place = tuple[str, str]
"""An account, and an offer of it by its name."""


class Choice(Struct, frozen=True, kw_only=True):
    """Hold the offer chosen for a job and what it costs there."""

    account: str
    provider: str
    model: str
    spec: Spec
    usd_micros: int
    credits: str | None = None
    source: str = ""
    why: str = ""
    """Why it was chosen; empty until it was."""
    others: tuple[tuple[str, int], ...] = ()
    """What the next best would have cost: offer and micro-dollars."""

    @property
    def offer(self) -> str:
        """The offer's name: ``provider:model``."""
        return f"{self.provider}:{self.model}"

    @property
    def place(self) -> Place:
        """Where it is ordered."""
        return self.account, self.offer


class NewerError(Exception):
    """A job asks for what this program cannot read: a newer one beside it, or before it, has taken it."""

    def __str__(self) -> str:
        """Say what that is."""
        return f"a newer version of this gateway took it, and this one does not know: {self.args[0]}"


@lru_cache(maxsize=256)
def read_wish(text: str) -> Wish:
    """
    Read a wish as it is kept; whoever answers a new job and whoever buys for it read the same one.

    :raises NewerError: when it holds a word this program does not know.
    """
    return _read(text, Wish)


@lru_cache(maxsize=256)
def read_choice(text: str) -> Choice:
    """
    Read a choice as it is kept, likewise.

    :raises NewerError: likewise.
    """
    return _read(text, Choice)


def _read(text: str, kept: type[Kept]) -> Kept:
    """Read what is kept, or say what of it nobody here knows."""
    try:
        return msgspec.json.decode(text, type=kept)
    except msgspec.ValidationError as error:
        raise NewerError(str(error)) from error


def read_whole(job_wish: str, quote: str) -> None:
    """
    Make sure that nothing a job asks for is passed over.

    :raises NewerError: naming what this program cannot read.
    """
    wish, choice = read_wish(job_wish), read_choice(quote)
    if _written(wish) == job_wish and _written(choice) == quote:
        return  # As nearly always: what reads as it is written leaves nothing out.
    spec = msgspec.json.decode(quote)["spec"]
    words = [*_unread(msgspec.json.decode(job_wish), wish), *_unread(spec, choice.spec)]
    if words:
        raise NewerError(", ".join(words))


def _written(kept: Struct) -> str:
    """Write what is kept as its row has it."""
    return msgspec.json.encode(kept).decode()


def _unread(kept: Any, read: Any) -> Iterator[str]:
    """Go through what is kept beside what was read of it; what was left open asks for nothing."""
    if isinstance(read, Struct):
        for name, value in kept.items():
            if name in read.__struct_fields__:
                yield from _unread(value, getattr(read, name))
            elif value is not None:
                yield name
    elif isinstance(read, tuple):
        for each, other in zip(kept, read, strict=True):
            yield from _unread(each, other)


class Rendition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold one kept piece of media of a job."""

    index: int
    kind: str
    """video, thumbnail, spritesheet or last_frame."""
    path: str
    """Where it lies below the media root."""
    content_type: str
    bytes: int
    sha256: str
    width: int = 0
    height: int = 0
    duration_seconds: float | None = None
    fps: float | None = None
    has_audio: bool | None = None
    codec: str | None = None
    audio_codec: str | None = None
    handle: str = ""
    """What the provider that made it calls it."""


class ResultLink(Struct, frozen=True, kw_only=True):
    """Say where a clip that could not be kept here still lies at its provider, for anybody to fetch."""

    index: int
    """Which clip of several."""
    url: str
    expires_at: int
    """Until when it should live, in seconds since the epoch."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold why a job or an attempt ended badly, as shown to the client."""

    code: str
    message: str
    type: str = "server_error"
    param: str | None = None
    retryable: bool = False
    provider: str | None = None
    provider_code: str | None = None
    result_links: tuple[ResultLink, ...] = ()
    """Where what was paid for and lost still lies."""


class Notice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold something the client should know that did not stop the job."""

    type: str
    """unsupported, sandbox, converted, mismatch, result_lost, late, over_estimate."""
    feature: str
    details: str
    result_links: tuple[ResultLink, ...] = ()
    """As of a :class:`Problem`."""


_renditions = msgspec.json.Decoder(list[Rendition])
_problem = msgspec.json.Decoder(Problem)
_notices = msgspec.json.Decoder(list[Notice])


def read_renditions(text: str) -> list[Rendition]:
    """Read what is kept of a job's clips."""
    return _renditions.decode(text)


def read_problem(text: str) -> Problem:
    """Read why a job ended badly, or what it waits for."""
    return _problem.decode(text)


def read_notices(text: str) -> list[Notice]:
    """Read what a job's client should know beside."""
    return _notices.decode(text)
