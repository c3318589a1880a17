"""Law of sizes: who asks in pixels is answered in pixels, and what is not about them stays as it was."""

from datetime import date
from typing import Any

import pytest

from gateway.jobs.wish import Preferences
from gateway.offers.asking import Seller
from gateway.offers.routing import Decision, decide
from gateway.offers.sizes import in_pixels
from providers.base.listing import listings
from providers.base.order import Request, read_size

SELLERS = [
    Seller(account="comet", listing=listings()["cometapi"]),
    Seller(account="vertex", listing=listings()["vertex"]),
]


def asked(size: str, **more: Any) -> Decision:
    """Ask two sellers for a clip of a size."""
    resolution, ratio = read_size(size)
    request = Request(prompt="a cat", model="google/veo-3.1", resolution=resolution, aspect_ratio=ratio, **more)
    return decide(request, Preferences(), SELLERS, {}, on=date(2026, 11, 22))


def told(decision: Decision) -> dict[str, list[tuple[str, str]]]:
    """Say why each seller cannot."""
    return {line.provider: [(each.field, each.message) for each in line.refusals] for line in decision.others}


def test_a_size_nobody_makes_is_named_beside_those_they_make() -> None:
    """In one sentence, whether its lines, its shape or the two together are what is not sold."""
    wide = "1280x720, 720x1280, 1920x1080, 1080x1920, 3840x2160, 2160x3840"
    assert {
        "cometapi": [("size", "google/veo-3.1 sells size 1280x720, 720x1280, 1920x1080, 3840x2160; not 1024x1792")],
        "vertex": [("size", f"google/veo-3.1 sells size {wide}; not 1024x1792")],
    } == told(in_pixels(asked("1024x1792"), "1024x1792"))
    # Each alone is sold: it is a rule that tells portraits of 1080p apart.
    (said,) = told(in_pixels(asked("1080x1920"), "1080x1920"))["cometapi"]
    assert ("size", True) == (said[0], said[1].endswith("3840x2160; not 1080x1920"))


def test_the_sizes_told_are_those_of_what_else_was_asked() -> None:
    """What is wrong beside the size is told beside it."""
    both = told(in_pixels(asked("1024x1792", seconds=5), "1024x1792"))
    assert [["size", "seconds"]] * 2 == [[field for field, _ in each] for each in both.values()]


@pytest.mark.parametrize(("size", "more"), [(None, {}), ("1280x720", {"seconds": 5})])
def test_nothing_else_is_changed(size: str | None, more: dict[str, Any]) -> None:
    """A client that said lines and shape hears of those, and a size that is sold is not spoken of."""
    decision = asked(size or "1024x1792", **more)
    assert told(decision) == told(in_pixels(decision, size))
