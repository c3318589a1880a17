"""
Seed a store with jobs that are under way, let a gateway look at them, and say how late its looks are.

The provider is a stub that speaks the sandbox's dialect and never finishes. Tasks are named by what their next look
depends on, so the stub itself can say when each look was due: what is measured is what a provider sees.
"""

import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bench import servers
from bench.looks import name
from bench.servers import Server
from gateway.clock import Clock
from gateway.door.accept import Acceptor, Hands, Repeat, fingerprint_of
from gateway.ids import new_id
from gateway.jobs.job import Attempt, Job, Outcome, State, next_look
from gateway.jobs.wish import Wish
from gateway.offers.accounts import open_accounts
from gateway.offers.shop import Shop
from gateway.settings import AccountSettings, RoutingSettings, Settings
from gateway.store.database import Statement, connect
from gateway.store.store import Store
from providers.base.listing import FOLDER
from providers.base.order import Request
from providers.base.task import Task
from providers.base.wire import ByScheme, HttpWire
from tests import databases

PATIENCE = 120
"""Seconds after which a restart has failed."""
POLLS = (5, 10, 15)
"""Seconds between two looks that the listings of real providers ask for; one seller of the bench each."""
OLDEST = 3600
"""Seconds since the oldest job under way was ordered."""
LISTING = """
slug = "{slug}"
name = "{slug}"
dialect = "sandbox"
base_url = "{url}"
docs = "bench/flight.py"
submit_class = "A"
submit_class_source = "bench/flight.py"
sandbox = true
poll_seconds = {poll}
deadline_seconds = 36000
[[prices]]
models = ["*"]
usd = "0.10"
per = "second"
since = 2026-01-01
source = "bench/flight.py"
checked = 2026-11-21
[[offers]]
model = "bench/{slug}"
wire_name = "bench"
mode = ["text"]
seconds = [8, 4]
resolution = ["720p", "1080p"]
aspect_ratio = ["16:9", "9:16"]
audio = [true, false]
"""
CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
log_level = "warning"
[store]
url = "{store}"
[media]
url = "file:///{folder}/media"
"""
ACCOUNT = """
[accounts.{name}]
provider = "{name}"
base_url = "{url}"
max_running = {places}
"""


class Field(msgspec.Struct, frozen=True):
    """Where a run takes place: a folder, a store in it or beside it, and the provider's port."""

    folder: Path
    store: str
    upstream: int

    @property
    def url(self) -> str:
        """Where the provider is."""
        return f"http://127.0.0.1:{self.upstream}"

    def listings(self) -> None:
        """Write the sellers' listings, and have this process read them as the gateway will."""
        folder = self.folder / "providers"
        folder.mkdir(exist_ok=True)
        for poll in POLLS:
            text = LISTING.format(slug=f"every{poll}", url=self.url, poll=poll)
            (folder / f"every{poll}.toml").write_text(text)
        os.environ[FOLDER] = str(folder)

    def settings(self, places: int) -> Settings:
        """Describe the accounts, one at each seller."""
        accounts = {
            f"every{poll}": AccountSettings(provider=f"every{poll}", base_url=self.url, max_running=places)
            for poll in POLLS
        }
        return Settings(accounts=accounts)

    @contextlib.contextmanager
    def gateway(self, *, places: int) -> Iterator[Server]:
        """Run the gateway on this field."""
        port = servers.free_port()
        text = CONFIG.format(port=port, store=self.store, folder=self.folder)
        text += "".join(ACCOUNT.format(name=f"every{poll}", url=self.url, places=places) for poll in POLLS)
        config = self.folder / "config.toml"
        config.write_text(text)
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
        environment = {**databases.ENVIRON, FOLDER: str(self.folder / "providers")}
        with servers.running(command, port, "/health/ready", environment=environment) as server:
            yield server


@contextlib.contextmanager
def field(*, postgres: bool) -> Iterator[Field]:
    """Lay a field out: a folder, an empty store, and a provider that answers."""
    with tempfile.TemporaryDirectory(prefix="reelgate-flight-") as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        store = stack.enter_context(servers.postgresql()) if postgres else f"sqlite:///{folder}/jobs.db"
        stub = stack.enter_context(servers.stub(folder))
        made = Field(folder, store, stub.port)
        made.listings()
        yield made


