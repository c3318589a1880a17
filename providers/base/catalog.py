"""
What an offer can do and what it costs: the two sums made from a listing, both pure.

:func:`fit` turns a request into a spec at one offer or says why it cannot; :func:`quote` puts a price to a spec.
What cannot be priced cannot be ordered. Money is integer micro-dollars.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from providers.base.conversion import conversion, takes
from providers.base.listing import Listing, Offer, Price, Rule, Value
from providers.base.order import AS_LONG, CHOICES, COUNTS, Mode, Request, Role, Spec, choices, lines
from providers.base.task import Usage


class Refusal(Struct, frozen=True):
    """Say why an offer cannot do a request; ``field`` is the request's field to change."""

    field: str
    message: str
    unpriced: bool = False
    """Whether it could, if its provider stated a price."""


class Quote(Struct, frozen=True, kw_only=True):
    """Hold a spec and what it would cost at one offer, before anything is bought."""

    spec: Spec
    usd_micros: int
    credits: Decimal | None
    price: Price


BROUGHT = {
    Role.FIRST_FRAME: "frame_images",
    Role.LAST_FRAME: "frame_images",
    Role.REFERENCE: "input_references",
    Role.ELEMENT: "elements",
    Role.SOURCE: "video",
    Role.VOICE: "voices",
    Role.MASK: "mask",
}
"""The request's field to change for each input."""

FIELDS = {"plan": "provider", "references": "input_references", "frames": "frame_images"}
"""The request's field to change where it is not named like what a rule speaks of."""


class Shape(NamedTuple):
    """Hold what of a request decides whether an offer can do it; most requests share a few shapes."""

    choices: tuple[Value | None, ...]
    """One for each of ``CHOICES``; ``None`` where it is open."""
    features: tuple[str, ...]
    references: tuple[str, ...]
    """The kind of each reference: image, video, audio."""
    counts: tuple[int, ...]
    """One for each of ``COUNTS``."""
    as_long: bool
    """Whether the length it chose is its source's, of a clip that is as long as its source."""


def shape(request: Request) -> Shape:
    """Read a request's shape."""
    return Shape(
        choices(request),
        tuple(sorted(request.features())),
        tuple([each.media_type.partition("/")[0] for each in request.inputs if each.role is Role.REFERENCE]),
        request.counts(),
        request.mode in AS_LONG and request.seconds == round(request.source_seconds()),
    )


def fit(offer: Offer, request: Request, *, plan: str = "", wanted: Shape | None = None) -> Spec | list[Refusal]:
    """
    Make every choice a request leaves open, or say each reason the offer cannot do it.

    Choices the client made stay as they are; open ones take the first value sold that the offer's
    rules allow beside them. ``wanted`` is the request's shape, where the caller has it already.
    """
    answer = _fit(offer, wanted or shape(request), plan)
    brought = list(_unfit(offer, request))
    if isinstance(answer, Spec):
        return brought or [*_too_far(offer, request, answer)] or answer
    return [*brought, *answer]


def _unfit(offer: Offer, request: Request) -> Iterator[Refusal]:
    """Name what a request brings more of than the offer takes, or of a type it does not and cannot be converted to."""
    if len(request.prompt) > offer.prompt_max:
        yield Refusal("prompt", f"{offer.model} takes prompts of at most {offer.prompt_max} characters")
    most = offer.source_max if request.mode in AS_LONG else None
    if most is not None and round(request.source_seconds()) > most:
        yield Refusal("video", f"{offer.model} takes clips of at most {most} seconds to {request.mode}")
    for each in request.inputs:
        if conversion(offer, each):
            continue
        kind = each.media_type.partition("/")[0]
        role = called(each.role)
        taken = takes(offer, kind)
        if taken and each.media_type not in taken:
            told = f"{offer.model} takes a {role} as {' or '.join(taken)}, not {each.media_type}"
            yield Refusal(BROUGHT[each.role], told)
        elif kind == "image" and offer.image_max is not None and each.size > offer.image_max:
            yield Refusal(BROUGHT[each.role], f"{offer.model} takes a {role} of at most {offer.image_max} bytes")


