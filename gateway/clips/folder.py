"""Keep assets in a folder of this machine, or one that several mount."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

from gateway.clips.shelf import GoneError, Item, Label, ShelfError

PIECE = 256 * 1024
LINKS = 3
"""How often a file is given one more name before it is believed to be gone."""
LEAST_FREE_BYTES = 64 * 2**20
"""With less room than this no clip can be kept, so none should be bought."""


class Folder:
    """A :class:`~gateway.clips.shelf.Shelf`: a file is flushed, then gets its final name, and that is flushed too."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, source: Path, key: str, label: Label) -> None:
        """Move a file of the same file system to its place."""
        del label
        await asyncio.to_thread(_settle, source, self.path(key))

    async def copy(self, source: str, target: str) -> None:
        """
        Give the same bytes one more name.

        :raises GoneError: when there are none.
        """
        await asyncio.to_thread(_link, self.path(source), self.path(target))

    async def find(self, key: str) -> Item | None:
        """Look at a file."""
        try:
            found = self.path(key).stat()
        except FileNotFoundError:
            return None
        return Item(key, found.st_size, _modified(found))

    async def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes]:
        """
        Read a part of a file.

        :raises GoneError: when there is none.
        """
        try:
            handle = os.open(self.path(key), os.O_RDONLY)
        except FileNotFoundError as error:
            raise GoneError(key) from error
        try:
            while length and (piece := os.pread(handle, min(PIECE, length), start)):
                start, length = start + len(piece), length - len(piece)
                yield piece
        finally:
            os.close(handle)

    @asynccontextmanager
    async def lend(self, key: str) -> AsyncIterator[Path]:
        """
        Name the file itself.

        :raises GoneError: when there is none.
        """
        path = self.path(key)
        if not path.is_file():
            raise GoneError(key)
        yield path

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files, and the folders they leave empty."""
        await asyncio.to_thread(_remove, [self.path(key) for key in keys])

    async def remove_old(self, key: str, before: int) -> bool:
        """Remove a file unless it was put there since; a put at that very moment is seen too."""
        aside = self._root / "incoming" / f"old-{token_hex(8)}"
        return await asyncio.to_thread(_remove_old, self.path(key), before, aside)

    async def walk(self, folder: str) -> AsyncIterator[Item]:
        """List files, a folder at a time."""
        waiting = [self.path(folder)]
        while waiting:
            folders, files = await asyncio.to_thread(_look, waiting.pop())
            waiting += folders
            for path, found in files:
                key = path.relative_to(self._root).as_posix()
                yield Item(key, found.st_size, _modified(found))

    def path(self, key: str) -> Path:
        """Name the file."""
        return self._root / key

    async def address(self, key: str) -> None:
        """A file has no address of its own."""

    async def ping(self) -> None:
        """
        Look whether there is room.

        :raises ShelfError: when there is not, or no folder.
        """
        try:
            free = shutil.disk_usage(self._root).free
        except OSError as error:
            raise ShelfError(f"{self._root}: {error.strerror}") from error
        if free < LEAST_FREE_BYTES:
            raise ShelfError(f"{self._root} has {free // 2**20} MB left")

    async def prove(self) -> None:
        """
        Write a file and remove it.

        :raises ShelfError: when it cannot be written.
        """
        try:
            with TemporaryFile(dir=self._root) as file:
                file.write(b"reelgate check")
        except OSError as error:
            raise ShelfError(f"{self._root}: {error.strerror}") from error


def _settle(source: Path, target: Path) -> None:
    """Flush a file, give it the time of now and its final name, flush that too."""
    with source.open("rb") as file:
        os.utime(file.fileno())
        os.fsync(file.fileno())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except FileNotFoundError:
        # Its folder was empty, and somebody who tidied up was between the two lines.
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    _flush(target.parent)


def _link(source: Path, target: Path) -> None:
    """Give a file one more name, and the time of now: what has just been named is nobody's litter."""
    for _ in range(LINKS):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.link(source, target)
            os.utime(target)
        except FileNotFoundError:
            continue  # Or somebody who tidies up has the target in hand.
        _flush(target.parent)
        return
    raise GoneError(source.name)


def _flush(folder: Path) -> None:
    """Flush the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(paths: Sequence[Path]) -> None:
    """Remove files, then the folders that are empty."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        with suppress(OSError):
            folder.rmdir()


def _remove_old(path: Path, before: int, aside: Path) -> bool:
    """Remove a file that is old; what became new between the look and the grip is put back."""
    try:
        if _modified(path.stat()) > before:
            return False
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside)
    except FileNotFoundError:
        return False
    old = _modified(aside.stat()) <= before
    if not old:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    with suppress(OSError):
        path.parent.rmdir()
    return old


def _modified(found: os.stat_result) -> int:
    """Say since when a file lies where it is, in milliseconds."""
    return found.st_mtime_ns // 1_000_000


def _look(folder: Path) -> tuple[list[Path], list[tuple[Path, os.stat_result]]]:
    """List the folders and files in a folder; what vanishes meanwhile is not there."""
    folders: list[Path] = []
    files: list[tuple[Path, os.stat_result]] = []
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return folders, files
    for entry in entries:
        if entry.is_dir():
            folders.append(Path(entry.path))
        else:
            with suppress(FileNotFoundError):
                files.append((Path(entry.path), entry.stat()))
    return folders, files
