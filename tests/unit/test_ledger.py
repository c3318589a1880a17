"""Laws of the ledger: nothing is held twice, closed twice or lost, whatever comes in whatever order."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import DAY_MS
from gateway.ids import new_id
from gateway.money.ledger import (
    INSTANCE,
    NONE,
    About,
    Billing,
    Book,
    Budget,
    Limits,
    Posting,
    add,
    budgets_of,
    close,
    drift,
    hold,
)

ABOUT = About("video_1", "key_1", "acme:maker/one", "main")
NOON = 1_763_726_400_000
"""2025-11-21 12:00 UTC."""
BUDGET = Budget("key_1:total", "key_1", "total", 0, 10_000_000)


def sums(postings: list[Posting]) -> dict[Book, int]:
    return drift([each.entry for each in postings])


def test_a_clip_costs_what_was_quoted() -> None:
    """What is held is spent, and nothing is left over."""
    held, taken = hold(ABOUT, 400, (BUDGET,), NOON)
    done, closed = close(ABOUT, held, 400, NOON)

    assert (done.billing, done.charged) == (Billing.BILLED, 400)
    assert sums(taken + closed) == {Book.AVAILABLE: -400, Book.HELD: 0, Book.SPENT: 400, Book.SUSPENSE: 0}
    assert [each.entry.kind for each in taken + closed] == ["hold", "settle"]


def test_less_gives_the_rest_back_and_more_is_taken_all_the_same() -> None:
    """The provider's count stands, below the hold or above it."""
    for charge in (0, 1, 399, 401, 10_000):
        held, taken = hold(ABOUT, 400, (BUDGET,), NOON)
        done, closed = close(ABOUT, held, charge, NOON, told=True)
        after = sums(taken + closed)
        assert (after[Book.SPENT], after[Book.HELD], after[Book.AVAILABLE]) == (charge, 0, -charge)
        assert done.billing is (Billing.BILLED if charge else Billing.NOT_BILLED)
        assert (done.told, close(ABOUT, held, charge, NOON)[0].told) == (True, False)


def test_doubt_waits_in_suspense_until_somebody_knows() -> None:
    """Money nobody can tell of is neither spent nor given back, once only, and settled once."""
    held, taken = hold(ABOUT, 400, (BUDGET,), NOON)
    waiting, doubt = close(ABOUT, held, None, NOON)
    assert close(ABOUT, waiting, None, NOON) == (waiting, [])
    assert sums(taken + doubt) == {Book.AVAILABLE: -400, Book.HELD: 0, Book.SPENT: 0, Book.SUSPENSE: 400}
    done, settled = close(ABOUT, waiting, 150, NOON, told=True)
    assert sums(taken + doubt + settled) == {Book.AVAILABLE: -150, Book.HELD: 0, Book.SPENT: 150, Book.SUSPENSE: 0}
    assert close(ABOUT, done, 0, NOON) == (done, [])


def test_nothing_is_written_for_nothing() -> None:
    """A clip that costs nothing leaves the ledger alone, and is never in doubt; a dearer one fits in its budgets."""
    held, taken = hold(ABOUT, 0, (BUDGET,), NOON)
    done, closed = close(ABOUT, held, None, NOON)

    assert (taken, closed, done.billing) == ([], [], Billing.NOT_BILLED)
    _, dearer = add(ABOUT, held, 400, "att_1", NOON, (BUDGET,))
    assert [(each.entry.usd_micros, each.budgets) for each in dearer] == [(400, (BUDGET,))]


def test_budgets_are_of_days_and_months_in_utc() -> None:
    """A purchase counts against its owner's budgets and the instance's, where they have limits."""
    found = budgets_of("key_1", Limits(day=1, total=3), Limits(month=2), NOON)

    assert [(each.id, each.limit) for each in found] == [
        ("instance:month:2025-11", 2), ("key_1:day:2025-11-21", 1), ("key_1:total", 3),
    ]  # fmt: skip
    assert [each.owner for each in found] == [INSTANCE, "key_1", "key_1"]
    assert found[1].since == NOON - 12 * 3_600_000
    assert found[2].since == 0


def test_a_budget_counts_the_jobs_of_its_period_and_no_other() -> None:
    """From a day's or month's (UTC) first millisecond to its last; where one ends the next begins."""
    for period, name in (("day", "%Y-%m-%d"), ("month", "%Y-%m"), ("total", "")):
        before: Budget | None = None
        for day in range(18_262, 20_454):  # 2020 to 2025
            times = (day * DAY_MS, (day + 1) * DAY_MS - 1)
            (mine,), (late,) = (budgets_of("key_1", Limits(**{period: 1}), NONE, at) for at in times)
            assert mine == late
            assert mine.id == f"key_1:{period}:{datetime.fromtimestamp(times[0] / 1000, UTC).strftime(name)}".rstrip(
                ":"
            )
            assert all(mine.first_job <= new_id("video", at) < mine.last_job for at in times)
            assert before in {None, mine} or (before.id != mine.id and before.last_job == mine.first_job)
            before = mine


@given(
    first=st.integers(0, 10**9),
    dearer=st.lists(st.integers(0, 10**9), max_size=3),
    ends=st.lists(st.none() | st.integers(0, 2 * 10**9), min_size=1, max_size=4),
)
def test_every_life_adds_up(first: int, dearer: list[int], ends: list[int | None]) -> None:
    """Whatever attempts and ends come, each line has its own name, and every budget moves as the books do."""
    held, postings = hold(ABOUT, first, (BUDGET,), NOON)
    for number, usd in enumerate(dearer):
        held, more = add(ABOUT, held, usd, f"att_{number}", NOON, (BUDGET,))
        postings += more
    assert held.usd_micros == max([first, *dearer])
    for end in ends:
        held, more = close(ABOUT, held, end, NOON)
        postings += more
    names = [each.entry.id for each in postings]
    assert len(names) == len(set(names))
    assert all(each.entry.usd_micros > 0 for each in postings)
    after = sums(postings)
    assert sum(after.values()) == 0
    assert after[Book.HELD] == 0
    known = [end for end in ends if end is not None]
    if held.billing in {Billing.BILLED, Billing.NOT_BILLED} and known:
        assert (after[Book.SPENT], after[Book.SUSPENSE]) == (held.charged, 0)
    shifts = [posting.shift() for posting in postings]
    for posting, shift in zip(postings, shifts, strict=True):
        assert (shift["job"], shift["owner"]) == (ABOUT.job, ABOUT.owner)
        assert shift["taken"] == (posting.entry.usd_micros if posting.entry.debit is Book.AVAILABLE else 0)
    for book in (Book.HELD, Book.SPENT, Book.SUSPENSE):
        assert sum(int(shift[book.value]) for shift in shifts) == after[book]
