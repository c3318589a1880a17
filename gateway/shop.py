"""Know what can be bought here and now: the accounts at work, the aliases and the routing settings."""

from collections.abc import Mapping
from datetime import date

from msgspec.structs import replace

from gateway.accounts import Account
from gateway.routing import Decision, Line, choose, table
from gateway.settings import Alias, Routing
from gateway.wish import Choice, Wish
from providers.base.listing import Offer
from providers.base.order import CHOICES, Request, Spec


class Shop:
    """Answer what every offer would charge, and which to take."""

    def __init__(self, accounts: Mapping[str, Account], aliases: Mapping[str, Alias], routing: Routing) -> None:
        self.accounts = accounts
        self.aliases = aliases
        self.routing = routing
        self.sellers = [account.seller for account in accounts.values()]

    def decide(self, wish: Wish, *, on: date) -> Decision:
        """
        Put the offers that can do a wish in the order they should be tried.

        :raises UnknownModelError: when nobody sells a model by that name.
        """
        return choose(
            wish.request,
            wish.preferences,
            self.sellers,
            self.aliases,
            on=on,
            policy=self.routing.policy,
            order=self.routing.order,
        )

    def table(self, request: Request, *, on: date) -> list[Line]:
        """Ask every offer of the wanted models what it would charge."""
        return table(request, self.sellers, self.aliases, on=on)

    def typical_seconds(self, offer: str | None) -> float:
        """Say how long an offer usually takes."""
        slug, _, model = (offer or ":").partition(":")
        for account in self.accounts.values():
            found = account.provider.listing.offer(model) if account.provider.listing.slug == slug else None
            if found:
                return found.typical_seconds
        return 60.0

    def offer(self, choice: Choice) -> Offer:
        """Find the offer a choice was made of."""
        offer = self.accounts[choice.account].provider.listing.offer(choice.model)
        assert offer is not None
        return offer


def pin(wish: Wish, spec: Spec) -> Wish:
    """
    Close a wish's open choices as they were shown to the client; pure.

    Whoever makes the clip in the end makes the one that was promised.
    """
    return replace(wish, request=replace(wish.request, **{name: getattr(spec, name) for name in CHOICES}))
