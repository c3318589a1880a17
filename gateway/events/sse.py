"""
Write and read server-sent events; pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

import msgspec

ENDS = {"\u0085": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}
"""What is no line's end here and is one to many a client, which would cut the JSON in two: as JSON escapes it."""


def write_event(data: Any, *, kind: str = "", number: int | None = None) -> bytes:
    r"""
    Write one event that carries JSON.

    >>> write_event({"prompt": "a\u2028b"}, kind="video.progress", number=1)
    b'id: 1\nevent: video.progress\ndata: {"prompt":"a\\u2028b"}\n\n'
    """
    said = msgspec.json.encode(data)
    for each, escaped in ENDS.items():
        said = said.replace(each.encode(), escaped)
    named = b"" if number is None else b"id: %d\n" % number
    kinds = b"event: %s\n" % kind.encode() if kind else b""
    return b"%s%sdata: %s\n\n" % (named, kinds, said)


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[tuple[str, str], None]:
    """Read events as they come, however they are cut: each one's id and what it carries. What is cut off is none."""
    number, data = "", list[str]()
    async for line in _lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            number = value
        elif name == "data":
            data.append(value)
        elif not line and data:
            yield number, "\n".join(data)
            data = []


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Cut a stream at CR, LF and CRLF, and nowhere else."""
    decoder, rest, returned = codecs.getincrementaldecoder("utf-8-sig")("replace"), "", False
    async for chunk in chunks:
        text = decoder.decode(chunk)
        if not text:
            continue
        if returned:  # The line ended at the CR already.
            text = text.removeprefix("\n")
        returned = text.endswith("\r")
        *lines, rest = re.split(r"\r\n|\r|\n", rest + text)
        for line in lines:
            yield line
