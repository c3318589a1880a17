"""Laws of accounts: what rests, how fast orders may follow, what is left, and what the operator changes."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.offers.accounts import EVERYTHING, FRESH_MS, LONG_MS, TURNED, TURNED_MS, Account, adjusted
from gateway.offers.health import Health
from gateway.settings import OfferSettings
from gateway.telemetry import Metrics
from providers.base.catalog import Quote, Refusal, fit, quote
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unauthorized,
    Unavailable,
)
from providers.base.listing import Listing, Rate
from providers.base.order import Request, Spec
from tests.make import listing, offer, price
from tests.scripted import Clips, Scripted

NOW = 1_800_000_000_000
DAY = date(2026, 11, 1)
ONE, TWO = "maker/one", "maker/two"


def account(max_running: int = 4, **changes: object) -> Account:
    sold = listing(offers=[offer(), offer(TWO)], **changes)
    return Account("acme", Scripted(sold), Clips(), plan="", max_running=max_running)


def test_a_place_is_taken_and_given_back() -> None:
    """No more tasks than places; giving back more than was taken opens no place that is not there."""
    full = account(max_running=2)
    for _ in range(2):
        assert full.has_room(ONE, NOW)
        full.take_place(ONE, NOW)
    assert not full.has_room(ONE, NOW)
    full.give_place()
    assert full.has_room(ONE, NOW)
    for _ in range(5):
        full.give_place()
    assert 0 == full.running


def test_a_model_rests_alone() -> None:
    """What is wrong with one model keeps no other from being ordered; what is wrong with the account keeps all."""
    tired = account()
    tired.rest(ONE, NOW + 1000, "daily quota")
    assert (False, True) == (tired.has_room(ONE, NOW), tired.has_room(TWO, NOW))
    tired.rest(EVERYTHING, NOW + 500, "throttled")
    assert (False, False) == (tired.has_room(ONE, NOW), tired.has_room(TWO, NOW))
    assert (False, True) == (tired.has_room(ONE, NOW + 500), tired.has_room(TWO, NOW + 500))
    assert tired.has_room(ONE, NOW + 1000)
    assert {} == tired.rests


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8))
def test_the_longest_rest_stays(rests: list[int]) -> None:
    """A shorter one never cuts it short, in whatever order they come."""
    tired = account()
    for length in rests:
        tired.rest(ONE, NOW + length, str(length))
    kept = tired.rest_of(ONE, NOW)
    assert kept is not None
    assert (NOW + max(rests), str(max(rests))) == (kept.until, kept.why)
    assert tired.rest_of(ONE, NOW + max(rests)) is None


def test_a_short_rest_is_waited_for_and_a_long_one_sends_elsewhere() -> None:
    """Routing leaves out what rests for two minutes or more; what is over is forgotten."""
    tired = account()
    tired.rest(ONE, NOW + LONG_MS - 1, "a moment")
    tired.rest(TWO, NOW + LONG_MS, "a while")
    assert {TWO: "a while"} == dict(tired.seller(NOW).shut)
    assert {} == dict(tired.seller(NOW + 1).shut)
    tired.rest(EVERYTHING, NOW + 10 * LONG_MS, "a day")
    assert {EVERYTHING: "a day"} == dict(tired.seller(NOW + 1).shut)
    assert {} == dict(tired.seller(NOW + 10 * LONG_MS).shut)
    assert tired.seller(NOW + 10 * LONG_MS) is tired.seller(NOW + 10 * LONG_MS)


@given(st.lists(st.integers(0, 30_000), max_size=60))
def test_a_rate_is_never_exceeded(waits: list[int]) -> None:
    """In no stretch of ten seconds more orders than the provider takes, however they come."""
    limited = account(max_running=1000, rate=Rate(orders=5, seconds=10, source="s"))
    now, taken = NOW, []
    for wait in waits:
        now += wait
        if limited.has_room(ONE, now):
            limited.take_place(ONE, now)
            taken.append(now)
        else:
            assert 5 <= sum(now - 10_000 < at for at in taken)
    for start in taken:
        assert sum(start <= at < start + 10_000 for at in taken) <= 5


@pytest.mark.parametrize(("per", "others"), [("account", 0), ("model", 3)])
def test_a_rate_counts_together_what_its_seller_does(per: str, others: int) -> None:
    """All orders of an account, or those of each model; two names for one model of the seller's share its rate."""
    rate = Rate(orders=3, seconds=10, per=per, source="s")  # type: ignore[arg-type]
    sold = listing(offers=[offer(), offer("maker/alias"), offer(TWO, wire_name="two")], rate=rate)
    limited = Account("acme", Scripted(sold), Clips(), plan="", max_running=100)
    for _ in range(3):
        limited.take_place(ONE, NOW)
    assert [0, 0, others] == [limited.room(model, NOW) for model in (ONE, "maker/alias", TWO)]
    assert [3, 3, 3] == [limited.room(model, NOW + 10_000) for model in (ONE, "maker/alias", TWO)]


