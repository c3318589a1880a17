"""
What a provider sells, as its TOML file says it: capabilities, prices, plans, fees, each with its source and date.

Every capability is a list of the values sold, and the first is what a client gets who does not choose.
A new price is a new line; old lines stay, and so do both sides of a disagreement between two documents.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache, lru_cache
from importlib import resources
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from providers.base.order import CHOICES, COUNTS, FEATURES, HANDED, Mode, frame_size

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
    verifies: bool = False
    """Whether callbacks are told from forgeries by it: an empty one would sign anybody's."""


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State how many orders an account may hand over in a stretch of time."""

    orders: int
    seconds: float
    per: Literal["account", "model"] = "account"
    """Whether all orders are counted together, or those of each model by what the seller calls it."""
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
    """Most references it takes, characters and elements among them."""
    reference_types: list[Literal["image", "video", "audio"]] = field(default_factory=lambda: ["image"])
    media_types: list[str] = []
    """
    Types of pictures and clips it takes, as ``image/png``; any of a kind of which none is named.

    A picture of another type is converted (:mod:`providers.base.conversion`), a clip is refused.
    """
    image_max: int | None = None
    """Largest picture it takes, in bytes; not given where no page says."""
    prompt_max: int = 32_000
    """Longest prompt, in characters."""
    source_max: int | None = None
    """Longest clip it edits or upscales, in seconds; not given where no page says."""
    extend_max: int | None = None
    """Longest clip an extension comes to, with what it goes on from, likewise."""
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
    """What the provider's page says and nobody is known to have seen work; such an offer is taken only by name."""


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
    link_hours: float = 24
    """For how long a finished clip can be fetched at least, as far as anybody says."""
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
        return _offers(self).get(model)

    def fetches(self, host: str, *, base_url: str = "") -> bool:
        """Whether a clip may be fetched from a host: the provider's own, or one its listing names."""
        own = {_host(self.base_url), _host(base_url or self.base_url)}
        return host in own or any(
            host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in self.hosts
        )


@lru_cache(maxsize=256)
def _offers(listing: Listing) -> Mapping[str, Offer]:
    """Index a listing's offers by model, the first of each; every order asks for its own several times."""
    return {offer.model: offer for offer in reversed(listing.offers)}


FOLDER = "REELGATE_PROVIDERS"
"""The variable that names a folder of listings beside the ones here: resellers an operator adds."""


def load(slug: str) -> Listing:
    """
    Read the listing beside its adapter.

    :raises ListingError: when the file says something a listing does not.
    """
    file = resources.files("providers").joinpath(f"{slug}.toml")
    return read(file.read_bytes(), f"providers/{slug}.toml")


def read(text: bytes, name: str) -> Listing:
    """
    Read a listing and hold it to what types cannot say.

    :param name: the file, as a message names it; a listing is called as its file is.
    :raises ListingError: naming the file and what to change.
    """
    try:
        listing = msgspec.convert(tomllib.loads(text.decode()), Listing)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ListingError(f"{name}: {error}") from error
    for wrong in faults(listing, Path(name).stem):
        raise ListingError(f"{name}: {wrong}")
    offers = [replace(offer, rules=[*_shared(listing, offer), *offer.rules]) for offer in listing.offers]
    return replace(listing, offers=offers)


def _shared(listing: Listing, offer: Offer) -> list[Rule]:
    """Find the rules of the whole listing that are for an offer."""
    return [rule for rule in listing.rules if {offer.model, "*"} & {*rule.models}]


def listings() -> Mapping[str, Listing]:
    """
    Read every listing there is, by slug, in order of name: the ones here, then the operator's own folder.

    Each folder is read once.

    :raises ListingError: when a file says something a listing does not, or there is no such folder.
    """
    return _all(os.environ.get(FOLDER, ""))


@cache
def _all(folder: str) -> Mapping[str, Listing]:
    """Read the listings here and those of one more folder."""
    here = [entry.name.removesuffix(".toml") for entry in resources.files("providers").iterdir() if _is_toml(entry)]
    found = {slug: load(slug) for slug in sorted(here)}
    if not folder:
        return found
    if not Path(folder).is_dir():
        raise ListingError(f"{FOLDER} is {folder!r}, which is no folder: name one that holds listings, or unset it")
    for path in sorted(Path(folder).glob("*.toml")):
        if path.stem in found:
            raise ListingError(f"{path}: there is a provider {path.stem} already; give the file and its slug another")
        found[path.stem] = read(path.read_bytes(), str(path))
    return found


