"""Laws of routing: never an offer that cannot, never above the ceiling, never a choice changed."""

from collections import Counter
from datetime import date
from math import sqrt
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.jobs.wish import Choice, Preferences
from gateway.offers.asking import Line, Seller, UnknownModelError, table
from gateway.offers.fallback import still
from gateway.offers.routing import WHY, Decision, Terms, choose, decide, expected_seconds
from providers.base.listing import Rule, listings
from providers.base.order import CHOICES, Input, Mode, Origin, Request, Role, Spec
from tests.make import listing, offer, price

DAY = date(2026, 11, 1)
ANY = Preferences()
ALIASES: dict[str, str | list[str]] = {"sora-2": ["maker/one", "maker/two"], "one": "maker/one"}


def seller(slug: str, usd: str = "0.10", **changes: object) -> Seller:
    sold = [offer(), offer("maker/two", seconds=[10], rank=5)]
    state = {name: changes.pop(name) for name in ("shut",) if name in changes}
    return Seller(account=f"{slug}-main", listing=listing(slug, offers=sold, prices=[price(usd)], **changes), **state)


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


def test_what_a_dialect_s_name_stands_for_is_what_the_operator_calls_so() -> None:
    """An alias of one of our names counts however the client named that model: it may be the cheaper one."""
    aliases: dict[str, str | list[str]] = {"maker/one": ["maker/two"]}
    meant = Preferences(models=("maker/one", "maker/two"))
    plain, several = (choose(request(), each, SELLERS, aliases, on=DAY).ranked for each in (ANY, meant))
    assert "maker/two" == plain[0].offer.model == several[0].offer.model


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


def test_the_fastest_is_as_observed() -> None:
    """Until an offer has been observed, its listing's word stands."""
    slow, quick = (
        Seller(account=slug, listing=listing(slug, offers=[offer(typical_seconds=seconds)], prices=[price(usd)]))
        for slug, seconds, usd in (("slow", 200, "0.01"), ("quick", 60, "0.90"))
    )

    def first(**speeds: float) -> str:
        told = {f"{slug}:maker/one": seconds for slug, seconds in speeds.items()}
        terms = Terms(policy="fastest", speeds=told)
        decision = choose(request(), ANY, [slow, quick], {}, on=DAY, terms=terms)
        line = decision.ranked[0]
        assert expected_seconds(line, told) == told.get(line.name, line.offer.typical_seconds)
        return line.provider

    assert ["quick", "slow", "slow", "quick"] == [
        first(), first(slow=30), first(quick=300), first(slow=30, quick=20),
    ]  # fmt: skip


def test_the_best_is_by_rank_and_then_by_price() -> None:
    """What an alias or ``auto`` leaves open goes to the model ranked highest, at the cheapest who sells it."""
    assert winners(request("auto"), terms=Terms(policy="best"))[0] == "cheap:maker/two"


def drawn(
    split: dict[str, float], lot: str, sellers: list[Seller] | None = None, model: str = "maker/one"
) -> list[str]:
    terms = Terms(policy="split", split=split)
    decision = choose(
        request(model), ANY, SELLERS if sellers is None else sellers, ALIASES, on=DAY, terms=terms, lot=lot
    )
    return [line.name for line in decision.ranked]


LOTS = [f"user-{at}" for at in range(10_000)]


@pytest.mark.parametrize(
    "split",
    [
        {"dear": 70, "cheap": 30},
        {"dear": 1, "middling": 1, "cheap": 2},
        {"dear:maker/one": 0.9, "cheap": 0.1},
        {"cheap": 5},
    ],
)
def test_shares_are_kept_over_many_lots(split: dict[str, float]) -> None:
    """Each seller gets its share of ten thousand lots, to within six standard deviations."""
    came = Counter(drawn(split, lot)[0].partition(":")[0] for lot in LOTS)
    whole = sum(split.values())
    shares = {name.partition(":")[0]: share / whole for name, share in split.items()}
    assert set(came) == set(shares)
    for name, share in shares.items():
        assert abs(came[name] - share * len(LOTS)) <= 6 * sqrt(len(LOTS) * share * (1 - share))


