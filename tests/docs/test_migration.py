"""Laws of the migration guide: every snippet leaves a clip."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT, Server

GUIDE = (ROOT / "docs" / "migration.md").read_text()
SNIPPETS = re.findall(r"^```(python|sh|js)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
RUNNERS = {"python": [sys.executable, "-W", "ignore"], "sh": ["bash", "-eu"], "js": [shutil.which("node") or ""]}
MODULES = ROOT / "tests" / "sdk" / "node" / "node_modules"
SUFFIXES = {"python": "py", "sh": "sh", "js": "mjs"}


@pytest.mark.parametrize(
    ("language", "snippet"), SNIPPETS, ids=[re.sub(r"\W+", "-", snippet[:60]).strip("-") for _, snippet in SNIPPETS]
)
def test_a_snippet_leaves_a_clip(server: Server, tmp_path: Path, language: str, snippet: str) -> None:
    """Run as it stands, but for where the gateway listens."""
    if not RUNNERS[language][0]:
        pytest.skip("Node is not here")
    if "from '@" in snippet:
        if not (MODULES / "@openrouter").exists():
            pytest.skip("the SDK for Node is not here: make test installs it where npm is")
        (tmp_path / "node_modules").symlink_to(MODULES)
    program = tmp_path / f"snippet.{SUFFIXES[language]}"
    program.write_text(snippet.replace("http://127.0.0.1:8080", server.url))
    done = subprocess.run([*RUNNERS[language], str(program)], capture_output=True, text=True, cwd=tmp_path, timeout=58)

    assert done.returncode == 0, done.stderr
    (clip,) = tmp_path.glob("*.mp4")
    assert clip.read_bytes()[4:8] == b"ftyp"


def test_every_base_url_is_served() -> None:
    """The guide names each address that a dialect is answered at."""
    assert {"python", "sh", "js"} == {language for language, _ in SNIPPETS}
    for path in ("/v1", "/api/v1", "/v1/google-flow"):
        assert f"`http://127.0.0.1:8080{path}`" in GUIDE
