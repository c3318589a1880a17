"""
What is wanted: a request leaves choices open, a spec has made them all, an order is sent.

The words are ours, not a provider's: a surface maps its client's words to a :class:`Request`,
an adapter maps an :class:`Order` to its provider's words.
"""

from enum import StrEnum
from functools import lru_cache
from math import gcd
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct


class Mode(StrEnum):
    """Name a way of making a clip; an offer lists the ones it sells."""

    TEXT = "text"
    """From the prompt alone."""
    FIRST_FRAME = "first_frame"
    """The clip starts from a picture."""
    FRAMES = "frames"
    """The clip runs from a first to a last picture."""
    REFERENCE = "reference"
    """Pictures, clips or voices guide the clip without being a frame of it."""
    EDIT = "edit"
    """A source clip is changed as the prompt says."""
    EXTEND = "extend"
    """A source clip goes on; the result is both, stitched."""
    UPSCALE = "upscale"
    """A source clip is made again at a higher resolution."""


AS_LONG = frozenset({Mode.EDIT, Mode.UPSCALE})
"""Ways whose clip is as long as its source."""


class Role(StrEnum):
    """Say what an input is for."""

    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    REFERENCE = "reference"
    ELEMENT = "element"
    """It shows an :class:`Element`, whose name it bears."""
    SOURCE = "source"
    VOICE = "voice"
    MASK = "mask"


class Origin(Struct, frozen=True, kw_only=True):
    """Say which account made a clip and what it calls it: some go on only with their own."""

    provider: str
    """The listing's slug."""
    account: str
    handle: str
    """The provider's own name for the clip (:attr:`~providers.base.task.AssetRef.handle`)."""


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold one piece of media a client handed in, already sniffed and stored."""

    role: Role
    media_type: str
    """By magic bytes, never by the client's word: ``image/png``, ``video/mp4``."""
    sha256: str
    size: int
    """Bytes."""
    width: int = 0
    height: int = 0
    """Pixels; 0 where the format has none."""
    seconds: float = 0
    """Length of a clip or a voice; 0 for a picture."""
    name: str = ""
    """What the prompt calls it (``@name``), where the client gave one."""
    purpose: str = ""
    """A reference's finer role: subject, style, character, object, scene, motion."""
    weight: float | None = None
    origin: Origin | None = None
    """Who made it, where it is an earlier clip of ours."""

    @property
    def handle(self) -> str:
        """What the provider that made it calls it; empty where none did."""
        return self.origin.handle if self.origin else ""


class Shot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Describe one part of a clip told in several."""

    prompt: Annotated[str, Meta(min_length=1, max_length=32_000)]
    seconds: Annotated[int, Meta(ge=1, le=600)]


class Element(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Describe somebody or something to be seen in a clip; what shows it are inputs that bear its name."""

    name: str
    """What the prompt calls it (``@name``); no two of a request are called alike."""
    description: str = ""
    voice_id: str = ""
    """What it speaks with, in a provider's own word."""


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Hold what a client wants; ``None`` means the client left the choice open.

    A field a client set is never changed: an offer takes it as it is or cannot be used.
    """

    prompt: str
    model: str
    """A model, an alias, an offer (``provider:maker/model``) or ``auto``."""
    mode: Mode = Mode.TEXT
    seconds: int | None = None
    resolution: str | None = None
    """The short side: ``720p``, ``1080p``, ``4k``."""
    aspect_ratio: str | None = None
    """``16:9``."""
    audio: bool | None = None
    n: int | None = None
    fps: int | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    enhance_prompt: bool | None = None
    person_generation: str | None = None
    watermark: bool | None = None
    shots: tuple[Shot, ...] = ()
    characters: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()
    voices: tuple[dict[str, Any], ...] = ()
    container: str | None = None
    """``mp4``, ``webm``, ``mov``."""
    inputs: tuple[Input, ...] = ()
    options: dict[str, Any] = {}
    """What the client passes through to one provider, by the listing's slug."""

    def features(self) -> frozenset[str]:
        """Name the optional fields this request sets and inputs it brings; an offer must list each one."""
        roles = {each.role for each in self.inputs}
        set_ = [name for name, value in zip(FEATURES, _features(self), strict=True) if value not in UNSET]
        return frozenset(set_) | (roles & {*HANDED})

    def counts(self) -> tuple[int, ...]:
        """Count what :data:`COUNTS` names."""
        roles = [each.role for each in self.inputs]
        return (
            roles.count(Role.REFERENCE) + len(self.characters) + len(self.elements),
            roles.count(Role.VOICE) + len(self.voices),
            roles.count(Role.FIRST_FRAME) + roles.count(Role.LAST_FRAME),
        )

    def guided(self) -> bool:
        """Whether anything is to be seen or heard in the clip without being a frame of it."""
        roles = {each.role for each in self.inputs}
        return bool(roles & {Role.REFERENCE, Role.VOICE} or self.characters or self.elements)

    def shown(self, element: Element) -> tuple[Input, ...]:
        """List what shows one of the elements."""
        return tuple(each for each in self.inputs if each.role is Role.ELEMENT and each.name == element.name)

    def source_seconds(self) -> float:
        """Say how long the clip to be changed or gone on from is; 0 where there is none."""
        return sum(each.seconds for each in self.inputs if each.role is Role.SOURCE)


