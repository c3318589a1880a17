"""Make and recognise ids: a prefix, then 48 bits of time and 80 of chance in 26 letters, sorting by time."""

import os
import re
from base64 import b32hexencode

SHAPE = re.compile(r"[a-z]+_[0-9a-v]{26}")


def new_id(prefix: str, now: int) -> str:
    """
    Make an id, e.g. ``video_01kah2…``.

    ``now`` is in milliseconds; the letters are base32hex, safe in an address and in a file name.
    """
    letters = b32hexencode(now.to_bytes(6, "big") + os.urandom(10))
    return f"{prefix}_{letters[:26].decode().lower()}"


def is_id(prefix: str, text: str) -> bool:
    """Whether a text can be an id of that kind; nothing else may reach the store or a path."""
    return len(text) == len(prefix) + 27 and text.startswith(f"{prefix}_") and SHAPE.fullmatch(text) is not None
