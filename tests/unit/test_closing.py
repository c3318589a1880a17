"""Laws of what is left open: it is closed once for all offers, so that their prices are of one clip."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.jobs.wish import Preferences
from gateway.offers.asking import Seller
from gateway.offers.fallback import beside
from gateway.offers.routing import WHY, Decision, Terms, choose, decide
from gateway.offers.shop import promised
from providers.base.catalog import Refusal
from providers.base.listing import listings
from providers.base.order import Input, Mode, Order, Request, Role
from tests.make import listing, offer, price

DAY = date(2026, 11, 21)
ANY = Preferences()


def seller(slug: str, usd: str, seconds: list[int], **changes: Any) -> Seller:
    """Sell one model in some lengths, by the second; the first is what nobody chose."""
    offers = [offer(seconds=seconds, **changes.pop("offer", {}))]
    return Seller(account=slug, listing=listing(slug, offers=offers, prices=[price(usd)]), **changes)


def request(**chosen: Any) -> Request:
    return Request(prompt="a cat", **{"model": "maker/one", **chosen})


def ranked(decision: Decision) -> list[tuple[str, int, int]]:
    """Say who would be tried, for how long a clip, at what price."""
    return [
        (line.provider, line.choice.spec.seconds, line.choice.usd_micros) for line in decision.ranked if line.choice
    ]


def apart(decision: Decision) -> list[tuple[str, int]]:
    return [(line.provider, line.choice.spec.seconds) for line in decision.apart if line.choice]


def test_prices_are_compared_of_the_same_clip() -> None:
    """Four seconds here are not cheaper than eight there; who sells both makes what all make."""
    both, long, other = seller("both", "0.05", [4, 6, 8]), seller("long", "0.04", [8]), seller("other", "0.01", [5])
    decision = choose(request(), ANY, [both, long, other], {}, on=DAY)
    assert [("long", 8, 320_000), ("both", 8, 400_000)] == ranked(decision)
    assert [("other", 5)] == apart(decision)
    assert "the cheapest of 2 offers of this clip" == decision.why
    first = decision.ranked[0].choice
    assert first
    assert (("both:maker/one", 400_000),) == beside(decision, first)


def test_who_sells_alone_makes_its_own() -> None:
    """With one seller, or one left that may, the first value of its listing stands as ever."""
    both, long = seller("both", "0.05", [4, 6, 8]), seller("long", "0.04", [8])
    assert [("both", 4, 200_000)] == ranked(choose(request(), ANY, [both], {}, on=DAY))
    assert [("both", 4, 200_000)] == ranked(choose(request(), Preferences(only=("both",)), [both, long], {}, on=DAY))
    assert [("both", 4, 200_000)] == ranked(
        choose(request(), Preferences(max_usd_micros=200_000), [both, long], {}, on=DAY)
    )


def test_what_most_make_by_themselves_is_made_where_all_could_make_either() -> None:
    """Then what the cheapest makes."""
    some = [seller("a", "0.05", [8, 4]), seller("b", "0.06", [8, 4]), seller("c", "0.01", [4, 8])]
    assert [8, 8, 8] == [seconds for _, seconds, _ in ranked(choose(request(), ANY, some, {}, on=DAY))]
    assert [4, 4] == [seconds for _, seconds, _ in ranked(choose(request(), ANY, some[1:], {}, on=DAY))]


@pytest.mark.parametrize(
    ("preferences", "terms", "first"),
    [
        (Preferences(order=("short",)), Terms(), ("short", 4)),
        (ANY, Terms(policy="best"), ("short", 4)),
        (ANY, Terms(policy="fastest"), ("short", 4)),
        (ANY, Terms(policy="split", split={"short": 1}), ("short", 4)),
        (ANY, Terms(policy="cheapest"), ("long", 8)),
    ],
)
def test_who_is_taken_whatever_it_asks_makes_its_own(
    preferences: Preferences, terms: Terms, first: tuple[str, int]
) -> None:
    """Where not the price decides, the clip is that of whoever the policy puts first; an alias's order stands, too."""
    some = [
        seller("short", "0.50", [4, 5], offer={"rank": 9, "typical_seconds": 1}),
        seller("long", "0.04", [8, 6]),
        seller("longer", "0.05", [8, 5, 4]),
    ]
    decision = choose(request(), preferences, some, {}, on=DAY, terms=terms)
    assert first == ranked(decision)[0][:2]
    assert {first[1]} == {seconds for _, seconds, _ in ranked(decision)}


def test_an_aliass_first_model_makes_its_own() -> None:
    """However many offers of the second there are."""
    one = seller("one", "0.50", [4])
    two = [seller(slug, "0.01", [8], offer={"model": "maker/two"}) for slug in ("a", "b")]
    decision = choose(request(model="any"), ANY, [one, *two], {"any": ["maker/one", "maker/two"]}, on=DAY)
    assert [("one", 4, 2_000_000)] == ranked(decision)
    assert [("a", 8), ("b", 8)] == apart(decision)


