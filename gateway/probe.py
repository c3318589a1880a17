"""
Measure finished clips and draw their renditions; runs in another process, imported only there.

Bytes come from strangers: a decoder that crashes takes that process with it, not the gateway.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from PIL import Image

READERS = {b"ftyp": "mov", b"\x1aE\xdf\xa3": "matroska", b"WAVE": "wav", b"ID3": "mp3", b"\xff": "mp3"}
"""How a file starts: ffmpeg's reader. Named, so that no stranger's bytes pass for a playlist that opens others."""
LOCAL = {"protocol_whitelist": "file"}

SHEET_COLUMNS = 5
SHEET_TILES = 25
TILE_WIDTH = 256

GIF_WIDTH = 320
GIF_RATE = 10
GIF_MOST = 300
"""Pictures a GIF holds at most."""


class NotAClipError(ValueError):
    """A file holds no clip; the message repeats nothing of it, and no path."""


def opened(path: str) -> InputContainer:
    """
    Open a file by the one reader its first bytes allow.

    :raises NotAClipError: when they allow none.
    """
    with Path(path).open("rb") as file:
        head = file.read(12)
    for magic, reader in READERS.items():
        if head.startswith(magic) or magic in (head[4:8], head[8:12]):
            return av.open(path, "r", format=reader, options=LOCAL)
    raise NotAClipError("not a clip: it starts like none")


@contextmanager
def _reading() -> Iterator[None]:
    """
    Say of whatever goes wrong with a stranger's bytes that they are not a clip.

    :raises NotAClipError: for any error; what a decoder may raise is written down nowhere.
    """
    try:
        yield
    except NotAClipError:
        raise
    except Exception as error:
        raise NotAClipError(f"not a clip: {type(error).__name__}") from error


def probe(path: str) -> dict[str, Any]:
    """
    Say what a file really holds.

    Keys: codec, width, height, duration_seconds, fps, has_audio, audio_codec.

    :raises NotAClipError: when it holds neither pictures nor sound.
    """
    with _reading(), opened(path) as container:
        seconds = float(container.duration / av.time_base) if container.duration else None
        facts: dict[str, Any] = {"duration_seconds": seconds and round(seconds, 3), "has_audio": False}
        for sound in container.streams.audio:
            facts |= {"has_audio": True, "audio_codec": sound.codec_context.name}
        for video in container.streams.video:
            rate = video.average_rate or Fraction(0)
            facts |= {
                "codec": video.codec_context.name,
                "width": video.codec_context.width,
                "height": video.codec_context.height,
                "fps": round(float(rate), 3),
            }
            if video.duration and video.time_base:
                facts["duration_seconds"] = round(float(video.duration * video.time_base), 3)
        if "codec" not in facts and not facts["has_audio"]:
            raise NotAClipError("not a clip: no pictures and no sound")
        return facts


def draw(path: str, thumbnail: str, sheet: str) -> None:
    """
    Draw a clip's thumbnail (WebP, its first frame) and spritesheet (JPEG, frames in even steps).

    :raises NotAClipError: when no frame can be decoded.
    """
    tiles: list[Image.Image] = []
    with _reading(), opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        length = container.duration or 0
        for number in range(SHEET_TILES):
            container.seek(length * number // SHEET_TILES)
            frame = next(container.decode(stream), None)
            if frame is None:
                break
            picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
            if not tiles:
                picture.save(thumbnail, "WEBP", quality=82, method=2)
            tiles.append(picture.resize((TILE_WIDTH, round(TILE_WIDTH * picture.height / picture.width))))
    if not tiles:
        raise NotAClipError("not a clip: no frame can be decoded")
    rows = -(-len(tiles) // SHEET_COLUMNS)
    whole = Image.new("RGB", (TILE_WIDTH * SHEET_COLUMNS, tiles[0].height * rows))
    for number, tile in enumerate(tiles):
        whole.paste(tile, (TILE_WIDTH * (number % SHEET_COLUMNS), tiles[0].height * (number // SHEET_COLUMNS)))
    whole.save(sheet, "JPEG", quality=80)


def animate(path: str) -> bytes:
    """
    Draw a clip as a GIF: small, ten pictures a second, no sound.

    :raises NotAClipError: when no frame can be decoded.
    """
    frames: list[Image.Image] = []
    with _reading(), opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if (frame.time or 0) * GIF_RATE >= len(frames):
                picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
                size = GIF_WIDTH, round(GIF_WIDTH * picture.height / picture.width)
                frames.append(picture.resize(size).quantize(64))
            if len(frames) == GIF_MOST:
                break
    if not frames:
        raise NotAClipError("not a clip: no frame can be decoded")
    out = BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=1000 // GIF_RATE, loop=0)
    return out.getvalue()


def study(path: str, folder: str, stem: str) -> dict[str, Any]:
    """Measure a clip and draw its renditions beside it; ``drawn`` says whether that worked."""
    facts = probe(path)
    try:
        draw(path, str(Path(folder) / f"{stem}.webp"), str(Path(folder) / f"{stem}.jpg"))
    except NotAClipError:
        return {**facts, "drawn": False}
    return {**facts, "drawn": True}
