"""What the SDK tests share: a folder with a picture in it, and a wire that loses answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.sdk.lossy import lossy
from tests.server import Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for one app's files; ``first.png`` lies in it."""
    made = tmp_path_factory.mktemp("app")
    Image.linear_gradient("L").resize((640, 360)).convert("RGB").save(made / "first.png")
    return made


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[str]:
    """Open a wire to the gateway that loses the answer of every first try."""
    with lossy(server.port) as url:
        yield url