def test_a_lot_keeps_its_seller() -> None:
    """The same user, the same seller; one that closes moves its own lots and nobody else's."""
    split = {"dear": 2.0, "cheap": 1.0, "middling": 1.0}
    without = [each for each in SELLERS if each.listing.slug != "cheap"]
    for lot in LOTS[:500]:
        before = drawn(split, lot)
        assert before == drawn(split, lot)
        assert [name for name in before if not name.startswith("cheap")] == drawn(split, lot, without)
    assert len({drawn(split, lot)[0] for lot in LOTS[:100]}) == 3


def several(*names: str) -> list[Seller]:
    """Give dear so many accounts, beside the others."""
    (dear,) = (each for each in SELLERS if each.listing.slug == "dear")
    return [*(replace(dear, account=name) for name in names), *(each for each in SELLERS if each is not dear)]


@pytest.mark.parametrize("model", ["maker/one", "auto"])
@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_share_is_its_sellers_however_many_accounts_and_offers_it_has(names: tuple[str, ...], model: str) -> None:
    """To the lot: who has one account gets what who has three gets, and whose model is open goes to nobody else."""
    split = {"dear": 50.0, "cheap": 50.0}
    alone = [drawn(split, lot)[0].partition(":")[0] for lot in LOTS[:2000]]
    assert alone == [drawn(split, lot, several(*names), model)[0].partition(":")[0] for lot in LOTS[:2000]]
    assert abs(alone.count("dear") - 1000) <= 6 * sqrt(500)


def test_a_lot_keeps_its_account() -> None:
    """Accounts of one price share their seller's lots; one that closes moves its own lots, and to its siblings."""
    terms, split = Terms(policy="split", split={"dear": 1, "cheap": 1}), {"dear": 1.0, "cheap": 1.0}

    def account(lot: str, *names: str) -> str:
        return choose(request(), ANY, several(*names), ALIASES, on=DAY, terms=terms, lot=lot).ranked[0].account

    lots = [lot for lot in LOTS[:900] if drawn(split, lot)[0].startswith("dear")]
    at = {lot: account(lot, "a", "b", "c") for lot in lots}
    assert min(Counter(at.values()).values()) > len(lots) / 3 - 6 * sqrt(len(lots) * 2 / 9)
    assert set(at.values()) == {"a", "b", "c"}
    for lot, before in at.items():
        after = account(lot, "a", "b")
        assert after == before or (before, after in {"a", "b"}) == ("c", True)


ROOMS = st.lists(
    st.tuples(st.sampled_from(["0.05", "0.10"]), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, 0, 7, 9])),
    min_size=2,
    max_size=6,
)


@given(ROOMS, st.sampled_from(["cheapest", "best", "fastest", "order"]), st.randoms())
def test_of_what_costs_the_same_whoever_has_most_room_comes_first(
    rooms: list[tuple[str, float, int | None]], policy: str, shuffle: Any
) -> None:
    """Never before what is cheaper; then the freer, then the richer, however they are configured; and it says so."""
    accounts = [
        Seller(account=f"a{at}", listing=listing("cheap", prices=[price(usd)]), free=free, credits_left=left)
        for at, (usd, free, left) in enumerate(rooms)
    ]
    shuffle.shuffle(accounts)
    held = {each.account: (each.free, each.credits_left or 0) for each in accounts}
    decision = choose(request(), ANY, accounts, {}, on=DAY, terms=Terms(policy=policy, order=["cheap"]))
    keys = [
        (line.choice.usd_micros, -held[line.account][0], -held[line.account][1])
        for line in decision.ranked
        if line.choice
    ]
    assert keys == sorted(keys)
    first, second = keys[0], keys[1]
    assert ("share of its places free" in decision.why) == (first[0] == second[0] and first[1] != second[1])
    assert ("most credits left" in decision.why) == (first[:2] == second[:2] and first[2] != second[2])


@given(ROOMS, st.sampled_from(LOTS[:50]))
def test_a_lot_stays_where_it_was_drawn_whoever_is_full(rooms: list[tuple[str, float, int | None]], lot: str) -> None:
    """What is drawn by shares compares sellers: how full an account is does not move a draw."""
    terms = Terms(policy="split", split={"dear": 1})
    idle = several(*(f"a{at}" for at in range(len(rooms))))
    busy = [replace(each, free=free, credits_left=None) for each, (_, free, _) in zip(idle, rooms, strict=False)]
    one, other = (
        [line.account for line in choose(request(), ANY, each, {}, on=DAY, terms=terms, lot=lot).ranked]
        for each in (idle, [*busy, *idle[len(busy) :]])
    )
    assert one == other


