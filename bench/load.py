"""
Put a server under a closed loop of requests and time every answer.

N kept-alive connections, one request in flight on each, no pipelining, HTTP parsed by hand: an answer costs the load
some 20 µs, so one core of it outruns every server measured here. Clips are read into memory as any client does, or
dropped in the kernel (``MSG_TRUNC``) where the sender alone is to be measured.

``python -m bench.load URL [-c 64] [-t 5] [--post FILE]`` for trials by hand.
"""

import argparse
import asyncio
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count, cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_ID = re.compile(rb'"id" *: *"([^"]+)"')
_PATIENCE = 15
"""Seconds an answer may take before the load gives up on it."""

SDK_HEADERS = {
    "authorization": "Bearer sk-bench",
    "accept": "application/json",
    "user-agent": "OpenAI/Python 3.52.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "3.52.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
"""What the OpenAI SDK sends with every call."""


class Result(msgspec.Struct, kw_only=True):
    """What one run of load saw; times are in milliseconds, the rate is good answers per second."""

    answers: int = 0
    rate: float = 0
    p50: float = 0
    p99: float = 0
    errors: int = 0
    first_error: str = ""
    started: float = 0
    """When the first request left, on the machine's monotonic clock."""


class Drain(msgspec.Struct, kw_only=True):
    """What downloading saw: megabytes (10^6) per second over all connections, first byte in milliseconds."""

    rate: float = 0
    first_byte: float = 0
    files: int = 0
    errors: int = 0
    first_error: str = ""


class _Run:
    """The state all connections of one run share."""

    def __init__(self, source: Callable[[], bytes], ids: list[str] | None) -> None:
        """Draw requests from a source, and keep the ids of the answers where asked to."""
        self.source = source
        self.ids = ids
        self.stopping = False
        self.open = 0
        self.errors = 0
        self.first_error = ""
        self.times: list[float] = []
        self.idle = asyncio.Event()

    def failed(self, why: str) -> None:
        """Count an error and keep the first one's words."""
        self.errors += 1
        self.first_error = self.first_error or why


class _Connection(asyncio.Protocol):
    """One request in flight, and the next as soon as its answer is whole."""

    def __init__(self, run: _Run) -> None:
        """Join a run."""
        self._run = run
        self._buffer = b""
        self._need = 0
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._run.open += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the run; a close nobody asked for is an error."""
        if not self._closed:
            self._run.failed(f"the server closed a connection: {exc}")
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; once it is whole, time it and go on."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if not self._need:
            end = buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            head = buffer[:end]
            length = _LENGTH.search(head)
            if length:
                self._need = end + int(length[1])
            elif _CHUNKED.search(head):
                if not buffer.endswith(b"\r\n0\r\n\r\n"):
                    return
                self._need = len(buffer)
            else:
                self._need = end
        if len(buffer) >= self._need:
            self._answered(buffer)

    def _answered(self, answer: bytes) -> None:
        """Account for a whole answer."""
        run = self._run
        if answer[9:10] == b"2":
            run.times.append(time.perf_counter() - self._sent)
            if run.ids is not None and (found := _ID.search(answer)):
                run.ids.append(found[1].decode())
        else:
            run.failed(answer[:600].decode("latin-1"))
        if run.stopping:
            self._closed = True
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        """Send the next request and start its clock."""
        self._buffer, self._need = b"", 0
        self._sent = time.perf_counter()
        self._transport.write(self._run.source())

    def _leave(self) -> None:
        """Tell the run when the last connection is gone."""
        self._run.open -= 1
        if not self._run.open:
            self._run.idle.set()


def request(
    method: str, path: str, port: int, *, body: bytes | None = None, kind: str = "", extra: dict[str, str] | None = None
) -> bytes:
    """Write one HTTP/1.1 request as the OpenAI SDK would."""
    headers = {"host": f"127.0.0.1:{port}", **SDK_HEADERS, **(extra or {})}
    if body is not None:
        headers |= {"content-type": kind, "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")


def numbered(template: bytes) -> Callable[[], bytes]:
    """Make a source whose every request differs: ``00000000`` in the template becomes a running number."""
    before, found, after = template.partition(b"00000000")
    if not found:
        return lambda: template
    numbers = count(1)
    return lambda: b"%b%08d%b" % (before, next(numbers), after)


def in_turn(requests: Iterable[bytes]) -> Callable[[], bytes]:
    """Make a source that goes round a list of requests."""
    return cycle(list(requests)).__next__


def run(
    port: int,
    source: Callable[[], bytes],
    *,
    connections: int = 64,
    seconds: float = 3,
    ids: list[str] | None = None,
) -> Result:
    """
    Load a server on loopback for some seconds, and let what is in flight then end.

    The rate is over all of it, so that a server answering 64 requests in one gulp is not rounded to its favour or
    against it. Warm up with a run of its own.
    """
    return uvloop.run(_run(port, _Run(source, ids), connections, seconds))


async def _run(port: int, state: _Run, connections: int, seconds: float) -> Result:
    """Open the connections, keep them busy, and wait for the last answer."""
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(state), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    state.stopping = True
    try:
        await asyncio.wait_for(state.idle.wait(), _PATIENCE)
    except TimeoutError:
        state.failed(f"{state.open} answers did not come within {_PATIENCE} s")
    took = time.monotonic() - started
    times = sorted(state.times)
    return Result(
        answers=len(times),
        rate=len(times) / took,
        p50=_at(times, 0.50) * 1000,
        p99=_at(times, 0.99) * 1000,
        errors=state.errors,
        first_error=state.first_error,
        started=started,
    )


def drain(
    port: int,
    path: str,
    *,
    connections: int = 4,
    seconds: float = 3,
    files: int = 0,
    pace: float = 0,
    drop: bool = False,
    piece: int = 1 << 20,
) -> Drain:
    """
    Download one path over several connections, for some seconds or a number of times on each.

    :param pace: megabytes per second each connection reads at most; 0 reads as fast as it comes.
    :param drop: leave the bytes to the kernel to forget, so that reading costs next to nothing.
    :param piece: most bytes a client takes at a time.
    """
    reader = _Reader(port, path, files=files, pace=pace, piece=piece, flags=socket.MSG_TRUNC if drop else 0)
    begun = time.perf_counter()
    threads = [threading.Thread(target=reader.read, args=[begun + seconds], daemon=True) for _ in range(connections)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    took = max((at for at, _ in reader.seen), default=begun) - begun
    return Drain(
        rate=sum(size for _, size in reader.seen) / 1e6 / took if took else 0,
        first_byte=statistics.median(reader.firsts) * 1000 if reader.firsts else 0,
        files=len(reader.seen),
        errors=len(reader.wrong),
        first_error=reader.wrong[0] if reader.wrong else "",
    )


class _Reader:
    """Download again and again, each thread on a connection of its own."""

    def __init__(self, port: int, path: str, *, files: int, pace: float, piece: int, flags: int) -> None:
        """Read one path; no number of files means until time is up."""
        self._port = port
        self._asked = request("GET", path, port)
        self._files = files
        self._pace = pace
        self._piece = piece
        self._flags = flags
        self.seen: list[tuple[float, int]] = []
        self.firsts: list[float] = []
        self.wrong: list[str] = []

    def read(self, until: float) -> None:
        """Read on one connection until there is enough, or something is wrong."""
        scratch = bytearray(self._piece)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE) as sock:
                for _ in range(self._files) if self._files else iter(int, 1):
                    self._one(sock, scratch)
                    if not self._files and time.perf_counter() > until:
                        return
        except (OSError, ValueError) as error:
            self.wrong.append(str(error))

    def _one(self, sock: socket.socket, scratch: bytearray) -> None:
        """Ask once and read the answer to its end."""
        sent = time.perf_counter()
        sock.sendall(self._asked)
        head = b""
        while b"\r\n\r\n" not in head:
            arrived = sock.recv(4096)
            if not arrived:
                raise ValueError(f"closed before the body: {head[:300]!r}")
            if not head:
                self.firsts.append(time.perf_counter() - sent)
            head += arrived
        end = head.index(b"\r\n\r\n") + 4
        length = _LENGTH.search(head)
        if head[9:12] != b"200" or not length:
            raise ValueError(head[:600].decode("latin-1"))
        size = int(length[1])
        left = size - (len(head) - end)
        while left:
            got = sock.recv_into(scratch, min(left, len(scratch)), self._flags)
            if not got:
                raise ValueError(f"closed {left} bytes short of {size}")
            left -= got
            if self._pace:
                ahead = (size - left) / (self._pace * 1e6) - (time.perf_counter() - sent)
                time.sleep(max(ahead, 0))
        self.seen.append((time.perf_counter(), size))


def _at(times: list[float], share: float) -> float:
    """Read a quantile off sorted times."""
    return times[min(int(len(times) * share), len(times) - 1)] if times else 0.0


def main() -> None:
    """Load one address by hand."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Load one loopback address.")
    parser.add_argument("url")
    parser.add_argument("-c", "--connections", type=int, default=64)
    parser.add_argument("-t", "--seconds", type=float, default=5)
    parser.add_argument("--post", type=Path, help="JSON body to send; eight zeros in it become a running number")
    asked = parser.parse_args()
    url = urlsplit(asked.url)
    port = url.port or 80
    path = url.path + (f"?{url.query}" if url.query else "")
    body = asked.post.read_bytes().strip() if asked.post else None
    template = request("POST" if body else "GET", path, port, body=body, kind="application/json")
    print(run(port, numbered(template), connections=asked.connections, seconds=asked.seconds))


if __name__ == "__main__":
    main()
