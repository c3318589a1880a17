"""
Die on purpose at a named place, to prove what survives: ``REELGATE_CRASH_AT=name`` or ``name:3`` for the third time.

Without the variable a failpoint is a function that does nothing.
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
    if name not in NAMES:
        raise UnknownFailpointError(f"REELGATE_CRASH_AT is {wanted!r}; known are {', '.join(NAMES)}")
    left = int(nth or 1)

    def failpoint(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


failpoint: Callable[[str], None] = (
    _armed(os.environ["REELGATE_CRASH_AT"]) if os.environ.get("REELGATE_CRASH_AT") else _nothing
)
"""Pass a named place, or end there."""
