"""Law of the stand-ins: the sandbox refuses nothing that some seller of the same model makes."""

from collections.abc import Iterator
from datetime import date
from itertools import product

import pytest

from providers._film import LONGEST
from providers.base.catalog import Shape, fit
from providers.base.listing import Listing, Offer, listings
from providers.base.order import Mode, Request, Spec

TODAY = date(2026, 11, 22)
SANDBOX = listings()["sandbox"]
UNDRAWN = frozenset({"4k"})
"""More than the sandbox draws, as its listing says."""
SOLD = [
    pytest.param(listing, offer, id=f"{listing.slug}:{offer.model}")
    for listing in listings().values()
    for offer in listing.offers
    if listing is not SANDBOX and SANDBOX.offer(offer.model) and not (offer.ended and offer.ended <= TODAY)
]
ANY = Request(prompt="a cat", model="any")


def shapes(offer: Offer) -> Iterator[Shape]:
    """List the shapes of requests that an offer's lists allow: every choice, with and without all else it takes."""
    resolutions = [each for each in offer.resolution if each not in UNDRAWN]
    lists = (offer.mode, resolutions, offer.seconds, offer.aspect_ratio, offer.audio, offer.n, offer.fps)
    voices = (0, 1) if "voices" in offer.features else (0,)
    for *choices, references, spoken, full in product(*lists, {0, offer.references}, voices, (False, True)):
        features = tuple(sorted({*offer.features} - (set() if spoken else {"voices"}))) if full else ()
        kinds = (*offer.reference_types, *["image"] * 10)[:references]
        frames = {Mode.FIRST_FRAME: 1, Mode.FRAMES: 2}.get(choices[0], 0)
        for container in offer.container:
            yield Shape((*choices, container), features, kinds, (references, spoken, frames), as_long=False)


@pytest.mark.parametrize(("listing", "offer"), SOLD)
def test_what_a_seller_makes_the_sandbox_makes(listing: Listing, offer: Offer) -> None:
    """On any plan: what is tried there is not refused there, and then sold here."""
    stand_in = SANDBOX.offer(offer.model)
    assert stand_in is not None
    plans = [each.name for each in listing.plans] or [""]
    sold = [each for each in shapes(offer) if any(_makes(offer, each, plan) for plan in plans)]
    refused = [each for each in sold if not _makes(stand_in, each)]

    assert sold
    assert [] == refused[:3]
    assert [] == stand_in.media_types
    for most in ("source_max", "extend_max"):
        assert (getattr(stand_in, most) or LONGEST) >= min(LONGEST, getattr(offer, most) or LONGEST)


def _makes(offer: Offer, wanted: Shape, plan: str = "") -> bool:
    """Whether an offer can do what has a shape."""
    return isinstance(fit(offer, ANY, plan=plan, wanted=wanted), Spec)
