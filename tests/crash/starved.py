"""
Real gateways that may have no more memory than they have, or a little more, and are asked for what takes more.

Who dies of it is started again with as little, and then with as much as there is. Who lives must go on with everything
once there is more: else it would only have looked alive.
"""

import os
import resource
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

import httpx

from tests.crash.arena import Arena, wait
from tests.server import eventually

MIB = 2**20
LIMITS = 60
"""How many limits are tried in turn: the memory spared shrinks from run to run."""
MOST_SPARED = 160 * MIB
SHRINKS = 0.85
BODIES = (60, 8, 32, 1) * 2
"""How large the calls are, in megabytes, that take memory meanwhile; all at the same time."""
MOST_SAID = MIB
"""Most bytes of log of one life: who fails again and again, and says so, is in a loop."""
PATIENCE = 20.0
"""Seconds after which who has not answered is taken to stand still."""
REST = 0.5
"""Seconds over which somebody with nothing to do is watched."""


def spared(number: int) -> int:
    """Say how much more than it has a gateway may have in a run; nothing in every tenth."""
    return 0 if number % 10 == 9 else int(MOST_SPARED * SHRINKS**number)


class Starved:
    """Hold an arena whose gateways lack memory, and count how they took it."""

    def __init__(self, here: Arena) -> None:
        self.here = here
        self.here.refusals = {500, 503}
        self.met: Counter[str] = Counter()

    def live(self, spare: int, kinds: Sequence[str], *, again: bool = True) -> None:
        """
        Start one, take the memory beyond ``spare`` from it, press it hard, and see to what is left of it.

        ``again``: where it died, the next has no more before one has all there is.
        """
        self.here.start()
        server = self.here.server
        before, limit = server.log.stat().st_size, size_of(server.pid) + spare
        bound(server.pid, limit)
        self._press(kinds)
        assert not self.met["unanswered"], f"with {spare} bytes more than it has it neither lives nor dies"
        if not (server.running() and self._goes_on()):
            self.met["died"] += 1
            if again:
                self._start_with(limit)
            self.here.recover()
        said = server.log.stat().st_size - before
        assert said < MOST_SAID, f"it says too much about it: {said} bytes"

    def _press(self, kinds: Sequence[str]) -> None:
        """Order clips while large calls take what memory there is."""
        calls = [threading.Thread(target=self._take, args=(size,)) for size in BODIES]
        for call in calls:
            call.start()
        for kind in kinds:
            if self.here.server.running():
                self.here.want("starved", kind)
        for call in calls:
            call.join()

    def _take(self, megabytes: int) -> None:
        """Ask for the price of a clip from a picture that is none."""
        begun = b'{"model":"maker/one","prompt":"x","seconds":4,"input_reference":"data:image/png;base64,'
        body = (begun, *repeat(b"A" * MIB, megabytes), b'"}')
        url = f"{self.here.server.api}/quotes"
        head = {
            "authorization": f"Bearer {self.here.key}",
            "content-type": "application/json",
            "content-length": str(sum(map(len, body))),
        }
        try:
            answer = httpx.post(url, content=iter(body), headers=head, timeout=PATIENCE, trust_env=False, verify=False)
        except httpx.TimeoutException:
            self.met["unanswered"] += self.here.server.running()
            return
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return
        if answer.status_code in self.here.refusals:
            self.met["refused"] += 1

    def _goes_on(self) -> bool:
        """Give it memory, and see that it does everything it is for, and then rests; or that it was about to die."""
        server = self.here.server
        try:
            bound(server.pid, resource.RLIM_INFINITY)
            self.here.settle()
        except (httpx.TransportError, ProcessLookupError):
            eventually(lambda: not server.running(), seconds=PATIENCE)
            return False
        self.met["lived"] += 1
        began = used(server.pid)
        wait(REST)
        spent = used(server.pid) - began
        assert spent < REST / 2, f"it turns in circles: {spent:.2f} s of processor time in {REST} s"
        self.here.end()
        return True

    def _start_with(self, limit: int) -> None:
        """Start another that never has more: it serves, or it ends."""
        server = self.here.server
        server.environ["TEST_MOST_BYTES"] = str(limit)
        try:
            server.start()
            self.met["started"] += 1
        except AssertionError:
            eventually(lambda: not server.running(), seconds=1)
        finally:
            del server.environ["TEST_MOST_BYTES"]
        if server.running():
            server.kill()


def size_of(pid: int) -> int:
    """Read how many bytes of addresses a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def bound(pid: int, most: int) -> None:
    """Let a process have so many from now on."""
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def used(pid: int) -> float:
    """Read how much processor time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
