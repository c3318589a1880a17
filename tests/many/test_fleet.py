"""Laws of a power cut where many work: whoever dies, the others end what was acknowledged, and buy nothing twice."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.crash.test_kill import order, status
from tests.server import Server, eventually

LEASE = "2"


class Fleet:
    """Hold one gateway that only takes jobs, and workers beside it, on one database and one media folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.front = Server(folder, REELGATE__WORKER__ENABLED="false")
        self.workers: list[Server] = []

    def hire(self, name: str) -> Server:
        """Start a worker."""
        folder = self._folder / name
        folder.mkdir()
        shared = {key: self.front.environ[key] for key in ("REELGATE__STORE__URL", "REELGATE__MEDIA__URL")}
        worker = Server(folder, **shared, REELGATE__WORKER__LEASE_SECONDS=LEASE)
        worker.environ["REELGATE__WORKER__PORT"] = str(worker.port)
        self.workers.append(worker)
        return worker.start("work")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with databases.using("postgresql"):
        made = Fleet(tmp_path)
        made.front.start()
        yield made
    for each in (made.front, *made.workers):
        if each.running():
            each.kill()


def made_once(fleet: Fleet, ids: list[str], folder: Path) -> None:
    """Assert that every job has its clip, bought once."""
    for id_ in ids:
        assert status(fleet.front, id_) == "completed"
        (attempt,) = fleet.front.get(f"/v1/videos/{id_}/attempts").json()["data"]
        assert attempt["outcome"] == "succeeded"
    assert len(list((folder / "media" / "sandbox").glob("att_*.json"))) == len(ids)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_dead_worker_is_taken_over(fleet: Fleet, tmp_path: Path, seed: int) -> None:
    """Of two workers one is killed at a random moment: the other ends every job, each bought once."""
    chance = random.Random(seed)
    doomed, other = fleet.hire("doomed"), fleet.hire("other")
    ids = [order(fleet.front, f"[slow 1] dies {number}") for number in range(8)]
    until = time.monotonic() + chance.uniform(0.0, 1.5)
    eventually(lambda: time.monotonic() > until)
    doomed.kill()
    eventually(lambda: {status(fleet.front, id_) for id_ in ids} == {"completed"}, seconds=40)

    made_once(fleet, ids, tmp_path)
    assert other.running()
    assert other.stop() == 0
    assert fleet.front.stop() == 0


def test_workers_come_and_go(fleet: Fleet, tmp_path: Path) -> None:
    """Killed and replaced again and again, the fleet ends what it acknowledged; the last is asked politely."""
    ids: list[str] = []
    for number in range(3):
        worker = fleet.hire(f"worker{number}")
        new = [order(fleet.front, f"[slow 0.5] goes {number} {each}") for each in range(3)]
        eventually(lambda new=new: any(status(fleet.front, id_) != "queued" for id_ in new))  # type: ignore[misc]
        ids += new
        worker.kill()
    last = fleet.hire("last")
    eventually(lambda: {status(fleet.front, id_) for id_ in ids} == {"completed"}, seconds=40)

    made_once(fleet, ids, tmp_path)
    assert last.stop() == 0
    assert "gateway.stopped" in last.log.read_text()


def test_a_worker_answers_how_it_is_and_sells_nothing(fleet: Fleet) -> None:
    """``reelgate work`` has /health and /metrics on a port of its own, and no other word."""
    worker = fleet.hire("shown")

    assert worker.get("/health/live").json() == {"status": "live"}
    assert "reelgate_jobs_now" in worker.get("/metrics").text
    assert worker.get("/v1/models").status_code == 404
    assert worker.post("/v1/videos", {"prompt": "a cat"}).status_code == 404


def test_a_worker_wants_a_database_to_share(tmp_path: Path) -> None:
    """On SQLite the gateway works by itself, and the command says so."""
    done = Server(tmp_path).cli("work", check=False)

    assert done.returncode == 2
    assert "postgresql://" in done.stderr
