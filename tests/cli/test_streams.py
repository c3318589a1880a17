"""Laws of where a command writes: what is closed, full or has few signs changes nothing of what was done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.server import Server


def shell(folder: Path, redirected: str, *words: str, **environ: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a new process whose streams are redirected as a shell does."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "gateway.cli", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_nobody_has_to_listen(tmp_path: Path) -> None:
    """Streams that are closed change nothing."""
    done = shell(tmp_path, "<&- >&- 2>&-", "table")

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


def test_no_file_is_taken_for_a_closed_stream(tmp_path: Path) -> None:
    """The descriptors of what is closed are held: what a store is opened by is never written to as the screen."""
    code = "import os; from gateway.cli.streams import open_streams; open_streams(); os._exit(os.open('x', 65) < 3)"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode


def test_a_full_disk_is_said_once(tmp_path: Path) -> None:
    """In a line, and not again as the interpreter ends; where not even that can be said, by the exit code."""
    done = shell(tmp_path, ">/dev/full", "table")
    assert (2, b"reelgate: No space left on device\n") == (done.returncode, done.stderr)
    assert 2 == shell(tmp_path, "2>/dev/full", "watch", "video_1", "--url", "nonsense").returncode


def test_a_sign_a_terminal_does_not_have_is_replaced(tmp_path: Path) -> None:
    """Nothing ends over it."""
    done = shell(tmp_path, "", "watch", "video_1", "--url", "http://k\u00efte", PYTHONIOENCODING="ascii:strict")

    assert (2, True) == (done.returncode, b"'http://k?te'" in done.stderr)


def test_what_is_no_text_is_told_before_anything_is_bought(tmp_path: Path) -> None:
    """Words of another encoding than the locale's reach no gateway."""
    done = shell(
        tmp_path, "", "generate", os.fsdecode(b"a k\xffte"), "--url", "http://127.0.0.1:9", LC_ALL="C", PYTHONUTF8="0"
    )
    assert (2, 1, True) == (done.returncode, done.stderr.count(b"\n"), rb"a k\udcffte" in done.stderr)


SMALL = ["--model", "sandbox/demo", "--seconds", "1", "--resolution", "360p"]


@pytest.mark.parametrize("redirected", [">/dev/full", ">/dev/full 2>&1", ">&-", "| true"])
def test_a_clip_is_fetched_without_a_screen(server: Server, tmp_path: Path, redirected: str) -> None:
    """What was bought is kept and nothing is wrong with it; where it could not be shown, stderr says how to go on."""
    piped = redirected == "| true"
    words = f"generate 'a kite' {' '.join(SMALL)}"
    script = f'{{ "$0" -m gateway.cli {words} {"" if piped else redirected}; echo $? >code; }} {redirected * piped}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT), "REELGATE_URL": server.url},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ("0\n", True) == ((tmp_path / "code").read_text(), (tmp_path / "clip.mp4").stat().st_size > 0)
    told = re.search(
        rb"^nothing can be shown .*: reelgate watch video_\w+ --download --out \.$", done.stderr, re.MULTILINE
    )
    assert (redirected in {">/dev/full", "| true"}) == bool(told)


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
def test_a_key_nobody_was_shown_is_none(tmp_path: Path, redirected: str) -> None:
    """It is not in force, and that is said."""
    store = {"REELGATE__STORE__URL": "sqlite:///reelgate.db"}
    done = shell(tmp_path, redirected, "keys", "create", "--name", "me", **store)
    assert (2, 1, True) == (done.returncode, done.stderr.count(b"\n"), b"none was made" in done.stderr)

    assert 0 == shell(tmp_path, "", "keys", "create", "--name", "you", **store).returncode
    assert 1 == shell(tmp_path, "", "keys", "list", **store).stdout.count(b"\n")
