"""
Read ``config.toml`` and the environment into frozen records; a word nobody knows stops the start.

``config.toml`` at the root of the repository is complete and commented: it is the documentation.
``REELGATE__SECTION__KEY`` overrides a key, secrets come from the environment only.
"""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from gateway.database import is_postgres
from gateway.guard import make_rules
from gateway.guesses import networks
from gateway.ledger import Limits
from providers.base.listing import Listing, is_amount, listings

PREFIX = "REELGATE__"
_PASSWORD = re.compile(r"(://[^/@:]*:)[^@]*(?=@)|(password=)[^&]*")
"""A password in a URL; what comes before it stays in what is said."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SettingsError(Exception):
    """A configuration that cannot be started with; the message says what to change."""


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    """Addresses or ranges of reverse proxies, whose ``X-Forwarded-For`` says who the peer is."""
    hold_seconds: float = 600
    """A call that waits for its clip, as chats do, is held open for this long."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    docs: bool = True
    """Whether ``/docs`` and ``/openapi.json`` are served."""
    public_url: str = ""
    """Where the world reaches this gateway; providers that fetch inputs or call back need it."""
    sendfile: Annotated[str, Meta(pattern=r"^(x-accel:/([\w.-]+/)*)?$")] = ""
    """Where an nginx in front finds the clips, so that the kernel sends them: ``x-accel:/clips/``; else we do."""


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which addresses clients may name, and what fetching from them may take."""

    allow: list[str] = []
    """Exceptions for what is not the public internet: an address, a range or a name, with or without a port."""
    ports: list[int] = field(default_factory=lambda: [80, 443, 8443])
    seconds: float = 20
    """What a call names by address must have come after this long."""
    at_once: int = 32
    """Addresses fetched at the same time."""


class Webhooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How clients are told what becomes of their videos."""

    http: bool = False
    """Whether ``http:`` addresses are told too; ``https:`` alone otherwise."""
    seconds: float = 15
    """A receiver that has not answered by then has failed."""
    at_once: int = 64
    """Deliveries under way at the same time; one that takes long counts no more."""
    per_host: int = 8
    """Deliveries taken up at once for one host."""
    keep_days: float = 30
    """How long the log of deliveries goes back."""


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where jobs are remembered."""

    url: str = "sqlite:///data/reelgate.db"


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
    retention_days: float = 30
    """Clips are removed after this long; 0 keeps them for ever."""
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


class Routing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an offer is chosen where the client leaves the choice open."""

    policy: Policy = "cheapest"
    order: list[str] = []
    """Providers in order of preference, for the policy ``order`` and to break ties."""
    split: dict[str, float] = {}
    """Shares by provider or ``provider:model``, for the policy ``split``."""
    default_model: str = "sora-2"
    max_attempts: int = 3
    """How many offers or accounts one job may try."""


class BudgetSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this gateway may spend, whoever asks; a key's own limits come on top."""

    day_usd: str = ""
    """Exact decimal dollars in a day (UTC); empty for no limit, like the next two."""
    month_usd: str = ""
    total_usd: str = ""

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
    if not is_amount(usd) or len(usd.partition(".")[2]) > 6:
        raise SettingsError(f"{usd[:40]!r} is no amount; write plain dollars with at most 6 decimals, like 12.50")
    return int(Decimal(usd) * 1_000_000)