def test_an_offers_own_share_stands_before_its_providers() -> None:
    """A provider's share is for its other offers."""
    split = {"dear": 1000.0, "dear:maker/one": 0.001, "cheap": 1.0}
    assert "cheap:maker/one" == Counter(drawn(split, lot)[0] for lot in LOTS[:200]).most_common(1)[0][0]
    assert (
        "dear:maker/two" == Counter(drawn(split, lot, model="maker/two")[0] for lot in LOTS[:200]).most_common(1)[0][0]
    )


def test_who_has_no_share_comes_last() -> None:
    """By price; and without any shares, price decides alone."""
    for lot in LOTS[:50]:
        assert drawn({"dear": 1.0}, lot) == ["dear:maker/one", "cheap:maker/one", "middling:maker/one"]
        assert drawn({}, lot) == ["cheap:maker/one", "middling:maker/one", "dear:maker/one"]


def told(decision: Decision) -> dict[str, str]:
    """Say why each line cannot."""
    return {line.provider: line.refusals[-1].message for line in decision.others}


def test_a_shut_seller_is_left_out_with_its_reason() -> None:
    """For one model or for all; others go on."""
    some = [seller("cheap", "0.05", shut={"maker/one": "daily quota"}), seller("dear", "0.30", shut={"*": "no key"})]
    one = choose(request(), ANY, some, ALIASES, on=DAY)
    assert ((), {"cheap": "daily quota", "dear": "no key"}) == (one.ranked, told(one))
    two = choose(request("maker/two"), ANY, some, ALIASES, on=DAY)
    assert (["cheap"], {"dear": "no key"}) == ([line.provider for line in two.ranked], told(two))


@pytest.mark.parametrize(("left", "fits"), [(None, True), (100, True), (10, True), (9, False), (0, False)])
def test_an_account_without_credits_is_left_out(left: int | None, fits: bool) -> None:
    """It says how many are left and how many are needed; who says nothing is believed to have enough."""
    sold = listing("acme", prices=[price("", credits="10", per="video")], usd_credit="0.01")
    decision = choose(request(), ANY, [Seller(account="a", listing=sold, credits_left=left)], {}, on=DAY)
    assert fits is bool(decision.ranked)
    if not fits:
        assert f"the account a has {left} credits left, 10 are needed" == told(decision)["acme"]


def test_an_accounts_plan_says_what_it_may_order_and_at_what_price() -> None:
    """Two accounts at one provider differ by their plans alone; what is chosen says by which line, in whose credits."""
    rules = [Rule(when={"seconds": [4]}, only={"plan": ["ultra"]}, why="4 s only on Ultra")]
    dear = price("", credits="5", per="video", source="https://acme.test/pro")
    cheap = price("", credits="3", per="video", when={"plan": ["ultra"]}, source="https://acme.test/ultra")
    sold = listing("acme", offers=[offer(rules=rules)], prices=[dear, cheap], usd_credit="0.02")
    sellers = [Seller(account=plan, listing=sold, plan=plan) for plan in ("pro", "ultra")]
    short, long = (choose(request(seconds=seconds), ANY, sellers, {}, on=DAY).ranked for seconds in (4, 8))
    assert ["ultra"] == [line.account for line in short]
    assert [("ultra", 60_000, "3", cheap.source), ("pro", 100_000, "5", dear.source)] == [
        (line.account, line.choice.usd_micros, line.choice.credits, line.choice.source) for line in long if line.choice
    ]


CLIP = Input(role=Role.SOURCE, media_type="video/mp4", sha256="0" * 64, size=9, seconds=8)


