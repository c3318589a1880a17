"""
Decide which offer makes a clip: pure, the day and the sellers are arguments.

First every offer that might do it is asked what it would charge (:func:`table`), then the preferences
leave some out and put the rest in order (:func:`choose`). Nothing the client chose is ever changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.wish import Choice, Notice, Preferences
from providers.base.catalog import Quote, Refusal, Shape, fit, quote, shape
from providers.base.listing import Listing, Offer
from providers.base.order import Request

AUTO = "auto"


class Seller(Struct, frozen=True, kw_only=True):
    """Hold one enabled account as routing sees it."""

    account: str
    listing: Listing
    plan: str = ""


class Line(Struct, frozen=True, kw_only=True):
    """Hold what one offer at one account says to a request: a choice, or why not."""

    account: str
    provider: str
    offer: Offer
    sandbox: bool
    choice: Choice | None
    refusals: tuple[Refusal, ...] = ()


class Decision(Struct, frozen=True, kw_only=True):
    """Hold the lines in the order they would be tried, and the ones that cannot be."""

    ranked: tuple[Line, ...]
    others: tuple[Line, ...]
    notices: tuple[Notice, ...] = ()
    request: Request
    """The request the choices were made for: without what was dropped under ``on_unsupported: warn``."""


class UnknownModelError(Exception):
    """No enabled account sells a model by that name; carries the names that would do."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(model)
        self.model = model
        self.known = known


def names(model: str, aliases: Mapping[str, str | list[str]]) -> list[str]:
    """Follow an alias to the models it stands for, in order of preference."""
    target = aliases.get(model, model)
    return [target] if isinstance(target, str) else list(target)


def table(
    request: Request, sellers: Sequence[Seller], aliases: Mapping[str, str | list[str]], *, on: date
) -> list[Line]:
    """
    Ask every offer of the wanted models what it would charge, in the order the models are preferred.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    lines: list[Line] = []
    wanted = shape(request)
    for name in names(request.model, aliases):
        slug, _, model = name.rpartition(":")
        for seller in sellers:
            if slug and slug != seller.listing.slug:
                continue
            offers = seller.listing.offers if model == AUTO else filter(None, [seller.listing.offer(model)])
            lines += [_ask(seller, offer, request, wanted, on) for offer in offers]
    if not lines:
        sold = {offer.model for seller in sellers for offer in seller.listing.offers}
        raise UnknownModelError(request.model, sorted(sold | set(aliases)))
    return lines


def choose(
    request: Request,
    preferences: Preferences,
    sellers: Sequence[Seller],
    aliases: Mapping[str, str | list[str]],
    *,
    on: date,
    policy: str = "cheapest",
    order: Sequence[str] = (),
) -> Decision:
    """
    Put the offers that can do a request in the order they should be tried.

    An alias's models come in its order; within a model the policy decides, then the named order of
    providers. The sandbox is chosen only by name once a real account is enabled.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    lines = [_prefer(line, preferences) for line in table(request, sellers, aliases, on=on)]
    if any(not seller.listing.sandbox for seller in sellers) and not _names_sandbox(request, preferences):
        lines = [
            _refuse(line, Refusal("model", "the sandbox is chosen only by name while a real account is enabled"))
            if line.sandbox
            else line
            for line in lines
        ]
    able = [line for line in lines if line.choice]
    if not able and preferences.on_unsupported == "warn":
        softer, notices = _soften(request, lines)
        if notices:
            strict = replace(preferences, on_unsupported="error")
            again = choose(softer, strict, sellers, aliases, on=on, policy=policy, order=order)
            return replace(again, notices=notices)
    models = names(request.model, aliases)
    named = preferences.order or tuple(order)

    def rank(line: Line) -> tuple[Any, ...]:
        assert line.choice is not None
        alias = next((at for at, name in enumerate(models) if name.rpartition(":")[2] == line.offer.model), 0)
        seller = named.index(line.provider) if line.provider in named else len(named)
        merit = -line.offer.rank if (preferences.policy or policy) == "best" else line.choice.usd_micros
        by_name = bool(preferences.order) or (preferences.policy or policy) == "order"
        return (alias, seller, merit) if by_name else (alias, merit, seller)

    ranked = sorted(able, key=rank)
    others = tuple(line for line in lines if not line.choice)
    return Decision(ranked=tuple(ranked), others=others, request=request)


def _ask(seller: Seller, offer: Offer, request: Request, wanted: Shape, on: date) -> Line:
    """Ask one offer what it would charge."""
    listing = seller.listing
    answer: Any = fit(offer, request, plan=seller.plan, wanted=wanted)
    if not isinstance(answer, list):
        answer = quote(listing, offer, answer, on=on, plan=seller.plan)
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


def _prefer(line: Line, preferences: Preferences) -> Line:
    """Leave out a line the client does not want."""
    if preferences.only and line.provider not in preferences.only:
        return _refuse(line, Refusal("provider", f"provider.only does not name {line.provider}"))
    if line.provider in preferences.ignore:
        return _refuse(line, Refusal("provider", f"provider.ignore names {line.provider}"))
    ceiling = preferences.max_usd_micros
    if line.choice and ceiling is not None and line.choice.usd_micros > ceiling:
        price = line.choice.usd_micros / 1_000_000
        return _refuse(line, Refusal("max_cost_usd", f"{line.provider} charges ${price:.6g}, above max_cost_usd"))
    return line


def _refuse(line: Line, refusal: Refusal) -> Line:
    """Turn an offer down for a reason of ours."""
    return replace(line, choice=None, refusals=(*line.refusals, refusal))


def _names_sandbox(request: Request, preferences: Preferences) -> bool:
    """Whether the client asked for the sandbox in so many words."""
    return (
        request.model.startswith(("sandbox/", "sandbox:"))
        or "sandbox" in preferences.only
        or "sandbox" in preferences.order
    )


def _soften(request: Request, lines: Iterable[Line]) -> tuple[Request, tuple[Notice, ...]]:
    """Drop the optional features every offer refuses, saying so."""
    dropped = set(request.features())
    for line in lines:
        dropped &= {refusal.field for refusal in line.refusals}
    blank: dict[str, Any] = {name: () if isinstance(getattr(request, name), tuple) else None for name in dropped}
    notices = tuple(
        Notice(type="unsupported", feature=name, details=f"no offer of {request.model} takes {name}; it was left out")
        for name in sorted(dropped)
    )
    return replace(request, **blank), notices


__all__ = ["AUTO", "Decision", "Line", "Seller", "UnknownModelError", "choose", "names", "table"]
