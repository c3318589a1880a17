"""A provider that does as it is told and keeps its own ledger, and a gateway's engine on a stopped clock."""

import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import av
import msgspec
from PIL import Image

from gateway.clips import study
from gateway.clips.media import Media
from gateway.clock import DAY_MS
from gateway.door.accept import Acceptor, Hands, Repeat, fingerprint_of
from gateway.engine.orders import Orders
from gateway.engine.steps import Steps
from gateway.engine.tools import Tools
from gateway.engine.turns import Turns
from gateway.events.hooks import Hooks
from gateway.ids import new_id
from gateway.jobs.job import Job
from gateway.jobs.wish import Preferences, Wish
from gateway.money.ledger import Limits
from gateway.offers.accounts import Account
from gateway.offers.shop import Shop
from gateway.settings import RoutingSettings
from gateway.store.receipts import Receipts
from gateway.store.registry import Key
from gateway.store.store import Store
from gateway.telemetry import Metrics
from providers.base.errors import ProviderError, Refused
from providers.base.listing import Listing
from providers.base.order import Order, Request
from providers.base.provider import Provider
from providers.base.task import AssetRef, State, Task, Update
from providers.base.wire import Call, Download, Reply, Wire
from tests.databases import store_in
from tests.make import listing
from tests.objects import shelf_in

START = 1_800_000_000_000


