"""A whole world under one seed: clients, gateways that die, sellers that lie, and time."""

import asyncio
import fcntl
import hashlib
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import structlog
from msgspec import Struct

from gateway.clips.media import Media
from gateway.clips.parts import _locked as locked
from gateway.clock import Clock
from gateway.door.accept import Acceptor, Repeat, fingerprint_of
from gateway.engine.orders import Orders
from gateway.engine.steps import Steps
from gateway.engine.tools import Tools
from gateway.engine.turns import Turns
from gateway.engine.worker import Worker
from gateway.events.courier import Courier
from gateway.events.letters import Letters, Reach
from gateway.events.outbox import Outbox
from gateway.events.vault import Vault
from gateway.jobs.wish import Preferences, Wish
from gateway.money.ledger import Limits
from gateway.offers.accounts import Account
from gateway.offers.shop import Shop
from gateway.problems import ProblemError
from gateway.settings import RoutingSettings, WebhookSettings
from gateway.store.database import StoreUnavailableError
from gateway.store.receipts import Receipts
from gateway.store.sqlite import Sqlite
from gateway.store.store import MismatchError, Store
from gateway.telemetry import Metrics
from providers.base.order import Request
from providers.base.wire import HttpWire
from tests.machine.laws import BrokenLawError, Laws, demand, doubtful
from tests.machine.loop import Killed, SimLoop, Time
from tests.machine.receiver import GAPS, Heard, Outbound, subscribe
from tests.machine.upstream import Net, Upstream, Vendor, sold, study

START = 1_800_000_000_000
TROUBLED = 200.0
"""Seconds during which things break; afterwards everything must come to its end."""
DOUBT = 900
"""Seconds after which what nobody can tell counts as spent."""
END = 3000.0
LEASE = 20.0
HOUR = 3600.0
DAY = 24 * HOUR


class Wanted(Struct):
    """Hold what one client wants, and how far it has come."""

    key: str | None
    at: float
    prompt: str
    job: str | None = None
    refused: bool = False
    done: bool = False
    """Whether the client has nothing more to say."""


class Result(Struct, frozen=True):
    """Hold what one seed showed."""

    seed: int
    trace: str
    """Hash of everything that happened, in order."""
    jobs: int
    bought: int
    counts: dict[str, int]
    """What happened how often: faults, kills, moves."""


