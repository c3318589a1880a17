"""``reelgate check``: say whether the gateway would start, and what it would sell."""

import asyncio
import os
import sys

from rich.console import Console
from rich.table import Table

from gateway.cli.common import Config, settings_of
from gateway.cli.store import unattended
from gateway.credentials import missing
from gateway.database import StoreUnavailableError, connect, is_postgres
from gateway.media import open_media
from gateway.settings import Settings, is_loopback, local_path
from gateway.shelf import ShelfError
from gateway.store import Store
from providers.base.listing import listings


def check(*, config: Config = None) -> None:
    """Read the configuration, say what each account would do, and exit 1 when something stands in the way."""
    settings = settings_of(config)
    known = listings()
    table = Table("account", "provider", "offers", "state")
    wrong = 0
    for name, account in settings.accounts.items():
        listing = known[account.provider]
        lacking = missing(name, listing, os.environ)
        state = "off" if not account.enabled else f"lacks {', '.join(lacking)}" if lacking else "ready"
        wrong += bool(account.enabled and lacking)
        table.add_row(name, account.provider, str(len(listing.offers)), state)
    console = Console()
    console.print(table)
    places = [("media" if settings.media.in_folder else "media.local", settings.media.folder)]
    if not settings.media.in_folder:
        said = asyncio.run(_shelved(settings))
        wrong += bool(said)
        console.print(f"media: {settings.media.url} {said or 'can be written'}", soft_wrap=True)
    if is_postgres(settings.store.url):
        said = asyncio.run(_reached(settings.store.url))
        wrong += bool(said)
        console.print(f"store: PostgreSQL {said or 'can be written'}", soft_wrap=True)
    else:
        places.insert(0, ("store", local_path(settings.store.url, "sqlite").absolute().parent))
    for label, path in places:
        folder = next(each for each in (path, *path.parents) if each.exists())
        writable = os.access(folder, os.W_OK)
        wrong += not writable
        console.print(f"{label}: {path} {'can be written' if writable else 'CANNOT be written'}")
    wrong += _waiting(settings, console)
    if not is_loopback(settings.server.host):
        console.print(f"server: listens on {settings.server.host}, so an API key must exist (reelgate keys list)")
    sys.exit(1 if wrong else 0)


def _waiting(settings: Settings, console: Console) -> int:
    """Name the accounts that open orders wait for and that are not at work; a store that is not there is not made."""
    url = settings.store.url
    if not is_postgres(url) and not local_path(url, "sqlite").is_file():
        return 0
    try:
        found = asyncio.run(_unattended(settings))
    except StoreUnavailableError:
        return 0  # Said above, where that matters.
    for account, count in found.items():
        said = f"account {account} is not configured, or not at work: open orders that wait for it: {count}"
        console.print(said, soft_wrap=True, markup=False)
    return len(found)


async def _unattended(settings: Settings) -> dict[str, int]:
    """Ask the store."""
    store = Store(connect(settings.store.url, os.environ), lambda: 0)
    store.open(exclusive=False)
    try:
        return await unattended(store, settings)
    finally:
        store.close()


async def _shelved(settings: Settings) -> str:
    """Say what keeps media from being kept in an object store, if anything does."""
    try:
        await open_media(settings.media).shelf.prove()
    except ShelfError as error:
        return f"CANNOT be written: {error}"
    return ""


async def _reached(url: str) -> str:
    """Say what keeps a database from being written, if anything does."""
    store = Store(connect(url, os.environ), lambda: 0)
    store.open(exclusive=False)
    try:
        await store.ping()
    except StoreUnavailableError as error:
        return f"CANNOT be written: {error}"
    finally:
        store.close()
    return ""
