"""Law of the start: a gateway finds all it needs by itself, where no library was loaded for it (as ours are)."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.app import Gateway
from gateway.cli.serve import tell
from gateway.offers.accounts import Unused
from gateway.store.database import Kind
from tests import databases
from tests.server import START_SECONDS, Server, eventually


@pytest.mark.parametrize("kind", databases.KINDS)
def test_it_starts_from_nothing(tmp_path: Path, kind: Kind) -> None:
    """In a new interpreter, on either database, by name, ``serve`` answers that it is ready, and ends well."""
    with databases.using(kind):
        server = Server(tmp_path, REELGATE__SERVER__HOST="localhost")
    with server.log.open("wb") as log:
        words = [sys.executable, "-m", "gateway.cli", "serve"]
        process = subprocess.Popen(words, env=server.environ, cwd=tmp_path, stdout=log, stderr=log)
    try:
        eventually(lambda: server.ready() or process.poll() is not None, seconds=START_SECONDS)
    finally:
        process.terminate()
    assert process.wait(40) == 0, server.log.read_text()


@pytest.mark.parametrize(("number", "status"), [(1, 128 + signal.SIGTERM), (7, -signal.SIGTERM)])
def test_a_container_ends_when_it_is_told_to(number: int, status: int) -> None:
    """For a first process SIGTERM has no default: what comes before the gateway listens would be lost, and killed."""
    program = f"""
import os, signal, time
from gateway import cli

def told():
    os.kill(itself, signal.SIGTERM)
    time.sleep(0.01)

itself = os.getpid()
os.getpid = lambda: {number}
cli.app.command(told)
cli.main(["told"])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert done.returncode == status, done.stderr


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_is_told_in_words_and_a_log_in_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    """Which account is not used, and that no key exists: either way both, and nowhere twice."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    unused = Unused("gemini", "the environment lacks GEMINI_API_KEY")
    with capture_logs() as said:
        tell(Gateway(None, (unused,), guarded=False, alive=None, hush=None), "http://here")  # type: ignore[arg-type]
    words = capsys.readouterr().err.splitlines()
    if terminal:
        assert (3, []) == (len(words), said)
        assert "reelgate: account gemini is not used: the environment lacks GEMINI_API_KEY" == words[0]
        assert ("keys create" in words[1], "reelgate: http://here") == (True, words[2])
    else:
        assert ([], ["account.unused", "gateway.unguarded"]) == (words, [each["event"] for each in said])
        assert ("gemini", unused.reason) == (said[0]["account"], said[0]["reason"])
        assert "keys create" in said[1]["reason"]
