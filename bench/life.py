"""
Take jobs through their whole life in this process, and say what processor time one costs: nothing goes over HTTP.

A life is what a worker makes of it: accepted, ordered, looked at five times, its clip kept, ended. The provider and
the wire are functions, and a clip is not probed, since both run elsewhere; everything else is the gateway's own, each
step on disk. Beside it stands the floor: the same number of rows claimed and written by a bare due-scan on the same
kind of database, with none of the product's statements.
"""

# ruff: noqa: ARG001, ARG002 - a provider is told more than this one looks at

import asyncio
import contextlib
import json
import os
import resource
import sqlite3
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import structlog
import uvloop

from bench import servers
from gateway.clips.media import Media
from gateway.clock import Clock
from gateway.door.accept import Acceptor, Repeat, fingerprint_of
from gateway.engine.orders import Orders
from gateway.engine.steps import Steps
from gateway.engine.tools import Tools
from gateway.engine.turns import Turns
from gateway.engine.worker import Worker
from gateway.jobs.job import State
from gateway.jobs.wish import Wish
from gateway.offers.accounts import Account
from gateway.offers.shop import Shop
from gateway.settings import RoutingSettings
from gateway.store.database import connect
from gateway.store.receipts import Receipts
from gateway.store.store import Store
from gateway.telemetry import Metrics
from providers.base.errors import ProviderError, Refused
from providers.base.order import Order, Request
from providers.base.provider import Provider
from providers.base.task import AssetRef, Task, Update
from providers.base.task import State as TaskState
from providers.base.wire import Call, Download, Reply, Wire
from tests import databases
from tests.make import listing

LOOKS = 5
CLIP = b"\0\0\0\x18ftypmp42" + bytes(1000)
LIVES = 2000
LOOKS_PER_SECOND = 1_000_000
"""No limit: a look that is put off would be a step more than a life has."""
AT_ONCE = 1000
"""Jobs under way at a time."""
CLIENTS = 64
"""Who order them, each one after the other, as in the measure of what is accepted."""


class Prompt(Provider):
    """Take every order, and be done at the fifth look."""

    def __init__(self, sold: Any) -> None:
        super().__init__(sold, {})
        self._seen: dict[str, int] = {}

    async def submit(self, order: Order, wire: Wire) -> Update:
        return Update(state=TaskState.RUNNING, task=Task(order.attempt), poll_after=0.2)

    async def poll(self, task: Task, wire: Wire) -> Update:
        seen = self._seen[task.id] = self._seen.get(task.id, 0) + 1
        if seen < LOOKS:
            return Update(state=TaskState.RUNNING, task=task, progress=seen * 15, poll_after=0.2)
        return Update(state=TaskState.SUCCEEDED, task=task, assets=(AssetRef(url="https://acme.test/a.mp4"),))

    def fetch(self, asset: AssetRef) -> Call:
        return Call(method="GET", url=asset.url, repeatable=True)

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        return Refused("no")


class Clips:
    """Serve a kilobyte for every clip."""

    async def send(self, call: Call) -> Reply:
        raise AssertionError(call.url)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        async def chunks() -> AsyncIterator[bytes]:
            yield CLIP

        yield Download(status=200, headers={}, chunks=chunks())


def study(path: str, folder: str, stem: str) -> dict[str, Any]:
    """Measure nothing."""
    return {"width": 1280, "height": 720, "duration_seconds": 8.0, "has_audio": True, "codec": "h264", "drawn": False}


