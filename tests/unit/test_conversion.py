"""Laws of what a picture becomes at an offer that does not take it as it is: by its listing, without a byte read."""

import re

import pytest

from providers.base.catalog import Refusal, fit
from providers.base.conversion import Conversion, conversion, foreseen
from providers.base.order import Input, Mode, Request, Role, Spec
from tests.make import offer

PNG, JPEG, WEBP, GIF, MP4 = "image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4"


def frame(media_type: str, size: int) -> Input:
    return Input(role=Role.FIRST_FRAME, media_type=media_type, sha256="0" * 64, size=size)


def wanted(handed: Input) -> Request:
    return Request(prompt="a cat", model="maker/one", mode=Mode.FIRST_FRAME, inputs=(handed,))


@pytest.mark.parametrize(
    ("media_type", "size", "taken", "most", "becomes"),
    [
        (PNG, 9, [], None, None),
        (WEBP, 9, [], None, None),
        (WEBP, 9, [MP4], None, None),
        (WEBP, 9, [PNG, WEBP], None, None),
        (WEBP, 9, [PNG, WEBP], 9, None),
        (WEBP, 10, [PNG, WEBP], 9, ((PNG,), 9)),
        (WEBP, 9, [JPEG, PNG, MP4], None, ((PNG, JPEG), None)),
        (GIF, 9, [JPEG], 20, ((JPEG,), 20)),
        (PNG, 9, [JPEG], None, ((JPEG,), None)),
        (JPEG, 10, [], 9, ((PNG, JPEG), 9)),
        (JPEG, 10, [JPEG], 9, ((JPEG,), 9)),
        (GIF, 9, [WEBP], None, None),
        (WEBP, 10, [WEBP], 9, None),
        (MP4, 10, [PNG, JPEG], 9, None),
        ("audio/mpeg", 10, ["audio/wav", PNG], 9, None),
    ],
)
def test_a_picture_becomes_what_is_taken(
    media_type: str, size: int, taken: list[str], most: int | None, becomes: tuple[tuple[str, ...], int | None] | None
) -> None:
    """Only where its type or its size is not taken, only what is, and never anything but a picture; then it fits."""
    sold, handed = offer(media_types=taken, image_max=most), frame(media_type, size)
    into = conversion(sold, handed)
    assert becomes == (into and (into.types, into.most))
    (seen,) = foreseen(sold, [handed])
    if into is None:
        assert handed == seen
        return
    assert seen.media_type in taken or not taken
    assert most is None or seen.size <= most
    assert isinstance(fit(sold, wanted(handed)), Spec)


def test_a_picture_that_stays_too_large_is_refused() -> None:
    """What cannot be converted to anything that is taken is not quoted as if it could."""
    told = "maker/one takes a first frame of at most 9 bytes"
    assert [Refusal("frame_images", told)] == fit(offer(media_types=[WEBP], image_max=9), wanted(frame(WEBP, 10)))


def test_conversions_are_told_apart_by_their_names() -> None:
    """By which they are kept: signs that a key, a link and a file's name may have."""
    all_ = [Conversion(types, most) for types in ((PNG,), (JPEG,), (PNG, JPEG)) for most in (None, 1, 20_000_000)]
    names = {each.name for each in all_}
    assert len(all_) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", each) for each in names)
