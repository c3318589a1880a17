"""Laws of routing: never an offer that cannot, never above the ceiling, never a choice changed."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import WHY, Seller, Terms, UnknownModelError, choose, table
from gateway.wish import Preferences
from providers.base.order import Request
from tests.make import listing, offer, price

DAY = date(2026, 11, 1)
ANY = Preferences()
ALIASES: dict[str, str | list[str]] = {"sora-2": ["maker/one", "maker/two"], "one": "maker/one"}


def seller(slug: str, usd: str = "0.10", **changes: object) -> Seller:
    sold = [offer(), offer("maker/two", seconds=[10], rank=5)]
    return Seller(account=f"{slug}-main", listing=listing(slug, offers=sold, prices=[price(usd)], **changes))


SELLERS = [
    seller("dear", "0.30"),
    seller("cheap", "0.05"),
    seller("middling", "0.10"),
    seller("sandbox", "0", sandbox=True),
]


def request(model: str = "maker/one", **changes: object) -> Request:
    return Request(prompt="a cat", model=model, **changes)  # type: ignore[arg-type]


def winners(wanted: Request, preferences: Preferences = ANY, **settings: object) -> list[str]:
    decision = choose(wanted, preferences, SELLERS, ALIASES, on=DAY, **settings)  # type: ignore[arg-type]
    return [f"{line.provider}:{line.offer.model}" for line in decision.ranked]


def test_the_cheapest_that_can_comes_first() -> None:
    """Price decides where nothing else is said."""
    assert winners(request()) == ["cheap:maker/one", "middling:maker/one", "dear:maker/one"]


def test_an_alias_goes_on_to_the_model_that_can() -> None:
    """Of an alias's models the first is taken, unless only a later one can do what is asked."""
    assert winners(request("sora-2"))[0] == "cheap:maker/one"
    assert winners(request("sora-2", seconds=10)) == ["cheap:maker/two", "middling:maker/two", "dear:maker/two"]


def test_an_offer_is_taken_by_name() -> None:
    """``provider:model`` leaves no choice."""
    assert winners(request("dear:maker/one")) == ["dear:maker/one"]


def test_preferences_are_kept() -> None:
    """Only, ignore and order say who, whatever the price."""
    assert winners(request(), Preferences(only=("dear",))) == ["dear:maker/one"]
    assert winners(request(), Preferences(ignore=("cheap",)))[0] == "middling:maker/one"
    assert winners(request(), Preferences(order=("dear", "middling"))) == [
        "dear:maker/one", "middling:maker/one", "cheap:maker/one",
    ]  # fmt: skip
    assert winners(request(), terms=Terms(policy="order", order=["middling"]))[0] == "middling:maker/one"


def test_the_sandbox_never_stands_in_for_a_paid_model() -> None:
    """While a real account is there the sandbox is taken only by name; alone it serves everything."""
    assert not any(name.startswith("sandbox") for name in winners(request()))
    assert winners(request("sandbox:maker/one")) == ["sandbox:maker/one"]
    assert winners(request(), Preferences(only=("sandbox",))) == ["sandbox:maker/one"]
    alone = choose(request(), Preferences(), SELLERS[-1:], ALIASES, on=DAY)
    assert [line.provider for line in alone.ranked] == ["sandbox"]


def test_unknown_models_are_said_to_be() -> None:
    """A name nobody sells is an error that lists what is sold."""
    with pytest.raises(UnknownModelError) as caught:
        table(request("maker/none"), SELLERS, ALIASES, on=DAY)

    assert "maker/one" in caught.value.known
    with pytest.raises(UnknownModelError):
        table(request("nobody:maker/one"), SELLERS, ALIASES, on=DAY)


def test_auto_asks_every_offer() -> None:
    """``auto`` is every model there is."""
    assert len(table(request("auto"), SELLERS, ALIASES, on=DAY)) == 8


def test_what_nobody_takes_is_dropped_only_on_request_and_said() -> None:
    """``on_unsupported: warn`` leaves a feature out with a notice; the default refuses."""
    wanted = request(negative_prompt="rain", seed=1)

    assert not choose(wanted, Preferences(), SELLERS, ALIASES, on=DAY).ranked
    softened = choose(wanted, Preferences(on_unsupported="warn"), SELLERS, ALIASES, on=DAY)
    assert [notice.feature for notice in softened.notices] == ["negative_prompt"]
    assert (softened.request.negative_prompt, softened.request.seed) == (None, 1)
    assert softened.ranked


@given(
    seconds=st.sampled_from([None, 4, 8, 10, 12]),
    audio=st.sampled_from([None, True, False]),
    model=st.sampled_from(["maker/one", "maker/two", "sora-2", "auto", "cheap:maker/one"]),
    ceiling=st.none() | st.integers(0, 4_000_000),
    only=st.sets(st.sampled_from(["dear", "cheap", "sandbox"])),
    ignore=st.sets(st.sampled_from(["dear", "cheap", "sandbox"])),
    policy=st.sampled_from(sorted(WHY)),
)
def test_every_choice_is_allowed(
    seconds: int | None,
    audio: bool | None,
    model: str,
    ceiling: int | None,
    only: set[str],
    ignore: set[str],
    policy: str,
) -> None:
    """Whatever is asked, each ranked offer sells it, within the ceiling and the lists; the rest say why not."""
    preferences = Preferences(only=tuple(only), ignore=tuple(ignore), max_usd_micros=ceiling)
    wanted = request(model, seconds=seconds, audio=audio)
    decision = choose(wanted, preferences, SELLERS, ALIASES, on=DAY, terms=Terms(policy=policy))
    for line in decision.ranked:
        choice = line.choice
        assert choice is not None
        assert choice.spec.seconds in line.offer.seconds
        assert seconds is None or choice.spec.seconds == seconds
        assert audio is None or choice.spec.audio is audio
        assert ceiling is None or choice.usd_micros <= ceiling
        assert not only or line.provider in only
        assert line.provider not in ignore
    assert all(line.refusals for line in decision.others)
    if policy == "cheapest" and model not in {"auto", "sora-2"}:
        prices = [line.choice.usd_micros for line in decision.ranked if line.choice]
        assert prices == sorted(prices)
