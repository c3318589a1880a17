"""Laws of who is asked for elements: a seller that makes them of what is given, and else nobody, or without them."""

from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.jobs.wish import Preferences
from gateway.offers.asking import Seller, notices_of
from gateway.offers.routing import Decision, choose
from providers.base.listing import listings
from providers.base.objections import fields
from providers.base.order import Element, Input, Mode, Request, Role
from tests.providers.cases import open_provider

DAY = date(2026, 11, 22)
FOX = Element(name="fox", description="red")
PLANS = {"flow": "ultra-200", "gemini": "", "vertex": ""}
SELLERS = [
    Seller(account=slug, listing=listings()[slug], plan=plan, objections=open_provider(listings()[slug]).objections)
    for slug, plan in PLANS.items()
]


def shown(name: str = "fox", media_type: str = "image/png", digest: str = "0", size: int = 1) -> Input:
    return Input(role=Role.ELEMENT, media_type=media_type, sha256=digest, size=size, name=name)


def asked(*inputs: Input, **more: Any) -> Request:
    said = {"prompt": "@fox", "model": "google/gemini-omni-flash", "mode": Mode.REFERENCE, "elements": (FOX,), **more}
    return Request(inputs=inputs, **said)


def decided(request: Request, on_unsupported: Any = "error") -> Decision:
    return choose(request, Preferences(on_unsupported=on_unsupported), SELLERS, {}, on=DAY)


def winners(decision: Decision) -> set[str]:
    return {line.provider for line in decision.ranked}


def test_only_who_makes_them_is_asked() -> None:
    """Of all sellers of a model; what a character cannot be made of is refused by its field when it is quoted."""
    assert {"flow"} == winners(decided(asked(shown())))
    for inputs, field in (((), "elements[0].images"), ((shown(media_type="video/mp4"),), "elements[0].videos[0]")):
        decision = decided(asked(*inputs))
        assert set() == winners(decision)
        (line,) = (each for each in decision.others if each.provider == "flow")
        assert [field] == [each.field for each in line.refusals]


@pytest.mark.parametrize(("media_type", "size"), [("image/gif", 1), ("image/png", 20 * 2**20 + 1)])
def test_pictures_of_other_types_and_sizes_are_converted(media_type: str, size: int) -> None:
    """As those of every other input are, by what the offer takes; its quote says so of the element."""
    request = asked(shown(media_type=media_type, size=size))
    (line,) = (each for each in decided(request).ranked if each.provider == "flow")
    (notice,) = notices_of(line.offer, line.provider, request)
    assert ("converted", "elements[0].images[0]") == (notice.type, notice.feature)
    assert "takes a picture of an element" in notice.details


@pytest.mark.parametrize("model", ["google/veo-3.1", "google/gemini-omni-1.2-flash"])
def test_who_wants_can_do_without_them(model: str) -> None:
    """Where nobody makes them and the call says ``warn``, they are left out with what shows them, and that is said."""
    decision = decided(asked(shown(), model=model), "warn")

    assert ["elements"] == [each.feature for each in decision.notices]
    assert decision.ranked
    assert ((), (), Mode.TEXT) == (decision.request.elements, decision.request.inputs, decision.request.mode)
    guide = Input(role=Role.REFERENCE, media_type="image/png", sha256="1", size=1)
    kept = decided(asked(shown(), guide, model="google/gemini-omni-1.2-flash"), "warn").request
    assert ((guide,), Mode.REFERENCE) == (kept.inputs, kept.mode)


def test_an_input_is_named_by_its_element() -> None:
    """As its client wrote it: which element, and which of its pictures or clips; others count for themselves."""
    cub = replace(FOX, name="cub")
    guide = Input(role=Role.REFERENCE, media_type="image/png", sha256="1", size=1)
    request = asked(
        guide, shown("cub"), shown("cub", "video/mp4"), shown("cub", digest="1"), guide, shown(), elements=(FOX, cub)
    )
    want = ["elements[1].images[0]", "elements[1].videos[0]", "elements[1].images[1]"]

    assert ["input_references[0]", *want, "input_references[1]", "elements[0].images[0]"] == fields(request)
