"""
Start programs as ``python -m`` does, but where the libraries they stand on are loaded already.

Loading them is most of a gateway's start, and the tests start hundreds. One process for each that runs tests loads what
is no part of the gateway, and forks; what it forks loads the gateway itself, in an environment of its own.
"""

import multiprocessing
import os
import runpy
import sys
from functools import cache
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

ROOT = Path(__file__).parent.parent


def start(*words: str, environ: dict[str, str], folder: Path, out: Path, err: Path) -> BaseProcess:
    """Start what ``python -m`` would with these words; it ends with this process at the latest."""
    process = _forks().Process(target=_become, args=(words, environ, folder, out, err), daemon=True)
    # Each would import what is run here first, which may load the gateway in our environment.
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


@cache
def _forks() -> ForkServerContext:
    """Start what forks, wherever its first user stands."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.libraries"])
    with patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


def _become(words: tuple[str, ...], environ: dict[str, str], folder: Path, out: Path, err: Path) -> None:
    """Be that program: as if nothing had been before it."""
    multiprocessing.current_process().daemon = False  # which may start none of their own
    # Semaphores it is killed over are nobody else's to clear up, as of one that was started alone.
    resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    for path, stream in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, stream)
        os.close(file)
    sys.path[:0] = [str(folder), *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
