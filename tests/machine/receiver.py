"""Those who are told: over a network that loses and delays, and with a memory of what they heard."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
from msgspec import Struct

from gateway.events.events import TYPES
from gateway.network.errand import FetchError
from gateway.network.guard import NotAllowedError

GAPS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Seconds between tries: the schedule of a world that ends after a quarter of an hour."""
ENDPOINT = "whep_told"
TROUBLES = ("500", "429", "302", "refused", "hung", "heard and hung", "not allowed")


class Heard(Struct, frozen=True):
    """Hold one message as it arrived."""

    url: str
    event: str
    job: str
    type: str
    good: bool
    """Whether it was answered with 2xx, and the answer arrived."""


class Outbound:
    """Stand in for the way out: what is called is heard here."""

    def __init__(self, chance: random.Random, on_heard: Callable[[Heard], None], trouble: float) -> None:
        self._chance = chance
        self._on_heard = on_heard
        self.trouble = trouble
        self.did: dict[str, int] = {}

    @staticmethod
    def read(url: str) -> Any:
        return SimpleNamespace(url=url)

    @asynccontextmanager
    async def call(
        self, method: str, target: Any, headers: Mapping[str, str], body: bytes, *, owner: str, **limits: float
    ) -> AsyncIterator[Any]:
        """Hear a message, or fail as a network does."""
        async with asyncio.timeout(limits["seconds"]), self._call(target, headers, body, limits["silent"]) as answer:
            yield answer

    @asynccontextmanager
    async def _call(self, target: Any, headers: Mapping[str, str], body: bytes, silent: float) -> AsyncIterator[Any]:
        await asyncio.sleep(self._chance.uniform(0.001, 0.3))
        fault = self._chance.choice(TROUBLES) if self._chance.random() < self.trouble else ""
        self.did[f"told {fault or 'well'}"] = self.did.get(f"told {fault or 'well'}", 0) + 1
        if fault == "refused":
            raise FetchError("fetch_failed", "nobody there")
        if fault == "not allowed":
            raise NotAllowedError("inside")
        if fault != "hung":
            said = msgspec.json.decode(body)
            self._on_heard(Heard(target.url, headers["webhook-id"], said["data"]["id"], said["type"], good=not fault))
        if "hung" in fault:
            await asyncio.sleep(silent + 1)
        asked = {"retry-after": self._chance.choice(("1", "30", "soon"))} if fault == "429" else {}
        yield SimpleNamespace(status=int(fault or 204), headers=asked)


def subscribe(database: sqlite3.Connection) -> None:
    """Put one endpoint into a new store, which is told of everything."""
    database.execute(
        "INSERT INTO endpoints (id, tenant, name, url, host, event_types, version, created_at, updated_at) "
        "VALUES (?, 'tenant', 'all', 'https://ears.test/a', 'ears.test', ?, 1, 0, 0)",
        (ENDPOINT, " ".join(TYPES)),
    )
