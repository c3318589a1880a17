"""
Hold what the gateway was told, as frozen records: each key, its default and what it means.

:mod:`gateway.configuration` reads them. ``config.toml`` at the root of the repository is complete and commented: it is
the documentation. ``REELGATE__SECTION__KEY`` overrides a key, secrets come from the environment only.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from gateway.clock import DAY_MS
from gateway.money.ledger import Limits
from providers.base.listing import is_amount

PASSWORD = re.compile(r"(://[^/@:]*:)[^@]*(?=@)|(password=)[^&]*")
"""A password in a URL; what comes before it stays in what is said."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SettingsError(Exception):
    """A configuration that cannot be started with; the message says what to change."""


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the gateway listens and what it takes."""

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_mb: int = 64
    """Largest request body, pictures and clips included, and most of what one names by address."""
    body_seconds: float = 30
    """A body that has not arrived after this long is refused."""
    max_waiting: int = 128
    """New work under way at the same time, each for its first second; what comes beyond that is refused with 503."""
    wrong_keys: int = 50
    """Wrong API keys one peer may send in a minute; more of them are refused with 429, right ones never."""
    proxies: list[str] = []
    """Addresses or ranges of reverse proxies, whose ``X-Forwarded-For`` and ``-Proto`` say who asks, and how."""
    hold_seconds: float = 600
    """A call that waits for its clip, as chats do, is held open for this long."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    docs: bool = True
    """Whether ``/docs`` and ``/openapi.json`` are served."""
    public_url: str = ""
    """Where the world reaches this gateway; providers that fetch inputs or call back need it."""
    sendfile: str = ""
    """Where an nginx in front finds the clips, so that the kernel sends them: ``x-accel:/clips/``; else we do."""

    @property
    def names(self) -> frozenset[str]:
        """By which hosts the operator says this gateway is reached, in small letters."""
        return frozenset({self.host.lower(), urlsplit(self.public_url).hostname or self.host.lower()})


class NetworkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which addresses clients may name, and what fetching from them may take."""

    allow: list[str] = []
    """Exceptions for what is not the public internet: an address, a range or a name, with or without a port."""
    ports: list[int] = field(default_factory=lambda: [80, 443, 8443])
    seconds: float = 20
    """What a call names by address must have come after this long."""
    proxy: str = ""
    """Through which sellers are called and their clips fetched, ``http://proxy.internal:3128``; strangers never are."""
    at_once: int = 32
    """Addresses fetched at the same time; one tenant has three quarters of them at most."""


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How clients are told what becomes of their videos."""

    http: bool = False
    """Whether ``http:`` addresses are told too; ``https:`` alone otherwise."""
    seconds: float = 15
    """A receiver that has not answered by then has failed."""
    at_once: int = 64
    """Deliveries under way at the same time, one tenant's three quarters; one that takes long counts no more."""
    per_host: int = 8
    """Deliveries taken up at once for one host."""
    keep_days: float = 30
    """How long the log of deliveries goes back."""


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where jobs are remembered, and for how long."""

    url: str = "sqlite:///data/reelgate.db"
    retention_days: float = 0
    """Jobs are forgotten this long after their end, all but what they cost; 0 keeps them for ever."""


class MediaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clips and inputs are kept, and for how long."""

    url: str = "file:///data/media"
    """A folder, or an object store: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``."""
    local: str = "data/local"
    """With an object store, the folder for what is this machine's own: bytes that arrive, notes, sandbox clips."""
    endpoint: str = ""
    """Where the object store is, if not at its cloud's own address."""
    redirect_seconds: float = 300
    """How long an address of the object store's is good that a client is sent to; 0 sends the bytes through here."""
    link_hours: float = 24
    """How long a signed link opens a clip to whoever has no key, at least; never longer than the clip is kept."""
    retention_days: float = 30
    """Clips are removed after this long, sooner where a call asks for less; 0 keeps them for ever."""
    file_days: float = 0
    """Uploads to ``/v1/files`` expire after this long, where the upload says nothing else; 0 keeps them."""
    max_clip_mb: int = 2048

    @property
    def in_folder(self) -> bool:
        """Whether clips lie in a folder."""
        return self.url.startswith("file:")

    @property
    def folder(self) -> Path:
        """The folder of this machine: where clips lie, or where they arrive."""
        return (local_path(self.url, "file") if self.in_folder else Path(self.local)).absolute()


Policy = Literal["cheapest", "fastest", "best", "order", "split"]


class RoutingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an offer is chosen where the client leaves the choice open."""

    policy: Policy = "cheapest"
    order: list[str] = []
    """Providers in order of preference, for the policy ``order`` and to break ties."""
    split: dict[str, float] = {}
    """Shares by provider or ``provider:model``, for the policy ``split``."""
    default_model: str = "sora-2"
    max_attempts: int = 3
    """How many orders of one job may come to nothing: refused, or failed for nothing."""
    price_ceiling_usd: str = ""
    """Exact decimal dollars no job is ordered above, whatever its call allows; empty for no limit."""

    @property
    def ceiling(self) -> int | None:
        """Read it as micro-dollars."""
        return micros(self.price_ceiling_usd)


class BudgetSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this gateway may spend, whoever asks; a key's own limits come on top."""

    day_usd: str = ""
    """Exact decimal dollars in a day (UTC); empty for no limit, like the next two."""
    month_usd: str = ""
    total_usd: str = ""
    doubt_days: int = 30
    """How long evidence of what an order cost that nobody can tell is waited for; then its quote counts as spent."""

    @property
    def limits(self) -> Limits:
        """Read them as micro-dollars."""
        return Limits(day=micros(self.day_usd), month=micros(self.month_usd), total=micros(self.total_usd))


def micros(usd: str) -> int | None:
    """
    Read dollars as whole micro-dollars; an empty text is no amount.

    :raises SettingsError: when it is no plain amount.
    """
    if not usd:
        return None
    if re.fullmatch(r"[0-9]{13,}(\.[0-9]*)?", usd, re.ASCII):
        raise SettingsError(f"{usd[:40]!r} is too large; write dollars with at most 12 digits before the point")
    if not is_amount(usd) or len(usd.partition(".")[2]) > 6:
        raise SettingsError(f"{usd[:40]!r} is no amount; write plain dollars with at most 6 decimals, like 12.50")
    return int(Decimal(usd) * 1_000_000)


class WorkerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How waiting jobs are worked off."""

    enabled: bool = True
    at_once: int = 256
    """Steps under way at the same time (a submit, a look, a download); each waits twice for the disk."""
    lease_seconds: float = 60
    port: int = 0
    """Where ``reelgate work`` answers /health and /metrics; 0 for nowhere."""
    renderers: int = 1
    """Processes that render sandbox clips."""


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set of credentials at a provider."""

    provider: str
    plan: str = ""
    base_url: str = ""
    max_running: int = 4
    """Most tasks under way at this account."""
    looks_per_second: int = 1000
    """Most looks at its tasks; the more tasks, the longer it is between two looks at each."""
    clip_hosts: list[str] = []
    """Hosts its clips may be fetched from beside the listing's; ``*.example.com`` for every host below."""
    usd_credit: str = ""
    """Exact decimal dollars one of its credits costs, where there are no plans; what it says it charged then counts."""
    enabled: bool = True


class OfferSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator says of one offer: more than its listing, which knows no discounts."""

    enabled: bool = True
    """Whether it is sold here at all; ``true`` brings back one whose listing says it has ended."""
    usd: str = ""
    """Exact decimal dollars per ``per``, in place of every price of the listing."""
    per: Literal["video", "second"] = "video"
    ceiling: bool = False
    """Whether ``usd`` is not the price but the most it can be: the price is unknown."""


Alias = str | list[str]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the gateway was told."""

    server: ServerSettings = field(default_factory=ServerSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    aliases: dict[str, Alias] = field(
        default_factory=lambda: {
            "sora-2": ["google/veo-3.1-fast", "google/gemini-omni-flash"],
            "sora-2-pro": ["google/veo-3.1", "google/gemini-omni-flash"],
        }
    )
    """A name clients use: a model, or several of which the first that can do what is asked is taken."""
    offers: dict[str, OfferSettings] = {}
    """What the operator says of an offer, by ``provider:model``."""
    accounts: dict[str, AccountSettings] = field(
        default_factory=lambda: {"sandbox": AccountSettings(provider="sandbox", max_running=16)}
    )

    @property
    def jobs_ms(self) -> int:
        """How long jobs are kept after their end, in milliseconds; 0 is for ever."""
        return int(self.store.retention_days * DAY_MS)

    @property
    def clips_ms(self) -> int:
        """How long clips are kept at most, which is no longer than their jobs are; 0 is for ever."""
        return min(filter(None, (int(self.media.retention_days * DAY_MS), self.jobs_ms)), default=0)


def local_path(url: str, scheme: str) -> Path:
    """
    Read ``scheme:///relative`` or ``scheme:////absolute`` as a path.

    :raises SettingsError: for any other scheme.
    """
    start = f"{scheme}:///"
    if not url.startswith(start) or url == start:
        other = ", or postgresql://USER@HOST/DATABASE" if scheme == "sqlite" else ""
        shown = PASSWORD.sub(r"\1\2***", url)
        raise SettingsError(f"{shown!r} is not served: write {start}path, {start}/absolute/path{other}")
    return Path(url.removeprefix(start))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in LOOPBACK or host.startswith("127.")
