"""What every test stands on: no network but loopback, nothing of the environment, one real gateway to share."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests import databases
from tests.server import Server

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def _alone() -> Iterator[None]:
    """Refuse every connection that leaves this machine, and forget the environment's settings."""
    patch = pytest.MonkeyPatch()
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            msg = f"a test tried to reach {address[0]}"
            raise AssertionError(msg)
        connect(self, address)

    patch.setattr(socket.socket, "connect", guarded)
    for name in list(os.environ):
        if name.startswith("REELGATE"):
            patch.delenv(name)
    yield
    patch.undo()
    databases.clear()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One open gateway on its embedded default, shared by tests that only add to it."""
    shared = Server(tmp_path_factory.mktemp("server")).start()
    yield shared
    assert shared.running(), shared.log.read_text()
    shared.stop()
