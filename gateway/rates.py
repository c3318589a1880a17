"""Hold to so many a minute: a minute's worth at once, filling up evenly; pure."""

import math

Allowance = tuple[int, float]
"""Up to when it was reckoned, in milliseconds, and what was left by then."""


def take(held: Allowance | None, per_minute: int, now: int) -> tuple[Allowance, int]:
    """
    Take one of what is left; the number says in how many seconds to come back where there is none, else 0.

    >>> take(None, 60, 0)
    ((0, 59.0), 0)
    >>> take((0, 0.0), 60, 500)
    ((500, 0.5), 1)
    """
    at, left = held or (now, float(per_minute))
    left = min(per_minute, left + max(0, now - at) * per_minute / 60_000)
    if left < 1:
        return (now, left), max(1, math.ceil((1 - left) * 60 / per_minute))
    return (now, left - 1), 0
