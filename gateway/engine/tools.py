"""Hold what the steps of a job work with, built once for a process."""

from collections.abc import Callable

from msgspec import Struct

from gateway.clips.keeping import Keeper
from gateway.clips.media import Media
from gateway.clips.room import Room
from gateway.engine.line import Line
from gateway.engine.orders import Orders
from gateway.engine.purse import Purse
from gateway.engine.shares import Shares
from gateway.events.hooks import Hooks
from gateway.money.ledger import NONE, Limits
from gateway.offers.health import Health
from gateway.offers.shop import Shop
from gateway.store.receipts import Receipts
from gateway.store.store import Store
from gateway.telemetry import Metrics


class Tools(Struct, frozen=True, kw_only=True):
    """Hold what every part of a step may take from; each takes what it uses, as it is built."""

    store: Store
    shop: Shop
    media: Media
    keeper: Keeper
    metrics: Metrics
    clock: Callable[[], int]
    receipts: Receipts
    """What was answered to orders, should the store not have heard of it."""
    orders: Orders
    health: Health
    hooks: Hooks | None
    """``None`` where no provider calls."""
    shares: Shares
    line: Line
    purse: Purse
    lease_ms: int
    retention_ms: int
    """How long clips are kept at most; 0 is for ever."""
    doubt_ms: int
    """How long after a job's end evidence is waited for."""

    @classmethod
    def of(
        cls,
        store: Store,
        shop: Shop,
        media: Media,
        metrics: Metrics,
        clock: Callable[[], int],
        receipts: Receipts,
        orders: Orders,
        *,
        lease_seconds: float,
        retention_ms: int,
        doubt_ms: int,
        limits: Limits = NONE,
        hooks: Hooks | None = None,
    ) -> "Tools":
        """Put the tools of one process together; what keeps, rates, shares and lines up is made of the others."""
        shares = Shares(shop.accounts)
        return cls(
            store=store,
            shop=shop,
            media=media,
            keeper=Keeper(media),
            metrics=metrics,
            clock=clock,
            receipts=receipts,
            orders=orders,
            health=Health(metrics),
            hooks=hooks,
            shares=shares,
            line=Line(store, shop.accounts, clock, shares, Room(media, clock)),
            purse=Purse(store, limits),
            lease_ms=int(lease_seconds * 1000),
            retention_ms=retention_ms,
            doubt_ms=doubt_ms,
        )