def test_a_long_rest_says_when_orders_are_taken_again() -> None:
    """From then on, and not a millisecond before; a rest that is waited for keeps nobody away."""
    tired = account()
    tired.rest(ONE, NOW + 5 * LONG_MS, "a day")
    tired.rest(EVERYTHING, NOW + 2 * LONG_MS, "a while")
    tired.rest(TWO, NOW + LONG_MS - 1, "a moment")
    opens = tired.opens(ONE, NOW)
    assert opens > tired.opens(TWO, NOW) == NOW + LONG_MS + 1
    assert ([ONE], []) == ([*tired.seller(opens - 1).shut], [*tired.seller(opens).shut])
    assert NOW == account().opens(ONE, NOW)


def test_what_never_went_out_counts_as_sent() -> None:
    """A place given back is no order taken back: the provider may have counted it."""
    limited = account(rate=Rate(orders=1, seconds=10, source="s"))
    limited.take_place(ONE, NOW)
    limited.give_place()
    assert (False, True) == (limited.has_room(ONE, NOW + 9_999), limited.has_room(ONE, NOW + 10_000))


def test_credits_are_believed_for_an_hour() -> None:
    """An account that was filled up again must be found out."""
    spent = account()
    assert spent.credits_left(NOW) is None
    assert spent.seller(NOW).credits_left is None
    spent.note_credits(7, NOW)
    assert (7, 7) == (spent.credits_left(NOW), spent.seller(NOW + FRESH_MS - 1).credits_left)
    assert (None, None) == (spent.credits_left(NOW + FRESH_MS), spent.seller(NOW + FRESH_MS).credits_left)
    spent.note_credits(0, NOW + FRESH_MS)
    assert 0 == spent.credits_left(NOW + FRESH_MS)


def test_a_seller_says_how_free_it_is() -> None:
    """The share of its places nobody has, of those it may have now; none while it rests."""
    busy = account(max_running=4)
    shares = [busy.seller(NOW).free]
    for _ in range(5):
        busy.take_place(ONE, NOW)
        shares.append(busy.seller(NOW).free)
    assert [1, 0.75, 0.5, 0.25, 0, 0] == shares
    for _ in range(4):
        busy.give_place()
    busy.throttled()
    assert 0.25 == busy.seller(NOW).free
    busy.rest(EVERYTHING, NOW + 1, "a moment")
    assert [0, 0.25] == [busy.seller(NOW).free, busy.seller(NOW + 1).free]


SOLD = listing(
    offers=[offer(), offer(TWO), offer("maker/old", ended=date(2026, 6, 1), ended_why="gone")],
    prices=[price("0.10", models=[ONE, TWO]), price("0.30", models=[ONE], when={"resolution": ["1080p"]})],
)


def asked(sold: Listing, model: str, **choices: object) -> Quote | Refusal | None:
    """Ask what a clip costs by a listing."""
    found = sold.offer(model)
    if found is None:
        return None
    spec = fit(found, Request(prompt="a cat", model=model, **choices))  # type: ignore[arg-type]
    assert isinstance(spec, Spec)
    return quote(sold, found, spec, on=DAY)


def usd(sold: Listing, model: str, **choices: object) -> float:
    """Ask what a clip costs, in dollars."""
    answer = asked(sold, model, **choices)
    assert isinstance(answer, Quote), answer
    return answer.usd_micros / 1_000_000


def test_nothing_said_changes_nothing() -> None:
    """The listing stays itself, so that answers about it can be kept."""
    assert SOLD is adjusted(SOLD, {})
    assert SOLD is adjusted(SOLD, {"other:maker/one": OfferSettings(usd="1")})


def test_a_price_stands_for_every_line() -> None:
    """Of the one offer it is for, whatever the choices; the others keep theirs."""
    mine = adjusted(SOLD, {"acme:maker/one": OfferSettings(usd="0.55")})
    assert (0.55, 0.55) == (usd(mine, ONE), usd(mine, ONE, resolution="1080p"))
    assert usd(SOLD, TWO) == usd(mine, TWO) == 0.8
    assert (0.8, 2.4) == (usd(SOLD, ONE), usd(SOLD, ONE, resolution="1080p"))
    by_second = adjusted(SOLD, {"acme:maker/one": OfferSettings(usd="0.55", per="second")})
    assert 4.4 == usd(by_second, ONE)


