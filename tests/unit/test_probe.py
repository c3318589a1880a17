"""Laws of measuring: what a file really is, and no stranger's bytes open another file."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from gateway.clips.probe import draw, is_short, last_picture, probe
from tests.scripted import clip


def test_a_clip_is_measured(tmp_path: Path) -> None:
    """Codec, size, length, rate and sound are the file's own."""
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(2, (320, 180)))

    assert probe(str(path)) == {
        "codec": "h264", "width": 320, "height": 180, "fps": 2.0, "duration_seconds": 2.0, "has_audio": True,
        "audio_codec": "aac",
    }  # fmt: skip


@pytest.mark.parametrize("head", ["", "ffconcat version 1.0\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"])
def test_a_playlist_is_no_clip(tmp_path: Path, head: str) -> None:
    """A text that names other files, here or on a network, is refused unread, whatever its name."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clip(2, (320, 180)))
    for line in (str(secret), f"file {secret}", "http://127.0.0.1:9/a.mp4"):
        path = tmp_path / "list.mp4"
        path.write_text(f"{head}{line}\n")
        for read in (probe, lambda name: draw(name, str(tmp_path / "t"), str(tmp_path / "s"), str(tmp_path / "l"))):
            with pytest.raises(ValueError, match="not a clip"):
                read(str(path))


@pytest.mark.parametrize("keep", [0, 11, 40, 400, 2000])
def test_a_torn_clip_is_no_clip(tmp_path: Path, keep: int) -> None:
    """Half a file is an error of the file, not of the process."""
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(2, (320, 180))[:keep])
    with pytest.raises(ValueError, match=r"not a clip|no pictures"):
        probe(str(path))


def striped(path: Path, *, group: int, reordered: int, size: tuple[int, int] = (64, 48)) -> None:
    """Render a clip whose every picture has another shade, in groups of so many, with pictures out of order."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"g": str(group), "bf": str(reordered), "qp": "0"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (number * 10, 0, 0)))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


@pytest.mark.parametrize("group", [1, 4, 24, 250])
@pytest.mark.parametrize("reordered", [0, 3])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_the_last_picture_is_the_last(tmp_path: Path, group: int, reordered: int, suffix: str) -> None:
    """However its pictures are grouped and ordered, it is what the clip ends with."""
    path = tmp_path / f"a.{suffix}"
    striped(path, group=group, reordered=reordered)
    with av.open(str(path)) as container:
        *_, ending = container.decode(video=0)
    found = last_picture(str(path))
    assert found is not None
    assert ending.to_image().tobytes() == found.tobytes()
    assert 220 <= found.getpixel((5, 5))[0]  # type: ignore[index]


def test_half_a_clip_is_known_by_its_boxes(tmp_path: Path) -> None:
    """A clip whose index comes first looks whole to a reader, wherever it was cut; its boxes say otherwise."""
    whole, path = clip(2, (320, 180)), tmp_path / "a.mp4"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        at, ends = 0, []
        while at < len(whole):
            at += int.from_bytes(whole[at : at + 4])
            ends.append(at)
        # Less than a box's head is left over by some writers, and proves nothing.
        inside = all(not 0 <= size - end < 8 for end in [0, *ends])
        assert inside is is_short(str(path)), size
    path.write_bytes(whole)
    assert not is_short(str(path))
    path.write_bytes(whole + b"\0" * 500)
    assert not is_short(str(path))


def test_a_full_disk_is_not_the_clips_fault(tmp_path: Path) -> None:
    """A drawing that finds no room is told from a clip that cannot be drawn."""
    path = tmp_path / "a.mp4"
    path.write_bytes(clip(2, (320, 180)))
    with pytest.raises(OSError, match="No space left"):
        draw(str(path), "/dev/full", "/dev/full", "/dev/full")
