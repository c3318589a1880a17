"""Laws of a power cut: what was acknowledged ends, and nothing is bought twice."""

import random
import time
from pathlib import Path

import pytest

from tests.server import Server, eventually

CLIP = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p"}


def order(server: Server, prompt: str) -> str:
    """Order the smallest clip there is; answers the id the gateway acknowledged."""
    answer = server.post("/v1/videos", {**CLIP, "prompt": prompt})
    assert answer.status_code == 200, answer.text
    id_: str = answer.json()["id"]
    return id_


def status(server: Server, id_: str) -> str:
    """Say how a video stands."""
    said: str = server.get(f"/v1/videos/{id_}").json()["status"]
    return said


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_acknowledged_job_ends_whatever_dies(tmp_path: Path, seed: int) -> None:
    """Killed at random moments and started again, the gateway finishes every job it said yes to, once."""
    chance = random.Random(seed)
    server = Server(tmp_path, REELGATE__WORKER__LEASE_SECONDS="2")
    acknowledged: list[str] = []
    for _ in range(4):
        server.start()
        until = time.monotonic() + chance.uniform(0.05, 1.2)
        for _ in range(chance.randint(1, 4)):
            acknowledged.append(order(server, f"kill {len(acknowledged)}"))
        eventually(lambda until=until: time.monotonic() > until)
        server.kill()
    server.start()
    eventually(lambda: {status(server, id_) for id_ in acknowledged} <= {"completed", "failed"}, seconds=100)

    for id_ in acknowledged:
        assert status(server, id_) == "completed"
        assert server.get(f"/v1/videos/{id_}/content").content[4:8] == b"ftyp"
        (attempt,) = server.get(f"/v1/videos/{id_}/attempts").json()["data"]
        assert attempt["outcome"] == "succeeded"
    bought = list((tmp_path / "media" / "sandbox").glob("att_*.json"))
    assert len(bought) == len(acknowledged)
    assert server.stop() == 0


def test_a_kill_leaves_no_process_behind(tmp_path: Path) -> None:
    """The processes that render end with the gateway that started them, however it ends."""
    server = Server(tmp_path).start()
    order(server, "[slow 30] left behind")
    eventually(lambda: children(server.pid))
    left = children(server.pid)
    server.kill()
    eventually(lambda: not any(alive(pid) for pid in left), seconds=15)


def test_a_polite_stop_ends_well(tmp_path: Path) -> None:
    """SIGTERM under load: every step ends, nothing is left unknown, and the next start finishes the rest."""
    server = Server(tmp_path).start()
    ids = [order(server, f"stop {number}") for number in range(6)]
    assert server.stop() == 0
    log = server.log.read_text()
    assert "gateway.stopped" in log
    assert "crashed" not in log
    server.start()
    eventually(lambda: {status(server, id_) for id_ in ids} == {"completed"})
    assert server.stop() == 0


def test_a_stop_while_the_first_clip_begins_says_nothing_of_it(tmp_path: Path) -> None:
    """SIGTERM while a process that renders is starting: it ends without a word, and so does the gateway."""
    server = Server(tmp_path)
    for number in range(4):
        server.start()
        order(server, f"begun {number}")
        begun = children(server.pid)
        assert server.stop() == 0
        eventually(lambda begun=begun: not any(alive(pid) for pid in begun), seconds=15)
        assert "Traceback" not in server.log.read_text()


def children(pid: int) -> list[int]:
    """List a process's descendants."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(word) for task in tasks for word in task.read_text().split()]
    return found + [each for child in found for each in children(child)]


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
