"""Laws of a shelf, whichever it is: whole or not at all, by key, until it is removed."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import obstore
import pytest

from gateway.clips.folder import Folder
from gateway.clips.shelf import GoneError, Label, Shelf
from gateway.jobs.wish import Rendition
from gateway.surfaces.google import Inline
from tests.objects import shelf_in

LABEL = Label("video/mp4", "a.mp4")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "media" / "incoming").mkdir(parents=True)
    return shelf_in(tmp_path) or Folder(tmp_path / "media")


def file_of(folder: Path, data: bytes) -> Path:
    """Write a file that is to be kept."""
    path = folder / "media" / "incoming" / os.urandom(4).hex()
    path.write_bytes(data)
    return path


async def read(shelf: Shelf, key: str, start: int = 0, length: int = 2**40) -> bytes:
    return b"".join([piece async for piece in shelf.read(key, start, length)])


async def test_what_is_put_is_read(shelf: Shelf, tmp_path: Path) -> None:
    """In whole and in part; the file it came in is gone, and putting it anew replaces it."""
    data = os.urandom(5 * 2**20)
    source = file_of(tmp_path, data)
    await shelf.put(source, "clips/ab/j/0.mp4", LABEL)
    found = await shelf.find("clips/ab/j/0.mp4")

    assert not source.exists()
    assert found is not None
    assert len(data) == found.size
    assert data == await read(shelf, "clips/ab/j/0.mp4", 0, len(data))
    assert data[7:4_000_000] == await read(shelf, "clips/ab/j/0.mp4", 7, 3_999_993)
    assert b"" == await read(shelf, "clips/ab/j/0.mp4", 7, 0)
    await shelf.put(file_of(tmp_path, b"other"), "clips/ab/j/0.mp4", LABEL)
    assert b"other" == await read(shelf, "clips/ab/j/0.mp4", 0, 5)


async def test_what_is_not_there_is_gone(shelf: Shelf) -> None:
    """Nobody finds, reads, lends or copies it; to remove it is no error."""
    assert await shelf.find("inputs/aa/none") is None
    assert [] == [each async for each in shelf.walk("inputs")]
    with pytest.raises(GoneError):
        await read(shelf, "inputs/aa/none")
    with pytest.raises(GoneError):
        async with shelf.lend("inputs/aa/none"):
            pass
    with pytest.raises(GoneError):
        await shelf.copy("inputs/aa/none", "inputs/bb/some")
    await shelf.remove(["inputs/aa/none", "inputs/aa/nobody"])


async def test_a_folder_is_walked_and_removed(shelf: Shelf, tmp_path: Path) -> None:
    """What lies below a folder is listed, nothing beside it; what is removed is gone, and the rest stays."""
    keys = {"clips/ab/j/0.mp4", "clips/ab/j/0.webp", "clips/ab/jj/0.mp4", "inputs/ab/x"}
    for key in keys:
        await shelf.put(file_of(tmp_path, key.encode()), key, LABEL)

    assert {"clips/ab/j/0.mp4", "clips/ab/j/0.webp"} == {each.key async for each in shelf.walk("clips/ab/j")}
    assert keys == {each.key for top in ("clips", "inputs") for each in [one async for one in shelf.walk(top)]}
    await shelf.remove(["clips/ab/j/0.mp4", "clips/ab/j/0.webp"])
    assert ["clips/ab/jj/0.mp4"] == [each.key async for each in shelf.walk("clips")]
    assert b"inputs/ab/x" == await read(shelf, "inputs/ab/x", 0, 11)


async def test_a_copy_outlives_what_it_was_made_of(shelf: Shelf, tmp_path: Path) -> None:
    """And it is as young as its making, so that nobody takes it for litter."""
    await shelf.put(file_of(tmp_path, b"clip"), "clips/ab/j/0.mp4", LABEL)
    before = await shelf.find("clips/ab/j/0.mp4")
    for _ in range(2):
        await shelf.copy("clips/ab/j/0.mp4", "inputs/cc/x")
    await shelf.remove(["clips/ab/j/0.mp4"])
    after = await shelf.find("inputs/cc/x")

    assert before is not None
    assert after is not None
    assert after.modified >= before.modified
    assert b"clip" == await read(shelf, "inputs/cc/x", 0, 4)


async def test_what_is_old_alone_is_removed(shelf: Shelf, tmp_path: Path) -> None:
    """What was put there since a time stays, and so does what is copied onto itself."""
    key = "inputs/cc/x"
    await shelf.put(file_of(tmp_path, b"picture"), key, LABEL)
    found = await shelf.find(key)
    assert found is not None
    assert not await shelf.remove_old(key, found.modified - 1)
    await shelf.copy(key, key)
    assert [key] == [each.key async for each in shelf.walk("inputs")]
    assert b"picture" == await read(shelf, key, 0, 7)
    assert await shelf.remove_old(key, found.modified + 3_600_000)
    assert not await shelf.remove_old(key, found.modified + 3_600_000)
    for aside in [each.key async for each in shelf.walk("aside")]:
        assert await shelf.remove_old(aside, found.modified + 3_600_000)
    assert [] == [each async for each in shelf.walk("")]
    assert await shelf.find(key) is None


async def test_what_is_put_there_as_it_is_removed_is_found(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the removal somebody brings the same bytes: all who ask find them, as young as that."""
    key, rename, delete = "inputs/cc/x", Path.rename, obstore.delete_async
    await shelf.put(file_of(tmp_path, b"picture"), key, LABEL)
    found = await shelf.find(key)
    assert found is not None
    anew = file_of(tmp_path, b"picture")

    def raced_in_folder(path: Path, target: Path) -> Path:
        if anew.exists():
            os.utime(rename(anew, path), (found.modified / 1000 + 60,) * 2)
        return rename(path, target)

    async def raced_in_bucket(*args: Any) -> None:
        if anew.exists():
            await shelf.put(anew, key, LABEL)
        await delete(*args)

    monkeypatch.setattr(Path, "rename", raced_in_folder)
    monkeypatch.setattr(obstore, "delete_async", raced_in_bucket)
    await shelf.remove_old(key, found.modified)
    assert not anew.exists()

    after = await shelf.find(key)
    assert after is not None
    assert b"picture" == await read(shelf, after.key, 0, after.size)
    assert after.modified >= found.modified
    assert b"picture" == await read(shelf, key, 0, 7)
    async with shelf.lend(key) as path:
        assert b"picture" == path.read_bytes()
    await shelf.copy(key, "inputs/dd/y")
    await shelf.copy(key, key)
    await shelf.remove([each.key async for each in shelf.walk("aside")])
    assert {key, "inputs/dd/y"} == {each.key async for each in shelf.walk("")}


