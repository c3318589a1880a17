"""
Read a picture's header within bounds, whatever lies in it.

Bytes come from strangers, and what goes over them is Python: a header of many small pieces, as long as a picture may
be, would take seconds. So its reader is given a share of the processor, and nothing is unpacked but what is asked for.
"""

import re
import struct
import time
import warnings
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

SECONDS = 0.5
"""Time of the processor a header may take; the longest honest one, a GIF of 20 MB in blocks of 255, takes a fifth."""
ORIENTATION = 0x0112
QUARTERS = frozenset({5, 6, 7, 8})
"""How a picture that lies on its side says so (Exif 3.0, 4.6.5.1.6)."""
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
"""The same in XMP, where Exif does not say it."""
PICTURES = 0xB001
"""How many pictures lie in one file (CIPA DC-007, 5.2.3.2)."""
GAIN_MAP = b' hdrgm:Version="'
"""What says that a second picture is how bright the first may be shown, and no picture of its own."""
KINDS = {3: "H", 4: "L"}
"""How a number is packed, by its TIFF type: SHORT and LONG."""


class TooLongError(ValueError):
    """A picture takes its reader too long."""


class Watched(BufferedReader):
    """A file that ends its reader's work once that has taken too long."""

    def __init__(self, path: str | Path, seconds: float) -> None:
        super().__init__(FileIO(path))
        self._until = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """
        Read on.

        :raises TooLongError: when the time is over.
        """
        if time.thread_time() > self._until:
            raise TooLongError
        return super().read(size)


class Header(NamedTuple):
    """Say what a picture's header says."""

    format: str
    """As Pillow calls it."""
    width: int
    """As its pixels lie; so is the height."""
    height: int
    moves: bool = False
    """Whether it is several pictures."""
    lies: bool = False
    """Whether it is to be shown turned by a quarter, as telephones held upright write it."""


class _Jpeg(JpegImageFile):
    """A JPEG whose Exif stays packed: what a stranger's directory says would be copied once for each of its entries."""

    def _read_dpi_from_exif(self) -> None:
        """Leave it: nobody asks how large it is on paper."""


def read(path: Path, kind: str) -> Header:
    """
    Read the header of a picture of one of Pillow's formats; its pixels stay packed.

    :raises TooLongError: when that takes too long.
    :raises OSError: when it cannot be read, or is none, as Pillow says it; so are :class:`ValueError`,
        :class:`SyntaxError` and ``Image.DecompressionBombError``.
    """
    with warnings.catch_warnings(), Watched(path, SECONDS) as file:
        warnings.simplefilter("ignore")  # Of what it says of itself beside its size; nobody reads them.
        if kind == "JPEG":
            jpeg = _Jpeg(file)
            return Header(kind, *jpeg.size, moves=_is_several(jpeg), lies=_orientation(jpeg) in QUARTERS)
        with Image.open(file, formats=[kind]) as picture:
            return Header(kind, *picture.size, moves=getattr(picture, "is_animated", False))


def _is_several(jpeg: JpegImageFile) -> bool:
    """Whether a JPEG is followed by others that are pictures of their own."""
    if number(jpeg.info.get("mp", b""), PICTURES) < 2:
        return False
    return not any(name == "APP1" and GAIN_MAP in content for name, content in jpeg.applist)


def _orientation(jpeg: JpegImageFile) -> int:
    """Say how a JPEG is to be turned, as its Exif does or else its XMP; 0 where neither does."""
    said = number(jpeg.info.get("exif", b"").removeprefix(b"Exif\0\0"), ORIENTATION)
    found = None if said else XMP_ORIENTATION.search(jpeg.info.get("xmp", b""))
    return int(found[1]) if found else said


def number(tiff: bytes, tag: int) -> int:
    r"""
    Find a number in the first directory of a TIFF structure (TIFF 6.0, 2); 0 where there is none to be read.

    >>> number(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 0x0112)
    6
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "")
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4) if order else (0,)
        (count,) = struct.unpack_from(f"{order}H", tiff, start) if order else (0,)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            found, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if found == tag and kind in KINDS:
                (value,) = struct.unpack_from(f"{order}{KINDS[kind]}", tiff, at + 8)
                return int(value)
    except struct.error:
        pass  # It ends before it says it.
    return 0
