"""
Start and stop the servers of a run, each on one core, and read what they cost from ``/proc``.

Servers sit on the first core this process may use; the load, the stub and the bench itself on the second.
Everything is stopped by the id it was started with.
"""

import compileall
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from tests import databases

ROOT = Path(__file__).resolve().parent.parent
LITELLM = Path(__file__).resolve().parent / "litellm"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
_TICK = os.sysconf("SC_CLK_TCK")
_STARTING = 90
"""Seconds a server may take to answer for the first time."""


class ServerError(Exception):
    """A server that could not be started; the message carries the end of its log."""


class Server(msgspec.Struct, kw_only=True):
    """A running server: its port, its process and how long it took to answer."""

    port: int
    pid: int
    ready_seconds: float
    directory: Path

    def tree(self) -> list[int]:
        """List the process and all it started."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(each) for each in (task / "children").read_text().split()]
        return found

    def rss_mb(self) -> float:
        """Add up the resident memory of the tree, in megabytes (2^20)."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return total / 1024

    def written_mb(self) -> float:
        """Add up what the tree has had written to disk, in megabytes (2^20)."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
        return total / 2**20

    def disk_mb(self) -> float:
        """Add up what lies in its folder, in megabytes (2^20)."""
        sizes: dict[int, int] = {}  # A file that is moved while we look is one all the same.
        for path in self.directory.rglob("*"):
            with contextlib.suppress(OSError):
                seen = path.stat()
                sizes[seen.st_ino] = seen.st_size
        return sum(sizes.values()) / 2**20

    def cpu_seconds(self) -> float:
        """Add up the processor time of the tree."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICK


def pin_load() -> None:
    """Keep this process, and the stub it starts, off the servers' core."""
    os.sched_setaffinity(0, {LOAD_CORE})


