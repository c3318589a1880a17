"""
Hold what has arrived of a clip, so that a download that is cut goes on where it stopped.

The bytes lie in ``<name>.part``, which one process writes at a time; ``<name>.mark`` beside it says of what they are
a part. Both outlive the process, but are not believed after the machine was started anew: they were not flushed.
"""

import fcntl
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from secrets import token_hex

import msgspec
from msgspec import Struct

SUFFIXES = frozenset({".part", ".mark"})
STRAY = re.compile(r".+-\d+-[0-9a-f]{8}")


class Mark(Struct, frozen=True):
    """Say of what bytes are a part."""

    source: str
    """The address they came from, without what signs it."""
    validator: str
    """What the host is to find unchanged (``If-Range``); empty where it names nothing that would do."""
    total: int | None
    """How many bytes the whole has, where the host says."""
    boot: str = ""


class Part:
    """Hold one clip's bytes as far as they have come; close it to go on with it later."""

    def __init__(self, path: Path, file: int, mark: Mark | None, *, stray: bool = False) -> None:
        self.path = path
        self.mark = mark
        self.stray = stray
        """Whether nobody would know to go on with it."""
        self._file = file
        self.size = os.fstat(file).st_size
        if mark is None:
            self.restart(None)
        os.lseek(file, 0, os.SEEK_END)

    def restart(self, mark: Mark | None) -> None:
        """Forget what has come, and say of what the next bytes are a part."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size, self.mark = 0, mark
        if mark is None:
            self._note.unlink(missing_ok=True)
        else:
            self._note.write_bytes(msgspec.json.encode(Mark(mark.source, mark.validator, mark.total, _boot())))

    def rest(self, source: str) -> dict[str, str]:
        """Write the headers that ask for what is missing; none where it must come whole."""
        if not self.size or self.mark is None or self.mark.source != source or not self.mark.validator:
            return {}
        return {"range": f"bytes={self.size}-", "if-range": self.mark.validator}

    def write(self, chunk: bytes) -> None:
        """
        Add bytes.

        :raises OSError: when they cannot be written.
        """
        view = memoryview(chunk)
        while view:
            written = os.write(self._file, view)
            self.size += written
            view = view[written:]

    def head(self, size: int) -> bytes:
        """Read how it begins."""
        return os.pread(self._file, size, 0)

    def close(self, *, drop: bool = False) -> None:
        """Leave it to whoever goes on, or leave nothing; its mark goes with it where it was moved to its place."""
        if drop or self.stray:
            self.path.unlink(missing_ok=True)
        if not self.path.exists():
            self._note.unlink(missing_ok=True)
        os.close(self._file)

    @property
    def _note(self) -> Path:
        """Where its mark lies."""
        return self.path.with_suffix(".mark")


def take(folder: Path, name: str) -> Part:
    """
    Go on with what an earlier try left of a clip; where another process still writes it, begin beside it.

    :raises OSError: when nothing can be written.
    """
    path = folder / f"{name}.part"
    file = _locked(path)
    stray = file is None
    if file is None:
        path = folder / f"{name}-{token_hex(4)}.part"
        file = _locked(path)
        if file is None:
            raise FileExistsError(path)
    try:
        os.utime(file)  # Also where nothing more comes: one that waits for its shelf is whole, and still somebody's.
        return Part(path, file, _read_mark(path.with_suffix(".mark")), stray=stray)
    except BaseException:
        os.close(file)
        raise


def is_resumed(path: Path) -> bool:
    """Whether a later try goes on with a file: it is of a clip, and was not begun beside another try."""
    return path.suffix in SUFFIXES and STRAY.fullmatch(path.stem) is None


def forget(folder: Path, name: str) -> None:
    """Remove what came of something in parts and nobody is writing any more."""
    for path in folder.glob(f"{name}-*.part"):
        file = _locked(path)
        if file is not None:
            Part(path, file, None).close(drop=True)


def discard(path: Path, before: float) -> bool:
    """
    Remove what nobody is writing and nobody has touched since a time, in seconds; says whether it did.

    A mark is as much in somebody's hands as its part.
    """
    part = path.with_suffix(".part")
    try:
        file = os.open(part if path.suffix == ".mark" and part.exists() else path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        old = touched(path) <= before
        if old:
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(file)
    return old


def touched(path: Path) -> float:
    """
    Say when a file last grew or was taken up, in seconds; a mark is written once, and is as old as its part.

    :raises FileNotFoundError: when it is gone.
    """
    times = [path.stat().st_mtime]
    with suppress(FileNotFoundError):
        times.append(path.with_suffix(".part").stat().st_mtime)
    return max(times)


def _locked(path: Path) -> int | None:
    """Open a file that nobody else has; the lock goes with whoever holds it."""
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    if os.fstat(file).st_nlink:
        return file
    os.close(file)  # It was moved to its place, or dropped, while we waited for it.
    return None


def _read_mark(path: Path) -> Mark | None:
    """Read of what bytes are a part, unless they may not be what was written."""
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=Mark)
    except (OSError, msgspec.MsgspecError):
        return None
    return mark if mark.boot == _boot() else None


@cache
def _boot() -> str:
    """Name this run of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