@pytest.mark.parametrize(("ceiling", "word"), [(True, "the most it may cost"), (False, "the operator's price")])
def test_a_price_says_whose_it_is(ceiling: bool, word: str) -> None:
    """And whether it is only the most it can be."""
    answer = asked(adjusted(SOLD, {"acme:maker/one": OfferSettings(usd="1", ceiling=ceiling)}), ONE)
    assert isinstance(answer, Quote)
    assert answer.price.source.startswith("config.toml: ")
    assert word in answer.price.source


def test_a_price_for_all_gives_way_too() -> None:
    """A listing's line for every model is no more particular than the operator's."""
    general = replace(SOLD, prices=[price("9", when={"seconds": [8]})])
    assert 0.5 == usd(adjusted(general, {"acme:maker/one": OfferSettings(usd="0.5")}), ONE)


def test_an_offer_is_taken_out_or_brought_back() -> None:
    """``enabled = false`` takes one out; any other word about an ended one brings it back, if it has a price."""
    out = adjusted(SOLD, {"acme:maker/one": OfferSettings(enabled=False)})
    assert (None, 0.8) == (asked(out, ONE), usd(out, TWO))
    assert isinstance(asked(SOLD, "maker/old"), Refusal)
    back = adjusted(SOLD, {"acme:maker/old": OfferSettings(usd="2")})
    assert 2 == usd(back, "maker/old")
    unpriced = asked(adjusted(SOLD, {"acme:maker/old": OfferSettings()}), "maker/old")
    assert isinstance(unpriced, Refusal)
    assert "states no price" in unpriced.message


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unauthorized("no"), 3600), (Exhausted("nothing left"), 1800), (Throttled("too much"), 5),
        (Throttled("too much", retry_after=60), 60), (Exhausted("nothing left", retry_after=60), 60),
        (Throttled("too much", retry_after=86_400), 900), (Exhausted("till midnight", retry_after=86_400), 86_400),
        (Unavailable("shut", scope=Scope.ACCOUNT, retry_after=86_400), 900),
        (Throttled("too much", retry_after=899), 899), (Unauthorized("no", retry_after=86_400), 3600),
        (Unauthorized("no", scope=Scope.MODEL), 3600), (Exhausted("no", scope=Scope.MODEL, retry_after=1.5), 1.5),
        (Unavailable("shut", scope=Scope.ACCOUNT), 5), (Invalid("a word"), 0), (Refused("a prompt"), 0),
        (Unavailable("nobody home"), 0), (Indeterminate("silence"), 0),
    ],
)  # fmt: skip
def test_what_an_error_is_about_rests_as_long_as_it_says(error: ProviderError, seconds: float) -> None:
    """Or for a time that suits its kind, and not a millisecond longer; what is one order's keeps no other waiting."""
    met, metrics = account(max_running=100), Metrics()
    Health(metrics).turned_down(met, "an order", ONE, error, NOW)

    over, other = NOW + int(1000 * seconds), error.scope is not Scope.ACCOUNT
    if met.shut(ONE, NOW):
        said = datetime.fromtimestamp(over / 1000, UTC).strftime("orders nothing until %Y-%m-%d %H:%M UTC")
        assert said in (met.shut(ONE, NOW) or "")
    assert (met.has_room(ONE, over - 1), met.has_room(TWO, over - 1)) == (not seconds, other)
    assert (met.has_room(ONE, over), met.has_room(TWO, over)) == (True, True)
    counted = metrics.registry.get_sample_value("reelgate_account_rests_total", {"account": "acme", "kind": error.kind})
    assert (counted or 0) == bool(seconds)


@pytest.mark.parametrize("meant", [Invalid("a word"), Refused("a prompt"), Missing("no such task"), Exhausted("empty")])
def test_who_does_not_answer_rests_until_anybody_does(meant: ProviderError) -> None:
    """Five times nothing, or nonsense, and nothing is ordered for half a minute; an answer that is meant ends that."""
    silent, metrics = account(max_running=100), Metrics()
    health = Health(metrics)
    for error in (Unavailable("no"), Malformed("what"), Indeterminate("silence"), meant, *[Unavailable("no")] * 4):
        health.heard(silent, error, NOW)
    assert silent.has_room(ONE, NOW)
    health.heard(silent, Malformed("what"), NOW)
    assert (silent.has_room(ONE, NOW + 29_999), silent.is_failing(NOW)) == (False, True)
    sample = metrics.registry.get_sample_value
    assert 1 == sample("reelgate_account_rests_total", {"account": "acme", "kind": "not_answering"})
    health.heard(silent, meant, NOW)
    assert silent.has_room(ONE, NOW)


