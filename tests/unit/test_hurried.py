"""Laws of headers and lists that are all of a call: they are refused before they take anybody's time."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.clips import inputs
from gateway.clips.inputs import InputError, sniff
from gateway.problems import ProblemError, invalid
from gateway.surfaces import common
from gateway.surfaces.common import frames, references, renamed


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def saved(kind: str, **options: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", (48, 32)).save(out, kind, **options)
    return out.getvalue()


def padded(more: bytes) -> bytes:
    """A whole PNG with more chunks between its first and the rest."""
    made = saved("PNG")
    return made[:33] + more + made[33:]


HEADERS = {
    "fill bytes": b"\xff\xd8" + b"\xff" * 3_000_000,
    "empty comments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 700_000,
    "small texts": padded(chunk(b"tEXt", b"a\0b") * 200_000),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_never_ends_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By the time it has taken, not by its size; what is left of it is not read."""
    monkeypatch.setattr(inputs, "HEADER_SECONDS", 0.01)
    path = tmp_path / "picture"
    path.write_bytes(HEADERS[name])
    read: list[int] = []
    was = inputs._Hurried.read

    def counted(self: Any, size: int | None = -1, /) -> bytes:
        found = was(self, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(inputs._Hurried, "read", counted)
    with pytest.raises(InputError, match="header cannot be read"):
        sniff(path, path.stat().st_size)
    assert 0 < sum(read) < len(HEADERS[name]) / 2


@pytest.mark.parametrize(
    "data",
    [
        padded(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 900_000) * 2),
        saved("JPEG", icc_profile=bytes(range(256)) * 4096, exif=b"Exif\0\0" + bytes(60_000)),
        saved("WEBP", icc_profile=bytes(range(256)) * 4096),
    ],
    ids=["png", "jpeg", "webp"],
)
def test_an_honest_header_may_be_long(tmp_path: Path, data: bytes) -> None:
    """Profiles, thumbnails and what cameras write of themselves."""
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert (48, 32) == sniff(path, len(data))[1:]


@pytest.mark.parametrize(
    "read", [frames, lambda urls, where, names: references(urls, [f"{where}[0]"] * len(urls), names)]
)
def test_more_pictures_than_anybody_takes_are_named_nowhere(read: Any) -> None:
    """They are counted before any of them is looked at, and the field is the caller's."""
    names: dict[str, str] = {}
    with pytest.raises(ProblemError) as refused:
        read(["https://a.test/b.png"] * 90_000, "images", names)
    assert (422, "images", {}) == (refused.value.status, refused.value.param, names)
    assert "at most 16" in refused.value.message


def test_no_pattern_is_made_of_a_name_nobody_speaks_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: only those that stand in the message or are the field are looked for."""
    made: list[str] = []
    monkeypatch.setattr(common.re, "escape", lambda name: made.append(name) or re.sub(r"(\W)", r"\\\1", name))
    names = {f"frame_images[{at}]": f"images[{at}]" for at in range(5000)} | {"seconds": "duration"}
    told = renamed(invalid("seconds", "seconds is a whole number."), names)
    assert ("duration", "duration is a whole number.") == (told.param, told.message)
    assert {"seconds"} == {*made}