@pytest.mark.parametrize(
    ("origin", "able"),
    [
        (None, []),
        (Origin(provider="cheap", account="one", handle="h"), ["one"]),
        (Origin(provider="cheap", account="two", handle="h"), ["two"]),
        (Origin(provider="dear", account="one", handle="h"), []),
    ],
)
def test_own_clips_go_on_only_where_they_were_made(origin: Origin | None, able: list[str]) -> None:
    """At the same provider and the same account; a mode that is not the offer's own takes any clip."""
    offers = [offer(mode=[Mode.EXTEND, Mode.EDIT], own=[Mode.EXTEND])]
    sold = [Seller(account=name, listing=listing("cheap", offers=offers)) for name in ("one", "two")]
    longer = request(mode=Mode.EXTEND, inputs=(replace(CLIP, origin=origin),))
    decision = choose(longer, ANY, sold, {}, on=DAY)
    assert able == [line.account for line in decision.ranked]
    assert all("goes on only with a clip the account" in line.refusals[0].message for line in decision.others)
    picture = Input(role=Role.REFERENCE, media_type="image/png", sha256="1" * 64, size=9)
    among = replace(longer, inputs=(*longer.inputs, picture))
    beside = [replace(each, listing=listing("cheap", offers=[replace(offers[0], references=1)])) for each in sold]
    assert able == [line.account for line in choose(among, ANY, beside, {}, on=DAY).ranked]
    changed = choose(replace(longer, mode=Mode.EDIT), ANY, sold, {}, on=DAY)
    assert ["one", "two"] == [line.account for line in changed.ranked]


@pytest.mark.parametrize(
    ("size", "sold", "came"),
    [
        ((1920, 1080), ["16:9", "9:16"], ("1080p", "16:9")),
        ((720, 1280), ["16:9", "9:16"], ("720p", "9:16")),
        ((360, 640), ["16:9", "9:16"], ("720p", "9:16")),
        ((400, 400), ["16:9", "9:16"], ("720p", "16:9")),
        ((0, 0), ["9:16"], ("720p", "9:16")),
    ],
)
def test_a_clip_of_a_clip_is_alike_where_that_is_sold(
    size: tuple[int, int], sold: list[str], came: tuple[str, str]
) -> None:
    """Of its source's size and shape; of its shape alone; else of the first that is sold. What was chosen stands."""
    seller_ = Seller(account="a", listing=listing(offers=[offer(mode=[Mode.EDIT], aspect_ratio=sold)]))
    source = replace(CLIP, width=size[0], height=size[1])

    def spec(**chosen: object) -> tuple[str, str]:
        wanted = request(mode=Mode.EDIT, inputs=(source,), **chosen)
        choice = decide(wanted, ANY, [seller_], {}, on=DAY).ranked[0].choice
        assert choice is not None
        return choice.spec.resolution, choice.spec.aspect_ratio

    assert came == spec()
    assert ("1080p", sold[0]) == spec(resolution="1080p", aspect_ratio=sold[0])


def test_an_upscale_of_flows_own_clip_is_flows() -> None:
    """It is free there: who else sells it by the second is not asked for the source's length first."""
    sold = listings()
    both = [
        Seller(account="flow", listing=sold["flow"], plan="ultra-200"),
        Seller(account="gemini", listing=sold["gemini"]),
    ]
    origin = Origin(provider="flow", account="flow", handle="h")
    clip = replace(CLIP, width=1280, height=720, origin=origin)
    wanted = request("google/gemini-omni-flash", mode=Mode.UPSCALE, resolution="1080p", inputs=(clip,))
    for asked in (wanted, replace(wanted, seconds=8)):
        ranked = decide(asked, ANY, both, {}, on=date(2026, 11, 21)).ranked
        assert [("flow", 0), ("gemini", 810_880)] == [
            (line.provider, line.choice.usd_micros) for line in ranked if line.choice
        ]


@pytest.mark.parametrize(
    ("takes", "links", "fits"), [("links", False, False), ("links", True, True), ("bytes", False, True)]
)
def test_who_fetches_inputs_needs_an_address_of_ours(takes: str, links: bool, fits: bool) -> None:
    """Only where there are inputs; the refusal names the setting."""
    sold = Seller(account="a", listing=listing("acme", takes=takes), links=links)
    picture = Input(role=Role.FIRST_FRAME, media_type="image/png", sha256="0" * 64, size=9)
    pictured = choose(request(mode=Mode.FIRST_FRAME, inputs=(picture,)), ANY, [sold], {}, on=DAY)
    assert fits is bool(pictured.ranked)
    assert fits or "server.public_url names none" in told(pictured)["acme"]
    assert choose(request(), ANY, [sold], {}, on=DAY).ranked


