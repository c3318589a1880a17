"""``/health`` and ``/metrics``: how the gateway itself is doing."""

from litestar import get
from litestar.types import ASGIApp

from gateway.api.desk import Incoming, Reply, desk, reply
from gateway.api.problems import ProblemError
from gateway.database import StoreUnavailableError
from gateway.parts import LEAST_FREE_BYTES


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
        if services.media.free_bytes() < LEAST_FREE_BYTES:
            failing.append("media")
    except OSError:
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
    services.metrics.take_census(await services.store.census())
    return Reply(200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, services.metrics.exposition())


OPEN = (live, ready)
HANDLERS = (metrics,)
