"""Run the real gateway in a process of its own, on a real socket, and stop it by its own id."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests import databases, objects, processes
from tests.databases import free_port
from tests.processes import ROOT

START_SECONDS = 30


def eventually(holds: Callable[[], object], *, seconds: float = 60) -> None:
    """
    Wait until something holds; the one place where a test lets real time pass.

    :raises AssertionError: when it does not in time.
    """
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds:g} s: {holds}"
        time.sleep(0.05)


class Server:
    """Hold one gateway, its folder, and what it said."""

    def __init__(self, folder: Path, **overrides: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.url}/v1"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REELGATE")},
            "PYTHONPATH": str(ROOT),
            "REELGATE__SERVER__PORT": str(self.port),
            "REELGATE__STORE__URL": databases.url_of(folder),
            **databases.ENVIRON,
            **objects.environ_of(folder),
            **overrides,
        }
        self.module = "gateway.cli"
        """What is run."""
        self._process: BaseProcess | None = None

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command of the same configuration."""
        with TemporaryDirectory() as place:
            out, err = Path(place, "out"), Path(place, "err")
            process = self._begin(*words, out=out, err=err, REELGATE_URL=self.url)
            process.join(120)
            assert process.exitcode is not None, f"reelgate {' '.join(words)} does not end"
            done = subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())
        if check:
            done.check_returncode()
        return done

    def _begin(self, *words: str, out: Path, err: Path, **more: str) -> BaseProcess:
        """Start a command of this configuration."""
        environ = {**self.environ, **more}
        return processes.start(self.module, *words, environ=environ, folder=self.folder, out=out, err=err)

    def create_key(self, *words: str) -> str:
        """Create a key and read it off."""
        return self.cli("keys", "create", *words).stdout.splitlines()[0]

    def start(self, command: str = "serve") -> "Server":
        """Start and wait for the first good answer."""
        self._process = self._begin(command, out=self.log, err=self.log)
        eventually(lambda: self.ready() or not self.running(), seconds=START_SECONDS)
        assert self.running(), self.log.read_text()
        return self

    def ready(self) -> bool:
        """Whether it answers that it can take jobs."""
        try:
            # Nothing here speaks TLS, and reading whom to trust costs more than starting the gateway.
            return httpx.get(f"{self.url}/health/ready", trust_env=False, verify=False).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        """Ask it something."""
        return httpx.get(f"{self.url}{path}", trust_env=False)

    def post(self, path: str, body: object) -> httpx.Response:
        """Tell it something."""
        return httpx.post(f"{self.url}{path}", json=body, trust_env=False, timeout=30)

    @property
    def log(self) -> Path:
        """Where it writes what it says."""
        return self.folder / "gateway.log"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.join()

    def stop(self) -> int:
        """Ask it to end, and wait."""
        assert self._process is not None
        self._process.terminate()
        self._process.join(40)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def died_of(self, what: signal.Signals) -> bool:
        """Whether it has ended by a signal."""
        return self._process is not None and self._process.exitcode == -what

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.exitcode is None