def test_a_rest_changes_nobodys_clip() -> None:
    """Who rests has a say in what is made; only where nobody is left to make it, another is."""
    both, long = seller("both", "0.05", [4, 8]), seller("long", "0.04", [8])
    assert [("both", 8, 400_000)] == ranked(
        choose(request(), ANY, [both, replace(long, shut={"*": "rests"})], {}, on=DAY)
    )
    two = [replace(each, shut={"*": "rests"}) for each in (long, replace(long, account="more"))]
    short = seller("short", "0.05", [4])
    assert [("short", 4, 200_000)] == ranked(choose(request(), ANY, [short, *two], {}, on=DAY))


markets = st.lists(
    st.tuples(
        st.lists(st.sampled_from([4, 5, 6, 8]), min_size=1, max_size=4, unique=True),
        st.permutations(["720p", "1080p"]).map(lambda sold: sold[:1]) | st.just(["720p", "1080p"]),
        st.integers(1, 50),
        st.sampled_from([{}, {}, {"*": "rests"}]),
    ),
    min_size=1,
    max_size=5,
)


@given(market=markets, policy=st.sampled_from(sorted(WHY)), chosen=st.sampled_from([{}, {"seconds": 8}]))
def test_everybody_who_may_take_a_turn_makes_one_clip(market: list[Any], policy: str, chosen: dict[str, Any]) -> None:
    """All that are ranked make the first's, none apart does, and once the clip is promised the same go on."""
    some = [
        replace(seller(f"s{at}", f"0.{cents:02}", seconds, offer={"resolution": [*sizes]}), shut=shut)
        for at, (seconds, sizes, cents, shut) in enumerate(market)
    ]
    terms = Terms(policy=policy, split={"s0": 1, "s1": 2}, order=["s1"])
    decision = choose(request(**chosen), ANY, some, {}, on=DAY, terms=terms, lot="lot")
    specs = {line.choice.spec for line in decision.ranked if line.choice}
    assert len(specs) == bool(decision.ranked)
    assert not specs & {line.choice.spec for line in decision.apart if line.choice}
    assert bool(decision.ranked) or not decision.apart
    assert len(decision.ranked) + len(decision.apart) + len(decision.others) == len(some)
    if specs:
        pinned = promised(decision.request, specs.pop())
        again = choose(pinned, ANY, some, {}, on=DAY, terms=terms, lot="lot")
        assert (again.ranked, again.apart) == (decision.ranked, ())
    if policy == "cheapest":
        prices = [usd for _, _, usd in ranked(decision)]
        assert prices == sorted(prices)


def test_flow_takes_the_turn_of_a_cheaper_seller() -> None:
    """Open seconds of Veo 3.1 are eight at every seller of it: each other could make what the first was to."""
    some = [
        Seller(account="cometapi", listing=listings()["cometapi"]),
        Seller(account="flow", listing=listings()["flow"], plan="ultra-200"),
    ]
    decision = choose(request(model="google/veo-3.1"), ANY, some, {}, on=DAY)
    assert [("cometapi", 8, 400_000), ("flow", 8, 799_960)] == ranked(decision)


def framed(width: int, height: int, **chosen: Any) -> Request:
    """Go on from a picture of a size."""
    frame = Input(role=Role.FIRST_FRAME, media_type="image/png", sha256="0" * 64, size=9, width=width, height=height)
    return request(mode=Mode.FIRST_FRAME, inputs=(frame,), aspect_ratio="adaptive", **chosen)


@pytest.mark.parametrize(
    ("size", "ratio", "warned"),
    [
        ((720, 1280), "9:16", False),
        ((1366, 768), "16:9", False),
        ((1000, 1020), "1:1", False),
        ((1000, 1100), "1:1", True),
        ((3000, 1000), "16:9", True),
        ((0, 0), "16:9", False),
    ],
)
def test_an_adaptive_shape_is_the_nearest_sold(size: tuple[int, int], ratio: str, warned: bool) -> None:
    """By whoever can; where none is near the frame's the client is told, and what is kept is what was chosen."""
    some = [seller("wide", "0.01", [8]), seller("square", "0.09", [8], offer={"aspect_ratio": ["16:9", "1:1"]})]
    decision = decide(framed(*size), ANY, some, {}, on=DAY)
    choice = decision.ranked[0].choice
    assert choice
    assert choice.spec.aspect_ratio == ratio
    assert ["aspect_ratio"] * warned == [notice.feature for notice in decision.notices]
    assert decision.request.aspect_ratio == (ratio if size[0] else None)
    wanted = replace(framed(*size), mode=Mode.TEXT, inputs=())
    assert decide(wanted, ANY, some, {}, on=DAY).request.aspect_ratio is None
    none = decide(framed(*size, seconds=7), ANY, some, {}, on=DAY)
    assert ((), {"seconds"}) == (none.ranked, {refusal.field for line in none.others for refusal in line.refusals})


