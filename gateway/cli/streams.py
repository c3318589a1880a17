"""What a command writes to: a stream that is closed, cannot hold a sign or is full ends nothing that was bought."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from rich.console import Console


def open_streams() -> None:
    """Have all three streams there, whatever was closed, and let none fail over a sign its terminal does not have."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _hold(number)
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _hold(number: int) -> None:
    """Have a closed descriptor lead nowhere: the next file opened would be given it, and what is printed with it."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def was_closed(stream: IO[str]) -> bool:
    """Whether a stream was closed when the program began, so that nobody reads it."""
    return str(getattr(stream, "name", "")) == os.devnull


def forgo(stream: IO[str]) -> None:
    """Write a stream nowhere from now on, with what waits in it; what has no descriptor stays."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def let_go(stream: IO[str]) -> None:
    """Drop what a stream cannot write: it would be tried again, and complained of, as the interpreter ends."""
    try:
        stream.flush()
    except OSError:
        forgo(stream)


def said_of(error: UnicodeError) -> str:
    r"""
    Quote what could not be written or read, in signs every terminal has.

    >>> said_of(UnicodeEncodeError("utf-8", "a kite\udcff", 6, 7, "no"))
    "'a kite\\udcff'"
    """
    if not isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        return "a name"
    return ascii(error.object[max(0, error.start - 20) : error.end + 20])


def complain(said: str) -> None:
    """Say something on stderr, where that can be written."""
    try:
        print(said, file=sys.stderr, flush=True)
    except OSError:
        forgo(sys.stderr)


@contextmanager
def unbroken(console: Console, broken: Callable[[OSError], None]) -> Iterator[None]:
    """Have a console go on where it cannot be written: ``broken`` hears of it, and nothing more is shown."""
    file = console.file
    console.file = cast("IO[str]", _Unbroken(file, broken))
    try:
        yield
    finally:
        console.file = file


class _Unbroken:
    """Write a stream for as long as it can be written."""

    def __init__(self, stream: IO[str], broken: Callable[[OSError], None]) -> None:
        self._stream = stream
        self._broken = broken
        self._whole = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or leave it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], object]) -> None:
        if self._whole:
            try:
                work()
            except OSError as error:
                self._whole = False
                forgo(self._stream)
                self._broken(error)