def test_the_unconfirmed_are_taken_only_by_name() -> None:
    """``auto`` never bets a client's money on what nobody has seen work."""
    sold = seller("acme")
    rumour = replace(sold.listing, offers=[offer("maker/rumour", unconfirmed="one post says so"), *sold.listing.offers])
    some = [replace(sold, listing=rumour)]
    assert {"maker/one", "maker/two"} == {line.offer.model for line in table(request("auto"), some, {}, on=DAY)}
    for name in ("maker/rumour", "acme:maker/rumour"):
        assert ["maker/rumour"] == [line.offer.model for line in choose(request(name), ANY, some, {}, on=DAY).ranked]


@pytest.mark.parametrize("policy", sorted(WHY))
def test_an_aliass_order_stands_whatever_the_policy(policy: str) -> None:
    """The client's first model goes before a cheaper, faster or better second."""
    terms = Terms(policy=policy, split={"dear": 1, "cheap": 1}, order=["dear"])
    for lot in ("a", "b", "c"):
        decision = choose(request("sora-2"), ANY, SELLERS, ALIASES, on=DAY, terms=terms, lot=lot)
        assert ["maker/one"] * 3 + ["maker/two"] * 3 == [
            line.offer.model for line in (*decision.ranked, *decision.apart)
        ]


@pytest.mark.parametrize(
    ("model", "chosen", "terms", "why"),
    [
        ("maker/one", {}, {}, "the cheapest of 3 offers that can"),
        ("dear:maker/one", {}, {}, "the only offer that can"),
        ("sora-2", {}, {}, "the cheapest of 3 offers of maker/one, the alias's first model that can"),
        ("sora-2", {"seconds": 10}, {}, "the cheapest of 3 offers that can"),
        ("first", {}, {}, "the only offer of maker/one, the alias's first model that can"),
        ("any", {}, {}, "the cheapest of 3 offers of maker/two, the alias's first model that can"),
        ("either", {}, {}, "the cheapest of 3 offers that can"),
        ("cheaply", {}, {}, "the only offer of maker/one, the alias's first model that can"),
        ("sora-2", {}, {"policy": "best"},
         "the best in rank of 3 offers of maker/one, the alias's first model that can"),
        ("maker/one", {}, {"policy": "split", "split": {"dear": 1}}, "drawn by its share of 3 offers that can"),
        ("maker/one", {}, {"policy": "split"}, "the cheapest of 3 offers that can: none has a share"),
        ("maker/one", {}, {"policy": "split", "split": {"gone": 1}},
         "the cheapest of 3 offers that can: none has a share"),
        ("maker/one", {}, {"policy": "order", "order": ["dear"]}, "the first as named of 3 offers that can"),
        ("maker/one", {}, {"policy": "order", "order": ["gone"]},
         "the cheapest of 3 offers that can: none is of a provider named"),
    ],
)  # fmt: skip
def test_why_says_what_was_done(model: str, chosen: dict[str, Any], terms: dict[str, Any], why: str) -> None:
    """Against how many the first line was held, and by what; an alias's first model is held to no later one."""
    aliases = {
        **ALIASES, "first": ["dear:maker/one", "maker/two"], "any": ["maker/two", "auto"],
        "either": ["cheap:maker/one", "dear:maker/one", "middling:maker/one"],
        "cheaply": ["cheap:auto", "dear:maker/two"],
    }  # fmt: skip
    assert why == choose(request(model, **chosen), ANY, SELLERS, aliases, on=DAY, terms=Terms(**terms)).why
    none = choose(request(model, seconds=7), ANY, SELLERS, aliases, on=DAY, terms=Terms(**terms))
    assert ((), "") == (none.ranked, none.why)


SPEC = Spec(mode=Mode.TEXT, resolution="720p", seconds=8, aspect_ratio="16:9", audio=True, n=1, fps=24)
SOLD = [
    (account, provider, model)
    for provider, account in (("a", "a-1"), ("a", "a-2"), ("b", "b-1"))
    for model in ("maker/one", "maker/two")
]
NOBODY: frozenset[tuple[str, str]] = frozenset()
PLACES = st.frozensets(st.sampled_from(SOLD).map(lambda at: (at[0], f"{at[1]}:{at[2]}")), max_size=4)


