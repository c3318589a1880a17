"""``/v1/offers`` and ``/v1/providers``: what is sold here, by whom, at what price, and who is well."""

from typing import Any

import msgspec
from litestar import get
from litestar.types import ASGIApp

from gateway.api.answers import usd
from gateway.api.desk import Desk, Incoming, check_query, desk, reply
from gateway.offers.accounts import Account
from providers.base.catalog import Quote, fit, quote
from providers.base.listing import Listing, Offer, Price
from providers.base.order import Request
from providers.base.sold import in_force

READ: dict[str, Any] = {"scope": "read"}


@get("/offers", opt=READ, operation_id="listOffers")
async def list_offers(request: Incoming) -> ASGIApp:
    """List every offer of every account, with what it takes and each price in force; ``?model=`` and ``?provider=``."""
    services, query = desk(request), request.query_params
    check_query(request, ("model", "provider"))
    found = [
        describe(services, account, offer)
        for account in services.shop.accounts.values()
        for offer in account.listing.offers
        if query.get("provider", account.listing.slug) == account.listing.slug
        and query.get("model", offer.model) == offer.model
    ]
    return reply({"object": "list", "data": found})


@get("/providers", opt=READ, operation_id="listProviders")
async def list_providers(request: Incoming) -> ASGIApp:
    """List every provider some account here is for: how its accounts do, and what it costs beside the clips."""
    services = desk(request)
    known = {account.listing.slug: account.listing for account in services.shop.accounts.values()}
    return reply({"object": "list", "data": [_provider(services, listing) for listing in known.values()]})


def describe(services: Desk, account: Account, offer: Offer) -> dict[str, Any]:
    """Describe one offer at one account: every value it sells, what its default costs, and the prices in force."""
    listing, today = account.listing, services.shop.today
    spec = fit(offer, Request(prompt="-", model=offer.model), plan=account.plan)
    price = spec if isinstance(spec, list) else quote(listing, offer, spec, on=today, plan=account.plan)
    name = f"{listing.slug}:{offer.model}"
    return {
        "id": name,
        "object": "offer",
        "provider": listing.slug,
        "account": account.name,
        "model": offer.model,
        "sandbox": listing.sandbox,
        "modes": offer.mode,
        "own_clips_only": offer.own,
        "seconds": offer.seconds,
        "resolutions": offer.resolution,
        "aspect_ratios": offer.aspect_ratio,
        "audio": offer.audio,
        "n": offer.n,
        "fps": offer.fps,
        "formats": offer.container,
        "features": offer.features,
        "references": offer.references,
        "media_types": offer.media_types,
        "rules": [rule.why for rule in offer.rules],
        "ended": offer.ended.isoformat() if offer.ended else None,
        "unconfirmed": offer.unconfirmed or None,
        "expected_seconds": services.shop.speeds.get(name, offer.typical_seconds),
        "default_usd": usd(price.usd_micros) if isinstance(price, Quote) else None,
        "price_source": price.price.source if isinstance(price, Quote) else None,
        "prices": [describe_price(line) for line in in_force(listing, offer, on=today, plan=account.plan)],
    }


def describe_price(line: Price) -> dict[str, Any]:
    """Describe a line of a price list."""
    return {
        "usd": line.usd or None,
        "credits": line.credits or None,
        "per": line.per,
        "tokens_per_second": line.tokens or None,
        "when": line.when,
        "since": line.since,
        "source": line.source,
        "checked": line.checked,
        "note": line.note or None,
    }


def _provider(services: Desk, listing: Listing) -> dict[str, Any]:
    """Describe one provider."""
    mine = [account for account in services.shop.accounts.values() if account.listing.slug == listing.slug]
    return {
        "id": listing.slug,
        "object": "provider",
        "name": listing.name,
        "docs": listing.docs,
        "sandbox": listing.sandbox,
        "lost_orders": listing.submit_class,
        "offers": [offer.model for offer in listing.offers],
        "plans": msgspec.to_builtins(listing.plans),
        "fees": msgspec.to_builtins(listing.fees),
        "accounts": [_account(account, services.clock()) for account in mine],
    }


def _account(account: Account, now: int) -> dict[str, Any]:
    """Describe how an account does."""
    resting = account.resting(now)
    return {
        "id": account.name,
        "plan": account.plan or None,
        "state": "resting" if resting else "ready",
        "rests": [
            {"model": model, "until": rest.until // 1000, "why": rest.why} for model, rest in sorted(resting.items())
        ],
        "running": account.running,
        "max_running": account.max_running,
        "credits_left": account.credits_left(now),
    }


HANDLERS = (list_offers, list_providers)
