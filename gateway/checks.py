"""Find what is wrong with a configuration that reads well: pure, but for the listings."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import urlsplit

from gateway.door.guesses import networks
from gateway.network.guard import NotAllowedError, is_literal, make_rules, read_host
from gateway.offers.asking import AUTO
from gateway.settings import (
    AccountSettings,
    OfferSettings,
    RoutingSettings,
    Settings,
    SettingsError,
    local_path,
    micros,
)
from gateway.store.database import is_postgres
from providers.base.listing import is_amount, listings

Key = tuple[str, ...]
"""Where in the configuration something stands: ``("server", "port")``."""
Mistake = tuple[Key, str]
"""What is wrong, to be read after its key."""

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
    ("store", "retention_days", 0, 36_500),
    ("media", "redirect_seconds", 0, 604_800),
    ("media", "link_hours", 0.01, 8_760),
    ("media", "retention_days", 0, 36_500),
    ("media", "file_days", 0, 36_500),
    ("media", "max_clip_mb", 1, 1_048_576),
    ("routing", "max_attempts", 1, 20),
    ("budget", "doubt_days", 1, 3_650),
    ("worker", "at_once", 1, 4_096),
    ("worker", "lease_seconds", 1, 3_600),
    ("worker", "port", 0, 65_535),
    ("worker", "renderers", 1, 64),
)
"""Numbers with a least and a most."""
AMOUNTS = (
    ("routing", "price_ceiling_usd"),
    ("budget", "day_usd"),
    ("budget", "month_usd"),
    ("budget", "total_usd"),
)
"""Dollars, or nothing."""


HTTP = ("https://", "http://")
SENDFILE = re.compile(r"x-accel:/([\w.-]+/)*", re.ASCII)
LIKE_A_URL = "must be an address a call can go to, like https://video.example.com: with a host, and a port up to 65535"


def mistakes(settings: Settings) -> Iterator[Mistake]:
    """Name what msgspec cannot see, the first thing first."""
    for section, name, least, most in BOUNDS:
        value = getattr(getattr(settings, section), name)
        if not least <= value <= most:
            yield (section, name), f"must be between {least:g} and {most:g}"
    yield from _of_server(settings)
    for name, account in settings.accounts.items():
        yield from (((*("accounts", name), key), said) for key, said in _of_account(account))
    for name, offer in settings.offers.items():
        yield from ((("offers", name, *key), said) for key, said in _of_offer(name, offer))
    yield from _of_routing(settings)
    for section, name in AMOUNTS:
        said = getattr(getattr(settings, section), name)
        try:
            micros(said)
        except SettingsError:
            how = 'write plain dollars in quotes, like "50.00", with at most 6 decimals and 12 digits before them'
            yield (section, name), f"is {said!r}; {how}"
    yield from _of_places(settings)


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known words most like an unknown one, else the first few."""
    there = [*dict.fromkeys(known)]
    close = get_close_matches(word, there, n=3, cutoff=0.5)
    if close:
        return f"nearest {'is' if len(close) == 1 else 'are'} {', '.join(close)}"
    more = f" and {len(there) - 12} more" if len(there) > 12 else ""
    return f"known are {', '.join(there[:12]) or 'none'}{more}"


