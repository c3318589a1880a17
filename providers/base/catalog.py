"""
What is sold, and at what price: listings, and the two sums made from them.

A listing is a TOML file beside its adapter. :func:`fit` turns a request into a spec at one offer or
says why it cannot; :func:`quote` puts a price to a spec. Both are pure.

Every capability is a list of the values sold, and the first is what a client gets who does not choose.
What cannot be priced cannot be ordered. Money is integer micro-dollars.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct, field

from providers.base.order import CHOICES, FEATURES, UNSET, Mode, Request, Role, Spec, frame_size

Value = str | int | bool
Condition = dict[str, list[Value]]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Tie choices together: when these hold, only those are sold."""

    when: Condition
    only: Condition
    why: str
    """The sentence a client reads when the rule stands in its way."""


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State one line of a price list, on whose word and since when; old lines stay."""

    models: list[str]
    """Models the line is for; ``*`` for all."""
    usd: str = ""
    """Exact decimal dollars per ``per``."""
    credits: str = ""
    """Exact decimal credits per ``per``; dollars follow from the account's plan."""
    per: Literal["video", "second"]
    when: Condition = {}
    since: date
    source: str
    checked: date


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State what a subscription costs and how many credits it brings."""

    name: str
    usd_month: str
    credits_month: int
    since: date
    source: str
    checked: date


class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name an environment variable an account needs."""

    name: str
    what: str
    required: bool = True


class Offer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """Describe one model as one provider sells it; compared by identity, so that answers about it can be kept."""

    model: str
    wire_name: str
    mode: list[Mode]
    seconds: list[int]
    resolution: list[str]
    aspect_ratio: list[str]
    audio: list[bool]
    n: list[int] = field(default_factory=lambda: [1])
    fps: list[int] = field(default_factory=lambda: [24])
    container: list[str] = field(default_factory=lambda: ["mp4"])
    features: list[str] = []
    """Optional request fields the offer takes, of :data:`~providers.base.order.FEATURES`."""
    references: int = 0
    """Most references it takes."""
    reference_types: list[Literal["image", "video", "audio"]] = field(default_factory=lambda: ["image"])
    prompt_max: int = 32_000
    """Longest prompt, in characters."""
    rules: list[Rule] = []
    rank: int = 0
    """Order of preference under the policy ``best``; higher is better."""
    typical_seconds: float = 120
    """How long making a clip usually takes, until enough have been observed."""


class Listing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """Hold everything one provider sells, as written in its TOML file; compared by identity."""

    slug: str
    name: str
    dialect: str
    """The module that speaks to it; a provider without its own dialect names another's."""
    base_url: str
    docs: str
    submit_class: Literal["A", "B", "C", "D", "E"]
    """
    How a lost submit can be cleared up: A by repeating it, B by looking our own id up, C by its callback,
    D by listing recent tasks, E not at all.
    """
    secrets: list[Secret] = []
    sandbox: bool = False
    """Whether nothing real is made; routing then picks it only by name once a real account is enabled."""
    poll_seconds: float
    """How long to wait between two looks at a task."""
    deadline_seconds: float
    """After how long without a verdict a task is given up."""
    missing_seconds: float = 120
    """How long a task may be unknown to its own provider before it counts as lost."""
    plans: list[Plan] = []
    offers: list[Offer]
    prices: list[Price]

    def offer(self, model: str) -> Offer | None:
        """Find the offer for a model."""
        return next((offer for offer in self.offers if offer.model == model), None)


class Refusal(Struct, frozen=True):
    """Say why an offer cannot do a request; ``field`` is the request's field to change."""

    field: str
    message: str


class Quote(Struct, frozen=True, kw_only=True):
    """Hold a spec and what it would cost at one offer, before anything is bought."""

    spec: Spec
    usd_micros: int
    credits: Decimal | None
    price: Price


def load(slug: str) -> Listing:
    """
    Read the listing beside its adapter.

    :raises msgspec.ValidationError: when the file says something a listing does not.
    """
    text = resources.files("providers").joinpath(f"{slug}.toml").read_bytes()
    return msgspec.convert(tomllib.loads(text.decode()), Listing)


@cache
def listings() -> Mapping[str, Listing]:
    """Read every listing there is, by slug, in order of name; read once."""
    names = sorted(entry.name for entry in resources.files("providers").iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): load(name.removesuffix(".toml")) for name in names}


class Shape(NamedTuple):
    """Hold what of a request decides whether an offer can do it; most requests share a few shapes."""

    choices: tuple[Value | None, ...]
    """One for each of ``CHOICES``; ``None`` where it is open."""
    features: tuple[str, ...]
    references: tuple[str, ...]
    """The kind of each reference: image, video, audio."""


def shape(request: Request) -> Shape:
    """Read a request's shape."""
    return Shape(
        tuple([getattr(request, name) for name in CHOICES]),
        tuple([name for name in FEATURES if getattr(request, name) not in UNSET]),
        tuple([each.media_type.partition("/")[0] for each in request.inputs if each.role is Role.REFERENCE]),
    )


