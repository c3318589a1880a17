"""The OpenAI SDK most apps still have (2.x), in an environment of its own, against the same gateway."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.flows import FLOWS
from tests.sdk.promises import PYTHON
from tests.server import ROOT, Server

INTERPRETER = ROOT / ".venv-openai2" / "bin" / "python"


@pytest.fixture(scope="module")
def said(server: Server, wire: str, folder: Path) -> dict[str, Any]:
    """Run every flow once under that SDK, and read what it found."""
    assert INTERPRETER.exists(), "the environment with openai 2.x is missing: run make test, which makes it"
    flows = Path(__file__).with_name("flows.py")
    words = [str(INTERPRETER), str(flows), server.api, wire, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_other_sdk_is_a_2(said: dict[str, Any]) -> None:
    """The environments really hold different majors."""
    assert "2" == said["version"].partition(".")[0]


@pytest.mark.parametrize("flow", [flow.__name__ for flow in FLOWS])
def test_every_flow_finds_the_same(said: dict[str, Any], flow: str) -> None:
    """What the newest SDK is promised, the older one is too."""
    assert PYTHON[flow] == said["facts"][flow]
