"""Compare sellers by what came of the orders made at them: pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gateway.job import OPEN, Outcome
from gateway.ledger import Spent

BY = ("provider", "model", "account", "key")
"""What sellers can be compared by; a key is named by its id."""


class Came(Struct, frozen=True):
    """Hold how many orders at one offer came to the same end after the same time."""

    owner: str
    offer: str
    """``provider:model``."""
    account: str
    outcome: Outcome
    seconds: int | None
    """From the intent to the end, where there is one."""
    mismatched: bool
    """Whether the clip is not what was ordered."""
    orders: int


class Record(Struct, frozen=True):
    """Hold one line of the comparison: of whom, and what came of the orders there."""

    of: dict[str, str]
    orders: int
    made: int
    failed: int
    """Taken and not made, or given up."""
    refused: int
    """Turned down for what they were."""
    turned_away: int
    """Not taken for a reason that is not the order's: a full queue, a rest."""
    cancelled: int
    in_doubt: int
    """Nobody can tell whether they were taken."""
    under_way: int
    mismatched: int
    """Made, and not as ordered."""
    seconds: tuple[int, int] | None
    """From order to kept clip: half of those made took no longer than the first, nine in ten than the second."""
    usd_micros: int
    """Spent in that time, on these orders or on older ones."""

    @property
    def made_share(self) -> float | None:
        """What share of the orders that came to a verdict was made."""
        verdicts = self.made + self.failed + self.refused
        return self.made / verdicts if verdicts else None

    @property
    def usd_per_made(self) -> float | None:
        """What an order that was made cost, those that were billed for nothing included."""
        return self.usd_micros / 1_000_000 / self.made if self.made else None


def records_of(came: Sequence[Came], spent: Sequence[Spent], by: Sequence[str]) -> list[Record]:
    """Compare by the words asked for, in their order; whoever made most first."""
    counts: dict[tuple[str, ...], Counter[Outcome]] = {}
    times: dict[tuple[str, ...], Counter[int]] = {}
    wrong: Counter[tuple[str, ...]] = Counter()
    paid: Counter[tuple[str, ...]] = Counter()
    for each in came:
        provider, _, model = each.offer.partition(":")
        words = {"provider": provider, "model": model, "account": each.account, "key": each.owner}
        of = tuple(words[name] for name in by)
        counts.setdefault(of, Counter())[each.outcome] += each.orders
        if each.outcome is Outcome.SUCCEEDED:
            wrong[of] += each.orders * each.mismatched
            if each.seconds is not None:
                times.setdefault(of, Counter())[each.seconds] += each.orders
    for sum_ in spent:
        words = {"provider": sum_.provider, "model": sum_.model, "account": sum_.account, "key": sum_.owner}
        paid[tuple(words[name] for name in by)] += sum_.usd_micros
    records = [
        Record(
            of=dict(zip(by, of, strict=True)),
            orders=count.total(),
            made=count[Outcome.SUCCEEDED],
            failed=count[Outcome.FAILED],
            refused=count[Outcome.REFUSED],
            turned_away=count[Outcome.NOT_ACCEPTED] + count[Outcome.ABSENT],
            cancelled=count[Outcome.CANCELLED],
            in_doubt=count[Outcome.UNKNOWN],
            under_way=sum(count[outcome] for outcome in OPEN - {Outcome.UNKNOWN}),
            mismatched=wrong[of],
            seconds=(share_of(times[of], 0.5), share_of(times[of], 0.9)) if of in times else None,
            usd_micros=paid[of],
        )
        for of, count in counts.items()
    ]
    return sorted(records, key=lambda record: (-record.made, -record.orders, *record.of.values()))


def describe(record: Record) -> dict[str, Any]:
    """Write a record as it is answered, and printed as JSON."""
    half, most = record.seconds or (None, None)
    return {
        **record.of,
        "orders": record.orders,
        "made": record.made,
        "failed": record.failed,
        "refused": record.refused,
        "turned_away": record.turned_away,
        "cancelled": record.cancelled,
        "in_doubt": record.in_doubt,
        "under_way": record.under_way,
        "mismatched": record.mismatched,
        "made_share": record.made_share,
        "seconds_p50": half,
        "seconds_p90": most,
        "usd": record.usd_micros / 1_000_000,
        "usd_per_made": record.usd_per_made,
    }


def share_of(times: Counter[int], share: float) -> int:
    """
    Find the least time that so large a share of all stays within.

    >>> share_of(Counter({10: 9, 60: 1}), 0.9)
    10
    """
    within = 0
    for seconds in sorted(times):
        within += times[seconds]
        if within >= share * times.total():
            return seconds
    raise ValueError("there are no times")
