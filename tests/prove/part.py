"""What a part of the proof is, and how what it saw adds up."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

Figures = dict[str, Any]
"""What a stretch of a part saw: numbers, which add up; lists, which go on; and figures within figures."""


class Part(Struct, frozen=True, kw_only=True):
    """Hold one part: so many units, lived through a stretch at a time."""

    what: str
    """What is done, as the page says it."""
    units: str
    most: int
    """How many units make the whole part."""
    stretch: int
    """How many are done between two entries in the record."""
    run: Callable[[range], Figures]
    says: Callable[[Mapping[str, Any]], str]
    """Puts the figures of everything done so far into words."""
    beside: bool = False
    """Whether stretches may be lived through beside each other: they measure nothing."""
    table: Callable[[Mapping[str, Any]], str] | None = None
    """Puts them into a section of the page, where a line is not enough."""


def add(before: Figures, more: Mapping[str, Any]) -> Figures:
    """Add figures up: numbers and lists by adding, what is said last of anything else stands."""
    sums = dict(before)
    for name, value in more.items():
        was = sums.get(name)
        if isinstance(value, dict):
            sums[name] = add(was if isinstance(was, dict) else {}, value)
        elif name.startswith(("most_", "least_")) and was is not None:
            sums[name] = max(was, value) if name.startswith("most_") else min(was, value)
        elif isinstance(value, int | float | list) and was is not None:
            sums[name] = was + value
        else:
            sums[name] = value
    return dict(sorted(sums.items()))


def broken(what: object, error: BaseException) -> Figures:
    """Write down that a law was broken, and where it can be seen again."""
    said = " ".join([str(error), *getattr(error, "__notes__", ())])[:4000]
    return {"broken": [f"{what}: {type(error).__name__}: {said}"]}
