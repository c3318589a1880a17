"""
A provider in a process of its own, which outlives every gateway and keeps the only true ledger.

``python -m tests.crash.upstream PORT CLIP SEED TROUBLE STORE`` speaks the sandbox's dialect below ``/a`` to ``/e``, one
submit class each: ``a`` knows an order sent twice, ``b`` finds one by our name for it, ``d`` lists what it has, ``c``
and ``e`` do neither. Words in brackets in a prompt misbehave on purpose: see :data:`TRICKS`. Before it takes an order
it opens the gateway's STORE by itself, and remembers where the intent to buy was not there. Below ``/_told`` it hears
what clients are told.
"""

import asyncio
import json
import os
import random
import re
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg

from tests.databases import PASSWORD

TRICKS = {
    "kill sending": "the gateway dies before its order is read, which is not taken",
    "kill sent": "the order is taken and the gateway dies before it hears of it",
    "reset": "taken, then the connection is reset",
    "500": "taken, then answered 500",
    "garbage": "taken, then answered with something that is not JSON",
    "503": "not taken, and said so",
    "lost": "not taken, and answered 502",
}
RANDOM = ("reset", "500", "garbage", "503", "lost")
HANGS = {"hang": 3600.0, "drip": 3600.0}


class Ledger:
    """Remember every purchase, and whom to kill."""

    def __init__(self, clip: bytes, seed: int, trouble: float, intended: Callable[[str], bool]) -> None:
        self.clip = clip
        self.intended = intended
        self.oracle = {"orders": 0, "unintended": 0, "unasked": 0}
        """How many orders came, before how many of them no intent was on disk, and how often nobody could be asked."""
        self.told: dict[str, list[str]] = {}
        """The ids of what a client was told, by its key."""
        self.chance = random.Random(seed)
        self.trouble = trouble
        self.lock = threading.Lock()
        self.tasks: dict[str, dict[str, Any]] = {}
        self.gateway = 0
        self.takes = 0.2
        """Seconds a task takes."""
        self.tricked: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """Answer one connection."""

    protocol_version = "HTTP/1.1"
    ledger: Ledger

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:  # noqa: C901 - a table
        if self.path == "/_gateway":
            self.ledger.gateway = int(self._body())
            self._send(200, {})
            return
        kind = self.path.split("/")[1]
        if kind == "_told":
            self._hear(self.path.split("/")[2])
            return
        order = json.loads(self._body())
        self._look_behind(order["id"])
        words = re.findall(r"\[([a-z0-9 ]+)\]", order["prompt"])
        with self.ledger.lock:
            trick = words[0] if words and order["prompt"] not in self.ledger.tricked else ""
            self.ledger.tricked.add(order["prompt"])
            if not trick and self.ledger.chance.random() < self.ledger.trouble:
                trick = self.ledger.chance.choice(RANDOM)
        if trick == "kill sending":
            self._kill()
            return
        if trick in HANGS:
            time.sleep(HANGS[trick])
        if trick in {"503", "lost"}:
            self._send(503 if trick == "503" else 502, {"error": {"code": "no", "message": "not now"}})
            return
        task = self._take(kind, order)
        match trick:
            case "kill sent":
                self._kill()
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case "500":
                self._send(500, {})
            case "garbage":
                self._write(200, b"<html>what?")
            case _:
                self._send(201, self._told(kind, task))

    def do_GET(self) -> None:
        _, kind, *rest = self.path.split("/")
        if kind.startswith("_"):
            with self.ledger.lock:
                shown = {"_ledger": self.ledger.tasks, "_oracle": self.ledger.oracle, "_told": self.ledger.told}
                self._send(200, shown[kind])
            return
        if rest[0] == "clips":
            self._write(200, self.ledger.clip, "video/mp4")
            return
        with self.ledger.lock:
            tasks = {name: task for name, task in self.ledger.tasks.items() if task["kind"] == kind}
        if len(rest) == 1:
            self._send(200, [{**self._told(kind, each), "marker": each["marker"]} for each in tasks.values()])
            return
        found = tasks.get(rest[1])
        if found is None and kind == "b":
            found = next((each for each in tasks.values() if each["marker"] == rest[1]), None)
        if found is None:
            self._send(404, {"error": {"code": "unknown_task", "message": "no such task"}})
        elif found["prompt"].startswith("[kill look]"):
            while not Path(f"/proc/{self.ledger.gateway}").exists():
                time.sleep(0.02)  # It has just been started, and nobody has told us yet which it is.
            self._kill()
        else:
            self._send(200, self._told(kind, found))

    def _hear(self, key: str) -> None:
        """Take what a client is told."""
        self._body()
        with self.ledger.lock:
            self.ledger.told.setdefault(key, []).append(self.headers["webhook-id"])
        self._send(200, {})

    def _look_behind(self, attempt: str) -> None:
        """Ask the gateway's own database whether the order that has just come was meant to be made."""
        try:
            found = "orders" if self.ledger.intended(attempt) else "unintended"
        except (OSError, sqlite3.Error, asyncpg.PostgresError, TimeoutError):
            found = "unasked"
        with self.ledger.lock:
            self.ledger.oracle["orders"] += 1
            if found != "orders":
                self.ledger.oracle[found] += 1

    def _take(self, kind: str, order: dict[str, Any]) -> dict[str, Any]:
        with self.ledger.lock:
            if kind == "a" and order["id"] in self.ledger.tasks:
                return self.ledger.tasks[order["id"]]
            name = order["id"] if kind == "a" else f"{kind}-{len(self.ledger.tasks)}"
            task = {"id": name, "kind": kind, "marker": order["id"], "prompt": order["prompt"], "at": time.time()}
            self.ledger.tasks[name] = task
            return task

    def _told(self, kind: str, task: dict[str, Any]) -> dict[str, Any]:
        done = time.time() > task["at"] + self.ledger.takes
        url = f"http://{self.headers['host']}/{kind}/clips/{task['id']}/0.mp4"
        clips = [{"index": 0, "url": url}] if done else []
        return {"id": task["id"], "state": "done" if done else "rendering", "poll_after_ms": 100, "clips": clips}

    def _kill(self) -> None:
        os.kill(self.ledger.gateway, signal.SIGKILL)
        self.close_connection = True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def _send(self, status: int, body: object) -> None:
        self._write(status, json.dumps(body).encode())

    def _write(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that dies in the middle of a call is what this is for."""


INTENT = "SELECT count(*) FROM attempts WHERE id = {} AND outcome IN ('intent', 'unknown')"


def asking(store: str) -> Callable[[str], bool]:
    """Find out how a store is asked whether an attempt is on disk."""
    if store.startswith("sqlite"):
        path = store.removeprefix("sqlite:///")

        def on_file(attempt: str) -> bool:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
                return file.execute(INTENT.format("?"), (attempt,)).fetchone() == (1,)

        return on_file

    async def ask(attempt: str) -> bool:
        server = await asyncpg.connect(store, password=PASSWORD, timeout=5)
        try:
            return await server.fetchval(INTENT.format("$1"), attempt) == 1
        finally:
            server.terminate()

    return lambda attempt: asyncio.run(ask(attempt))


def main(port: str, clip: str, seed: str, trouble: str, store: str) -> None:
    Handler.ledger = Ledger(Path(clip).read_bytes(), int(seed), float(trouble), asking(store))
    Service(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
