"""One guarded server for all bad input, and something of every kind to aim at."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.abuse.table import read
from tests.abuse.target import Target
from tests.abuse.wire import open_to


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A finished clip, one that never ends, and another tenant's clip and file; at the end nothing is left."""
    target = Target(tmp_path_factory.mktemp("abuse"), tenants=2)
    names = target.names
    names["done"] = target.order("a red fox")
    names["busy"] = target.order("a red fox [stuck]")
    names["stranger"] = target.order("another's fox [stuck]", key="other")
    names["strange_file"] = target.upload(read().contents["png"].encode("latin-1"), key="other")
    assert "completed" == target.wait(names["done"])["status"]
    yield target
    for name, key in (("done", "own"), ("busy", "own"), ("stranger", "other")):
        target.remove(names[name], key=key)
    videos, files, _ = target.holdings()
    assert (set(), set()) == (videos, files)
    assert [] == list((target.server.folder / "media" / "incoming").iterdir())
    target.check_log()
    target.stop()


@pytest.fixture(scope="session", autouse=True)
def slow_head(target: Target) -> Iterator[tuple[socket.socket, float]]:
    """A connection whose head does not end, opened early so that its end is not waited for; and since when."""
    with open_to(target.server.port) as connection:
        connection.sendall(b"GET /v1/videos HTTP/1.1\r\nHost: x\r\nX-A:")
        yield connection, time.monotonic()
