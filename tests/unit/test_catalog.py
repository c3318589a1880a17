"""Laws of fitting and quoting."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base.catalog import Quote, Refusal, charge, fit, quote
from providers.base.listing import Listing, Offer, Plan, Price, Rule, listings, read
from providers.base.order import (
    CHOICES,
    FEATURES,
    HANDED,
    Input,
    Mode,
    Request,
    Role,
    Spec,
    frame_size,
    lines,
    read_size,
)  # fmt: skip
from providers.base.task import Usage
from tests.make import listing, offer, price

DAY = date(2026, 11, 1)


def request(**changes: object) -> Request:
    return Request(prompt="a cat", model="maker/one", **changes)  # type: ignore[arg-type]


def test_the_first_value_is_the_default() -> None:
    """A client who chooses nothing gets the first of everything."""
    spec = fit(offer(), request())

    assert spec == Spec(
        mode=Mode.TEXT, resolution="720p", seconds=8, aspect_ratio="16:9", audio=True, n=1, fps=24, container="mp4"
    )


wishes = st.fixed_dictionaries(
    {},
    optional={
        "seconds": st.sampled_from([4, 6, 8]),
        "resolution": st.sampled_from(["720p", "1080p", "4k"]),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
        "audio": st.booleans(),
        "n": st.sampled_from([1, 2]),
        "seed": st.integers(0, 9),
        "negative_prompt": st.just("rain"),
    },
)
TIED = offer(
    rules=[Rule(when={"resolution": ["1080p"]}, only={"seconds": [8], "audio": [True]}, why="1080p is 8 s, with sound")]
)


@given(wishes, st.sampled_from([offer(), TIED, offer(resolution=["1080p", "720p"], rules=TIED.rules)]))
def test_a_choice_is_kept_or_refused(chosen: dict[str, object], sold: object) -> None:
    """What the client chose is in the spec unchanged, or the offer refuses naming a field; what it sells it sells."""
    answer = fit(sold, request(**chosen))  # type: ignore[arg-type]
    if isinstance(answer, Spec):
        assert {name: getattr(answer, name) for name in chosen if name in CHOICES} == {
            name: value for name, value in chosen.items() if name in CHOICES
        }
        for name in CHOICES:
            assert getattr(answer, name) in getattr(sold, name)
        assert "negative_prompt" not in chosen
        if sold.rules and answer.resolution == "1080p":  # type: ignore[attr-defined]
            assert (answer.seconds, answer.audio) == (8, True)
    else:
        assert answer
        assert all(refusal.field and refusal.message for refusal in answer)


def test_open_choices_give_way_to_rules() -> None:
    """An open choice moves to a value the rules allow beside what was chosen."""
    sold = offer(resolution=["1080p", "720p"], rules=TIED.rules)
    spec = fit(sold, request(seconds=4))

    assert isinstance(spec, Spec)
    assert (spec.resolution, spec.seconds) == ("720p", 4)


def test_rules_may_speak_of_the_plan() -> None:
    """Short clips may need a dearer subscription."""
    sold = offer(rules=[Rule(when={"seconds": [4]}, only={"plan": ["ultra"]}, why="4 s only on Ultra")])

    assert isinstance(fit(sold, request(seconds=4), plan="ultra"), Spec)
    assert fit(sold, request(seconds=4), plan="pro") == [Refusal("provider", "4 s only on Ultra")]


def test_choices_that_leave_no_way_are_refused() -> None:
    """Where each rule may be kept alone and no open choice keeps them all, nothing is ordered."""
    rules = [
        Rule(when={"seconds": [4]}, only={"resolution": ["720p"]}, why="4 s is 720p"),
        Rule(when={"audio": [True]}, only={"resolution": ["1080p"]}, why="sound is 1080p"),
    ]
    sold = offer(rules=rules)
    assert isinstance(fit(sold, request(seconds=4, audio=False)), Spec)
    assert isinstance(fit(sold, request(seconds=8, audio=True)), Spec)
    (refusal,) = refused(sold, request(seconds=4, audio=True))
    assert "no combination" in refusal.message


def refused(sold: Offer, wanted: Request) -> list[Refusal]:
    answer = fit(sold, wanted)
    assert isinstance(answer, list)
    return answer


def test_a_prompt_may_be_as_long_as_is_taken() -> None:
    """And not a character longer."""
    sold = offer(prompt_max=5)
    assert isinstance(fit(sold, request()), Spec)  # "a cat"
    (refusal,) = refused(offer(prompt_max=4), request())
    assert ("prompt", True) == (refusal.field, "at most 4 characters" in refusal.message)


def test_media_are_taken_in_the_types_that_are_named_of_their_kind() -> None:
    """A picture is not held to the types of sound; where none is named of a kind, any is taken."""
    frame = Input(role=Role.FIRST_FRAME, media_type="image/webp", sha256="0" * 64, size=9)
    wanted = request(inputs=(frame,), mode=Mode.FIRST_FRAME)
    for named in ([], ["audio/mpeg"], ["image/png", "image/webp"]):
        assert isinstance(fit(offer(media_types=named), wanted), Spec)
    (refusal,) = refused(offer(media_types=["image/bmp", "audio/mpeg"]), wanted)
    assert "takes a first frame as image/bmp, not image/webp" in refusal.message
    source = Input(role=Role.SOURCE, media_type="video/webm", sha256="0" * 64, size=9)
    edit = request(inputs=(source,), mode=Mode.EDIT)
    (refusal,) = refused(offer(mode=[Mode.EDIT], media_types=["image/png", "video/mp4"]), edit)
    assert "takes a source as video/mp4, not video/webm" in refusal.message


def test_the_length_of_the_source_may_be_said() -> None:
    """Of a clip that is as long as its source; any other length is one that is not sold."""
    source = Input(role=Role.SOURCE, media_type="video/mp4", sha256="0" * 64, size=9, seconds=7.6)
    sold = offer(mode=[Mode.EDIT], seconds=[0])
    spec = fit(sold, request(seconds=8, inputs=(source,), mode=Mode.EDIT))
    assert isinstance(spec, Spec)
    assert spec == fit(sold, request(inputs=(source,), mode=Mode.EDIT))
    assert 0 == spec.seconds
    assert ["seconds"] == [each.field for each in refused(sold, request(seconds=7, inputs=(source,), mode=Mode.EDIT))]
    fixed = fit(offer(mode=[Mode.EDIT], seconds=[8]), request(seconds=8, inputs=(source,), mode=Mode.EDIT))
    assert isinstance(fixed, Spec)
    assert 8 == fixed.seconds


def test_prices_are_dated_and_the_most_particular_counts() -> None:
    """Yesterday keeps yesterday's price; a line for the resolution beats the general one."""
    sold = listing(
        prices=[
            price("0.10"),
            price("0.20", since=date(2026, 10, 1)),
            price("0.50", when={"resolution": ["1080p"]}),
            price("0.40", when={"resolution": ["1080p"], "plan": ["pro"]}),
            price("9.99", since=date(2027, 1, 1)),
        ]
    )
    spec = fit(sold.offers[0], request())
    assert isinstance(spec, Spec)
    high = fit(sold.offers[0], request(resolution="1080p", n=1))
    assert isinstance(high, Spec)

    def usd(which: Spec, day: date, plan: str = "") -> int:
        answer = quote(sold, sold.offers[0], which, on=day, plan=plan)
        assert isinstance(answer, Quote)
        return answer.usd_micros

    assert usd(spec, DAY) == 1_600_000
    assert usd(spec, date(2026, 9, 30)) == 800_000
    assert (usd(high, DAY), usd(high, DAY, "pro"), usd(spec, DAY, "pro")) == (4_000_000, 3_200_000, 1_600_000)


