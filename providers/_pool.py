"""
Processes for work on media: none before the first call, and none left behind.

A decoder that crashes on a stranger's bytes takes its process with it, not the gateway; the next call gets
another. Whatever ends the gateway ends its processes too.
"""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


def render_pool(workers: int) -> Executor:
    """Make a pool of processes: none before the first call, others when one dies, none after the gateway's end."""
    return _Pool(workers)


class _Pool(Executor):
    """Stand for a process pool, and replace it when it breaks."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Put a call into the queue."""
        with self._lock:
            try:
                return self._open().submit(fn, *args, **kwargs)
            except BrokenExecutor:
                self._pool = None
                return self._open().submit(fn, *args, **kwargs)
            except BaseException:
                self._pool = None  # Broken off in the middle, as for want of memory, it would keep every call waiting.
                raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end at once what is running where calls are cancelled."""
        with self._lock:
            self._closed = True
            if cancel_futures and self._lifeline:
                self._lifeline.close()
            if self._pool:
                self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def _open(self) -> ProcessPoolExecutor:
        """Make the pool where there is none."""
        if self._closed:
            raise RuntimeError("the pool is shut down")
        if self._pool is None:
            context = get_context("spawn")
            # Nothing is ever written to it: its other end, closed by us or by our death, is the message.
            watched, self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(self._workers, context, _settle_in, (watched, os.getpid()))
        return self._pool


def _settle_in(lifeline: Connection, parent: int) -> None:
    """Prepare a rendering process: leave Ctrl-C to the gateway, let it go first, die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    threading.Thread(target=_die_with, args=(lifeline, parent), daemon=True).start()


def _die_with(lifeline: Connection, parent: int) -> None:
    """End this process when its gateway has gone."""
    while not lifeline.poll(5) and os.getppid() == parent:
        pass
    os._exit(1)
