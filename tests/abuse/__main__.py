"""``make abuse``: every bomb at full size, and the document asked about for minutes; says what it saw."""

import sys
import tempfile
from pathlib import Path

from tests.abuse.bombs import BOMBS, MIB, MOST_GROWTH, throw
from tests.abuse.document import ask, prepare
from tests.abuse.target import Target

SLOWEST = 0.25
"""Seconds ``/health/live`` may take meanwhile, without those the machine was at something else."""
ROUNDS = 2
SECONDS = 600


def main() -> int:
    """Run it all; 1 where something is out of bounds."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = bombs(Path(folder) / "bombs")
    if "bombs" in sys.argv:
        return wrong
    with tempfile.TemporaryDirectory() as folder:
        target = prepare(Path(folder))
        said = ask(target, examples=200, seconds=SECONDS)
        target.stop()
    sys.stdout.write(said.stdout)
    return wrong or said.returncode


def bombs(folder: Path) -> int:
    """Throw each twice, after one that says what the server needs anyway; answers how many were too much."""
    folder.mkdir()
    target = Target(folder)
    target.names["done"] = target.order("a red fox")
    target.wait(target.names["done"])
    wrong = 0
    for name in [each for each in BOMBS if sys.argv[2:] in ([], [each])]:
        for _ in range(ROUNDS):
            seen = throw(target, name)
            bad = seen.growth > MOST_GROWTH or seen.busiest > SLOWEST
            wrong += bad
            sys.stdout.write(
                f"{'TOO MUCH' if bad else 'ok':8} {name:48} +{seen.growth / MIB:6.1f} MiB  "
                f"live {seen.busiest * 1000:5.0f} ms of {seen.slowest * 1000:5.0f} by the clock  {seen.statuses}\n"
            )
    target.check_log()
    target.stop()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