def test_no_price_no_order() -> None:
    """What cannot be priced cannot be ordered."""
    sold = listing(prices=[])
    spec = fit(sold.offers[0], request())
    assert isinstance(spec, Spec)

    assert isinstance(quote(sold, sold.offers[0], spec, on=DAY), Refusal)


def test_credits_become_dollars_through_the_plan() -> None:
    """A credit costs what the plan charges for it, rounded up to a whole micro-dollar."""
    plans = [
        Plan(name="ultra", usd_month=usd, credits_month=25_000, since=since, source="s", checked=DAY)
        for usd, since in (("249.99", date(2026, 1, 1)), ("199.99", date(2026, 6, 1)))
    ]
    sold = listing(plans=plans, prices=[price("", credits="10", per="video")])
    spec = fit(sold.offers[0], request())
    assert isinstance(spec, Spec)
    answer = quote(sold, sold.offers[0], spec, on=DAY, plan="ultra")

    assert isinstance(answer, Quote)
    assert (answer.credits, answer.usd_micros) == (Decimal(10), 79_996)
    assert isinstance(quote(sold, sold.offers[0], spec, on=DAY), Refusal)


def test_rules_may_count_what_is_handed_in() -> None:
    """References, voices and frames; the refusal names the field that brings them."""
    picture = Input(role=Role.REFERENCE, media_type="image/png", sha256="0", size=1)
    frame = Input(role=Role.FIRST_FRAME, media_type="image/png", sha256="0", size=1)
    sold = offer(
        mode=[Mode.REFERENCE], references=3, features=["voices", "characters"],
        rules=[
            Rule(only={"frames": [0]}, why="no frames"),
            Rule(when={"references": [0]}, only={"voices": [0]}, why="a voice needs a reference"),
        ],
    )  # fmt: skip

    def answer(*inputs: Input, **more: object) -> object:
        said = fit(sold, request(mode=Mode.REFERENCE, inputs=inputs, **more))
        return "fits" if isinstance(said, Spec) else [(each.field, each.message) for each in said]

    assert "fits" == answer(picture, picture, picture)
    assert [("input_references", "maker/one takes at most 3 references")] == answer(*[picture] * 4)
    assert [("input_references", "maker/one takes at most 3 references")] == answer(*[picture] * 3, characters=("c",))
    assert [("frame_images", "no frames")] == answer(picture, frame)
    assert [("voices", "a voice needs a reference")] == answer(voices=({"id": "v"},))
    assert "fits" == answer(characters=("c",), voices=({"id": "v"},))