def ask(port: int, path: str) -> dict[str, float]:
    """Ask the stub."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return msgspec.json.decode(answer.read(), type=dict[str, float])


async def seed(here: Field, count: int, *, overdue: bool = False) -> None:
    """
    Put jobs into the store as if they had been ordered at some time in the last hour.

    :param overdue: all of them should have been looked at a minute ago; else as a gateway at rest would have it.
    """
    chance = random.Random(1)
    clock = Clock()
    store = Store(connect(here.store, databases.ENVIRON), clock)
    store.open()
    way = ByScheme({})
    accounts, held = open_accounts(here.settings(1), {}, way, partial(HttpWire, way), sandbox_only=True)
    assert not held, held
    shop = Shop(accounts, {}, RoutingSettings(), clock)
    acceptor = Acceptor(store, shop, clock, Hands())
    begun = clock()
    patterns: list[tuple[str, float, Job]] = []
    for account in accounts.values():
        wish = Wish(
            request=Request(
                prompt=f"{account.name}: a calico cat plays the piano, warm light",
                model=account.listing.offers[0].model,
            )
        )
        job, _ = await acceptor.accept(wish, acceptor.decide(wish), "local", Repeat(), fingerprint=fingerprint_of(wish))
        await store.cancel(job.id, "local")
        patterns.append((account.name, account.listing.poll_seconds, job))
    # When the gateway will look for the first time: writing takes a while, and starting some more.
    ready = begun + 6_000 + count // 3
    pending: list[asyncio.Task[object]] = []
    for number in range(count):
        seller, base, pattern = patterns[number % len(patterns)]
        started = ready - int(chance.uniform(base, OLDEST) * 1000)
        span = next_look(base, (ready - started) / 1000, None)
        due = begun - 60_000 if overdue else ready + int(chance.uniform(0, span) * 1000)
        id_, attempt = new_id("video", started), new_id("att", started)
        job = replace(
            pattern, id=id_, created_at=started, updated_at=max(started, due - int(span * 1000)), due_at=due,
            lease_until=None, deadline_at=started + 36_000_000,
        )  # fmt: skip
        task = msgspec.json.encode(Task(name(started, due, base, number))).decode()
        job = replace(
            job, state=State.RUNNING, seq=3, started_at=started, account=seller, attempt=attempt, attempts=1,
            task=task, progress=1,
        )  # fmt: skip
        opened = Attempt(
            id=attempt, job=id_, number=1, offer=job.offer or "", account=seller, submit_class="A",
            outcome=Outcome.ACCEPTED, usd_micros=800_000, intent_at=started, answered_at=started, task=task,
        )  # fmt: skip
        statements = [Statement("job_insert", job), Statement("attempt_insert", opened, 1)]
        pending.append(asyncio.ensure_future(store.database.write(*statements)))
        if len(pending) == 2048:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    late = clock() - ready
    if late > 0 and not overdue:
        print(f"seeding took {late / 1000:.0f} s too long: the first looks are late", file=sys.stderr)
    store.close()


def fly(*, count: int, seconds: float, postgres: bool) -> dict[str, float]:
    """Keep many jobs in flight, and watch for a while."""
    with field(postgres=postgres) as here:
        begun = time.perf_counter()
        asyncio.run(seed(here, count))
        print(f"seeded {count} in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        with here.gateway(places=count) as server:
            while ask(here.upstream, "/looks")["tasks"] < count / 50:
                time.sleep(0.5)
            time.sleep(15)
            ask(here.upstream, "/looks/begin")
            cpu, at, most = server.cpu_seconds(), time.perf_counter(), 0.0
            while (passed := time.perf_counter() - at) < seconds:
                time.sleep(0.5)
                most = max(most, server.rss_mb())
            told = ask(here.upstream, "/looks")
            share = (server.cpu_seconds() - cpu) / passed
        party = "postgres" if postgres else "ours"
        return {
            f"flight.rate/{party}": told["looks"] / passed,
            f"flight.p50_ms/{party}": told["p50"],
            f"flight.p99_ms/{party}": told["p99"],
            f"flight.most_ms/{party}": told["most"],
            f"flight.rss_mb/{party}": most,
            f"flight.cpu_share/{party}": share,
            f"flight.cpu_us/{party}": share * passed / max(1, told["looks"]) * 1e6,
        }


def recover(*, count: int, postgres: bool) -> dict[str, float]:
    """Start beside jobs that were under way when the last process died, and wait until each was looked at."""
    with field(postgres=postgres) as here:
        asyncio.run(seed(here, count, overdue=True))
        begun = time.time() * 1000
        with here.gateway(places=count):
            while (told := ask(here.upstream, "/looks"))["tasks"] < count:
                if time.time() * 1000 - begun > PATIENCE * 1000:
                    print(f"only {told['tasks']:.0f} of {count} were looked at in {PATIENCE} s", file=sys.stderr)
                    break
                time.sleep(0.1)
        party = "postgres" if postgres else "ours"
        seen = {f"recovery{count}.first_s/{party}": (told["first"] - begun) / 1000}
        return seen | {f"recovery{count}.last_s/{party}": (told["last"] - begun) / 1000}
