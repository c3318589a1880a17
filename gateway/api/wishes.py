"""
What a create call means: its fields read together into a wish, nothing guessed.

What two names say of one thing must agree (``seconds`` and ``duration``, ``size`` and ``resolution``).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from gateway.api.create import MOST_SHOWN, ElementCreate, Number, Provider, VideoCreate
from gateway.door.intake import Medium
from gateway.jobs.wish import Preferences, Wish
from gateway.offers.routing import ADAPTIVE
from gateway.problems import ProblemError, invalid
from providers.base.listing import listings
from providers.base.order import Element, Input, Mode, Request, Role, lines, read_size

PURPOSES = ("", "subject", "style", "character", "object", "scene", "motion", "voice")
"""What a reference may be for; the empty word where the client does not say."""


def wish(
    create: VideoCreate, inputs: tuple[Input, ...], *, mode: Mode | None, default_model: str, policy: str | None = None
) -> Wish:
    """
    Turn a checked call and its stored inputs into a wish; ``policy`` is the caller's where the call names none.

    :raises ProblemError: when fields contradict each other.
    """
    prompt, mode = create.prompt or "", mode or _mode(create, inputs)
    if not prompt.strip() and mode is not Mode.UPSCALE:
        raise invalid("prompt", "Say what the clip should show.")
    if len(prompt) > 32_000:
        raise invalid("prompt", "A prompt has at most 32000 characters.")
    resolution, ratio = _frame(create)
    _known("provider_options", create.provider_options)
    request = Request(
        prompt=prompt,
        model=create.model or default_model,
        mode=mode,
        seconds=_whole(create),
        resolution=resolution,
        aspect_ratio=ratio,
        audio=create.generate_audio,
        n=create.n,
        fps=create.fps,
        seed=create.seed,
        negative_prompt=create.negative_prompt,
        guidance_scale=create.guidance_scale,
        enhance_prompt=create.enhance_prompt,
        person_generation=create.person_generation,
        watermark=create.watermark,
        shots=tuple(create.shots),
        characters=tuple(_id_of(each) for each in create.characters),
        elements=_elements(create),
        voices=tuple(create.voices),
        container=create.output.format if create.output else None,
        inputs=inputs,
        options=create.provider_options,
    )
    return Wish(
        request=request,
        preferences=_preferences(create, policy),
        metadata=create.metadata,
        user=create.user,
        external_id=create.external_id,
        callback_url=create.callback_url,
        retention_seconds=create.output.retention_seconds if create.output else None,
    )


def _preferences(create: VideoCreate, policy: str | None) -> Preferences:
    """Read how the client wants an offer chosen."""
    chosen = create.provider or Provider()
    for name in ("only", "order", "ignore"):
        _known(f"provider.{name}", getattr(chosen, name))
    return Preferences(
        policy=chosen.policy or policy,
        only=tuple(chosen.only),
        order=tuple(chosen.order),
        ignore=tuple(chosen.ignore),
        allow_fallbacks=chosen.allow_fallbacks,
        max_usd_micros=_ceiling(create.max_cost_usd, chosen.max_cost),
        on_unsupported=create.on_unsupported,
        on_unknown=create.on_unknown,
    )


def _known(param: str, slugs: Iterable[str]) -> None:
    """Refuse a provider nobody knows."""
    for slug in slugs:
        if slug not in listings():
            raise invalid(param, f"There is no provider {slug!r}; there are {', '.join(listings())}.")


def media(create: VideoCreate) -> list[Medium]:
    """
    List the media a call names, each with its role.

    :raises ProblemError: when one is not named in a form we know.
    """
    first = create.input_reference
    earlier = create.previous_video_id or create.previous_job_id
    if create.video is not None and earlier:
        raise invalid("video", "Give video or previous_video_id, not both.")
    found = [
        Medium(role=Role.FIRST_FRAME, source=each, param="input_reference")
        for each in (first if isinstance(first, list) else [first])
        if each is not None
    ]
    found += [_frame_image(at, each) for at, each in enumerate(create.frame_images)]
    found += [_reference(at, each) for at, each in enumerate(create.input_references)]
    if create.video is not None:
        found.append(Medium(role=Role.SOURCE, source=create.video, param="video"))
    elif earlier:
        found.append(Medium(role=Role.SOURCE, source={"id": earlier}, param="previous_video_id"))
    found += _shown(create.elements)
    if create.mask is not None:
        found.append(Medium(role=Role.MASK, source=create.mask, param="mask"))
    for each in found:
        _hold(each)
    roles = [each.role for each in found]
    for role, param in ((Role.FIRST_FRAME, "input_reference"), (Role.LAST_FRAME, "frame_images")):
        if roles.count(role) > 1:
            raise invalid(param, f"Give one {role.replace('_', ' ')}.")
    return found


ADDRESSES = ("image_url", "video_url", "audio_url")
PLACES = ("file_id", "id", *ADDRESSES, "url")
"""By what an object names a piece of media: one of these."""
ECHOED = ("object", "detail")
"""What clients say of any video or picture, out of habit, and what changes no clip."""
MORE = {"frame_images": ("frame_type",), "input_references": ("role", "name", "weight")}
"""What else it may say, by the field it is in."""


def _hold(medium: Medium) -> None:
    """
    Refuse an object that says what nobody reads, or names its piece of media twice, or as another kind than it says.

    :raises ProblemError: 400 naming an unknown field, 422 naming a wrong one.
    """
    source, param = medium.source, medium.param
    if medium.role is Role.MASK and isinstance(source, dict) and "image" in source:
        _strangers(source, ("image", "mode"), param)
        if source.get("mode") is not None:
            raise invalid("mask.mode", "No offer here tells kinds of masks apart; leave mode out.")
        source, param = source["image"], f"{param}.image"
    if not isinstance(source, dict):
        return
    _strangers(source, ("type", "index", *PLACES, *ECHOED, *MORE.get(medium.param.partition("[")[0], ())), param)
    given = [name for name in PLACES if source.get(name) is not None]
    if len(given) > 1:
        raise invalid(f"{param}.{given[1]}", f"{param} is named twice, by {' and '.join(given)}; give one.")
    kind = source.get("type")
    if kind is not None and kind not in ADDRESSES:
        raise invalid(f"{param}.type", f"type is {', '.join(ADDRESSES)}.")
    for name in given:
        if kind is not None and name in ADDRESSES and name != kind:
            raise invalid(f"{param}.type", f"type is {kind}, but {name} is what is given.")
        if isinstance(source[name], dict):
            _strangers(source[name], ("url", *ECHOED), f"{param}.{name}")
    if source.get("index") is not None and "id" not in given:
        raise invalid(f"{param}.index", "index is which clip of an earlier video; it goes with that one's id.")


def _strangers(said: Mapping[str, Any], known: Collection[str], param: str) -> None:
    """Refuse what an object says that nobody reads."""
    for name in said:
        if name not in known:
            told = f"{param}.{name[:64]}"
            raise ProblemError(
                400, "unknown_parameter", f"Unknown field: {told!r}. See /docs for those there are.", param=told
            )


def _frame_image(at: int, said: Any) -> Medium:
    """Read one item of ``frame_images``."""
    param = f"frame_images[{at}]"
    kind = said.get("frame_type", "first_frame") if isinstance(said, dict) else "first_frame"
    if kind not in ("first_frame", "last_frame"):
        raise invalid(f"{param}.frame_type", "frame_type is first_frame or last_frame.")
    return Medium(role=Role(kind), source=said, param=param)


def _reference(at: int, said: Any) -> Medium:
    """Read one item of ``input_references``."""
    param = f"input_references[{at}]"
    more = said if isinstance(said, dict) else {}
    purpose, name, weight = more.get("role", ""), more.get("name", ""), more.get("weight")
    if purpose not in PURPOSES:
        raise invalid(f"{param}.role", f"role is {', '.join(PURPOSES[1:])}.")
    if not isinstance(name, str) or len(name) > 64:
        raise invalid(f"{param}.name", "name is a text of at most 64 characters.")
    role = Role.VOICE if purpose == "voice" else Role.REFERENCE
    return Medium(role=role, source=said, param=param, name=name, purpose=purpose, weight=weight)


def _shown(elements: Sequence[ElementCreate]) -> list[Medium]:
    """List what shows the elements, each a picture or a clip as its field says."""
    found = [
        Medium(role=Role.ELEMENT, source=source, param=f"elements[{at}].{field}[{number}]", name=each.name, kind=kind)
        for at, each in enumerate(elements)
        for field, kind, sources in (("images", "image", each.images), ("videos", "video", each.videos))
        for number, source in enumerate(sources)
    ]
    if len(found) > MOST_SHOWN:
        raise invalid("elements", f"The elements of a call bring at most {MOST_SHOWN} pictures and clips together.")
    return found


def _elements(create: VideoCreate) -> tuple[Element, ...]:
    """Read the elements, each of which the prompt can mean by a name of its own."""
    taken = {str(each.get("name", "")).lower() for each in create.input_references if isinstance(each, dict)}
    for at, each in enumerate(create.elements):
        if each.name.lower() in taken:
            raise invalid(f"elements[{at}].name", f"Something else here is called {each.name!r} already.")
        taken.add(each.name.lower())
    return tuple(
        Element(name=each.name, description=each.description, voice_id=each.voice_id or "") for each in create.elements
    )


def _mode(create: VideoCreate, inputs: tuple[Input, ...]) -> Mode:
    """Say how the clip is to be made: as ``task`` says, and as the inputs allow."""
    roles = {each.role for each in inputs}
    if Role.LAST_FRAME in roles and Role.FIRST_FRAME not in roles:
        raise invalid("frame_images", "A last_frame needs a first_frame.")
    if Role.SOURCE in roles:
        implied = Mode.EDIT
    elif Role.LAST_FRAME in roles:
        implied = Mode.FRAMES
    elif Role.FIRST_FRAME in roles:
        implied = Mode.FIRST_FRAME
    elif roles & {Role.REFERENCE, Role.VOICE} or create.characters or create.elements:
        implied = Mode.REFERENCE
    else:
        implied = Mode.TEXT
    if create.task in {None, "auto"}:
        return implied
    asked = {
        "text_to_video": {Mode.TEXT},
        "image_to_video": {Mode.FIRST_FRAME, Mode.FRAMES},
        "reference_to_video": {Mode.REFERENCE},
        "edit": {Mode.EDIT},
        "remix": {Mode.EDIT},
        "extend": {Mode.EXTEND},
        "upscale": {Mode.UPSCALE},
    }[str(create.task)]
    if implied is Mode.EDIT and asked <= {Mode.EDIT, Mode.EXTEND, Mode.UPSCALE}:
        return asked.pop()
    if implied not in asked:
        raise invalid("task", f"task is {create.task}, but the inputs given are for {implied.replace('_', ' ')}.")
    return implied


def _whole(create: VideoCreate) -> int | None:
    """Read ``seconds``, a whole number however it is written."""
    said = (("seconds", create.seconds), ("duration", create.duration))
    given = {_seconds(name, value) for name, value in said if value is not None}
    if len(given) > 1:
        raise invalid("duration", "seconds and duration differ; give one.")
    return given.pop() if given else None


@lru_cache(maxsize=256, typed=True)
def _seconds(param: str, value: Number) -> int:
    """Read one spelling of the length."""
    try:
        number = Decimal(str(value)) if len(str(value)) <= 8 else Decimal(0)
    except InvalidOperation as error:
        raise invalid(param, f"{param} is a whole number of seconds.") from error
    # In this order: of "1e999999" there is a whole number, too, of a million digits.
    if not number.is_finite() or not 1 <= number <= 600 or number != int(number) or not str(value).isascii():
        raise invalid(param, f"{param} is a whole number of seconds between 1 and 600.")
    return int(number)


def _frame(create: VideoCreate) -> tuple[str | None, str | None]:
    """Read ``size``, or ``resolution`` and ``aspect_ratio``, which must agree with it."""
    resolution, ratio = create.resolution, create.aspect_ratio
    try:
        resolution = resolution and resolution.lower()
        if resolution:
            lines(resolution)
    except ValueError as error:
        raise invalid("resolution", "resolution is 360p, 720p, 1080p, 4k or the like.") from error
    if ratio is not None and ratio != ADAPTIVE:
        wide, _, high = ratio.partition(":")
        if not all(part.isascii() and part.isdigit() and 0 < len(part) <= 3 and int(part) for part in (wide, high)):
            raise invalid("aspect_ratio", "aspect_ratio is two whole numbers: 16:9.")
    if create.size is None:
        return resolution, ratio
    try:
        by_size = read_size(create.size)
    except ValueError as error:
        raise invalid("size", "size is WIDTHxHEIGHT in pixels: 1280x720.") from error
    for param, said, meant in (("resolution", resolution, by_size[0]), ("aspect_ratio", ratio, by_size[1])):
        if said is not None and said != meant:
            raise invalid(param, f"size {create.size} is {param} {meant}, not {said}; give one of them.")
    return by_size


DOLLARS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?", re.ASCII)
"""An amount written as text."""
NOISE = Decimal("1e-9")
"""Dollars by which a sum of floats may miss what was meant: 0.1 + 0.2 is 0.30000000000000004 to whoever adds it up."""


def _ceiling(*values: float | str | None) -> int | None:
    """Read the most a clip may cost, in micro-dollars."""
    read: set[int] = set()
    for value in values:
        if value is None:
            continue
        text = str(value)
        try:
            # Decimal reads " 1_000 " and 1e3 as well, which nobody means by an amount; a number itself may be 1e-05.
            plain = DOLLARS.fullmatch(text) if isinstance(value, str) else len(text) <= 24
            usd = Decimal(text) if plain else None
        except InvalidOperation:
            usd = None
        if isinstance(value, float) and usd is not None and 0 <= usd <= 1_000_000:
            whole = round(usd, 6)
            usd = whole if abs(usd - whole) < NOISE else usd
        if usd is None or not usd.is_finite() or not 0 <= usd <= 1_000_000 or usd != round(usd, 6):
            raise invalid("max_cost_usd", "max_cost_usd is a number of dollars with at most 6 decimals.")
        read.add(int(usd * 1_000_000))
    if len(read) > 1:
        raise invalid("max_cost_usd", "max_cost_usd and provider.max_cost differ; give one.")
    return read.pop() if read else None


def _id_of(character: dict[str, str]) -> str:
    """Read a character's id."""
    if set(character) != {"id"}:
        raise invalid("characters", 'Each character is {"id": "..."}.')
    return character["id"]
