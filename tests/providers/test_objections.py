"""
Laws of what a dialect has no words for: it is known when it is quoted, and nothing is left out in silence.

Every offer of every listing, in each of its modes, is asked for more than it may know: a feature, an input of every
role, what can be said of a reference, what is passed through.
"""

from collections.abc import Callable
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.offers.asking import Line, Seller, ask
from providers.base.catalog import shape
from providers.base.conversion import foreseen
from providers.base.errors import Invalid
from providers.base.listing import Listing, Offer, listings
from providers.base.objections import CONTENT
from providers.base.order import Element, Input, Mode, Order, Request, Role, Shot
from tests.make import price
from tests.providers.cases import ACCOUNT, open_provider, write
from tests.providers.test_conformance import bought, offers, wish_for

DAY = date(2026, 11, 21)
SOLD = [each.values for each in offers()]

FEATURES: dict[str, Any] = {
    "seed": 7,
    "negative_prompt": "rain",
    "guidance_scale": 3.5,
    "enhance_prompt": True,
    "person_generation": "allow_adult",
    "watermark": True,
    "shots": (Shot(prompt="a cat", seconds=4),),
    "characters": ("character-1",),
}
SPOKEN = {"a voice": ({"id": "Kore"},), "a voice by address": ({"url": "https://voices.example/a.wav"},)}
HANDED = [
    (Role.FIRST_FRAME, "image/png"), (Role.LAST_FRAME, "image/png"), (Role.REFERENCE, "image/png"),
    (Role.REFERENCE, "video/mp4"), (Role.REFERENCE, "audio/wav"), (Role.VOICE, "audio/wav"), (Role.MASK, "image/png"),
    (Role.SOURCE, "video/mp4"),
]  # fmt: skip
SEVERAL = {Role.REFERENCE, Role.ELEMENT, Role.VOICE}
"""Roles a call may hand in more than one of."""
SAID: dict[str, dict[str, Any]] = {
    **{
        f"for its {purpose}": {"purpose": purpose}
        for purpose in ("subject", "style", "character", "object", "scene", "motion")
    },
    "a weight": {"weight": 0.5},
    "a name": {"name": "Tom"},
}
SIZES = {"20 MB and more": 20 * 2**20 + 1, "100 MB and more": 100 * 2**20 + 1}
Change = Callable[[Request, str], Request]


def handed(request: Request, role: Role, media_type: str) -> Request:
    """Hand one more input in."""
    digest = sha256(f"more-{role}-{media_type}".encode()).hexdigest()
    more = Input(role=role, media_type=media_type, sha256=digest, size=9, width=1280, height=720, seconds=4)
    return replace(request, inputs=(*request.inputs, more))


def cast(request: Request, *media_types: str, **words: str) -> Request:
    """Ask for an element, shown by what is of these types."""
    for number, media_type in enumerate(media_types):
        digest = sha256(f"element-{number}".encode()).hexdigest()
        more = Input(role=Role.ELEMENT, media_type=media_type, sha256=digest, size=9, seconds=4, name="Tom")
        request = replace(request, inputs=(*request.inputs, more))
    return replace(request, elements=(Element(name="Tom", **words),))


def told(request: Request, **words: Any) -> Request:
    """Say something of every reference."""
    spoken = {Role.REFERENCE, Role.VOICE}
    return replace(request, inputs=tuple(replace(at, **words) if at.role in spoken else at for at in request.inputs))


def grown(request: Request, size: int) -> Request:
    """Make every input as large."""
    return replace(request, inputs=tuple(replace(each, size=size) for each in request.inputs))


