"""
Keep clips and inputs in a local folder, and measure what is kept.

A file is written under another name, flushed to disk, then renamed: whatever has its final name is whole.
Names come from our own ids and hashes; no byte of a client's is ever part of a path.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from secrets import token_hex
from typing import Any

from gateway import inputs
from gateway.finished import ClipError, Missed
from gateway.inputs import InputError, Sniffed
from gateway.parts import SUFFIXES as RESUMED
from gateway.parts import sweep
from gateway.wish import Rendition

SUFFIXES = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm"}
DRAWN = (
    ("thumbnail", "webp", "image/webp"),
    ("spritesheet", "jpg", "image/jpeg"),
    ("last_frame", "png", "image/png"),
)
"""What is drawn of a clip: its kind, how its file ends, and what that is."""


class Media:
    """Keep media below one folder: ``inputs/`` by hash, ``clips/`` by job, ``incoming/`` until whole."""

    def __init__(self, root: Path, pool: Executor, *, max_clip_bytes: int) -> None:
        self.root = root
        self.incoming = root / "incoming"
        """Where bytes lie while they arrive."""
        self._pool = pool
        self.max_clip_bytes = max_clip_bytes

    def open(self, *, alone: bool = True) -> None:
        """
        Make the folders, and clear away what an earlier process left half done.

        Beside other processes only what has not grown for an hour is known to be left; and what has come of a clip
        is gone on with.
        """
        for name in ("inputs", "clips"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        for left in self.incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.suffix not in RESUMED and (alone or left.stat().st_mtime < time.time() - 3600):
                    left.unlink()
        sweep(self.incoming)

    def free_bytes(self) -> int:
        """Say how much room is left."""
        return shutil.disk_usage(self.root).free

    # Inputs

    def input_path(self, sha256: str) -> Path:
        """Say where an input lies."""
        return self.root / "inputs" / sha256[:2] / sha256

    async def keep_input(self, path: Path, sha256: str) -> None:
        """Move an input that has arrived to its place, durably; the same bytes are kept once."""
        await asyncio.to_thread(_settle, path, self.input_path(sha256))

    async def keep_bytes(self, data: bytes) -> tuple[str, Path]:
        """Write bytes that came inside a request beside the ones still arriving; answers hash and path."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.incoming / f"data-{sha256}-{token_hex(4)}"
        await asyncio.to_thread(path.write_bytes, data)
        return sha256, path

    async def study_input(self, path: Path, size: int) -> tuple[Sniffed, float]:
        """
        Say what an input is, and how many seconds a clip or voice lasts.

        :raises InputError: when it is nothing we take.
        """
        sniffed = inputs.sniff(path, size)
        if sniffed.kind == "image":
            return sniffed, 0.0
        facts = await self.probe(path)
        if facts is None:
            raise InputError("unsupported_video", "The clip cannot be read; send an MP4, MOV or WebM.")
        size_ = (int(facts.get("width") or 0), int(facts.get("height") or 0))
        return Sniffed(sniffed.media_type, *size_), float(facts.get("duration_seconds") or 0)

    async def probe(self, path: Path) -> dict[str, Any] | None:
        """Measure a file in another process; ``None`` when it is not media."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _probe, str(path))
        except (ValueError, BrokenExecutor):
            return None

    # Clips

    def clip_folder(self, job: str) -> Path:
        """Say where a job's renditions lie."""
        return self.root / "clips" / job[-2:] / job

    def path(self, rendition: Rendition) -> Path:
        """Say where a rendition lies."""
        return self.root / rendition.path

    async def keep_clip(self, job: str, index: int, part: Path, *, media_type: str = "video/mp4") -> list[Rendition]:
        """
        Measure a clip that has arrived, draw its renditions, move all to their places, and answer what is kept.

        :param media_type: what it is where its own bytes do not say.
        :raises ClipError: when it is not a clip, or not a whole one; it stays where it was.
        :raises OSError: when our own disk takes nothing.
        """
        folder = self.clip_folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        # A worker that lost its lease may still be at it: each has names of its own until the file is whole.
        stem = f"{job}-{index}-{token_hex(4)}"
        try:
            facts = await self._study(part, stem)
            media_type = facts.pop("media_type", None) or media_type
            drawn = facts.pop("drawn")
            suffix = SUFFIXES.get(media_type, "mp4")
            kept = [await self._place(part, folder / f"{index}.{suffix}", index, "video", media_type, facts)]
            for kind, suffix, content_type in DRAWN if drawn else ():
                drawing = self.incoming / f"{stem}.{suffix}"
                kept.append(await self._place(drawing, folder / f"{index}.{suffix}", index, kind, content_type, {}))
        finally:
            for _, suffix, _ in DRAWN:
                (self.incoming / f"{stem}.{suffix}").unlink(missing_ok=True)
        return kept

    async def _study(self, part: Path, stem: str) -> dict[str, Any]:
        """Measure a clip that has arrived and draw its renditions, in another process."""
        loop = asyncio.get_running_loop()
        try:
            facts = await loop.run_in_executor(self._pool, _study, str(part), str(self.incoming), stem)
        except (ValueError, BrokenExecutor) as error:
            raise ClipError(str(error)) from error
        if facts.pop("short", False):
            raise ClipError("not a whole clip: it ends before it says it does", Missed.SHORT)
        if "codec" not in facts:
            raise ClipError("not a clip: no pictures")
        return facts

    async def animate(self, rendition: Rendition) -> bytes:
        """
        Draw a kept clip as a GIF, in another process.

        :raises ClipError: when it cannot be drawn.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _animate, str(self.path(rendition)))
        except (OSError, ValueError, BrokenExecutor) as error:
            raise ClipError("the clip cannot be drawn as a GIF") from error

    async def remove_clips(self, job: str) -> None:
        """Remove everything kept for a job."""
        await asyncio.to_thread(shutil.rmtree, self.clip_folder(job), True)

    async def _place(
        self, source: Path, target: Path, index: int, kind: str, content_type: str, facts: dict[str, Any]
    ) -> Rendition:
        """Move a finished file to its place and describe it."""
        size, sha256 = await asyncio.to_thread(_settle, source, target)
        return Rendition(
            index=index,
            kind=kind,
            path=str(target.relative_to(self.root)),
            content_type=content_type,
            bytes=size,
            sha256=sha256,
            **facts,
        )


def _settle(source: Path, target: Path) -> tuple[int, str]:
    """Flush a file, give it its final name, flush that too; answer its size and hash."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    source.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size, sha256


def _probe(path: str) -> dict[str, Any]:
    """Measure a file; runs in the pool, where alone PyAV is loaded."""
    from gateway.probe import probe  # noqa: PLC0415

    return probe(path)


def _study(path: str, folder: str, stem: str) -> dict[str, Any]:
    """Measure a clip and draw its renditions; runs in the pool."""
    from gateway.probe import study  # noqa: PLC0415

    return study(path, folder, stem)


def _animate(path: str) -> bytes:
    """Draw a clip as a GIF; runs in the pool."""
    from gateway.probe import animate  # noqa: PLC0415

    return animate(path)
