"""Run the real gateway in a process of its own, on a real socket, and stop it by its own id."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests import databases, objects
from tests.databases import free_port

ROOT = Path(__file__).parent.parent
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
            "REELGATE__SERVER__PORT": str(self.port),
            "REELGATE__STORE__URL": databases.url_of(folder),
            **databases.ENVIRON,
            **objects.environ_of(folder),
            **overrides,
        }
        self.module = "gateway.cli"
        """What is run."""
        self._process: subprocess.Popen[bytes] | None = None

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command of the same configuration."""
        return subprocess.run(
            [sys.executable, "-m", self.module, *words],
            env={**self.environ, "REELGATE_URL": self.url},
            cwd=self.folder,
            check=check,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def create_key(self, *words: str) -> str:
        """Create a key and read it off."""
        return self.cli("keys", "create", *words).stdout.splitlines()[0]

    def start(self, command: str = "serve") -> "Server":
        """Start and wait for the first good answer."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, command],
                env=self.environ,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        eventually(lambda: self._ready() or not self.running(), seconds=START_SECONDS)
        assert self.running(), self.log.read_text()
        return self

    def _ready(self) -> bool:
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
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and wait."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(40)

    def died_of(self, what: signal.Signals) -> bool:
        """Whether it has ended by a signal."""
        return self._process is not None and self._process.poll() == -what

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None
