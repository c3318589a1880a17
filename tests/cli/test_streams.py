"""Laws of where a command writes: what is closed, full or has few signs changes nothing of what was done."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT


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