def _is_toml(entry: Any) -> bool:
    """Whether a folder's entry is a listing."""
    return bool(entry.name.endswith(".toml"))


KNOWN = {*CHOICES, *COUNTS, "plan"}
"""What a condition may speak of."""

AMOUNT = 'write plain dollars or credits in quotes, like "0.40"'


def faults(listing: Listing, name: str) -> Iterator[str]:
    """Name everything a listing may not say, each with what to change; ``name`` is the file's, without its ending."""
    yield from _own_faults(listing, name)
    yield from _dated_faults(listing)
    yield from _amount_faults(listing)
    plans = {"", *(plan.name for plan in listing.plans)}
    models = [offer.model for offer in listing.offers]
    for rule in listing.rules:
        yield from (f"rules: {fault}" for fault in _rule_faults(rule, plans))
        if {*rule.models} - {*models, "*"} or not rule.models:
            yield f"rules: {rule.why!r} is for {rule.models}; name models offered here, or ['*']"
    for offer in listing.offers:
        yield from (f"offers: {offer.model}: {fault}" for fault in _offer_faults(offer, plans))
        if models.count(offer.model) > 1:
            yield f"offers: {offer.model} is offered twice; leave one"
    for price in listing.prices:
        where = f"prices: {', '.join(price.models)} since {price.since}"
        yield from (f"{where}: {fault}" for fault in _price_faults(price, plans))
        if {*price.models} - {*models, "*"} or not price.models:
            yield f"{where}: models names one nobody offers; name models offered here, or ['*']"
    for example in listing.examples:
        if example.model not in models or example.plan not in plans:
            yield f"examples: {example.model} {example.plan}: no such offer or plan"


def _own_faults(listing: Listing, name: str) -> Iterator[str]:
    """Name what a listing may not say of itself."""
    if listing.slug != name or not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", listing.slug):
        yield f"slug is {listing.slug!r}; it is the file's name, in lower-case letters, digits and dashes"
    if not resources.files("providers").joinpath(f"{listing.dialect}.py").is_file() or listing.dialect[:1] == "_":
        yield f"dialect is {listing.dialect!r}, which nobody speaks: providers/{listing.dialect}.py is missing"
    if not listing.base_url.startswith(("https://", "http://", "sandbox://")):
        yield "base_url must start with https://"
    if not 0 < listing.poll_seconds < listing.deadline_seconds:
        yield "poll_seconds must be above 0 and below deadline_seconds"
    if listing.rate and (listing.rate.orders < 1 or listing.rate.seconds <= 0):
        yield "rate must allow at least one order in some seconds"
    if listing.usd_credit and not is_amount(listing.usd_credit):
        yield f"usd_credit is {listing.usd_credit!r}; {AMOUNT}"


def _dated_faults(listing: Listing) -> Iterator[str]:
    """Name what prices, plans and fees may not say of their days and sources."""
    kinds: dict[str, list[Any]] = {"prices": listing.prices, "plans": listing.plans, "fees": listing.fees}
    for kind, lines_ in kinds.items():
        for before, after in pairwise(lines_):
            if after.since < before.since:
                yield f"{kind}: the line since {after.since} follows one since {before.since}; put the oldest first"
        for line in lines_:
            if not line.source.strip():
                yield f"{kind}: the line since {line.since} has no source; say whose word it is"
            if line.checked < line.since:
                yield f"{kind}: the line since {line.since} was checked before, on {line.checked}; correct one"


def _amount_faults(listing: Listing) -> Iterator[str]:
    """Name what plans and fees may not say of their amounts."""
    for plan in listing.plans:
        if not is_amount(plan.usd_month):
            yield f"plans: {plan.name}: usd_month is {plan.usd_month!r}; {AMOUNT}"
        if plan.credits_month < 1:
            yield f"plans: {plan.name}: credits_month must be above 0"
    for fee in listing.fees:
        for amount in (fee.usd, *filter(None, [fee.usd_most])):
            if not is_amount(amount):
                yield f"fees: {fee.name}: {amount!r} is no amount; {AMOUNT}"


