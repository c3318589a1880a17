"""
The body of a create call: every field of OpenAI's API and our own, each with its bounds.

Names follow OpenAI, else OpenRouter; a field nobody knows is refused by name. What the fields mean
together is :mod:`gateway.api.wishes`' business.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.api.forms import MEDIA, Body, check_crowd, check_depth, refuse_nul
from gateway.clips.uploads import Upload
from gateway.problems import ProblemError, invalid
from gateway.settings import Policy
from providers.base.order import Shot

Text = Annotated[str, Meta(max_length=10_000)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Id = Annotated[str, Meta(min_length=1, max_length=512)]
"""A provider's own word for what lies there: with an address and several ids in it, at Flow."""
Slug = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Slugs = Annotated[list[Slug], Meta(max_length=64)]
Number = int | float | str
MOST_MEDIA = 16
"""Pictures, clips and voices that one list of a call may hold."""
MOST_SHOWN = 16
"""Pictures and clips that all elements of a call may bring."""


class Provider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may make the clip, and who first."""

    only: Slugs = []
    order: Annotated[
        Slugs,
        Meta(
            description="Whom to try first, in this order. It stands before any `policy`; the others follow by price."
        ),
    ] = []
    ignore: Slugs = []
    allow_fallbacks: Annotated[
        bool,
        Meta(
            description="With `false` it is made at the offer it is quoted at, and waits while that is full or rests, "
            "or it fails. Else the next best may make it, at any price up to `max_cost_usd`."
        ),
    ] = True
    max_cost: int | float | str | None = None
    policy: Annotated[Policy | None, Meta(description="How the offer is chosen, unless `order` names somebody.")] = None


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What kind of file, and how long it is kept."""

    format: Literal["mp4", "webm", "mov"] | None = None
    retention_seconds: Annotated[int, Meta(ge=60, le=10 * 365 * 86_400)] | None = None


class ElementCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Somebody or something that is to be seen in the clip, and what shows it."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="What the prompt calls it.")]
    description: Text = ""
    images: Annotated[list[Any], Meta(max_length=MOST_SHOWN)] = []
    videos: Annotated[list[Any], Meta(max_length=MOST_SHOWN)] = []
    voice_id: Id | None = None


class VideoCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``POST /v1/videos``: a strict superset of OpenAI's."""

    prompt: str | None = None
    model: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][\w.:/-]*$")] | None = None
    seconds: Number | None = None
    duration: Number | None = None
    size: Word | None = None
    aspect_ratio: Word | None = None
    resolution: Word | None = None
    input_reference: Any = None
    frame_images: list[Any] = []
    input_references: list[Any] = []
    video: Any = None
    previous_video_id: Word | None = None
    previous_job_id: Word | None = None
    mask: Any = None
    task: (
        Literal["auto", "text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "remix", "upscale"]
        | None
    ) = None
    characters: Annotated[list[dict[str, Id]], Meta(max_length=16)] = []
    elements: Annotated[list[ElementCreate], Meta(max_length=16)] = []
    voices: Annotated[list[dict[str, Any]], Meta(max_length=16)] = []
    generate_audio: bool | None = None
    shots: Annotated[list[Shot], Meta(max_length=16)] = []
    negative_prompt: Text | None = None
    seed: Annotated[int, Meta(ge=0, le=4_294_967_295)] | None = None
    n: Annotated[int, Meta(ge=1, le=4)] | None = None
    fps: Annotated[int, Meta(ge=1, le=120)] | None = None
    guidance_scale: Annotated[float, Meta(ge=0, le=100)] | None = None
    enhance_prompt: bool | None = None
    person_generation: Word | None = None
    watermark: bool | None = None
    output: Output | None = None
    callback_url: Annotated[str, Meta(max_length=2048, pattern=r"^https?://[^\s/?#]+")] | None = None
    metadata: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
        Meta(max_length=16),
    ] = {}
    user: Annotated[str, Meta(max_length=256)] | None = None
    external_id: Annotated[str, Meta(max_length=256)] | None = None
    provider: Provider | None = None
    provider_options: dict[Slug, dict[str, Any]] = {}
    max_cost_usd: int | float | str | None = None
    on_unsupported: Literal["error", "warn"] = "error"
    on_unknown: Annotated[
        Literal["fail", "resubmit"],
        Meta(
            description="What becomes of it when nobody can tell whether its order was taken. With `fail` nothing is "
            "ever bought twice. With `resubmit` it is ordered once more, and both may have to be paid for: "
            "`possible_duplicate` says so, and `max_cost_usd` holds for both together."
        ),
    ] = "fail"


FIELDS = frozenset(VideoCreate.__struct_fields__)
COMPLEX = frozenset(
    {
        "input_reference", "frame_images", "input_references", "video", "mask", "characters", "elements", "voices",
        "shots", "output", "metadata", "provider", "provider_options",
    }
)  # fmt: skip
"""Fields a form may carry as JSON text."""
FREE = ("provider_options", "elements", "voices")
"""Fields that hold whatever a provider takes, or much text."""
MOST_FREE = 16 * 2**10
"""Bytes of JSON one of them may be: all of a call is kept with its job, and answered with it each time."""
SHOWING = ("images", "videos")
"""Fields of an element that name media."""
MEDIA_LISTS = frozenset({"frame_images", "input_references"})
NUMBERS: dict[str, tuple[Any, str]] = {
    "index": (Annotated[int, Meta(ge=0, le=99)], "a whole number; the first clip is 0"),
    "weight": (Annotated[float, Meta(ge=0, le=100)], "a number between 0 and 100"),
}
"""What is a number within an object that names media, and how it is written."""


