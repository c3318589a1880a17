"""Laws of want of memory: what breaks off where nobody goes on with it ends the process; else it goes on."""

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from gateway.door.answering import understand
from gateway.memory import LAST_WORDS, STARVED, lacks
from providers.sandbox import render_pool
from tests.server import ROOT

LACKING = (MemoryError(), RuntimeError("can't start new thread"), OSError(errno.ENOMEM, "Cannot allocate memory"))
OTHERS = (None, RuntimeError("the pool is shut down"), OSError(errno.ENOSPC, "No space left"), ValueError("new thread"))

PROGRAM = """
import asyncio, threading
from gateway.memory import heed, vital

def fail():
    raise {error}

async def broken_off():
    fail()

async def main():
    heed(asyncio.get_running_loop())
    kept = {place}
    await asyncio.sleep(0.05)

asyncio.run(main())
"""
PLACES = {
    "callback": "asyncio.get_running_loop().call_soon(fail)",
    "thread": "threading.Thread(target=fail).start()",
    "task": "vital(asyncio.create_task(broken_off()))",
    "finalizer": "type('Loose', (), {'__del__': lambda self: fail()})() and None",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", ["MemoryError", "ValueError"])
def test_what_nobody_goes_on_with_ends_the_process(place: str, error: str) -> None:
    """At once, with its last words, for want of memory; another defect is said, and ends it where it is vital."""
    script = PROGRAM.format(error=error, place=PLACES[place])
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60)
    if error == "MemoryError":
        assert (done.returncode, done.stderr) == (STARVED, LAST_WORDS)
    else:
        assert done.returncode == (os.EX_SOFTWARE if place == "task" else 0)
        assert b"ValueError" in done.stderr


def test_want_of_memory_has_three_faces() -> None:
    """None for an object, none for a thread's stack, none for a process; nothing else is it."""
    assert [lacks(each) for each in LACKING] == [True] * 3
    assert not any(lacks(each) for each in OTHERS)


@pytest.mark.parametrize("error", LACKING)
def test_a_call_is_refused_and_may_come_again(error: Exception) -> None:
    """It is no defect of ours to be looked for."""
    problem = understand(error, {})
    assert (problem.status, problem.code, problem.headers) == (
        503,
        "overloaded",
        {"retry-after": "5", "retry-after-ms": "5000"},
    )


def test_a_pool_that_could_not_start_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for which there was no thread fails; the next one is done."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = render_pool(1)
    try:
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                pool.submit(abs, -1)
        again: Future[int] = pool.submit(abs, -2)
        assert again.result(20) == 2
    finally:
        pool.shutdown(cancel_futures=True)
