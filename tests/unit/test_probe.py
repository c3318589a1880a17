"""Laws of measuring: what a file really is, and no stranger's bytes open another file."""

from pathlib import Path

import pytest

from gateway.probe import draw, probe
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
