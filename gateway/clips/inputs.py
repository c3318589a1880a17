"""
Take pictures and clips in safely: by what their bytes say, within caps, before anything is bought.

Nothing is decoded here beyond a header; clips and voices are measured in another process.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_PIXELS = 40_000_000
MAX_IMAGE = 20 * 2**20
"""Largest picture in bytes."""
MAX_CLIP = 512 * 2**20
"""Largest clip or voice in bytes."""

PIECE = 2**20
"""How many characters of a data URL are unpacked at a time, in fours."""
LONGEST = MAX_IMAGE * 4 // 3 + 4
"""Most characters of base64 that may be a picture."""
HEAD = r"data:[\w.+/-]*(;[\w.+=-]+)*;base64"
"""How a data URL begins, in whatever case, before a comma among its first :data:`MOST_HEAD` characters."""
MOST_HEAD = 201

IMAGES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


class InputError(Exception):
    """A piece of media that cannot be taken; the message says why, ``code`` names it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Sniffed(NamedTuple):
    """Say what a file is by its first bytes."""

    media_type: str
    width: int = 0
    height: int = 0

    @property
    def kind(self) -> str:
        """image, video or audio."""
        return self.media_type.partition("/")[0]


def sniff(path: Path, size: int) -> Sniffed:
    """
    Tell what a file is by its magic bytes, and a picture's size by its header.

    :raises InputError: when it is nothing we take, or too large.
    """
    with path.open("rb") as file:
        head = file.read(64)
    kind = magic(head)
    if kind is None:
        raise InputError("unsupported_image", "Send a PNG, JPEG, WebP or GIF picture, or an MP4, MOV or WebM clip.")
    if kind.startswith("image/"):
        if size > MAX_IMAGE:
            raise InputError("too_large", f"Pictures may be {MAX_IMAGE // 2**20} MB at most.")
        return _picture(path, kind)
    if size > MAX_CLIP:
        raise InputError("too_large", f"Clips may be {MAX_CLIP // 2**20} MB at most.")
    return Sniffed(kind)


def read_data_url(url: str) -> Iterator[bytes]:
    """
    Unpack a ``data:`` URL, a piece at a time: its caller holds enough of it. The type it claims is not believed.

    :raises InputError: when it is not base64, at once or at a later piece.
    """
    start = url.find(",", 0, MOST_HEAD) + 1
    head, size = url[: start - 1], len(url) - start
    if not start or not re.fullmatch(HEAD, head, re.IGNORECASE):
        raise InputError("invalid_data_url", "Write data:<type>;base64,<data>.")
    if size > LONGEST:
        raise too_large()
    return _unpack(url, start)


def _unpack(url: str, start: int) -> Iterator[bytes]:
    """
    Decode the base64 a text holds from a place on.

    :raises InputError: when it is none.
    """
    try:
        for at in range(start, len(url), PIECE):
            piece = url[at : at + PIECE]
            if piece.endswith("=") and at + PIECE < len(url):
                raise not_base64()  # It goes on behind its end.
            yield base64.b64decode(piece, validate=True)
    except (binascii.Error, ValueError) as error:
        raise not_base64() from error


def too_large() -> InputError:
    """Say of a picture inside a text that it is too large."""
    return InputError("too_large", f"Pictures may be {MAX_IMAGE // 2**20} MB at most; upload a clip as a file.")


def not_base64() -> InputError:
    """Say of a text that it is no base64."""
    return InputError("invalid_data_url", "The data URL is not base64.")


def magic(head: bytes) -> str | None:
    """Name the type of a file by how it starts."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[4:8] == b"ftyp":
        return {b"qt  ": "video/quicktime", b"M4A ": "audio/mp4"}.get(head[8:12], "video/mp4")
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm"
    if head.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")):
        return "audio/mpeg"
    return None


def _picture(path: Path, media_type: str) -> Sniffed:
    """Read a picture's header; its pixels stay packed."""
    from PIL.Image import DecompressionBombError  # noqa: PLC0415  Only when a picture comes.

    from gateway.clips import header  # noqa: PLC0415

    format_ = next(each for each, said in IMAGES.items() if said == media_type)
    try:
        found = header.read(path, format_)
    except (DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise InputError("unsupported_image", "The picture's header cannot be read, or it is too large.") from error
    if found.width * found.height > MAX_PIXELS:
        raise InputError("unsupported_image", f"Pictures may have {MAX_PIXELS // 10**6} million pixels at most.")
    if found.moves:
        raise InputError("unsupported_image", "Send a still picture, not an animation.")
    width, height = (found.height, found.width) if found.lies else (found.width, found.height)
    return Sniffed(media_type, width, height)
