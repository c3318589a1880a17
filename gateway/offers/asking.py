"""Ask every offer of every seller what it would charge for a request, or why it cannot make it: pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct

from gateway.jobs.wish import Choice
from providers.base.catalog import Quote, Refusal, Shape, fit, quote, shape
from providers.base.listing import Listing, Offer
from providers.base.order import Origin, Request

AUTO = "auto"
"""Names every model there is."""


class Seller(Struct, frozen=True, kw_only=True):
    """Hold one enabled account as routing sees it."""

    account: str
    listing: Listing
    plan: str = ""
    credits_left: int | None = None
    """Credits the provider last said it has; ``None`` where it says nothing."""
    free: float = 1.0
    """Share of its places that are free; none while it rests."""
    shut: Mapping[str, str] = {}
    """Why nothing can be ordered for a while, by model; ``*`` for every model."""
    links: bool = True
    """Whether the provider can fetch inputs from us."""


class Line(Struct, frozen=True, kw_only=True):
    """Hold what one offer at one account says to a request: a choice, or why not."""

    account: str
    provider: str
    offer: Offer
    sandbox: bool
    choice: Choice | None
    refusals: tuple[Refusal, ...] = ()

    @property
    def name(self) -> str:
        """The offer's name: ``provider:model``."""
        return f"{self.provider}:{self.offer.model}"


class UnknownModelError(Exception):
    """No enabled account sells a model by that name; carries the names that would do."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(model)
        self.model = model
        self.known = known


def stands_for(model: str, aliases: Mapping[str, str | list[str]]) -> list[str]:
    """Say which models a name stands for, in order of preference: those of an alias, else itself."""
    target = aliases.get(model, model)
    return [target] if isinstance(target, str) else list(target)


def table(
    request: Request, sellers: Sequence[Seller], aliases: Mapping[str, str | list[str]], *, on: date
) -> list[Line]:
    """
    Ask every offer of the wanted models what it would charge, in the order the models are preferred.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    lines: dict[tuple[str, str], Line] = {}  # An alias may name an offer twice: alone, and among others.
    wanted = shape(request)
    for name in stands_for(request.model, aliases):
        slug, _, model = name.rpartition(":")
        for seller in sellers:
            if slug and slug != seller.listing.slug:
                continue
            named = filter(None, [seller.listing.offer(model)])
            offers = [each for each in seller.listing.offers if not each.unconfirmed] if model == AUTO else named
            for offer in offers:
                if (seller.account, offer.model) not in lines:
                    lines[seller.account, offer.model] = _ask(seller, offer, request, wanted, on)
    if not lines:
        sold = {offer.model for seller in sellers for offer in seller.listing.offers}
        raise UnknownModelError(request.model, sorted(sold | set(aliases)))
    return [*lines.values()]


def _ask(seller: Seller, offer: Offer, request: Request, wanted: Shape, on: date) -> Line:
    """Ask one offer what it would charge."""
    listing = seller.listing
    answer: Any = fit(offer, request, plan=seller.plan, wanted=wanted)
    if not isinstance(answer, list):
        answer = quote(listing, offer, answer, on=on, plan=seller.plan, source_seconds=source_seconds(request))
    if isinstance(answer, Quote):
        answer = _barred(seller, offer, request, answer) or answer
    choice = None
    if isinstance(answer, Quote):
        choice = Choice(
            account=seller.account,
            provider=listing.slug,
            model=offer.model,
            spec=answer.spec,
            usd_micros=answer.usd_micros,
            credits=None if answer.credits is None else str(answer.credits),
            source=answer.price.source,
        )
        answer = ()
    return Line(
        account=seller.account,
        provider=listing.slug,
        offer=offer,
        sandbox=listing.sandbox,
        choice=choice,
        refusals=(answer,) if isinstance(answer, Refusal) else tuple(answer),
    )


def source_seconds(request: Request) -> int:
    """Count the seconds of the clip to be changed, begun ones whole."""
    return math.ceil(request.source_seconds())


def _barred(seller: Seller, offer: Offer, request: Request, quoted: Quote) -> Refusal | None:
    """Say why an account cannot take what its listing sells: as it stands now, or for what is handed in."""
    why = seller.shut.get("*") or seller.shut.get(offer.model)
    if why:
        return Refusal("provider", why)
    if seller.credits_left is not None and quoted.credits is not None and quoted.credits > seller.credits_left:
        left = f"the account {seller.account} has {seller.credits_left} credits left, {quoted.credits} are needed"
        return Refusal("provider", left)
    if not request.inputs:
        return None
    if quoted.spec.mode in offer.own and not any(_made(each.origin, seller) for each in request.inputs):
        return Refusal("video", f"{seller.listing.name} goes on only with a clip the account {seller.account} made")
    if seller.listing.takes == "links" and not seller.links:
        message = f"{seller.listing.name} fetches inputs from a public address, and server.public_url names none"
        return Refusal("provider", message)
    return None


def _made(origin: Origin | None, seller: Seller) -> bool:
    """Whether an account made a clip."""
    return origin is not None and (origin.provider, origin.account) == (seller.listing.slug, seller.account)
