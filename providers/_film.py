"""
Read strangers' pictures and clips for the sandbox: by the one reader their type allows, within caps.

Lives in the rendering process alone, beside :mod:`providers._render`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from PIL import Image, ImageOps

from providers.base.order import Role

Planes = tuple[Image.Image, Image.Image, Image.Image]
Stereo = tuple[bytes, bytes]
Size = tuple[int, int]
Media = tuple[Role, str, Path]
"""An input: its role, its media type and where its bytes lie."""

RATE = 48_000
"""Samples of sound per second."""
LONGEST = 180
"""Seconds of source taken; Veo's longest extended clip is 148."""
MOST_PIXELS = 40_000_000
"""Of a picture; a frame of a source may have a quarter of that, which is 4K and a little more."""
PICTURES = ("PNG", "JPEG", "WEBP", "GIF")
FILMS = {"video/mp4": "mov", "video/quicktime": "mov", "video/webm": "matroska", "video/x-matroska": "matroska"}
"""Media type: ffmpeg's reader. Named, so that no stranger's bytes pass for a playlist that opens other files."""


Image.MAX_IMAGE_PIXELS = MOST_PIXELS


class BadInputError(Exception):
    """An input cannot be read as what it says it is."""

    code = "bad_input"


STEPS = (1, 2, 2)
"""Pixels of a frame to one of each plane."""


def to_planes(image: Image.Image) -> Planes:
    """Convert a picture of even size."""
    frame = av.VideoFrame.from_bytes(image.convert("RGBA").tobytes(), *image.size, format="rgba")
    return _from_frame(frame, image.size)


def _from_frame(frame: av.VideoFrame, size: Size) -> Planes:
    """Convert and scale a decoded frame."""
    flat = frame.reformat(*size, "yuv420p", dst_colorspace="itu709", dst_color_range=ColorRange.MPEG)
    light, blue, red = (
        Image.frombytes("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size, 1)
        for plane in flat.planes
    )
    return light, blue, red


def even(length: float) -> int:
    """Round to a whole even number of pixels, at least two."""
    return max(2, round(length / 2) * 2)


@contextmanager
def hostile(what: str) -> Iterator[None]:
    """Read a stranger's bytes: whatever goes wrong in here is their fault."""
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"cannot read {what}: {type(error).__name__}") from error


def picture(path: Path) -> Image.Image:
    """
    Read a stranger's picture, the first frame of one that moves, the right way up.

    :raises BadInputError: when it is none, or has more than :data:`MOST_PIXELS`.
    """
    with hostile("a picture"), Image.open(path, formats=PICTURES) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise BadInputError(f"a picture has more than {MOST_PIXELS} pixels")
        return ImageOps.exif_transpose(opened).convert("RGBA")


class Film:
    """Read a stranger's clip, at a steady rate and never for longer than it says."""

    def __init__(self, path: Path, media_type: str) -> None:
        self._path = path
        self._reader = FILMS.get(media_type, "")
        with self._open() as (film, stream):
            rate = stream.average_rate or stream.guessed_rate or Fraction(24)
            self.rate = min(max(rate, Fraction(1)), Fraction(60)).limit_denominator(1001)
            length = Fraction(film.duration or 0, 1_000_000)
            if stream.duration and stream.time_base:
                length = stream.duration * stream.time_base
            if not 0 < length <= LONGEST:
                raise BadInputError(f"a clip lasts {float(length):g} s; at most {LONGEST} are taken")
            self.count = max(1, round(length * self.rate))
            self.size = (stream.width & ~1, stream.height & ~1)
            if min(self.size) < 16 or stream.width * stream.height > MOST_PIXELS // 4:
                raise BadInputError(f"a clip has {stream.width}x{stream.height} pixels")

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Open it with the one reader its media type allows."""
        if not self._reader:
            raise BadInputError("a clip is neither mp4, mov nor webm")
        options = {"protocol_whitelist": "file"}
        with hostile("a clip"), av.open(self._path, "r", format=self._reader, options=options) as film:
            stream = film.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS // 4)}
            yield film, stream

    def pictures(self, size: Size, rate: Fraction, count: int) -> Iterator[Planes]:
        """Read so many frames at a size and a rate: cut to fill, the last one held."""
        held: av.VideoFrame | None = None
        start, shown = 0.0, 0
        with self._open() as (film, stream):
            for frame in film.decode(stream):
                start = (frame.time or 0.0) if held is None else start
                due = math.ceil(((frame.time or 0.0) - start) * rate - 0.01)
                while held and shown < min(due, count):
                    shown += 1
                    yield _cover(held, size)
                held = frame
                if shown >= count:
                    return
            if held is None:
                raise BadInputError("a clip has no frame")
            for _ in range(count - shown):
                yield _cover(held, size)

    def sound(self, samples: int) -> Iterator[Stereo]:
        """Read so much of its sound; silence where it has none."""
        left = samples
        with self._open() as (film, _):
            resampler = AudioResampler("fltp", "stereo", RATE)
            for frame in film.decode(film.streams.audio[0]) if film.streams.audio else ():
                for block in resampler.resample(frame):
                    size = min(left, block.samples)
                    left -= size
                    if size:
                        yield bytes(block.planes[0])[: 4 * size], bytes(block.planes[1])[: 4 * size]
                if not left:
                    return
        for start in range(0, left, RATE // 4):
            quiet = bytes(4 * min(RATE // 4, left - start))
            yield quiet, quiet

    def still(self) -> Image.Image:
        """Take its first frame as a picture."""
        with self._open() as (film, stream):
            flat = next(film.decode(stream)).reformat(*self.size, "rgba").planes[0]
            return Image.frombytes("RGBA", self.size, bytes(flat), "raw", "RGBA", flat.line_size, 1)


def _cover(frame: av.VideoFrame, size: Size) -> Planes:
    """Scale a frame until it fills a size, and cut what hangs over."""
    grown = max(size[0] / frame.width, size[1] / frame.height)
    wide, high = max(size[0], even(frame.width * grown)), max(size[1], even(frame.height * grown))
    x, y = (wide - size[0]) // 4 * 2, (high - size[1]) // 4 * 2
    light, blue, red = (
        plane.crop((x // step, y // step, (x + size[0]) // step, (y + size[1]) // step))
        for plane, step in zip(_from_frame(frame, (wide, high)), STEPS, strict=True)
    )
    return light, blue, red