@given(
    ranked=st.lists(st.tuples(st.sampled_from(SOLD), st.integers(1, 4)), max_size=6, unique_by=lambda each: each[0]),
    was=st.tuples(st.sampled_from(SOLD), st.integers(1, 4)),
    policy=st.sampled_from(["cheapest", "split"]),
    refused=PLACES,
    late=PLACES,
    keeps=st.booleans(),
    begun=st.booleans(),
)
@example(  # Its offer, but dearer elsewhere.
    ranked=[(SOLD[2], 2)], was=(SOLD[0], 1), policy="cheapest", refused=NOBODY, late=NOBODY, keeps=True, begun=False
)
@example(  # Once an order was begun the best is taken, whatever was quoted.
    ranked=[(SOLD[4], 4), (SOLD[2], 1)],
    was=(SOLD[0], 2),
    policy="cheapest",
    refused=NOBODY,
    late=NOBODY,
    keeps=False,
    begun=True,
)
@example(  # As good, and of the model that was quoted.
    ranked=[(SOLD[1], 1), (SOLD[4], 1)], was=(SOLD[0], 1), policy="cheapest", refused=NOBODY, late=NOBODY, keeps=False,
    begun=True,
)  # fmt: skip
def test_a_job_is_kept_to_what_it_was_quoted(
    ranked: list[tuple[tuple[str, str, str], int]],
    was: tuple[tuple[str, str, str], int],
    policy: str,
    refused: frozenset[tuple[str, str]],
    late: frozenset[tuple[str, str]],
    keeps: bool,
    begun: bool,
) -> None:
    """Its price, its offer and its model stand while they can be had; nobody is asked again who refused it."""

    def line(at: tuple[str, str, str], usd_micros: int, why: str = "") -> Line:
        account, provider, model = at
        choice = Choice(account=account, provider=provider, model=model, spec=SPEC, usd_micros=usd_micros, why=why)
        return Line(account=account, provider=provider, offer=offer(model), sandbox=False, choice=choice)

    lines = tuple(line(*each) for each in ranked)
    quoted = line(*was, why="it was quoted").choice
    assert quoted is not None
    decision = Decision(ranked=lines, others=(), request=request(), policy=policy, why="it won")
    taken = still(decision, quoted, dict.fromkeys(refused, "refused it"), late, keeps=keeps, begun=begun)

    able = [each.choice for each in lines if each.choice and (each.account, each.name) not in refused]
    if keeps:
        able = [
            each
            for each in able
            if each.offer == quoted.offer and (each.account == quoted.account or each.usd_micros <= quoted.usd_micros)
        ]
    places, mine = [(each.account, each.offer) for each in able], [(each.account, each.offer) for each in taken]
    assert bool(taken) == bool(able)
    assert [place for place in places if place in mine] == mine
    assert len({each.model for each in taken}) <= 1
    assert {*mine}.isdisjoint(late) or {*mine} <= late
    if not begun:
        able = [each for each in able if each.usd_micros <= quoted.usd_micros] or able
        assert {*mine} <= {(each.account, each.offer) for each in able}
    dearest = [each.usd_micros for each in able if policy != "split" or each.offer == taken[0].offer][:1]
    assert all(each.usd_micros <= dearest[0] for each in taken)
    best = [each for each in able if each.usd_micros <= able[0].usd_micros and (each.account, each.offer) not in late]
    named = {(each.account, each.offer) for each in best if each.model == quoted.model}
    if policy == "split":
        assert {each.offer for each in taken} == {quoted.offer} or quoted.offer not in {each.offer for each in able}
        assert len({each.offer for each in taken}) <= 1
    elif named:
        assert {*mine} == named
    elif best:
        assert taken[0] in [replace(each, why=taken[0].why, others=taken[0].others) for each in best[:1]]
    for each in taken:
        stays = each.offer == quoted.offer
        assert (each.why, each.others) == ("it was quoted", ()) if stays else "it was quoted" not in each.why


