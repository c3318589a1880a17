"""What the surface tests share: a gateway that asks for a key, pictures, and a client that sends it."""

import base64
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest
from PIL import Image

from tests.server import Server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """One gateway that knows a key, shared by tests that only add to it."""
    shared = Server(tmp_path_factory.mktemp("surfaces"))
    key = shared.create_key("--name", "surfaces")
    shared.start()
    yield shared, key
    assert shared.running(), shared.log.read_text()
    shared.stop()


@pytest.fixture(scope="session")
def api(guarded: tuple[Server, str]) -> Iterator[httpx.Client]:
    """A client with a key."""
    headers = {"authorization": f"Bearer {guarded[1]}"}
    with httpx.Client(base_url=guarded[0].url, headers=headers, trust_env=False, timeout=50) as client:
        yield client


def picture(colour: str = "teal") -> bytes:
    """Draw a picture."""
    out = BytesIO()
    Image.new("RGB", (640, 360), colour).save(out, "PNG")
    return out.getvalue()


def as_url(data: bytes) -> str:
    """Write a picture as an address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
