"""Laws of the whole machine: whatever dies, breaks or lies, under any seed, the invariants hold."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import Clock
from tests.machine.mutants import MUTANTS, catch
from tests.machine.world import blank, simulate

SEEDS = 300
MET = {
    # blows
    "kills", "stop", "disk", "jump", "failed starts", "blows after a purchase",
    # what becomes of orders
    "taken", "taken_reset", "taken_5xx", "taken_garbage", "taken_late_answer", "late_taken", "not_sent", "refused",
    "throttled", "unavailable", "lost_reset", "lost_5xx", "hung", "shut",
    # moves
    ">queued", "queued>submitting", "queued>cancelled", "queued>failed", "submitting>running", "submitting>unknown",
    "submitting>queued", "unknown>running", "unknown>queued", "unknown>failed", "running>storing", "running>failed",
    "running>cancelled", "storing>succeeded", "storing>failed",
    # what the gateway noticed
    "receipt.found", "job.overtaken", "job.stalled", "worker.stalled", "clip.missed", "task.state_unknown",
    "account.rested", "mismatches", "clock.jumped", "job.settled", "attempt.abandoned",
    # what clients were told
    "told well", "told 500", "told 429", "told 302", "told refused", "told hung", "told heard and hung",
}  # fmt: skip
"""What must have happened at least once, or the simulation proves less than it seems to."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Make a folder that costs no fsync, where there is one, and an empty database in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        blank(Path(folder, "blank.db"))
        yield Path(folder)


@pytest.mark.timeout(600)
def test_the_invariants_hold_under_every_seed(disk: Path) -> None:
    """Every law of :mod:`tests.machine.laws` holds after every commit of every life, and everything was met."""
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        folder = disk / str(seed)
        folder.mkdir()
        met.update(simulate(seed, folder, disk / "blank.db").counts)

    assert MET - met.keys() == set()


@pytest.mark.parametrize(
    "name",
    [
        "refund of doubt",
        "late refund",
        "short clip",
        "untold",
        "told for good",
        "loose tongue",
        "anywhere",
        "backwards",
        "never due",
    ],
)
def test_a_planted_defect_is_noticed(name: str) -> None:
    """By the law it breaks, in the first worlds; the rarer ones are planted by `make prove`."""
    mutant = MUTANTS[name]
    found = catch(mutant, 12)

    assert found is not None
    assert found[0].startswith(mutant.law)


def test_the_same_seed_is_the_same_run(disk: Path) -> None:
    """A run can be repeated to the last commit, in this process and in another with other hashes."""
    program = (
        "import sys; from pathlib import Path; from tests.machine.world import simulate\n"
        "for seed in (3, 14, 15):\n"
        "    folder = Path(sys.argv[1], f'{seed}'); folder.mkdir()\n"
        "    print(simulate(seed, folder, Path(sys.argv[2])).trace)\n"
    )
    traces = []
    for hashes in ("1", "2"):
        (disk / hashes).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", program, str(disk / hashes), str(disk / "blank.db")],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        )
        traces.append(done.stdout.split())
    here = []
    for seed in (3, 14, 15):
        folder = disk / f"here-{seed}"
        folder.mkdir()
        here.append(simulate(seed, folder, disk / "blank.db").trace)

    assert traces == [here, here]
    assert len(set(here)) == 3


def test_a_clock_that_is_set_changes_nothing_until_the_next_start() -> None:
    """Small corrections are followed, jumps are not, and time never runs backwards."""
    wall, passed = 1_000_000, 0
    clock = Clock(lambda: wall, lambda: passed)

    assert clock() == 1_000_000
    wall, passed = wall + 5_100, 5_000  # trimmed by 100 ms
    assert clock() == 1_005_100
    for jump in (3_600_000, -3_600_000, 864_000_000, -864_000_000):
        wall += jump
        assert clock() == 1_005_100
        wall -= jump
    wall, passed = wall - 900, passed + 100  # trimmed backwards by a second: it waits
    assert clock() == 1_005_100
