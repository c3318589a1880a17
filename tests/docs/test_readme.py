"""Laws of the README: what it shows works as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from gateway.cli import app
from providers._task import MAGIC
from providers.base.listing import listings
from tests.server import ROOT, Server, eventually

README = (ROOT / "README.md").read_text()
NODE = ROOT / "tests" / "sdk" / "node"


def example(language: str, containing: str) -> str:
    """Find the one block of a language that holds a word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if containing in block)
    return found


def test_the_curl_example(server: Server, tmp_path: Path) -> None:
    """The first thing a newcomer types answers a video."""
    command = example("sh", "curl").replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=tmp_path)
    video = json.loads(done.stdout)

    assert (video["object"], video["model"], video["seconds"], video["provider"]) == ("video", "sora-2", "4", "sandbox")
    eventually(lambda: server.get(f"/v1/videos/{video['id']}").json()["status"] == "completed")


def test_the_python_example(server: Server, tmp_path: Path) -> None:
    """The Python example leaves a clip."""
    program = example("python", "create_and_poll").replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["completed", "4", "1280x720", "sandbox"]
    assert (tmp_path / "cat.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_node_example(server: Server, tmp_path: Path) -> None:
    """The Node example leaves a clip."""
    if shutil.which("node") is None or not (NODE / "node_modules").exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have Node and its SDK")
        pytest.skip("Node or its SDK is not here: install Node and run make test")
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    program = tmp_path / "example.mjs"
    program.write_text(example("js", "OpenAI").replace("http://127.0.0.1:8080", server.url))
    done = subprocess.run(["node", str(program)], capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["completed", "4", "1280x720"]
    assert (tmp_path / "cat.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_terminal_example(server: Server, tmp_path: Path) -> None:
    """The two commands do what they say."""
    for line in example("sh", "reelgate quote").splitlines():
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *words[1:]],
            env={**os.environ, "REELGATE_URL": server.url},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "cat.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_batch_example(server: Server, tmp_path: Path) -> None:
    """The file is what the command reads: quoted, bought, and three clips where it says; one is followed and shown."""
    batch = example("json", '"prompts"')
    small = batch.replace(
        '"model": "sora-2", "seconds": 4', '"model": "sandbox/demo", "seconds": 1, "resolution": "360p"'
    )
    assert batch != small  # as it stands but for what takes long to render
    (tmp_path / "prompts.json").write_text(small)
    for name, colour in (("stage", "gold"), ("dark", "black")):
        Image.new("RGB", (640, 360), colour).save(tmp_path / f"{name}.png")
    commands = [
        *example("sh", "reelgate batch").splitlines(),
        *example("sh", "reelgate watch").splitlines(),
    ]
    video = ""
    for line in commands:
        words = line.partition("#")[0].replace("video_...", video).split()
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *words[1:]],
            env={**os.environ, "REELGATE_URL": server.url, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        if words[1] == "batch" and "--dry-run" not in words:
            (video,) = re.findall(r"bow\.mp4  (video_\w+)", done.stdout)
    assert {"01-a-calico-cat-playing-a-piano-on-stage.mp4", "bow.mp4", "03-the-curtain-falls.mp4"} == {
        path.name for path in (tmp_path / "prompts").iterdir()
    }
    assert (tmp_path / f"{video}.mp4").read_bytes() == (tmp_path / "prompts" / "bow.mp4").read_bytes()


def test_the_account_example(tmp_path: Path) -> None:
    """An account as it is shown needs its seller's key, and nothing else; what is missing is said."""
    (tmp_path / "config.toml").write_text(example("toml", "[accounts."))
    bare, equipped = Server(tmp_path), Server(tmp_path, GEMINI_API_KEY="a-key")

    lacking = bare.cli("check", check=False)
    assert (1, True) == (lacking.returncode, "GEMINI_API_KEY" in lacking.stdout + lacking.stderr)
    assert "GEMINI_API_KEY" not in equipped.cli("check").stdout


def test_how_far_it_is_said_to_be() -> None:
    """The version is this one, the changelog has no release, and as many sellers are counted as there are listings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"version {project['version']}, unreleased" in README
    assert ["Unreleased"] == re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    sellers = sum(not each.sandbox for each in listings().values())
    assert f"{('no', 'one', 'two', 'three', 'four', 'five', 'six')[sellers]} sellers below" in README


def test_the_sandbox_sells_what_is_said() -> None:
    """A newcomer who takes a Google model from the table of prices gets a clip without a key."""
    table = README.partition("<!-- table: prices -->")[2].partition("<!-- end of table -->")[0]
    named = set(re.findall(r"^\| `(google/[^`]+)`", table, re.MULTILINE))

    assert named
    assert named <= {offer.model for offer in listings()["sandbox"].offers}


def test_magic_words_are_all_told() -> None:
    """Every word the sandbox listens to is in the README, and none else."""
    section = README.partition("## Try your own error handling")[2].partition("\n## ")[0]

    assert set(re.findall(r"`\[(\w+)[^\]]*\]`", section)) == set(MAGIC)


def test_commands_named_exist() -> None:
    """Every ``make`` target and ``reelgate`` command the README names is there."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake (demo|serve|test|check|setup|bench)\b", README)):
        assert f"\n{target}:" in makefile
    assert set(re.findall(r"`reelgate ([\w-]+)", README)) - set(app) == set()
