"""
Measure finished clips and draw their renditions; runs in another process, imported only there.

Bytes come from strangers: a decoder that crashes takes that process with it, not the gateway.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from PIL import Image

from gateway.clips.inputs import magic

READERS = {b"ftyp": "mov", b"\x1aE\xdf\xa3": "matroska", b"WAVE": "wav", b"ID3": "mp3", b"\xff": "mp3"}
"""How a file starts: ffmpeg's reader. Named, so that no stranger's bytes pass for a playlist that opens others."""
LOCAL = {"protocol_whitelist": "file"}

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What a drawing fails with that finds no room."""

BOXED = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"styp"})
"""Boxes whose word on their own length is believed. ISO/IEC 14496-12 §4.2."""

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
    for start, reader in READERS.items():
        if head.startswith(start) or start in (head[4:8], head[8:12]):
            return av.open(path, "r", format=reader, options=LOCAL)
    raise NotAClipError("not a clip: it starts like none")


@contextmanager
def _reading() -> Iterator[None]:
    """
    Say of whatever goes wrong with a stranger's bytes that they are not a clip.

    :raises NotAClipError: for any error but a full disk of ours; what a decoder may raise is written down nowhere.
    """
    try:
        yield
    except NotAClipError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError) and error.errno in FULL:
            raise  # Ours, not the clip's.
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


def is_short(path: str) -> bool:
    """Whether a file of the MP4 family ends within one of its boxes: what was cut can look whole to a reader."""
    size, at = Path(path).stat().st_size, 0
    with Path(path).open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4]), head[4:8]
            if kind not in BOXED:
                return False
            if length == 1:
                length = int.from_bytes(head[8:16])
            if length < 8:
                return False  # The last box: as long as there is of it.
            at += length
    return at > size


def last_picture(path: str) -> Image.Image | None:
    """Find a clip's last picture by its own times: of several groups of pictures only the last is decoded."""
    with opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if container.duration:
            container.seek(container.duration)
        last = None
        for frame in container.decode(stream):
            if last is None or (frame.pts or 0) >= (last.pts or 0):
                last = frame
        return None if last is None else last.to_image()  # type: ignore[no-untyped-call]


def draw(path: str, thumbnail: str, sheet: str, last: str) -> None:
    """
    Draw a clip's thumbnail (WebP, its first frame), spritesheet (JPEG, frames in even steps) and last picture (PNG).

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
    with _reading():
        ending = last_picture(path)
    if not tiles or ending is None:
        raise NotAClipError("not a clip: no frame can be decoded")
    # Without loss, for the next clip may go on from it; level 1 is several times as fast, and a tenth larger.
    ending.save(last, "PNG", compress_level=1)
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
    """
    Measure a clip and draw its renditions beside it.

    ``drawn`` says whether that worked; ``short``, that a part of the clip is missing, comes alone.
    """
    if is_short(path):
        return {"short": True}
    facts = probe(path)
    with Path(path).open("rb") as file:
        facts["media_type"] = magic(file.read(64))
    try:
        draw(path, *(str(Path(folder) / f"{stem}.{suffix}") for suffix in ("webp", "jpg", "png")))
    except NotAClipError:
        return {**facts, "drawn": False}
    return {**facts, "drawn": True}
