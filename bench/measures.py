"""
Take the measures: each starts the servers it needs afresh, loads them, and returns plain figures by name.

A name is ``figure/party``; the table (``report.py``) takes medians over rounds and puts the parties side by side.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import msgspec

from bench import clips, flight, load, quotes, servers
from bench.servers import Server

Figures = dict[str, float]
"""What one round saw: ``figure/party`` to value."""

OUR_MODEL, PEER_MODEL = "sandbox/demo", "sora-2"
IDS = 400
"""Jobs the reads go round."""
PACE_MB = 40
"""Megabytes per second each of the ten parallel downloads reads: slower than we send, so that a buffer would grow."""
TEN = 10
_PROMPT = "Take 00000000: a calico cat plays the piano on a small stage, warm light, slow push in, shallow focus{}."
_BOUNDARY = "70e0085f4be94e53b9d9ad5c1f3c2d77"
_DRAINING = 60
"""Seconds the backlog may take to reach the stub after the last job was accepted."""
_MAKING = 60
"""Seconds a clip may take from the stub into our store."""


class MeasureError(Exception):
    """A run whose figures would mean nothing; the message says what went wrong."""


class Bench:
    """What all measures of a run share: the stub, the clips, how long to load, whether LiteLLM takes part."""

    def __init__(self, stub: Server, files: Path, *, seconds: float, multipart: bool, peer: bool, jobs: int) -> None:
        self._stub = stub
        self._files = files
        self._seconds = seconds
        self._multipart = multipart
        self._peer = peer
        self._jobs = jobs

    def accepted(self) -> Figures:
        """Accept jobs with the worker off: decode, route, store, fsync, answer."""
        with servers.ours(self._stub, worker=False) as server:
            create = self._creating(server, OUR_MODEL)
            _load(server, create, seconds=0.5)
            return _busy("accepted", "ours", server, create, self._seconds) | _alone("accepted", "ours", server, create)

    def shared(self) -> Figures:
        """Accept jobs into PostgreSQL instead of SQLite."""
        with servers.ours(self._stub, worker=False, postgres=True) as server:
            create = self._creating(server, OUR_MODEL)
            _load(server, create, seconds=0.5)
            seen = _busy("accepted", "postgres", server, create, self._seconds)
            return seen | _alone("accepted", "postgres", server, create)

    def sustained(self) -> Figures:
        """Accept jobs while the worker hands them over; the clock stops when the last one has reached the stub."""
        with servers.ours(self._stub) as server:
            create = self._creating(server, OUR_MODEL)
            before = self._reached()["posts"]
            warm = _load(server, create, seconds=0.5)
            self._drained(before + warm.answers)
            cpu = server.cpu_seconds()
            seen = _load(server, create, seconds=self._seconds)
            told = self._drained(before + warm.answers + seen.answers)
            return {
                "sustained/ours": seen.answers / (told["last"] - seen.started),
                "sustained.cpu_us/ours": (server.cpu_seconds() - cpu) / seen.answers * 1e6,
                "sustained.intake/ours": seen.rate,
                "sustained.intake_p99_ms/ours": seen.p99,
            }

    def read(self) -> Figures:
        """Ask for the status of some hundred jobs in turn."""
        with servers.ours(self._stub, worker=False) as server:
            ids: list[str] = []
            while len(ids) < IDS:
                _load(server, self._creating(server, OUR_MODEL), seconds=0.3, ids=ids)
            return self._reading(server, ids, "ours")

    def peer(self) -> Figures:
        """Put LiteLLM through the same: its create calls the provider before it answers, its read asks it too."""
        if not self._peer:
            return {}
        with servers.litellm(self._stub, granian=True) as server:
            create = self._creating(server, PEER_MODEL)
            ids: list[str] = []
            _load(server, create, seconds=2, ids=ids)
            seen = _busy("create", "litellm", server, create, self._seconds * 2)
            seen |= _alone("create", "litellm", server, create)
            return seen | self._reading(server, ids, "litellm", slow=2)

    def content(self) -> Figures:
        """Serve a 10 MB clip over 4 connections: ourselves, and with an nginx in front that sends what we name."""
        with servers.ours(self._stub) as server:
            path = self._clip(server, "10mb")
            _same(server.port, path, self._files / "10mb.mp4")
            seen = _draining(server, path, "ours", self._seconds)
            if servers.nginx_path() is None:
                return seen
            with servers.nginx(server.directory / "media", before=server) as front:
                _same(front.port, path, self._files / "10mb.mp4")
                return seen | _draining(front, path, "front", self._seconds)

    def nginx(self) -> Figures:
        """Let nginx serve the same clip: the floor."""
        if servers.nginx_path() is None:
            return {}
        with servers.nginx(self._files) as server:
            return _draining(server, "/10mb.mp4", "nginx", self._seconds)

    def quotes(self) -> Figures:
        """Ask every offer of every listing what a clip costs, as a call does before it is answered."""
        return quotes.measure()

    def flight(self) -> Figures:
        """Keep many jobs in flight: how late looks at them are, and what that takes."""
        return flight.fly(count=self._jobs, seconds=20 * self._seconds, postgres=False)

    def flight_shared(self) -> Figures:
        """The same on PostgreSQL."""
        return flight.fly(count=self._jobs, seconds=20 * self._seconds, postgres=True)

    def recovery(self) -> Figures:
        """Start where 1,000 and 10,000 jobs were in flight, and look at each."""
        return flight.recover(count=1_000, postgres=False) | flight.recover(count=10_000, postgres=False)

    def recovery_shared(self) -> Figures:
        """The same on PostgreSQL."""
        return flight.recover(count=1_000, postgres=True) | flight.recover(count=10_000, postgres=True)

    def life(self) -> Figures:
        """Take jobs through their whole lives, in a process of its own on the servers' core."""
        return self._life("sqlite")

    def life_shared(self) -> Figures:
        """The same on PostgreSQL."""
        return self._life("postgresql")

    def _life(self, kind: str) -> Figures:
        """Measure lives in a process that has done nothing else, in a folder that stays until the run is over."""
        folder = tempfile.mkdtemp(prefix="life-", dir=self._files)
        done = subprocess.run(
            [sys.executable, "-m", "bench.life", kind, folder],
            cwd=servers.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MeasureError(done.stderr.strip()[-400:])
        return msgspec.json.decode(done.stdout, type=Figures)

    def start(self) -> Figures:
        """Time from starting the process to the first 200."""
        with servers.ours(self._stub) as server:
            return {"start.seconds/ours": server.ready_seconds} | _resting(server, "ours")

    def peer_start(self) -> Figures:
        """Start LiteLLM the way it starts soonest and smallest."""
        if not self._peer:
            return {}
        with servers.litellm(self._stub, granian=False) as server:
            return {"start.seconds/litellm": server.ready_seconds} | _resting(server, "litellm")

    def memory(self) -> Figures:
        """Watch our resident memory while ten clients read 100 MB each, slower than we could send."""
        with servers.ours(self._stub) as server:
            path, small = self._clip(server, "100mb"), self._clip(server, "10mb")
            _drain(server, path, connections=1, files=1)
            time.sleep(1)
            before = server.rss_mb()
            with _Watch(server) as watch, _Beside(server, small) as beside:
                _drain(server, path, connections=10, files=1, pace=PACE_MB)
            grown = {"memory.growth_mb/ours": watch.most - before, "memory.peak_mb/ours": watch.most}
            return grown | beside.figures("memory")

    def rehost(self) -> Figures:
        """Take ten clips of 100 MB into our store at once, and read another meanwhile."""
        with servers.ours(self._stub) as server:
            small = self._clip(server, "10mb")
            _drain(server, small, connections=1, files=1)
            time.sleep(1)
            before, written, begun = server.rss_mb(), server.written_mb(), time.monotonic()
            with _Watch(server) as watch, _Beside(server, small) as beside, ThreadPoolExecutor(TEN) as pool:
                kept = list(pool.map(lambda _: self._clip(server, "100mb"), range(TEN)))
            took = time.monotonic() - begun
            _same(server.port, kept[0], self._files / "100mb.mp4")
            size = TEN * clips.SIZES["100mb"] / 2**20
            return beside.figures("rehost") | {
                "rehost/ours": size / took,
                "rehost.growth_mb/ours": watch.most - before,
                "rehost.copies/ours": watch.most_on_disk / size,
                "rehost.written/ours": (server.written_mb() - written) / size,
            }

    def _creating(self, server: Server, model: str, mark: str = "") -> Callable[[], bytes]:
        """Write creates as the OpenAI SDK does, each with a prompt of its own."""
        fields = {"model": model, "prompt": _PROMPT.format(mark), "seconds": str(clips.SECONDS), "size": "1280x720"}
        if self._multipart:
            parts = "".join(
                f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in fields.items()
            )
            body, kind = f"{parts}--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"
        else:
            body, kind = json.dumps(fields).encode(), "application/json"
        return load.numbered(load.request("POST", "/v1/videos", server.port, body=body, kind=kind))

    def _reading(self, server: Server, ids: list[str], party: str, slow: float = 1) -> Figures:
        """Read some hundred jobs round and round."""
        paths = [f"/v1/videos/{each}" for each in ids[:IDS]]
        source = load.in_turn(load.request("GET", path, server.port) for path in paths)
        _load(server, source, seconds=0.5)
        return _busy("read", party, server, source, self._seconds * slow)

    def _reached(self) -> dict[str, float]:
        """Ask the stub how many jobs have reached it, and when the last did."""
        return _get_json(self._stub.port, "/count")

    def _drained(self, posts: float) -> dict[str, float]:
        """Wait until so many jobs have reached the stub; give up once none has for a while."""
        begun = time.monotonic()
        while (told := self._reached())["posts"] < posts:
            if time.monotonic() - max(told["last"], begun) > 10 or time.monotonic() - begun > _DRAINING:
                raise MeasureError(f"{posts - told['posts']:.0f} of {posts:.0f} accepted jobs never reached the stub")
            time.sleep(0.05)
        if told["posts"] > posts:
            raise MeasureError(f"{told['posts'] - posts:.0f} jobs reached the stub twice")
        return told

    def _clip(self, server: Server, size: str) -> str:
        """Order a clip the stub has ready, wait for it to lie in our store, and say where it is served."""
        body = self._creating(server, OUR_MODEL, f" [{size}]")().partition(b"\r\n\r\n")
        kind = f"multipart/form-data; boundary={_BOUNDARY}" if self._multipart else "application/json"
        made = _get_json(server.port, "/v1/videos", body=body[2], kind=kind)
        begun = time.monotonic()
        while made["status"] != "completed":
            if made["status"] == "failed" or time.monotonic() - begun > _MAKING:
                told = {name: made.get(name) for name in ("status", "status_detail", "error")}
                raise MeasureError(f"the {size} clip was not made: {told}")
            time.sleep(0.1)
            made = _get_json(server.port, f"/v1/videos/{made['id']}")
        return f"/v1/videos/{made['id']}/content"


class _Watch:
    """Sample a server's resident memory in a thread while something happens."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.most = 0.0
        self._full = server.disk_mb()
        self.most_on_disk = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        """Keep the most that was seen."""
        while not self._over.wait(0.02):
            self.most = max(self.most, self._server.rss_mb())
            self.most_on_disk = max(self.most_on_disk, self._server.disk_mb() - self._full)


class _Beside:
    """Read a clip again and again in a thread while something else happens: what one client waits for meanwhile."""

    def __init__(self, server: Server, path: str) -> None:
        self._server = server
        self._path = path
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._firsts: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self, name: str) -> Figures:
        """Say how long the first byte took: usually, and at worst."""
        if not self._firsts:
            raise MeasureError("it was over before another clip was read once")
        return {
            f"{name}.first_byte_ms/ours": statistics.median(self._firsts),
            f"{name}.first_byte_worst_ms/ours": max(self._firsts),
        }

    def _read(self) -> None:
        """Ask, and ask again."""
        while not self._over.wait(0.02):
            seen = load.drain(self._server.port, self._path, connections=1, files=1)
            self._firsts += [seen.first_byte] if seen.files else []


def _busy(figure: str, party: str, server: Server, source: Callable[[], bytes], seconds: float) -> Figures:
    """Load at 64 in flight; processor time per request is what a noisy machine disturbs least."""
    cpu = server.cpu_seconds()
    seen = _load(server, source, seconds=seconds)
    return {
        f"{figure}/{party}": seen.rate,
        f"{figure}.p50_ms/{party}": seen.p50,
        f"{figure}.p99_ms/{party}": seen.p99,
        f"{figure}.cpu_us/{party}": (server.cpu_seconds() - cpu) / seen.answers * 1e6,
    }


def _alone(figure: str, party: str, server: Server, source: Callable[[], bytes]) -> Figures:
    """Load with one request in flight: what one client waits for."""
    return {f"{figure}.alone_ms/{party}": _load(server, source, connections=1, seconds=1.5).p50}


def _draining(server: Server, path: str, party: str, seconds: float) -> Figures:
    """Download over 4 connections, by clients of three kinds; then over one, for the first byte."""
    _drain(server, path, connections=4, seconds=0.3)
    cpu = server.cpu_seconds()
    seen = _drain(server, path, connections=4, seconds=seconds)
    spent = server.cpu_seconds() - cpu
    return {
        f"content/{party}": seen.rate,
        f"content.cpu_ms/{party}": spent / seen.files * 1000,
        f"content.small/{party}": _drain(server, path, connections=4, seconds=seconds / 2, piece=65_536).rate,
        f"content.dropped/{party}": _drain(server, path, connections=4, seconds=seconds / 2, drop=True).rate,
        f"content.first_byte_ms/{party}": _drain(server, path, connections=1, files=30).first_byte,
    }


def _resting(server: Server, party: str) -> Figures:
    """Read the memory of a server that has started and done nothing."""
    time.sleep(1.5)
    return {f"memory.idle_mb/{party}": server.rss_mb()}


def _load(server: Server, source: Callable[[], bytes], **how: Any) -> load.Result:
    """Load and insist on clean answers."""
    seen = load.run(server.port, source, **how)
    if seen.errors or not seen.answers:
        raise MeasureError(f"{seen.errors} errors beside {seen.answers} answers, the first: {seen.first_error}")
    return seen


def _drain(server: Server, path: str, **how: Any) -> load.Drain:
    """Download and insist on whole clips."""
    seen = load.drain(server.port, path, **how)
    if seen.errors or not seen.files:
        raise MeasureError(f"{seen.errors} downloads failed, the first: {seen.first_error}")
    return seen


def _same(port: int, path: str, file: Path) -> None:
    """Insist that what is served is the clip itself, byte for byte."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        if answer.read() != file.read_bytes():
            raise MeasureError("the clip served is not the clip the provider made")


def _get_json(port: int, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
    """Ask once, outside any measurement."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": kind} if body else {}
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return msgspec.json.decode(answer.read(), type=dict[str, Any])
    except urllib.error.HTTPError as error:
        raise MeasureError(f"{path}: {error.code} {error.read()[:400].decode(errors='replace')}") from error
