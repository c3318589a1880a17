"""
The link to PostgreSQL, cut exactly within a COMMIT: before the server hears of it, or before anybody hears the answer.

A gateway's engine lives on the far side of a proxy that waits for the message that commits. Which commit is cut is
named by the state it brings a job into: the acceptance, the intent to buy, the provider's answer, its verdict, the end.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct

from gateway.door.accept import Repeat
from gateway.jobs.job import Attempt, Job, State
from gateway.problems import ProblemError
from gateway.store.database import ConflictError, Database, StoreUnavailableError, connect
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Wire
from tests import databases
from tests.make import listing, offer
from tests.scripted import Engine, Scripted, clip, running

COMMIT = b"Q\x00\x00\x00\x0cCOMMIT;\x00"
How = Literal["before", "after"]
"""Whether the server never hears of the commit, or commits and cannot say so."""


class Case(Struct, frozen=True):
    """Say which commit of a job is cut, on which side of the server, and what its provider can tell afterwards."""

    into: State
    """What the job becomes by it; ``queued`` is its acceptance."""
    how: How
    kind: str
    """The provider's submit class: ``B`` finds an order by our name for it, ``E`` nothing."""


CASES = [
    Case(into, how, kind)  # type: ignore[arg-type]
    for into, how, kind in product(
        (State.QUEUED, State.SUBMITTING, State.RUNNING, State.STORING, State.SUCCEEDED), ("before", "after"), "BE"
    )
]