def fit(offer: Offer, request: Request, *, plan: str = "", wanted: Shape | None = None) -> Spec | list[Refusal]:
    """
    Make every choice a request leaves open, or say each reason the offer cannot do it.

    Choices the client made stay as they are; open ones take the first value sold that the offer's
    rules allow beside them. ``wanted`` is the request's shape, where the caller has it already.
    """
    answer = _fit(offer, wanted or shape(request), plan)
    if len(request.prompt) > offer.prompt_max:
        long = Refusal("prompt", f"{offer.model} takes prompts of at most {offer.prompt_max} characters")
        return [long] if isinstance(answer, Spec) else [long, *answer]
    return answer if isinstance(answer, Spec) else list(answer)


@lru_cache(maxsize=4096)
def _fit(offer: Offer, wanted: Shape, plan: str) -> Spec | tuple[Refusal, ...]:
    """Answer :func:`fit` for every request of a shape."""
    refusals = tuple(_misfits(offer, wanted))
    if refusals:
        return refusals
    asked: dict[str, Any] = {"plan": plan}
    asked |= {name: value for name, value in zip(CHOICES, wanted.choices, strict=True) if value is not None}
    broken = tuple(Refusal(_culprit(rule, asked), rule.why) for rule in offer.rules if _breaks(rule, asked))
    if broken:
        return broken
    decided = _close(offer, asked, [name for name in CHOICES if name not in asked])
    if decided is None:
        return (Refusal("seconds", f"{offer.model} sells no combination of the choices made"),)
    del decided["plan"]
    return Spec(**decided)


@lru_cache(maxsize=4096)
def quote(listing: Listing, offer: Offer, spec: Spec, *, on: date, plan: str = "") -> Quote | Refusal:
    """Price a spec by the line in force on a day; the most particular line wins, then the newest."""
    decided = {"plan": plan, **{name: getattr(spec, name) for name in CHOICES}}
    lines = [
        line
        for line in listing.prices
        if line.since <= on
        and (offer.model in line.models or "*" in line.models)
        and all(decided.get(name) in values for name, values in line.when.items())
    ]
    if not lines:
        return Refusal("model", f"{listing.slug} states no price for {offer.model}")
    line = max(lines, key=lambda line: (offer.model in line.models, len(line.when), line.since))
    units = spec.n * (spec.seconds if line.per == "second" else 1)
    if not line.credits:
        return Quote(spec=spec, usd_micros=_micros(Decimal(line.usd) * units), credits=None, price=line)
    spent = Decimal(line.credits) * units
    rate = _dollars_per_credit(listing, plan, on)
    if rate is None and spent:
        return Refusal("provider", f"{listing.slug} needs a plan to turn {spent} credits into dollars")
    return Quote(spec=spec, usd_micros=_micros(spent * (rate or 0)), credits=spent, price=line)


def _misfits(offer: Offer, wanted: Shape) -> Iterator[Refusal]:
    """Name every wish the offer does not list."""
    for name, value in zip(CHOICES, wanted.choices, strict=True):
        sold = getattr(offer, name)
        if value is not None and value not in sold:
            shown = ", ".join(_word(each) for each in sold)
            yield Refusal(name, f"{offer.model} sells {name} {shown}; not {_word(value)}")
    for name in wanted.features:
        if name not in offer.features:
            yield Refusal(name, f"{offer.model} does not take {name}")
    if len(wanted.references) > offer.references:
        yield Refusal("input_references", f"{offer.model} takes at most {offer.references} references")
    for kind in sorted(set(wanted.references) - set(offer.reference_types)):
        yield Refusal("input_references", f"{offer.model} does not take a reference of type {kind}")


def _close(offer: Offer, decided: dict[str, Any], open_: list[str]) -> dict[str, Any] | None:
    """Fill open choices in order, first value first, going back where a rule leaves none."""
    if not open_ or not offer.rules:
        return {**decided, **{name: getattr(offer, name)[0] for name in open_}}
    name, *rest = open_
    for value in getattr(offer, name):
        tried = {**decided, name: value}
        if not any(_breaks(rule, tried) for rule in offer.rules):
            done = _close(offer, tried, rest)
            if done is not None:
                return done
    return None


def _breaks(rule: Rule, decided: Mapping[str, Value]) -> bool:
    """Whether what is decided so far already goes against a rule."""
    return all(decided.get(name) in values for name, values in rule.when.items()) and any(
        name in decided and decided[name] not in values for name, values in rule.only.items()
    )


def _culprit(rule: Rule, decided: Mapping[str, Value]) -> str:
    """Name the field to change when a rule is broken."""
    return next(name for name, values in rule.only.items() if name in decided and decided[name] not in values)


def _dollars_per_credit(listing: Listing, plan: str, on: date) -> Decimal | None:
    """Read a credit's price off the plan in force on a day."""
    plans = [each for each in listing.plans if each.name == plan and each.since <= on]
    if not plans:
        return None
    newest = max(plans, key=lambda each: each.since)
    return Decimal(newest.usd_month) / newest.credits_month


def _micros(usd: Decimal) -> int:
    """Round dollars up to whole micro-dollars, so that a hold is never too small."""
    return int((usd * 1_000_000).to_integral_value("ROUND_CEILING"))


def _word(value: Any) -> str:
    """Write a value as a client writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = [
    "Listing",
    "Offer",
    "Plan",
    "Price",
    "Quote",
    "Refusal",
    "Rule",
    "Secret",
    "Shape",
    "fit",
    "frame_size",
    "listings",
    "load",
    "quote",
    "shape",
]
