"""Laws of the breaker: who fails too often is left alone for a while, who does not never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.offers.breaker import LEAST, LONGEST_MS, REST_MS, ROW, WINDOW, Breaker

NOW = 1_800_000_000_000
CALLS = st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=200)


@given(CALLS)
def test_half_of_enough_calls_is_too_much(calls: list[tuple[int, bool]]) -> None:
    """A rest begins exactly where so many of the last ten seconds' calls failed, and none while there is one."""
    breaker, now, counted = Breaker(), NOW, list[tuple[int, bool]]()
    for passed, failed in calls:
        now += passed
        rests = now < breaker.until
        counted = [each for each in counted if each[0] // 1000 > now // 1000 - WINDOW] + [(now, failed)]
        bad = sum(each[1] for each in counted)
        expected = failed and not rests and len(counted) >= LEAST and len(counted) / 2 <= bad < len(counted)
        assert expected == breaker.note(now, failed=failed)
        if expected:
            assert REST_MS <= breaker.until - now <= LONGEST_MS
            counted.clear()


@given(CALLS, st.sampled_from([None, ROW]))
def test_who_answers_nearly_always_never_rests(calls: list[tuple[int, bool]], row: int | None) -> None:
    """Whatever becomes of some, with twice as many answered after each."""
    breaker, now = Breaker(row), NOW
    for passed, failed in calls:
        now += passed
        assert not any(breaker.note(now, failed=each) for each in (failed, False, False))


def test_each_rest_soon_after_the_last_is_longer() -> None:
    """Half a minute, a minute, five at most; long after the last it is half a minute again."""
    breaker, now, rests = Breaker(ROW), NOW, []
    for _ in range(12):
        while not breaker.note(now, failed=True):
            now += 1
        rests.append(breaker.until - now)
        now = breaker.until
    assert [*range(REST_MS, LONGEST_MS, REST_MS)][:9] == rests[:9]
    assert {LONGEST_MS} == {*rests[9:]}
    now += LONGEST_MS
    while not breaker.note(now, failed=True):
        now += 1
    assert breaker.until - now == REST_MS


@pytest.mark.parametrize("by", [-86_400_000, -30_000, 30_000, 86_400_000])
def test_a_clock_that_is_set_forgets(by: int) -> None:
    """What was counted by another time says nothing about now; nothing is counted for longer than ten seconds."""
    breaker, calls = Breaker(), [False, *[True] * (LEAST - 2)]
    assert not any(breaker.note(NOW, failed=failed) for failed in calls)
    assert not any(breaker.note(NOW + by, failed=failed) for failed in calls)
    assert breaker.note(NOW + by, failed=True)
