"""Join each enabled account to the adapter that speaks its dialect and the wire that carries it."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date
from importlib import import_module

import httpx
from msgspec import Struct
from msgspec.structs import replace

from gateway.credentials import missing, secrets
from gateway.offers.asking import Seller
from gateway.offers.breaker import ROW, Breaker, rest_ms
from gateway.offers.looks import Looks
from gateway.offers.sources import Source
from gateway.settings import AccountSettings, OfferSettings, Settings
from providers.base.listing import Listing, Price, listings
from providers.base.provider import Provider
from providers.base.wire import HttpWire, Wire

EVERYTHING = "*"
"""Every model of an account."""
LONG_MS = 120_000
"""A rest that is longer sends new jobs elsewhere; a shorter one is waited for."""
FRESH_MS = 3_600_000
"""How long a provider's word on its credits is believed."""
LATE_SHARE = 0.1
"""Looks at what ended in doubt, beside as many as an account may take at what is under way."""
GROW_MS = 10_000
"""How long a provider must answer before one more task is under way at once."""
TURNED = 10
"""Orders, each to come again for its own sake and none taken meanwhile, after which it is for the account's."""
TURNED_MS = 60_000
"""How long that must have gone on: many at once may have met the same trouble."""


class Rest(Struct, frozen=True):
    """Say until when nothing is ordered, and why."""

    until: int
    why: str