@pytest.mark.parametrize(
    ("quoted", "refused", "late", "wins", "why"),
    [
        ("cheap", [], [], "cheap", "as it was quoted"),
        ("cheap", ["cheap"], [], "middling", "cheap:maker/one refused it"),
        ("cheap", ["cheap", "middling"], [], "dear", "cheap:maker/one refused it"),
        ("cheap", [], ["cheap"], "cheap", "as it was quoted"),
        ("dear", [], [], "cheap", "the cheapest of 3 offers that can: dear:maker/one asks more"),
        ("dear", ["dear"], [], "cheap", "the cheapest of 3 offers that can: dear:maker/one refused it"),
        ("gone", [], [], "cheap", "the cheapest of 3 offers that can: gone:maker/one is not sold here any more"),
        ("shut", [], [], "cheap", "the cheapest of 3 offers that can: shut:maker/one cannot make it now (daily quota)"),
    ],
)
def test_why_says_what_the_quoted_one_lacks(
    quoted: str, refused: list[str], late: list[str], wins: str, why: str
) -> None:
    """Whoever makes a clip in its place; what the others would have cost stands beside it."""
    rests = Seller(account="shut", listing=listing("shut"), shut={"*": "daily quota"})
    decision = choose(request(), ANY, [*SELLERS, rests], {}, on=DAY)
    first = decision.ranked[0].choice
    assert first is not None
    known = {line.provider: line.choice for line in decision.ranked if line.choice}
    was = known.get(quoted) or replace(first, account=f"{quoted}-main", provider=quoted)
    was = replace(was, why="as it was quoted", others=(("other:maker/one", 7),))
    out, slow = ({(f"{name}-main", f"{name}:maker/one") for name in names} for names in (refused, late))
    best, *_ = still(decision, was, dict.fromkeys(out, "refused it"), slow, keeps=False, begun=True)

    others = {name: each.usd_micros for name, each in known.items() if name != wins}
    assert (best.provider, best.why) == (wins, why)
    assert {name.partition(":")[0]: usd for name, usd in best.others} == ({"other": 7} if wins == quoted else others)


states = st.fixed_dictionaries(
    {
        "usd": st.integers(1, 500).map(lambda cents: f"{cents / 100:.2f}"),
        "shut": st.sampled_from([{}, {"*": "resting"}, {"maker/one": "daily quota"}]),
        "credits_left": st.none() | st.integers(0, 20),
        "by_credits": st.booleans(),
    }
)
markets = st.lists(states, min_size=1, max_size=5)
requests = st.fixed_dictionaries(
    {"model": st.sampled_from(["maker/one", "maker/two", "auto", "sora-2", "s1:maker/one", "s0:maker/two"])},
    optional={
        "seconds": st.sampled_from([4, 8, 10, 12]),
        "resolution": st.sampled_from(["720p", "1080p", "4k"]),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
        "audio": st.booleans(),
        "seed": st.just(7),
        "negative_prompt": st.just("rain"),
    },
)


def open_market(drawn_: list[dict[str, Any]]) -> list[Seller]:
    """Build sellers as drawn."""
    built = []
    for at, state in enumerate(drawn_):
        line = price("", credits="10", per="video") if state["by_credits"] else price(state["usd"])
        offers = [offer(), offer("maker/two", seconds=[10], rank=5)]
        sold = listing(f"s{at}", offers=offers, prices=[line], usd_credit=state["usd"])
        built.append(Seller(account=f"a{at}", listing=sold, shut=state["shut"], credits_left=state["credits_left"]))
    return built


