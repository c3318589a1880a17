"""Laws of what can really be ordered of an offer, and by which price lines."""

from datetime import date

import pytest

from providers.base.listing import Listing, Price, Rule
from providers.base.order import Mode
from providers.base.sold import ROLES, in_force, sells
from tests.make import listing, offer, price

DAY = date(2026, 11, 1)
LATER = date(2026, 9, 1)
LOW, HIGH = {"resolution": ["720p"]}, {"resolution": ["1080p"]}


def charged(sold: Listing, plan: str = "", modes: tuple[Mode, ...] = tuple(Mode)) -> list[str]:
    return [line.usd for line in in_force(sold, sold.offers[0], on=DAY, plan=plan, modes=modes)]


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([price("1"), price("2", since=LATER)], ["2"]),
        ([price("1"), price("2", since=date(2027, 1, 1))], ["1"]),
        ([price("1"), price("2", when=LOW), price("3", when=HIGH)], ["2", "3"]),
        ([price("1"), price("2", when=LOW)], ["1", "2"]),
        ([price("1", when={"plan": ["pro"]}), price("2", when={"plan": ["ultra"]})], ["2"]),
        ([price("1"), price("2", when={"mode": ["extend"]})], ["1"]),
        ([price("1"), price("2", models=["maker/one"]), price("3", models=["maker/two"])], ["2"]),
        ([price("1"), price("2", when={**HIGH, "seconds": [4]})], ["1"]),
    ],
)
def test_a_price_is_in_force_that_some_order_is_charged_by(lines: list[Price], left: list[str]) -> None:
    """What is superseded, another plan's, not begun, or for what is not sold is nobody's to pay."""
    rules = [Rule(when=HIGH, only={"seconds": [8]}, why="1080p is 8 s")]
    sold = listing(offers=[offer(rules=rules)], prices=lines)

    assert left == charged(sold, "ultra")


def test_only_the_modes_asked_for_count() -> None:
    """Whose client cannot ask for a mode is not shown what that costs."""
    sold = listing(prices=[price("1", when={"mode": ["text"]}), price("2", when={"mode": ["first_frame"]})])

    assert (["1", "2"], ["1"]) == (charged(sold), charged(sold, modes=(Mode.TEXT,)))


def test_what_a_rule_keeps_for_a_mode_is_not_sold_in_another() -> None:
    """A length an extension alone has can be ordered of no text; what has no price can be ordered of nothing."""
    rules = [
        Rule(when={"mode": ["text"]}, only={"seconds": [8]}, why="8 s"),
        Rule(when={"mode": ["extend"]}, only={"seconds": [7]}, why="7 s"),
    ]
    one = offer(mode=[Mode.TEXT, Mode.EXTEND], seconds=[8, 7], rules=rules)
    asked = ((Mode.TEXT, 8), (Mode.TEXT, 7), (Mode.EXTEND, 7), (Mode.FRAMES, 8))

    assert [True, False, True, False] == [
        sells(listing(offers=[one]), one, mode, on=DAY, seconds=seconds) for mode, seconds in asked
    ]
    assert not sells(listing(offers=[one], prices=[]), one, Mode.TEXT, on=DAY, seconds=8)
    assert {*Mode} == {*ROLES}