class Account:
    """Hold one set of credentials at work: who speaks, over what, how much is under way, and what rests."""

    def __init__(
        self,
        name: str,
        provider: Provider,
        wire: Wire,
        *,
        plan: str,
        max_running: int,
        looks: float = 1000,
        listing: Listing | None = None,
        links: bool = True,
        abroad: Wire | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.wire = wire
        self.abroad = abroad or wire
        """What carries downloads from hosts that are not its own: under the guard, in any gateway that is built."""
        self.plan = plan
        self.max_running = max_running
        self.listing = listing or provider.listing
        """What is sold here: the provider's listing, as the operator changed it."""
        self.running = 0
        """Attempts open here; the store's count now and then, kept up in between."""
        self.taking = 0
        """Those of them whose intent is not on disk yet, so that the store does not count them."""
        self.looks = Looks(looks)
        self.late_looks = Looks(looks * LATE_SHARE)
        """Those at what ended in doubt, however much that is: they take no turn from what is under way."""
        self.source = Source()
        self._credits: tuple[int, int] | None = None
        self._limit = float(max_running)
        """Tasks that may be under way now: halved when the provider asks to slow down, growing back as it answers."""
        self._grown_at = 0
        self._failures = 0
        """Calls in a row that nobody answered."""
        self._trips = 0
        """Times in a row that too many were."""
        self._calls, self._orders = Breaker(), Breaker(ROW)
        """What became of all calls, and of orders alone: that looks are answered sells nothing."""
        self._turned: set[str] = set()
        """Orders that were turned away since one was taken; no more of them than say enough."""
        self._turned_since = 0
        self._silence = f"{self.listing.name} does not answer the account {name}"
        self._failing: Rest | None = None
        """The last rest that no answer ends."""
        self.rests: dict[str, Rest] = {}
        """By model, or :data:`EVERYTHING`."""
        self._ordered: defaultdict[str, deque[int]] = defaultdict(deque)
        """When orders were handed over, by what they are counted by."""
        self._seller = Seller(
            account=name, listing=self.listing, plan=plan, links=links, objections=provider.objections
        )

    def room(self, model: str, now: int) -> int:
        """Say how many more tasks may be ordered now: places are free, nothing rests, and the rate allows it."""
        if any(self.rest_of(each, now) for each in (model, EVERYTHING)):
            return 0
        free = max(1, int(self._limit)) - self.running
        rate = self.listing.rate
        if rate is None:
            return max(0, free)
        ordered = self._ordered[self._counted_by(model)]
        while ordered and ordered[0] <= now - rate.seconds * 1000:
            ordered.popleft()
        return max(0, min(free, rate.orders - len(ordered)))

    def _counted_by(self, model: str) -> str:
        """Name what the rate counts an order of a model by: two of our names may be one model to its seller."""
        rate, offer = self.listing.rate, self.listing.offer(model)
        return offer.wire_name if rate and rate.per == "model" and offer else EVERYTHING

    def has_room(self, model: str, now: int) -> bool:
        """Whether one more task may be ordered now."""
        return self.room(model, now) > 0

    def take_place(self, model: str, now: int) -> None:
        """Count an order that is about to be handed over, and whose intent is about to be committed."""
        self.running += 1
        self.taking += 1
        if self.listing.rate:
            self._ordered[self._counted_by(model)].append(now)

    def took_place(self) -> None:
        """Hear that an intent is on disk, or never will be."""
        self.taking -= 1

    def give_place(self) -> None:
        """Count an order that has ended, or never went out."""
        self.running = max(0, self.running - 1)

    def recount(self, open_: int) -> None:
        """Take over how many attempts the store says are open here, whoever opened or closed them."""
        self.running = open_ + self.taking

    def rest_of(self, model: str, now: int) -> Rest | None:
        """Find what keeps a model from being ordered now; what is over is forgotten."""
        rest = self.rests.get(model)
        if rest is not None and rest.until <= now:
            del self.rests[model]
            return None
        return rest

    def resting(self, now: int) -> dict[str, Rest]:
        """Find everything that rests now, by model."""
        return {model: rest for model in [*self.rests] if (rest := self.rest_of(model, now))}

    def _long_rest_of(self, model: str, now: int) -> Rest | None:
        """Find what sends new jobs elsewhere."""
        rest = self.rest_of(model, now)
        return rest if rest and rest.until - now >= LONG_MS else None

    def shut(self, model: str, now: int) -> str | None:
        """Say why new jobs for a model are sent elsewhere; ``None`` where they are not."""
        rests = (self._long_rest_of(each, now) for each in (model, EVERYTHING))
        return next((rest.why for rest in rests if rest), None)

    def lasting(self, model: str, now: int) -> Rest | None:
        """Find the rest that only time ends; silence is over as soon as anybody answers."""
        rests = (self.rest_of(each, now) for each in (model, EVERYTHING))
        return max(
            (rest for rest in rests if rest and rest.why != self._silence), key=lambda rest: rest.until, default=None
        )

    def opens(self, model: str, now: int) -> int:
        """Say from when on jobs for a model are taken again: its rest is then short enough to be waited for."""
        rests = (self._long_rest_of(each, now) for each in (model, EVERYTHING))
        return max([now, *(rest.until - LONG_MS + 1 for rest in rests if rest)])

    def is_failing(self, now: int) -> bool:
        """Whether everything rests because nobody answers, or too seldom: that passes without anybody's doing."""
        rest = self.rest_of(EVERYTHING, now)
        return rest is not None and rest.why in (self._silence, self._failing and self._failing.why)

    def rest(self, model: str, until: int, why: str) -> None:
        """Order nothing of a model until a time; a longer rest stays."""
        if model not in self.rests or self.rests[model].until < until:
            self.rests[model] = Rest(until, why)

    def throttled(self) -> None:
        """Ask for half as much at once from now on."""
        self._limit = max(1.0, self._limit / 2)

    def answered(self, now: int, *, buying: bool = False) -> None:
        """
        Hear that the provider answers: what rested because it did not goes on, and more is asked of it again.

        What rests because too much failed does so to its end.
        """
        self._calls.note(now, failed=False)
        if buying:
            self._orders.note(now, failed=False)
        self._failures = 0
        if self._trips:
            self._trips = 0
            if self.rests.get(EVERYTHING, Rest(0, "")).why == self._silence:
                del self.rests[EVERYTHING]
                if self._failing is not None and self._failing.until > now:
                    self.rests[EVERYTHING] = self._failing
        if self._limit < self.max_running and now - self._grown_at >= GROW_MS:
            self._limit, self._grown_at = min(float(self.max_running), self._limit + 1), now

    def accepted(self, now: int) -> None:
        """Hear that an order was taken."""
        self._turned.clear()
        self.answered(now, buying=True)

    def turned_away(self, order: str, now: int) -> float:
        """
        Hear that an order was not taken for its own sake, and may come again.

        Where no order is taken for a while, the account rests long enough that others are tried. Says for how many
        seconds.
        """
        if not self._turned:
            self._turned_since = now
        if len(self._turned) < TURNED:
            self._turned.add(order)
        if len(self._turned) < TURNED or now - self._turned_since < TURNED_MS:
            return 0.0
        why = f"{self.listing.name} has turned away {TURNED} orders and more of the account {self.name}, and taken none"
        self.rest(EVERYTHING, now + 300_000, why)
        return 300.0

    def failed(self, now: int, *, buying: bool = False) -> tuple[str, float] | None:
        """
        Hear that nobody answered; after the fifth time in a row nothing is ordered for a while, longer each time.

        Looks at tasks go on, and the first one answered ends that rest. One for orders that fail while looks are
        answered, or for a share of calls, lasts its time. Says what kind of rest begins, and for how many seconds.
        """
        self._failures += 1
        began = None
        if self._failures >= ROW:
            self._failures, self._trips, self._limit = ROW - 1, self._trips + 1, 1.0
            until = now + rest_ms(self._trips)
            self.rest(EVERYTHING, until, self._silence)
            began = "not_answering", (until - now) / 1000
        orders_fail = buying and self._orders.note(now, failed=True)
        if self._calls.note(now, failed=True) or orders_fail:
            until, self._limit = max(self._orders.until, self._calls.until), 1.0
            what = "fails orders" if orders_fail else "fails half of the calls"
            self._failing = Rest(until, f"{self.listing.name} {what} of the account {self.name}")
            self.rest(EVERYTHING, until, self._failing.why)
            began = began or ("failing", (until - now) / 1000)
        return began

    def note_credits(self, left: int, now: int) -> None:
        """Remember how many credits the provider says are left."""
        self._credits = (left, now)

    def credits_left(self, now: int) -> int | None:
        """Say how many credits are left, while that is fresh: an account filled up again must be found out."""
        return self._credits[0] if self._credits and now - self._credits[1] < FRESH_MS else None

    def seller(self, now: int) -> Seller:
        """Describe this account as routing sees it."""
        shut = {model: rest.why for model in [*self.rests] if (rest := self._long_rest_of(model, now))}
        left, last = self.credits_left(now), self._seller
        free = (
            0 if self.rest_of(EVERYTHING, now) else max(0, int(self._limit) - self.running) / max(1, self.max_running)
        )
        if (shut, left, free) != (last.shut, last.credits_left, last.free):
            self._seller = replace(last, shut=shut, credits_left=left, free=free)
        return self._seller


def stand_in(name: str, slug: str, abroad: Callable[[httpx.Auth], Wire]) -> Account | None:
    """
    Build what fetches for an account that is not configured any more what anybody could: it signs nothing.

    ``None`` where nobody knows its listing any more either.
    """
    listing = listings().get(slug)
    if listing is None:
        return None
    wire = abroad(httpx.Auth())
    return Account(name, adapter(listing.dialect)(listing, {}), wire, plan="", max_running=0, abroad=wire)


def link_hours(account: Account | None) -> float:
    """Say for how long an account's finished clips can be fetched at least; a day where nobody says."""
    return account.provider.listing.link_hours if account else 24


class Unused(Struct, frozen=True):
    """Name an account that is not used, and why."""

    account: str
    reason: str


def adapter(dialect: str) -> type[Provider]:
    """Find the class that speaks a dialect: the one adapter of ``providers.<dialect>``."""
    module = import_module(f"providers.{dialect}")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Provider) and each.__module__ == module.__name__
    )
    return found


