"""
Decide which offer makes a clip: pure, the day and the sellers are arguments.

First every offer that might do it is asked what it would charge (:func:`table`), then the preferences
leave some out and put the rest in order (:func:`choose`); a clip made from another is alike where it can be
(:func:`decide`). Nothing the client chose is ever changed.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.offers.wish import Choice, Notice, Preferences
from providers.base.catalog import Quote, Refusal, Shape, fit, quote, shape
from providers.base.listing import Listing, Offer
from providers.base.order import FEATURES, Mode, Origin, Request, Role, read_size

AUTO = "auto"
OTHERS = 8
"""How many of the next best are kept with a job."""


class Seller(Struct, frozen=True, kw_only=True):
    """Hold one enabled account as routing sees it."""

    account: str
    listing: Listing
    plan: str = ""
    credits_left: int | None = None
    """Credits the provider last said it has; ``None`` where it says nothing."""
    shut: Mapping[str, str] = {}
    """Why nothing can be ordered for a while, by model; ``*`` for every model."""
    links: bool = True
    """Whether the provider can fetch inputs from us."""


class Terms(Struct, frozen=True, kw_only=True):
    """Hold how this gateway chooses where the client leaves it open."""

    policy: str = "cheapest"
    order: Sequence[str] = ()
    """Providers in order of preference, for the policy ``order`` and to break ties."""
    split: Mapping[str, float] = {}
    """Shares by offer or provider, for the policy ``split``."""
    speeds: Mapping[str, float] = {}
    """Seconds an offer was observed to take; the listing's word stands for the others."""


DEFAULT = Terms()


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


class Decision(Struct, frozen=True, kw_only=True):
    """Hold the lines in the order they would be tried, and the ones that cannot be."""

    ranked: tuple[Line, ...]
    others: tuple[Line, ...]
    notices: tuple[Notice, ...] = ()
    request: Request
    """The request the choices were made for: without what was dropped under ``on_unsupported: warn``."""
    policy: str
    why: str = ""
    """Why the first line won; empty where none can."""


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


def decide(
    request: Request,
    preferences: Preferences,
    sellers: Sequence[Seller],
    aliases: Mapping[str, str | list[str]],
    *,
    on: date,
    terms: Terms = DEFAULT,
    lot: str = "",
) -> Decision:
    """
    Leave what a clip made from another leaves open as its source has it, where somebody sells that, and choose.

    What is quoted and what is ordered are both decided here; else as :func:`choose`.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    for alike in (*_alike(request), request):
        decision = choose(alike, preferences, sellers, aliases, on=on, terms=terms, lot=lot)
        if decision.ranked:
            break
    return decision


def _alike(request: Request) -> Iterator[Request]:
    """Close resolution and shape as the source has them, where they are open; then its shape alone."""
    source = next((each for each in request.inputs if each.role is Role.SOURCE), None)
    if source is None or not (source.width and source.height):
        return
    resolution, ratio = read_size(f"{source.width}x{source.height}")
    shaped = request if request.aspect_ratio else replace(request, aspect_ratio=ratio)
    if request.resolution is None and request.mode is not Mode.UPSCALE:
        yield replace(shaped, resolution=resolution)
    if shaped is not request:
        yield shaped


def choose(
    request: Request,
    preferences: Preferences,
    sellers: Sequence[Seller],
    aliases: Mapping[str, str | list[str]],
    *,
    on: date,
    terms: Terms = DEFAULT,
    lot: str = "",
) -> Decision:
    """
    Put the offers that can do a request in the order they should be tried.

    An alias's models come in its order; within a model the policy decides, then the named order of
    providers. ``lot`` is what ``split`` draws by: the same lot, the same seller, and of its accounts that
    charge the same the same one. The sandbox is chosen only by name once a real account is enabled.

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
            again = choose(softer, strict, sellers, aliases, on=on, terms=terms, lot=lot)
            return replace(again, notices=notices)
    policy = "order" if preferences.order else preferences.policy or terms.policy
    wanted, named = stands_for(request.model, aliases), preferences.order or terms.order
    if len(able) > 1:
        able = _ranked(able, policy, named, wanted, terms, lot)
    return Decision(
        ranked=tuple(able),
        why=_why(able, policy, named, wanted, terms) if able else "",
        others=tuple([line for line in lines if not line.choice]),
        request=request,
        policy=policy,
    )


