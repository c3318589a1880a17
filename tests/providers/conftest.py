"""A studio to order from, pools that render when told to, and films to hand in."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image

from providers._studio import Studio
from providers.base.listing import load
from providers.base.order import Input, Mode, Order, Request, Role, Spec
from providers.base.wire import HttpWire
from providers.sandbox import Sandbox


class Inline(Executor):
    """Render at once, in the thread that asks."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


class Held(Executor):
    """Render nothing until told to; count what was asked."""

    def __init__(self):
        self.waiting = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, fn, args))
        return future

    def run(self):
        while self.waiting:
            future, fn, args = self.waiting.pop(0)
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args))
                except Exception as error:  # noqa: BLE001 - it is the future's
                    future.set_exception(error)


class Clock:
    """Stand still until moved."""

    def __init__(self):
        self.now = float(int(time.time()))

    def __call__(self):
        return self.now


class Shop:
    """An adapter, its wire and the studio behind both."""

    def __init__(self, folder: Path, pool: Executor, clock: Clock):
        self.folder = folder
        self.clock = clock
        self.studio = Studio(folder, pool, clock)
        self.client = httpx.AsyncClient(transport=self.studio, trust_env=False)
        """Any HTTP client can speak to it."""
        self.wire = HttpWire(self.studio)
        self.sandbox = Sandbox(load("sandbox"), {})

    async def submit(self, order: Order):
        return await self.sandbox.submit(order, self.wire)

    async def poll(self, order: Order):
        found = await self.sandbox.find(order, self.wire)
        assert found is not None
        return await self.sandbox.poll(found.task, self.wire)

    async def download(self, asset):
        return await self.wire.send(self.sandbox.fetch(asset))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def held():
    return Held()


@pytest.fixture
async def open_shop(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[[Executor], Shop]]:
    """Open studios on one folder, one after another or side by side."""
    opened = []

    def open_one(pool: Executor) -> Shop:
        opened.append(Shop(tmp_path / "studio", pool, clock))
        return opened[-1]

    yield open_one
    for shop in opened:
        await shop.client.aclose()


@pytest.fixture
def shop(open_shop) -> Shop:
    """A studio that renders at once."""
    return open_shop(Inline())


def _order(prompt="a fox", *, attempt="att_1", inputs=(), files=None, **wishes) -> Order:
    choices = {
        "mode": Mode.TEXT, "resolution": "360p", "seconds": 1, "aspect_ratio": "16:9", "audio": False, "n": 1,
        "fps": 12,
        "container": "mp4",
    }  # fmt: skip
    features = {name: value for name, value in wishes.items() if name not in choices}
    spec = Spec(**{name: wishes.get(name, value) for name, value in choices.items()})
    request = Request(prompt=prompt, model="sandbox/demo", mode=spec.mode, inputs=tuple(inputs), **features)
    return Order(attempt=attempt, wire_name="sandbox/demo", request=request, spec=spec, files=files or {})


@pytest.fixture
def make_order():
    """The smallest clip, with whatever a test changes."""
    return _order


@pytest.fixture
def hand_in(tmp_path: Path):
    """Make an order's inputs out of bytes."""

    def hand(*parts: tuple[Role, str, bytes]):
        inputs, files = [], {}
        for index, (role, media_type, data) in enumerate(parts):
            name = f"{index:064d}"
            files[name] = tmp_path / f"input{index}"
            files[name].write_bytes(data)
            inputs.append(Input(role=role, media_type=media_type, sha256=name, size=len(data)))
        return {"inputs": inputs, "files": files}

    return hand


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of grey, 320x240 at 25 frames a second, with a steady tone."""
    path = tmp_path_factory.mktemp("film") / "grey.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = out.add_stream("aac", rate=44_100, layout="mono")
        grey = av.VideoFrame.from_image(Image.new("RGB", (320, 240), (120, 120, 120)))
        for index in range(25):
            grey.pts, grey.time_base = index, Fraction(1, 25)
            out.mux(video.encode(grey))
        square = b"\0\0\0\x3f" * 50 + b"\0\0\0\xbf" * 50
        block = av.AudioFrame("fltp", "mono", 44_100)
        block.sample_rate, block.pts = 44_100, 0
        block.planes[0].update(square * 441)
        out.mux(audio.encode(block))
        out.mux([*video.encode(None), *audio.encode(None)])
    return path


@pytest.fixture
def facts():
    """Decode a clip: what it is, what it shows, what it sounds like."""
    return Facts


class Facts:
    def __init__(self, path: Path):
        self.head = path.read_bytes()[:200_000]
        with av.open(str(path)) as clip:
            self.seconds = clip.duration / 1_000_000
            stream = clip.streams.video[0]
            self.codec = stream.codec_context.name
            self.pixels = stream.codec_context.pix_fmt
            self.size = (stream.width, stream.height)
            self.rate = stream.average_rate
            self.frames = list(clip.decode(stream))
            self.times = [frame.time for frame in self.frames]
            self.audio = [
                (each.codec_context.name, each.codec_context.sample_rate, each.codec_context.channels)
                for each in clip.streams.audio
            ]
        self.sound = b"".join(self._sound(path)) if self.audio else b""

    @cached_property
    def pictures(self) -> list[Image.Image]:
        return [frame.to_image() for frame in self.frames]

    @staticmethod
    def _sound(path: Path) -> Iterator[bytes]:
        with av.open(str(path)) as clip:
            resampler = av.AudioResampler("s16", "mono", 48_000)
            for frame in clip.decode(audio=0):
                for block in resampler.resample(frame):
                    yield bytes(block.planes[0])[: 2 * block.samples]
