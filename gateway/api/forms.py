"""
Read a request body: JSON, or a form in every encoding the SDKs use, files as they come.

A body has a size and a time it must come in. Part headers are not believed: a file is what its bytes say,
and goes to disk as it comes; and so does a long text, until all of it is there. The pictures in JSON stay there
(:mod:`gateway.api.cutting`); for what is left memory is lent.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from gateway.api.cutting import MOST_PICTURES, WINDOW, Cutter
from gateway.api.nesting import first_of, nest
from gateway.clips.uploads import Upload
from gateway.problems import ProblemError, invalid

MAX_PARTS = 256
MEDIA = frozenset({"input_reference", "frame_images", "input_references", "video", "mask"})
"""Fields that name media."""
LONG = MEDIA | {"elements"}
"""Fields that hold media, and so data URLs: as long in a form as the whole body may be, as in JSON."""
MAX_TEXT = 4 * 2**20
"""Longest text part of any other field in bytes."""
SMALL = 64 * 2**10
"""Bytes of text a call may hold while it is slow; a hundred times an ordinary order."""
DEPTH = 32
MAX_VALUES = 100_000
"""Most values of a JSON text: room is made for every one before any is looked at."""


MAX_JSON = 16 * 2**20
"""Most bytes of a JSON text beside its pictures."""
STEPS = 16
"""Windows of a text that are looked through at a turn: some milliseconds' work."""

Lend = Callable[[int], Awaitable[Callable[[], None]]]
"""How memory is asked for, and given back."""


class Body:
    """Hold a decoded body; ``strict`` says that numbers must be numbers, as in JSON."""

    def __init__(
        self,
        fields: dict[str, Any],
        *,
        strict: bool,
        uploads: Sequence[Upload] = (),
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.fields = fields
        self.strict = strict
        self.uploads = uploads
        self._give_back = give_back

    def drop(self) -> None:
        """Let go of what it holds: the memory of its fields, and the files nobody kept."""
        self.fields = {}
        for upload in self.uploads:
            upload.drop()
        self._give_back()


async def read_body(
    request: Request[Any, Any, Any], *, folder: Path, max_bytes: int, seconds: float, lend: Lend, turn: asyncio.Lock
) -> Body:
    """
    Read a body of either kind within a size and a time.

    :param turn: held, for moments, by whoever looks a large text through.
    :raises ProblemError: 400 what cannot be read, 408 too slow, 413 too large, 415 another kind, 503 no memory for it.
    """
    headers = request.headers
    if any(each.lower() != "identity" for each in headers.getall("content-encoding", [])):
        raise ProblemError(415, "unsupported_encoding", "Send the body uncompressed, without Content-Encoding.")
    boundary = _boundary(headers.get("content-type", "")[:512])
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > max_bytes):
        raise _too_large(max_bytes)
    pieces = Pieces(request, max_bytes)
    with tempfile.SpooledTemporaryFile(SMALL, dir=str(folder)) as text:
        taken = _Form(folder, text, boundary) if boundary else _Json(folder, text, turn)
        try:
            try:
                async with asyncio.timeout(seconds):
                    await taken.read(pieces)
            except TimeoutError as error:
                raise ProblemError(408, "body_timeout", f"The body did not arrive within {seconds:g} s.") from error
            size = await taken.settle()
            give_back = await lend(size) if size > SMALL else lambda: None
            try:
                fields = taken.decode()
            except BaseException:
                give_back()
                raise
        except BaseException:
            taken.drop()
            raise
    return Body(fields, strict=not boundary, uploads=taken.uploads, give_back=give_back)


@lru_cache(maxsize=64)
def _boundary(content_type: str) -> str:
    """
    Read a Content-Type: a form's boundary, or nothing for JSON.

    :raises ProblemError: 415 for anything else, 400 for a form without a boundary.
    """
    kind, options = parse_options_header(content_type)
    if options.get("charset", "utf-8").lower().replace("_", "-") not in {"utf-8", "utf8", "us-ascii"}:
        raise ProblemError(415, "unsupported_charset", "Send UTF-8.")
    if kind == "application/json":
        return ""
    if kind != "multipart/form-data":
        raise ProblemError(415, "unsupported_media_type", "Send Content-Type: application/json or multipart/form-data.")
    boundary: str = options.get("boundary", "")
    if not 1 <= len(boundary) <= 200:
        raise ProblemError(400, "invalid_form", "The Content-Type names no usable boundary.")
    return boundary


