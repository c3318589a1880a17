"""Google's SDK, unmodified: the last 2.x (Veo on the Developer API) and the newest (Vertex, Omni by interactions)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROOT, Server

FLOWS = Path(__file__).with_name("genai_flows.py")
OLD = ROOT / ".venv-genai2" / "bin" / "python"

CLIP = ["ftyp", True]
FORBIDDEN = "the content policy forbids the result"
FAILED = "the prompt asks to fail"


def bad(field: str) -> list[Any]:
    """What a wrong field is called."""
    return [400, "INVALID_ARGUMENT", field]


VEO: dict[str, Any] = {
    "veo": {"ordered": [None, True], "ended": [True, None, True], "clip": CLIP, "saved": CLIP},
    "veo_media": {"image": 1, "frames": True, "references": 1, "extended": 1},
    "veo_ends_badly": {"filtered": [1, [FORBIDDEN], None], "failed": {"code": 13, "message": FAILED}},
    "veo_refused": {
        "length": bad("parameters.durationSeconds"),
        "resolution": bad("parameters.resolution"),
        "count": bad("parameters.sampleCount"),
        "model": [404, "NOT_FOUND", "model"],
        "key": [401, "UNAUTHENTICATED", None],
        "operation": [404, "NOT_FOUND", "name"],
        "file": [403, "PERMISSION_DENIED", None],
    },
}
BOTH: dict[str, Any] = {
    "listed": [True, True, "google/veo-3.1-fast", [404, "NOT_FOUND", None]],
    "files": {
        "uploaded": ["image/png", "ACTIVE", "UPLOADED"],
        "size": True,
        "hash": True,
        "two days": 48,
        "pieces": [True, "A long one"],
        "listed": [True, False],
        "got": True,
        "clip": ["video/mp4", "GENERATED"],
        "refused": {
            "text": bad("file"),
            "key": [401, "UNAUTHENTICATED", None],
            "name": bad("file.name"),
            "deleted": [403, "PERMISSION_DENIED", None],
            "deleted clip": [403, "PERMISSION_DENIED", None],
        },
    },
    "vertex": {
        "name": "projects/p/locations/us-central1/publishers/google/models/veo-3.1-generate-001",
        "clip": [*CLIP, "video/mp4"],
        "filtered": [1, None],
        "failed": {"code": 13, "message": FAILED},
        "bucket": bad("parameters.storageUri"),
        "silent": ["not refused"],
        "rate": bad("parameters.fps"),
    },
}
OMNI: dict[str, Any] = {
    "omni": {
        "ordered": ["in_progress", "gemini-omni-1.1-flash", True],
        "ended": ["completed", CLIP],
        "edited": ["completed", True, CLIP],
    },
    "omni_media": dict.fromkeys(["image", "frames", "references", "unsaid"], "completed"),
    "omni_streamed": {
        "made": ["interaction.created", "step.start", "step.delta", "step.stop", "interaction.completed"],
        "failed": ["interaction.created", "error", "interaction.completed"],
        "resumed": [True] * 5,
    },
    "omni_ends_badly": {
        "failed": ["failed", ["generation_failed", FAILED]],
        "refused": ["failed", ["content_policy_violation", FORBIDDEN]],
        "cancelled": "cancelled",
        "deleted": [404, "NOT_FOUND", "id"],
    },
    "omni_refused": {
        "length": bad("response_format.duration"),
        "tools": bad("tools"),
        "key": [401, "UNAUTHENTICATED", None],
        "id": [404, "NOT_FOUND", "id"],
    },
}
PROMISES = {"2": {**VEO, **BOTH}, "3": {**BOTH, **OMNI}}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Start a gateway that asks for a key, and make one."""
    server = Server(tmp_path_factory.mktemp("guarded"))
    server.module = "tests.hasty"
    key = server.create_key("--name", "app")
    server.start()
    yield server, key
    assert server.running(), server.log.read_text()
    server.stop()


@pytest.fixture(scope="module", params=["2", "3"])
def said(request: pytest.FixtureRequest, guarded: tuple[Server, str], folder: Path) -> tuple[str, dict[str, Any]]:
    """Run every flow of one major version once, and read what it found."""
    python = str(OLD) if request.param == "2" else sys.executable
    assert Path(python).exists(), "the environment with google-genai 2.x is missing: run make test, which makes it"
    server, key = guarded
    words = [python, "-W", "ignore", str(FLOWS), server.url, key, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
    assert 0 == done.returncode, done.stderr
    return request.param, json.loads(done.stdout)


def test_the_sdk_is_the_one_meant(said: tuple[str, dict[str, Any]]) -> None:
    """The environments really hold different majors."""
    assert said[0] == said[1]["version"].partition(".")[0]


def test_every_flow_finds_what_is_promised(said: tuple[str, dict[str, Any]]) -> None:
    """What an app does with the SDK ends as Google's API would end it, in Google's words."""
    major, found = said

    assert PROMISES[major] == found["facts"]
