"""Know how late a gateway looks at its tasks: a task's name says what its next look depends on."""

import time

from gateway.jobs.job import next_look


def name(started: int, due: int, base: float, number: int) -> str:
    """Name a task by what its looks depend on."""
    return f"flight-{started}-{due}-{base:g}-{number}"


class Looks:
    """Know when each look at a task was due, and how late it came; kept by the stub."""

    def __init__(self) -> None:
        self._due: dict[bytes, float] = {}
        self._since = 0.0
        self.made = 0
        self.lags: list[float] = []
        self.first: dict[bytes, float] = {}
        """When each task was looked at for the first time, in milliseconds since the epoch."""

    def note(self, task: bytes) -> None:
        """Hear that a task is looked at."""
        now = time.time() * 1000
        _, started, due, base, _ = task.split(b"-")
        expected = self._due.get(task, float(due))
        self.made += 1
        if task not in self.first:
            self.first[task] = now
        if expected >= self._since > 0:
            self.lags.append(now - expected)
        wait = next_look(float(base), (now - float(started)) / 1000, None)
        self._due[task] = now + wait * 1000

    def begin(self) -> None:
        """Count what is due from now on."""
        self._since = time.time() * 1000
        self.lags.clear()
        self.made = 0

    def told(self) -> dict[str, float]:
        """Say how late looks were, in milliseconds, and which are overdue now."""
        now = time.time() * 1000
        lags = sorted(self.lags + [now - due for due in self._due.values() if self._since <= due < now])

        def at(share: float) -> float:
            return lags[min(len(lags) - 1, int(len(lags) * share))] if lags else 0.0

        firsts = self.first.values()
        return {
            "looks": self.made, "p50": at(0.5), "p99": at(0.99), "most": at(1.0), "tasks": len(self.first),
            "first": min(firsts, default=0.0), "last": max(firsts, default=0.0),
        }  # fmt: skip
