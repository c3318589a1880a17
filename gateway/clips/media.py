"""
Take clips and inputs in, measure them, and keep them on a shelf.

Bytes arrive in a folder of this machine, are measured and hashed there, and go from there to the shelf
(:mod:`gateway.clips.shelf`), which may be the same folder or an object store. What is on the shelf is whole.
"""

import asyncio
import contextlib
import errno
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import Any

from gateway.clips import inputs, study
from gateway.clips.folder import Folder
from gateway.clips.inputs import InputError, Sniffed
from gateway.clips.parts import discard, is_resumed, touched
from gateway.clips.shelf import GoneError, Item, Label, Shelf, ShelfError
from gateway.jobs.finished import ClipError, Missed
from gateway.jobs.wish import Rendition
from gateway.settings import MediaSettings, SettingsError
from providers.base.conversion import Conversion

SUFFIXES = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm"}

LITTER_SECONDS = 3600
"""What has not grown for so long is nobody's any more."""


class Media:
    """Keep media on a shelf: ``inputs/`` by hash, ``clips/`` by job; ``incoming/`` here until whole."""

    def __init__(
        self,
        root: Path,
        pool: Executor | None,
        *,
        max_clip_bytes: int,
        shelf: Shelf | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Keep media on ``shelf``, else in the folder itself; what is measured, is in ``pool``.

        :param clock: what files and objects are dated by, in seconds.
        """
        self._clock = clock
        self.root = root
        self.incoming = root / "incoming"
        """Where bytes lie while they arrive."""
        self._disk = Folder(root)
        self.shelf = shelf or self._disk
        self._pool = pool
        self._reader = ThreadPoolExecutor(1, "headers")
        """Where headers are read, one at a time: Python itself goes over them, and the loop shares it with as many."""
        self.max_clip_bytes = max_clip_bytes

    def open(self, *, alone: bool = True) -> None:
        """
        Make the folders, and clear away what an earlier process left half done.

        Beside other processes only what has not grown for an hour is known to be left; and what has come of a clip
        is gone on with.
        """
        for name in ("inputs", "clips"):
            path = self.shelf.path(name)
            if path is not None:
                path.mkdir(parents=True, exist_ok=True)
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clear(0 if alone else LITTER_SECONDS)

    def litter(self, seconds: float) -> list[Path]:
        """List what arrived, was not kept, and was touched by nobody for so long; what a clip is of, for an hour."""
        found: list[Path] = []
        for left in self.incoming.iterdir() if self.incoming.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if touched(left) <= self._before(left, seconds):
                    found.append(left)
        return found

    def clear(self, seconds: float = LITTER_SECONDS) -> None:
        """Remove what arrived and was not kept."""
        for left in self.litter(seconds):
            self.discard(left.name, seconds)

    def discard(self, name: str, seconds: float) -> bool:
        """Remove what arrived and was not kept, unless somebody has taken it up meanwhile; says whether it did."""
        path = self.incoming / name
        return discard(path, self._before(path, seconds))

    def _before(self, path: Path, seconds: float) -> float:
        """Say since when nobody may have touched what arrived, so that it is nobody's."""
        idle = max(seconds, LITTER_SECONDS) if is_resumed(path) else seconds
        return self._clock() - idle if idle else math.inf

    def free_bytes(self) -> int:
        """Say how much room is left where bytes arrive."""
        return shutil.disk_usage(self.root).free

    async def ping(self) -> None:
        """
        Prove that clips can be kept.

        :raises ShelfError: when they cannot, or there is no room for them to arrive.
        """
        await self._disk.ping()
        await self.shelf.ping()

    # Inputs

    async def keep_input(self, path: Path, sha256: str, media_type: str) -> None:
        """Put an input that has arrived in its place, durably; the same bytes are kept once."""
        key = input_key(sha256)
        kept = await self.shelf.find(key)
        if kept and self._is_young(kept):
            await asyncio.to_thread(path.unlink, missing_ok=True)
        else:
            # Put there again, an old one is new to those who look for what nobody uses.
            await self.shelf.put(path, key, Label(media_type))

    async def refresh(self, name: str) -> None:
        """
        Let a kept input be as one that was just put there: it is about to be named.

        :raises GoneError: when it is no longer there.
        """
        key = input_key(name)
        kept = await self.shelf.find(key)
        if kept is None:
            raise GoneError(key)
        if not self._is_young(kept):
            await self.shelf.copy(key, key)

    def _is_young(self, kept: Item) -> bool:
        """Whether nobody can take it for litter before half the time is over that a row may take to name it."""
        return kept.modified > (self._clock() - LITTER_SECONDS / 2) * 1000

    async def place_of(self, sha256: str) -> str:
        """Say under which key an input can be read, or signed for: where it was set aside, that is another."""
        key = input_key(sha256)
        kept = await self.shelf.find(key)
        return kept.key if kept else key

    async def reuse(self, key: str, sha256: str) -> None:
        """
        Let a kept clip be an input: no byte comes here.

        :raises GoneError: when it is no longer there.
        """
        await self.shelf.copy(key, input_key(sha256))

    def at_hand(self, name: str) -> AbstractAsyncContextManager[Path]:
        """
        Have an input as a file of this machine while the context is open.

        Entering raises :class:`GoneError` when it is not kept, and :class:`ShelfError` when nobody can tell.
        """
        return self.shelf.lend(input_key(name))

    async def convert(self, sha256: str, into: Conversion) -> str:
        """
        Have a kept picture kept as another one, too, made in another process the first time; says by what name.

        It lies beside the picture and goes with it, so that whoever is handed it again is handed the same bytes.

        :raises GoneError: when the picture is not kept.
        :raises InputError: when it cannot be converted.
        :raises ShelfError: when nobody can tell, or nothing can be kept.
        """
        name = f"{sha256}.{into.name}"
        try:
            await self.refresh(name)
        except GoneError:
            made = self.incoming / f"data-{token_hex(16)}"
            try:
                async with self.at_hand(sha256) as path:
                    await self._convert(path, made, into)
                sniffed, _ = await self.describe(made)
                await self.shelf.put(made, input_key(name), Label(sniffed.media_type))
            except OSError as error:
                raise ShelfError(f"our own storage takes nothing: {error.strerror}") from error
            finally:
                made.unlink(missing_ok=True)
        return name

    async def _convert(self, path: Path, made: Path, into: Conversion) -> None:
        """Convert a picture; one that brings that process down is tried again, as it may have been another's doing."""
        loop = asyncio.get_running_loop()
        for last in (False, True):
            try:
                await loop.run_in_executor(self._pool, study.convert, path, made, into.types, into.most)
            except ValueError as error:
                raise InputError("unsupported_image", str(error)) from error
            except BrokenExecutor as error:
                if last:
                    raise InputError("unsupported_image", "its pixels cannot be read") from error
            else:
                return

    async def describe(self, path: Path) -> tuple[Sniffed, study.Measure]:
        """
        Say what a file is that was made here: its type and shape, its size and its hash.

        :raises OSError: when it cannot be read.
        """
        measure = await asyncio.to_thread(study.measure, path)
        return await self._sniff(path, measure[0]), measure

    async def _sniff(self, path: Path, size: int) -> Sniffed:
        """
        Tell what a file is.

        :raises InputError: when it is nothing we take.
        """
        return await asyncio.get_running_loop().run_in_executor(self._reader, inputs.sniff, path, size)

    async def keep_bytes(self, pieces: Iterable[bytes]) -> tuple[str, int, Path]:
        """Write bytes that came inside a request beside the ones still arriving; answers hash, size and path."""
        path = self.incoming / f"data-{token_hex(16)}"
        return *await asyncio.to_thread(_write, path, pieces), path

    async def study_input(self, path: Path, size: int) -> tuple[Sniffed, float]:
        """
        Say what an input is, and how many seconds a clip or voice lasts.

        :raises InputError: when it is nothing we take.
        """
        sniffed = await self._sniff(path, size)
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
            return await asyncio.get_running_loop().run_in_executor(self._pool, study.probe, path)
        except (ValueError, BrokenExecutor):
            return None

    async def study_kept(self, sha256: str, size: int) -> tuple[Sniffed, float]:
        """
        Say what a kept input is, as :meth:`study_input` does.

        :raises GoneError: when it is not kept.
        :raises InputError: when it is nothing we take.
        """
        async with self.at_hand(sha256) as path:
            return await self.study_input(path, size)

    # Clips

    async def keep_clip(self, job: str, index: int, part: Path, *, media_type: str = "video/mp4") -> list[Rendition]:
        """
        Measure a clip that has arrived, draw its renditions, move all to their places, and answer what is kept.

        :param media_type: what it is where its own bytes do not say.
        :raises ClipError: when it is not a clip, or not a whole one; it stays where it was.
        :raises OSError: when our own disk takes nothing.
        :raises ShelfError: when the shelf does not.
        """
        # A worker that lost its lease may still be at it: each has names of its own until the file is whole.
        stem = f"{job}-{index}-{token_hex(4)}"
        try:
            facts, (measure, *drawings) = await self._study(part, stem)
            media_type = facts.pop("media_type", None) or media_type
            suffix = SUFFIXES.get(media_type, "mp4")
            kept = [await self._place(part, job, index, "video", suffix, media_type, measure, facts)]
            for (kind, suffix, content_type), measure in zip(study.DRAWN, drawings, strict=False):
                drawing = self.incoming / f"{stem}.{suffix}"
                kept.append(await self._place(drawing, job, index, kind, suffix, content_type, measure, {}))
        except BaseException:
            for _, suffix, _ in study.DRAWN:
                (self.incoming / f"{stem}.{suffix}").unlink(missing_ok=True)
            raise
        return kept

    async def _study(self, part: Path, stem: str) -> tuple[dict[str, Any], list[study.Measure]]:
        """Look a clip that has arrived over and draw its renditions, in another process."""
        loop = asyncio.get_running_loop()
        try:
            facts, measures = await loop.run_in_executor(self._pool, study.look_over, part, self.incoming, stem)
        except (ValueError, BrokenExecutor) as error:
            raise ClipError(str(error)) from error
        if facts.pop("short", False):
            raise ClipError("not a whole clip: it ends before it says it does", Missed.SHORT)
        if "codec" not in facts:
            raise ClipError("not a clip: no pictures")
        return facts, measures

    async def animate(self, rendition: Rendition) -> bytes:
        """
        Draw a kept clip as a GIF, in another process.

        :raises ClipError: when it cannot be drawn.
        """
        try:
            async with self.shelf.lend(rendition.path) as path:
                return await asyncio.get_running_loop().run_in_executor(self._pool, study.animate, path)
        except (OSError, ValueError, BrokenExecutor) as error:
            raise ClipError("the clip cannot be drawn as a GIF") from error

    async def whole(self, rendition: Rendition) -> bytes:
        """
        Read a rendition whole: for answers that hold it.

        :raises GoneError: when it is no longer there.
        """
        return b"".join([piece async for piece in self.shelf.read(rendition.path, 0, rendition.bytes)])

    async def remove_clips(self, job: str) -> None:
        """Remove everything kept for a job."""
        keys = [each.key async for each in self.shelf.walk(clip_folder(job))]
        if keys:
            await self.shelf.remove(keys)

    async def _place(
        self,
        source: Path,
        job: str,
        index: int,
        kind: str,
        suffix: str,
        content_type: str,
        measure: study.Measure,
        facts: dict[str, Any],
    ) -> Rendition:
        """Put a finished file in its place and describe it."""
        key = f"{clip_folder(job)}/{index}.{suffix}"
        size, sha256 = measure
        await self.shelf.put(source, key, Label(content_type, f"{job}-{index}.{suffix}"))
        return Rendition(
            index=index, kind=kind, path=key, content_type=content_type, bytes=size, sha256=sha256, **facts
        )


def open_media(settings: MediaSettings, pool: Executor | None = None) -> Media:
    """
    Build it as configured.

    :raises SettingsError: when the object store's own settings contradict each other.
    """
    shelf: Shelf | None = None
    if not settings.in_folder:
        from gateway.clips.bucket import Bucket  # noqa: PLC0415

        scratch = settings.folder / "incoming"
        try:
            shelf = Bucket(
                settings.url, scratch, endpoint=settings.endpoint, redirect_seconds=settings.redirect_seconds
            )
        except ShelfError as error:
            raise SettingsError(f"media.url: {error}") from error
    return Media(settings.folder, pool, max_clip_bytes=settings.max_clip_mb * 2**20, shelf=shelf)


def make_folder(settings: MediaSettings) -> None:
    """
    Make the folder where media lie, or arrive, and prove that it can be written; a full disk is for the health to tell.

    :raises SettingsError: naming the key that says where it is.
    """
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.folder):
            pass
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            key = "media.url" if settings.in_folder else "media.local"
            raise SettingsError(f"{key}: {settings.folder} cannot be written: {error.strerror}") from error


def input_key(name: str) -> str:
    """Say under which key an input lies: by its sha256, and what it was converted to behind a dot."""
    return f"inputs/{name[:2]}/{name}"


def clip_folder(job: str) -> str:
    """Say in which folder of the shelf a job's renditions lie."""
    return f"clips/{job[-2:]}/{job}"


def _write(path: Path, pieces: Iterable[bytes]) -> tuple[str, int]:
    """Write pieces into a file, or nothing where one cannot be had; answers hash and size."""
    sha256 = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for piece in pieces:
                sha256.update(piece)
                file.write(piece)
            return sha256.hexdigest(), file.tell()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
