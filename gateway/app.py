"""Build the gateway: the one place where objects are made and joined."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import httpx
import structlog
from litestar import Litestar, Router
from litestar.types import ASGIApp, ControllerRouterHandler
from msgspec import Struct

from gateway.accept import Acceptor, Hands
from gateway.accounts import Held, open_accounts
from gateway.api import content, files, health, hooks, models, offers, openapi, progress, quotes, videos, webhooks
from gateway.api.desk import Desk, Shown, admit
from gateway.api.problems import HANDLERS
from gateway.database import Database
from gateway.edge import Edge
from gateway.guard import make_rules
from gateway.intake import Intake
from gateway.keys import Gatekeeper
from gateway.media import Media
from gateway.settings import Network, Settings, SettingsError, is_loopback, local_path
from gateway.shop import Shop
from gateway.steps import Steps
from gateway.store import Store
from gateway.telemetry import Metrics
from gateway.telling import open_telling
from gateway.worker import Worker
from providers.base.wire import ByScheme
from providers.sandbox import Studio, render_pool

if TYPE_CHECKING:
    from gateway.outbound import Outbound

log = structlog.get_logger()

DAY_MS = 86_400_000
RESOURCES = (videos, progress, content, models, offers, quotes, files, webhooks)


def milliseconds() -> int:
    """Read the wall clock."""
    return time.time_ns() // 1_000_000


class Gateway(Struct, frozen=True):
    """Hold a built gateway: what to serve, and what was found on the way."""

    asgi: ASGIApp
    held: tuple[Held, ...]
    guarded: bool
    """Whether callers need a key."""
    hush: Callable[[], None]
    """Send away who only waits: the server stops once the last caller has gone."""


async def create_app(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    clock: Callable[[], int] = milliseconds,
    outbound: Callable[[], "Outbound"] | None = None,
) -> Gateway:
    """
    Open the store and the accounts and build the application.

    :raises SettingsError: when it would be open to the world without a key.
    :raises StoreUnavailableError: when the store cannot be opened.
    """
    store = Store(Database(local_path(settings.store.url, "sqlite")), clock)
    store.open()
    try:
        guarded = await store.has_keys()
        if not guarded and not is_loopback(settings.server.host):
            raise SettingsError(
                f"server.host is {settings.server.host} but no API key exists, so anybody could use this gateway: "
                "create one (reelgate keys create --name NAME) or listen on 127.0.0.1"
            )
        return _build(settings, environ, store, clock, outbound, guarded=guarded)
    except BaseException:
        store.close()
        raise


def _internet() -> httpx.AsyncBaseTransport:
    """Open the way out, which a gateway with nothing but the sandbox never needs."""
    from providers.base.transport import AiohttpTransport  # noqa: PLC0415

    return AiohttpTransport()


def _abroad(network: Network) -> Callable[[], "Outbound"]:
    """Find the way to strangers' addresses, opened when a call first names one."""

    @cache
    def outbound() -> "Outbound":
        from gateway.outbound import Outbound  # noqa: PLC0415

        return Outbound(make_rules(network.allow, network.ports), at_once=network.at_once)

    return outbound


def _intake(settings: Settings, media: Media, store: Store, outbound: Callable[[], "Outbound"]) -> Intake:
    """Build what gathers a call's media."""
    max_bytes = settings.server.max_body_mb * 2**20
    return Intake(media, store, outbound, max_bytes=max_bytes, seconds=settings.network.seconds)


def _handlers(*, docs: bool) -> list[ControllerRouterHandler]:
    """List every route there is, under the hook that lets callers through."""
    resources = [handler for each in RESOURCES for handler in each.HANDLERS]
    return [
        Router("/v1", route_handlers=resources, before_request=admit),
        # Clients whose base URL lacks the version ask without it.
        Router("/", route_handlers=resources, before_request=admit, include_in_schema=False),
        Router("/", route_handlers=health.HANDLERS, before_request=admit),
        *hooks.HANDLERS,
        *health.OPEN,
        *(openapi.HANDLERS if docs else ()),
    ]


def _build(
    settings: Settings,
    environ: Mapping[str, str],
    store: Store,
    clock: Callable[[], int],
    outbound: Callable[[], "Outbound"] | None,
    *,
    guarded: bool,
) -> Gateway:
    """Join the parts."""
    root = local_path(settings.media.url, "file").absolute()
    metrics = Metrics()
    probing, rendering = render_pool(1), render_pool(settings.worker.renderers)
    media = Media(root, probing, max_clip_bytes=settings.media.max_clip_mb * 2**20)
    studio = Studio(root / "sandbox", rendering)
    transport = ByScheme({"http": _internet, "https": _internet, "sandbox": lambda: studio})
    accounts, held = open_accounts(settings, environ, transport, sandbox_only=not guarded)
    shop = Shop(accounts, settings.aliases, settings.routing, clock)
    abroad = outbound or _abroad(settings.network)
    telling = open_telling(settings, environ, store, accounts, abroad, metrics, clock, root)
    steps = Steps(
        store,
        shop,
        media,
        metrics,
        clock,
        lease_seconds=settings.worker.lease_seconds,
        retention_ms=int(settings.media.retention_days * DAY_MS),
        hooks=telling.hooks,
    )
    worker = Worker(store, steps, clock, at_once=settings.worker.at_once, lease_seconds=settings.worker.lease_seconds)
    desk = Desk(
        settings=settings,
        store=store,
        media=media,
        shop=shop,
        intake=_intake(settings, media, store, outbound or _abroad(settings.network)),
        acceptor=Acceptor(store, shop, clock, worker if settings.worker.enabled else Hands(), telling.addresses),
        gatekeeper=Gatekeeper(store, clock),
        metrics=metrics,
        telling=telling,
        shown=Shown(),
        wake=worker.wake,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        media.open()
        await store.give_back()
        for name, running in (await store.running()).items():
            if name in accounts:
                accounts[name].running = running
        working = asyncio.create_task(worker.run()) if settings.worker.enabled else None
        if settings.worker.enabled:
            telling.start()
        log.info("gateway.started", host=settings.server.host, port=settings.server.port, accounts=sorted(accounts))
        try:
            yield
        finally:
            telling.watch.close()
            worker.stop()
            if working is not None:
                await working
            await telling.stop()  # What has just ended is still told.
            await transport.aclose()
            probing.shutdown(wait=False, cancel_futures=True)
            rendering.shutdown(wait=False, cancel_futures=True)
            store.close()
            log.info("gateway.stopped")

    app = Litestar(
        route_handlers=_handlers(docs=settings.server.docs),
        exception_handlers=HANDLERS,
        lifespan=[lifespan],
        openapi_config=openapi.config(version("reelgate")),
        request_max_body_size=None,
        logging_config=None,
    )
    app.state["desk"] = desk
    return Gateway(Edge(app, metrics), tuple(held), guarded, telling.watch.close)