async def live(url: str, folder: Path, count: int) -> float:
    """Take jobs through their lives; answer the processor time of one, in milliseconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    clock = Clock()
    store = Store(connect(url, databases.ENVIRON), clock)
    store.open()
    with ThreadPoolExecutor(1) as pool, mock.patch("gateway.clips.study._study", study):
        media = Media(folder / "media", pool, max_clip_bytes=2**20)
        media.open()
        receipts = Receipts(folder / "receipts")
        receipts.open()
        account = Account("acme", Prompt(listing()), Clips(), plan="", max_running=10 * count, looks=LOOKS_PER_SECOND)
        shop = Shop({"acme": account}, {}, RoutingSettings(), clock)
        tools = Tools.of(
            store,
            shop,
            media,
            Metrics(),
            clock,
            receipts,
            Orders(shop, media),
            lease_seconds=60,
            retention_ms=0,
            doubt_ms=0,
        )
        worker = Worker(tools, Steps(tools), Turns(tools), at_once=64)
        acceptor = Acceptor(store, shop, clock, worker)
        working = asyncio.create_task(worker.run())
        await _accept(acceptor, store, 100, "warm")
        spent = resource.getrusage(resource.RUSAGE_SELF)
        await _accept(acceptor, store, count, "clip")
        cost = _cpu(spent) / count
        worker.stop()
        await working
        receipts.close()
    assert await _ended(store) == count + 100
    store.close()
    return cost * 1000


async def _accept(acceptor: Acceptor, store: Store, count: int, word: str) -> None:
    """Have so many jobs made, a thousand at a time, and wait for the last."""
    room, ended, over = asyncio.Semaphore(AT_ONCE), 0, asyncio.Event()

    def moved(job: Any) -> None:
        nonlocal ended
        if job.state.final:
            room.release()
            ended += 1
            if ended == count:
                over.set()

    async def ask(first: int) -> None:
        for number in range(first, count, CLIENTS):
            await room.acquire()
            wish = Wish(request=Request(prompt=f"{word} {number}: a calico cat plays the piano", model="maker/one"))
            await acceptor.accept(wish, acceptor.decide(wish), "tenant", Repeat(), fingerprint=fingerprint_of(wish))

    store.on_move.append(moved)
    await asyncio.gather(*(ask(client) for client in range(CLIENTS)))
    await over.wait()
    store.on_move.remove(moved)


async def _ended(store: Store) -> int:
    """Count the jobs that have their clip."""
    return (await store.census()).get(State.SUCCEEDED, 0)


def _cpu(since: Any) -> float:
    """Say how much processor time this process has used since, in all its threads."""
    now = resource.getrusage(resource.RUSAGE_SELF)
    return float(now.ru_utime + now.ru_stime - since.ru_utime - since.ru_stime)


BARE = (
    "CREATE TABLE bare (id TEXT PRIMARY KEY, state TEXT NOT NULL, due BIGINT, lease BIGINT, body TEXT NOT NULL)",
    "CREATE INDEX bare_due ON bare (due) WHERE due IS NOT NULL",
)
BODY = "x" * 1000
BATCH = 64


def bare_sqlite(folder: Path, count: int) -> float:
    """Take rows through as many claims and writes as a life has steps, on SQLite; milliseconds of one."""
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    for statement in BARE:
        database.execute(statement)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    for first in range(0, count, BATCH):
        rows = [(f"job{number}", "queued", 0, BODY) for number in range(first, min(count, first + BATCH))]
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO bare (id, state, due, body) VALUES (?, ?, ?, ?)", rows)
        database.execute("COMMIT")
    for step in range(LOOKS + 2):
        for _ in range(0, count, BATCH):
            database.execute("BEGIN IMMEDIATE")
            taken = database.execute(
                "UPDATE bare SET lease = 1, due = ? WHERE id IN"
                " (SELECT id FROM bare WHERE due <= ? ORDER BY due LIMIT ?) RETURNING *",
                (1000 + step, step, BATCH),
            ).fetchall()
            database.execute("COMMIT")
            database.execute("BEGIN IMMEDIATE")
            due = step + 1 if step <= LOOKS else None
            database.executemany(
                "UPDATE bare SET state = ?, due = ?, lease = NULL, body = ? WHERE id = ?",
                [(f"step {step}", due, BODY, row[0]) for row in taken],
            )
            database.execute("COMMIT")
    cost = _cpu(spent) / count * 1000
    ((ended,),) = database.execute("SELECT count(*) FROM bare WHERE due IS NULL").fetchall()
    assert ended == count
    database.close()
    return cost


async def bare_postgres(url: str, count: int) -> float:
    """Do the same on PostgreSQL; this side's processor time only, as for a life."""
    database = await asyncpg.connect(url, password=databases.PASSWORD)
    for statement in BARE:
        await database.execute(statement)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    for first in range(0, count, BATCH):
        rows = [(f"job{number}", "queued", 0, BODY) for number in range(first, min(count, first + BATCH))]
        async with database.transaction():
            await database.executemany("INSERT INTO bare (id, state, due, body) VALUES ($1, $2, $3, $4)", rows)
    for step in range(LOOKS + 2):
        for _ in range(0, count, BATCH):
            async with database.transaction():
                taken = await database.fetch(
                    "WITH first AS MATERIALIZED (SELECT id FROM bare WHERE due <= $1 ORDER BY due LIMIT $2"
                    " FOR UPDATE SKIP LOCKED) UPDATE bare SET lease = 1, due = $3 WHERE id IN (SELECT id FROM first)"
                    " RETURNING *",
                    step, BATCH, 1000 + step,
                )  # fmt: skip
            due = step + 1 if step <= LOOKS else None
            async with database.transaction():
                await database.executemany(
                    "UPDATE bare SET state = $1, due = $2, lease = NULL, body = $3 WHERE id = $4",
                    [(f"step {step}", due, BODY, row["id"]) for row in taken],
                )
    cost = _cpu(spent) / count * 1000
    assert await database.fetchval("SELECT count(*) FROM bare WHERE due IS NULL") == count
    await database.close()
    return cost


def measure(folder: Path, *, postgres: bool) -> dict[str, float]:
    """
    Measure lives and the floor on one kind of database, one after the other.

    What they leave in the folder is for the caller to remove, once nothing more is to be measured: for minutes ext4
    passes over what was just removed whenever a file is made, a look at each.
    """
    party, floor = ("postgres", "pgfloor") if postgres else ("ours", "floor")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(servers.postgresql()) if postgres else f"sqlite:///{folder}/jobs.db"
        os.sched_setaffinity(0, {servers.SERVER_CORE})
        cost = uvloop.run(live(store, folder, LIVES))
        bare = uvloop.run(bare_postgres(store, LIVES)) if postgres else bare_sqlite(folder, LIVES)
    return {f"life.cpu_ms/{party}": cost, f"life.cpu_ms/{floor}": bare}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[2]), postgres=sys.argv[1] == "postgresql")))
