"""Four times the load: what the gateway takes at its best, what it still takes then, and how fast it says no."""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import uvloop

from tests.prove.part import Figures, Part, broken
from tests.server import Server

TIMES = 4
"""How many times the measured capacity is asked for."""
AT_CAPACITY = 64
"""Connections that ask one after the other while capacity is measured."""
SECONDS = 6.0
"""How long that takes."""
CONNECTIONS = 512
"""Most calls on their way at a time under too much load."""
TICK = 0.002
AFTER_SECONDS = 20.0
"""How long the end of the trouble is waited for."""
CALM = 25
"""Calls in a row, ten a second, that must be answered as ever."""
BODY = b'{"model":"sandbox/demo","prompt":"overload %08d","seconds":"4"}'


class Seen(msgspec.Struct):
    """Hold what callers saw: seconds per answer, by what it was."""

    accepted: list[float]
    refused: list[float]
    other: list[str]
    ids: list[str]
    began: float = 0.0
    took: float = 0.0
    asked: int = 0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.accepted) / self.took


class Caller(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, seen: Seen, idle: "Callable[[Caller], None]") -> None:
        self.seen = seen
        self._idle = idle
        self._buffer = b""
        self._sent = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.seen.other.append(f"cut: {exc}")

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    def ask(self, call: bytes) -> None:
        self.busy, self._sent, self._buffer = True, time.perf_counter(), b""
        self.seen.asked += 1
        self._transport.write(call)  # type: ignore[attr-defined]

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        took, status = time.perf_counter() - self._sent, head[9:12]
        if status == b"200":
            self.seen.accepted.append(took)
            self.seen.ids.append(msgspec.json.decode(body)["id"])
        elif status == b"503" and b"retry-after: " in head.lower():
            self.seen.refused.append(took)
        else:
            self.seen.other.append(head[:200].decode("latin-1"))
        self.busy = False
        if b"connection: close" in head.lower():
            self._transport.close()  # As every client does: the next call over it would be lost.
        self._idle(self)


