"""Open the store for one command, beside a running gateway or without one."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cli.common import Config, settings_of
from gateway.clock import clock_of
from gateway.database import connect
from gateway.store import Store

T = TypeVar("T")


def on_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do one thing on the store."""

    async def run() -> T:
        database = connect(settings_of(config).store.url, os.environ)
        database.open(exclusive=False)
        try:
            return await work(Store(database, await clock_of(database)))
        finally:
            database.close()

    return asyncio.run(run())


def now() -> int:
    """Read the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
