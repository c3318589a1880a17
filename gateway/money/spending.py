"""Add up what was spent, by whatever it is asked for by: pure."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from gateway.clock import DAY_MS
from gateway.money.ledger import Spent

BY = ("provider", "model", "key", "account", "day")
"""What spending can be asked for by; a key is named by its id."""
EPOCH = date(1970, 1, 1)


class BackwardsError(Exception):
    """A stretch of time that ends before it begins."""


class Sum(Struct, frozen=True):
    """Hold one line of the answer: what it is of, and how much."""

    of: dict[str, str]
    usd_micros: int
    purchases: int


def add_up(spent: Sequence[Spent], by: Sequence[str]) -> list[Sum]:
    """Sum by the words asked for, in their order; day by day where days are asked for, the dearest first."""
    sums: dict[tuple[str, ...], tuple[int, int]] = {}
    for each in spent:
        words = {
            "provider": each.provider,
            "model": each.model,
            "key": each.owner,
            "account": each.account,
            "day": (EPOCH + timedelta(days=each.day)).isoformat(),
        }
        of = tuple(words[name] for name in by)
        usd, count = sums.get(of, (0, 0))
        sums[of] = (usd + each.usd_micros, count + each.purchases)
    lines = [Sum(dict(zip(by, of, strict=True)), usd, count) for of, (usd, count) in sums.items()]
    return sorted(lines, key=lambda line: (line.of.get("day", ""), -line.usd_micros, *line.of.values()))


def window(since: str, until: str, now: int) -> tuple[int, int]:
    """
    Read days (``2026-11-01``) as a stretch of time, the last day included; the last thirty days where none is named.

    :raises ValueError: when a text is no day.
    :raises BackwardsError: when the first day is after the last; it names both.
    """
    last = date.fromisoformat(until) if until else datetime.fromtimestamp(now / 1000, UTC).date()
    first = date.fromisoformat(since) if since else last - timedelta(days=29)
    if first > last:
        raise BackwardsError(f"since ({first}) is after until ({last}{'' if until else ', today'})")
    return (first - EPOCH).days * DAY_MS, ((last - EPOCH).days + 1) * DAY_MS