def open_accounts(
    settings: Settings,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
    abroad: Callable[[httpx.Auth], Wire],
    *,
    sandbox_only: bool,
) -> tuple[dict[str, Account], list[Unused]]:
    """
    Build every account that can be used, and say of the others why not.

    ``transport`` leads to the providers, what ``abroad`` makes to wherever they say their clips lie.
    ``sandbox_only`` leaves real accounts unused: nobody without a key may spend money.
    """
    known = {slug: adjusted(listing, settings.offers) for slug, listing in listings().items()}
    accounts: dict[str, Account] = {}
    unused: list[Unused] = []
    for name, each in settings.accounts.items():
        listing = known[each.provider]
        lacking = missing(name, listing, environ)
        if not each.enabled:
            unused.append(Unused(name, "enabled = false"))
        elif lacking:
            unused.append(Unused(name, f"the environment lacks {', '.join(lacking)}"))
        elif sandbox_only and not listing.sandbox:
            unused.append(Unused(name, "no API key exists, so only the sandbox is served: reelgate keys create"))
        else:
            provider = adapter(listing.dialect)(listing, secrets(name, listing, environ), base_url=each.base_url)
            auth = provider.auth()
            accounts[name] = Account(
                name,
                provider,
                HttpWire(transport, auth),
                abroad=abroad(auth),
                plan=each.plan,
                max_running=each.max_running,
                looks=each.looks_per_second,
                listing=_of_account(listing, each),
                links=bool(settings.server.public_url),
            )
    return accounts, unused


def adjusted(listing: Listing, said: Mapping[str, OfferSettings]) -> Listing:
    """
    Change a listing as the operator says: offers taken out or brought back, prices put in place of its own; pure.

    A listing nothing is said of stays itself, so that answers about it can be kept.
    """
    mine = {name.partition(":")[2]: each for name, each in said.items() if name.partition(":")[0] == listing.slug}
    if not mine:
        return listing
    offers = [
        replace(offer, ended=None, ended_why="") if offer.model in mine else offer
        for offer in listing.offers
        if offer.model not in mine or mine[offer.model].enabled
    ]
    priced = {model: each for model, each in mine.items() if each.usd and each.enabled}
    prices = [
        *(_price(model, each) for model, each in priced.items()),
        *(
            replace(line, models=[model for model in line.models if model not in priced])
            for line in listing.prices
            if {*line.models} - {*priced}
        ),
    ]
    return replace(listing, offers=offers, prices=prices)


def _of_account(listing: Listing, said: AccountSettings) -> Listing:
    """Change a listing as the operator says of one account at it, likewise."""
    if not said.clip_hosts and not said.usd_credit:
        return listing
    return replace(listing, hosts=[*listing.hosts, *said.clip_hosts], usd_credit=said.usd_credit or listing.usd_credit)


def _price(model: str, said: OfferSettings) -> Price:
    """Write the operator's price as a line like any other."""
    word = "the most it may cost: its price is unknown" if said.ceiling else "the operator's price"
    source = f"config.toml: {word}"
    return Price(models=[model], usd=said.usd, per=said.per, since=date.min, source=source, checked=date.min)
