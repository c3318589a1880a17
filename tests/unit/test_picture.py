"""Laws of converting pictures: the same picture, as another type, upright, in sRGB, small enough, or not at all."""

import random
import struct
import time
import warnings
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from gateway.clips import picture
from gateway.clips.inputs import sniff
from gateway.clips.picture import QUALITIES, NotAPictureError, convert

SIZE = 48, 32
PNG, JPEG = "image/png", "image/jpeg"
BOTH = PNG, JPEG
CLEAR = 8, 8
"""A place that is transparent, in pictures that have one."""
CORNERS = {(4, 28): (200, 30, 40), (44, 4): (30, 160, 60), (44, 28): (40, 60, 190)}
"""Places inside quarters of one colour each, and those colours; the fourth quarter is white, or clear."""


def drawn(mode: str = "RGB") -> Image.Image:
    """Draw four quarters, the first of them transparent where the mode can be."""
    made = Image.new("RGBA", SIZE, (255, 255, 255, 0) if mode in {"RGBA", "P"} else "white")
    for (x, y), colour in CORNERS.items():
        made.paste((*colour, 255), (x // 24 * 24, y // 16 * 16, x // 24 * 24 + 24, y // 16 * 16 + 16))
    return made if mode == "RGBA" else made.quantize(8) if mode == "P" else made.convert("RGB").convert(mode)


def saved(made: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    made.save(out, kind, **options)
    return out.getvalue()


def became(data: bytes, folder: Path, types: tuple[str, ...] = BOTH, most: int | None = None) -> Image.Image:
    """Convert bytes, and decode what they became."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(data)
    convert(str(source), str(target), types, most)
    found = sniff(target, target.stat().st_size)
    assert found.media_type in types
    made = Image.open(target)
    made.load()
    assert made.size == (found.width, found.height)
    return made


def near(one: tuple[int, ...], other: tuple[int, ...], by: int = 12) -> bool:
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


SOURCES: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(drawn(), "PNG"),
    "png clear": lambda: saved(drawn("RGBA"), "PNG"),
    "png palette clear": lambda: saved(drawn("P"), "PNG"),
    "png grey": lambda: saved(drawn("L"), "PNG"),
    "png bits": lambda: saved(drawn("1"), "PNG"),
    "png grey clear": lambda: saved(drawn("LA"), "PNG"),
    "jpeg": lambda: saved(drawn(), "JPEG", quality=95, subsampling=0),
    "jpeg cmyk": lambda: saved(drawn("CMYK"), "JPEG", quality=95, subsampling=0),
    "jpeg grey": lambda: saved(drawn("L"), "JPEG", quality=95),
    "webp": lambda: saved(drawn(), "WEBP", quality=95),
    "webp clear": lambda: saved(drawn("RGBA"), "WEBP", quality=95),
    "webp lossless": lambda: saved(drawn(), "WEBP", lossless=True),
    "webp lossless clear": lambda: saved(drawn("RGBA"), "WEBP", lossless=True),
    "gif": lambda: saved(drawn(), "GIF"),
    "gif clear": lambda: saved(drawn("RGBA"), "GIF"),
}
CLEARS = {"png clear", "png palette clear", "webp clear", "webp lossless clear", "gif clear"}
LOSSY = {"jpeg", "jpeg cmyk", "jpeg grey", "webp"}
"""What came with loss, and nothing transparent in it."""


@pytest.mark.parametrize("types", [(PNG,), (JPEG,), BOTH])
@pytest.mark.parametrize("name", SOURCES)
def test_whatever_comes_becomes_the_same_picture(name: str, types: tuple[str, ...], tmp_path: Path) -> None:
    """As many pixels, the colours they were, clear where it was, or white where that cannot be kept."""
    made = became(SOURCES[name](), tmp_path, types)
    assert SIZE == made.size
    grey = "grey" in name or "bits" in name
    shown = made.convert("RGB")
    for place, colour in CORNERS.items():
        level = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
        if "bits" not in name:  # Which are dithered.
            assert near(shown.getpixel(place), (level,) * 3 if grey else colour), place  # type: ignore[arg-type]
    first = made.convert("RGBA").getpixel(CLEAR)
    assert isinstance(first, tuple)
    if name in CLEARS and PNG in types:
        assert 0 == first[3]
    else:
        assert near(first, (255, 255, 255, 255))


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_clear_or_came_without_loss_stays_so(name: str, tmp_path: Path) -> None:
    """It is a PNG where that may be, and then no pixel differs; a photograph is a JPEG."""
    data = SOURCES[name]()
    made = became(data, tmp_path)
    assert ("JPEG" if name in LOSSY else "PNG") == made.format
    if made.format == "PNG":
        with Image.open(BytesIO(data)) as source:
            alike = source.convert("RGBA"), made.convert("RGBA")
        assert alike[0].getchannel("A").tobytes() == alike[1].getchannel("A").tobytes()
        visible = [Image.composite(each, Image.new("RGBA", SIZE), each.getchannel("A")) for each in alike]
        assert visible[0].tobytes() == visible[1].tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_it_says(kind: str, orientation: int, tmp_path: Path) -> None:
    """Whoever reads no EXIF sees it upright, and nobody turns it twice."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = became(saved(drawn(), kind, exif=exif, **({} if kind == "PNG" else {"quality": 95})), tmp_path)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    upright = drawn() if turned is None else drawn().transpose(turned)
    assert upright.size == made.size
    width, height = upright.size
    for place in ((4, 4), (width - 4, 4), (4, height - 4), (width - 4, height - 4)):
        assert near(made.convert("RGB").getpixel(place), upright.getpixel(place), 16)  # type: ignore[arg-type]
    assert not made.getexif()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    """Mid-grey stays mid-grey; cut off it would be white."""
    made = became(saved(Image.new("I;16", SIZE, 0x8000), "PNG"), tmp_path)
    assert (128, 128, 128) == made.convert("RGB").getpixel((0, 0))


def swapped() -> bytes:
    """Make a profile whose red is sRGB's blue, and the other way round."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {
        bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12)
    }
    for one, other in ((b"rXYZ", b"bXYZ"),):
        profile[tags[one] : tags[one] + 4], profile[tags[other] : tags[other] + 4] = other, one
    return bytes(profile)


def test_colours_are_those_of_srgb(tmp_path: Path) -> None:
    """Who reads no profile sees the colours that were meant, and none is handed on."""
    red = Image.new("RGB", SIZE, (250, 0, 0))
    made = became(saved(red, "PNG", icc_profile=swapped()), tmp_path)
    assert near((0, 0, 250), made.getpixel((0, 0)))  # type: ignore[arg-type]
    assert "icc_profile" not in made.info
    same = became(
        saved(red, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), tmp_path
    )
    assert near((250, 0, 0), same.getpixel((0, 0)), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", [b"nothing", b"\0" * 200])
def test_a_profile_nobody_can_read_is_passed_over(profile: bytes, tmp_path: Path) -> None:
    """The colours stay as they are written."""
    made = became(saved(Image.new("RGB", SIZE, (250, 0, 0)), "PNG", icc_profile=profile), tmp_path)
    assert (250, 0, 0) == made.getpixel((0, 0))


@cache
def noise() -> Image.Image:
    """Draw a picture no codec makes small."""
    return Image.frombytes("RGB", (200, 160), random.Random(7).randbytes(3 * 200 * 160))


@pytest.mark.parametrize(("kind", "best"), [("PNG", "PNG"), ("WEBP", "JPEG")])
def test_it_is_made_small_enough(kind: str, best: str, tmp_path: Path) -> None:
    """The better way as long as it is, then the next, as many pixels each time, and never more bytes than are taken."""
    data, most, ways = saved(noise(), kind), None, []
    while True:
        try:
            made = became(data, tmp_path, most=most)
        except NotAPictureError:
            break
        size = (tmp_path / "target").stat().st_size
        assert most is None or size <= most
        assert (200, 160) == made.size
        ways.append((made.format, size))
        most = size - 1
    assert best == ways[0][0]
    assert len(QUALITIES) == sum(kind == "JPEG" for kind, _ in ways)


def test_the_same_picture_becomes_the_same_bytes(tmp_path: Path) -> None:
    """Whoever converts it again, after a crash, hands over what was handed over."""
    for name, source in SOURCES.items():
        became(source(), tmp_path)
        once = (tmp_path / "target").read_bytes()
        became(source(), tmp_path)
        assert once == (tmp_path / "target").read_bytes(), name


def cut(name: str) -> bytes:
    """Have a picture end within its pixels, its header and the lengths it speaks of being whole."""
    if not name.startswith("webp"):
        return saved(noise(), name.upper())[:-2_000]
    whole = saved(noise(), "WEBP", lossless=name.endswith("lossless"))
    short = bytearray(whole[: len(whole) // 4 * 2])
    short[4:8], short[16:20] = struct.pack("<I", len(short) - 8), struct.pack("<I", len(short) - 20)
    return bytes(short)


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "webp lossless"])
def test_what_is_broken_inside_is_no_picture(name: str, tmp_path: Path) -> None:
    """It was taken in by its header; now it is said, and nothing is written."""
    (tmp_path / "cut").write_bytes(cut(name))
    assert (200, 160) == sniff(tmp_path / "cut", 1)[1:]
    with pytest.raises(NotAPictureError, match="pixels cannot be read"):
        became(cut(name), tmp_path)
    assert not (tmp_path / "target").exists()


def test_bombs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the header alone: too many pixels, or more than one picture."""
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green")]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(NotAPictureError, match="too large, or moves"):
        became(moving, tmp_path)
    monkeypatch.setattr(picture, "MAX_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.raises(NotAPictureError, match="too large, or moves"):
        became(SOURCES["png"](), tmp_path)


def test_a_picture_that_is_gone_over_for_ever_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG may say in a few bytes, again and again, to go over all of it: no queue waits for that."""
    whole = saved(Image.new("RGB", (1500, 1500)), "JPEG", progressive=True)
    scan, end = whole.rindex(b"\xff\xc4"), whole.rindex(b"\xff\xd9")
    bomb = whole[:end] + whole[scan:end] * 20_000 + whole[end:]
    monkeypatch.setattr(picture, "DECODE_SECONDS", 0.1)
    before = time.thread_time()
    with pytest.raises(NotAPictureError, match="takes too long"):
        became(bomb, tmp_path)
    assert time.thread_time() - before < 5


def test_a_want_of_memory_is_not_the_picture_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told apart, so that the order comes again."""

    def full(_: object) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(picture, "_plain", full)
    with pytest.raises(MemoryError):
        became(SOURCES["png"](), tmp_path)


def test_a_file_that_is_gone_is_not_a_broken_picture(tmp_path: Path) -> None:
    """It is told apart likewise."""
    with pytest.raises(FileNotFoundError):
        convert(str(tmp_path / "gone"), str(tmp_path / "target"), BOTH, None)


def test_nothing_is_warned_of(tmp_path: Path) -> None:
    """What a stranger's picture may bring about is in nobody's log."""
    exif = b"Exif\0\0" + b"\xff" * 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SIZE == became(saved(drawn(), "JPEG", exif=exif), tmp_path).size


@pytest.mark.parametrize("turn", range(10))
def test_a_picture_is_as_large_as_it_is_shown(tmp_path: Path, turn: int) -> None:
    """What a telephone writes on its side is upright to whoever looks at it; a turn nobody knows turns nothing."""
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "photo"
    path.write_bytes(saved(drawn(), "JPEG", exif=exif))
    assert (SIZE[::-1] if turn in {5, 6, 7, 8} else SIZE) == sniff(path, path.stat().st_size)[1:]


def test_what_says_nonsense_of_its_side_is_taken_as_it_lies(tmp_path: Path) -> None:
    """What stands there in place of Exif is nobody's order to refuse."""
    path = tmp_path / "photo"
    path.write_bytes(saved(drawn(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert SIZE == sniff(path, path.stat().st_size)[1:]
