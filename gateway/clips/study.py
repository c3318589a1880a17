"""
What is done to media in another process: named here, so that a gateway loads no codec and that process no gateway.

All that knows PyAV is :mod:`gateway.clips.probe`, and all that decodes pictures :mod:`gateway.clips.picture`; each is
imported where it is first called.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DRAWN = (
    ("thumbnail", "webp", "image/webp"),
    ("spritesheet", "jpg", "image/jpeg"),
    ("last_frame", "png", "image/png"),
)
"""What is drawn of a clip: its kind, how its file ends, and what that is."""
Measure = tuple[int, str]
"""How large a file is, and its sha256."""


def probe(path: Path) -> dict[str, Any]:
    """Measure a file, as :func:`gateway.clips.probe.probe` does."""
    from gateway.clips import probe  # noqa: PLC0415

    return probe.probe(str(path))


def look_over(path: Path, folder: Path, stem: str) -> tuple[dict[str, Any], list[Measure]]:
    """
    Study a clip, draw its renditions into a folder, and measure all of them, the clip first; nothing where it is none.

    :raises NotAClipError: when it is none.
    """
    facts = _study(str(path), str(folder), stem)
    if "codec" not in facts:
        return facts, []
    drawn = [folder / f"{stem}.{suffix}" for _, suffix, _ in DRAWN] if facts.pop("drawn") else []
    return facts, [measure(each) for each in (path, *drawn)]


def animate(path: Path) -> bytes:
    """
    Draw a clip as a GIF, as :func:`gateway.clips.probe.animate` does.

    :raises NotAClipError: when no frame can be decoded.
    """
    from gateway.clips import probe  # noqa: PLC0415

    return probe.animate(str(path))


def convert(source: Path, target: Path, types: Sequence[str], most: int | None) -> None:
    """
    Write a picture anew, as :func:`gateway.clips.picture.convert` does.

    :raises NotAPictureError: when it cannot be.
    """
    from gateway.clips import picture  # noqa: PLC0415

    picture.convert(str(source), str(target), types, most)


def _study(path: str, folder: str, stem: str) -> dict[str, Any]:
    """Measure a clip and draw its renditions."""
    from gateway.clips import probe  # noqa: PLC0415

    return probe.study(path, folder, stem)


def measure(path: Path) -> Measure:
    """Say a file's size and hash."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return os.fstat(file.fileno()).st_size, sha256
