"""Laws of shares: whoever hangs holds some of the steps, and never those somebody else could take."""

from contextlib import ExitStack

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.engine.shares import LEAST_MS, MOST_MS, UNBOUNDED, Shares


def taken(shares: Shares, names: list[str]) -> ExitStack:
    """Begin a step for each account that still may, in this order."""
    stack = ExitStack()
    for name in names:
        if shares.left(name):
            stack.enter_context(shares.hold(name, 0))
    return stack


def shared(places: int, *accounts: str) -> Shares:
    shares = Shares(accounts)
    shares.places = places
    return shares


@given(st.integers(8, 300), st.lists(st.sampled_from("abc"), max_size=400))
@example(8, [*"aaaabbc"])
@example(9, [*"aaaaabbc"])
def test_who_comes_last_finds_a_place(places: int, order: list[str]) -> None:
    """However many steps three accounts have under way that never end, of eight places or more another finds one."""
    shares = shared(places, "a", "b", "c", "late")
    with taken(shares, order):
        held = {name: len(shares._begun.get(name, ())) for name in "abc"}
        assert sum(held.values()) < places
        assert shares.left("late") > 0


def test_one_that_hangs_holds_half() -> None:
    """And two hold a third each."""
    shares = shared(256, "a", "b", "c")
    with taken(shares, ["a"] * 300):
        assert len(shares._begun["a"]) == 128
    with taken(shares, ["a", "b"] * 300):
        assert {name: len(each) for name, each in shares._begun.items()} == {"a": 86, "b": 85}
    assert shares.left("a") == 128


@given(st.integers(1, 300), st.integers(0, 50))
def test_what_is_left_may_be_begun_and_no_more(places: int, others: int) -> None:
    """Counting ahead is counting one by one."""
    shares = shared(places, "a", "b")
    with taken(shares, ["b"] * others):
        left = shares.left("a")
        for number in range(left):
            assert shares.left("a", number, number) == left - number
        with taken(shares, ["a"] * 400):
            assert len(shares._begun.get("a", ())) == left


def test_a_single_account_has_all() -> None:
    """There is nobody to leave anything to."""
    assert shared(8, "a").left("a") == UNBOUNDED
    assert Shares(["a", "b"]).left("a") == UNBOUNDED


def test_the_longer_steps_take_the_later_the_next_comes() -> None:
    """Where they end soon it is a moment, where they hang half a minute at most."""
    shares = shared(8, "a", "b")
    assert shares.again("a", 1000) == 1000 + LEAST_MS
    with shares.hold("a", 1000), shares.hold("a", 3000):
        assert shares.again("a", 3000) == 5000
        assert shares.again("a", 1000 + 2 * MOST_MS) == 1000 + 3 * MOST_MS
