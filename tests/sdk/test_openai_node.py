"""The OpenAI SDK for Node, unmodified, against the real gateway on a real socket."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.promises import ENDED, bad, conflict, unfit, unknown
from tests.server import ROOT, Server

NODE = ROOT / "tests" / "sdk" / "node"
PICTURE = ["first_frame", "image/png", 640, 360]

PROMISES: dict[str, Any] = {
    "made": {"missing": [], **ENDED, "error": None, "poll after is whole": True, "request id": True},
    "listed": {"mine, newest first": True, "twice": 0, "both ways the same": True},
    "downloaded": {
        "video": ["video/mp4", True],
        "thumbnail": ["image/webp", True],
        "spritesheet": ["image/jpeg", True],
    },
    "deleted": {"answer": ["video.deleted", True, True], "retrieve": unknown("video_not_found", "id")},
    "unfinished": {"content": conflict("video_not_ready"), "cancelled": ["failed", "cancelled"]},
    "failed": ["failed", "generation_failed"],
    "remixed": {"of": True, **ENDED},
    "edited": {"id": {"of": True, **ENDED}, "stream": {"of": False, **ENDED}},
    "extended": {**ENDED, "seconds": "2"},
    "referenced": {name: [PICTURE] for name in ("stream", "file", "image_url", "file_id")},
    "objects": {"form": 2, "json": 2, "mixed": bad("invalid_form")},
    "superset": [7, False, {"shot": "12a"}, ["sandbox"]],
    "sold": [],
    "refused": {
        "no picture": unfit("input_reference", "unsupported_image"),
        "address": unfit("input_reference.image_url", "url_not_allowed"),
        "empty prompt": unfit("prompt"),
        "unknown field": bad("unknown_parameter", "colour"),
        "unknown model": unknown("model_not_found", "model"),
        "not sold": unfit("seconds", "no_offer"),
        "unknown video": unknown("video_not_found", "id"),
    },
    "lost": {"tries": ["0", "1"], "jobs": [True]},
}


@pytest.fixture(scope="module")
def said(server: Server, wire: str, folder: Path) -> dict[str, Any]:
    """Run every flow once, and read what it found."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "openai").exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have Node and its SDK: make test installs the SDK where npm is")
        pytest.skip("Node or its SDK is not here: install Node and run make test")
    words = ["node", str(NODE / "flows.mjs"), server.api, wire, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_sdk_is_the_one_locked(said: dict[str, Any]) -> None:
    """The version under test is the lock file's."""
    lock = json.loads((NODE / "package-lock.json").read_text())

    assert lock["packages"]["node_modules/openai"]["version"] == said["version"]
    assert lock["packages"]["node_modules/openai"]["integrity"].startswith("sha512-")


def test_every_flow_has_a_promise(said: dict[str, Any]) -> None:
    """No flow runs without something to hold it to."""
    assert sorted(PROMISES) == sorted(said["facts"])


@pytest.mark.parametrize("flow", PROMISES)
def test_every_flow_finds_what_is_promised(said: dict[str, Any], flow: str) -> None:
    """What an app does with the SDK ends as OpenAI's contract and our README say."""
    assert PROMISES[flow] == said["facts"][flow]


def test_what_is_downloaded_is_what_it_says(said: dict[str, Any], folder: Path) -> None:
    """The bytes are an MP4, a WebP and a JPEG."""
    assert said["facts"]["downloaded"]
    assert b"ftyp" == (folder / "node-video").read_bytes()[4:8]
    assert b"WEBP" == (folder / "node-thumbnail").read_bytes()[8:12]
    assert b"\xff\xd8\xff" == (folder / "node-spritesheet").read_bytes()[:3]
