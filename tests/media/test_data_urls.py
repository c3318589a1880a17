"""Laws of pictures that come inside a body: they are what their text says, and are never held whole again."""

import base64
import random
import tracemalloc
from pathlib import Path

import pytest

from gateway.clips.inputs import PIECE, InputError, read_data_url
from gateway.clips.media import Media
from tests.scripted import Engine

HEAD = "data:image/png;base64,"
SIZES = (0, 1, 2, 3, PIECE * 3 // 4 - 1, PIECE * 3 // 4, PIECE * 3 // 4 + 1, PIECE * 3 // 2 + 5)
AT_ONCE = 4 * PIECE
"""What may be held of it at a time: some pieces."""


@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_the_whole(size: int) -> None:
    """Wherever it is cut."""
    data = random.Random(size).randbytes(size)
    assert b"".join(read_data_url(HEAD + base64.b64encode(data).decode())) == data


@pytest.mark.parametrize(
    "body",
    ["A", "AA=A", "A" * (PIECE - 2) + "==AAAA", "A" * PIECE + "AA", "A" * PIECE + "\n", "A" * (PIECE - 1) + "é"],
)
def test_what_is_no_base64_is_refused_wherever_it_shows(body: str) -> None:
    """An end in the middle, too, and where a piece ends."""
    with pytest.raises(InputError, match="not base64"):
        list(read_data_url(HEAD + body))


@pytest.mark.parametrize("url", ["data:image/png;base64", "data:" + "a" * 300 + ";base64,AAAA", "data:image/png,AAAA"])
def test_what_is_no_data_url_is_refused(url: str) -> None:
    """At once."""
    with pytest.raises(InputError, match="data:<type>;base64,<data>"):
        read_data_url(url)


@pytest.fixture
def media(tmp_path: Path) -> Media:
    engine = Engine(tmp_path)
    engine.close()
    return engine.media


async def test_a_large_picture_is_not_held_again(media: Media) -> None:
    """What is kept of it goes to disk as it is unpacked."""
    url = HEAD + "A" * (24 * PIECE)
    tracemalloc.start()
    try:
        _, size, path = await media.keep_bytes(read_data_url(url))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == path.stat().st_size == 18 * PIECE
    assert most < AT_ONCE


async def test_nothing_stays_of_one_that_breaks_off(media: Media) -> None:
    """Not even the pieces that were good."""
    with pytest.raises(InputError):
        await media.keep_bytes(read_data_url(HEAD + "A" * PIECE + "!"))
    assert list(media.incoming.iterdir()) == []
