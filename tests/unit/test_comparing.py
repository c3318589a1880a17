"""Comparing adds up what came of orders, and nothing twice."""

from collections import Counter
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.api.schemas.sums import COMPARED
from gateway.cli.money import comparison
from gateway.jobs.job import Outcome
from gateway.money.comparing import BY, Came, describe, records_of, share_of
from gateway.money.ledger import Spent

WORDS = st.sampled_from(["a", "b"])
CAME = st.builds(
    Came,
    owner=WORDS,
    offer=st.sampled_from(["a:maker/one", "a:maker/two", "b:maker/one"]),
    account=WORDS,
    outcome=st.just(Outcome.SUCCEEDED) | st.sampled_from(Outcome),
    seconds=st.none() | st.integers(0, 100),
    mismatched=st.booleans(),
    late=st.booleans(),
    lost=st.booleans(),
    orders=st.integers(1, 9),
    clips=st.integers(0, 9),
    clips_ms=st.integers(0, 10**5),
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


def words(offer: str, of: Came | Spent) -> dict[str, str]:
    provider, _, model = offer.partition(":")
    return {"provider": provider, "model": model, "account": of.account, "key": of.owner}


@given(st.lists(CAME), st.lists(SPENT), st.lists(st.sampled_from(BY), min_size=1, unique=True))
def test_every_order_stands_in_one_line_and_under_one_word(came: list[Came], spent: list[Spent], by: list[str]) -> None:
    """However it is cut, the orders are all there, each with one end; a share is one of verdicts."""
    records = records_of(came, spent, by)
    assert sum(each.orders for each in came) == sum(each.orders for each in records)
    assert len({tuple(each.of.items()) for each in records}) == len(records)
    for each in records:
        verdicts = (each.made, each.lost, each.failed, each.refused)
        assert each.orders == sum(verdicts) + each.turned_away + each.cancelled + each.in_doubt + each.under_way
        assert max(each.mismatched, each.late) <= each.made
        assert each.made_share == (each.made / sum(verdicts) if sum(verdicts) else None)
        assert {*by} | {*COMPARED} - {*BY} == describe(each).keys()
        mine = [one for one in came if each.of.items() <= words(one.offer, one).items()]
        brought = [one for one in mine if one.outcome is Outcome.SUCCEEDED]
        made = [one for one in brought if not one.lost]
        assert each.orders == sum(one.orders for one in mine)
        assert each.lost == sum(one.orders for one in brought if one.lost)
        assert each.mismatched == sum(one.orders for one in made if one.mismatched)
        assert each.late == sum(one.orders for one in made if one.late)
        assert (each.clips, each.clips_ms) == (sum(one.clips for one in made), sum(one.clips_ms for one in made))
        times = [one.seconds for one in made for _ in range(one.orders) if one.seconds is not None and not one.late]
        assert (each.seconds is None) == (not times)
        for found, share in zip(each.seconds or (), (0.5, 0.9), strict=False):
            assert sum(time < found for time in times) < share * len(times) <= sum(time <= found for time in times)
        paid = [one for one in spent if each.of.items() <= words(f"{one.provider}:{one.model}", one).items()]
        assert each.usd_micros == sum(one.usd_micros for one in paid)
        assert (each.usd_per_clip or 0) * each.clips == pytest.approx(each.usd_micros / 1e6 if each.clips else 0)
        assert (each.usd_per_second or 0) * each.clips_ms == pytest.approx(
            each.usd_micros / 1e3 if each.clips_ms else 0
        )
        shown = describe(each)
        assert (shown["usd"], shown["clip_seconds"]) == (each.usd_micros / 1e6, each.clips_ms / 1000)
        assert (shown["seconds_p50"], shown["seconds_p90"]) == (each.seconds or (None, None))
    assert sorted(records, key=lambda each: (-each.made, -each.orders)) == records


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


@pytest.mark.parametrize("by", [["provider", "model"], [*BY]])
def test_a_comparison_is_read_in_a_narrow_terminal_and_through_a_pipe(by: list[str]) -> None:
    """Every figure stands there whole, and every word, if need be on several lines."""
    model, key = "google/veo-3.1-lite-low-priority", "key_0123456789abcdef0123456789abcdef"
    came = Came(
        owner=key, offer=f"aigenerate:{model}", account="aigenerate-main", outcome=Outcome.SUCCEEDED, seconds=1234,
        mismatched=True, late=False, lost=False, orders=12_345, clips=12_345, clips_ms=98_760_000,
    )  # fmt: skip
    paid = Spent(
        owner=key, provider="aigenerate", model=model, account="aigenerate-main", day=0, usd_micros=9_876_543_210,
        purchases=12_345,
    )  # fmt: skip
    out = StringIO()
    Console(file=out, width=80).print(comparison(records_of([came], [paid], by), by))
    shown = out.getvalue()

    assert "…" not in shown
    figures = {"12345", "(100%)", "1234 s", "98760", "$9,876.5432", "$0.8000", "$0.1000"}
    assert {each for each in figures if each in shown} == figures
    words = "".join(line[:28].strip() for line in shown.splitlines())
    assert [each in words for each in ("aigenerate", model, "aigenerate-main", key)][: len(by)] == [True] * len(by)