class Crowd:
    """Callers of one server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = count(1)
        self.reopened = 0
        """Connections the server has closed after an answer."""

    def call(self) -> bytes:
        """Write the next call: no two are alike."""
        body = BODY % next(self._numbers)
        head = f"POST /v1/videos HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def _open(self, seen: Seen, idle: Callable[[Caller], None]) -> Caller:
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(lambda: Caller(seen, idle), "127.0.0.1", self._port)
        return caller

    async def in_turn(self, seconds: float, connections: int) -> Seen:
        """Ask as fast as answers come."""
        seen, until = Seen([], [], [], []), 0.0

        def again(caller: Caller) -> None:
            if time.perf_counter() < until:
                caller.ask(self.call())

        callers = [await self._open(seen, again) for _ in range(connections)]
        seen.began = time.perf_counter()
        until = seen.began + seconds
        for each in callers:
            each.ask(self.call())
        await self._settle(callers, seconds)
        seen.took = time.perf_counter() - seen.began
        for each in callers:
            each.close()
        return seen

    async def at_rate(self, rate: float, seconds: float) -> Seen:
        """Ask so many times a second, whether or not anybody answers."""
        seen = Seen([], [], [], [])
        idle: list[Caller] = []
        callers = [await self._open(seen, idle.append) for _ in range(CONNECTIONS)]
        idle += callers
        seen.began = time.perf_counter()
        asked = 0
        while (now := time.perf_counter() - seen.began) < seconds:
            due = int(now * rate) - asked
            for _ in range(min(due, len(idle))):
                caller = idle.pop()
                if caller.closed:
                    self.reopened += 1
                    callers.append(caller := await self._open(seen, idle.append))
                caller.ask(self.call())
            asked += due
            await asyncio.sleep(TICK)
        seen.took = time.perf_counter() - seen.began
        taken = len(seen.accepted)
        await self._settle(callers, 0.0)
        del seen.accepted[taken:]  # What came later is no part of what was taken in this time; it is not lost either.
        for each in callers:
            each.close()
        return seen

    async def recovered(self, usual: float) -> float:
        """Ask now and then; says after how long the answers are as ever again."""
        seen = Seen([], [], [], [])
        caller = await self._open(seen, lambda _: None)
        began, calm, since = time.perf_counter(), 0, 0.0
        while calm < CALM:
            assert time.perf_counter() - began < AFTER_SECONDS, f"not as ever {AFTER_SECONDS:g} s later: {seen.other}"
            before = len(seen.accepted)
            if caller.closed:
                caller = await self._open(seen, lambda _: None)
            caller.ask(self.call())
            await self._settle([caller], 0.1)
            good = len(seen.accepted) > before and seen.accepted[-1] <= 2 * usual
            if good and not calm:
                since = time.perf_counter() - began - 0.1
            calm = calm + 1 if good else 0
        caller.close()
        return since

    async def _settle(self, callers: list[Caller], seconds: float) -> None:
        """Wait until nobody waits for an answer."""
        await asyncio.sleep(seconds)
        async with asyncio.timeout(30):
            while any(each.busy for each in callers):  # noqa: ASYNC110 - a load is no place for a lock
                await asyncio.sleep(TICK)


async def _measure(server: Server, seconds: float) -> dict[str, float]:
    crowd = Crowd(server.port)
    await crowd.in_turn(2.0, AT_CAPACITY)
    best = await crowd.in_turn(SECONDS, AT_CAPACITY)
    assert not best.other, best.other[:1]
    over = await crowd.at_rate(TIMES * best.rate, seconds)
    assert not over.other, over.other[:1]
    back = await crowd.recovered(_p99(best.accepted))
    with closing(sqlite3.connect(f"file:{server.folder}/reelgate.db?mode=ro", uri=True)) as file:
        kept = {row[0] for row in file.execute("SELECT id FROM jobs")}
    lost = ({*best.ids} | {*over.ids}) - kept
    assert not lost, f"{len(lost)} were acknowledged and are not there"
    return {
        "asked_times": round(over.asked / over.took / best.rate, 2),
        "goodput": round(over.rate / best.rate, 3),
        "accepted_p99_times": round(_p99(over.accepted) / _p99(best.accepted), 2),
        "refused_p99_ms": round(1000 * _p99(over.refused), 1),
        "refused_p50_ms": round(1000 * median(over.refused or [0.0]), 1),
        "refused_share": round(len(over.refused) / over.asked, 3),
        "normal_after_s": round(max(back, 0.0), 1),
        "reopened": crowd.reopened,
        "capacity": round(best.rate),
        "capacity_p99_ms": round(1000 * _p99(best.accepted), 1),
    }


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] if times else 0.0


def overload(seconds: range) -> Figures:
    """Measure what is taken at best, then ask for four times as much, and look how soon all is as ever."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder), REELGATE__WORKER__ENABLED="false", REELGATE__SERVER__LOG_LEVEL="error")
            try:
                server.start()
                for task in Path(f"/proc/{server.pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), {cores[0]})
                os.sched_setaffinity(0, {cores[-1]})
                round_ = uvloop.run(_measure(server, len(seconds)))
            finally:
                os.sched_setaffinity(0, set(cores))
                server.kill()
    except AssertionError as error:
        return broken("overload", error)
    return {"rounds": [round_]}


def _says(seen: Mapping[str, Any]) -> str:
    rounds = seen.get("rounds") or [dict.fromkeys(("asked_times", "goodput", "accepted_p99_times", "refused_p99_ms",
                                                   "normal_after_s"), 0)]  # fmt: skip
    middle = {name: median(each[name] for each in rounds) for name in rounds[0]}
    return (
        f"medians: asked {middle['asked_times']:g} times what it takes at best, took {middle['goodput']:.0%} of that; "
        f"p99 of the accepted {middle['accepted_p99_times']:g} times the usual, of the refused "
        f"{middle['refused_p99_ms']:g} ms; as ever {middle['normal_after_s']:g} s after; none lost"
    )


PARTS = {
    "overload": Part(
        what="four times the capacity in new orders; what is accepted, refused and kept", units="seconds", most=60,
        stretch=20, run=overload, says=_says,
    ),
}  # fmt: skip
