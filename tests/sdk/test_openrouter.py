"""OpenRouter's SDK and the Vercel AI SDK, unmodified, against the real gateway on a real socket."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROOT, Server

NODE = ROOT / "tests" / "sdk" / "node"
CLIP = ["ftyp", True]


def bad(field: str) -> list[Any]:
    """What a wrong field is called."""
    return ["BadRequestResponseError", 400, 400, field]


PROMISES: dict[str, Any] = {
    "made": {
        "ordered": ["pending", True],
        "ended": ["completed", 1, {"cost": 0, "isByok": True}],
        "bare": [200, CLIP],
        "content": CLIP,
    },
    "badly": ["failed", "the prompt asks to fail", None],
    "models": {
        "supportedDurations": [4, 6, 8],
        "supportedResolutions": ["720p", "1080p"],
        "supportedFrameImages": ["first_frame", "last_frame"],
        "pricingSkus": {"sandbox_per_video": "0"},
    },
    "refused": {
        "length": bad("duration"),
        "size": bad("size"),
        "model": ["NotFoundResponseError", 404, 404, "model"],
        "creativity": bad("creativity"),
        "key": ["UnauthorizedResponseError", 401, 401, None],
        "job": ["NotFoundResponseError", 404, 404, "id"],
    },
    "vercel": [1, CLIP, "video/mp4", []],
    "pictured": CLIP,
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[str, Any]:
    """Run every flow once against a gateway that the world reaches by name, and read what it found."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "@openrouter" / "sdk").exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have Node and its SDKs: make test installs them where npm is")
        pytest.skip("Node or its SDKs are not here: install Node and run make test")
    server = Server(tmp_path_factory.mktemp("named"))
    server.module = "tests.hasty"
    url = f"http://video.gateway.test:{server.port}"
    server.environ["REELGATE__SERVER__PUBLIC_URL"] = url
    key = server.create_key("--name", "app")
    server.start()
    try:
        words = ["node", str(NODE / "openrouter.mjs"), url, key, str(folder / "first.png")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    finally:
        server.stop()
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_flow_finds_what_is_promised(facts: dict[str, Any]) -> None:
    """What an app does with either SDK ends as OpenRouter would end it, in OpenRouter's words."""
    assert PROMISES == facts


def test_the_sdks_are_locked() -> None:
    """Every package under test is pinned, and by hash."""
    lock = json.loads((NODE / "package-lock.json").read_text())["packages"]

    for name in ("@openrouter/sdk", "@openrouter/ai-sdk-provider", "ai"):
        assert lock[f"node_modules/{name}"]["integrity"].startswith("sha512-")
