"""
One smallest real clip at every seller whose secrets are in the environment: it costs money, so it is asked for.

``pytest tests/live --live --spend 0.50`` orders, one seller after another, the cheapest clip it quotes, and orders
nothing more once the next would cost more than is left. Without ``--live`` nothing is ordered and nothing is asked.
"""

import os
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from gateway.credentials import missing
from providers.base.listing import listings
from providers.base.order import lines
from tests.market import Market, trading
from tests.server import eventually

PROMPT = "A red paper kite in a blue sky, one slow pan"
PATIENCE = 3600
SELLERS = [slug for slug, listing in listings().items() if not listing.sandbox]


class Purse:
    """Hold what may still be spent."""

    def __init__(self, limit: Decimal) -> None:
        self.left = limit

    def take(self, usd: Decimal) -> bool:
        """Take a sum out, if there is as much."""
        if usd > self.left:
            return False
        self.left -= usd
        return True


@pytest.fixture(scope="module")
def purse(request: pytest.FixtureRequest) -> Purse:
    return Purse(Decimal(request.config.getoption("--spend")))


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A gateway with an account at each seller that has its secrets."""
    plan = request.config.getoption("--plan")
    tables = []
    for slug in SELLERS:
        if not missing(slug, listings()[slug], os.environ):
            names = [each.name for each in listings()[slug].plans]
            tables.append(f'[accounts.{slug}]\nprovider = "{slug}"\nplan = "{plan if plan in names else ""}"\n')
    with trading(tmp_path_factory.mktemp("live"), "\n".join(tables), {}) as market:
        yield market


def smallest(market: Market, slug: str) -> tuple[dict[str, Any], Decimal] | None:
    """Find the cheapest clip a seller quotes, and what it costs."""
    offers = listings()[slug].offers
    seconds = sorted({each for offer in offers for each in offer.seconds if each})
    resolutions = sorted({each for offer in offers for each in offer.resolution}, key=lines)[:2]
    found: list[tuple[float, str, dict[str, Any]]] = []
    for length, resolution in product(seconds, resolutions):
        wanted = {"prompt": PROMPT, "seconds": length, "resolution": resolution, "provider": {"only": [slug]}}
        quoted = market.http.post("/quotes", json={**wanted, "model": "auto"}).json()["data"]
        found += [(each["usd"], each["offer"], wanted) for each in quoted if each["can"]]
    if not found:
        return None
    usd, offer, wanted = min(found, key=lambda each: (each[0], each[1]))
    return {**wanted, "model": offer}, Decimal(str(usd))


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("slug", SELLERS)
def test_the_smallest_clip(slug: str, request: pytest.FixtureRequest) -> None:
    """It is bought once, made, kept, and is what was ordered."""
    if not request.config.getoption("--live"):
        pytest.skip("costs money: pytest tests/live --live --spend 0.50")
    lacking = missing(slug, listings()[slug], os.environ)
    if lacking:
        pytest.skip(f"the environment lacks {', '.join(lacking)}")
    market: Market = request.getfixturevalue("live")
    purse: Purse = request.getfixturevalue("purse")
    cheapest = smallest(market, slug)
    if cheapest is None:
        pytest.skip(f"{slug} states no price of a clip, so none can be ordered")
    wanted, usd = cheapest
    if not purse.take(usd):
        pytest.skip(f"the smallest clip of {slug} costs ${usd}, and ${purse.left} is left to spend")
    video = market.http.post("/videos", json={**wanted, "max_cost_usd": str(usd)}).json()
    path = f"/videos/{video['id']}"
    eventually(lambda: market.http.get(path).json()["status"] in {"completed", "failed"}, seconds=PATIENCE)
    video = market.http.get(path).json()
    assert "completed" == video["status"], video["error"]
    assert 1 == len(market.http.get(f"{path}/attempts").json()["data"])
    assert [] == [each for each in video["warnings"] if each["type"] == "mismatch"]
    assert b"ftyp" == market.http.get(f"{path}/content").content[4:8]