class Shaky(Sqlite):
    """A database that fails while the world says so, and tells an auditor of every commit."""

    def __init__(self, path: Path, world: "World") -> None:
        super().__init__(path)
        self._world = world

    def _run(self, statements: Any) -> Any:
        self._world.check_disk()
        return super()._run(statements)

    def _commit(self) -> None:
        self._world.check_disk()
        super()._commit()
        self._world.committed()
        if self._world.chance.random() < self._world.doubtful_commits:
            # It is on disk, and nobody is told so.
            raise sqlite3.OperationalError("the connection was lost")

    async def read(self, query: str, params: Any = None) -> Any:
        try:
            self._world.check_disk()
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error
        return await super().read(query, params)

    def drop(self) -> None:
        """End as a process that dies: nothing is committed, nothing told."""
        for name in ("_surveyor", "_reader", "_writer"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class World:
    """Hold what outlives a process: time, disks, sellers, clients, and the auditor."""

    def __init__(self, seed: int, folder: Path, blank: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.time = Time()
        self.folder = folder
        self.path = folder / "sim.db"
        shutil.copy(blank, self.path)
        self.limit = self.chance.choice((None, None, 3_000_000, 10_000_000))
        """What may be spent in all, in micro-dollars."""
        self.laws = Laws(self.path, folder / "media", self.limit)
        self._hash = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.skew = 0.0
        """How far the wall clock is off, in seconds."""
        self.disk_back = 0.0
        self.jumped = False
        draw = self.chance
        self.doubtful_commits = draw.choice((0, 0, 0, 0.01))
        kinds = draw.sample("ABCDE", draw.randint(1, 3))
        trouble = draw.choice((0.05, 0.2, 0.4, 0.7))
        patience = draw.choice((400, 400, 400, 45))
        self.upstreams = {
            f"seller{kind.lower()}": Upstream(
                sold(f"seller{kind.lower()}", kind, f"0.{10 + at}", deadline_seconds=patience),
                random.Random(draw.random()), self.now, trouble,
            )
            for at, kind in enumerate(kinds)
        }  # fmt: skip
        self.ears = Outbound(random.Random(f"{seed} ears"), self._heard, trouble)
        for each in self.upstreams.values():
            each.on_order = lambda upstream, attempt: self.laws.check_order(upstream.listing.slug, attempt)
            each.on_bought = self._bought
        self.wanted = [
            Wanted(key=f"want{at}" if draw.random() < 0.8 else None, at=draw.uniform(0, 60), prompt=f"clip {at}")
            for at in range(draw.randint(2, 8))
        ]
        self.hot = draw.choice((0.0, 0.0, 0.15, 0.4))
        """How often the process is killed, or its disk fails, just after something was bought."""
        self.again = random.Random(f"{seed} again").choice((0.0, 0.5, 1.0))
        """How many of its clients would rather pay twice than wait in vain."""
        self.workers = draw.choice((1, 1, 2))
        self.max_running = draw.choice((1, 2, 4))
        self.dead: list[Any] = []
        self.locks: set[int] = set()
        self.events: list[str] = []
        self.faults = sorted((draw.uniform(1, TROUBLED), self._fault()) for _ in range(draw.choice((0, 1, 3, 6))))

    def now(self) -> float:
        return self.time.now

    def running(self) -> int:
        return int(self.time.now * 1000)

    def wall(self) -> int:
        return START + int((self.time.now + self.skew) * 1000)

    def _fault(self) -> tuple[str, float]:
        """Draw one blow of fate."""
        draw = self.chance
        kind = draw.choice(("kill", "kill", "kill_soon", "kill_soon", "stop", "disk", "jump", "jump"))
        match kind:
            case "disk":
                return kind, draw.uniform(0.5, 40)
            case "jump":
                return kind, draw.choice((HOUR, -HOUR, 10 * DAY, -10 * DAY))
            case "kill_soon":
                return kind, draw.randint(1, 400)
        return kind, 0.0

    def note(self, what: str) -> None:
        """Put an event into the trace."""
        self._hash.update(f"{self.time.now:.6f} {what}\n".encode())

    def _bought(self, upstream: Upstream, made: Any) -> None:
        self.note(f"{upstream.listing.slug} took {made.marker}")
        self.laws.check_bought(made, self.time.now)
        if self.time.now < TROUBLED and self.chance.random() < self.hot:
            if self.chance.random() < 0.5:
                self.time.kill_turn = self.time.turns + self.chance.randint(1, 40)
            else:
                self.disk_back = self.time.now + self.chance.uniform(0.1, 30)
            self.counts["blows after a purchase"] += 1

    def _heard(self, heard: Heard) -> None:
        self.note(f"{heard.url} heard {heard.event}")
        self.laws.check_heard(heard)

    def _locked(self, path: Path) -> int | None:
        """Lock a file as a process does, and remember it: with the process its locks are gone."""
        file = locked(path)
        if file is not None:
            self.locks.add(file)
        return file

    def unlock(self) -> None:
        for file in self.locks:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
        self.locks.clear()

    def check_disk(self) -> None:
        if self.time.now < self.disk_back:
            raise sqlite3.OperationalError("disk I/O error")

    def committed(self) -> None:
        for line in self.laws.check_commit():
            self.note(line)

    def called(self, host: str) -> None:
        """I10: nobody is called but the sellers."""
        demand(host in {each.host for each in self.upstreams.values()}, "I10", f"{host} was called")

    @property
    def over(self) -> bool:
        """Whether every client has heard the end, all is paid, and nothing more can go wrong."""
        calm = self.time.now > TROUBLED and all(each.done for each in self.wanted)
        return calm and not self.open_jobs() and not self.laws.untold()

    def open_jobs(self) -> int:
        """Count the jobs that have not ended, or in doubt; a clock set back puts off when those are looked at."""
        rows = self.laws._seen.values()
        return sum(row["completed_at"] is None or (doubtful(row) and not self.jumped) for row in rows)

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Take chance, probing and impatience out of the real code."""
        lot = random.Random(self.seed + 1)
        random.seed(self.seed)
        with (
            mock.patch("gateway.ids._drawn", []),
            mock.patch("gateway.ids.os", SimpleNamespace(urandom=lot.randbytes)),
            mock.patch("gateway.clips.media.token_hex", lambda size: lot.randbytes(size).hex()),
            mock.patch("gateway.clips.study._study", study),
            mock.patch("gateway.clips.parts.token_hex", lambda size: lot.randbytes(size).hex()),
            mock.patch("gateway.clips.parts._locked", self._locked),
            mock.patch("gateway.store.receipts.SLOTS", 32),
            mock.patch("gateway.rounds.Rounds.idle_seconds", 5.0),
            mock.patch("gateway.events.courier.time", SimpleNamespace(monotonic=self.now)),
            mock.patch("gateway.events.events.GAPS", GAPS),
            structlog.testing.capture_logs() as logs,
        ):
            self.logs = logs
            yield

    def digest(self) -> str:
        return self._hash.hexdigest()


class Life:
    """One life of the gateway's process, from its start to its end, however that comes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = SimLoop(world.time, random.Random(world.chance.random()))
        self.loop.set_exception_handler(self._stray)
        self.born = world.time.now
        self.database = Shaky(world.path, world)
        self.clock = Clock(world.wall, world.running)
        self.store = Store(self.database, self.clock)
        self.receipts: list[Receipts] = []
        self.failures: list[BaseException] = []

    def _stray(self, loop: Any, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))

    def run(self) -> None:
        """Live."""
        try:
            self.loop.run_until_complete(self._live())
        except Killed:
            self.world.counts["kills"] += 1
        except StoreUnavailableError:
            self.world.counts["failed starts"] += 1
        finally:
            self.world.time.kill_turn = None
            self._bury()
        for failure in self.failures:
            raise failure
        self.world.time.now += self.world.chance.uniform(0.2, 3)

    def _bury(self) -> None:
        """Keep what was under way from ever going on: what was killed does not tidy up."""
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.world.dead.append(task)
        self.world.dead.append(self.loop)
        self.database.drop()
        self.world.unlock()
        for each in self.receipts:
            each.close()
        self.loop.close()

    async def _live(self) -> None:
        world = self.world
        self._guard(world.check_disk)
        self.store.open()
        media = Media(world.folder / "media", None, max_clip_bytes=2**20)  # type: ignore[arg-type]
        media.open()
        receipts = [Receipts(world.folder / "media" / "receipts") for _ in range(world.workers)]
        self.receipts = receipts
        for each in receipts:
            each.open()
        await self.store.start_over()
        running = await self.store.running()
        net = Net(world.upstreams, world.called)
        workers = []
        for _ in range(world.workers):
            accounts = {
                slug: Account(
                    slug, vendor := Vendor(each.listing, {}), HttpWire(net, vendor.auth()), plan="",
                    max_running=world.max_running,
                )
                for slug, each in world.upstreams.items()
            }  # fmt: skip
            for slug, count in running.items():
                accounts[slug].running = count
            shop = Shop(accounts, {}, RoutingSettings(), self.clock)
            tools = Tools.of(
                self.store, shop, media, Metrics(), self.clock, receipts[len(workers)], Orders(shop, media),
                lease_seconds=LEASE, retention_ms=int(30 * DAY * 1000), doubt_ms=DOUBT * 1000,
                limits=Limits(total=world.limit),
            )  # fmt: skip
            workers.append(Worker(tools, Steps(tools), Turns(tools), at_once=4))
        self.acceptor = Acceptor(self.store, shop, self.clock, workers[-1], limits=Limits(total=world.limit))
        outbox, settings = Outbox(self.database, self.clock), WebhookSettings(seconds=10)
        courier = Courier(
            outbox, Vault(b"k" * 32), lambda: world.ears, self.clock, settings, Metrics(),  # type: ignore[arg-type,return-value]
            Letters(self.store.any_job, {}, lambda _, base: Reach(base, lambda *_: "")),
        )  # fmt: skip
        self.store.on_move.append(lambda job: courier.wake() if job.state.final else None)
        working = [asyncio.create_task(each.run()) for each in (*workers, courier)]
        beside = [asyncio.create_task(self._client(each)) for each in world.wanted if not each.done]
        self.stop = asyncio.Event()
        beside += [asyncio.create_task(self._fate()), asyncio.create_task(self._audit())]
        await self.stop.wait()
        for each in beside:
            each.cancel()
        for one in (*workers, courier):
            one.stop()
        await asyncio.gather(*working)

    @staticmethod
    def _guard(check: Callable[[], None]) -> None:
        try:
            check()
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error

    async def _client(self, want: Wanted) -> None:
        """Ask until there is an answer, say it again, and sometimes think better of it."""
        world = self.world
        draw = random.Random(f"{world.seed} {want.prompt} {self.born}")
        await asyncio.sleep(max(0.0, want.at - world.time.now))
        while want.job is None and not want.refused:
            await self._ask(want, draw)
        if want.refused:
            want.done = True
            return
        assert want.job is not None
        if want.key and not world.jumped and draw.random() < 0.5:
            await asyncio.sleep(draw.uniform(0, 20))
            await self._again(want)
        if draw.random() < 0.15:
            await asyncio.sleep(draw.uniform(0, 40))
            with suppress(StoreUnavailableError):
                await self.store.cancel(want.job, "tenant")
        want.done = True

    async def _ask(self, want: Wanted, draw: random.Random) -> None:
        """Make one call."""
        try:
            id_ = await self._accept(want.prompt, want.key)
        except StoreUnavailableError:
            await asyncio.sleep(1)
        except ProblemError:
            want.refused = True
        else:
            if draw.random() < 0.1:
                return  # The answer was lost on its way: a client with a key asks again, one without is content.
            want.job = id_
            self.world.laws.acknowledged[id_] = want.prompt if want.key else None
            self.world.note(f"acknowledged {id_}")

    async def _again(self, want: Wanted) -> None:
        """Say it again: the same answer; say something else under the same key: none."""
        before = self.world.jumped
        try:
            id_ = await self._accept(want.prompt, want.key)
            demand(self.world.jumped is not before or id_ == want.job, "I5", f"{want.key} is {want.job} and {id_}")
            await self._accept("something else", want.key)
        except (StoreUnavailableError, ProblemError):
            return
        except MismatchError:
            self.world.counts["mismatches"] += 1
            return
        demand(False, "I5", f"{want.key} was taken for something else")

    async def _accept(self, prompt: str, key: str | None) -> str:
        told = f"https://{prompt.replace(' ', '-')}.test/told" if prompt[-1] in "13579" else None
        request = Request(prompt=prompt, model="maker/one")
        again = random.Random(f"{self.world.seed} {prompt} again").random() < self.world.again
        wanted = Preferences(on_unknown="resubmit" if again else "fail")
        wish = Wish(request=request, preferences=wanted, external_id=prompt if key else None, callback_url=told)
        job, _ = await self.acceptor.accept(
            wish, self.acceptor.decide(wish), "tenant", Repeat(key=key), fingerprint=fingerprint_of(wish)
        )
        return job.id

    async def _fate(self) -> None:
        """Let come what was drawn."""
        world = self.world
        while world.faults:
            at, (kind, size) = world.faults[0]
            await asyncio.sleep(max(0.0, at - world.time.now))
            world.faults.pop(0)
            world.counts[kind] += 1
            world.note(kind)
            match kind:
                case "kill":
                    world.time.kill_turn = world.time.turns + 1
                case "kill_soon":
                    world.time.kill_turn = world.time.turns + int(size)
                case "stop":
                    self.stop.set()
                case "disk":
                    world.disk_back = world.time.now + size
                case "jump":
                    world.skew += size
                    world.jumped = True
        await asyncio.sleep(max(0.0, TROUBLED - world.time.now))
        for each in (*world.upstreams.values(), world.ears):
            each.trouble = 0.0
        world.doubtful_commits = 0.0

    async def _audit(self) -> None:
        """Look whether anybody waits for nobody, and whether all is over."""
        world = self.world
        while True:
            await asyncio.sleep(5)
            calm = max(self.born, world.disk_back)
            world.laws.check_rest(self.clock(), world.time.now - calm)
            demand(world.time.now < END, "I3", f"{world.open_jobs()} jobs are open after {END:g} s")
            if world.over:
                self.stop.set()


def simulate(seed: int, folder: Path, blank: Path) -> Result:
    """
    Live through one seed.

    :raises AssertionError: an invariant does not hold.
    """
    world = World(seed, folder, blank)
    world.laws.connect()
    try:
        with world.patched():
            while not world.over:
                Life(world).run()
                demand(len(world.dead) < 10_000, "I3", "it lives for ever")
            for each in world.upstreams.values():
                each.drain()
                world.counts.update(each.did)
            world.counts.update(world.ears.did)
            told = repr(world.logs)
            crashed = [each for each in world.logs if str(each["event"]).endswith("crashed")]
            demand(not crashed, "I11", f"the engine crashed: {crashed[:1]}")
            world.laws.check_end(
                    [each.ledger for each in world.upstreams.values()], now=world.wall(), told=told,
                    overtaken=world.workers > 1,
                )  # fmt: skip
    except BrokenLawError as error:
        raise AssertionError(f"{error} (seed {seed})") from None
    finally:
        world.laws.close()
        for each in world.dead:
            if isinstance(each, asyncio.Task):
                with suppress(BaseException):
                    each.get_coro().close()  # type: ignore[union-attr]
    world.counts.update(world.laws.moves)
    world.counts.update(str(each["event"]) for each in world.logs)
    return Result(
        seed=seed,
        trace=world.digest(),
        jobs=len(world.laws._seen),
        bought=sum(map(len, world.laws.bought.values())),
        counts=dict(world.counts),
    )


def blank(path: Path) -> Path:
    """Make the empty database that every seed starts from."""
    database = Sqlite(path)
    database.open(exclusive=False, makes=True)
    subscribe(database._writer)
    database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path
