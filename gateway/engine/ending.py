"""End a job, once, with its money and its messages; or let it come again."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from gateway.clips.keeping import Keeper
from gateway.clips.media import Media
from gateway.engine.job import Attempt, Job, State, move
from gateway.engine.line import Line
from gateway.engine.orders import Orders
from gateway.engine.shares import Shares
from gateway.events.events import announce
from gateway.events.hooks import Hooks
from gateway.failpoints import failpoint
from gateway.money.billing import Bill, closed
from gateway.offers.health import Health
from gateway.offers.shop import Shop
from gateway.offers.wish import Problem
from gateway.store.database import Statement
from gateway.store.receipts import Receipts
from gateway.store.store import Store
from gateway.telemetry import Metrics, names

log = structlog.get_logger()


class Ending:
    """Hold what every step of a job needs, and know how any job ends."""

    def __init__(
        self,
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
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._store = store
        self._shop = shop
        self._media = media
        self._keeper = Keeper(media)
        self._metrics = metrics
        self._clock = clock
        self._receipts = receipts
        self._health = Health(metrics)
        self._lease = int(lease_seconds * 1000)
        self._retention_ms = retention_ms
        self._doubt_ms = doubt_ms
        self._orders = orders
        self.shares = Shares(shop.accounts)
        self.line = Line(store, shop.accounts, clock, self.shares)

    async def _later(
        self, job: Job, seconds: float, *attempts: Attempt, also: Sequence[Statement] = (), **changes: str
    ) -> None:
        """Look again later; this time came to nothing."""
        now = self._clock()
        due = now + int(seconds * 1000)
        due = min(due, job.deadline_at) if now < job.deadline_at else due
        moved = move(job, job.state, now, tries=job.tries + 1, due_at=due, **changes)
        await self._store.save(moved, *attempts, also=also)

    async def _fail(
        self, job: Job, problem: Problem, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """End a job badly, saying why."""
        await self._end(move(job, State.FAILED, self._clock(), error=as_json(problem)), *attempts, bill=bill, also=also)

    async def _end(
        self, job: Job, *attempts: Attempt, bill: Bill = Bill.NOTHING, also: Sequence[Statement] = ()
    ) -> None:
        """Keep a final state, what it cost and whom it is told, and give its place at the account back."""
        job, postings = closed(job, bill, self._clock())
        await self._store.save(job, *attempts, postings=postings, also=[*also, *announce(job)])
        failpoint("after_end")
        if attempts:
            self._free(job)
        self._metrics.ended(job)
        log.info("job.ended", **names(job), state=job.state)

    def _free(self, job: Job) -> None:
        """Give an attempt's place at its account back."""
        account = self._shop.accounts.get(job.account or "")
        if account is not None:
            account.give_place()


def as_json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()
