"""Build the gateway: the one place where objects are made and joined."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import httpx
import structlog
from litestar import Litestar, Router
from litestar.types import ASGIApp, ControllerRouterHandler
from msgspec import Struct

from gateway import surfaces
from gateway.api import (
    content,
    files,
    health,
    hooks,
    linked,
    models,
    offers,
    openapi,
    progress,
    quotes,
    spend,
    videos,
    webhooks,
)
from gateway.api.desk import Desk, Dispatch, Shown, with_heads
from gateway.clips.cleaning import Cleaner
from gateway.clips.links import HOUR_MS, Links, open_key
from gateway.clips.media import Media, make_folder, open_media
from gateway.clock import DAY_MS
from gateway.door.accept import Acceptor, Hands
from gateway.door.admission import Admission
from gateway.door.answering import HANDLERS
from gateway.door.buffers import Buffers
from gateway.door.edge import Edge
from gateway.door.guesses import Guesses, networks
from gateway.door.hearing import make_hearing
from gateway.door.intake import Intake
from gateway.door.keys import Gatekeeper
from gateway.engine.line import Line
from gateway.engine.orders import Orders
from gateway.engine.steps import Steps
from gateway.engine.tools import Tools
from gateway.engine.turns import Turns
from gateway.engine.worker import Worker
from gateway.events.letters import Reach
from gateway.events.telling import open_telling
from gateway.events.vault import NAME, demand_key, open_vault
from gateway.ids import is_id
from gateway.jobs.job import Job
from gateway.memory import vital
from gateway.network.abroad import Abroad
from gateway.network.guard import make_rules
from gateway.offers.accounts import Unused, open_accounts, stand_in
from gateway.offers.shop import Shop
from gateway.offers.speeds import Speeds
from gateway.offers.timing import Timed
from gateway.settings import NetworkSettings, ServerSettings, Settings, SettingsError, is_loopback
from gateway.store.database import StoreUnavailableError, clock_of, connect
from gateway.store.orphans import report
from gateway.store.receipts import Receipts
from gateway.store.store import Store
from gateway.surfaces import Surfaces, chat
from gateway.telemetry import Metrics
from providers.base.wire import ByScheme, HttpWire, Wire
from providers.sandbox import Studio, render_pool

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound

log = structlog.get_logger()

RESOURCES = (videos, progress, content, models, offers, quotes, spend, files, webhooks, chat)


class Gateway(Struct, frozen=True):
    """Hold a built gateway: what to serve, and what was found on the way."""

    asgi: ASGIApp
    unused: tuple[Unused, ...]
    guarded: bool
    """Whether callers need a key."""
    alive: Callable[[], AbstractAsyncContextManager[None]]
    """Work while open; what is served does so by itself."""
    hush: Callable[[], None]
    """Send away who only waits: the server stops once the last caller has gone."""


async def create_app(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    clock: Callable[[], int] | None = None,
    outbound: Callable[[], "Outbound"] | None = None,
    sells: bool = True,
) -> Gateway:
    """
    Open the store and the accounts and build the application; one that does not sell answers only how it is.

    :raises SettingsError: when it would be open to the world without a key, or has nowhere to keep media.
    :raises StoreUnavailableError: when the store cannot be opened.
    """
    make_folder(settings.media)
    database = connect(settings.store.url, environ)
    database.open()
    try:
        clock = clock or await clock_of(database)
        store = Store(database, clock)
        guarded = await store.has_keys()
        if not guarded and not is_loopback(settings.server.host):
            raise SettingsError(
                f"server.host is {settings.server.host} but no API key exists, so anybody could use this gateway: "
                "create one (reelgate keys create --name NAME) or listen on 127.0.0.1"
            )
        return _build(settings, environ, store, clock, outbound, guarded=guarded, sells=sells)
    except BaseException:
        database.close()
        raise


def _internet(proxy: str) -> httpx.AsyncBaseTransport:
    """Open the way out, through a proxy where one is named; a gateway with nothing but the sandbox never needs it."""
    from providers.base.transport import AiohttpTransport  # noqa: PLC0415

    return AiohttpTransport(proxy=proxy)


def _abroad(network: NetworkSettings) -> Callable[[], "Outbound"]:
    """Find the way to strangers' addresses, opened when a call first names one."""

    @cache
    def outbound() -> "Outbound":
        from gateway.network.outbound import Outbound  # noqa: PLC0415

        return Outbound(make_rules(network.allow, network.ports), at_once=network.at_once)

    return outbound


