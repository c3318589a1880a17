"""
The laws of a shelf, on Azure Blob Storage as Azurite speaks it, Microsoft's own emulator.

It comes by npm, 457 packages of 365 MB, so it is nobody's dependency: where it is installed it is asked.
"""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from secrets import token_hex

import httpx
import pytest

from gateway.clips.bucket import Bucket
from gateway.clips.shelf import Shelf
from tests.databases import free_port
from tests.media.test_shelf import (
    LABEL,
    test_a_copy_outlives_what_it_was_made_of,  # noqa: F401 - collected here
    test_a_folder_is_walked_and_removed,  # noqa: F401
    test_answers_hold_what_is_kept,  # noqa: F401
    test_it_can_be_proven,  # noqa: F401
    test_many_take_it_up_at_once,  # noqa: F401
    test_what_is_lent_is_a_file_for_a_while,  # noqa: F401
    test_what_is_not_there_is_gone,  # noqa: F401
    test_what_is_old_alone_is_removed,  # noqa: F401
    test_what_is_put_is_read,  # noqa: F401
    test_what_is_put_there_as_it_is_removed_is_found,  # noqa: F401
)
from tests.server import eventually

AZURITE = shutil.which("azurite-blob")
HOW = "no azurite-blob on the PATH: npm install --global azurite@3.37.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere: https://learn.microsoft.com/azure/storage/common/storage-use-azurite."""

pytestmark = pytest.mark.skipif(AZURITE is None, reason=HOW)


@pytest.fixture(autouse=True, scope="module")
def shelf_kind() -> str:
    """None of the shelves other modules are held to."""
    return "azure"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One emulator, in memory."""
    port = free_port()
    words = [
        "--blobPort",
        str(port),
        "--inMemoryPersistence",
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    with subprocess.Popen([str(AZURITE), *words], stdout=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        eventually(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None
        yield url
        process.terminate()


def _answers(url: str) -> bool:
    """Whether anybody answers, whatever it is."""
    try:
        return bool(httpx.get(url, trust_env=False).status_code)
    except httpx.TransportError:
        return False


def make(endpoint: str, container: str) -> None:
    """
    Make a container.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key says how that is signed.
    """
    said = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in said.items())]
    text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/{container}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    headers = {**said, "authorization": f"SharedKey {ACCOUNT}:{signature}"}
    made = httpx.put(f"{endpoint}/{container}?restype=container", headers=headers, trust_env=False)
    assert made.status_code == 201, made.text


@pytest.fixture
def shelf(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A container of its own for each law."""
    scratch, container = tmp_path / "media" / "incoming", f"laws{token_hex(4)}"
    scratch.mkdir(parents=True)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    make(endpoint, container)
    return Bucket(f"az://{container}/some/prefix", scratch, endpoint=endpoint)


async def test_an_address_is_signed(shelf: Shelf, tmp_path: Path) -> None:
    """Anybody can fetch one object by it, a range of it too, under the name it was given; no other."""
    data = os.urandom(100_000)
    for name in ("0.mp4", "1.mp4"):
        source = tmp_path / name
        source.write_bytes(data)
        await shelf.put(source, f"clips/ab/j/{name}", LABEL)
    address = await shelf.address("clips/ab/j/0.mp4")
    assert address is not None
    async with httpx.AsyncClient(trust_env=False) as stranger:
        whole = await stranger.get(address)
        part = await stranger.get(address, headers={"range": "bytes=10-19"})
        other = await stranger.get(address.replace("0.mp4", "1.mp4"))
    assert (200, data, "video/mp4") == (whole.status_code, whole.content, whole.headers["content-type"])
    assert 'attachment; filename="a.mp4"' == whole.headers["content-disposition"]
    assert (206, data[10:20]) == (part.status_code, part.content)
    assert 403 == other.status_code
