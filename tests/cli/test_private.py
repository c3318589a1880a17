"""Laws of who on the machine can read what the gateway keeps."""

from pathlib import Path

import pytest

from tests.server import Server


@pytest.mark.parametrize(("sendfile", "others"), [("", 0o077), ("x-accel:/clips/", 0o027)])
def test_what_is_kept_is_private(tmp_path: Path, sendfile: str, others: int) -> None:
    """Database, clips and folders are the gateway's alone, or its group's to read where an nginx sends the clips."""
    server = Server(tmp_path, REELGATE__SERVER__SENDFILE=sendfile)
    server.environ["REELGATE_API_KEY"] = server.create_key("--name", "mine")
    server.start()
    try:
        server.cli("generate", "a letter", "--model", "sandbox/demo", "--seconds", "1", "--out", "mine.mp4")
        own = {server.log, tmp_path / "mine.mp4"}
        modes = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    finally:
        server.stop()
    kept = {path: mode for path, mode in modes.items() if path not in own}
    clips = {mode & 0o040 for path, mode in kept.items() if path.is_relative_to(tmp_path / "media" / "clips")}
    assert {} == {path: oct(mode) for path, mode in kept.items() if mode & others}
    assert clips == {0o040 & ~others}
    assert len({modes[path] & 0o044 for path in own}) == 1, "what a person asks for is as the person's files are"