def _collector(
    network: NetworkSettings, transport: httpx.AsyncBaseTransport, abroad: Callable[[], "Outbound"]
) -> Callable[[httpx.Auth], Wire]:
    """Find what fetches clips from the hosts of listings; a proxy gets no others: what it dials cannot be checked."""
    return partial(HttpWire, transport) if network.proxy else partial(Abroad, abroad)


def _links_key(settings: Settings, environ: Mapping[str, str], *, shared: bool) -> bytes:
    """
    Find what signs links: a key beside the media where those are in a folder, as whoever has the one has the other.

    :raises SettingsError: when processes that share an object store would each make a key of their own.
    """
    root = settings.media.folder
    if settings.media.in_folder or (NAME not in environ and not shared):
        return open_key(root / "links.key")
    demand_key(environ)
    return open_vault(environ, root).links_key()


def _reach(links: Links, clock: Callable[[], int], public_url: str, job: Job, base: str) -> Reach:
    """Say how a job's client reaches its clips: in the name of the key that ordered them."""
    key = job.buyer if job.buyer and is_id("key", job.buyer) else ""
    return Reach(public_url or base, links.leave(key, clock()).to)


def _intake(settings: Settings, media: Media, store: Store, outbound: Callable[[], "Outbound"]) -> Intake:
    """Build what gathers a call's media."""
    max_bytes = settings.server.max_body_mb * 2**20
    return Intake(media, store, outbound, max_bytes=max_bytes, seconds=settings.network.seconds)


def _gatekeeper(server: ServerSettings, store: Store, clock: Callable[[], int]) -> Gatekeeper:
    """Build who recognises callers."""
    return Gatekeeper(store, clock, Guesses(server.wrong_keys, networks(server.proxies)), server.names)


def _routes(*, docs: bool, sells: bool) -> list[ControllerRouterHandler]:
    """List what is served: our own words, borrowed ones, and what machines ask."""
    resources = with_heads(handler for each in RESOURCES for handler in each.HANDLERS)
    sold: list[ControllerRouterHandler] = [
        Router("/v1", route_handlers=resources, middleware=[Dispatch]),
        # Clients whose base URL lacks the version ask without it.
        Router("/", route_handlers=resources, middleware=[Dispatch], include_in_schema=False),
        *surfaces.ROUTERS,
        *linked.HANDLERS,
        *hooks.HANDLERS,
        *(with_heads(openapi.HANDLERS) if docs else ()),
    ]
    measured = Router("/", route_handlers=with_heads(health.HANDLERS), middleware=[Dispatch])
    return [*(sold if sells else ()), measured, *with_heads(health.OPEN)]


