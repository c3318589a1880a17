"""Laws of server-sent events: what is written is read, however it is cut, and a line ends where the format says."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.events.sse import read_events, write_event

STREAM = 'retry: 5\n\n: hello\n\nid: 1\ndata: {"a":\ndata:"\u00e9\u2028\u0085"}\n\nid: 2\ndata: {}\n\nid: 3\ndata: {'
"""Comments, retries, several lines of data; what was cut off is no event."""


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Bring bytes in pieces."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_events_are_read_as_they_are_written(end: str, size: int) -> None:
    """Wherever the bytes are cut, within a character or a line's end too; U+2028 and its like end no line."""
    chunks = cut(STREAM.replace("\n", end).encode(), size)
    found = [(number, json.loads(said)) async for number, said in read_events(chunks)]
    assert [("1", {"a": "\u00e9\u2028\u0085"}), ("2", {})] == found


async def test_an_event_comes_with_its_last_line() -> None:
    """It waits for nothing after the CR that ends it."""

    async def told() -> AsyncIterator[bytes]:
        yield b"data: 1\r\r"
        pytest.fail("it waited")

    assert ("", "1") == await anext(read_events(told()))


@pytest.mark.parametrize("data", [{"a": "b\u0085c\u2028d\u2029e"}, "\\u2028 \u2028", ["\r\n", "\x1c\x85"]])
async def test_an_event_is_read_back_from_lines_cut_anyhow(data: Any) -> None:
    """Many clients cut at whatever Unicode calls a line's end: nothing of that is left in what is written."""
    written = write_event(data, kind="k", number=7)
    assert ["id: 7", "event: k", 3] == [*written.decode().splitlines()[:2], len(written.decode().splitlines()) - 1]
    assert [("7", data)] == [(number, json.loads(said)) async for number, said in read_events(cut(written, 5))]
