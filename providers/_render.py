"""
Draw the sandbox's clips: real H.264 and AAC made of nothing but an order and its inputs.

Lives in the rendering process alone: nothing else may import it, so that the gateway carries neither
ffmpeg nor Pillow. Frames are put together on the three planes the encoder takes (light at full size, two
of colour at half), each a Pillow ``L`` image. What stays is drawn and converted once, what moves is
pasted; no drawn frame is ever converted, which leaves the time to the encoder.
"""

import colorsys
import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont, ImageOps

from providers._film import (
    MOST_PIXELS,
    RATE,
    STEPS,
    BadInputError,
    Film,
    Media,
    Planes,
    Size,
    Stereo,
    even,
    picture,
    to_planes,
)
from providers.base.order import FEATURES, Mode, Role, frame_size, lines

H264 = ("libx264", {"threads": "1", "preset": "ultrafast", "crf": "22"})
AAC = ("aac", {"aac_coder": "fast"})  # the default coder takes 4 times as long
VP9 = ("libvpx-vp9", {"threads": "1", "deadline": "realtime", "cpu-used": "8", "crf": "36", "b": "0"})
OPUS = ("libopus", {"compression_level": "3"})
FORMATS = {
    "mp4": ("mp4", {"movflags": "+faststart"}, H264, AAC),
    "mov": ("mov", {"movflags": "+faststart"}, H264, AAC),
    "webm": ("webm", {}, VP9, OPUS),
}
"""Our container: ffmpeg's writer, and the codecs put in it, each with its options."""

SHADE = (0, 0, 0, 120)


def render(order: Mapping[str, Any], files: Sequence[Media], target: Path, progress: Callable[[float], None]) -> None:
    """
    Make one clip and write it to ``target``; the same order with the same seed is the same clip.

    :param order: the dialect's words, every choice made, and a seed.
    :param progress: hears how much is done, from 0 to 1; what it raises ends the work.
    :raises BadInputError: when an input cannot be read.
    """
    mode = Mode(order["mode"])
    size, rate = frame_size(order["resolution"], order["aspect_ratio"]), Fraction(order["fps"])
    source = None
    if mode in {Mode.EDIT, Mode.EXTEND, Mode.UPSCALE}:
        source = next((Film(path, kind) for role, kind, path in files if role is Role.SOURCE), None)
        if source is None:
            raise BadInputError("there is no source clip")
    kept = 0
    if source and mode is not Mode.EDIT:
        size, rate, kept = source.size, source.rate, source.count
    if mode is Mode.UPSCALE:
        grown = lines(order["resolution"]) / min(size)
        size = (even(size[0] * grown), even(size[1] * grown))
        if size[0] * size[1] > MOST_PIXELS // 4:
            raise BadInputError(f"the clip would have {size[0]}x{size[1]} pixels")
    lasts = order["seconds"] or (source.count / source.rate if source else 0)
    if order.get("short"):
        lasts = max(0.5, lasts - 1)
    made = 0 if mode is Mode.UPSCALE else max(1, round(lasts * rate))
    total = made + kept
    scene = Scene(order, files, size, max(1, made), rate)

    def sound() -> Iterator[Stereo]:
        whole = round(total / rate * RATE)
        taken = 0 if source is None else round((kept or made) / rate * RATE)
        if source:
            yield from source.sound(taken)
        yield from tone(order["seed"], whole - taken)

    pictures = _pictures(scene, source, made, kept)
    heard = sound() if order["audio"] else None
    _encode(target, order["container"], (size, rate), pictures, heard, lambda done: progress(min(1.0, done / total)))


def _pictures(scene: "Scene", source: "Film | None", made: int, kept: int) -> Iterator[Planes]:
    """Draw every frame: a source's as they are, then new ones; or, where none is kept, new ones over it."""
    if source is None or kept:
        for under in source.pictures(scene.size, scene.rate, kept) if source else ():
            scene.first = under
            yield under
        for index in range(made):
            yield scene.frame(index)
    else:
        for index, under in enumerate(source.pictures(scene.size, scene.rate, made)):
            scene.tint.lay(under, 0, 0)
            yield scene.frame(index, under)


