"""
Die on purpose at a named place, to prove what survives: ``REELGATE_CRASH_AT=name`` or ``name:3`` for the third time.

``REELGATE_FREEZE_AT=name`` stands still there, each time, until somebody sends SIGCONT. Without either variable a
failpoint is a function that does nothing.
"""

import os
import signal
from collections.abc import Callable

NAMES = (
    "before_accept",
    "after_accept",
    "after_claim",
    "after_intent",
    "after_answer",
    "after_receipt",
    "after_running",
    "after_verdict",
    "after_storing",
    "while_fetching",
    "after_file",
    "after_end",
)
"""Every failpoint, in the order a job passes them."""


class UnknownFailpointError(Exception):
    """A failpoint was asked for that is not there."""


def _nothing(name: str) -> None:
    """Pass."""


def _armed(wanted: str) -> Callable[[str], None]:
    """Make a failpoint that kills this process at the n-th passing of one name."""
    name, _, nth = wanted.partition(":")
    _check("REELGATE_CRASH_AT", name)
    left = int(nth or 1)

    def failpoint(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


def _icy(name: str) -> Callable[[str], None]:
    """Make a failpoint that stops this process at every passing of one name."""
    _check("REELGATE_FREEZE_AT", name)

    def failpoint(passed: str) -> None:
        if passed == name:
            os.kill(os.getpid(), signal.SIGSTOP)

    return failpoint


def _check(variable: str, name: str) -> None:
    """
    Refuse a name that no failpoint has.

    :raises UnknownFailpointError: for such a name.
    """
    if name not in NAMES:
        raise UnknownFailpointError(f"{variable} is {name!r}; known are {', '.join(NAMES)}")


def _chosen(crash_at: str, freeze_at: str) -> Callable[[str], None]:
    """Choose what a failpoint does."""
    if crash_at:
        return _armed(crash_at)
    return _icy(freeze_at) if freeze_at else _nothing


failpoint = _chosen(os.environ.get("REELGATE_CRASH_AT", ""), os.environ.get("REELGATE_FREEZE_AT", ""))
"""Pass a named place, end there, or stand still."""
