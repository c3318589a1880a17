"""Make and recognise ids: a prefix, then 48 bits of time and 80 of chance in hexadecimal, sorting by time."""

import os
import re

DIGITS = 32
SHAPE = re.compile(r"[a-z]+_[0-9a-f]{32}")


def new_id(prefix: str, now: int) -> str:
    """
    Make an id, e.g. ``video_019aa4…``; safe in an address and in a file name.

    ``now`` is in milliseconds.
    """
    return f"{prefix}_{now:012x}{os.urandom(10).hex()}"


def is_id(prefix: str, text: str) -> bool:
    """Whether a text can be an id of that kind; nothing else may reach the store or a path."""
    size = len(prefix) + 1 + DIGITS
    return len(text) == size and text.startswith(f"{prefix}_") and SHAPE.fullmatch(text) is not None
