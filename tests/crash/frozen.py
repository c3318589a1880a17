"""Two real workers on one PostgreSQL, of which one stands still for longer than its lease, and then goes on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.failpoints import NAMES
from tests.crash.arena import FRONT, KINDS, Arena, arena, wait
from tests.server import Server, eventually

LEASE = 2.0
"""What :mod:`tests.crash.arena` gives its workers."""
PLACES = (*(name for name in NAMES if name not in FRONT), "anywhere")
"""Where a worker stands still: at a failpoint, or wherever SIGSTOP meets it."""


class Pair:
    """Hold the two, who stands still, and how often somebody did."""

    def __init__(self, here: Arena, place: str) -> None:
        self.here = here
        self.place = place
        self.freezes = 0
        assert here.worker is not None
        if place != "anywhere":
            here.worker.environ["REELGATE_FREEZE_AT"] = place
        second = here._hired("second")
        second.environ |= {name: value for name, value in here.worker.environ.items() if "PORT" not in name}
        self.both = (here.worker, second)

    def start(self) -> None:
        """Start everybody; a failpoint that a start passes does not hold it up."""
        self.here.start()
        self.both[1].start("work")

    def freeze(self, index: int, seconds: float) -> None:
        """Order one clip of each class, and let the first to stop stand still for a while; the other goes on."""
        for kind in KINDS:
            self.here.want(self.place, kind)
        if self.place == "anywhere":
            wait(0.05 * (index % 12))
            os.kill(self.both[index % 2].pid, signal.SIGSTOP)
        eventually(lambda: any(stopped(each) for each in self.both), seconds=20)
        frozen = next(each for each in self.both if stopped(each))
        self.freezes += 1
        self.tend(seconds, but=frozen)
        thaw(frozen)

    def tend(self, seconds: float, *, but: Server | None = None) -> None:
        """Let time pass, and keep everybody going ``but`` one."""
        for _ in range(int(seconds / 0.05)):
            for each in self.both:
                if each is not but and stopped(each):
                    thaw(each)
            wait(0.05)

    def ended(self) -> dict[str, str]:
        """Wait until everything has ended, nobody standing still any more; answers how, by key."""
        for _ in range(80):
            self.tend(1.0)
            seen = [self.here.video(each)["status"] for each in self.here.wanted]
            if set(seen) <= {"completed", "failed"}:
                break
        return self.here.ended(seconds=1)

    def said(self, *events: str) -> dict[str, int]:
        """Count what both have logged."""
        told = "".join(each.log.read_text() for each in self.both)
        return {event: told.count(f'"event":"{event}"') for event in events}

    def close(self) -> None:
        for each in self.both:
            if each.running():
                each.kill()


def stopped(server: Server) -> bool:
    """Whether a process stands still."""
    return Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def thaw(server: Server) -> None:
    """Let a process go on."""
    os.kill(server.pid, signal.SIGCONT)


@contextmanager
def pair(folder: Path, place: str, **options: Any) -> Iterator[Pair]:
    """Open an arena with two workers, and leave no process behind."""
    with arena(folder, kind="postgresql", split=True, **options) as here:
        made = Pair(here, place)
        try:
            made.start()
            yield made
        finally:
            made.close()