class Link:
    """Carry bytes between a gateway and its database, until a commit is to be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self.cut: How | None = None
        """How the next commit ends."""
        self.cuts = 0
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}

    async def open(self) -> int:
        """Listen, and say where."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Carry nothing more."""
        self._server.close()
        carried = [*self._open]
        for each in [writer for pair in self._open.values() for writer in pair]:
            each.transport.abort()
        await asyncio.gather(*carried)
        await self._server.wait_closed()

    async def _carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(*self._there)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = back, out
        silent = asyncio.Event()
        answers = asyncio.create_task(self._answer(there, back, silent))
        with suppress(ConnectionError):
            while said := await here.read(65_536):
                how, self.cut = (self.cut, None) if self.cut and COMMIT in said else (None, self.cut)
                self.cuts += how is not None
                if how == "before":
                    break
                if how == "after":
                    silent.set()
                out.write(said)
                await out.drain()
                if how:
                    await answers
                    break
        answers.cancel()
        for each in (back, out):
            each.transport.abort()
        del self._open[task]

    @staticmethod
    async def _answer(there: asyncio.StreamReader, back: asyncio.StreamWriter, silent: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while (said := await there.read(65_536)) and not silent.is_set():
                back.write(said)
                await back.drain()
        if not silent.is_set():
            back.transport.abort()


class Witness(Scripted):
    """Take orders, find them again where its class can, and look at every one behind the gateway's back."""

    def __init__(self, sold: Any, url: str) -> None:
        super().__init__(sold)
        self._url = url
        self.unsure: set[str] = set()
        """Attempts whose intent to buy nobody said is on disk."""
        self.blind: list[str] = []
        """Those of them that were ordered all the same, and what was ordered without being on disk."""

    async def submit(self, order: Order, wire: Wire) -> Update:
        there = await asyncpg.connect(self._url, password=databases.PASSWORD)
        known = await there.fetchval(
            "SELECT count(*) FROM attempts WHERE id = $1 AND outcome = 'intent'", order.attempt
        )
        there.terminate()
        if order.attempt in self.unsure or known != 1:
            self.blind.append(order.attempt)
        return await super().submit(order, wire)

    async def find(self, order: Order, wire: Wire) -> Update | None:
        if self.listing.submit_class != "B":
            return await super().find(order, wire)
        return running(order.attempt) if order.attempt in self.ledger else None


class Severed:
    """Hold an engine, the link it writes over, and its witness."""

    def __init__(self, engine: Engine, link: Link, database: Database, witnesses: list[Witness]) -> None:
        self.engine = engine
        self.link = link
        self.witnesses = witnesses
        self.ends: Counter[str] = Counter()
        self._wanted = 0
        self._case: Case | None = None
        self._save = engine.store.save
        engine.store._database = database
        engine.store.save = self._watched  # type: ignore[method-assign]
        engine.wire.default = clip(4, (64, 36))

    async def _watched(self, job: Job, *attempts: Attempt, **more: Any) -> None:
        """Cut the link in the commit that brings a job where the case says."""
        if self._case and job.state is self._case.into:
            self.link.cut, self._case = self._case.how, None
        try:
            await self._save(job, *attempts, **more)
        except StoreUnavailableError:
            for each in self.witnesses:
                each.unsure |= {attempt.id for attempt in attempts if job.state is State.SUBMITTING}
            raise

    async def live(self, case: Case) -> None:
        """Make one clip whose commit is cut once, to its end."""
        cuts = self.link.cuts
        self._wanted += 1
        self._case = case if case.into is not State.QUEUED else None
        if case.into is State.QUEUED:
            self.link.cut = case.how
        id_ = (await self._accept(case)).id
        for _ in range(80):
            job = await self.engine.job(id_)
            if job.state.final:
                break
            try:
                moved = await self.engine.turn()
            except (ConflictError, StoreUnavailableError):
                continue  # As the worker does.
            due = None if moved else await self.engine.store.next_due()
            self.engine.now = max(self.engine.now, due or 0)
        assert self.link.cuts == cuts + 1, f"{case} was never cut"
        await self._check(case, id_)

    async def _accept(self, case: Case) -> Job:
        """Ask until there is an answer, under one Idempotency-Key."""
        asked = {"prompt": f"clip {self._wanted}", "seconds": 4, "model": f"maker/{case.kind.lower()}"}
        repeat = Repeat(key=f"key {self._wanted}")
        with suppress(StoreUnavailableError, ProblemError):
            return await self.engine.accept(repeat, **asked)
        return await self.engine.accept(repeat, **asked)

    async def _check(self, case: Case, id_: str) -> None:
        """One call, one job, one purchase at most; and only an order that nobody can tell of ends without its clip."""
        job, attempts = await self.engine.job(id_), await self.engine.store.attempts(id_)
        bought = [
            order for each in attempts for witness in self.witnesses for order in witness.ledger if order == each.id
        ]
        doubtful = case.kind == "E" and case.into is State.SUBMITTING and case.how == "after"
        assert job.state is (State.FAILED if doubtful else State.SUCCEEDED), f"{case}: {job.state} {job.error}"
        assert len(bought) == (0 if doubtful else 1), f"{case}: ordered {len(bought)} times"
        page = await self.engine.store.jobs("tenant", after=None, limit=100, newest_first=True)
        assert len(page.jobs) == min(100, self._wanted), "one call made several jobs"
        self.ends[f"{job.state}"] += 1

    @property
    def blind(self) -> int:
        """Count the orders that left before their intent was said to be on disk."""
        return sum(len(each.blind) for each in self.witnesses)

    async def sure(self) -> None:
        """Nothing left before its intent was said to be on disk; and the store's laws hold."""
        assert self.blind == 0, [each.blind for each in self.witnesses]
        assert await self.engine.store.ailments() == {}


@asynccontextmanager
async def severed(folder: Path) -> AsyncIterator[Severed]:
    """Open an engine on a PostgreSQL that is reached over a link to be cut."""
    with databases.using("postgresql"):
        url = databases.url_of(folder)
        engine = Engine(
            folder,
            *(listing(kind.lower(), submit_class=kind, offers=[offer(f"maker/{kind.lower()}")]) for kind in "BE"),
        )
    place = urlsplit(url)
    link = Link(str(place.hostname), int(place.port or 0))
    far = connect(url.replace(f":{place.port}/", f":{await link.open()}/"), databases.ENVIRON)
    far.open()
    for name, account in engine.accounts.items():
        account.provider = engine.providers[name] = Witness(account.listing, url)
    here = Severed(engine, link, far, [each for each in engine.providers.values() if isinstance(each, Witness)])
    try:
        yield here
    finally:
        far.close()
        engine.close()
        await link.close()