@given(
    drawn_=markets,
    fields=requests,
    policy=st.sampled_from(sorted(WHY)),
    ceiling=st.none() | st.integers(0, 50_000_000),
    most=st.none() | st.integers(0, 50_000_000),
    lot=st.text(max_size=5),
    warn=st.booleans(),
)
def test_no_decision_is_one_that_cannot_be(
    drawn_: list[dict[str, Any]],
    fields: dict[str, Any],
    policy: str,
    ceiling: int | None,
    most: int | None,
    lot: str,
    warn: bool,
) -> None:
    """
    Never an offer that cannot, never above the ceiling, never a changed choice, never one that is shut or sold out.

    Who closes is gone from the next decision, and nobody else's place among the others changes.
    """
    sellers, wanted = open_market(drawn_), Request(prompt="a cat", **fields)
    preferences = Preferences(max_usd_micros=ceiling, on_unsupported="warn" if warn else "error")
    terms = Terms(policy=policy, split={"s0": 3, "s1": 1, "s2:maker/one": 2}, order=["s2", "s0"], ceiling=most)

    def decide(these: list[Seller]) -> Decision | None:
        try:
            return choose(wanted, preferences, these, ALIASES, on=DAY, terms=terms, lot=lot)
        except UnknownModelError:
            return None

    decision = decide(sellers)
    if decision is None:
        assert (True, 1) == (wanted.model.startswith("s1:"), len(sellers))
        return
    assert decision == decide(sellers)
    by_account = {each.account: each for each in sellers}
    for line in decision.ranked:
        choice, mine = line.choice, by_account[line.account]
        assert choice is not None
        assert not {"*", line.offer.model} & set(mine.shut)
        assert mine.credits_left is None or not choice.credits or int(choice.credits) <= mine.credits_left
        assert all(each is None or choice.usd_micros <= each for each in (ceiling, most))
        for name in CHOICES:
            assert getattr(choice.spec, name) in getattr(line.offer, name)
            assert name not in fields or getattr(choice.spec, name) == fields[name]
        assert decision.request.features() <= set(line.offer.features)
    assert warn or "negative_prompt" not in fields or not decision.ranked
    assert all(line.refusals for line in decision.others)
    if not decision.ranked:
        return
    first = decision.ranked[0]
    closed = [replace(each, shut={"*": "closed"}) if each.account == first.account else each for each in sellers]
    after = decide(closed)
    assert after is not None
    left = [(line.account, line.name) for line in decision.ranked if line.account != first.account]
    if left:  # Else nobody makes that clip any more, and what is open is closed to another.
        assert left == [(line.account, line.name) for line in after.ranked]
    assert all(line.account != first.account for line in after.ranked)


@given(markets.filter(lambda drawn_: len(drawn_) > 1))
def test_a_price_that_moves_moves_the_decision(drawn_: list[dict[str, Any]]) -> None:
    """Whoever becomes the cheapest is first from then on; nothing of yesterday's prices is remembered."""
    for state in drawn_:
        state |= {"shut": {}, "credits_left": None, "by_credits": False}
    for at in range(len(drawn_)):
        moved = [{**state, "usd": "0.001" if at == number else state["usd"]} for number, state in enumerate(drawn_)]
        decision = choose(request(), ANY, open_market(moved), {}, on=DAY)
        assert f"s{at}" == decision.ranked[0].provider
        prices = [line.choice.usd_micros for line in decision.ranked if line.choice]
        assert prices == sorted(prices)


def test_a_new_price_counts_from_its_day() -> None:
    """Between two calls the day may turn, and with it who is cheapest."""
    rising = listing("rising", prices=[price("0.01"), price("9", since=date(2026, 11, 2))])
    some = [Seller(account="r", listing=rising), seller("steady", "0.10")]
    firsts = [choose(request(), ANY, some, {}, on=day).ranked[0].provider for day in (DAY, date(2026, 11, 2))]
    assert ["rising", "steady"] == firsts


def test_a_ceiling_is_kept_to_the_micro_dollar() -> None:
    """What costs just so much may be bought; a millionth less forbids it, and says what it would have cost."""
    at = choose(request(), Preferences(only=("cheap",), max_usd_micros=400_000), SELLERS, ALIASES, on=DAY)
    below = choose(request(), Preferences(only=("cheap",), max_usd_micros=399_999), SELLERS, ALIASES, on=DAY)
    assert [400_000] == [line.choice.usd_micros for line in at.ranked if line.choice]
    assert () == below.ranked
    assert "cheap charges $0.4, above max_cost_usd" == told(below)["cheap"]


@pytest.mark.parametrize("asked", [None, 100_000, 399_999, 9_000_000])
def test_nobody_is_paid_more_than_the_operator_lets(asked: int | None) -> None:
    """Whatever the call allows: of the two ceilings the lower one holds, and the refusal names one that refuses."""
    wanted = Preferences(max_usd_micros=asked)
    at = choose(request(), wanted, SELLERS, ALIASES, on=DAY, terms=Terms(ceiling=400_000))
    below = choose(request(), wanted, SELLERS, ALIASES, on=DAY, terms=Terms(ceiling=399_999))
    assert ([400_000] if asked in {None, 9_000_000} else []) == [
        each.choice.usd_micros for each in at.ranked if each.choice
    ]
    assert () == below.ranked
    assert "cheap charges $0.4, above the $0.399999 this gateway pays for a video at most" == told(below)["cheap"]
    assert not choose(request(), ANY, SELLERS, ALIASES, on=DAY, terms=Terms(ceiling=0)).ranked