def test_a_listings_rule_is_its_offers_rule() -> None:
    """A rule several offers share is written once, and comes before an offer's own."""
    text = SHARED.encode()
    one, two = (read(text, "acme.toml").offer(name) for name in ("google/veo-3.1", "google/veo-3.1-fast"))
    assert one is not None
    assert two is not None
    assert [["for all", "for one", "its own"], ["for all"]] == [
        [rule.why for rule in each.rules] for each in (one, two)
    ]
    refused = fit(one, request(seconds=4))
    assert isinstance(refused, list)
    assert ["for one", "its own"] == [each.message for each in refused]


SHARED = """
slug = "acme"
name = "Acme"
dialect = "gemini"
base_url = "https://acme.test"
docs = "d"
submit_class = "E"
submit_class_source = "s"
poll_seconds = 5
deadline_seconds = 600
prices = []

[[rules]]
models = ["*"]
when = { resolution = ["1080p"] }
only = { seconds = [8] }
why = "for all"

[[rules]]
models = ["google/veo-3.1"]
only = { seconds = [8] }
why = "for one"

[[offers]]
model = "google/veo-3.1"
wire_name = "v"
mode = ["text"]
seconds = [8, 4]
resolution = ["720p", "1080p"]
aspect_ratio = ["16:9"]
audio = [true]
rules = [{ only = { seconds = [8] }, why = "its own" }]

[[offers]]
model = "google/veo-3.1-fast"
wire_name = "v"
mode = ["text"]
seconds = [8, 4]
resolution = ["720p", "1080p"]
aspect_ratio = ["16:9"]
audio = [true]
"""


def priced(line: Price, *, source_seconds: int = 0, **choices: object) -> Quote | Refusal:
    """Price one clip as long as its source, by one line."""
    sold = listing(offers=[offer(seconds=[0, 8], n=[1, 3])], prices=[line])
    spec = fit(sold.offers[0], request(**choices))
    assert isinstance(spec, Spec)
    return quote(sold, sold.offers[0], spec, on=DAY, source_seconds=source_seconds)


def test_a_clip_as_long_as_its_source_is_priced_by_it() -> None:
    """Where nothing says how long that is, it cannot be priced; by the clip it always can."""
    by_second, by_clip = price("0.10"), price("0.10", per="video")
    for line, source, micros in ((by_second, 7, 700_000), (by_clip, 0, 100_000), (by_clip, 7, 100_000)):
        answer = priced(line, source_seconds=source)
        assert isinstance(answer, Quote)
        assert micros == answer.usd_micros
    refused = priced(by_second)
    assert isinstance(refused, Refusal)
    assert ("seconds", True) == (refused.field, "nothing says how long" in refused.message)
    chosen = priced(by_second, source_seconds=7, seconds=8, n=3)
    assert isinstance(chosen, Quote)
    assert 2_400_000 == chosen.usd_micros


def test_tokens_are_counted_by_the_second() -> None:
    """What is quoted is an estimate; what the provider then counts is charged at the same rate."""
    line = price("0.0000175", per="token", tokens=5792)
    answer = priced(line, seconds=8)
    assert isinstance(answer, Quote)
    assert 810_880 == answer.usd_micros
    sold = listing(prices=[line])
    assert 810_880 == charge(sold, line, Usage(tokens=46_336), on=DAY)
    assert 810_880 + 18 == charge(sold, line, Usage(tokens=46_337), on=DAY)


def test_a_charge_is_what_the_provider_counted() -> None:
    """Dollars before tokens before credits; where it counted nothing there is no charge, and the quote stands."""
    plans = [Plan(name="pro", usd_month="20", credits_month=1000, since=DAY, source="s", checked=DAY)]
    sold, line = listing(plans=plans), price("", credits="10", per="video")

    def charged(usage: Usage, plan: str = "pro", by: Price = line) -> int | None:
        return charge(sold, by, usage, on=DAY, plan=plan)

    assert 240_000 == charged(Usage(credits=Decimal(12)))
    assert 250_000 == charged(Usage(credits=Decimal("12.5")))
    assert 5 == charged(Usage(usd_micros=5, credits=Decimal(12), tokens=9))
    assert 0 == charged(Usage(usd_micros=0))
    assert charged(Usage(credits=Decimal(12)), plan="") is None
    assert charged(Usage(tokens=9)) is None
    assert charged(Usage(seconds=8, remaining_credits=7)) is None
    assert 30_000 == charge(listing(usd_credit="0.005"), line, Usage(credits=Decimal(6)), on=DAY)


