"""
Learn from the store how long offers take: what was observed outlives the process that saw it.

Whoever works alone on a store is told once, at the start, and sees the rest itself. Where several processes do, one
that takes orders may see none made, so each asks again and again.
"""

from gateway.offers.shop import KEPT, Shop
from gateway.rounds import Rounds
from gateway.store.store import Store

NEWEST = 10_000
"""Orders that are looked through: a tenth of a second's work, beside whatever else is done."""
EVERY_SECONDS = 60.0


class Speeds(Rounds):
    """Tell a shop what the store knows."""

    called = "speeds"
    idle_seconds = 5.0

    def __init__(self, store: Store, shop: Shop) -> None:
        super().__init__()
        self._store = store
        self._shop = shop

    async def _round(self) -> None:
        """Look through the newest orders; again in a minute, where others make some."""
        self._shop.recall(await self._store.took(newest=NEWEST, each=KEPT))
        if self._store.shared:
            await self._rest(EVERY_SECONDS)
        else:
            self.stop()
