"""Looks keep to their rate, and every task gets its part of them."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.offers.looks import Looks

NOW = 1_800_000_000_000


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=200), st.sampled_from([1, 7, 50]))
def test_they_keep_to_their_rate(gaps: list[int], rate: int) -> None:
    """In no second are there more looks than two seconds' worth; what is put off comes later, each at its own time."""
    looks = Looks(rate)
    now, made, due = NOW, [], []
    for gap in gaps:
        now += gap
        at = looks.take(now)
        (made if at == now else due).append(at)
    assert all(sum(each <= at < each + 1000 for at in made) <= 2 * rate for each in made)
    assert due == sorted(due)
    assert all(sum(each <= at < each + 1000 for at in due) <= rate + 1 for each in due)


def test_a_crowd_is_put_off_once() -> None:
    """After a stop everything is due at once: what finds no turn is written a time or two, not at every turn."""
    looks = Looks(100)
    waiting = [(NOW, number) for number in range(2_000)]
    written = looked = 0
    while waiting:
        at, number = heapq.heappop(waiting)
        if (due := looks.take(at)) == at:
            looked += 1
        else:
            written += 1
            heapq.heappush(waiting, (due, number))

    assert (looked, at - NOW <= 25_000) == (2_000, True)
    assert written <= 2 * looked


def run(looks: Looks, waits: list[float], seconds: int) -> tuple[float, float, float]:
    """Look at tasks for a while; say the looks in a second, the share put off, and the longest stretch of the end."""
    waiting = [(NOW + int(1000 * wait * number / len(waits)), number) for number, wait in enumerate(waits)]
    heapq.heapify(waiting)
    seen = dict.fromkeys(range(len(waits)), NOW)
    made = put_off = 0
    stretched: list[float] = []
    while waiting[0][0] < NOW + 1000 * seconds:
        at, number = heapq.heappop(waiting)
        settled = at >= NOW + 500 * seconds
        if (due := looks.take(at)) == at:
            made += settled
            after = looks.interval(waits[number], (at - seen[number]) / 1000, at)
            if settled:
                stretched.append(after / waits[number])
            seen[number], due = at, at + int(1000 * after)
        else:
            put_off += settled
        heapq.heappush(waiting, (due, number))
    return made / (seconds / 2), put_off / made, max(stretched)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_who_has_enough_looks_at_every_task_as_its_seller_asks(share: float) -> None:
    """However many tasks there are, old ones wait longer than young ones, and nobody waits for nothing."""
    waits = [5.0] * 50 + [60.0] * 3_000  # 60 looks a second
    made, put_off, stretched = run(Looks(60 / share), waits, 300)
    assert (pytest.approx(60, rel=0.05), 0) == (made, put_off)
    assert stretched <= 1.05


@pytest.mark.parametrize("share", [1.5, 3])
def test_who_has_too_few_stretches_all_alike(share: float) -> None:
    """All looks together keep to the rate, few are put off, and no task waits for longer than its part."""
    waits = [5.0] * 200 + [20.0] * 1_200  # 100 looks a second
    rate = 100 / share
    made, put_off, stretched = run(Looks(rate), waits, 1_200)
    assert rate * 0.8 <= made <= rate * 1.01
    assert put_off <= 0.5
    assert stretched <= 1.4 * share


def test_a_crowd_after_a_stop_is_no_reason_to_wait() -> None:
    """That everybody waited for an hour says nothing of what they want now."""
    looks = Looks(100)
    for number in range(500):
        after = looks.interval(20.0, 3_600, NOW + 10 * number)
    for number in range(500):
        after = looks.interval(20.0, 20.0, NOW + 5_000 + 40 * number)
    assert after == 20.0