@given(st.decimals(min_value=0, max_value=100, places=9), st.integers(1, 4), st.sampled_from([4, 8]))
def test_a_hold_is_never_too_small(usd: Decimal, n: int, seconds: int) -> None:
    """A sum is rounded up to the next whole micro-dollar, and by less than one."""
    sold = listing(offers=[offer(n=[1, 2, 3, 4])], prices=[price(format(usd, "f"))])
    spec = fit(sold.offers[0], request(n=n, seconds=seconds))
    assert isinstance(spec, Spec)
    answer = quote(sold, sold.offers[0], spec, on=DAY)
    assert isinstance(answer, Quote)
    exact = usd * n * seconds * 1_000_000
    assert exact <= answer.usd_micros < exact + 1


def test_an_end_has_its_day() -> None:
    """Sold until the day before; then refused in the listing's words."""
    sold = listing(offers=[offer(ended=DAY, ended_why="the maker shut it down")])
    spec = fit(sold.offers[0], request())
    assert isinstance(spec, Spec)
    assert isinstance(quote(sold, sold.offers[0], spec, on=date(2026, 10, 31)), Quote)
    assert Refusal("model", "the maker shut it down") == quote(sold, sold.offers[0], spec, on=DAY)


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "16:9", (1280, 720)),
        ("720p", "9:16", (720, 1280)),
        ("1080p", "1:1", (1080, 1080)),
        ("360p", "16:9", (640, 360)),
        ("4k", "16:9", (3840, 2160)),
        ("1024p", "4:7", (1024, 1792)),
    ],
)
def test_sizes_read_both_ways(resolution: str, ratio: str, size: tuple[int, int]) -> None:
    """A resolution and a ratio are a size, and the size reads back as them."""
    assert frame_size(resolution, ratio) == size
    assert read_size(f"{size[0]}x{size[1]}") == (resolution, ratio)


@pytest.mark.parametrize("text", ["", "x", "12", "12x", "x12", "0x5", "-1x5", "1e3x5", "999999x5", "\uff11x\uff12"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Anything else is an error, not a guess."""
    with pytest.raises(ValueError, match="size"):
        read_size(text)


@pytest.mark.parametrize("slug", sorted(listings()))
def test_listings_are_whole(slug: str) -> None:
    """Every listing reads, names its sources, and says nothing twice."""
    kept: Listing = listings()[slug]

    assert kept.slug == slug
    names = [each.model for each in kept.offers]
    assert len(set(names)) == len(names)
    for each in kept.offers:
        assert set(each.features) <= {*FEATURES, *HANDED}
        for name in CHOICES:
            sold = getattr(each, name)
            assert sold, (each.model, name)
            assert len(set(sold)) == len(sold), (each.model, name)
        for resolution in each.resolution:
            assert lines(resolution)
        assert isinstance(fit(each, Request(prompt="x", model=each.model)), Spec | list)
    for line in kept.prices:
        assert line.source
        assert bool(line.usd) != bool(line.credits)
        assert Decimal(line.usd or line.credits) >= 0
        assert line.since <= line.checked


@pytest.mark.parametrize(
    ("sold", "wanted", "said"),
    [
        ({"seconds": [4, 1, 20, 10, 0]}, {"seconds": 7}, "maker/one sells seconds 1, 4, 10, 20; not 7"),
        (
            {"seconds": [0]},
            {"seconds": 7},
            "maker/one makes clips as long as their source, which takes no seconds; not 7",
        ),
        ({"resolution": ["720p", "4k", "360p"]}, {"resolution": "480p"}, "sells resolution 360p, 720p, 4k; not 480p"),
        ({"aspect_ratio": ["16:9", "1:1"]}, {"aspect_ratio": "3:2"}, "sells aspect_ratio 16:9, 1:1; not 3:2"),
    ],
)
def test_a_refusal_lists_what_can_be_chosen(sold: dict[str, object], wanted: dict[str, object], said: str) -> None:
    """In order, and only what a client may write: no length is 0, which is a source's own."""
    refusals = fit(offer(**sold), request(**wanted))
    assert isinstance(refusals, list | tuple)
    assert said in {each.message for each in refusals} | {each.message.removeprefix("maker/one ") for each in refusals}
