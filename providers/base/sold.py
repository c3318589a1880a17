"""
What can really be ordered of an offer, and which price lines that is charged by: found by asking it, pure.

A listing holds each value for some mode or plan, and each price it ever had; what stands in it need not be for sale.
"""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from itertools import product

from providers.base.catalog import Quote, fit, price_of, quote
from providers.base.conversion import takes
from providers.base.listing import Listing, Offer, Price, Value
from providers.base.order import CHOICES, Input, Mode, Request, Role, Spec

ROLES = {
    Mode.TEXT: (),
    Mode.FIRST_FRAME: (Role.FIRST_FRAME,),
    Mode.FRAMES: (Role.FIRST_FRAME, Role.LAST_FRAME),
    Mode.REFERENCE: (Role.REFERENCE,),
    Mode.EDIT: (Role.SOURCE,),
    Mode.EXTEND: (Role.SOURCE,),
    Mode.UPSCALE: (Role.SOURCE,),
}
"""What must be handed in at least, for each mode."""


def least(offer: Offer, mode: Mode, **chosen: Value) -> Request:
    """Write a request of a mode that hands in no more than it must, with nothing chosen but what is said."""
    kinds = {Role.REFERENCE: offer.reference_types[0], Role.SOURCE: "video"}
    inputs = tuple(
        Input(role=role, media_type=_type(offer, kinds.get(role, "image")), sha256=f"{at}", size=1)
        for at, role in enumerate(ROLES[mode])
    )
    return Request(prompt="-", model=offer.model, mode=mode, inputs=inputs, **chosen)  # type: ignore[arg-type]


def _type(offer: Offer, kind: str) -> str:
    """Name a type of a kind that an offer takes."""
    return next(iter(takes(offer, kind)), f"{kind}/-")


def sells(listing: Listing, offer: Offer, mode: Mode, *, on: date, plan: str = "", **chosen: Value) -> bool:
    """Whether an offer takes what was chosen in a mode on a day, and has a price for it."""
    spec = fit(offer, least(offer, mode, **chosen), plan=plan) if mode in offer.mode else []
    return isinstance(spec, Spec) and isinstance(quote(listing, offer, spec, on=on, plan=plan), Quote)


@lru_cache(maxsize=1024)
def in_force(
    listing: Listing, offer: Offer, *, on: date, plan: str = "", modes: Iterable[Mode] = tuple(Mode)
) -> tuple[Price, ...]:
    """List the price lines that some order of an offer is charged by on a day, in the listing's order."""
    lines = [line for line in listing.prices if {offer.model, "*"} & {*line.models} and line.since <= on]
    names = [name for name in CHOICES if name != "mode" and any(name in line.when for line in lines)]
    charged = set()
    for mode in (each for each in offer.mode if each in modes):
        for values in product(*(getattr(offer, name) for name in names)):
            spec = fit(offer, least(offer, mode, **dict(zip(names, values, strict=True))), plan=plan)
            if isinstance(spec, Spec):
                charged.add(id(price_of(listing, offer, spec, on=on, plan=plan)))
    return tuple(line for line in lines if id(line) in charged)
