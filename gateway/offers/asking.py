"""Ask every offer of every seller what it would charge for a request, or why it cannot make it: pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.wish import Choice, Notice
from providers.base.catalog import Quote, Refusal, Shape, called, fit, quote, shape
from providers.base.conversion import conversion, foreseen, takes
from providers.base.listing import Listing, Offer
from providers.base.objections import fields
from providers.base.order import CHOICES, Input, Order, Origin, Request, Spec, choices

AUTO = "auto"
"""Names every model there is."""

FREE = attrgetter("inputs", "options", "voices", "elements", "characters", "shots")
"""Read what of a request no listing knows all the values of: an adapter alone can say whether it has words for it."""
NOTHING = FREE(Request(prompt="", model=""))
CONVERTED = "converted"
"""The type of a notice of a picture that is handed over as another type than it came in."""


def _none(order: Order) -> Iterable[Refusal]:
    """Object to nothing."""
    del order
    return ()


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
    objections: Callable[[Order], Iterable[Refusal]] = _none
    """Its adapter's (:meth:`~providers.base.provider.Provider.objections`)."""


class Line(Struct, frozen=True, kw_only=True):
    """Hold what one offer at one account says to a request: a choice, or why not."""

    account: str
    provider: str
    offer: Offer
    sandbox: bool
    choice: Choice | None
    usual: Choice | None = None
    """What it would be but for how the account stands just now: resting, or out of credits."""
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
    wanted = shape(request)
    lines: dict[tuple[str, str], Line] = {}  # An alias may name an offer twice: alone, and among others.
    for name in stands_for(request.model, aliases):
        slug, _, model = name.rpartition(":")
        for seller in sellers:
            if slug and slug != seller.listing.slug:
                continue
            named = filter(None, [seller.listing.offer(model)])
            offers = [each for each in seller.listing.offers if not each.unconfirmed] if model == AUTO else named
            for offer in offers:
                if (seller.account, offer.model) not in lines:
                    lines[seller.account, offer.model] = ask(seller, offer, request, wanted, on)
    if not lines:
        sold = {offer.model for seller in sellers for offer in seller.listing.offers}
        raise UnknownModelError(request.model, sorted(sold | set(aliases)))
    return [*lines.values()]


def ask(seller: Seller, offer: Offer, request: Request, wanted: Shape, on: date) -> Line:
    """Ask one offer what it would charge; ``wanted`` is the request's shape."""
    listing = seller.listing
    answer: Any = fit(offer, request, plan=seller.plan, wanted=wanted)
    if not isinstance(answer, list):
        answer = quote(listing, offer, answer, on=on, plan=seller.plan, source_seconds=source_seconds(request))
    if isinstance(answer, Quote) and FREE(request) != NOTHING:
        answer = _unable(seller, offer, request, answer.spec) or answer
    choice, barred = None, None
    if isinstance(answer, Quote):
        barred = _barred(seller, offer, answer)
        choice = Choice(
            account=seller.account,
            provider=listing.slug,
            model=offer.model,
            spec=answer.spec,
            usd_micros=answer.usd_micros,
            credits=None if answer.credits is None else str(answer.credits),
            source=answer.price.source,
        )
        answer = barred or ()
    return Line(
        account=seller.account,
        provider=listing.slug,
        offer=offer,
        sandbox=listing.sandbox,
        choice=None if barred else choice,
        usual=choice,
        refusals=(answer,) if isinstance(answer, Refusal) else tuple(answer),
    )


def promised(request: Request, spec: Spec) -> Request:
    """Close a request's open choices as a spec has them."""
    return replace(request, **dict(zip(CHOICES, choices(spec), strict=True)))


def source_seconds(request: Request) -> int:
    """Count the seconds of the clip to be changed, begun ones whole."""
    return math.ceil(request.source_seconds())


def notices_of(offer: Offer, provider: str, request: Request) -> list[Notice]:
    """Say which pictures of a request will be converted for an offer, as it does not take them as they are."""
    found = []
    for field, each in zip(fields(request), request.inputs, strict=True):
        if conversion(offer, each):
            taken, role = takes(offer, "image"), called(each.role)
            alien = taken and each.media_type not in taken
            why = f"as {' or '.join(taken)}, not {each.media_type}" if alien else f"of at most {offer.image_max} bytes"
            told = f"{provider} takes a {role} {why}; this one is converted for it"
            found.append(Notice(type=CONVERTED, feature=field, details=told))
    return found


def _unable(seller: Seller, offer: Offer, request: Request, spec: Spec) -> list[Refusal]:
    """Say why an account cannot take what its listing sells, for what is handed in or passed through with it."""
    listing, inputs = seller.listing, request.inputs
    if spec.mode in offer.own and not any(_is_made_by(each.origin, listing.slug, seller.account) for each in inputs):
        return [Refusal("video", f"{listing.name} goes on only with a clip the account {seller.account} made")]
    if inputs and listing.takes == "links" and not seller.links:
        message = f"{listing.name} fetches inputs from a public address, and server.public_url names none"
        return [Refusal("provider", message)]
    if inputs:
        mine = tuple([own(each, listing.slug, seller.account) for each in foreseen(offer, inputs)])
        request = request if mine == inputs else replace(request, inputs=mine)
    order = Order(attempt="", wire_name=offer.wire_name, route=offer.route, request=request, spec=spec)
    return [*seller.objections(order)]


def _barred(seller: Seller, offer: Offer, quoted: Quote) -> Refusal | None:
    """Say why an account cannot take what it sells as it stands now."""
    why = seller.shut.get("*") or seller.shut.get(offer.model)
    if why:
        return Refusal("provider", why)
    if seller.credits_left is not None and quoted.credits is not None and quoted.credits > seller.credits_left:
        left = f"the account {seller.account} has {seller.credits_left} credits left, {quoted.credits} are needed"
        return Refusal("provider", left)
    return None


def own(each: Input, provider: str, account: str) -> Input:
    """Take an input's origin away unless the account that is asked made it: to any other its handle is a stranger's."""
    alien = each.origin is not None and not _is_made_by(each.origin, provider, account)
    return replace(each, origin=None) if alien else each


def _is_made_by(origin: Origin | None, provider: str, account: str) -> bool:
    """Whether an account made a clip."""
    return origin is not None and (origin.provider, origin.account) == (provider, account)