def called(role: Role) -> str:
    """
    Say what an input is.

    >>> called(Role.FIRST_FRAME), called(Role.ELEMENT)
    ('first frame', 'picture of an element')
    """
    return "picture of an element" if role is Role.ELEMENT else role.replace("_", " ")


def _too_far(offer: Offer, request: Request, spec: Spec) -> Iterator[Refusal]:
    """Name an extension that would come to more than the offer makes."""
    most, long = offer.extend_max, round(spec.length(request))
    if spec.mode is Mode.EXTEND and most is not None and long > most:
        why = f"{spec.seconds} seconds more would make it {long}"
        yield Refusal("video", f"{offer.model} extends clips to at most {most} seconds; {why}")


@lru_cache(maxsize=4096)
def _fit(offer: Offer, wanted: Shape, plan: str) -> Spec | tuple[Refusal, ...]:
    """Answer :func:`fit` for every request of a shape."""
    if wanted.as_long and 0 in offer.seconds:  # The source's own length, said in seconds.
        chosen = dict(zip(CHOICES, wanted.choices, strict=True)) | {"seconds": 0}
        wanted = wanted._replace(choices=tuple(chosen.values()))
    refusals = tuple(_misfits(offer, wanted))
    if refusals:
        return refusals
    asked: dict[str, Any] = {"plan": plan, **dict(zip(COUNTS, wanted.counts, strict=True))}
    given = set(asked)
    asked |= {name: value for name, value in zip(CHOICES, wanted.choices, strict=True) if value is not None}
    broken = tuple(Refusal(_culprit(rule, asked), rule.why) for rule in offer.rules if _breaks(rule, asked))
    if broken:
        return broken
    decided = _close(offer, asked, [name for name in CHOICES if name not in asked])
    if decided is None:
        return (Refusal("seconds", f"{offer.model} sells no combination of the choices made"),)
    return Spec(**{name: value for name, value in decided.items() if name not in given})


@lru_cache(maxsize=4096)
def quote(
    listing: Listing, offer: Offer, spec: Spec, *, on: date, plan: str = "", source_seconds: int = 0
) -> Quote | Refusal:
    """
    Price a spec by the line in force on a day; the most particular line wins, then the newest.

    ``source_seconds`` is how long the source is, for a clip that will be as long.
    """
    if offer.ended and on >= offer.ended:
        return Refusal("model", offer.ended_why)
    line = price_of(listing, offer, spec, on=on, plan=plan)
    if line is None:
        return Refusal("model", f"{listing.slug} states no price for {offer.model}", unpriced=True)
    seconds = spec.seconds or source_seconds
    if line.per != "video" and not seconds:
        return Refusal("seconds", f"{listing.slug} charges by length, and nothing says how long the clip will be")
    units = spec.n * {"video": 1, "second": seconds, "token": seconds * line.tokens}[line.per]
    if not line.credits:
        return Quote(spec=spec, usd_micros=_micros(Decimal(line.usd) * units), credits=None, price=line)
    spent = Decimal(line.credits) * units
    rate = dollars_per_credit(listing, plan, on)
    if rate is None and spent:
        return Refusal("provider", f"{listing.slug} needs a plan to turn {spent} credits into dollars")
    return Quote(spec=spec, usd_micros=_micros(spent * (rate or 0)), credits=spent, price=line)


def price_of(listing: Listing, offer: Offer, spec: Spec, *, on: date, plan: str = "") -> Price | None:
    """Find the price line in force for a spec on a day."""
    decided = {"plan": plan, **{name: getattr(spec, name) for name in CHOICES}}
    lines = [
        line
        for line in listing.prices
        if (offer.model in line.models or "*" in line.models)
        and line.since <= on
        and all(decided.get(name) in values for name, values in line.when.items())
    ]
    return max(lines, key=lambda line: (offer.model in line.models, len(line.when), line.since), default=None)


