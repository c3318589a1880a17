"""
What a provider sells, as its TOML file says it: capabilities, prices, plans, fees, each with its source and date.

Every capability is a list of the values sold, and the first is what a client gets who does not choose.
A new price is a new line; old lines stay, and so do both sides of a disagreement between two documents.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from providers.base.order import CHOICES, COUNTS, FEATURES, HANDED, Mode

Value = str | int | bool
Condition = dict[str, list[Value]]
"""Values by the name of a choice (:data:`~providers.base.order.CHOICES`), a count, or ``plan``."""


class ListingError(Exception):
    """A listing says something a listing does not; the message names the file and the line's words."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Tie choices together: when these hold, only those are sold."""

    only: Condition
    why: str
    """The sentence a client reads when the rule stands in its way."""
    when: Condition = {}
    models: list[str] = []
    """Offers a rule of the whole listing is for; ``*`` for all."""


class Line(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say on whose word something costs what it does, and since when."""

    since: date
    source: str
    checked: date
    """When the source was last read."""
    note: str = ""
    """What else the page says that bears on it, disagreements first."""


class Price(Line, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State one line of a price list, on whose word and since when; old lines stay."""

    models: list[str]
    """Models the line is for; ``*`` for all."""
    usd: str = ""
    """Exact decimal dollars per ``per``."""
    credits: str = ""
    """Exact decimal credits per ``per``; dollars follow from the account's plan, or from ``usd_credit``."""
    per: Literal["video", "second", "token"]
    tokens: int = 0
    """Tokens a second of video counts, where ``per`` is ``token``: what will be billed is then an estimate."""
    when: Condition = {}


class Plan(Line, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State what a subscription costs and how many credits it brings."""

    name: str
    usd_month: str
    credits_month: int


class Fee(Line, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State a cost beside the price of a clip: shown with every quote, never hidden in it."""

    name: str
    usd: str
    """Exact decimal dollars, the least where it is a range."""
    usd_most: str = ""
    per: str
    """``month``, ``1000 captchas``."""


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a sum a page works out itself; a test works it out again from the listing."""

    model: str
    plan: str = ""
    choose: dict[str, Value] = {}
    """Choices as a request makes them."""
    on: date
    usd: str = ""
    """Dollars as printed; as many decimals are compared as are written."""
    credits: str = ""
    source: str


class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name an environment variable an account needs."""

    name: str
    what: str
    required: bool = True
    public: bool = False
    """Whether it is no secret after all: a project's name, which addresses show."""


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State how many orders an account may hand over in a stretch of time."""

    orders: int
    seconds: float
    source: str


class Offer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """Describe one model as one provider sells it; compared by identity, so that answers about it can be kept."""

    model: str
    wire_name: str
    route: str = ""
    """Which of the dialect's ways it is ordered by, where there are several."""
    mode: list[Mode]
    own: list[Mode] = []
    """Modes whose source must be a clip the same account made here."""
    seconds: list[int]
    """Whole seconds; 0 is as long as the source."""
    resolution: list[str]
    aspect_ratio: list[str]
    audio: list[bool]
    n: list[int] = field(default_factory=lambda: [1])
    fps: list[int] = field(default_factory=lambda: [24])
    container: list[str] = field(default_factory=lambda: ["mp4"])
    features: list[str] = []
    """Optional fields and inputs the offer takes, of :data:`~providers.base.order.FEATURES` and ``HANDED``."""
    references: int = 0
    """Most references it takes, characters among them."""
    reference_types: list[Literal["image", "video", "audio"]] = field(default_factory=lambda: ["image"])
    prompt_max: int = 32_000
    """Longest prompt, in characters."""
    rules: list[Rule] = []
    rank: int = 0
    """Order of preference under the policy ``best``; higher is better."""
    typical_seconds: float = 120
    """How long making a clip usually takes, until enough have been observed."""
    ended: date | None = None
    """First day it is sold no more."""
    ended_why: str = ""
    """What a client reads from then on, with the source."""
    unconfirmed: str = ""
    """What the vendor's page says and nobody is known to have seen work; such an offer is taken only by name."""


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
    submit_class_source: str
    """Which page says so, or that none does."""
    secrets: list[Secret] = []
    hosts: list[str] = []
    """Hosts its clips are fetched from beside its own; ``*.example.com`` for every host below."""
    takes: Literal["bytes", "links"] = "bytes"
    """Whether inputs are handed over, or fetched by the provider from a public address of ours."""
    sandbox: bool = False
    """Whether nothing real is made; routing then picks it only by name once a real account is enabled."""
    poll_seconds: float
    """How long to wait between two looks at a task."""
    deadline_seconds: float
    """After how long without a verdict a task is given up."""
    missing_seconds: float = 120
    """How long a task may be unknown to its own provider before it counts as lost."""
    rate: Rate | None = None
    usd_credit: str = ""
    """Exact decimal dollars a credit costs where credits are bought one by one, without a plan."""
    plans: list[Plan] = []
    fees: list[Fee] = []
    rules: list[Rule] = []
    """Rules several offers share; they come before an offer's own."""
    offers: list[Offer]
    prices: list[Price]
    examples: list[Example] = []

    def offer(self, model: str) -> Offer | None:
        """Find the offer for a model."""
        return next((offer for offer in self.offers if offer.model == model), None)

    def fetches(self, host: str, *, base_url: str = "") -> bool:
        """Whether a clip may be fetched from a host: the provider's own, or one its listing names."""
        own = {_host(self.base_url), _host(base_url or self.base_url)}
        return host in own or any(
            host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in self.hosts
        )


def load(slug: str) -> Listing:
    """
    Read the listing beside its adapter.

    :raises ListingError: when the file says something a listing does not.
    """
    return read(resources.files("providers").joinpath(f"{slug}.toml").read_bytes(), slug)


def read(text: bytes, name: str) -> Listing:
    """
    Read a listing and hold it to what types cannot say.

    :raises ListingError: naming what is wrong.
    """
    try:
        listing = msgspec.convert(tomllib.loads(text.decode()), Listing)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ListingError(f"{name}: {error}") from error
    for wrong in _faults(listing):
        raise ListingError(f"{name}: {wrong}")
    offers = [replace(offer, rules=[*_shared(listing, offer), *offer.rules]) for offer in listing.offers]
    return replace(listing, offers=offers)


def _shared(listing: Listing, offer: Offer) -> list[Rule]:
    """Find the rules of the whole listing that are for an offer."""
    return [rule for rule in listing.rules if {offer.model, "*"} & {*rule.models}]


@cache
def listings() -> Mapping[str, Listing]:
    """Read every listing there is, by slug, in order of name; read once."""
    names = sorted(entry.name for entry in resources.files("providers").iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): load(name.removesuffix(".toml")) for name in names}


KNOWN = {*CHOICES, *COUNTS, "plan"}
"""What a condition may speak of."""


def _faults(listing: Listing) -> Iterator[str]:
    """Name everything a listing may not say."""
    yield from _rule_faults(listing.rules)
    yield from _dated_faults(listing)
    models = [offer.model for offer in listing.offers]
    if any({*rule.models} - {*models, "*"} or not rule.models for rule in listing.rules):
        yield "a rule of the listing is for a model nobody offers"
    for offer in listing.offers:
        yield from (f"{offer.model}: {fault}" for fault in _offer_faults(offer))
        if models.count(offer.model) > 1:
            yield f"{offer.model} is offered twice"
    for price in listing.prices:
        yield from (f"a price of {price.models} {fault}" for fault in _price_faults(price))
        if {*price.models} - {*models, "*"}:
            yield f"a price of {price.models} is for a model nobody offers"


def _dated_faults(listing: Listing) -> Iterator[str]:
    """Name what prices, plans and fees may not say of their days and amounts."""
    kinds: tuple[list[Any], ...] = (listing.prices, listing.plans, listing.fees)
    for lines in kinds:
        if [line.since for line in lines] != sorted(line.since for line in lines):
            yield "prices, plans and fees come oldest first"
        if any(not line.source.strip() or line.checked < line.since for line in lines):
            yield "a price, plan or fee has no source, or was checked before it was true"
    for amount in [each.usd_month for each in listing.plans] + [each.usd for each in listing.fees]:
        if not is_amount(amount):
            yield f"{amount!r} is no exact decimal"


def _offer_faults(offer: Offer) -> Iterator[str]:
    """Name what an offer may not say."""
    for name in (*CHOICES, "reference_types"):
        sold: list[Any] = getattr(offer, name)
        if not sold or len(set(sold)) < len(sold):
            yield f"{name} is empty or says a value twice"
    if unknown := {*offer.features} - {*FEATURES, *HANDED}:
        yield f"there is no feature {', '.join(sorted(unknown))}"
    if {*offer.own} - {*offer.mode}:
        yield "own names a mode it does not sell"
    if (offer.ended is None) is not (not offer.ended_why):
        yield "ended and ended_why come together"
    yield from _rule_faults(offer.rules)


def _rule_faults(rules: list[Rule]) -> Iterator[str]:
    """Name what rules may not say."""
    if any(not rule.only or {*rule.when, *rule.only} - KNOWN for rule in rules):
        yield f"a rule speaks of something else than {', '.join(sorted(KNOWN))}"


def _price_faults(price: Price) -> Iterator[str]:
    """Name what a price may not say."""
    if bool(price.usd) is bool(price.credits):
        yield "needs usd or credits, and not both"
    if not is_amount(price.usd or price.credits):
        yield "is no exact decimal"
    if (price.per == "token") is not (price.tokens > 0):
        yield "is per token without tokens, or the other way round"
    if {*price.when} - KNOWN:
        yield f"depends on something else than {', '.join(sorted(KNOWN))}"


def is_amount(amount: str) -> bool:
    """Whether a text is a plain decimal amount, not below zero."""
    try:
        return amount.isascii() and Decimal(amount).is_finite() and Decimal(amount) >= 0 and "e" not in amount.lower()
    except InvalidOperation:
        return False


def _host(url: str) -> str:
    """Read the host of an address we wrote ourselves."""
    return url.partition("://")[2].partition("/")[0].partition(":")[0]
