"""Say what of an order Google Flow has no words for: pure."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta

from providers import _flow_characters
from providers._flow import voice
from providers.base.catalog import Refusal
from providers.base.objections import fields, unsaid
from providers.base.options import FIELD, passed, unknown_options
from providers.base.order import Mode, Order, Role

GOES_ON = frozenset({Mode.EXTEND, Mode.UPSCALE})
"""What is made of an earlier clip by its name alone."""
TAKEN = frozenset({Role.FIRST_FRAME, Role.LAST_FRAME, Role.SOURCE, Role.REFERENCE, Role.ELEMENT})
PARTS_MOST = 8
"""A joined clip of more parts (useapi: 10) comes back larger than any answer we read."""

# What can be uploaded, and how large a clip in bytes: how large a picture, the listing says.
# https://useapi.net/docs/api-google-flow-v1/post-google-flow-assets-email
UPLOADS = frozenset({"image/png", "image/jpeg", "image/webp", "video/mp4"})
CLIP_MOST = 100 * 2**20

# What a client may pass through, and what it may be: one word on the captcha, and where a clip is edited the window of
# it, at 24 frames a second of ten. .../post-google-flow-videos (captcha, video reference)
CAPTCHA: dict[str, Any] = {
    "captchaToken": Annotated[str, Meta(min_length=20)],
    "captchaRetry": Annotated[int, Meta(ge=1, le=10)],
    "captchaOrder": Annotated[str, Meta(pattern=r"^\w+(, ?\w+){0,9}$")],
}
START, END = "startFrameIndex_1", "endFrameIndex_1"
TRIM: dict[str, Any] = {START: Annotated[int, Meta(ge=0, le=239)], END: Annotated[int, Meta(ge=1, le=240)]}


def objections(order: Order, slug: str) -> Iterator[Refusal]:
    """Name what an order asks that Flow has no words for; ``slug`` is the seller whose options are passed on."""
    request, mode = order.request, order.spec.mode
    yield from unsaid(order, "Flow", TAKEN, names=True)
    for at, each in enumerate(request.inputs if mode not in GOES_ON else ()):
        is_clip = each.media_type.startswith("video/")
        if each.role in TAKEN and (each.media_type not in UPLOADS or (is_clip and each.size > CLIP_MOST)):
            why = f"Flow takes png, jpeg and webp, and mp4 up to 100 MB, not this {each.media_type}"
            yield Refusal(fields(request)[at], why)
    for said in request.voices:
        if {*said} - {"id", "name"} or not voice(said):
            why = "a voice is the id of a preset or of a voice made at Flow, and the name the prompt calls it by"
            yield Refusal("voices", why)
    yield from _flow_characters.objections(order)
    if mode in GOES_ON:
        yield from _source_objections(order)
    if request.options:
        unknown = [*unknown_options(request, slug, CAPTCHA | (TRIM if mode is Mode.EDIT else {}))]
        yield from unknown or _option_objections(passed(request, slug), f"{FIELD}.{slug}")


def _source_objections(order: Order) -> Iterator[Refusal]:
    """Name why an earlier clip cannot be extended or upscaled."""
    mode, source = order.spec.mode, order.source()
    parts = source.handle.split() if source else []
    if not parts:
        yield Refusal("video", f"Flow's {mode} takes only clips made at the same account")
    if mode is Mode.UPSCALE and len(parts) > 1:
        yield Refusal("video", "Flow upscales single clips, not extended ones")
    if mode is Mode.UPSCALE and order.request.seed is not None:
        yield Refusal("seed", "Flow takes no seed for an upscale")
    if mode is Mode.EXTEND and len(parts) >= PARTS_MOST:
        yield Refusal("video", f"Flow joins at most {PARTS_MOST} parts")


def _option_objections(said: Mapping[str, Any], field: str) -> Iterator[Refusal]:
    """Name options that go against each other."""
    if len(captcha := sorted({*CAPTCHA} & {*said})) > 1:
        yield Refusal(field, f"{field}: {' and '.join(captcha)} exclude each other; send one")
    if said.get(START, 0) >= said.get(END, 240):
        yield Refusal(f"{field}.{END}", f"{field}: {END} must be above {START}")