def test_who_takes_no_orders_rests_although_looks_are_answered() -> None:
    """Five orders in a row nobody took, and the rest lasts its time, whatever looks say; then one is enough again."""
    shop, metrics = account(max_running=100), Metrics()
    health, no = Health(metrics), Unavailable("at the door")
    for _ in range(4):
        health.turned_down(shop, "an order", ONE, no, NOW)
        shop.answered(NOW)
    assert shop.has_room(ONE, NOW)
    health.turned_down(shop, "an order", ONE, no, NOW)
    assert 1 == metrics.registry.get_sample_value(
        "reelgate_account_rests_total", {"account": "acme", "kind": "failing"}
    )
    for passed in range(0, 30_000, 500):
        shop.answered(NOW + passed)
        assert (False, True) == (shop.has_room(ONE, NOW + passed), shop.is_failing(NOW + passed))
    assert shop.has_room(ONE, NOW + 30_000)
    health.turned_down(shop, "an order", ONE, no, NOW + 30_000)
    shop.answered(NOW + 30_001)
    assert (False, True) == (shop.has_room(ONE, NOW + 89_999), shop.has_room(ONE, NOW + 90_000))
    shop.accepted(NOW + 90_000)
    health.turned_down(shop, "an order", ONE, no, NOW + 90_001)
    assert shop.has_room(ONE, NOW + 90_001)


def test_an_answer_ends_silence_and_nothing_longer() -> None:
    """Where both rest, what was silence is over with the first answer; what fails orders rests on."""
    shop, health = account(max_running=100), Health(Metrics())
    for _ in range(7):
        health.turned_down(shop, "an order", ONE, Unavailable("nobody home"), NOW)
    shop.answered(NOW + 1)
    assert (False, True) == (shop.has_room(ONE, NOW + 29_999), shop.has_room(ONE, NOW + 30_000))


def test_who_fails_most_calls_rests() -> None:
    """Four in five, ten a second, never five in a row: answers in between do not make up for them."""
    shop, rested = account(max_running=100), 0
    for at in range(400):
        now = NOW + 100 * at
        if at % 5:
            shop.failed(now)
        else:
            shop.answered(now)
        rested += not shop.has_room(ONE, now)
    assert rested > 350


def test_what_is_one_orders_slows_nobody_down() -> None:
    """An order that is to come again for its own sake leaves every place free; asked to slow down, half are."""
    busy, health = account(max_running=8), Health(Metrics())
    health.turned_down(busy, "a", ONE, Throttled("a poor captcha", scope=Scope.ORDER, retry_after=60.0), NOW)
    assert 8 == busy.room(ONE, NOW)
    health.turned_down(busy, "a", ONE, Throttled("too much", scope=Scope.MODEL), NOW)
    assert busy.room(TWO, NOW) < 8


def test_one_order_alone_says_nothing_of_the_others() -> None:
    """However often it is turned away: it may be tied to what has no more to give."""
    full, health = account(max_running=100), Health(Metrics())
    for again in range(3 * TURNED):
        now = NOW + again * TURNED_MS
        health.turned_down(full, "the same", ONE, Throttled("not now", scope=Scope.ORDER), now)
        assert full.has_room(ONE, now)


@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=40))
@example([(7_000, False)] * 12)
@example([(1, False)] * 12 + [(60_000, True)] + [(7_000, False)] * 12)
def test_where_no_order_is_taken_others_are_tried(met: list[tuple[int, bool]]) -> None:
    """So many in a row, for so long, and the account rests long enough for jobs to go elsewhere; never before."""
    full, health, now, since, count = account(max_running=100), Health(Metrics()), NOW, 0, 0
    for passed, taken in met:
        now += passed
        if full.rest_of(EVERYTHING, now):
            continue
        if taken:
            full.accepted(now)
            count = 0
            continue
        count, since = count + 1, since if count else now
        health.turned_down(full, f"{now} {count}", ONE, Throttled("another account, please", scope=Scope.ORDER), now)
        rests = count >= TURNED and now - since >= TURNED_MS
        assert rests is not full.has_room(ONE, now)
        assert rests is (full.shut(ONE, now) is not None)