def _encode(
    target: Path,
    container: str,
    shape: tuple[Size, Fraction],
    pictures: Iterator[Planes],
    sound: Iterator[Stereo] | None,
    progress: Callable[[int], None],
) -> None:
    """Write frames and sound to a file, in step."""
    writer, options, (video_codec, video_options), (audio_codec, audio_options) = FORMATS[container]
    size, rate = shape
    with av.open(target, "w", format=writer, options=options) as out:
        video = cast(VideoStream, out.add_stream(video_codec, rate, dict(video_options)))
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.gop_size = math.ceil(rate * 2)
        video.colorspace = video.color_primaries = video.color_trc = video.color_range = 1  # BT.709, limited
        streams: list[VideoStream | AudioStream] = [video]
        if sound is not None:
            streams.append(cast(AudioStream, out.add_stream(audio_codec, RATE, dict(audio_options), layout="stereo")))
        heard = 0
        for index, planes in enumerate(pictures):
            frame = _to_frame(planes)
            frame.pts, frame.time_base = index, 1 / rate
            out.mux(video.encode(frame))
            while sound and heard * rate < (index + 1) * RATE and (samples := next(sound, None)):
                block = av.AudioFrame("fltp", "stereo", len(samples[0]) // 4)
                block.sample_rate, block.pts, block.time_base = RATE, heard, Fraction(1, RATE)
                for plane, side in zip(block.planes, samples, strict=True):
                    plane.update(side)
                heard += block.samples
                out.mux(cast(AudioStream, streams[1]).encode(block))
            progress(index + 1)
        for stream in streams:
            out.mux(stream.encode(None))


class Layer(NamedTuple):
    """Hold something drawn once and laid on many frames."""

    colours: tuple[Any, Any, Any]
    """Its three planes, or one level for each."""
    full: Image.Image
    """How much of it covers what lies below."""
    half: Image.Image

    def lay(self, planes: Planes, x: int, y: int) -> None:
        """Lay it on a frame, its corner at an even place."""
        x, y = x & ~1, y & ~1
        for plane, colour, mask, step in zip(
            planes, self.colours, (self.full, self.half, self.half), STEPS, strict=True
        ):
            plane.paste(colour, (x // step, y // step), mask)

    @classmethod
    def ink(cls, mask: Image.Image, rgb: tuple[int, int, int]) -> "Layer":
        """Turn a mask of even size into a layer of one colour."""
        light, blue, red = (plane.getpixel((0, 0)) for plane in to_planes(Image.new("RGBA", (2, 2), rgb)))
        return cls((light, blue, red), mask, mask.reduce(2))


def _to_frame(planes: Planes) -> av.VideoFrame:
    """Hand planes to the encoder, each row as long as it wants them."""
    frame = av.VideoFrame(*planes[0].size, format="yuv420p")
    frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
    for plane, image in zip(frame.planes, planes, strict=True):
        wide = image.crop((0, 0, plane.line_size, image.height)) if plane.line_size != image.width else image
        plane.update(wide.tobytes())
    return frame


def tone(seed: int, samples: int) -> Iterator[Stereo]:
    """Play a gentle arpeggio, four notes a second, on a scale no note of which hurts another."""
    rng = Random(f"{seed} sound")  # noqa: S311 - a tune is no secret
    root = rng.choice((174.6, 196.0, 220.0, 246.9))
    length = RATE // 4
    swell = [0.25 * min(at / 300, 1, (length - at) / 300) * math.exp(-3 * at / length) for at in range(length)]
    notes = []
    for step in rng.sample((0, 2, 4, 7, 9, 12, 14, 16), 5):
        turn = 2 * math.pi * root * 2 ** (step / 12) / RATE
        note = [loud * (math.sin(turn * at) + 0.3 * math.sin(2 * turn * at)) for at, loud in enumerate(swell)]
        lean = rng.uniform(0.3, 0.7)
        notes.append(tuple(array("f", [side * value for value in note]).tobytes() for side in (lean, 1 - lean)))
    tune = [rng.choice(notes) for _ in range(8)]
    for start in range(0, samples, length):
        left, right = tune[start // length % len(tune)]
        size = 4 * min(length, samples - start)
        yield left[:size], right[:size]


class Scene:
    """Draw what moves over what stays: drifting discs over a gradient, the prompt, a running clock."""

    def __init__(
        self, order: Mapping[str, Any], files: Sequence[Media], size: Size, count: int, rate: Fraction
    ) -> None:
        """Draw everything that stays the same, once."""
        self.size, self.rate, self._count = size, rate, count
        rng = Random(order["seed"])  # noqa: S311 - a palette is no secret
        hue, short = rng.random(), min(size)
        shade = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
        self._backdrop = to_planes(ImageOps.colorize(shade, _rgb(hue, 0.75, 0.25), _rgb(hue + 0.12, 0.6, 0.7)))
        self.tint = Layer.ink(Image.new("L", size, 90), _rgb(hue + 0.5, 0.8, 0.7))
        """Laid on a source's frames, so that an edit can be told from it."""
        glow = Image.radial_gradient("L").point([max(0, min(210, 4 * (175 - level))) for level in range(256)])
        self._discs = []
        for _ in range(6):
            across = even(short * rng.uniform(0.25, 0.6))
            colour = _rgb(hue + rng.uniform(-0.18, 0.18) + rng.choice((0, 0.5)), 0.65, 1.0)
            path = [(rng.uniform(4, 9), rng.random()) for _ in range(2)]
            self._discs.append((Layer.ink(glow.resize((across, across)), colour), path))
        frames = {role: path for role, kind, path in files if kind.startswith("image/")}
        self.first, self.last = (
            to_planes(ImageOps.fit(picture(frames[role]), size)) if role in frames else None
            for role in (Role.FIRST_FRAME, Role.LAST_FRAME)
        )
        self._signs = _signs(order, files, size)
        face = _face(short / 24)
        self._glyphs = {letter: _glyph(letter, face) for letter in "0123456789:."}

    def frame(self, index: int, under: Planes | None = None) -> Planes:
        """Draw one frame, on a source's where there is one."""
        now, end = float(index / self.rate), float(self._count / self.rate)
        planes = under or self._moving(now)
        hold = min(0.5, end / 4)
        for still, away in ((self.first, now), (self.last, end - float(1 / self.rate) - now)):
            if still and away < 2 * hold:
                share = max(0.0, away / hold - 1)
                light, blue, red = (Image.blend(a, b, share) for a, b in zip(still, planes, strict=True))
                planes = light, blue, red
        self._signs.lay(planes, 0, 0)
        self._clock(planes, now, (index + 1) / self._count)
        return planes

    def _moving(self, now: float) -> Planes:
        """Draw the discs where they are at a moment."""
        light, blue, red = (plane.copy() for plane in self._backdrop)
        for disc, path in self._discs:
            x, y = (
                round(length * (0.5 + 0.48 * math.sin(2 * math.pi * (now / period + phase)))) - disc.full.width // 2
                for length, (period, phase) in zip(self.size, path, strict=True)
            )
            disc.lay((light, blue, red), x, y)
        return light, blue, red

    def _clock(self, planes: Planes, now: float, done: float) -> None:
        """Show the time as digits and as a bar."""
        width, height = self.size
        x = y = _margin(self.size)
        for letter in f"{int(now // 60):02}:{now % 60:05.2f}":
            self._glyphs[letter].lay(planes, x, y)
            x += self._glyphs[letter].full.width
        bar = max(4, even(min(self.size) / 90))
        for plane, level, step in zip(planes, (235, 128, 128), STEPS, strict=True):
            plane.paste(level, (0, (height - bar) // step, max(1, round(width * done) // step), height // step))


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """Mix a colour."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue


def _margin(size: Size) -> int:
    """Measure the empty edge of a frame."""
    return even(min(size) / 24)


def _face(height: float) -> ImageFont.FreeTypeFont:
    """Cut Pillow's own typeface at a size that can still be read."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(max(9, height)))


def _glyph(letter: str, face: ImageFont.FreeTypeFont) -> Layer:
    """Draw one letter in white, as wide as every other."""
    mask = Image.new("L", (even(face.getlength("0") + 1), even(face.size * 1.4)))
    ImageDraw.Draw(mask).text((mask.width / 2, 0), letter, 255, face, anchor="ma")
    return Layer.ink(mask, (255, 255, 255))


def _signs(order: Mapping[str, Any], files: Sequence[Media], size: Size) -> Layer:
    """Write the watermark, the prompt, the order and its references on one see-through layer."""
    (width, height), short, margin = size, min(size), _margin(size)
    canvas = Image.new("RGBA", size)
    draw = ImageDraw.Draw(canvas)
    face = _face(short / 24)
    edge = (margin // 2, margin // 2, margin * 1.5 + 8 * even(face.getlength("0") + 1), margin * 1.5 + face.size)
    draw.rounded_rectangle(edge, margin // 2, SHADE)
    draw.text((width - margin, margin), "SANDBOX", (255, 255, 255, 190), _face(short / 12), anchor="ra")
    _strip(canvas, files, margin, even(margin * 1.5 + short / 12))
    face = _face(short / 34)
    said = [order["model"], order["mode"], f"{width}x{height}", f"{order['fps']} fps"]
    said += [f"{order['seconds']} s"] if order["seconds"] else []
    said += [f"{name} {order[name]}"[:60] for name in (*FEATURES, "options") if order.get(name) not in (None, [], "")]
    told = "\n".join(wrapped(" · ".join(said), face, width - 2 * margin, 4))
    draw.multiline_text((margin, height - margin), told, (255, 255, 255), face, "ld", stroke_width=1, stroke_fill=SHADE)
    prompt = "".join(sign if sign.isprintable() else " " for sign in order["prompt"][:2_000])
    for fit in (12, 15, 18, 22, 26, 32):
        face = _face(short / fit)
        told = "\n".join(wrapped(prompt, face, width - 4 * margin, int(height * 0.4 / (face.size * 1.3))))
        if not told.endswith("…"):
            break
    if told:
        place = (width / 2, height / 2)
        left, top, right, bottom = draw.multiline_textbbox(place, told, face, "mm", align="center")
        draw.rounded_rectangle((left - margin, top - margin, right + margin, bottom + margin), margin, SHADE)
        draw.multiline_text(place, told, (255, 255, 255), face, "mm", align="center")
    alpha = canvas.getchannel("A")
    return Layer(to_planes(canvas), alpha, alpha.reduce(2))


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float, most: int) -> list[str]:
    """Break a text into lines no wider than a width; what does not fit ends in an ellipsis."""
    told = [""]
    words = [word[at : at + 60] for word in text.split() for at in range(0, len(word), 60)]
    while words:
        longer = f"{told[-1]} {words[0]}".strip()
        if face.getlength(longer) <= width:
            told[-1] = longer
            del words[0]
        elif told[-1] and len(told) < most:
            told.append("")
        elif told[-1]:
            while face.getlength(told[-1] + "…") > width:
                told[-1] = told[-1][:-1]
            told[-1] += "…"
            break
        else:
            fits = max(1, next(cut for cut in range(len(longer) - 1, -1, -1) if face.getlength(longer[:cut]) <= width))
            told[-1], words[0] = longer[:fits], longer[fits:]
            words = [word for word in words if word]
    return told


SHOWN = frozenset({Role.REFERENCE, Role.ELEMENT, Role.VOICE, Role.MASK})
"""Inputs that stand in the row of thumbnails."""


def _strip(canvas: Image.Image, files: Sequence[Media], x: int, y: int) -> None:
    """Show each reference as a thumbnail, in a row."""
    shown = [(kind, path) for role, kind, path in files if role in SHOWN]
    side = even(min(min(canvas.size) / 6, (canvas.width - 2 * x) / max(1, len(shown)) - 4))
    for kind, path in shown:
        if kind.startswith("image/"):
            thumb = ImageOps.fit(picture(path), (side, side))
        elif kind.startswith("video/"):
            thumb = ImageOps.fit(Film(path, kind).still(), (side, side))
        else:
            thumb = Image.new("RGBA", (side, side), SHADE)
            ImageDraw.Draw(thumb).text((side / 2, side / 2), kind.partition("/")[0], font=_face(side / 4), anchor="mm")
        canvas.paste(thumb, (x, y))
        x += side + 4
