"""Spending adds up whatever it is asked for by, over whole days."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import DAY_MS
from gateway.money.ledger import Spent
from gateway.money.spending import BY, BackwardsError, add_up, window

WORDS = st.sampled_from(["a", "b"])
SPENT = st.builds(
    Spent,
    owner=WORDS,
    provider=WORDS,
    model=WORDS,
    account=WORDS,
    day=st.sampled_from([0, 20_413, 20_414]),
    usd_micros=st.integers(0, 5),
    purchases=st.integers(1, 3),
)
NOON = 1_763_726_400_000
"""2025-11-21 12:00 UTC, the day 20,413."""


def words(spent: Spent) -> dict[str, str]:
    day = datetime.fromtimestamp(spent.day * DAY_MS / 1000, UTC).date().isoformat()
    return {**{name: getattr(spent, name) for name in BY[:2] + BY[3:4]}, "key": spent.owner, "day": day}


@given(st.lists(SPENT), st.lists(st.sampled_from(BY), unique=True))
def test_every_purchase_stands_in_one_line(spent: list[Spent], by: list[str]) -> None:
    """Each line holds all that was spent on what it names; day by day, the dearest first."""
    lines = add_up(spent, by)
    assert len(lines) == len({tuple(each.of.items()) for each in lines})
    for line in lines:
        mine = [each for each in spent if line.of.items() <= words(each).items()]
        assert [*line.of] == by
        assert line.usd_micros == sum(each.usd_micros for each in mine)
        assert line.purchases == sum(each.purchases for each in mine) > 0
    assert sum(line.purchases for line in lines) == sum(each.purchases for each in spent)
    days = [line.of.get("day", "") for line in lines]
    assert days == sorted(days)
    for day in {*days}:
        sums = [line.usd_micros for line in lines if line.of.get("day", "") == day]
        assert sums == sorted(sums, reverse=True)
    assert lines == add_up(spent[::-1], by)


@pytest.mark.parametrize(
    ("since", "until", "first", "days"),
    [
        ("", "", "2025-10-23", 30), ("2025-11-20", "", "2025-11-20", 2), ("", "2025-01-30", "2025-01-01", 30),
        ("2024-02-28", "2024-03-01", "2024-02-28", 3), ("2025-11-21", "2025-11-21", "2025-11-21", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("now", [NOON - DAY_MS // 2, NOON, NOON + DAY_MS // 2 - 1])
def test_the_last_day_counts_whole(since: str, until: str, first: str, days: int, now: int) -> None:
    """Both days named are counted, from midnight to midnight (UTC); where none is named, thirty with today."""
    start = int(datetime.fromisoformat(f"{first}T00:00+00:00").timestamp() * 1000)
    assert window(since, until, now) == (start, start + days * DAY_MS)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("2025-11-20", "2025-11-19", r"since \(2025-11-20\) is after until \(2025-11-19\)"),
        ("2025-11-22", "", r"since \(2025-11-22\) is after until \(2025-11-21, today\)"),
    ],
)
def test_a_stretch_that_ends_before_it_begins_is_none(since: str, until: str, said: str) -> None:
    """Nothing spent in it is no answer to what was meant; both days are named."""
    with pytest.raises(BackwardsError, match=said):
        window(since, until, NOON)