def free_port() -> int:
    """Find a loopback port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def stub(clips: Path) -> Iterator[Server]:
    """Run the provider both gateways talk to, beside the load."""
    port = free_port()
    with running([sys.executable, "-m", "bench.upstream", str(port), str(clips)], port, "/count", core=LOAD_CORE) as it:
        yield it


@contextlib.contextmanager
def ours(upstream: Server, *, worker: bool = True, postgres: bool = False) -> Iterator[Server]:
    """
    Run our gateway on an empty store, with one account at the stub.

    :param worker: off, jobs are accepted and kept but never handed over.
    :param postgres: keep jobs there, on whichever core is free, and not in a file.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="reelgate-bench-") as place, contextlib.ExitStack() as stack:
        directory = Path(place)
        store = stack.enter_context(postgresql()) if postgres else f"sqlite:///{directory}/jobs.db"
        config = directory / "config.toml"
        config.write_text(
            f"""
            [server]
            host = "127.0.0.1"
            port = {port}
            sendfile = "x-accel:/clips/"
            [store]
            url = "{store}"
            [media]
            url = "file:///{directory}/media"
            [worker]
            enabled = {str(worker).lower()}
            [accounts.stub]
            provider = "sandbox"
            base_url = "http://127.0.0.1:{upstream.port}"
            max_running = 100000
            """
        )
        command = [str(Path(sys.executable).with_name("reelgate")), "serve", "--config", str(config)]
        secrets = dict(databases.ENVIRON)
        with running(command, port, "/health/ready", directory=directory, environment=secrets) as server:
            yield server


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run the PostgreSQL our tests run, as durable as it comes, and say where its database is."""
    os.sched_setaffinity(0, CORES)
    made = databases.PostgreSQL(fsync=True).start()
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield made.url_of("bench")
    finally:
        made.remove()


@contextlib.contextmanager
def litellm(upstream: Server, *, granian: bool) -> Iterator[Server]:
    """
    Run LiteLLM's proxy from its own environment, asking the same stub.

    :param granian: the faster of its servers; without, uvicorn, which starts sooner and is smaller.
    """
    port = free_port()
    command = [str(LITELLM / ".venv/bin/litellm"), "--config", str(LITELLM / "config.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    command += ["--run_granian"] if granian else []
    environment = {
        "BENCH_STUB_BASE": f"http://127.0.0.1:{upstream.port}/v1",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # as ours: open, on loopback only
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # without, it waits for a download while starting
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    with running(command, port, "/health/liveliness", environment=environment) as server:
        yield server


@contextlib.contextmanager
def nginx(files: Path, *, before: Server | None = None) -> Iterator[Server]:
    """
    Run nginx over a directory, one worker, ``sendfile`` on, nothing logged.

    :param before: our gateway, which then says who gets what, as the README has it.
    """
    port = free_port()
    upstream = asking = ""
    if before:
        upstream = f"upstream reelgate {{ server 127.0.0.1:{before.port}; keepalive 32; }}"
        asking = """
            proxy_pass http://reelgate;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Sendfile-Type X-Accel-Redirect;
        """
    with tempfile.TemporaryDirectory(prefix="reelgate-bench-nginx-") as place:
        config = Path(place) / "nginx.conf"
        temporary = "\n".join(
            f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"""
            {f"user {getpass.getuser()};" if os.geteuid() == 0 else ""}
            daemon off;
            worker_processes 1;
            pid {place}/nginx.pid;
            error_log stderr crit;
            events {{ worker_connections 512; }}
            http {{
                {temporary}
                access_log off;
                sendfile on;
                tcp_nopush on;
                types {{ video/mp4 mp4; }}
                keepalive_requests 1000000;
                {upstream}
                server {{
                    listen 127.0.0.1:{port};
                    root {files};
                    location = /up {{ return 200; }}
                    location /v1/ {{ {asking} }}
                }}
            }}
            """
        )
        command = [nginx_path() or "nginx", "-p", place, "-c", str(config), "-e", "stderr"]
        with running(command, port, "/up") as server:
            yield server


def nginx_path() -> str | None:
    """Find nginx, which Debian keeps off an ordinary user's path."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def prepare_litellm() -> str:
    """
    Make LiteLLM's environment from its lock, bytecode compiled so that its start is not charged for that.

    :returns: why it cannot be had, or nothing.
    """
    local = ROOT / ".uv/bin/uv"
    uv = str(local) if local.exists() else shutil.which("uv")
    if uv is None:
        return "" if (LITELLM / ".venv/bin/litellm").exists() else "uv is missing: run `make setup`"
    command = [uv, "sync", "--locked", "--compile-bytecode", "--project", str(LITELLM), "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return "" if done.returncode == 0 else f"uv sync failed: {done.stderr.strip()[-400:]}"


def compile_ours() -> None:
    """Compile our own bytecode, as LiteLLM's is: a start is not charged for a first run after an edit."""
    for package in ("gateway", "providers"):
        compileall.compile_dir(str(ROOT / package), quiet=2)


@contextlib.contextmanager
def running(
    command: list[str],
    port: int,
    path: str,
    *,
    core: int = SERVER_CORE,
    environment: dict[str, str] | None = None,
    directory: Path = ROOT,
) -> Iterator[Server]:
    """Start a command on one core, wait until it answers, and stop all of it in the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "REELGATE"))}
    with tempfile.TemporaryFile() as log:
        here = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})  # inherited by the child and all its threads
        begun = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=inherited | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError(f"{command[0]} cannot be started: {error}") from error
        finally:
            os.sched_setaffinity(0, here)
        server = Server(port=port, pid=process.pid, ready_seconds=0, directory=directory)
        try:
            while not _answers(port, path):
                late = time.perf_counter() - begun > _STARTING
                if late or process.poll() is not None:
                    what = "did not answer" if late else f"ended with {process.returncode}"
                    raise ServerError(f"{' '.join(command[:3])} {what}\n{_tail(log)}")
                time.sleep(0.01)
            server.ready_seconds = time.perf_counter() - begun
            yield server
        finally:
            _stop(process, server)


def _answers(port: int, path: str) -> bool:
    """Ask once whether a server answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    """Ask a server to stop; kill what is left of it after a while."""
    tree = server.tree()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in tree[1:]:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == process.pid:  # still one of ours, not a number used again
                os.kill(pid, signal.SIGKILL)


def _tail(log: IO[bytes]) -> str:
    """Read the end of a log."""
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace")
