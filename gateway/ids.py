"""Make and recognise ids: a prefix, then 48 bits of time and 80 of chance in hexadecimal, sorting by time."""

import os
import re

DIGITS = 32
SHAPE = re.compile(r"[a-z]+_[0-9a-f]{32}")

_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)


def chance() -> str:
    """
    Draw 96 bits of chance, as 24 hexadecimal digits.

    Drawn from the system some hundred at a time: asking it lets go of the interpreter, and getting that back from
    the server's thread costs more than the rest of making an id.
    """
    try:
        return _drawn.pop()
    except IndexError:
        many = os.urandom(12 * 256).hex()
        _drawn.extend(many[at : at + 24] for at in range(24, len(many), 24))
        return many[:24]


def new_id(prefix: str, now: int) -> str:
    """
    Make an id, e.g. ``video_019aa4…``; safe in an address and in a file name.

    ``now`` is in milliseconds.
    """
    return f"{prefix}_{now:012x}{chance()[:20]}"


def least_id(prefix: str, at: int) -> str:
    """Make what sorts before every id made from a time on, and after every earlier one."""
    return f"{prefix}_{at:012x}"


def is_id(prefix: str, text: str) -> bool:
    """Whether a text can be an id of that kind; nothing else may reach the store or a path."""
    size = len(prefix) + 1 + DIGITS
    return len(text) == size and text.startswith(f"{prefix}_") and SHAPE.fullmatch(text) is not None