FEATURES = (
    "seed",
    "negative_prompt",
    "guidance_scale",
    "enhance_prompt",
    "person_generation",
    "watermark",
    "shots",
    "characters",
    "elements",
    "voices",
)
"""Fields of a request that an offer either takes or does not; the rest are lists of values sold."""

_features = attrgetter(*FEATURES)

HANDED = ("mask",)
"""Roles of inputs that an offer either takes or does not."""

UNSET = (None, ())
"""What a field holds that the client left alone."""

CHOICES = ("mode", "resolution", "seconds", "aspect_ratio", "audio", "n", "fps", "container")
"""Fields of a request that an offer sells as a list of values, the first being the default."""

choices = attrgetter(*CHOICES)
"""Read those of a request or a spec, in order."""

COUNTS = ("references", "voices", "frames")
"""How many of these a request brings: what a listing's rules may limit. Characters and elements are references."""


class Spec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Hold a request with every choice made; what was open came from the offer's listing.

    What is as it ever was is not written, so that an older gateway can tell an order it does not know all of.
    """

    mode: Mode
    resolution: str
    seconds: int
    """Length in whole seconds; 0 for as long as its source."""
    aspect_ratio: str
    audio: bool
    n: int
    fps: int
    container: str = "mp4"

    @property
    def frame(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return frame_size(self.resolution, self.aspect_ratio)

    def length(self, request: Request) -> float:
        """Say how many seconds the clip of a request will last: an extension is stitched to its source."""
        source = request.source_seconds()
        return self.seconds + source if self.mode is Mode.EXTEND else self.seconds or source


class Order(Struct, frozen=True, kw_only=True):
    """Hold one decided spec at one offer, ready to be put into a provider's words."""

    attempt: str
    """The gateway's own id of this purchase; the same order always carries the same one."""
    wire_name: str
    """What the seller calls the model."""
    route: str = ""
    """Which of the dialect's ways the offer is ordered by; empty where there is one."""
    request: Request
    spec: Spec
    files: dict[str, Path] = {}
    """Where the bytes of each input lie, by its sha256."""
    links: dict[str, str] = {}
    """Where the provider can fetch each input, by its sha256; only for a listing that takes links."""
    hook_url: str = ""
    """Where the provider may call when the task moves, unguessable and for this attempt alone; empty for nowhere."""

    def source(self) -> Input | None:
        """Find the clip to be edited, extended or upscaled."""
        return next((each for each in self.request.inputs if each.role is Role.SOURCE), None)


RESOLUTIONS = {"2k": 1440, "4k": 2160}


def lines(resolution: str) -> int:
    """
    Read a resolution's short side in pixels.

    :raises ValueError: for anything but ``<number>p``, ``2K`` or ``4K``.
    """
    word = resolution.lower()
    if word in RESOLUTIONS:
        return RESOLUTIONS[word]
    if word.endswith("p") and word[:-1].isascii() and word[:-1].isdigit() and len(word) <= 5:
        return int(word[:-1])
    msg = f"{resolution!r} is not a resolution"
    raise ValueError(msg)


@lru_cache(maxsize=256)
def frame_size(resolution: str, aspect_ratio: str) -> tuple[int, int]:
    """
    Work out width and height from a resolution (the short side) and a ratio; both are even.

    >>> frame_size("720p", "9:16")
    (720, 1280)
    """
    wide, high = (int(part) for part in aspect_ratio.split(":"))
    short = lines(resolution)
    long = round(short * max(wide, high) / min(wide, high) / 2) * 2
    return (long, short) if wide >= high else (short, long)


@lru_cache(maxsize=256)
def read_size(size: str) -> tuple[str, str]:
    """
    Read ``WxH`` as a resolution and an aspect ratio.

    >>> read_size("1280x720")
    ('720p', '16:9')

    :raises ValueError: when it is not two whole numbers of pixels.
    """
    wide, _, high = size.lower().partition("x")
    if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (wide, high)):
        msg = f"{size!r} is not a size"
        raise ValueError(msg)
    width, height = int(wide), int(high)
    if not (width and height):
        msg = f"{size!r} is not a size"
        raise ValueError(msg)
    short = min(width, height)
    for ratio in COMMON_RATIOS:
        if frame_size(f"{short}p", ratio) == (width, height):
            return (NAMED.get(short, f"{short}p"), ratio)
    step = gcd(width, height)
    return (NAMED.get(short, f"{short}p"), f"{width // step}:{height // step}")


COMMON_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
NAMED = {2160: "4k"}
