"""Comparing adds up what came of orders, and nothing twice."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comparing import BY, Came, describe, records_of, share_of
from gateway.job import Outcome
from gateway.ledger import Spent

WORDS = st.sampled_from(["a", "b"])
CAME = st.builds(
    Came,
    owner=WORDS,
    offer=st.sampled_from(["a:maker/one", "a:maker/two", "b:maker/one"]),
    account=WORDS,
    outcome=st.sampled_from(Outcome),
    seconds=st.none() | st.integers(0, 100),
    mismatched=st.booleans(),
    orders=st.integers(1, 9),
)
SPENT = st.builds(
    Spent,
    owner=WORDS,
    provider=WORDS,
    model=st.sampled_from(["maker/one", "maker/two"]),
    account=WORDS,
    day=st.just(0),
    usd_micros=st.integers(0, 10**9),
    purchases=st.just(1),
)


@given(st.lists(CAME), st.lists(SPENT), st.lists(st.sampled_from(BY), min_size=1, unique=True))
def test_every_order_stands_in_one_line_and_under_one_word(came: list[Came], spent: list[Spent], by: list[str]) -> None:
    """However it is cut, the orders are all there, each with one end; a share is one of verdicts."""
    records = records_of(came, spent, by)
    assert sum(each.orders for each in came) == sum(each.orders for each in records)
    assert len({tuple(each.of.items()) for each in records}) == len(records)
    for each in records:
        ends = (each.made, each.failed, each.refused, each.turned_away, each.cancelled, each.in_doubt, each.under_way)
        assert each.orders == sum(ends)
        assert each.mismatched <= each.made
        assert each.made_share is None or 0 <= each.made_share <= 1
        assert each.seconds is None or each.seconds[0] <= each.seconds[1]
        assert {*by} <= describe(each).keys()
    made = [each for each in came if each.outcome is Outcome.SUCCEEDED]
    assert sum(each.orders for each in made if each.mismatched) == sum(each.mismatched for each in records)
    slowest = max((each.seconds for each in made if each.seconds is not None), default=None)
    assert slowest is None or max(each.seconds[1] for each in records if each.seconds) <= slowest
    assert (slowest is None) == all(each.seconds is None for each in records)
    if by == ["provider"]:
        met = {each.offer[0] for each in came}
        paid = sum(each.usd_micros for each in spent if each.provider in met)
        assert paid == sum(each.usd_micros for each in records)


@given(st.lists(st.integers(0, 50), min_size=1), st.floats(0.01, 1))
def test_a_share_of_times_is_the_least_that_is_enough(times: list[int], share: float) -> None:
    """So many took no longer, and fewer would at any time less."""
    found = share_of(Counter(times), share)
    assert sum(each <= found for each in times) >= share * len(times)
    assert sum(each < found for each in times) < share * len(times)


def test_no_times_have_no_share() -> None:
    """Nothing is made up."""
    with pytest.raises(ValueError, match="no times"):
        share_of(Counter(), 0.5)