class Worker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How waiting jobs are worked off."""

    enabled: bool = True
    at_once: int = 256
    """Steps under way at the same time (a submit, a look, a download); each waits twice for the disk."""
    lease_seconds: float = 60
    port: int = 0
    """Where ``reelgate work`` answers /health and /metrics; 0 for nowhere."""
    renderers: int = 1
    """Processes that render sandbox clips and probe finished ones."""


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

BOUNDS = (
    ("server", "port", 1, 65_535),
    ("server", "max_body_mb", 1, 4_096),
    ("server", "body_seconds", 1, 3_600),
    ("server", "max_waiting", 1, 100_000),
    ("server", "wrong_keys", 1, 1_000_000),
    ("server", "hold_seconds", 1, 86_400),
    ("network", "seconds", 1, 300),
    ("network", "at_once", 1, 1_024),
    ("webhooks", "seconds", 1, 60),
    ("webhooks", "at_once", 1, 512),
    ("webhooks", "per_host", 1, 64),
    ("webhooks", "keep_days", 1, 3_650),
    ("media", "redirect_seconds", 0, 604_800),
    ("media", "retention_days", 0, 36_500),
    ("media", "file_days", 0, 36_500),
    ("media", "max_clip_mb", 1, 1_048_576),
    ("routing", "max_attempts", 1, 20),
    ("worker", "at_once", 1, 4_096),
    ("worker", "lease_seconds", 1, 3_600),
    ("worker", "port", 0, 65_535),
    ("worker", "renderers", 1, 64),
)
"""Numbers with a least and a most."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the gateway was told."""

    server: Server = field(default_factory=Server)
    network: Network = field(default_factory=Network)
    webhooks: Webhooks = field(default_factory=Webhooks)
    store: StoreSettings = field(default_factory=StoreSettings)
    media: MediaSettings = field(default_factory=MediaSettings)
    routing: Routing = field(default_factory=Routing)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    worker: Worker = field(default_factory=Worker)
    aliases: dict[str, Alias] = field(
        default_factory=lambda: {
            "sora-2": ["google/veo-3.1-fast", "google/gemini-omni-flash"],
            "sora-2-pro": ["google/veo-3.1", "google/gemini-omni-flash"],
        }
    )
    """A name clients use: a model, or several of which the first that can do what is asked is taken."""
    offers: dict[str, OfferSettings] = {}
    """What the operator says of an offer, by ``provider:model``."""
    accounts: dict[str, Account] = field(
        default_factory=lambda: {"sandbox": Account(provider="sandbox", max_running=16)}
    )


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """
    Read a file, lay the environment over it and check that it can be started with.

    :raises SettingsError: naming the file, the key and what is wrong with it.
    """
    tree: dict[str, Any] = {}
    where = str(path) if path else "the environment"
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from error
    if _PASSWORD.search(str(tree.get("store"))):
        raise SettingsError(f"{where}: store.url holds a password; put it into REELGATE_STORE_PASSWORD")
    _overlay(tree, environ)
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}") from error
    _check(settings, where)
    return settings


def secrets(name: str, listing: Listing, environ: Mapping[str, str]) -> dict[str, str]:
    """
    Collect an account's secrets: ``REELGATE_ACCOUNT_<NAME>__<SECRET>`` before ``<SECRET>``.

    A reseller that speaks another's dialect has only the first: ``GEMINI_API_KEY`` is Google's, and nobody else may
    see it. Missing ones are left out; :func:`missing` names them.

    :raises SettingsError: for one that tells callbacks from forgeries and is empty: anybody could sign with it.
    """
    for each in listing.secrets:
        for variable in (f"{_own(name)}{each.name}", *([each.name] if _is_first(listing) else [])):
            if each.verifies and not environ.get(variable, "set").removeprefix("whsec_").strip():
                raise SettingsError(f"{variable} is empty, so anybody could sign with it: give the key, or unset it")
    found = {
        each.name: environ.get(f"{_own(name)}{each.name}") or (environ.get(each.name, "") if _is_first(listing) else "")
        for each in listing.secrets
    }
    return {key: value for key, value in found.items() if value}


def missing(name: str, listing: Listing, environ: Mapping[str, str]) -> list[str]:
    """Name the variables an account still needs."""
    have, prefix = secrets(name, listing, environ), "" if _is_first(listing) else _own(name)
    return [f"{prefix}{each.name}" for each in listing.secrets if each.required and each.name not in have]


def _own(account: str) -> str:
    """Write how the names of an account's own variables begin."""
    return f"REELGATE_ACCOUNT_{account.upper().replace('-', '_')}__"


def _is_first(listing: Listing) -> bool:
    """Whether a listing is the one its dialect, and so the names of its secrets, was written for."""
    return listing.slug == listing.dialect


