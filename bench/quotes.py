"""Measure one decision in this process: every offer of every listing asked what a clip costs, an account at each."""

import statistics
import time
from datetime import UTC, datetime
from itertools import product

from gateway.jobs.wish import Preferences
from gateway.offers.accounts import adapter
from gateway.offers.asking import Seller, table
from gateway.offers.routing import choose
from providers.base.catalog import _fit, quote
from providers.base.listing import listings
from providers.base.order import Input, Mode, Request, Role

TIMES = 200
"""Tables asked for in a row; the middle one counts."""


def measure() -> dict[str, float]:
    """Take the middle of many tables: for requests like earlier ones, and for ones never seen before."""
    sellers = [
        Seller(
            account=slug,
            listing=listing,
            plan=listing.plans[-1].name if listing.plans else "",
            credits_left=25_000,
            objections=adapter(listing.dialect)(listing, {}).objections,
        )
        for slug, listing in listings().items()
    ]
    day = datetime.now(UTC).date()
    frame = Input(role=Role.FIRST_FRAME, media_type="image/png", sha256="0" * 64, size=1)
    alike = [
        Request(prompt="a kite", model="auto", seconds=8),
        Request(prompt="a kite", model="auto", mode=Mode.FIRST_FRAME, inputs=(frame,), resolution="720p", seed=7),
    ]
    new = [
        Request(prompt="a kite", model="auto", seconds=seconds, resolution=resolution, aspect_ratio=ratio, audio=audio)
        for seconds, resolution, ratio, audio in product((4, 8), ("720p", "1080p"), ("16:9", "9:16"), (None, True))
    ]

    def middle(requests: list[Request], *, forgetting: bool = False) -> float:
        spent = []
        for request in requests:
            if forgetting:
                _fit.cache_clear()
                quote.cache_clear()
            begun = time.perf_counter()
            table(request, sellers, {}, on=day)
            spent.append(time.perf_counter() - begun)
        return statistics.median(spent) * 1e6

    def decided(request: Request) -> float:
        begun = time.perf_counter()
        choose(request, Preferences(), sellers, {}, on=day)
        return time.perf_counter() - begun

    first = middle(new * 4, forgetting=True)
    return {
        "quotes.new_us/ours": first,
        "quotes.table_us/ours": max(middle([each] * TIMES) for each in alike),
        "quotes.decision_us/ours": statistics.median(decided(alike[0]) for _ in range(TIMES)) * 1e6,
        "quotes.offers/ours": float(len(table(alike[0], sellers, {}, on=day))),
    }