def is_url(url: str, schemes: tuple[str, ...] = HTTP) -> bool:
    """Whether a call can go to an address: one of the schemes, a host, a port there can be, and no stray sign."""
    try:
        read = urlsplit(url)
        port = read.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>^`{|}')
    return url.startswith(schemes) and bool(read.hostname) and port != 0 and plain


def _of_server(settings: Settings) -> Iterator[Mistake]:
    """Look at where the gateway listens, where it is reached and where it may go."""
    host, public = settings.server.host, settings.server.public_url
    if host != "localhost" and not _is_address(host):
        yield ("server", "host"), f"is {host!r}; write an address of this machine, like 127.0.0.1, or 0.0.0.0 for all"
    if public and not is_url(public):
        yield ("server", "public_url"), f"is {public!r}; it {LIKE_A_URL}"
    try:
        networks(settings.server.proxies)
    except ValueError as error:
        yield ("server", "proxies"), f"holds what is none: {error}; write addresses or ranges, like 10.0.0.0/8"
    if settings.server.sendfile and not SENDFILE.fullmatch(settings.server.sendfile):
        how = "write x-accel: and the path at which nginx finds the clips, like x-accel:/clips/, or nothing"
        yield ("server", "sendfile"), f"is {settings.server.sendfile!r}; {how}"
    if settings.network.proxy and not _is_proxy(settings.network.proxy):
        # What stands there may hold a password.
        yield ("network", "proxy"), "must be a proxy's address, http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"
    try:
        make_rules(settings.network.allow, settings.network.ports)
    except ValueError as error:
        yield ("network",), f"cannot be kept to: {error}"


def _is_proxy(url: str) -> bool:
    """Whether a text is a proxy's address and no more, its user without a colon, which no header can hold."""
    if not is_url(url, ("http://",)):
        return False
    read = urlsplit(url)
    return (
        read.path in {"", "/"} and not read.query and not read.fragment and "%3a" not in (read.username or "").lower()
    )


def _is_address(host: str) -> bool:
    """Whether a text is an address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _of_account(account: AccountSettings) -> Iterator[tuple[str, str]]:
    """Look for an account no listing knows how to use."""
    listing = listings().get(account.provider)
    if listing is None:
        yield "provider", f"is {account.provider!r}; {nearest(account.provider, listings())}"
        return
    plans = sorted({plan.name for plan in listing.plans})
    if account.plan and account.plan not in plans:
        yield "plan", f"is {account.plan!r}; {account.provider} has {', '.join(plans) or 'none'}"
    if account.base_url and not account.base_url.startswith("sandbox://") and not is_url(account.base_url):
        yield "base_url", f"is {account.base_url!r}; it {LIKE_A_URL}"
    if account.max_running < 1:
        yield "max_running", "must be at least 1"
    for host in account.clip_hosts:
        meant = _host_meant(host)
        if not meant or host != meant:
            how = f"the host alone: {meant}" if meant else "a host alone, like cdn.example.com, or *.cdn.example.com"
            yield "clip_hosts", f"names {host!r}, which no clip's address matches; write {how}"
    if account.usd_credit and plans:
        yield "usd_credit", f"has no say: at {account.provider} the plan says what a credit costs; leave it out"
    elif account.usd_credit and not is_amount(account.usd_credit):
        yield "usd_credit", f'is {account.usd_credit!r}; write plain dollars in quotes, like "0.005"'
    if account.looks_per_second < 1:
        yield "looks_per_second", "must be at least 1"


def _host_meant(said: str) -> str:
    """Spell a host clips may come from as it is matched, ``*.`` before it for all below; empty where there is none."""
    place = re.split(r"[/?#]", said.strip().rpartition("://")[2])[0].rpartition("@")[2]
    name = re.sub(r":[0-9]*$", "", place)
    try:
        host = read_host(name.removeprefix("*."))
    except NotAllowedError:
        return ""
    wild = name.startswith("*.")
    return "" if wild and is_literal(host) else f"{'*.' if wild else ''}{host}"


def _of_offer(name: str, said: OfferSettings) -> Iterator[Mistake]:
    """Look for a word about an offer nobody makes, or a price that is none."""
    slug, _, model = name.partition(":")
    listing = listings().get(slug)
    if listing is None or listing.offer(model) is None:
        offers = [f"{slug}:{offer.model}" for slug, listing in listings().items() for offer in listing.offers]
        yield (), f"is no offer; {nearest(name, offers)}; reelgate table lists them"
    if said.usd and not is_amount(said.usd):
        yield ("usd",), f'is {said.usd!r}; write plain dollars in quotes, like "0.40"'
    if said.ceiling and not said.usd:
        yield ("ceiling",), "needs usd: the most a clip may cost"


def _of_routing(settings: Settings) -> Iterator[Mistake]:
    """Look for sellers and models nobody has ever heard of."""
    routing = settings.routing
    for slug in routing.order:
        if slug not in listings():
            yield ("routing", "order"), f"names {slug!r}, which is no provider; {nearest(slug, listings())}"
    for name, share in routing.split.items():
        if name.partition(":")[0] not in listings() or not 0 < share < 1e9:
            yield ("routing", "split", name), "must be a provider's or offer's share above 0"
    for alias, targets in settings.aliases.items():
        if not targets:
            yield ("aliases", alias), "stands for nothing; name a model, or several"
        for target in [targets] if isinstance(targets, str) else targets:
            if not _is_sold(target):
                yield ("aliases", alias), f"stands for {target!r}, which nobody sells; {nearest(target, _models({}))}"
    model = routing.default_model
    # Who writes aliases of their own may leave out the one that is the default, and sell to none who names no model.
    if model != RoutingSettings().default_model and not has_default(settings):
        said = f"is {model!r}, which is no alias and which nobody sells; {nearest(model, _models(settings.aliases))}"
        yield ("routing", "default_model"), said


def has_default(settings: Settings) -> bool:
    """Whether a call that names no model means one that somebody sells."""
    return settings.routing.default_model in settings.aliases or _is_sold(settings.routing.default_model)


def _is_sold(name: str) -> bool:
    """Whether a model or an offer is in any listing; which of them have an account here may change any day."""
    slug, _, model = name.rpartition(":")
    sellers = [listing for each, listing in listings().items() if slug in {"", each}]
    return bool(sellers) and (model == AUTO or any(each.offer(model) for each in sellers))


def _models(aliases: Mapping[str, object]) -> list[str]:
    """List the names a model goes by: its alias, its own, and that of each offer."""
    offers = [(slug, offer.model) for slug, listing in listings().items() for offer in listing.offers]
    return [*aliases, *(model for _, model in offers), *(f"{slug}:{model}" for slug, model in offers)]


def _of_places(settings: Settings) -> Iterator[Mistake]:
    """Look for places nothing can be kept in."""
    store, media = settings.store.url, settings.media
    if is_postgres(store):
        if not all(map(_is_port, _ports(store))):
            yield ("store", "url"), "names a port that is none; write postgresql://USER@HOST:PORT/DATABASE, up to 65535"
    else:
        yield from _no_path(("store", "url"), store, "sqlite")
    if media.in_folder:
        yield from _no_path(("media", "url"), media.url, "file")
    elif not re.fullmatch(r"(s3|gs|az)://[\w.-]+(/[\w./-]*)?", media.url, re.ASCII):
        there = "file:///path, file:////absolute/path, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        yield ("media", "url"), f"is {media.url!r}: write {there}; credentials come from the environment"
    elif settings.server.sendfile:
        yield ("server", "sendfile"), "needs clips in a folder, and media.url names an object store"
    if media.endpoint and not is_url(media.endpoint):
        yield ("media", "endpoint"), f"is {media.endpoint!r}; it {LIKE_A_URL}"
    if not media.local:
        yield ("media", "local"), "must name a folder"


def _no_path(key: Key, url: str, scheme: str) -> Iterator[Mistake]:
    """Look for what is no path."""
    try:
        local_path(url, scheme)
    except SettingsError as error:
        yield key, str(error)


def _ports(url: str) -> list[str]:
    """List the ports a PostgreSQL address names: it may name several hosts, and sockets that have none."""
    hosts = url.partition("://")[2].rpartition("@")[2].partition("?")[0].partition("/")[0].split(",")
    return [port for host in hosts if (port := host.rpartition("]")[2].partition(":")[2])]


def _is_port(port: str) -> bool:
    """Whether a text is the number of a port."""
    return port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65_535
