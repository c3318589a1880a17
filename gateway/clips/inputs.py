"""
Take pictures and clips in safely: by what their bytes say, within caps, before anything is bought.

Nothing is decoded here beyond a header; clips and voices are measured in another process.
"""

import base64
import binascii
import re
import threading
import time
import warnings
from collections.abc import Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

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

HEADER_SECONDS = 0.5
"""Time of the processor a picture's header may take; the longest honest ones, of some megabytes, take milliseconds."""
ORIENTATION = 0x0112
QUARTERS = frozenset({5, 6, 7, 8})
"""How a picture that lies on its side says so (Exif 3.0, 4.6.5.1.6)."""
IMAGES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


_ONE = threading.Lock()


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
        return _picture(path)
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


class _Hurried(BufferedReader):
    """A file that ends its reader's work once that has taken too long: a header can be all of many megabytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self._until = time.thread_time() + HEADER_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        """
        Read on.

        :raises OSError: when the time is over.
        """
        if time.thread_time() > self._until:
            raise OSError("its header takes too long to read")
        return super().read(size)


def _picture(path: Path) -> Sniffed:
    """Read a picture's header; its pixels stay packed."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  Only when a picture comes.

    try:
        # What is ignored is so for the whole process, so one comes after the other.
        with _ONE, _Hurried(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what it says of itself beside its size; nobody reads them.
            picture = Image.open(file, formats=list(IMAGES))
            width, height = picture.size
            moves = getattr(picture, "is_animated", False)
            if picture.format == "JPEG" and _lies_on_its_side(picture):
                width, height = height, width
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise InputError("unsupported_image", "The picture's header cannot be read, or it is too large.") from error
    if width * height > MAX_PIXELS:
        raise InputError("unsupported_image", f"Pictures may have {MAX_PIXELS // 10**6} million pixels at most.")
    if moves:
        raise InputError("unsupported_image", "Send a still picture, not an animation.")
    return Sniffed(IMAGES[picture.format or ""], width, height)


def _lies_on_its_side(picture: "Image.Image") -> bool:
    """Whether a JPEG says that it is to be shown turned by a quarter, as telephones held upright write it."""
    try:
        return picture.getexif().get(ORIENTATION) in QUARTERS
    except Exception:  # noqa: BLE001  Whatever is wrong with what it says turns nothing.
        return False