PNG, MP4 = "image/png", "video/mp4"
CAST: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "an element": ((PNG,), {}),
    "an element of two pictures, described": ((PNG, "image/jpeg"), {"description": "a tom cat"}),
    "an element that speaks": ((PNG,), {"voice_id": "kore"}),
    "an element that speaks as nobody does": ((PNG,), {"voice_id": "tenor"}),
    "an element told of at length": ((PNG,), {"description": "a" * 2001}),
    "an element nobody shows": ((), {}),
    "an element of three pictures": ((PNG, PNG, PNG), {}),
    "an element of a clip": ((MP4,), {}),
    "an element of a picture and a clip": ((PNG, MP4), {}),
}
CHANGES: dict[str, Change] = {
    **{
        name: lambda request, _, t=types, w=words: cast(request, *t, **w)  # type: ignore[misc]
        for name, (types, words) in CAST.items()
    },
    **{name: lambda request, _, n=name, v=value: replace(request, **{n: v}) for name, value in FEATURES.items()},  # type: ignore[misc]
    **{name: lambda request, _, v=value: replace(request, voices=v) for name, value in SPOKEN.items()},  # type: ignore[misc]
    **{
        f"{role} {media_type}": lambda request, _, r=role, m=media_type: handed(request, r, m)  # type: ignore[misc]
        for role, media_type in HANDED
    },
    **{name: lambda request, _, w=words: told(request, **w) for name, words in SAID.items()},  # type: ignore[misc]
    **{name: lambda request, _, s=size: grown(request, s) for name, size in SIZES.items()},  # type: ignore[misc]
    "an option nobody knows": lambda request, slug: replace(request, options={slug: {"nosuch": 1}}),
    "options that are none": lambda request, slug: replace(request, options={slug: ["nosuch"]}),
}
ALIKE = {name for name, words in SAID.items() if words.get("purpose") in CONTENT} | {*SIZES}
"""What may be said and changes no word: a reference is for one of these anyway."""


def asked(listing: Listing, offer: Offer, request: Request) -> Line:
    """Ask an offer, sold and priced whatever its listing says, on the plan that sells the most."""
    line = price(models=[offer.model], per="video", since=date(2025, 1, 1), checked=DAY)
    sold = replace(listing, prices=[line])
    provider = open_provider(listing)
    plan = listing.plans[-1].name if listing.plans else ""
    seller = Seller(account=ACCOUNT, listing=sold, plan=plan, objections=provider.objections)
    return ask(seller, replace(offer, ended=None, ended_why=""), request, shape(request), DAY)


def ordered(offer: Offer, request: Request, line: Line, folder: Path) -> Order:
    """Write the order that was quoted, its inputs' bytes in files, converted as far as its offer needs it."""
    assert line.choice
    request = replace(request, inputs=tuple(foreseen(offer, request.inputs)))
    files = {each.sha256: folder / each.sha256 for each in request.inputs}
    for digest, path in files.items():
        path.write_bytes(digest.encode())
    return write(offer, request, line.choice.spec, files)


def base(listing: Listing, offer: Offer, mode: Mode, folder: Path) -> Request:
    """Ask for a clip in a mode with what it needs, and speak of somebody by a name."""
    return replace(wish_for(listing, offer, mode, folder)[0], prompt="@Tom runs, @Tom jumps")


@pytest.mark.parametrize(("listing", "offer", "mode"), offers())
async def test_what_is_quoted_is_said(listing: Listing, offer: Offer, mode: Mode, tmp_path: Path) -> None:
    """Whatever more is asked for is refused by its field when it is quoted, or changes what is sent."""
    plain = base(listing, offer, mode, tmp_path)
    line = asked(listing, offer, plain)
    if line.choice is None:
        assert mode not in {Mode.TEXT, Mode.FIRST_FRAME}
        return
    usual = await bought(listing, ordered(offer, plain, line, tmp_path))
    assert usual
    for name, change in CHANGES.items():
        wanted = change(plain, listing.slug)
        roles = [each.role for each in wanted.inputs]
        if wanted == plain or any(roles.count(role) > 1 for role in {*roles} - SEVERAL):
            continue  # Nobody can ask for that.
        line = asked(listing, offer, wanted)
        if line.choice:
            sent = await bought(listing, ordered(offer, wanted, line, tmp_path))
            assert sent, f"{name} was quoted, and cannot be said"
            assert sent != usual or name in ALIKE, f"{name} was quoted, and left out"
        else:
            assert all(refusal.field and refusal.message for refusal in line.refusals)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(at=st.sampled_from(SOLD), names=st.sets(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4))
