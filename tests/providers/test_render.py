"""What the sandbox draws is what was ordered, to the frame, and no stranger's bytes break it."""

from array import array
from fractions import Fraction
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from providers import _film, _render
from providers.base.order import Role, frame_size

PACKET = 1024 / 48_000
"""Seconds of sound in one AAC packet."""


@pytest.fixture
def render(tmp_path, facts):
    """Render an order and decode what came out."""
    made = []

    def run(*files, **wishes):
        order = {
            "prompt": "a fox in the snow", "model": "sandbox/demo", "mode": "text", "seconds": 1, "resolution": "360p",
            "aspect_ratio": "16:9", "audio": False, "n": 1, "fps": 12, "seed": 1, "container": "mp4", **wishes,
        }  # fmt: skip
        made.append(tmp_path / f"{len(made)}.{order['container']}")
        _render.render(order, files, made[-1], lambda _: None)
        return facts(made[-1])

    return run


def digest(clip):
    return sha256(b"".join(picture.tobytes() for picture in clip.pictures)).hexdigest()


def near(picture, place, colour, within=24):
    seen = picture.getpixel(place)
    return all(abs(a - b) <= within for a, b in zip(seen, colour, strict=True))


def loud(samples: bytes) -> int:
    return max((abs(value) for value in array("h", samples)), default=0)


def flat(colour, size=(64, 48), form="PNG", **options) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def kept(tmp_path):
    """Keep bytes in a file."""

    def keep(data: bytes, name="input") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return keep


@pytest.mark.parametrize(
    ("resolution", "ratio", "seconds", "fps", "audio"),
    [
        ("360p", "16:9", 1, 24, True),
        ("360p", "9:16", 2, 12, False),
        ("360p", "1:1", 4, 12, True),
        ("720p", "16:9", 1, 30, True),
        ("720p", "9:16", 1, 12, False),
        ("720p", "1:1", 1, 24, True),
        ("1080p", "16:9", 1, 12, False),
        ("1024p", "4:7", 1, 12, True),
        ("1024p", "7:4", 1, 12, False),
    ],
)
def test_clip_is_what_was_ordered(render, resolution, ratio, seconds, fps, audio):
    """Codec, size, rate, length and sound are the order's, exactly."""
    clip = render(resolution=resolution, aspect_ratio=ratio, seconds=seconds, fps=fps, audio=audio)

    assert ("h264", "yuv420p") == (clip.codec, clip.pixels)
    assert frame_size(resolution, ratio) == clip.size
    assert fps == clip.rate
    assert [pytest.approx(index / fps) for index in range(seconds * fps)] == clip.times
    assert ([("aac", 48_000, 2)] if audio else []) == clip.audio
    assert pytest.approx(seconds, abs=PACKET) == clip.seconds
    assert not audio or 3_000 < loud(clip.sound) < 32_000
    assert 0 < clip.head.index(b"moov") < clip.head.find(b"mdat") % 2**63


@pytest.mark.parametrize(
    ("container", "codecs"), [("mov", ("h264", "aac")), ("webm", ("vp9", "opus")), ("mp4", ("h264", "aac"))]
)
def test_containers(render, container, codecs):
    """Each container holds a whole clip with sound."""
    clip = render(container=container, audio=True, seconds=2)

    assert codecs == (clip.codec, clip.audio[0][0])
    assert 24 == len(clip.pictures)
    assert pytest.approx(2, abs=PACKET) == clip.seconds


def test_same_seed_same_clip(render):
    """The same order with the same seed is the same clip, frame by frame and tone by tone."""
    one, same, other = (render(seed=seed, audio=True) for seed in (5, 5, 6))

    assert (digest(one), one.sound) == (digest(same), same.sound)
    assert digest(one) != digest(other)
    assert one.sound != other.sound


@pytest.mark.parametrize("seed", [-1, 0, 2**32 - 1, 2**80])
def test_any_whole_number_is_a_seed(render, seed):
    """No seed is too odd."""
    assert 12 == len(render(seed=seed).pictures)


def test_pictures_move(render):
    """A clip is not a still: every frame differs from the one before."""
    pictures = [picture.tobytes() for picture in render().pictures]

    assert all(one != next_ for one, next_ in pairwise(pictures))