def _ranked(
    able: Iterable[Line], policy: str, sellers: Sequence[str], models: Sequence[str], terms: Terms, lot: str
) -> list[Line]:
    """Put lines in the order they should be tried; ``sellers`` and ``models`` are named in order of preference."""
    place = {name: at for at, name in enumerate(sellers)}

    def rank(line: Line) -> tuple[float, ...]:
        assert line.choice is not None
        seller = place.get(line.provider, len(place))
        merit = _merit(policy, line, terms, lot, seller)
        shared = policy == "split" and _share(line, terms.split)
        alike = -_draw(lot, f"{line.account}\0{line.name}") if shared else 0.0
        return (_preference(line, models), *merit, line.choice.usd_micros, seller, alike)

    return sorted(able, key=rank)


def still(
    decision: Decision,
    quoted: Choice,
    refused: Collection[tuple[str, str]],
    late: Collection[tuple[str, str]] = (),
    *,
    keeps: bool,
    begun: bool,
) -> list[Choice]:
    """
    Keep a job to what it was quoted, the best that can now first, with those that take its turn where it is full.

    The accounts and offers that ``refused`` are out. A job that ``keeps`` to its offer is made there alone, at the
    account it was quoted at or where it costs no more. For others that holds until an order was ``begun``, and while
    anybody still asks no more. What ``split`` drew stays drawn while it can be had at all, and so does the model that
    was named: to be full is no reason for another. Who is ``late`` comes in where nobody else is left.
    """
    able = [line.choice for line in decision.ranked if line.choice]
    able = [each for each in able if (each.account, each.offer) not in refused]
    if keeps:
        able = [each for each in able if each.offer == quoted.offer]
        able = [each for each in able if each.account == quoted.account or each.usd_micros <= quoted.usd_micros]
    elif not begun:
        able = [each for each in able if each.usd_micros <= quoted.usd_micros] or able
    if able and decision.policy == "split":
        drawn = quoted.offer if quoted.offer in {each.offer for each in able} else able[0].offer
        able = [each for each in able if each.offer == drawn]
    able = [each for each in able if each.usd_micros <= able[0].usd_micros]
    able = [each for each in able if (each.account, each.offer) not in late] or able
    if able:
        model = quoted.model if quoted.model in {each.model for each in able} else able[0].model
        able = [each for each in able if each.model == model]
    names = [each.offer for each in able]
    return [
        replace(each, why=quoted.why, others=quoted.others)
        if each.offer == quoted.offer
        else replace(
            each,
            why=_why_instead(decision, each, quoted, refused, late, is_before=quoted.offer not in names[at:]),
            others=beside(decision, each),
        )
        for at, each in enumerate(able)
    ]


def beside(decision: Decision, taken: Choice) -> tuple[tuple[str, int], ...]:
    """Say what the next best would have cost: offers and micro-dollars."""
    others = (line for line in decision.ranked if (line.account, line.name) != (taken.account, taken.offer))
    return tuple([(line.name, line.choice.usd_micros) for line in others if line.choice][:OTHERS])


def _why_instead(
    decision: Decision,
    taken: Choice,
    quoted: Choice,
    refused: Collection[tuple[str, str]],
    late: Collection[tuple[str, str]],
    *,
    is_before: bool,
) -> str:
    """Say why an offer is taken that was not quoted: how it won, and what the one lacks that ``is_before`` it."""
    first = decision.ranked[0]
    won = (first.account, first.name) == (taken.account, taken.offer)
    if not is_before:
        return decision.why if won else _lack(decision, first.name, taken, refused, late)
    lack = _lack(decision, quoted.offer, taken, refused, late)
    return f"{decision.why}: {lack}" if won else lack


