"""Laws of rests: that an account rests for a while is no reason to make another clip, nor for what is too dear."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.jobs.wish import Preferences, Wish
from gateway.offers.accounts import EVERYTHING
from gateway.offers.routing import Decision
from gateway.problems import ProblemError
from providers.base.listing import Listing
from providers.base.order import Input, Mode, Request, Role
from tests.make import listing, offer, price
from tests.scripted import Engine

Make = Callable[..., Engine]

FRAME = Input(role=Role.FIRST_FRAME, media_type="image/png", sha256="0" * 64, size=10, width=1024, height=768)
SOURCE = Input(role=Role.SOURCE, media_type="video/mp4", sha256="0" * 64, size=10, width=1920, height=1080, seconds=8)
ADAPTIVE = Request(
    prompt="a cat", model="maker/one", mode=Mode.FIRST_FRAME, aspect_ratio="adaptive", seconds=8, inputs=(FRAME,)
)
EDIT = Request(prompt="a cat", model="maker/one", mode=Mode.EDIT, inputs=(SOURCE,))
EDITS = {"mode": [Mode.EDIT], "seconds": [0]}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Engine] = []

    def build(*sold: Listing) -> Engine:
        made.append(Engine(tmp_path, *sold))
        return made[-1]

    yield build
    for each in made:
        each.close()


def seller(slug: str, usd: str, **sold: object) -> Listing:
    return listing(slug, prices=[price(usd)], offers=[offer(**sold)])  # type: ignore[arg-type]


def asked(engine: Engine, request: Request, **preferred: object) -> Decision:
    return engine.acceptor.decide(Wish(request=request, preferences=Preferences(**preferred)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "kept", "other"),
    [
        (ADAPTIVE, {"aspect_ratio": ["16:9", "4:3"]}, {"aspect_ratio": ["16:9", "9:16"]}),
        (EDIT, {"resolution": ["1080p"], **EDITS}, {"resolution": ["720p"], **EDITS}),
    ],
)
def test_a_clip_keeps_its_shape_while_who_sells_it_rests(
    make: Make, request_: Request, kept: dict[str, object], other: dict[str, object]
) -> None:
    """What follows a picture or a clip is not made after another pattern because somebody rests: the call waits."""
    engine = make(seller("alike", "0.10", **kept), seller("unlike", "0.40", **other))
    well = asked(engine, request_)
    assert ("alike:maker/one", ()) == (well.ranked[0].name, well.notices)
    engine.accounts["alike"].rest(EVERYTHING, engine.now + 300_000, "alike rests")

    with pytest.raises(ProblemError) as refused:
        asked(engine, request_)
    assert (503, "no_offer_now") == (refused.value.status, refused.value.code)


def test_what_is_too_dear_is_not_said_to_be_unsold(make: Make) -> None:
    """The nearest shape a call can pay for is made, and the notice speaks of this call alone."""
    engine = make(seller("near", "0.40", aspect_ratio=["4:3"]), seller("far", "0.10", aspect_ratio=["16:9"]))
    decision = asked(engine, ADAPTIVE, max_usd_micros=1_000_000)

    (notice,) = decision.notices
    assert "16:9" == decision.ranked[0].choice.spec.aspect_ratio  # type: ignore[union-attr]
    assert notice.details.startswith("no offer of maker/one this call can have sells a shape near")


@pytest.mark.parametrize("rests", [False, True])
def test_nobody_waits_for_what_is_too_dear(make: Make, rests: bool) -> None:
    """Who takes the optional wish asks too much, well or resting: it is dropped, and the other makes the clip."""
    engine = make(seller("dear", "0.40"), seller("plain", "0.10", features=[]))
    if rests:
        engine.accounts["dear"].rest(EVERYTHING, engine.now + 3_600_000, "dear rests")
    wanted = Request(prompt="a cat", model="maker/one", seed=7, seconds=8)
    decision = asked(engine, wanted, on_unsupported="warn", max_usd_micros=1_000_000)

    assert ["plain:maker/one"] == [line.name for line in decision.ranked]
    assert ["seed"] == [each.feature for each in decision.notices]


@pytest.mark.parametrize("rest", [(), ("one", "two")])
def test_who_is_too_dear_has_no_say_in_the_length(make: Make, rest: tuple[str, ...]) -> None:
    """Two that nobody can pay sell eight seconds; resting or not, that closes nobody's clip."""
    dear = [seller(slug, "1.00", seconds=[8, 4]) for slug in ("one", "two")]
    engine = make(*dear, seller("cheap", "0.10", seconds=[4, 8]))
    for slug in rest:
        engine.accounts[slug].rest(EVERYTHING, engine.now + 300_000, "rests")
    first = asked(engine, Request(prompt="a cat", model="maker/one"), max_usd_micros=2_000_000).ranked[0]

    assert ("cheap:maker/one", 4) == (first.name, first.choice.spec.seconds)  # type: ignore[union-attr]