ORDERED: dict[str, Callable[[Any], int]] = {"seconds": int, "n": int, "fps": int, "resolution": lines}
"""Choices whose values have an order, and by what."""


def _misfits(offer: Offer, wanted: Shape) -> Iterator[Refusal]:
    """Name every wish the offer does not list."""
    for name, value in zip(CHOICES, wanted.choices, strict=True):
        sold = getattr(offer, name)
        if value is not None and value not in sold:
            yield Refusal(name, f"{offer.model} {_sells(name, sold)}; not {_word(value)}")
    for name in wanted.features:
        if name not in offer.features:
            yield Refusal(name, f"{offer.model} does not take {name}")
    if wanted.counts[COUNTS.index("references")] > offer.references:
        yield Refusal("input_references", f"{offer.model} takes at most {offer.references} references")
    for kind in sorted(set(wanted.references) - set(offer.reference_types)):
        yield Refusal("input_references", f"{offer.model} does not take a reference of type {kind}")


def _sells(name: str, sold: Sequence[Value]) -> str:
    """
    Say which values are sold, the least first where there is one: the first of a listing is only what nobody chose.

    >>> _sells("seconds", [4, 1, 10, 0])
    'sells seconds 1, 4, 10'
    """
    shown = [each for each in sold if name != "seconds" or each]
    if not shown:
        return "makes clips as long as their source, which takes no seconds"
    if name in ORDERED:
        shown.sort(key=ORDERED[name])
    return f"sells {name} {', '.join(map(_word, shown))}"


def _close(offer: Offer, decided: dict[str, Any], open_: list[str]) -> dict[str, Any] | None:
    """Fill open choices in order, first value first, going back where a rule leaves none; no rule is broken yet."""
    if not open_ or not offer.rules:
        return {**decided, **{name: getattr(offer, name)[0] for name in open_}}
    name, *rest = open_
    # A choice can only break a rule that speaks of it.
    rules = [rule for rule in offer.rules if name in rule.only or name in rule.when]
    for value in getattr(offer, name):
        tried = {**decided, name: value}
        if not any(_breaks(rule, tried) for rule in rules):
            done = _close(offer, tried, rest)
            if done is not None:
                return done
    return None


def _breaks(rule: Rule, decided: Mapping[str, Value]) -> bool:
    """Whether what is decided so far already goes against a rule."""
    for name, values in rule.when.items():
        if decided.get(name) not in values:
            return False
    return any(name in decided and decided[name] not in values for name, values in rule.only.items())


def _culprit(rule: Rule, decided: Mapping[str, Value]) -> str:
    """Name the field to change when a rule is broken."""
    name = next(name for name, values in rule.only.items() if name in decided and decided[name] not in values)
    return FIELDS.get(name, name)


def charge(listing: Listing, price: Price, usage: Usage, *, on: date, plan: str = "") -> int | None:
    """Put what a provider counted into micro-dollars, by the price quoted; ``None`` where it counted nothing."""
    if usage.usd_micros is not None:
        return usage.usd_micros
    if usage.tokens is not None and price.per == "token":
        return _micros(Decimal(price.usd) * usage.tokens)
    rate = dollars_per_credit(listing, plan, on)
    return None if usage.credits is None or rate is None else _micros(usage.credits * rate)


def dollars_per_credit(listing: Listing, plan: str, on: date) -> Decimal | None:
    """Read a credit's price off the plan in force on a day, or off the listing where credits are sold one by one."""
    plans = [each for each in listing.plans if each.name == plan and each.since <= on]
    if not plans:
        return Decimal(listing.usd_credit) if listing.usd_credit else None
    newest = max(plans, key=lambda each: each.since)
    return Decimal(newest.usd_month) / newest.credits_month


def _micros(usd: Decimal) -> int:
    """Round dollars up to whole micro-dollars, so that a hold is never too small."""
    return int((usd * 1_000_000).to_integral_value("ROUND_CEILING"))


def _word(value: Any) -> str:
    """Write a value as a client writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
