"""Laws of half a download: it is one writer's, it is known for what it is, and nobody's is swept."""

import os
from pathlib import Path

from gateway.clips.media import Media
from gateway.clips.parts import Mark, forget, take, touched

MARK = Mark("https://a.test/clip", '"tag"', 10)


def files(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_what_came_is_gone_on_with(tmp_path: Path) -> None:
    """By whoever takes it next, for the same address alone."""
    part = take(tmp_path, "a-0")
    part.restart(MARK)
    part.write(b"12345")
    part.close()
    again = take(tmp_path, "a-0")
    assert {"range": "bytes=5-", "if-range": '"tag"'} == again.rest(MARK.source)
    assert {} == again.rest("https://a.test/other")
    again.write(b"67890")
    assert b"1234567890" == again.head(100)
    again.close(drop=True)
    assert set() == files(tmp_path)


def test_bytes_nobody_can_name_are_forgotten(tmp_path: Path) -> None:
    """Without a mark, with half of one, or with nothing to ask the host for, a part is begun anew."""
    for mark in (None, b"", b'{"source":', b"[]"):
        (tmp_path / "a-0.part").write_bytes(b"12345")
        (tmp_path / "a-0.mark").unlink(missing_ok=True)
        if mark is not None:
            (tmp_path / "a-0.mark").write_bytes(mark)
        part = take(tmp_path, "a-0")
        assert (0, {}) == (part.size, part.rest(MARK.source))
        part.close()
    unnamed = take(tmp_path, "a-0")
    unnamed.restart(Mark(MARK.source, "", 10))
    unnamed.write(b"12345")
    assert {} == unnamed.rest(MARK.source)
    unnamed.close(drop=True)


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """The second begins beside the first, and leaves nothing that nobody would know of."""
    first = take(tmp_path, "a-0")
    first.restart(MARK)
    first.write(b"first")
    second = take(tmp_path, "a-0")
    assert first.path != second.path
    second.restart(MARK)
    second.write(b"second")
    second.close()
    first.close()
    assert {"a-0.part", "a-0.mark"} == files(tmp_path)
    assert b"first" == (tmp_path / "a-0.part").read_bytes()


def test_what_is_being_written_is_not_forgotten(tmp_path: Path) -> None:
    """A job's end leaves nothing, save what a late worker still holds; its own end does that."""
    held, left, other = take(tmp_path, "a-0"), take(tmp_path, "a-1"), take(tmp_path, "b-0")
    for each in (held, left, other):
        each.restart(MARK)
        each.write(b"1")
    left.close()
    other.close()
    forget(tmp_path, "a")
    assert {"a-0.part", "a-0.mark", "b-0.part", "b-0.mark"} == files(tmp_path)
    held.close(drop=True)


def test_a_mark_is_as_old_as_its_part(tmp_path: Path) -> None:
    """A long download's old mark is nobody's litter."""
    part = take(tmp_path, "long")
    part.restart(MARK)
    part.close()
    os.utime(tmp_path / "long.mark", (0, 0))
    os.utime(tmp_path / "long.part", (5, 5))
    (tmp_path / "lone.mark").write_bytes(b"")
    os.utime(tmp_path / "lone.mark", (1, 1))

    assert [touched(tmp_path / name) for name in ("long.mark", "long.part", "lone.mark")] == [5, 5, 1]


def test_what_was_begun_beside_another_outlives_its_process(tmp_path: Path) -> None:
    """For an hour at most: nobody goes on with it, so the next process that is alone removes it at once."""
    media = Media(tmp_path, None, max_clip_bytes=1)
    media.open()
    both = [take(media.incoming, "video-0"), take(media.incoming, "video-0")]
    names = files(media.incoming)
    media.open()
    assert names == files(media.incoming)  # They are being written.
    for part in both:
        os.close(part._file)
    media.open(alone=False)
    assert names == files(media.incoming)
    media.open()
    assert {"video-0.part"} == files(media.incoming)