async def test_an_adapter_refuses_what_it_objects_to_and_nothing_else(
    at: tuple[Any, ...], names: set[str], tmp_path: Path
) -> None:
    """Whatever is asked for together: what it says when it is asked is what it says when it is ordered."""
    listing, offer, mode = at
    request = base(listing, offer, mode, tmp_path)
    if asked(listing, offer, request).choice is None:
        return
    line = asked(listing, offer, request)
    for name in sorted(names):
        request = CHANGES[name](request, listing.slug)
    order = ordered(offer, request, line, tmp_path)
    objections = [*open_provider(listing).objections(order)]
    if objections:
        with pytest.raises(Invalid) as refused:
            await bought(listing, order)
        assert (objections[0].message, objections[0].field) == (refused.value.message, refused.value.code)
    else:
        assert await bought(listing, order)


@pytest.mark.parametrize(
    ("offer", "mode", "change", "field", "why"),
    [
        ("flow:google/veo-3.1-fast", Mode.REFERENCE, "a weight", "input_references[0].weight", "takes no weight"),
        ("flow:google/veo-3.1-fast", Mode.REFERENCE, "for its style", "input_references[0].role", "for its style"),
        ("flow:google/veo-3.1-fast", Mode.REFERENCE, "voice audio/wav", "input_references[1]", "handed in as a file"),
        ("flow:google/veo-3.1-fast", Mode.TEXT, "an option nobody knows", "provider_options.flow.nosuch", "nosuch"),
        ("flow:google/veo-3.1-fast", Mode.REFERENCE, "an element nobody shows", "elements[0].images", "not of 0"),
        ("flow:google/veo-3.1-fast", Mode.REFERENCE, "an element of three pictures", "elements[0].images", "not of 3"),
        ("flow:google/gemini-omni-flash", Mode.EDIT, "an element of a clip", "elements[0].videos[0]", "not of clips"),
        (
            "flow:google/veo-3.1-fast",
            Mode.REFERENCE,
            "an element of a picture and a clip",
            "elements[0].videos[0]",
            "not of clips",
        ),
        (
            "flow:google/veo-3.1-fast",
            Mode.REFERENCE,
            "an element told of at length",
            "elements[0].description",
            "2000 characters",
        ),
        (
            "flow:google/veo-3.1-fast",
            Mode.REFERENCE,
            "an element that speaks as nobody does",
            "elements[0].voice_id",
            "a preset",
        ),
        ("flow:google/gemini-omni-flash", Mode.EDIT, "100 MB and more", "video", "mp4 up to 100 MB"),
        ("flow:google/veo-3.1-fast", Mode.UPSCALE, "seed", "seed", "no seed for an upscale"),
        ("vertex:google/veo-3.1", Mode.REFERENCE, "for its motion", "input_references[0].role", "for its motion"),
        ("vertex:google/veo-3.1", Mode.REFERENCE, "a name", "input_references[0].name", "@Tom"),
        ("gemini:google/gemini-omni-flash", Mode.REFERENCE, "for its motion", "input_references[0].role", "Omni"),
        ("aigenerate:google/veo-3.1-fast", Mode.REFERENCE, "a weight", "input_references[0].weight", "AI Generate"),
        ("cometapi:google/veo-3.1", Mode.FIRST_FRAME, "voice audio/wav", "input_references[0]", "CometAPI"),
        ("cometapi:google/veo-3.1", Mode.TEXT, "options that are none", "provider_options.cometapi", "is an object"),
    ],
)
def test_an_objection_names_the_field(
    offer: str, mode: Mode, change: str, field: str, why: str, tmp_path: Path
) -> None:
    """As a client wrote it, and what is wrong with it."""
    slug, _, model = offer.partition(":")
    listing = listings()[slug]
    found = listing.offer(model)
    assert found
    request = CHANGES[change](base(listing, found, mode, tmp_path), slug)
    (refusal,) = asked(listing, found, request).refusals
    assert refusal.field == field
    assert why in refusal.message
