"""
Keep what became of every line, in a JSONL file that survives ``kill -9`` at any moment.

Records are only ever added, each on disk before what it speaks of is done; of several of one line the last counts,
and a last line that was cut off never was. When a run ends the file is rewritten with one record a line.
"""

import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from gateway.cli.common import UsageError

ORDERING = "ordering"
"""The call is about to leave, under its key: whether it arrived is not known."""
ORDERED = "ordered"
"""The gateway keeps the job."""
COMPLETED = "completed"
FAILED = "failed"
"""The job ended without a clip."""
REFUSED = "refused"
"""The gateway did not take the call: nothing was bought."""


class Batch(Struct, frozen=True, kw_only=True, tag_field="record", tag="batch"):
    """Hold which batch the results are of."""

    id: str
    """What the Idempotency-Keys of its calls begin with."""
    input: str
    gateway: str


class Upload(Struct, frozen=True, kw_only=True, tag_field="record", tag="upload"):
    """Hold a file the gateway was given."""

    sha256: str
    file_id: str


class Saved(Struct, frozen=True, kw_only=True):
    """Hold one clip as it was written."""

    file: str
    bytes: int
    sha256: str


class Fault(Struct, frozen=True, kw_only=True):
    """Hold why there is no clip."""

    code: str
    message: str


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="line"):
    """Hold what became of one line."""

    line: str
    """The line's id."""
    where: str
    status: str
    prompt: str
    file: str
    """Where its clip goes, within the folder."""
    call: dict[str, Any]
    """The call as it was sent: a repeated one is the same to the byte."""
    key: str
    """Its Idempotency-Key."""
    round: int = 1
    """How often it was bought anew, on a person's word."""
    at: float = 0
    """When the call was first about to leave, in seconds since the epoch."""
    quoted_usd: float = 0
    charged_usd: float = 0
    billing: str = ""
    """What became of the money: held, billed, not_billed, possibly_billed."""
    video: str = ""
    provider: str = ""
    model: str = ""
    clips: tuple[Saved, ...] = ()
    fault: Fault | None = None


Record = Batch | Upload | Result
_decoder = msgspec.json.Decoder(Record)


class Results:
    """Hold a results file open, alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.batch: Batch | None = None
        self.uploads: dict[str, str] = {}
        self.lines: dict[str, Result] = {}
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """
        Open the file, making it where there is none, and read it.

        :raises UsageError: when another run is at work on it, or it is no results file.
        """
        try:
            self._file = self._locked()
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave one record a line, and close."""
        assert self._file
        try:
            with suppress(OSError):  # Then the long file stays, and says the same.
                if self.lines:
                    self._shorten()
                elif not self.uploads:
                    self.path.unlink(missing_ok=True)
        finally:
            self._file.close()

    def keep(self, record: Record) -> None:
        """
        Add a record; it is on disk when this returns.

        :raises UsageError: when it cannot be written.
        """
        assert self._file
        left = memoryview(_line(record))
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
        self._take(record)

    def _read(self) -> None:
        """
        Read every whole record, and cut off what is none.

        :raises UsageError: when another than the last is none.
        """
        assert self._file
        whole = 0
        for number, line in enumerate(self._file.readall().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            try:
                self._take(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"{self.path}, line {number} is no record of a batch: {error}; name another file with --results"
                ) from error
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)

    def _take(self, record: Record) -> None:
        """Learn what a record says."""
        if isinstance(record, Batch):
            self.batch = record
        elif isinstance(record, Upload):
            self.uploads[record.sha256] = record.file_id
        else:
            self.lines[record.line] = record

    def _locked(self) -> FileIO:
        """
        Open the file and lock it for as long as it is open.

        :raises UsageError: when another run holds it.
        """
        while True:
            file = self.path.open("a+b", buffering=0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise UsageError(f"another run is at work on {self.path}; wait for its end, or stop it") from error
            # A run that ended just now has put a new file under this name.
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                file.seek(0)
                return file
            file.close()

    def _shorten(self) -> None:
        """Put a file with one record a line in the place of the long one."""
        assert self.batch
        records: list[Record] = [self.batch]
        records += [Upload(sha256=sha256, file_id=file_id) for sha256, file_id in self.uploads.items()]
        records += self.lines.values()
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("wb") as file:
            file.writelines(_line(each) for each in records)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _line(record: Record) -> bytes:
    """Write a record."""
    return msgspec.json.encode(record) + b"\n"
