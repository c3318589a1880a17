"""Hold to so many a minute, and say what is left: a minute's worth at once, filling up evenly; pure."""

import math

RATED = "reelgate.rate"
"""Where a request's scope holds the key's rate, and what is left of it."""
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


def told(left: float, per_minute: int) -> list[tuple[bytes, bytes]]:
    """
    Write what is left as headers, in the words of the IETF's draft and in OpenAI's; it resets when all is back.

    >>> told(12.5, 60)[:2]
    [(b'ratelimit-policy', b'"default";q=60;w=60'), (b'ratelimit', b'"default";r=12;t=48')]
    """
    reset = math.ceil((per_minute - left) * 60 / per_minute)
    return [
        (b"ratelimit-policy", b'"default";q=%d;w=60' % per_minute),
        (b"ratelimit", b'"default";r=%d;t=%d' % (left, reset)),
        (b"x-ratelimit-limit-requests", b"%d" % per_minute),
        (b"x-ratelimit-remaining-requests", b"%d" % left),
        (b"x-ratelimit-reset-requests", b"%ds" % reset),
    ]