@cache
def clip(seconds: int = 8, size: tuple[int, int] = (1280, 720), *, audio: bool = True) -> bytes:
    """Render a small, valid clip: one flat colour."""
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for number in range(seconds * 2):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, "teal"))
            frame.pts, frame.time_base = number, Fraction(1, 2)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            silence.rate = 8000
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            for number in range(seconds * 8000 // 1024):
                silence.pts = number * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return out.getvalue()


class Studied(ThreadPoolExecutor):
    """Study in a thread, and the same bytes once: decoding and drawing them takes longer than all else of a test."""

    _known: ClassVar[dict[tuple[object, bytes], tuple[dict[str, Any], list[study.Measure], list[bytes]]]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._remembered if fn is study.look_over else fn, *args, **kwargs)

    def _remembered(self, path: Path, folder: Path, stem: str) -> tuple[dict[str, Any], list[study.Measure]]:
        """Look a clip over, or remember what came of it, with the files that were drawn."""
        key = study._study, hashlib.sha256(path.read_bytes()).digest()  # A test may study in another way.
        drawings = [folder / f"{stem}.{suffix}" for _, suffix, _ in study.DRAWN]
        if key not in self._known:
            facts, measures = study.look_over(path, folder, stem)
            self._known[key] = (
                facts,
                measures,
                [each.read_bytes() for each, _ in zip(drawings, measures[1:], strict=False)],
            )
        facts, measures, drawn = self._known[key]
        for drawing, data in zip(drawings, drawn, strict=False):
            drawing.write_bytes(data)
        return {**facts}, [*measures]


class Scripted(Provider):
    """Answer from a script; what has no line is a success."""

    def __init__(self, sold: Listing) -> None:
        super().__init__(sold, {})
        self.submits: list[Update | Exception] = []
        self.polls: list[Update | Exception] = []
        self.finds: list[Update | Exception | None] = []
        self.cancels: list[Update | Exception] = []
        self.ledger: list[str] = []
        """The attempt of every order that arrived: what was bought."""
        self.looked = 0

    async def submit(self, order: Order, wire: Wire) -> Update:
        self.ledger.append(order.attempt)
        return self._say(self.submits, running(order.attempt))

    async def poll(self, task: Task, wire: Wire) -> Update:
        self.looked += 1
        return self._say(self.polls, done(task.id))

    async def find(self, order: Order, wire: Wire) -> Update | None:
        if not self.finds:
            return await super().find(order, wire)
        said = self.finds.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def cancel(self, task: Task, wire: Wire) -> Update:
        if not self.cancels:
            return await super().cancel(task, wire)
        return self._say(self.cancels, done(task.id))

    def fetch(self, asset: AssetRef) -> Call:
        return Call(method="GET", url=asset.url, repeatable=True)

    def explain(self, reply: Reply) -> ProviderError:
        return Refused("no")

    @staticmethod
    def _say(script: list[Update | Exception], otherwise: Update) -> Update:
        said = script.pop(0) if script else otherwise
        if isinstance(said, Exception):
            raise said
        return said


class Clips:
    """A wire that serves clips: by default the one that was ordered."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes] | Exception] = []
        self.default = clip()

    async def send(self, call: Call) -> Reply:
        raise AssertionError("a scripted provider sends nothing")

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        said = self.answers.pop(0) if self.answers else (200, self.default)
        if isinstance(said, Exception):
            raise said
        status, body = said

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 65_536):
                yield body[at : at + 65_536]

        yield Download(status=status, headers={}, chunks=chunks())


def running(task: str, **changes: object) -> Update:
    return Update(state=State.RUNNING, task=Task(task), **changes)  # type: ignore[arg-type]


def done(task: str, **changes: object) -> Update:
    return Update(state=State.SUCCEEDED, task=Task(task), assets=(AssetRef(url="https://acme.test/a.mp4"),), **changes)  # type: ignore[arg-type]


class Engine:
    """Everything between a wish and a kept clip, one step at a time, on a clock that stands still."""

    def __init__(
        self, folder: Path, *sold: Listing, routing: RoutingSettings | None = None, max_running: int = 4
    ) -> None:
        self.now = START
        self.folder = folder
        self.store = Store(store_in(folder), self.clock)
        self.store.open()
        self.pool = Studied(1)
        self.media = Media(folder / "media", self.pool, max_clip_bytes=2**24, shelf=shelf_in(folder))
        self.media.open()
        self.wire = Clips()
        self.providers = {each.slug: Scripted(each) for each in sold or (listing(),)}
        self.accounts = {
            slug: Account(slug, provider, self.wire, plan="", max_running=max_running)
            for slug, provider in self.providers.items()
        }
        self.shop = Shop(self.accounts, {}, routing or RoutingSettings(), self.clock)
        self.metrics = Metrics()
        self.receipts: list[Receipts] = []
        self.restart()
        self.acceptor = Acceptor(self.store, self.shop, self.clock, Hands())

    def restart(self, *, hooks: Hooks | None = None) -> None:
        """Forget what is only in memory, as a process that was started again would."""
        receipts = Receipts(self.folder / "receipts")
        receipts.open()
        self.receipts.append(receipts)
        self.use(Tools.of(
            self.store, self.shop, self.media, self.metrics, self.clock, receipts,
            Orders(self.shop, self.media, hooks=hooks), lease_seconds=60,
            retention_ms=3_600_000, doubt_ms=30 * DAY_MS, hooks=hooks,
        ))  # fmt: skip

    def use(self, tools: Tools) -> None:
        """Take every step with these tools from now on."""
        self.tools = tools
        self.steps = Steps(tools)
        self.turns = Turns(tools)

    @property
    def provider(self) -> Scripted:
        """The first provider."""
        return next(iter(self.providers.values()))

    def clock(self) -> int:
        return self.now

    async def accept(
        self,
        repeat: Repeat = Repeat(),  # noqa: B008
        tenant: str = "tenant",
        preferences: Preferences = Preferences(),  # noqa: B008
        **request: object,
    ) -> Job:
        """Take a wish in."""
        wished = Request(**{"prompt": "a cat", "model": "maker/one", **request})  # type: ignore[arg-type]
        wanted = Wish(request=wished, preferences=preferences)
        decision, said = self.acceptor.decide(wanted), fingerprint_of(wanted)
        job, _ = await self.acceptor.accept(wanted, decision, tenant, repeat, fingerprint=said)
        return job

    async def key(self, limits: Limits) -> str:
        """Make a key that may spend so much; answers its id, by which jobs name their buyer."""
        id_ = new_id("key", self.now)
        said = msgspec.json.encode(limits).decode()
        await self.store.add_key(Key(id_, "app", "tenant", f"hash of {id_}", "read write", self.now, limits=said))
        return id_

    async def job(self, id_: str) -> Job:
        job = await self.store.job(id_, "tenant")
        assert job is not None
        return job

    async def turn(self, *, seconds: float = 0) -> int:
        """Let time pass, then take one step with everything that is due; says how many."""
        self.now += int(seconds * 1000)
        called = await self.tools.line.call(lease=60_000, most=100)
        jobs = await self.store.claim(lease=60_000, most=100)
        for job in called:
            await self.steps.take(job, called=True)
        for job in jobs:
            await self.steps.take(job)
        return len(called) + len(jobs)

    async def run(self, id_: str, *, most: int = 200) -> Job:
        """Let time pass from due to due until a job has ended."""
        for _ in range(most):
            job = await self.job(id_)
            if job.state.final:
                return job
            if await self.turn():
                continue
            due = await self.store.next_due()
            assert due is not None
            # Whoever waits in line is called as soon as a place is free, which no row says.
            self.now = min(max(self.now, due), self.now + 1000) if await self.store.lines() else max(self.now, due)
            await self.turn()
        raise AssertionError(f"{id_} never ended: {await self.job(id_)}")

    def close(self) -> None:
        for each in self.receipts:
            each.close()
        self.store.close()
        self.pool.shutdown()