def _lack(
    decision: Decision,
    name: str,
    taken: Choice,
    refused: Collection[tuple[str, str]],
    late: Collection[tuple[str, str]],
) -> str:
    """Say why an offer is not taken."""
    known = [line for line in (*decision.ranked, *decision.others) if line.name == name]
    lines = [line for line in known if (line.account, name) not in refused]
    able = [line.choice for line in lines if line.choice]
    if not known:
        return f"{name} is not sold here any more"
    if not lines:
        return f"{name} refused it"
    if not able:
        told = next((refusal.message for line in lines for refusal in line.refusals), "")
        return f"{name} cannot make it now ({told})"
    if all((each.account, name) in late for each in able):
        return f"{name} would be too late"
    if all(each.usd_micros > taken.usd_micros for each in able):
        return f"{name} asks more"
    return f"{name} had no place free"


def _preference(line: Line, models: Sequence[str]) -> int:
    """Say at which place of the models asked for a line's comes; ``auto`` is every model."""
    every = {AUTO, f"{line.provider}:{AUTO}"}
    mine = (at for at, name in enumerate(models) if name in every or name.rpartition(":")[2] == line.offer.model)
    return next(mine, len(models))


def _why(ranked: Sequence[Line], policy: str, sellers: Sequence[str], models: Sequence[str], terms: Terms) -> str:
    """Say why the first line won, against those it was held to: of an alias's models, the lines of the first."""
    first, place = ranked[0], _preference(ranked[0], models)
    rivals = [line for line in ranked if _preference(line, models) == place]
    which = "that can"
    if len(rivals) < len(ranked):
        alone = all(line.offer.model == first.offer.model for line in rivals)
        which = f"of {first.offer.model if alone else models[place]}, the alias's first model that can"
    if len(rivals) == 1:
        return f"the only offer {which}"
    if policy == "order" and first.provider not in sellers:
        return f"the cheapest of {len(rivals)} offers {which}: none is of a provider named"
    if policy == "split" and not _share(first, terms.split):
        return f"the cheapest of {len(rivals)} offers {which}: none has a share"
    return f"{WHY[policy]} of {len(rivals)} offers {which}"


WHY = {
    "cheapest": "the cheapest",
    "fastest": "usually the fastest",
    "best": "the best in rank",
    "order": "the first as named",
    "split": "drawn by its share",
}
"""The policies there are, as an answer words them."""


def _merit(policy: str, line: Line, terms: Terms, lot: str, seller: int) -> tuple[float, ...]:
    """Say how well a line does under a policy, the least being the best; price breaks ties."""
    match policy:
        case "fastest":
            return (expected_seconds(line, terms.speeds),)
        case "best":
            return (-line.offer.rank,)
        case "order":
            return (seller,)
        case "split":
            return (-_drawn(line, terms.split, lot),)
        case _:
            return ()


def expected_seconds(line: Line, speeds: Mapping[str, float]) -> float:
    """Say how long a line's offer takes: as observed, else as its listing says."""
    return speeds.get(line.name, line.offer.typical_seconds)


def _drawn(line: Line, shares: Mapping[str, float], lot: str) -> float:
    """
    Draw the place of whoever a line's share is given to: it is one draw, however many accounts and offers share it.

    Lines without a share come after all others.
    """
    share = _share(line, shares)
    return _draw(lot, line.name if line.name in shares else line.provider, share) if share else 0.0


def _draw(lot: str, name: str, share: float = 1.0) -> float:
    """Draw by a share (weighted rendezvous hashing): the highest is first, and a lot keeps it while it is there."""
    digest = hashlib.blake2b(f"{lot}\0{name}".encode(), digest_size=8).digest()
    return -share / math.log((int.from_bytes(digest) + 1) / (2**64 + 1))


def _share(line: Line, shares: Mapping[str, float]) -> float:
    """Read a line's share: its own before its provider's, 0 where it has none."""
    return max(0.0, shares.get(line.name, shares.get(line.provider, 0.0)))


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
    dropped = {*request.features()} & {*FEATURES}
    for line in lines:
        dropped &= {refusal.field for refusal in line.refusals}
    blank: dict[str, Any] = {name: () if isinstance(getattr(request, name), tuple) else None for name in dropped}
    notices = tuple(
        Notice(type="unsupported", feature=name, details=f"no offer of {request.model} takes {name}; it was left out")
        for name in sorted(dropped)
    )
    return replace(request, **blank), notices