def test_frames_are_where_they_were_asked_for(render, kept):
    """The clip begins with the first picture and ends with the last."""
    first, last = kept(flat((200, 30, 30)), "first"), kept(flat((30, 30, 200), form="JPEG"), "last")
    clip = render(
        (Role.FIRST_FRAME, "image/png", first), (Role.LAST_FRAME, "image/jpeg", last), mode="frames", seconds=2
    )

    assert all(near(clip.pictures[index], (600, 200), (200, 30, 30)) for index in (0, 5))
    assert not near(clip.pictures[12], (600, 200), (200, 30, 30), 60)
    assert not near(clip.pictures[12], (600, 200), (30, 30, 200), 60)
    assert all(near(clip.pictures[index], (600, 200), (30, 30, 200)) for index in (-1, -6))


def test_references_are_shown(render, kept, film):
    """Every reference has its place in the strip, whatever its kind."""
    magenta = kept(flat((250, 0, 250)))
    clip = render(
        (Role.REFERENCE, "image/png", magenta),
        (Role.REFERENCE, "video/mp4", film),
        (Role.VOICE, "audio/wav", kept(b"RIFF", "voice")),
        mode="reference",
    )  # fmt: skip

    assert near(clip.pictures[3], (30, 80), (250, 0, 250), 40)
    assert near(clip.pictures[3], (100, 80), (120, 120, 120), 40)


def test_edit_is_drawn_over_the_source(render, film):
    """An edit has the order's length, size and rate, and shows the source, coloured."""
    clip = render((Role.SOURCE, "video/mp4", film), mode="edit", seconds=2, audio=True)

    assert ((640, 360), 12, 24) == (clip.size, clip.rate, len(clip.pictures))
    assert all(not near(picture, (610, 200), (120, 120, 120), 12) for picture in clip.pictures)
    assert near(clip.pictures[0], (610, 200), clip.pictures[-1].getpixel((610, 200)), 8)
    assert loud(clip.sound[: 2 * 40_000]) > 8_000
    assert loud(clip.sound[2 * 60_000 :]) < 100


@pytest.mark.parametrize(("short", "seconds"), [(False, 1), (True, 0.5)])
def test_an_edit_may_be_as_long_as_its_source(render, film, short, seconds):
    """Of no length of its own an edit lasts as its source does, at its own rate; a short one less."""
    clip = render((Role.SOURCE, "video/mp4", film), mode="edit", seconds=0, short=short)

    assert (12, 12 * seconds) == (clip.rate, len(clip.pictures))


def test_extension_is_the_source_and_more(render, film):
    """An extension is both, stitched, at the source's size and rate."""
    clip = render((Role.SOURCE, "video/mp4", film), mode="extend", seconds=2, audio=True)

    assert ((320, 240), 25, 75) == (clip.size, clip.rate, len(clip.pictures))
    assert pytest.approx(3, abs=2 * PACKET) == clip.seconds
    assert all(near(picture, (300, 200), (120, 120, 120), 8) for picture in clip.pictures[:37])
    assert not near(clip.pictures[-1], (300, 200), (120, 120, 120), 8)
    assert loud(clip.sound[: 2 * 40_000]) > 8_000
    assert 3_000 < loud(clip.sound[2 * 60_000 :]) < 16_000


def test_upscale_is_the_source_larger(render, film):
    """An upscale keeps the source's shape, rate, length and picture."""
    clip = render((Role.SOURCE, "video/mp4", film), mode="upscale", resolution="720p", seconds=7)

    assert ((960, 720), 25, 25) == (clip.size, clip.rate, len(clip.pictures))
    assert near(clip.pictures[12], (480, 360), (120, 120, 120), 8)
    assert [] == clip.audio


def test_half_a_second(render):
    """A length need not be whole: the short clip of a one-second order is half of it."""
    assert 6 == len(render(seconds=0.5).pictures)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_pictures_are_read(kept, form):
    """Every format we accept is read, its own size kept."""
    assert (64, 48) == _render.picture(kept(flat((9, 9, 9), form=form))).size


