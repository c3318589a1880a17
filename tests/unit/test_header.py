"""Laws of headers: as long as an honest one may be, they are read; however long a stranger's is, that soon ends."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from gateway.clips import header
from gateway.clips.inputs import InputError, Sniffed, sniff

SIZE = 48, 32
MANY = 100_000


def saved(kind: str, **more: object) -> bytes:
    out = BytesIO()
    Image.new("RGB", SIZE, "teal").save(out, kind, **more)  # type: ignore[arg-type]
    return out.getvalue()


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(*segments: bytes) -> bytes:
    whole = saved("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes) -> bytes:
    whole = saved("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def sniffed(data: bytes, folder: Path) -> Sniffed:
    path = folder / "picture"
    path.write_bytes(data)
    return sniff(path, len(data))


def directory(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """Write a TIFF structure of one directory: tag, type, count and value of each entry."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}LH", 8, len(entries))
    short = order == ">"
    return (
        head
        + b"".join(
            struct.pack(f"{order}HHLL", tag, kind, count, value << 16 if short and kind == 3 else value)
            for tag, kind, count, value in entries
        )
        + bytes(4)
    )


ENDLESS: dict[str, Callable[[], bytes]] = {
    "jpeg fill": lambda: b"\xff\xd8" + b"\xff" * MANY,
    "jpeg junk": lambda: b"\xff\xd8\xff\xfe\0\2" + b"\0" * MANY,
    "jpeg comments": lambda: jpeg(segment(0xFE) * MANY),
    "jpeg exif": lambda: jpeg(segment(0xE1, b"Exif\0\0x") * MANY),
    "png texts": lambda: png(chunk(b"tEXt", b"a\0b") * MANY),
    "gif extensions": lambda: b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + b"!\xf9\x04\0\0\0\0\0" * MANY,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_header_without_end_is_soon_left(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time its reader takes: here a millisecond for each look at the file, of which it is given 500."""
    looks: list[float] = []

    def thread_time() -> float:
        looks.append(len(looks) / 1000)
        return looks[-1]

    monkeypatch.setattr(header, "time", SimpleNamespace(thread_time=thread_time))
    with pytest.raises(InputError, match="header cannot be read, or it is too large") as found:
        sniffed(ENDLESS[name](), tmp_path)
    assert "unsupported_image" == found.value.code
    assert len(looks) <= header.SECONDS * 1000 + 3


XMP = b"http://ns.adobe.com/xap/1.0/\0"
LONG: dict[str, Callable[[], bytes]] = {
    "jpeg profile": lambda: saved("JPEG", icc_profile=os.urandom(2**20)),
    "jpeg segments": lambda: jpeg(*[segment(0xED, bytes(65_000))] * 17),
    "jpeg xmp": lambda: jpeg(*[segment(0xE1, XMP + bytes(65_000))] * 64),
    "jpeg thumbnail": lambda: jpeg(segment(0xE1, b"Exif\0\0" + directory((0x0112, 3, 1, 1)) + saved("JPEG"))),
    "png text": lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2 * 2**20)),
    "png profile": lambda: png(chunk(b"iCCP", b"p\0\0" + zlib.compress(os.urandom(1_000_000)))),
    "png others": lambda: png(chunk(b"caBX", bytes(2 * 2**20))),
    "gif": lambda: noise("GIF", (2000, 2000)),
    "webp": lambda: saved("WEBP", icc_profile=os.urandom(2**20), xmp=bytes(2**20)),
}


def noise(kind: str, size: tuple[int, int]) -> bytes:
    out = BytesIO()
    Image.frombytes("P", size, os.urandom(size[0] * size[1])).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("name", LONG)
def test_a_long_header_is_read(name: str, tmp_path: Path) -> None:
    """Profiles, what editors write, thumbnails, and the blocks of a picture of some megabytes."""
    found = sniffed(LONG[name](), tmp_path)
    assert ((2000, 2000) if name == "gif" else SIZE) == (found.width, found.height)


@pytest.mark.parametrize("turned", range(10))
@pytest.mark.parametrize("how", ["<", ">", "xmp", 'xmp="'])
def test_a_jpeg_is_as_large_as_pillow_shows_it(turned: int, how: str, tmp_path: Path) -> None:
    """What a header says of its own turning is read as who converts it does."""
    said = b"<tiff:Orientation>%d<" % turned if how == "xmp" else b'<x tiff:Orientation="%d"' % turned
    exif = directory((0x0100, 4, 1, 7), (0x0112, 3, 1, turned), order=how) if how in "<>" else b""
    data = jpeg(segment(0xE1, b"Exif\0\0" + exif if exif else XMP + said))
    found = sniffed(data, tmp_path)
    shown = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert shown.size == (found.width, found.height)


def test_an_exif_directory_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its 65,535 entries may name all of it: neither time nor memory would do."""

    def load(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", load)
    many = directory(*((tag, 1, 900_000, 0) for tag in range(0x0113, 0x0113 + 5000)), (0x0112, 3, 1, 6))
    found = sniffed(jpeg(segment(0xE1, b"Exif\0\0" + many), segment(0xE2, b"MPF\0" + many)), tmp_path)
    assert SIZE[::-1] == (found.width, found.height)


@pytest.mark.parametrize("cut", [*range(26), 60])
def test_a_directory_that_ends_early_says_nothing(cut: int, tmp_path: Path) -> None:
    """Whatever is missing: the picture is taken as it lies."""
    exif = directory((0x0100, 4, 1, 7), (0x0112, 3, 1, 6))[:cut]
    found = sniffed(jpeg(segment(0xE1, b"Exif\0\0" + exif)), tmp_path)
    assert (SIZE[::-1] if cut == 60 else SIZE) == (found.width, found.height)


def test_several_pictures_in_a_jpeg_are_no_still(tmp_path: Path) -> None:
    """But for one that only says how bright the other may be shown."""
    out, frame = BytesIO(), Image.new("RGB", SIZE)
    frame.save(out, "MPO", save_all=True, append_images=[frame])
    with pytest.raises(InputError, match="still picture"):
        sniffed(out.getvalue(), tmp_path)
    bright = out.getvalue()[:2] + segment(0xE1, XMP + b'<x hdrgm:Version="1.0"') + out.getvalue()[2:]
    assert Sniffed("image/jpeg", *SIZE) == sniffed(bright, tmp_path)