def local_path(url: str, scheme: str) -> Path:
    """
    Read ``scheme:///relative`` or ``scheme:////absolute`` as a path.

    :raises SettingsError: for any other scheme.
    """
    start = f"{scheme}:///"
    if not url.startswith(start) or url == start:
        other = ", or postgresql://USER@HOST/DATABASE" if scheme == "sqlite" else ""
        shown = _PASSWORD.sub(r"\1\2***", url)
        raise SettingsError(f"{shown!r} is not served: write {start}path, {start}/absolute/path{other}")
    return Path(url.removeprefix(start))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in LOOPBACK or host.startswith("127.")


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Write ``REELGATE__A__B=c`` over ``[a] b``; account names keep their dashes as underscores."""
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        *sections, key = name.removeprefix(PREFIX).lower().split("__")
        if not sections or not all([*sections, key]):
            raise SettingsError(f"{name}: write {PREFIX}SECTION__KEY")
        node = tree
        for section in sections:
            node = node.setdefault(next((each for each in node if each.replace("-", "_") == section), section), {})
            if not isinstance(node, dict):
                raise SettingsError(f"{name}: {section} is not a section")
        node[key] = _typed(value)


def _typed(value: str) -> Any:
    """Read an override as TOML where it is a list or a table, else as the text it is."""
    if value[:1] in "[{":
        try:
            return tomllib.loads(f"it = {value}")["it"]
        except tomllib.TOMLDecodeError:
            return value
    return value


def _check(settings: Settings, where: str) -> None:
    """Refuse what msgspec cannot see."""
    for name, account in settings.accounts.items():
        _check_account(account, f"{where}: accounts.{name}")
    for name, said in settings.offers.items():
        _check_offer(name, said, f'{where}: offers."{name}"')
    for name, share in settings.routing.split.items():
        if name.partition(":")[0] not in listings() or not 0 < share < 1e9:
            raise SettingsError(f"{where}: routing.split.{name} must be a provider's or offer's share above 0")
    if settings.server.public_url and not settings.server.public_url.startswith(("https://", "http://")):
        raise SettingsError(f"{where}: server.public_url must start with https:// or http://")
    for section, name, least, most in BOUNDS:
        value = getattr(getattr(settings, section), name)
        if not least <= value <= most:
            raise SettingsError(f"{where}: {section}.{name} must be between {least:g} and {most:g}")
    _check_networks(settings, where)
    _check_amounts(settings.budget, where)
    if not is_postgres(settings.store.url):
        local_path(settings.store.url, "sqlite")
    _check_media(settings, where)


def _check_networks(settings: Settings, where: str) -> None:
    """Refuse addresses and ranges that are none."""
    try:
        networks(settings.server.proxies)
    except ValueError as error:
        raise SettingsError(f"{where}: server.proxies: {error}; write addresses or ranges, like 10.0.0.0/8") from error
    try:
        make_rules(settings.network.allow, settings.network.ports)
    except ValueError as error:
        raise SettingsError(f"{where}: network: {error}") from error


def _check_media(settings: Settings, where: str) -> None:
    """Refuse a place for media nobody can keep them in."""
    media = settings.media
    if media.in_folder:
        local_path(media.url, "file")
    elif not re.fullmatch(r"(s3|gs|az)://[\w.-]+(/[\w./-]*)?", media.url, re.ASCII):
        raise SettingsError(
            f"{where}: media.url is {media.url!r}: write file:///path, file:////absolute/path, s3://BUCKET/PREFIX, "
            "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX; credentials come from the environment"
        )
    elif settings.server.sendfile:
        raise SettingsError(f"{where}: server.sendfile needs clips in a folder, and media.url names an object store")
    if media.endpoint and not media.endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"{where}: media.endpoint must start with http:// or https://")
    if not media.local:
        raise SettingsError(f"{where}: media.local must name a folder")


def _check_account(account: Account, where: str) -> None:
    """Refuse an account no listing knows how to use."""
    listing = listings().get(account.provider)
    if listing is None:
        raise SettingsError(f"{where}.provider is {account.provider!r}; known are {', '.join(listings())}")
    plans = sorted({plan.name for plan in listing.plans})
    if account.plan and account.plan not in plans:
        raise SettingsError(f"{where}.plan is {account.plan!r}; {account.provider} has {', '.join(plans) or 'none'}")
    if account.base_url and not account.base_url.startswith(("http://", "https://", "sandbox://")):
        raise SettingsError(f"{where}.base_url must start with http:// or https://")
    if account.max_running < 1:
        raise SettingsError(f"{where}.max_running must be at least 1")
    if account.looks_per_second < 1:
        raise SettingsError(f"{where}.looks_per_second must be at least 1")


def _check_amounts(budget: BudgetSettings, where: str) -> None:
    """Refuse a budget that is no amount."""
    for name in BudgetSettings.__struct_fields__:
        said = getattr(budget, name)
        if said and not is_amount(said):
            raise SettingsError(f'{where}: budget.{name} is {said!r}; write plain dollars in quotes, like "50.00"')


def _check_offer(name: str, said: OfferSettings, where: str) -> None:
    """Refuse a word about an offer nobody makes, or a price that is none."""
    slug, _, model = name.partition(":")
    listing = listings().get(slug)
    if listing is None or listing.offer(model) is None:
        raise SettingsError(f"{where} is no offer; reelgate table lists them")
    if said.usd and not is_amount(said.usd):
        raise SettingsError(f'{where}.usd is {said.usd!r}; write plain dollars in quotes, like "0.40"')
    if said.ceiling and not said.usd:
        raise SettingsError(f"{where}.ceiling needs usd: the most a clip may cost")
