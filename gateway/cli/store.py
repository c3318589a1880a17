"""Open the store for one command, beside a running gateway or without one."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.common import Config, private, settings_of
from gateway.credentials import missing
from gateway.settings import Settings
from gateway.store.database import clock_of, connect
from gateway.store.store import Store
from providers.base.listing import listings

T = TypeVar("T")


def on_store(config: Config, work: Callable[[Store], Awaitable[T]], *, makes: bool = False, older: bool = False) -> T:
    """
    Do one thing on the store as it is; what ``makes`` one where there is none comes before the first start.

    What an older program's store takes, too, does not wait for its upgrade.

    :raises StoreUnavailableError: when there is none, or it is not this program's.
    """
    settings = settings_of(config)

    async def run() -> T:
        database = connect(settings.store.url, os.environ)
        database.open(exclusive=False, makes=makes, older=older)
        try:
            return await work(Store(database, await clock_of(database)))
        finally:
            database.close()

    with private(settings):
        return asyncio.run(run())


async def unattended(store: Store, settings: Settings) -> dict[str, int]:
    """Count the open orders of every account that is not at work: not configured, switched off, or without a key."""
    known = listings()
    working = {
        name
        for name, each in settings.accounts.items()
        if each.enabled and not missing(name, known[each.provider], os.environ)
    }
    running: dict[str, int] = dict(await store.database.read("attempts_running"))
    return {name: count for name, count in sorted(running.items()) if name not in working}


def now() -> int:
    """Read the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
