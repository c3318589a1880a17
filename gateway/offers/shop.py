"""Know what can be bought here and now: the accounts at work, the aliases and the routing settings."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from secrets import token_hex
from statistics import median

from msgspec.structs import replace

from gateway.jobs.job import Job
from gateway.jobs.wish import Choice, Wish, read_choice
from gateway.offers.accounts import Account
from gateway.offers.asking import Seller, promised
from gateway.offers.routing import Decision, Terms, decide
from gateway.settings import Alias, RoutingSettings
from providers.base.catalog import charge, price_of
from providers.base.listing import Offer, listings
from providers.base.order import Spec
from providers.base.task import Usage

ENOUGH = 5
"""Clips an offer must have made before what it took is believed over its listing."""
KEPT = 64
"""Clips whose times are remembered, by offer."""


class Shop:
    """Answer what every offer would charge, and which to take."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        aliases: Mapping[str, Alias],
        routing: RoutingSettings,
        clock: Callable[[], int],
        former: Callable[[str, str], Account | None] = lambda _name, _slug: None,
    ) -> None:
        """Sell from accounts; ``former`` makes what stands in for one that is not there any more, by its provider."""
        self.former = former
        self.accounts = accounts
        self.aliases = aliases
        self.routing = routing
        self._clock = clock
        self._times: dict[str, deque[float]] = {}
        self._terms = Terms(policy=routing.policy, order=routing.order, split=routing.split, ceiling=routing.ceiling)

    @property
    def sellers(self) -> list[Seller]:
        """Describe every account as it stands now."""
        now = self._clock()
        return [account.seller(now) for account in self.accounts.values()]

    @property
    def today(self) -> date:
        """The day whose prices hold, in UTC."""
        return datetime.fromtimestamp(self._clock() / 1000, UTC).date()

    @property
    def speeds(self) -> Mapping[str, float]:
        """Seconds an offer was observed to take, by its name."""
        return self._terms.speeds

    def decide(self, wish: Wish, *, lot: str = "", rested: bool = False) -> Decision:
        """
        Put the offers that can do a wish in the order they should be tried, by today's prices.

        ``lot`` is what ``split`` draws by where the wish names no user, anew each time where nothing is given; with
        ``rested`` everybody can who could if nobody rested.

        :raises UnknownModelError: when nobody sells a model by that name.
        """
        terms = self._terms
        split = (wish.preferences.policy or terms.policy) == "split"
        return decide(
            wish.request,
            wish.preferences,
            [replace(each, shut={}) for each in self.sellers] if rested else self.sellers,
            self.aliases,
            on=self.today,
            terms=terms,
            lot=(wish.user or lot or token_hex(8)) if split else "",
        )

    def affords(self, choice: Choice) -> bool:
        """Whether the operator lets an order cost as much."""
        return self._terms.ceiling is None or choice.usd_micros <= self._terms.ceiling

    def resting(self, wish: Wish) -> dict[tuple[str, str], int]:
        """
        Say which offers could do a wish that none can now, if nobody rested: by account and model, from when on.

        :raises UnknownModelError: when nobody sells a model by that name.
        """
        now = self._clock()
        rested = self.decide(wish, rested=True)
        places = [(line.account, line.offer.model) for line in (*rested.ranked, *rested.apart)]
        return {(name, model): self.accounts[name].opens(model, now) for name, model in places}

    def observe(self, offer: str, seconds: float) -> None:
        """Remember how long an offer took to make a clip."""
        times = self._times.setdefault(offer, deque(maxlen=KEPT))
        times.append(seconds)
        if len(times) >= ENOUGH:
            self._terms = replace(self._terms, speeds={**self._terms.speeds, offer: median(times)})

    def recall(self, took: Iterable[tuple[str, float]]) -> None:
        """Take over how long offers took, oldest first; of those that are not named, what was seen here stays."""
        times: dict[str, deque[float]] = {}
        for offer, seconds in took:
            times.setdefault(offer, deque(maxlen=KEPT)).append(seconds)
        self._times |= times
        speeds = {offer: median(each) for offer, each in times.items() if len(each) >= ENOUGH}
        self._terms = replace(self._terms, speeds={**self._terms.speeds, **speeds})

    def settle(self, job: Job, usage: Usage) -> Usage:
        """Put what a provider counted into dollars, by the price it was quoted at."""
        choice = read_choice(job.quote)
        account, day = self.accounts[choice.account], datetime.fromtimestamp(job.created_at / 1000, UTC).date()
        price = price_of(account.listing, self.offer(choice), choice.spec, on=day, plan=account.plan)
        micros = price and charge(account.listing, price, usage, on=day, plan=account.plan)
        return replace(usage, usd_micros=micros)

    def typical_seconds(self, offer: str | None) -> float:
        """Say how long an offer usually takes: as observed, else as its listing says."""
        observed = self.speeds.get(offer or "")
        if observed is not None:
            return observed
        slug, _, model = (offer or ":").partition(":")
        for account in self.accounts.values():
            found = account.listing.offer(model) if account.listing.slug == slug else None
            if found:
                return found.typical_seconds
        return 60.0

    def offer(self, choice: Choice) -> Offer:
        """Find the offer a choice was made of, also one that is sold no more."""
        account = self.accounts[choice.account]
        offer = account.listing.offer(choice.model) or listings()[choice.provider].offer(choice.model)
        assert offer is not None
        return offer


def pin(wish: Wish, spec: Spec) -> Wish:
    """
    Close a wish's open choices as they were shown to the client; pure.

    Whoever makes the clip in the end makes the one that was promised: what was to be left out is out already, and who
    cannot do the rest takes no turn.
    """
    preferences = replace(wish.preferences, on_unsupported="error")
    return replace(wish, request=promised(wish.request, spec), preferences=preferences)