class Pieces:
    """Pass a body on as it comes, until it ends or is too much."""

    def __init__(self, request: Request[Any, Any, Any], max_bytes: int) -> None:
        self._receive = request.receive
        self._max_bytes = max_bytes
        self._seen = 0
        self._more = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Begin, or go on."""
        return self

    async def __anext__(self) -> bytes:
        """
        Wait for the next piece.

        :raises ProblemError: 400 where it breaks off, 413 where it is too much.
        """
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ProblemError(400, "invalid_request", "The body broke off.")
            chunk, self._more = message["body"], message["more_body"]
            self._seen += len(chunk)
            if self._seen > self._max_bytes:
                raise _too_large(self._max_bytes)
            if chunk:
                return chunk
        raise StopAsyncIteration


def decode_object(raw: bytes, place: Callable[[int], int] = int) -> dict[str, Any]:
    """
    Decode one JSON object.

    :param place: says of a place in ``raw`` where that stood in the body.
    :raises ProblemError: 400 when it is anything else, 422 for a NUL in a text or a number beyond bounds.
    """
    check_crowd(raw)
    try:
        fields = msgspec.json.decode(raw)
    except msgspec.ValidationError as error:  # Good JSON, for numbers nobody can hold.
        raise invalid(None, "A number in the body is too large.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = re.sub(r"(?<=\(byte )\d+", lambda found: str(place(int(found[0]))), str(error))
        reason = "it holds a lone surrogate or bytes that are not UTF-8" if _bad_text(raw, error) else said
        raise ProblemError(400, "invalid_json", f"The body is not valid JSON: {reason}.") from error
    except RecursionError as error:
        raise ProblemError(400, "invalid_json", f"The body nests deeper than {DEPTH} levels.") from error
    if not isinstance(fields, dict):
        raise ProblemError(400, "invalid_json", "The body must be a JSON object.")
    check_depth(fields)
    if b"\\u0000" in raw:
        refuse_nul(fields)
    return fields


def refuse_nul(value: Any, param: str = "") -> None:
    """
    Refuse U+0000, which databases disagree about.

    :raises ProblemError: 422 naming the field.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise invalid(param or None, "Remove the NUL character (U+0000).")
    elif isinstance(value, dict):
        for key, each in value.items():
            refuse_nul(key, param)
            refuse_nul(each, param or str(key))
    elif isinstance(value, list):
        for each in value:
            refuse_nul(each, param)


def check_crowd(raw: bytes) -> None:
    """
    Refuse a JSON text of more values than any call needs, before they take a hundred times its size.

    :raises ProblemError: 400.
    """
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise ProblemError(400, "invalid_json", f"The body holds more than {MAX_VALUES} values.")


def check_depth(value: Any, depth: int = 1) -> None:
    """
    Refuse nesting nobody needs.

    :raises ProblemError: 400.
    """
    if depth > DEPTH:
        raise ProblemError(400, "invalid_json", f"The body nests deeper than {DEPTH} levels.")
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            check_depth(each, depth + 1)


def _bad_text(raw: bytes, error: Exception) -> bool:
    """Whether text, not syntax, is what cannot be read; msgspec calls both by one name."""
    if isinstance(error, UnicodeDecodeError):
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return re.search(rb"\\u[dD][89a-fA-F]", raw) is not None and "truncated" in str(error)


@contextmanager
def _readable() -> Iterator[None]:
    """Say of a form that cannot be read what is wrong with it."""
    try:
        yield
    except (MultipartError, UnicodeDecodeError, ValueError) as error:
        reason = "a text in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.args[0]
        raise ProblemError(400, "invalid_form", f"The form cannot be read: {reason}.") from error


