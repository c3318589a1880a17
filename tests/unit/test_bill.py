"""Laws of what a job's end costs: the provider's count first, then the quote; nothing is guessed where nobody tells."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.job import FINAL, LATE_LEAST, Job, State, as_json
from gateway.jobs.wish import Choice
from gateway.money.billing import Bill, bill_of, closed, hold_of, in_doubt, raised, settled, share
from gateway.money.ledger import About, Billing, Book, Budget, Posting, drift, hold
from providers.base.order import Mode, Spec
from providers.base.task import Fault, Usage
from tests.make import job

NOW = 1_763_726_400_000
BUDGET = Budget("key_1:total", "key_1", "total", 0, 10**9)
PRICES = st.sampled_from([0, 1, 400_000]) | st.integers(0, 10**9)
USAGES = st.builds(Usage, usd_micros=st.none() | PRICES, clips=st.none() | st.integers(-1, 5))


def choice(usd_micros: int, n: int = 1, account: str = "quoted") -> Choice:
    spec = Spec(mode=Mode.TEXT, resolution="720p", seconds=8, aspect_ratio="16:9", audio=True, n=n, fps=24)
    return Choice(account=account, provider="acme", model="maker/one", spec=spec, usd_micros=usd_micros)


def paid_for(state: State, quoted: Choice, usage: Usage | None = None, account: str | None = "buys") -> Job:
    """Make a job in a state whose quote is set aside."""
    held, _ = hold(About("video_1", "key_1", "", ""), quoted.usd_micros, (BUDGET,), NOW)
    return job(
        state, quote=as_json(quoted), hold=as_json(held), usage=as_json(usage or Usage()), account=account,
        offer="acme:maker/one", due_at=None,
    )  # fmt: skip


def moved(postings: list[Posting]) -> dict[Book, int]:
    return drift([each.entry for each in postings])


@pytest.mark.parametrize(
    ("billed", "usd_micros", "bill"),
    [
        (True, None, Bill.PRICE), (False, None, Bill.NOTHING), (None, None, Bill.DOUBT), (True, 5, Bill.PRICE),
        (False, 5, Bill.NOTHING), (None, 5, Bill.PRICE), (None, 0, Bill.PRICE),
    ],
)  # fmt: skip
def test_the_providers_word_decides_and_its_count_after_that(
    billed: bool | None, usd_micros: int | None, bill: Bill
) -> None:
    """Whoever says that it charges, or what, is believed; else nobody can tell, whatever else was counted."""
    fault = Fault(code="x", message="it broke", billed=billed)
    assert bill_of(fault, Usage(usd_micros=usd_micros, clips=1)) is bill
    if billed is None:
        assert bill_of(None, Usage(usd_micros=usd_micros)) is bill
    assert bill_of(None, None) is Bill.DOUBT


@given(PRICES, st.integers(1, 4), st.none() | st.integers(-1, 5))
def test_fewer_clips_cost_their_share(price: int, n: int, clips: int | None) -> None:
    """Rounded up to a whole micro-dollar; a count that is none, or not fewer, says nothing."""
    part = share(choice(price, n), clips)
    if clips is None or not 0 <= clips < n:
        assert part is None
    else:
        assert part is not None
        assert 0 <= n * part - price * clips < n


@given(st.sampled_from(sorted(FINAL)), PRICES, st.integers(1, 4), USAGES, st.sampled_from(Bill))
def test_an_end_closes_what_was_set_aside(state: State, price: int, n: int, usage: Usage, bill: Bill) -> None:
    """It is charged what the provider counted, else what was quoted; in doubt all of it waits, and is looked at."""
    quoted = choice(price, n)
    done, postings = closed(paid_for(state, quoted, usage), bill, NOW)
    held, after = hold_of(done), moved(postings)
    assert held is not None
    if bill is Bill.DOUBT and price:
        assert in_doubt(done)
        assert (held.charged, after[Book.SUSPENSE], after[Book.HELD]) == (None, price, -price)
        assert done.due_at == NOW + 1000 * LATE_LEAST
        return
    counted = share(quoted, usage.clips) if usage.usd_micros is None else usage.usd_micros
    charge = {Bill.NOTHING: 0, Bill.DOUBT: 0, Bill.PRICE: price if counted is None else counted}[bill]
    assert (held.charged, held.told) == (charge, bill is Bill.PRICE and counted is not None)
    assert (after[Book.SPENT], after[Book.HELD], after[Book.SUSPENSE]) == (charge, -price, 0)
    assert (in_doubt(done), done.due_at) == (False, None)


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.sampled_from(sorted(FINAL)))
def test_an_operators_word_closes_what_nobody_could_tell(price: int, charge: int, state: State) -> None:
    """Once; what it is said to cost is what is spent, and nothing waits any more."""
    waiting, doubt = closed(paid_for(state, choice(price)), Bill.DOUBT, NOW)
    done, postings = settled(waiting, charge, NOW)
    held, after = hold_of(done), moved(doubt + postings)
    assert held is not None
    assert (held.charged, held.told, in_doubt(done)) == (charge, True, False)
    assert (after[Book.SPENT], after[Book.SUSPENSE], after[Book.HELD]) == (charge, 0, -price)
    assert settled(done, 0, NOW) == (done, [])


@given(PRICES, PRICES)
def test_only_a_dearer_offer_sets_more_aside(price: int, other: int) -> None:
    """So much more, within the same budgets and by its attempt's name; for a cheaper one nothing is written."""
    before = paid_for(State.QUEUED, choice(price))
    after, postings = raised(before, choice(other), "att_2", NOW, (BUDGET,))
    held = hold_of(after)
    assert held is not None
    assert (held.usd_micros, held.billing) == (max(price, other), Billing.HELD)
    assert moved(postings)[Book.HELD] == held.usd_micros - price
    assert all(each.budgets == (BUDGET,) and "att_2" in each.entry.id for each in postings)
    assert other > price or (after, postings) == (before, [])


@pytest.mark.parametrize(("account", "named"), [("buys", "buys"), (None, "quoted")])
def test_money_is_spent_where_the_order_was_made(account: str | None, named: str) -> None:
    """Each line names the account that took the order; where none did yet, the one that was quoted."""
    _, (posting,) = closed(paid_for(State.SUCCEEDED, choice(5), account=account), Bill.PRICE, NOW)
    entry = posting.entry
    assert (entry.account, entry.owner, entry.provider, entry.model) == (named, "key_1", "acme", "maker/one")
    assert (entry.job, entry.at) == ("video_1", NOW)


@pytest.mark.parametrize(
    "end",
    [
        lambda each: closed(each, Bill.PRICE, NOW), lambda each: settled(each, 5, NOW),
        lambda each: raised(each, choice(5), "att_2", NOW, ()),
    ],
)  # fmt: skip
def test_without_money_nothing_is_written(end: Callable[[Job], tuple[Job, list[Posting]]]) -> None:
    """A job for which nothing was ever set aside owes nothing, and is in no doubt."""
    free = job(State.FAILED, quote=as_json(choice(5)))
    assert end(free) == (free, [])
    assert (hold_of(free), in_doubt(free)) == (None, False)


@pytest.mark.parametrize("state", sorted({*State} - FINAL))
def test_nothing_is_in_doubt_while_it_goes_on(state: State) -> None:
    """The money of a job under way is set aside, and not due to be looked into."""
    assert not in_doubt(paid_for(state, choice(5)))
