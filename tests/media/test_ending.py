"""A process that has asked an object store ends as it means to: it is not aborted by a call that was just answered."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gcs import google

LAST = """
import asyncio, sys
from pathlib import Path
from gateway.clips.bucket import Bucket

assert asyncio.run(Bucket("gs://ending", Path("."), endpoint=sys.argv[1]).find("none")) is None
"""
TIMES = 12


@pytest.fixture(autouse=True, scope="module")
def shelf_kind() -> str:
    """None of the shelves other modules are held to."""
    return "google"


def test_the_last_call_may_be_a_store_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve at once, on a machine that is busy with them, without a moment's wait some are aborted, mostly."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google().credentials(tmp_path / "account.json")))
    started = [subprocess.Popen([sys.executable, "-c", LAST, google().endpoint]) for _ in range(TIMES)]
    assert [0] * TIMES == [each.wait() for each in started]
