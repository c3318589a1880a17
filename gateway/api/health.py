"""``/health`` and ``/metrics``: how the gateway itself is doing."""

import asyncio
from collections.abc import Callable

from litestar import get
from litestar.types import ASGIApp

from gateway.api.desk import Incoming, Reply, desk, reply
from gateway.clips.shelf import ShelfError
from gateway.problems import ProblemError
from gateway.store.database import BusyError, StoreUnavailableError
from gateway.store.orphans import unseen
from gateway.store.store import Store
from gateway.telemetry import Metrics

SHELF_SECONDS = 4.0
"""How long an object store may take to answer."""
CENSUS_MS = 10_000
"""How old a count of all jobs may be."""


@get("/health/live", operation_id="live")
async def live() -> ASGIApp:
    """Say that the process answers."""
    return reply({"status": "live"})


@get("/health/ready", operation_id="ready")
async def ready(request: Incoming) -> ASGIApp:
    """Say whether jobs can be taken: the store commits, there is room for clips, an account is at work."""
    services = desk(request)
    failing = []
    try:
        await services.store.ping()
    except StoreUnavailableError:
        failing.append("store")
    try:
        async with asyncio.timeout(SHELF_SECONDS):
            await services.media.ping()
    except (ShelfError, TimeoutError):
        failing.append("media")
    if not services.shop.accounts:
        failing.append("accounts")
    if failing:
        raise ProblemError(503, "not_ready", f"Not ready: {', '.join(failing)}.", headers={"retry-after": "5"})
    return reply({"status": "ready"})


@get("/metrics", opt={"scope": "metrics"}, operation_id="metrics")
async def metrics(request: Incoming) -> ASGIApp:
    """Write every figure in Prometheus' text format."""
    services = desk(request)
    await count(services.store, services.metrics, services.clock)
    now = services.clock()
    for account in services.shop.accounts.values():
        services.metrics.resting.labels(account.name).set(bool(account.resting(now)))
    return Reply(200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, services.metrics.exposition())


async def count(store: Store, metrics: Metrics, clock: Callable[[], int]) -> None:
    """
    Count the jobs anew, unless that was done just now; while a report is drawn up the last count stands.

    :raises BusyError: there is none yet.
    """
    if metrics.counted_at is not None and 0 <= clock() - metrics.counted_at < CENSUS_MS:
        return
    try:
        counts, oldest = await store.census(), await store.oldest_queued()
    except BusyError:
        if metrics.counted_at is None:
            raise
        return
    metrics.ownerless.set(len(await unseen(store.database)))
    metrics.take_census(counts, await store.put_aside(), oldest, clock())


OPEN = (live, ready)
HANDLERS = (metrics,)
