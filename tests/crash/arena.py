"""Real gateways that die, sellers that outlive them, and clients that keep count."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from gateway.store.database import Kind
from tests import databases, processes
from tests.databases import PostgreSQL
from tests.scripted import clip
from tests.server import ROOT, Server, eventually, free_port

KINDS = "abcde"
FRONT = {"before_accept", "after_accept"}
"""Failpoints of who takes jobs; where another process works them off, it passes all the others."""


class Wanted(Struct):
    """Hold what a client ordered, and what it was told."""

    key: str
    prompt: str
    kind: str
    id: str | None = None
    """What the gateway acknowledged."""


class Arena:
    """
    One folder, one upstream, one gateway after the other.

    ``kind`` is the database; ``split`` lets one process take the jobs and another work them off (PostgreSQL only).
    ``mortal`` is a PostgreSQL of the test's own, for one that dies as well.
    """

    def __init__(
        self, folder: Path, *, deadline: float, seed: int = 0, trouble: float = 0.0, kind: Kind = "sqlite",
        split: bool = False, mortal: PostgreSQL | None = None, **overrides: str,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.mortal = mortal
        port = free_port()
        self.upstream_url = f"http://127.0.0.1:{port}"
        accounts = {}
        for each in KINDS:
            name = f"REELGATE__ACCOUNTS__SELLER{each.upper()}"
            accounts[f"{name}__PROVIDER"] = f"seller{each}"
            accounts[f"{name}__BASE_URL"] = f"{self.upstream_url}/{each}"
            accounts[f"{name}__MAX_RUNNING"] = "64"
        if mortal is not None:
            accounts["REELGATE__STORE__URL"] = mortal.url_of(str(folder))
        with databases.using(kind):
            self.server = Server(
                folder,
                REELGATE__WORKER__LEASE_SECONDS="2",
                REELGATE__NETWORK__ALLOW=json.dumps([f"127.0.0.1:{port}"]),
                REELGATE__WEBHOOKS__HTTP="true",
                REELGATE__WEBHOOKS__SECONDS="5",
                TEST_DEADLINE=str(deadline),
                # A life in which the database dies is longer: nobody is tried in it, and found guilty of our kill.
                **{"TEST_CALM_MS": "20000" if mortal else "3000", **accounts, **overrides},
            )
        self.server.module = "tests.crash.mortal"
        self.worker = self._hired() if split else None
        (folder / "clip.mp4").write_bytes(clip(4, (64, 36)))
        words = [str(port), str(folder / "clip.mp4"), str(seed), str(trouble)]
        words.append(self.server.environ["REELGATE__STORE__URL"])
        log = folder / "upstream.log"
        self._upstream = processes.start(
            "tests.crash.upstream", *words, environ=dict(os.environ), folder=ROOT, out=log, err=log
        )
        self.client = httpx.Client(trust_env=False, verify=False, timeout=10)
        self.key = ""
        self.wanted: list[Wanted] = []
        self.refusals = {503}
        """How a gateway says that it takes nothing now."""
        self.kills = 0
        self.database_crashes = 0
        self.oracle: dict[str, int] = {}

    def _hired(self, name: str = "worker") -> Server:
        """Make who works off what the gateway only takes."""
        self.server.environ["REELGATE__WORKER__ENABLED"] = "false"
        folder = self.folder / name
        folder.mkdir()
        worker = Server(folder)
        port = {"REELGATE__WORKER__PORT": str(worker.port), "REELGATE__SERVER__PORT": str(worker.port)}
        worker.environ = {**self.server.environ, "REELGATE__WORKER__ENABLED": "true", **port}
        worker.module = self.server.module
        return worker

    @property
    def hands(self) -> Server:
        """Who buys."""
        return self.worker or self.server

    def open(self) -> None:
        """Wait for the upstream, and make a key: nobody without one may spend money."""
        eventually(self._answers, seconds=20)
        self.key = self.server.create_key("--name", "crash")
        self.client.headers["authorization"] = f"Bearer {self.key}"

    def _answers(self) -> bool:
        try:
            return self.client.get(f"{self.upstream_url}/_ledger").is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.end()
        self._upstream.kill()
        self._upstream.join()
        self.client.close()

    def end(self) -> None:
        """End every gateway there is, as a power cut would."""
        for each in (self.server, self.worker):
            if each is not None and each.running():
                each.kill()

    def start(self, crash_at: str = "") -> None:
        """Start a gateway, to die where it is told; where clearing up after the last one kills it, that comes first."""
        while not self._started(crash_at):
            self.recover()
        self.client.post(f"{self.upstream_url}/_gateway", content=str(self.hands.pid))

    def _started(self, crash_at: str) -> bool:
        """Start whoever does not run, and who is to die anew; says whether all still live."""
        doomed = self.server if crash_at in FRONT else self.hands
        if crash_at and doomed.running():
            doomed.kill()
        for each in (self.server, self.worker):
            if each is None or each.running():
                continue
            each.environ["REELGATE_CRASH_AT"] = crash_at if each is doomed else ""
            try:
                each.start("work" if each is self.worker else "serve")
            except AssertionError:
                assert crash_at, each.log.read_text()
                assert each.died_of(signal.SIGKILL), each.log.read_text()
                self.kills += 1
                return False
        return True

    def recover(self) -> None:
        """Let a gateway clear up until nothing more happens by itself: all has ended, or waits for evidence."""
        if not self.wanted:
            return
        self._started("")
        self.settle()
        self.end()

    def settle(self) -> None:
        """Ask again for what nobody acknowledged, and wait until who runs has cleared it all up."""
        for wanted in self.wanted:
            if wanted.id is None:
                self.ask(wanted)
        open_ = {each.key: each for each in self.wanted if each.id is not None}

        def quiet() -> bool:
            for key, each in [*open_.items()]:
                seen = self.video(each)
                if seen["status"] in {"completed", "failed"} or (
                    seen["status_detail"] == "unknown" and each.kind in "ce"
                ):
                    del open_[key]
            return not open_

        eventually(quiet, seconds=40)

    def want(self, prompt: str, kind: str) -> Wanted:
        """Order a clip; whether anybody answers is another matter."""
        wanted = Wanted(key=f"key-{len(self.wanted)}", prompt=f"{prompt} #{len(self.wanted)}", kind=kind)
        self.wanted.append(wanted)
        self.ask(wanted)
        return wanted

    def ask(self, wanted: Wanted) -> None:
        """Say it, or say it again."""
        body = {
            "model": "maker/one",
            "prompt": wanted.prompt,
            "seconds": 4,
            "provider": {"only": [f"seller{wanted.kind}"]},
            "callback_url": f"{self.upstream_url}/_told/{wanted.key}",
        }
        try:
            answer = self.client.post(f"{self.server.api}/videos", json=body, headers={"idempotency-key": wanted.key})
        except httpx.TransportError:
            return
        if answer.status_code in self.refusals:
            return
        assert answer.status_code == 200, answer.text
        said = answer.json()["id"]
        assert wanted.id in {None, said}, "one key, two jobs"
        wanted.id = said

    def crash_database(self, meanwhile: Callable[[], object]) -> None:
        """Let the database die, do something without it, and start it again."""
        assert self.mortal is not None
        self.mortal.stop(signal.SIGQUIT)
        meanwhile()
        self.mortal.start()
        self.database_crashes += 1

    def died(self) -> None:
        """Wait until a gateway is dead."""
        both = [each for each in (self.server, self.worker) if each is not None]
        eventually(lambda: not all(each.running() for each in both), seconds=20)
        (dead,) = (each for each in both if not each.running())
        assert dead.died_of(signal.SIGKILL), dead.log.read_text()
        self.kills += 1

    def video(self, wanted: Wanted) -> dict[str, Any]:
        answer = self.client.get(f"{self.server.api}/videos/{wanted.id}")
        assert answer.status_code == 200, f"{wanted.id} was acknowledged and is gone: {answer.text}"
        told: dict[str, Any] = answer.json()
        return told

    def ended(self, *, seconds: float) -> dict[str, str]:
        """Wait until everything has ended; answers how, by key."""
        for wanted in self.wanted:
            if wanted.id is None:
                self.ask(wanted)
        open_ = list(self.wanted)

        def all_ended() -> bool:
            open_[:] = [each for each in open_ if self.video(each)["status"] not in {"completed", "failed"}]
            return not open_

        eventually(all_ended, seconds=seconds)
        ends = {}
        for wanted in self.wanted:
            told = self.video(wanted)
            ends[wanted.key] = told["error"]["code"] if told["error"] else told["status"]
            if told["status"] == "completed":
                content = self.client.get(f"{self.server.api}/videos/{wanted.id}/content").content
                assert content == (self.folder / "clip.mp4").read_bytes()
        return ends

    def bought(self) -> Counter[str]:
        """Count purchases by what was asked for, as the upstream did."""
        ledger = self.client.get(f"{self.upstream_url}/_ledger").json()
        return Counter(each["prompt"] for each in ledger.values())

    def told(self) -> dict[str, list[str]]:
        """List the ids of what clients were told, by key."""
        heard: dict[str, list[str]] = self.client.get(f"{self.upstream_url}/_told").json()
        return heard

    def check(self, ends: dict[str, str]) -> None:
        """
        R1 to R4 and R7: nothing twice, nothing lost, what is not known is said, nobody's task is nobody's.

        Nothing was ordered before the intent was on disk; and of every end its client hears, under one id (I8).
        """
        self.oracle = self.client.get(f"{self.upstream_url}/_oracle").json()
        bought = self.bought()
        twice = {prompt for prompt, count in bought.items() if count > 1}
        assert not twice, f"bought twice: {twice}, {self.oracle}"
        for wanted in self.wanted:
            end = ends[wanted.key]
            assert end in {"completed", "submission_unknown"}, f"{wanted.prompt}: {end}"
            if end == "completed":
                assert bought[wanted.prompt] == 1, wanted.prompt
            else:
                assert wanted.kind in "ce", f"{wanted.prompt} could have been cleared up"
        assert bought.keys() <= {each.prompt for each in self.wanted}
        assert self.oracle["unintended"] == 0, self.oracle
        assert self.oracle["orders"] >= sum(bought.values())
        # On PostgreSQL the lease of a courier that was killed has to run out.
        eventually(lambda: self.told().keys() >= ends.keys(), seconds=40)
        assert {key: len(set(ids)) for key, ids in self.told().items()} == dict.fromkeys(ends, 1)
        doctor = self.server.cli("doctor", check=False)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr


@contextmanager
def arena(folder: Path, **options: Any) -> Iterator[Arena]:
    """Open an arena, and leave no process behind."""
    made = Arena(folder, **options)
    try:
        made.open()
        yield made
    finally:
        made.close()


def wait(seconds: float) -> None:
    """Let a real moment pass."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until)