def test_what_is_said_of_a_reference_is_left_out_only_on_request() -> None:
    """As an optional feature is: each thing by its field, with a warning, and nothing else of it."""

    def grumbling(order: Order) -> list[Refusal]:
        held = enumerate(order.request.inputs)
        return [Refusal(f"input_references[{at}].weight", "no weights") for at, each in held if each.weight is not None]

    takes = {"mode": [Mode.REFERENCE], "references": 3}
    some = [seller("a", "0.01", [8], offer=takes, objections=grumbling), seller("b", "0.01", [4])]
    picture = Input(role=Role.REFERENCE, media_type="image/png", sha256="0" * 64, size=9, purpose="style")
    wanted = request(mode=Mode.REFERENCE, inputs=(picture, replace(picture, weight=0.5)), seconds=8)
    strict = choose(wanted, ANY, some, {}, on=DAY)
    assert ((), "input_references[1].weight") == (strict.ranked, strict.others[0].refusals[0].field)
    softer = choose(wanted, Preferences(on_unsupported="warn"), some, {}, on=DAY)
    assert ["input_references[1].weight"] == [notice.feature for notice in softer.notices]
    assert softer.request.inputs == (picture, picture)
    assert ["a"] == [line.provider for line in softer.ranked]


def test_a_voice_nobody_takes_is_refused_however_it_came() -> None:
    """A file is no optional feature: it can be left out by nobody, and that is said."""
    voice = Input(role=Role.VOICE, media_type="audio/wav", sha256="0" * 64, size=9, purpose="voice")
    wanted = request(model="google/veo-3.1-fast", mode=Mode.REFERENCE, inputs=(voice,))
    some = [Seller(account="sandbox", listing=listings()["sandbox"])]
    for said in ((), ({"id": "Kore"},)):
        decision = choose(replace(wanted, voices=said), Preferences(on_unsupported="warn"), some, {}, on=DAY)
        assert ((), ["voices"]) == (decision.ranked, [each.field for each in decision.others[0].refusals])


def test_a_rest_is_no_reason_to_leave_anything_out() -> None:
    """Who rests takes it: a client that can come back is not told that nobody does."""
    takes, plain = seller("takes", "0.05", [8]), seller("plain", "0.04", [8], offer={"features": []})
    wanted, soft = request(seed=7), Preferences(on_unsupported="warn")
    rests = choose(wanted, soft, [replace(takes, shut={"*": "rests"}), plain], {}, on=DAY)
    assert ((), (), 7) == (rests.ranked, rests.notices, rests.request.seed)
    assert ["takes"] == [line.provider for line in choose(wanted, soft, [takes, plain], {}, on=DAY).ranked]
    assert ["plain"] == [line.provider for line in choose(wanted, soft, [plain], {}, on=DAY).ranked]


def test_who_asks_too_much_for_its_own_clip_is_asked_for_this_one() -> None:
    """The most a client pays is held against what it would get; who stays below can take its turn, and is shown."""
    short, long = seller("short", "0.05", [4]), seller("long", "0.40", [8, 4])
    most = Preferences(max_usd_micros=2_000_000)
    assert [("short", 4, 200_000), ("long", 4, 1_600_000)] == ranked(choose(request(), most, [short, long], {}, on=DAY))


def test_what_the_operator_makes_of_a_model_holds_in_every_dialect() -> None:
    """Where a client's name stands for several models, each is what ``[aliases]`` says of it."""
    some = [seller("a", "0.01", [8]), seller("b", "0.05", [8])]
    several = Preferences(models=("maker/one", "maker/two"))
    for wanted in (ANY, several):
        decision = choose(request(), wanted, some, {"maker/one": "b:maker/one"}, on=DAY)
        assert [("b", 8, 400_000)] == ranked(decision)


def test_an_account_that_objects_is_no_offer() -> None:
    """It is asked about the order as it would be written, but for its files."""
    seen: list[Order] = []

    def note(order: Order) -> list[Refusal]:
        seen.append(order)
        return [Refusal("video", "not this one")]

    some = [seller("a", "0.01", [8], objections=note)]
    decision = choose(replace(framed(16, 9), aspect_ratio=None), ANY, some, {}, on=DAY)
    assert ((), ["not this one"]) == (decision.ranked, [each.message for each in decision.others[0].refusals])
    (order,) = seen
    assert (order.wire_name, order.spec.seconds, order.files) == ("one", 8, {})
