"""
Note a provider's answer the moment it comes, before the database hears of it.

It is for one case: an order was answered, and the process or the database died before that was committed. The file
is laid out beforehand, so that a full disk does not matter; a note is written without waiting for the disk, which
outlives the process, and flushed as well where the database has failed. What is noted is believed only of an order
that is still in doubt.
"""

import fcntl
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

SLOT = 8192
"""Bytes of one note."""
SLOTS = 512
"""Notes kept; the oldest gives way. More orders than this are never in doubt at one time."""
PEERS = 64
"""Processes that may keep notes in one folder."""


class Note(Struct, frozen=True):
    """Hold one note as written."""

    attempt: str
    task: str
    account: str = ""
    """Where it was ordered; empty in older notes."""


class Receipts:
    """Keep notes in a folder, in a file of this process' own; read the ones of every process that was here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._next = 0
        self._noted: dict[str, Note] = {}

    def open(self) -> None:
        """
        Claim a file, lay it out, and read every note there is.

        :raises OSError: where the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(PEERS):
            path = self._folder / f"receipts-{number}"
            if self._file is None:
                self._claim(path)
            if not path.exists():
                break
            self._read(path)

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def note(self, attempt: str, task: str, account: str = "") -> None:
        """Note which task an attempt has been given; a handle too long for a slot is kept in memory alone."""
        if len(self._noted) >= SLOTS:
            del self._noted[next(iter(self._noted))]
        noted = self._noted[attempt] = Note(attempt, task, account)
        text = msgspec.json.encode(noted)
        if self._file is None or len(text) > SLOT - 16:
            return
        head = b"%08x%08x" % (zlib.crc32(text), len(text))
        os.pwrite(self._file, head + text, self._next * SLOT)
        self._next = (self._next + 1) % SLOTS

    @property
    def noted(self) -> Mapping[str, Note]:
        """Every note there is, by the attempt: which task it was given."""
        return self._noted

    def get(self, attempt: str | None) -> str | None:
        """Look up which task an attempt was given."""
        noted = self._noted.get(attempt or "")
        return None if noted is None else noted.task

    def sync(self) -> None:
        """Wait until the notes are on disk."""
        if self._file is not None:
            os.fdatasync(self._file)

    def _claim(self, path: Path) -> None:
        """Take a file nobody else has, and lay it out whole."""
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(file, 0, SLOT * SLOTS)
        except OSError:
            os.close(file)
            return
        self._file = file

    def _read(self, path: Path) -> None:
        """Read a file's notes; half a note, or an older one's rest, is none."""
        data = path.read_bytes()
        for at in range(0, len(data) - 16, SLOT):
            try:
                check, size = int(data[at : at + 8], 16), int(data[at + 8 : at + 16], 16)
                text = data[at + 16 : at + 16 + size]
                if zlib.crc32(text) != check:
                    continue
                note = msgspec.json.decode(text, type=Note)
            except (ValueError, msgspec.MsgspecError):
                continue
            self._noted[note.attempt] = note
