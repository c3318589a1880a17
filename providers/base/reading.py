"""
Read what a provider says as structs of ours, which take what they know and pass over the rest.

Its bytes are anybody's: broken JSON, JSON without end, text that is no UTF-8 where a text is asked for.
"""

from typing import Any, TypeVar

import msgspec

from providers.base.errors import Malformed

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes raises."""


def told(body: bytes, kind: type[T]) -> T | None:
    """Read a body as one of our structs; nothing where it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE:
        return None


def known(value: Any, kind: type[T], what: str) -> T:
    """
    Read a decoded answer as one of our structs.

    :param what: what it should be, as the error says: task, job.
    :raises Malformed: when it is none.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"the answer is no {what}: {error}") from error


def percent(said: float | None) -> int | None:
    """
    Read progress, whatever is said, as 0 to 100.

    >>> percent(41.9), percent(7777), percent(None)
    (41, 100, None)
    """
    return None if said is None else int(min(max(said, 0), 100))