def _offer_faults(offer: Offer, plans: set[str]) -> Iterator[str]:
    """Name what an offer may not say."""
    for name in (*CHOICES, "reference_types"):
        sold: list[Any] = getattr(offer, name)
        if not sold or len(set(sold)) < len(sold):
            yield f"{name} is empty or says a value twice; list every value sold once, the default first"
    for resolution, ratio in product(offer.resolution, offer.aspect_ratio):
        if not _is_frame(resolution, ratio):
            yield f"{resolution} at {ratio} is no size; write 720p or 4k, and 16:9"
    if any(number < least for name, least in LEAST.items() for number in getattr(offer, name)):
        yield f"a number is below its least: {', '.join(f'{name} {least}' for name, least in LEAST.items())}"
    if unknown := {*offer.features} - {*FEATURES, *HANDED}:
        yield f"there is no feature {', '.join(sorted(unknown))}; there are {', '.join((*FEATURES, *HANDED))}"
    yield from _media_faults(offer)
    if {*offer.own} - {*offer.mode}:
        yield "own names a mode it does not sell; add it to mode, or take it out of own"
    if (offer.ended is None) is not (not offer.ended_why):
        yield "ended and ended_why come together; give both or neither"
    yield from chain.from_iterable(_rule_faults(rule, plans) for rule in offer.rules)


def _media_faults(offer: Offer) -> Iterator[str]:
    """Name what an offer may not say of the media it takes."""
    for wrong in (each for each in offer.media_types if not re.fullmatch(r"(image|video|audio)/[a-z0-9.+-]+", each)):
        yield f"media_types has {wrong!r}; write types like image/png and video/mp4"
    if offer.image_max is not None and offer.image_max < 1:
        yield "image_max is bytes, above 0; leave it out where no page says how large a picture may be"


LEAST = {"seconds": 0, "n": 1, "fps": 1}
"""The least a number sold can be; seconds 0 is as long as the source."""


def _is_frame(resolution: str, ratio: str) -> bool:
    """Whether a resolution and a ratio make a size."""
    try:
        return min(frame_size(resolution, ratio)) > 0
    except (ValueError, ZeroDivisionError):
        return False


def _rule_faults(rule: Rule, plans: set[str]) -> Iterator[str]:
    """Name what a rule may not say."""
    if not rule.only:
        yield f"the rule {rule.why!r} has no only; say what is sold when it holds"
    if not rule.why.strip():
        yield "a rule has no why; write the sentence a client reads"
    for condition in (rule.when, rule.only):
        yield from (f"the rule {rule.why!r} {fault}" for fault in _condition_faults(condition, plans))


def _condition_faults(condition: Condition, plans: set[str]) -> Iterator[str]:
    """Name what a condition may not speak of."""
    if unknown := {*condition} - KNOWN:
        yield f"speaks of {', '.join(sorted(unknown))}; it can speak of {', '.join(sorted(KNOWN))}"
    for name, words in (("mode", {*Mode}), ("plan", plans)):
        for value in condition.get(name, []):
            if value not in words:
                yield f"names the {name} {value!r}; there are {', '.join(sorted(filter(None, words)))}"


def _price_faults(price: Price, plans: set[str]) -> Iterator[str]:
    """Name what a price may not say."""
    if bool(price.usd) is bool(price.credits):
        yield "needs usd or credits, and not both"
    elif not is_amount(price.usd or price.credits):
        yield f"{price.usd or price.credits!r} is no amount; {AMOUNT}"
    if (price.per == "token") is not (price.tokens > 0):
        yield "is per token without tokens, or the other way round; give both or neither"
    yield from _condition_faults(price.when, plans)


PLAIN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)


def is_amount(amount: str) -> bool:
    """Whether a text is a plain decimal amount, not below zero; ``Decimal`` reads much that nobody means by one."""
    return PLAIN.fullmatch(amount) is not None


def _host(url: str) -> str:
    """Read the host of an address we wrote ourselves."""
    return url.partition("://")[2].partition("/")[0].partition(":")[0]