async def test_many_take_it_up_at_once(shelf: Shelf, tmp_path: Path) -> None:
    """Each copies it onto itself, and none is told that it is gone."""
    await shelf.put(file_of(tmp_path, b"picture"), "inputs/cc/x", LABEL)
    await asyncio.gather(*(shelf.copy("inputs/cc/x", "inputs/cc/x") for _ in range(8)))
    assert ["inputs/cc/x"] == [each.key async for each in shelf.walk("")]


async def test_what_is_lent_is_a_file_for_a_while(shelf: Shelf, tmp_path: Path) -> None:
    """It has the bytes that are kept; afterwards nothing is left of it but those."""
    await shelf.put(file_of(tmp_path, b"picture"), "inputs/cc/x", Label("image/png"))
    async with shelf.lend("inputs/cc/x") as path:
        assert b"picture" == path.read_bytes()

    assert [] == list((tmp_path / "media" / "incoming").iterdir())
    assert b"picture" == await read(shelf, "inputs/cc/x", 0, 7)


async def test_it_can_be_proven(shelf: Shelf) -> None:
    """What is kept to prove that it can be leaves no trace."""
    await shelf.ping()
    await shelf.prove()

    assert [] == [each async for each in shelf.walk("")]


async def test_answers_hold_what_is_kept(shelf: Shelf, tmp_path: Path) -> None:
    """A JSON answer with clips in it is as long as it says, and each is whole, whatever pieces it is read in."""
    inline, texts = Inline(shelf), []
    for number, size in enumerate((2**21 + 1, 1, 3 * 2**18)):
        data = os.urandom(size)
        await shelf.put(file_of(tmp_path, data), f"clips/ab/j/{number}.mp4", LABEL)
        clip = Rendition(
            index=number, kind="video", path=f"clips/ab/j/{number}.mp4", content_type="video/mp4", bytes=size, sha256=""
        )
        texts.append((inline.put(clip), base64.b64encode(data)))
    body = b"[" + b",".join(mark.encode() for mark, _ in texts) + b"]"
    written = b"".join([piece async for piece in inline.pieces(body)])

    assert b"[" + b",".join(text for _, text in texts) + b"]" == written
    assert len(written) == inline.length(body)