def test_turned_pictures_stand_upright(kept):
    """A photograph taken sideways is turned as its EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = 6

    assert (48, 64) == _render.picture(kept(flat((9, 9, 9), form="JPEG", exif=exif))).size


BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0\xb1\xf1\xc2\x34"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        flat((1, 2, 3))[:40],
        flat((1, 2, 3), form="JPEG")[:200],
        flat((1, 2, 3), size=(640, 480), form="GIF")[:20],
        flat((1, 2, 3), form="BMP"),
        flat((1, 2, 3), form="TIFF"),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        BOMB,
        flat((1, 2, 3), size=(6401, 6401)),
    ],
)
def test_bad_pictures_are_refused(kept, data):
    """Whatever is no picture of an accepted format and size is bad input, and nothing else."""
    with pytest.raises(_render.BadInputError):
        _render.picture(kept(data))


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", "video/mp4"),
        (b"\0" * 4096, "video/mp4"),
        (PLAYLIST, "video/mp4"),
        (PLAYLIST, "application/vnd.apple.mpegurl"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "video/mp4"),
        (b"<!doctype html>", "video/webm"),
        ("whole", "video/webm"),
        ("whole", "video/x-flv"),
        ("half", "video/mp4"),
    ],
)
def test_bad_films_are_refused(render, kept, film, data, media_type):
    """A clip is read as what it was sniffed to be, or not at all."""
    whole = film.read_bytes()
    path = kept({"whole": whole, "half": whole[: len(whole) // 2]}.get(data, data))

    for mode in ("edit", "extend", "upscale"):
        with pytest.raises(_render.BadInputError):
            render((Role.SOURCE, media_type, path), mode=mode)


def test_long_and_large_films_are_refused(monkeypatch, film):
    """There is an end to what is decoded for anybody."""
    monkeypatch.setattr(_film, "LONGEST", 0.5)
    with pytest.raises(_render.BadInputError, match="lasts 1 s"):
        _render.Film(film, "video/mp4")
    monkeypatch.setattr(_film, "LONGEST", 180)
    monkeypatch.setattr(_film, "MOST_PIXELS", 4 * 320 * 200)
    with pytest.raises(_render.BadInputError, match="320x240"):
        _render.Film(film, "video/mp4")


def test_a_late_film_is_read_from_its_first_frame(render, tmp_path):
    """A clip whose clock does not begin at nought is shown from its first frame on, each frame in its turn."""
    path = tmp_path / "late.webm"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libvpx-vp9", rate=20, options={"deadline": "realtime"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_image(Image.new("RGB", (320, 240), (10 * index,) * 3))
            frame.pts, frame.time_base = 40 + index, Fraction(1, 20)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    clip = render((Role.SOURCE, "video/webm", path), mode="upscale")

    assert all(near(clip.pictures[index], (200, 200), (10 * index,) * 3) for index in range(20))


def test_upscale_has_a_limit(render, film):
    """A shape that grows beyond every screen is refused before it is drawn."""
    with pytest.raises(_render.BadInputError, match="pixels"):
        render((Role.SOURCE, "video/mp4", film), mode="upscale", resolution="4000p")


def test_missing_source_is_bad_input(render):
    """Without a clip there is nothing to edit."""
    with pytest.raises(_render.BadInputError, match="no source"):
        render(mode="edit")


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " \n\t ",
        "\0\x1b[31m\u202e\ufeff",
        "x" * 2_000,
        "狐狸在雪地里奔跑" * 50,
        "مرحبا " * 60 + "🦊" * 60,
        "word " * 6_000,
        "{} %s %(prompt)s \\",
    ],
)
def test_any_prompt_can_be_drawn(render, prompt):
    """No prompt is too long, too odd or too empty."""
    assert 12 == len(render(prompt=prompt, negative_prompt=prompt[:500], aspect_ratio="9:16").pictures)


FACE = ImageFont.load_default(20)


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=200), st.integers(1, 5))
def test_lines_fit(text, most):
    """A line is never wider than its place, and there are never more than asked for."""
    told = _render.wrapped(text, FACE, 120, most)

    assert len(told) <= most
    assert all(FACE.getlength(line) <= 120 or len(line) <= 2 for line in told)


def test_nothing_is_lost_that_fits():
    """What has room is told in full; what has not ends in an ellipsis."""
    assert ["one two"] == _render.wrapped("one  two", FACE, 500, 2)
    assert "…" == _render.wrapped("one two three four five", FACE, 60, 2)[-1][-1]


def test_progress_is_heard_and_can_end_the_work(tmp_path, render):
    """Progress rises to 1, frame by frame; what the listener raises ends the rendering."""
    heard = []
    order = {
        "prompt": "", "model": "m", "mode": "text", "seconds": 1, "resolution": "360p", "aspect_ratio": "16:9",
        "audio": True, "n": 1, "fps": 12, "seed": 1, "container": "mp4",
    }  # fmt: skip
    _render.render(order, [], tmp_path / "a.mp4", heard.append)

    assert [float(Fraction(index, 12)) for index in range(1, 13)] == heard

    def stop(done):
        if done > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        _render.render(order, [], tmp_path / "b.mp4", stop)