def _build(
    settings: Settings,
    environ: Mapping[str, str],
    store: Store,
    clock: Callable[[], int],
    outbound: Callable[[], "Outbound"] | None,
    *,
    guarded: bool,
    sells: bool,
) -> Gateway:
    """Join the parts."""
    root = settings.media.folder
    metrics = Metrics()
    probing, rendering = render_pool(1), render_pool(settings.worker.renderers)
    media = open_media(settings.media, probing)
    studio = Studio(root / "sandbox", rendering)
    internet = partial(_internet, settings.network.proxy)
    transport = ByScheme({"http": internet, "https": internet, "sandbox": lambda: studio})
    abroad = outbound or _abroad(settings.network)
    collect = _collector(settings.network, transport, abroad)
    accounts, unused = open_accounts(settings, environ, transport, collect, sandbox_only=not guarded)
    for account in accounts.values():
        account.wire = Timed(account.wire, metrics, account.listing.slug)
    links = Links(_links_key(settings, environ, shared=store.shared), int(settings.media.link_hours * HOUR_MS))
    reach = partial(_reach, links, clock, settings.server.public_url.rstrip("/"))
    former = partial(stand_in, abroad=collect)
    shop = Shop(accounts, settings.aliases, settings.routing, clock, former)
    receipts = Receipts(root / "receipts")
    telling = open_telling(
        settings, environ, store, accounts, abroad, metrics, clock, root, dialects=surfaces.DIALECTS, reach=reach
    )
    tools = Tools.of(
        store,
        shop,
        media,
        metrics,
        clock,
        receipts,
        Orders(shop, media, links=links, public_url=settings.server.public_url.rstrip("/"), hooks=telling.hooks),
        lease_seconds=settings.worker.lease_seconds,
        retention_ms=settings.clips_ms,
        doubt_ms=settings.budget.doubt_days * DAY_MS,
        limits=settings.budget.limits,
        hooks=telling.hooks,
    )
    worker = Worker(tools, Steps(tools), Turns(tools), at_once=settings.worker.at_once)
    desk = Desk(
        settings=settings,
        store=store,
        media=media,
        shop=shop,
        intake=_intake(settings, media, store, abroad),
        acceptor=Acceptor(
            store,
            shop,
            clock,
            worker if settings.worker.enabled else Hands(),
            telling.addresses,
            limits=settings.budget.limits,
        ),
        gatekeeper=_gatekeeper(settings.server, store, clock),
        metrics=metrics,
        telling=telling,
        buffers=Buffers(settings.server.max_body_mb * 2**20),
        turn=asyncio.Lock(),
        shown=Shown(),
        links=links,
        wake=worker.wake,
        clock=clock,
    )
    cleaner = Cleaner(media, store, clock, metrics, retention_ms=settings.clips_ms, jobs_ms=settings.jobs_ms)
    admission = Admission(settings.server.max_waiting, metrics.lateness)
    alive = partial(_work, desk, tools.line, worker, receipts, cleaner, transport, (probing, rendering), admission)
    app = _application(alive, docs=settings.server.docs, sells=sells)
    app.state["desk"] = desk
    edge = Edge(app, metrics, admission, make_hearing(settings.server))
    return Gateway(Surfaces(edge), tuple(unused), guarded, alive, telling.watch.close)


def _application(alive: Callable[[], AbstractAsyncContextManager[None]], *, docs: bool, sells: bool) -> Litestar:
    """Lay out what is served."""
    return Litestar(
        route_handlers=_routes(docs=docs, sells=sells),
        exception_handlers=HANDLERS,
        lifespan=[lambda _: alive()],
        openapi_config=openapi.config(version("reelgate")),
        request_max_body_size=None,
        logging_config=None,
    )


@asynccontextmanager
async def _work(
    desk: Desk,
    line: Line,
    worker: Worker,
    receipts: Receipts,
    cleaner: Cleaner,
    transport: httpx.AsyncBaseTransport,
    pools: Sequence[Executor],
    admission: Admission,
) -> AsyncIterator[None]:
    """Work while open: what was left half done is taken up, and at the end what is under way may end."""
    settings, store, telling = desk.settings, desk.store, desk.telling
    desk.media.open(alone=not store.shared)
    receipts.open()
    try:
        await store.start_over()
    except StoreUnavailableError as error:
        log.error("gateway.not_started", reason=str(error))
        raise
    await report(store.database, receipts, desk.clock())
    await line.open()
    working = vital(asyncio.create_task(worker.run())) if settings.worker.enabled else None
    cleaning = vital(asyncio.create_task(cleaner.run())) if settings.worker.enabled else None
    if settings.worker.enabled:
        telling.start()
    timing = vital(asyncio.create_task(admission.keep_time()))
    learning = vital(asyncio.create_task(Speeds(store, desk.shop).run()))
    names = sorted(desk.shop.accounts)
    log.info("gateway.started", host=settings.server.host, port=settings.server.port, accounts=names)
    try:
        yield
    finally:
        telling.watch.close()
        timing.cancel()
        learning.cancel()
        worker.stop()
        if cleaning is not None:
            cleaning.cancel()
        if working is not None:
            await working
        await telling.stop()  # What has just ended is still told.
        await transport.aclose()
        # Whoever is just starting must find what it was given, and the interpreter's end no thread that is ending, too.
        await asyncio.gather(*(asyncio.to_thread(each.shutdown, cancel_futures=True) for each in pools))
        receipts.close()
        store.close()
        log.info("gateway.stopped")
