"""Compare sellers by what came of the orders made at them: pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from gateway.jobs.job import OPEN, Outcome
from gateway.money.ledger import Spent

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
    late: bool
    """Whether their videos had ended without them by then."""
    lost: bool
    """Whether all that was made is lost."""
    orders: int
    clips: int
    """How many clips were kept of them all together, and how long those are."""
    clips_ms: int


class Record(Struct, frozen=True):
    """Hold one line of the comparison: of whom, and what came of the orders there."""

    of: dict[str, str]
    orders: int
    made: int
    """Made, with a clip kept of it; one that came late was made, too."""
    lost: int
    """Made and paid for, and no clip of it was kept."""
    failed: int
    """Taken and not made, or given up."""
    refused: int
    """Turned down for what they were."""
    turned_away: int
    """Not taken for a reason that is not the order's: a full queue, a rest, an account without access or means."""
    cancelled: int
    in_doubt: int
    """Nobody can tell whether they were taken."""
    under_way: int
    mismatched: int
    """Made, and not as ordered."""
    late: int
    """Made, and kept only once their videos had ended without them."""
    seconds: tuple[int, int] | None
    """
    From order to kept clip: half of those made took no longer than the first, nine in ten than the second.

    Those that came late are not among them: when their clips were ready nobody saw.
    """
    clips: int
    """Clips kept: those that came late, or not as ordered, as they came; of one order there may be several."""
    clips_ms: int
    """How long those are together, extensions without their sources."""
    usd_micros: int
    """Spent in that time, on these orders or on older ones."""

    @property
    def made_share(self) -> float | None:
        """What share of the orders that came to a verdict was made."""
        verdicts = self.made + self.lost + self.failed + self.refused
        return self.made / verdicts if verdicts else None

    @property
    def usd_per_clip(self) -> float | None:
        """What a clip kept cost, with all that was paid for nothing."""
        return self.usd_micros / 1_000_000 / self.clips if self.clips else None

    @property
    def usd_per_second(self) -> float | None:
        """What a second of those clips cost, likewise."""
        return self.usd_micros / 1_000 / self.clips_ms if self.clips_ms else None


def records_of(came: Sequence[Came], spent: Sequence[Spent], by: Sequence[str]) -> list[Record]:
    """Compare by the words asked for, in their order; whoever made most first."""
    orders: dict[tuple[str, ...], list[Came]] = {}
    paid: Counter[tuple[str, ...]] = Counter()
    for each in came:
        provider, _, model = each.offer.partition(":")
        words = {"provider": provider, "model": model, "account": each.account, "key": each.owner}
        orders.setdefault(tuple(words[name] for name in by), []).append(each)
    for sum_ in spent:
        words = {"provider": sum_.provider, "model": sum_.model, "account": sum_.account, "key": sum_.owner}
        paid[tuple(words[name] for name in by)] += sum_.usd_micros
    records = [_record(dict(zip(by, of, strict=True)), each, paid[of]) for of, each in orders.items()]
    return sorted(records, key=lambda record: (-record.made, -record.orders, *record.of.values()))


def _record(of: dict[str, str], came: Sequence[Came], usd_micros: int) -> Record:
    """Add up what came of the orders of one line."""
    count: Counter[Outcome] = Counter()
    times: Counter[int] = Counter()
    for each in came:
        count[each.outcome] += each.orders
    kept = [each for each in came if each.outcome is Outcome.SUCCEEDED and not each.lost]
    for each in kept:
        if each.seconds is not None and not each.late:
            times[each.seconds] += each.orders
    made = sum(each.orders for each in kept)
    return Record(
        of=of,
        orders=count.total(),
        made=made,
        lost=count[Outcome.SUCCEEDED] - made,
        failed=count[Outcome.FAILED],
        refused=count[Outcome.REFUSED],
        turned_away=count[Outcome.NOT_ACCEPTED] + count[Outcome.ABSENT] + count[Outcome.ACCOUNT_REFUSED],
        cancelled=count[Outcome.CANCELLED],
        in_doubt=count[Outcome.UNKNOWN] + count[Outcome.ABANDONED],
        under_way=sum(count[outcome] for outcome in OPEN - {Outcome.UNKNOWN}),
        mismatched=sum(each.orders for each in kept if each.mismatched),
        late=sum(each.orders for each in kept if each.late),
        seconds=(share_of(times, 0.5), share_of(times, 0.9)) if times else None,
        clips=sum(each.clips for each in kept),
        clips_ms=sum(each.clips_ms for each in kept),
        usd_micros=usd_micros,
    )


def describe(record: Record) -> dict[str, Any]:
    """Write a record as it is answered, and printed as JSON."""
    half, most = record.seconds or (None, None)
    return {
        **record.of,
        "orders": record.orders,
        "made": record.made,
        "lost": record.lost,
        "failed": record.failed,
        "refused": record.refused,
        "turned_away": record.turned_away,
        "cancelled": record.cancelled,
        "in_doubt": record.in_doubt,
        "under_way": record.under_way,
        "mismatched": record.mismatched,
        "late": record.late,
        "made_share": record.made_share,
        "seconds_p50": half,
        "seconds_p90": most,
        "clips": record.clips,
        "clip_seconds": record.clips_ms / 1_000,
        "usd": record.usd_micros / 1_000_000,
        "usd_per_clip": record.usd_per_clip,
        "usd_per_second": record.usd_per_second,
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
