"""Join each enabled account to the adapter that speaks its dialect and the wire that carries it."""

from collections.abc import Mapping
from importlib import import_module

import httpx
from msgspec import Struct

from gateway.routing import Seller
from gateway.settings import Settings, missing, secrets
from providers.base.listing import listings
from providers.base.provider import Provider
from providers.base.wire import HttpWire, Wire


class Account:
    """Hold one set of credentials at work: who speaks, over what, and how much is under way."""

    def __init__(self, name: str, provider: Provider, wire: Wire, *, plan: str, max_running: int) -> None:
        self.name = name
        self.provider = provider
        self.wire = wire
        self.plan = plan
        self.max_running = max_running
        self.running = 0
        """Attempts open here; the store's count at start, kept up by the worker."""

    @property
    def has_room(self) -> bool:
        """Whether one more task may be under way here."""
        return self.running < self.max_running

    @property
    def seller(self) -> Seller:
        """This account as routing sees it."""
        return Seller(account=self.name, listing=self.provider.listing, plan=self.plan)


class Held(Struct, frozen=True):
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
    settings: Settings, environ: Mapping[str, str], transport: httpx.AsyncBaseTransport, *, sandbox_only: bool
) -> tuple[dict[str, Account], list[Held]]:
    """
    Build every account that can be used, and say of the others why not.

    ``sandbox_only`` holds real accounts back: nobody without a key may spend money.
    """
    known = listings()
    accounts: dict[str, Account] = {}
    held: list[Held] = []
    for name, each in settings.accounts.items():
        listing = known[each.provider]
        lacking = missing(name, listing, environ)
        if not each.enabled:
            held.append(Held(name, "enabled = false"))
        elif lacking:
            held.append(Held(name, f"the environment lacks {', '.join(lacking)}"))
        elif sandbox_only and not listing.sandbox:
            held.append(Held(name, "no API key exists, so only the sandbox is served: reelgate keys create"))
        else:
            provider = adapter(listing.dialect)(listing, secrets(name, listing, environ), base_url=each.base_url)
            wire = HttpWire(transport, provider.auth())
            accounts[name] = Account(name, provider, wire, plan=each.plan, max_running=each.max_running)
    return accounts, held
