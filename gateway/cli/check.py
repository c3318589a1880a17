"""``reelgate check``: say whether the gateway would start, and what it would sell."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from gateway.checks import has_default
from gateway.cli.common import Config, UsageError, settings_of
from gateway.cli.serve import prove_free
from gateway.cli.store import unattended
from gateway.clips.media import open_media
from gateway.clips.shelf import ShelfError
from gateway.credentials import missing
from gateway.events.vault import demand_key, given
from gateway.settings import Settings, SettingsError, is_loopback, local_path
from gateway.store.database import AbsentError, BehindError, StoreUnavailableError, connect, is_postgres
from gateway.store.store import Store
from providers.base.listing import listings


class Found(Struct, frozen=True):
    """Hold one thing that was looked at."""

    said: str
    wrong: bool = False
    """Whether it stands in the way."""


class Stored(Struct, frozen=True):
    """Hold what a store says."""

    found: Found
    keyed: bool | None = None
    """Whether there is an API key; nobody knows of a store that cannot be read."""
    waiting: dict[str, int] = {}
    """Open orders, by the account they wait for, where that is not at work."""


def check(*, config: Config = None) -> None:
    """Read the configuration, say what each account would do, and exit 1 when something stands in the way."""
    settings = settings_of(config)
    known = listings()
    table = Table("account", "provider", "offers", "state")
    wrong = False
    for name, account in settings.accounts.items():
        listing = known[account.provider]
        lacking = missing(name, listing, os.environ)
        state = "off" if not account.enabled else f"lacks {', '.join(lacking)}" if lacking else "ready"
        wrong |= bool(account.enabled and lacking)
        table.add_row(name, account.provider, str(len(listing.offers)), state)
    console = Console()
    console.print(table)
    for each in _found(settings):
        wrong |= each.wrong
        console.print(each.said, soft_wrap=True, markup=False)
    sys.exit(1 if wrong else 0)


def _found(settings: Settings) -> Iterator[Found]:
    """Try what a gateway builds when it starts, making nothing."""
    yield from _media(settings)
    stored = asyncio.run(_stored(settings))
    yield stored.found
    try:
        given(os.environ)
        if is_postgres(settings.store.url) and not settings.media.in_folder:
            demand_key(os.environ)
    except SettingsError as error:
        yield Found(f"secrets: {error}", wrong=True)
    for account, count in stored.waiting.items():
        said = f"account {account} is not configured, or not at work: open orders that wait for it: {count}"
        yield Found(said, wrong=True)
    if settings.network.proxy:
        proxy = urlsplit(settings.network.proxy)
        yield Found(f"network: sellers are called through {proxy.hostname}:{proxy.port or 80}, strangers are not")
    if not has_default(settings):
        said = f"routing: default_model is {settings.routing.default_model!r}, which [aliases] leave out"
        yield Found(f"{said}: a call that names no model is refused; write it there, or name another model for it")
    host = settings.server.host
    try:
        prove_free(host, 0)  # The port may well be taken: by the gateway this is the configuration of.
    except UsageError as error:
        yield Found(f"server: {error}", wrong=True)
    if not is_loopback(host):
        said = f"server: listens on {host}, so an API key must exist"
        how = {True: " and does", False: ": reelgate keys create --name NAME", None: " (reelgate keys list)"}
        yield Found(f"{said}{how[stored.keyed]}", wrong=stored.keyed is False)


def _media(settings: Settings) -> Iterator[Found]:
    """Say whether media can be kept."""
    in_folder = settings.media.in_folder
    if not in_folder:
        said = asyncio.run(_shelved(settings))
        yield Found(f"media: {settings.media.url} {said or 'can be written'}", wrong=bool(said))
    yield _folder("media" if in_folder else "media.local", settings.media.folder)


def _folder(label: str, path: Path) -> Found:
    """Say whether a folder can be written, or made."""
    there = next(each for each in (path, *path.parents) if each.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    why = "" if there.is_dir() else f": {there} is no folder"
    return Found(f"{label}: {path} {'can be written' if writable else f'CANNOT be written{why}'}", wrong=not writable)


async def _shelved(settings: Settings) -> str:
    """Say what keeps media from being kept in an object store, if anything does."""
    try:
        await open_media(settings.media).shelf.prove()
    except ShelfError as error:
        return f"CANNOT be written: {error}"
    return ""


async def _stored(settings: Settings) -> Stored:
    """Say whether the store can be written, as it is, and what it holds."""
    url = settings.store.url
    place = "PostgreSQL" if is_postgres(url) else str(local_path(url, "sqlite").absolute())
    store = Store(connect(url, os.environ), lambda: 0)
    try:
        store.open(exclusive=False)
        await store.database.prove()
        await store.ping()
        found = Found(f"store: {place} can be written")
        return Stored(found, await store.has_keys(), await unattended(store, settings))
    except AbsentError:
        made = Found(f"store: {place} is made at the first start")
        return Stored(made if is_postgres(url) else _folder("store", Path(place).parent), keyed=False)
    except BehindError as error:
        return Stored(Found(f"store: {error}"))
    except StoreUnavailableError as error:
        return Stored(Found(f"store: CANNOT be written: {error}", wrong=True))
    finally:
        store.close()
