r"""
Cut pictures out of a JSON text while it lies on disk: each goes to a file of its own, and only the rest is decoded.

A picture is a string longer than a window that is a data URL, or the value of a key by which Google's dialects name
bytes. In the text a mark takes its place, and once that is decoded the file takes the mark's: an
:class:`~gateway.clips.enclosed.Enclosed`, which is no text, so that nothing but media can be made of it. The marks are
drawn when the text is here already: nobody can have written one into it. What is no picture, or no JSON, stays.
"""

import math
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from gateway.clips.enclosed import Enclosed
from gateway.clips.inputs import HEAD, MOST_HEAD

WINDOW: Final = 64 * 2**10
"""
Bytes of text that are looked at together, so few that nobody else's turn at the interpreter is late for them.

A string that does not fit in, its quotes included, is a long one.
"""
MOST_PICTURES: Final = 256
"""As many as a form may have parts: each is a file, and no call needs a tenth of them."""
LOOK: Final = 64
"""Bytes before a string in which its key is looked for, and behind it what follows."""

# Possessive: each byte is read once, however the text was meant to go on.
STRINGS: Final = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""Strings that end, and what stands between them."""
INSIDE: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
PLAIN: Final = re.compile(rb"(?:[ !#-\[\]-~]++|\\[/nr]|\\u00(?:2[BbFf]|3[Dd]))*+")
"""What a string holds that is base64, or was meant to be: any JSON reads it alike."""
ESCAPES: Final = (
    (rb"\/", b"/"), (rb"\u002F", b"/"), (rb"\u002f", b"/"), (rb"\u002B", b"+"), (rb"\u002b", b"+"),
    (rb"\u003D", b"="), (rb"\u003d", b"="), (rb"\n", b"\n"), (rb"\r", b"\r"),
)  # fmt: skip
"""The escapes in it: PHP writes slashes so, .NET plus signs, Gson equals signs; a broken line is no base64."""
LONGEST_ESCAPE: Final = 6
PRINTABLE: Final = bytes(range(0x20, 0x7F))
KEYED: Final = re.compile(
    rb'(?<!\\)"(?:bytesBase64Encoded|imageBytes|videoBytes|encodedVideo|data)"[ \t\r\n]*:[ \t\r\n]*$'
)
"""What stands before base64 that has no head of its own."""
DATA_URL: Final = re.compile(HEAD.encode() + b",", re.IGNORECASE)
VALUE: Final = re.compile(rb'"[ \t\r\n]*[,}\]]')
"""How a string ends that is no key."""


class Cutter:
    """Cut one text, which lies in a file; what it cuts out is for its user to drop."""

    def __init__(self, file: int, size: int, folder: Path, *, most: int) -> None:
        """
        Cut the first ``size`` bytes of ``file``.

        :param most: bytes beside its pictures that anybody decodes: what has more is looked through no further.
        """
        self.uploads: list[Enclosed] = []
        self._file = file
        self._end = size
        self._folder = folder
        self._most = most
        self._cuts: list[tuple[int, int]] = []
        """Where the strings begin and end that were cut out, without their quotes."""
        self._secret = token_hex(16)

    def cut(self) -> Iterator[None]:
        """Look the text through, a window at a step; a step blocks."""
        at, before = 0, b""
        while at < self._end and not self.crowded and at - self._gone <= self._most:
            window = os.pread(self._file, WINDOW, at)
            whole = window[: _run(STRINGS, window)]
            if whole:
                at, before = at + len(whole), (before + whole)[-LOOK:]
            else:
                end = yield from self._long(at + 1, keyed=KEYED.search(before) is not None)
                at, before = end + 1, b""
            yield

    @property
    def crowded(self) -> bool:
        """Whether it holds too many pictures; it is looked through no further."""
        return len(self.uploads) > MOST_PICTURES

    @property
    def size(self) -> int:
        """Count the bytes of what is left."""
        return self._end - self._gone + len(self._mark(0)) * len(self._cuts)

    @property
    def _gone(self) -> int:
        """Count the bytes that were cut out."""
        return sum(end - start for start, end in self._cuts)

    def read(self) -> bytes:
        """Read what is left."""
        parts: list[bytes] = []
        at = 0
        for number, (start, end) in enumerate(self._cuts):
            parts += os.pread(self._file, start - at, at), self._mark(number).encode()
            at = end
        return b"".join([*parts, os.pread(self._file, self._end - at, at)])

    def place(self, at: int) -> int:
        """Say where in the text as it came stands what is found at a place of what is left."""
        for start, end in self._cuts:
            if at < start:
                break
            at += end - start - len(self._mark(0))
        return at

    def put_back(self, value: Any) -> Any:
        """Give everything that was cut out its place, in what was decoded of what is left."""
        by_mark = {self._mark(number): upload for number, upload in enumerate(self.uploads)}

        def put(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: put(each) for name, each in value.items()}
            if isinstance(value, list):
                return [put(each) for each in value]
            return by_mark.get(value, value) if isinstance(value, str) else value

        return put(value) if by_mark else value

    def _mark(self, number: int) -> str:
        """Write what stands for something cut out; all are of one length."""
        return f"~{self._secret}~{number:04}"

    def _long(self, start: int, *, keyed: bool) -> Generator[None, None, int]:
        """Read a long string to its end, which is answered, and cut it out where it is a picture."""
        end = yield from self._read_on(_plain, start)
        head = os.pread(self._file, MOST_HEAD * LONGEST_ESCAPE, start)
        picture = keyed or DATA_URL.match(_unescaped(head), 0, MOST_HEAD)
        if picture and VALUE.match(os.pread(self._file, LOOK, end)):
            yield from self._lift(start if keyed else start + head.index(b",") + 1, end)
            self._cuts.append((start, end))
            return end
        return (yield from self._read_on(_inside, end, self._most))

    def _read_on(self, run: Callable[[bytes], int], start: int, most: float = math.inf) -> Generator[None, None, int]:
        """Say how far something goes on from a place; not much further than it may."""
        at = start
        while at - start <= most and (passed := run(os.pread(self._file, WINDOW, at))):
            at += passed
            yield
        return at

    def _lift(self, at: int, end: int) -> Iterator[None]:
        """Unpack base64 into a file."""
        upload = Enclosed(self._folder)
        self.uploads.append(upload)
        while at < end:
            piece = os.pread(self._file, min(WINDOW, end - at), at)
            split = piece.rfind(b"\\", 1 - LONGEST_ESCAPE)
            if split > 0 and at + len(piece) < end:
                piece = piece[:split]  # Its last escape is read with the next piece.
            upload.unpack(_unescaped(piece))
            at += len(piece)
            yield
        upload.close()


def _run(pattern: re.Pattern[bytes], text: bytes) -> int:
    """Say how far a pattern goes that may be empty."""
    found = pattern.match(text)
    return found.end() if found else 0


def _inside(text: bytes) -> int:
    """Say how far a string goes on; where nothing is escaped, its end is found ten times as fast."""
    run = text.partition(b'"')[0]
    return _run(INSIDE, text) if b"\\" in run else len(run)


def _plain(text: bytes) -> int:
    """Say how far a string goes on that is base64, or was meant to be; as fast, also where PHP wrote its slashes."""
    run = text.partition(b'"')[0]
    bare = run.replace(rb"\/", b"")
    return _run(PLAIN, text) if b"\\" in bare or bare.translate(None, PRINTABLE) else len(run)


def _unescaped(text: bytes) -> bytes:
    """Read the escapes of base64; in a text of no others."""
    if b"\\" in text:
        for escaped, meant in ESCAPES:
            text = text.replace(escaped, meant)
    return text