class _Json:
    """Take JSON: to disk as it comes, and from there its pictures into files of their own."""

    def __init__(self, folder: Path, text: IO[bytes], turn: asyncio.Lock) -> None:
        self._folder = folder
        self._text = text
        self._turn = turn
        self._cutter: Cutter | None = None

    @property
    def uploads(self) -> Sequence[Upload]:
        """The pictures."""
        return self._cutter.uploads if self._cutter else ()

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Take all of it in."""
        async for chunk in chunks:
            self._text.write(chunk)

    async def settle(self) -> int:
        """
        Cut the pictures out, and say how many bytes are left to be decoded.

        :raises ProblemError: 400 or 413 where that is more than any call needs.
        """
        size = self._text.tell()
        if size <= SMALL:
            return size
        self._text.flush()
        self._cutter = Cutter(self._text.fileno(), size, self._folder, most=MAX_JSON)
        at_once = size <= STEPS * WINDOW // 2  # What is done within a turn waits for nobody's.
        await _in_turns(self._cutter.cut(), asyncio.Lock() if at_once else self._turn)
        if self._cutter.crowded:
            raise ProblemError(400, "invalid_json", f"The body holds more than {MOST_PICTURES} pictures.")
        if self._cutter.size > MAX_JSON:
            message = f"The body holds more than {MAX_JSON // 2**20} MB beside its pictures; upload media as files."
            raise ProblemError(413, "too_large", message)
        return self._cutter.size

    def decode(self) -> dict[str, Any]:
        """Read the fields, in them the pictures as files."""
        if self._cutter is None:
            self._text.seek(0)
            return decode_object(self._text.read())
        fields: dict[str, Any] = self._cutter.put_back(decode_object(self._cutter.read(), self._cutter.place))
        return fields

    def drop(self) -> None:
        """Remove the pictures of a body that was refused."""
        for upload in self.uploads:
            upload.drop()


async def _in_turns(steps: Iterator[None], turn: asyncio.Lock) -> None:
    """
    Have steps done that block, some at a turn, so that who has few waits for few of each other's.

    A turn is stayed with to its end: whoever is called off may take away what it works on.
    """
    more = True
    while more:
        async with turn:
            working = asyncio.ensure_future(asyncio.to_thread(lambda: len([*islice(steps, STEPS)]) == STEPS))
            try:
                more = await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait({working})
                raise


class _Form:
    """Sort what the parser finds: texts one after the other into one place, files to disk."""

    def __init__(self, folder: Path, text: IO[bytes], boundary: str) -> None:
        self.uploads: list[Upload] = []
        self._boundary = boundary
        self._entries: list[tuple[str, Upload | slice]] = []
        self._folder = folder
        self._name = ""
        self._text = text
        self._start = 0
        """Where the text begins that is being taken."""
        self._upload: Upload | None = None

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Take a multipart form in."""
        with (
            _readable(),
            PushMultipartParser(
                self._boundary, max_segment_count=MAX_PARTS, max_header_count=16, max_header_size=4096, strict=True
            ) as parser,
        ):
            async for chunk in chunks:
                for part in parser.parse(chunk):
                    self._take(part)
            if not parser.closed:
                parser.close()

    async def settle(self) -> int:
        """Say how many bytes are to be decoded: all of its texts."""
        return self._text.tell()

    def decode(self) -> dict[str, Any]:
        """Read the form's fields, once all of it is there."""
        self._text.seek(0)
        texts = self._text.read()
        with _readable():
            fields = nest([(name, texts[it].decode() if isinstance(it, slice) else it) for name, it in self._entries])
            refuse_nul(fields)
        return fields

    def _take(self, part: "MultipartSegment | bytearray | None") -> None:
        """Take the head of a part, a piece of it, or its end."""
        if isinstance(part, MultipartSegment):
            if part.content_type and part.content_type.startswith("multipart/"):
                raise ValueError("a form within the form")
            self._name, self._start, self._upload = part.name, self._text.tell(), None
            if part.filename is not None:
                self._upload = Upload(self._folder, part.filename)
                self.uploads.append(self._upload)
        elif not part:
            if self._upload:
                self._upload.close()
            self._entries.append((self._name, self._upload or slice(self._start, self._text.tell())))
        elif self._upload:
            self._upload.write(part)
        elif self._text.tell() - self._start + len(part) > MAX_TEXT and first_of(self._name) not in LONG:
            raise ProblemError(413, "too_large", f"Send {self._name[:64]!r} as a file: it is too long a text.")
        else:
            self._text.write(part)

    def drop(self) -> None:
        """Remove the files of a form that was refused."""
        for upload in self.uploads:
            upload.drop()


def _too_large(max_bytes: int) -> ProblemError:
    """Describe a body over the limit."""
    return ProblemError(413, "too_large", f"The body is larger than {max_bytes // 2**20} MB.")