def parse(body: Body, *, also: frozenset[str] = frozenset()) -> VideoCreate:
    """
    Check a body's fields.

    ``also`` names fields the route reads by itself.

    :raises ProblemError: 400 naming an unknown field, 422 naming a wrong one.
    """
    fields = {name: value for name, value in body.fields.items() if name not in also}
    unknown = sorted(set(fields) - FIELDS)
    if unknown:
        shown = ", ".join(repr(name[:64]) for name in unknown[:5])
        raise ProblemError(
            400,
            "unknown_parameter",
            f"Unknown field: {shown}. See /docs for the fields there are.",
            param=unknown[0][:64],
        )
    fields = {name: value for name, value in fields.items() if value is not None}
    if not body.strict:
        fields = {name: _unpack(name, value) for name, value in fields.items()}
    media = {name: fields.pop(name) for name in MEDIA if name in fields}
    for name in MEDIA_LISTS & media.keys():
        check_list(name, media[name])
    media = {name: _numbered(name, value, strict=body.strict) for name, value in media.items()}
    # Where in an element a file may be is its struct's to say.
    filed = next((name for name, value in fields.items() if name != "elements" and holds_file(value)), None)
    if filed:
        raise invalid(filed, f"{filed} does not take a file.")
    try:
        # Uploads ride along unread: msgspec has nothing to say about them.
        checked = msgspec.convert(fields, VideoCreate, strict=body.strict)
    except msgspec.ValidationError as error:
        raise explain(error) from error
    said = [msgspec.structs.replace(each, images=[], videos=[]) for each in checked.elements]
    for name in FREE:
        free = said if name == "elements" else getattr(checked, name)
        if free and len(msgspec.json.encode(free)) > MOST_FREE:
            message = f"{name} takes at most {MOST_FREE // 2**10} kB of JSON; media have fields of their own."
            raise invalid(name, message)
    elements = [_showing(f"elements[{at}]", each, strict=body.strict) for at, each in enumerate(checked.elements)]
    return msgspec.structs.replace(checked, **media, elements=elements)


def check_list(name: str, value: Any) -> None:
    """
    Refuse what is no list of media, or a longer one than any call takes, before anybody goes over it.

    :param name: what its caller calls it.
    :raises ProblemError: 422 naming it.
    """
    if not isinstance(value, list) or len(value) > MOST_MEDIA:
        raise invalid(name, f"{name} takes a list of at most {MOST_MEDIA} items.")


def _showing(param: str, element: ElementCreate, *, strict: bool) -> ElementCreate:
    """Read the numbers of the objects that name what shows an element."""
    media = {name: _numbered(f"{param}.{name}", getattr(element, name), strict=strict) for name in SHOWING}
    return msgspec.structs.replace(element, **media)


WORDS = {
    r"^https?://[^\s/?#]+": "an address with a host, like https://app.example.com/hook",
    r"^[A-Za-z0-9][\w.:/-]*$": "the name of a model, like google/veo-3.1: letters, digits and . : / - _",
    r"^[a-z][a-z0-9-]{0,31}$": "the name of a provider, in lower case, like flow",
    r"^[^\x00-\x1f\x7f-\x9f]+$": "a text of one line, without control characters",
    r"\S": "a text that is not blank",
}
"""What is wanted where a text must match a pattern, which nobody should have to read."""
PATTERN = re.compile(r"Expected `str` matching regex (.*?)(?= - at `|$)", re.DOTALL)
PLAINLY = {repr(pattern): words for pattern, words in WORDS.items()}


def explain(error: msgspec.ValidationError) -> ProblemError:
    """Say which field is wrong, and how."""
    said = re.sub("`(Enclosed|Upload)`", "a file", str(error).replace("`key` in ", ""))
    said = PATTERN.sub(lambda found: f"Expected {PLAINLY.get(found[1], 'another text')}", said)
    message, _, place = said.partition(" - at `$")
    if message.startswith("Object contains unknown field"):
        name = message.split("`")[1]
        return ProblemError(
            400, "unknown_parameter", f"Unknown field: {name!r}.", param=(place.strip("`.") or name)[:64]
        )
    param = place.rstrip("`").lstrip(".").removesuffix("[...]")[:64] or None
    return invalid(param, f"{param}: {message[0].lower()}{message[1:]}." if param else f"{message}.")


def _unpack(name: str, value: Any) -> Any:
    """Read JSON text where a form carries a list or an object."""
    if name in COMPLEX and isinstance(value, str) and value[:1] in {"{", "["}:
        check_crowd(value.encode())
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid(name, f"{name} is not valid JSON.") from error
        check_depth(value)
        refuse_nul(value, name)
    return value


def _numbered(param: str, value: Any, *, strict: bool) -> Any:
    """
    Read the numbers of objects that name media: in a form each is a text.

    :raises ProblemError: 422 naming one that is none.
    """
    if isinstance(value, list):
        return [_numbered(f"{param}[{at}]", each, strict=strict) for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    read = {name: _numbered(f"{param}.{name}", each, strict=strict) for name, each in value.items()}
    for name, (kind, words) in NUMBERS.items():
        if read.get(name) is not None:
            try:
                read[name] = msgspec.convert(read[name], kind, strict=strict)
            except msgspec.ValidationError as error:
                raise invalid(f"{param}.{name}", f"{name} is {words}.") from error
    return read


def holds_file(value: Any) -> bool:
    """Whether a file lies anywhere in a field that takes none."""
    if isinstance(value, dict | list):
        return any(map(holds_file, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Upload)
