"""What every test stands on: no network but loopback, nothing of the environment, one real gateway to share."""

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import certifi
import pytest
from hypothesis import settings

from tests import databases
from tests.market import Market, trading
from tests.server import Server

# A law is not a stopwatch.
settings.register_profile("law", deadline=None)
settings.load_profile("law")

# Whoever starts us in the background has us deaf to Ctrl-C, and what we start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = ("127.", "::1", "localhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let real clips be bought, where somebody asks for it (``tests/live``)."""
    parser.addoption("--live", action="store_true", help="order one smallest real clip at each seller: costs money")
    parser.addoption("--spend", default="0.50", metavar="USD", help="the most --live may spend, in dollars")
    parser.addoption("--plan", default="pro", metavar="NAME", help="the plan --live has at sellers with plans")


def pytest_configure() -> None:
    """Keep what tests write in memory, where there is room: they wait for the disk thousands of times."""
    if memory := databases.memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


LONG = (
    "tests/crash/", "tests/machine/", "tests/many/", "tests/sdk/", "tests/surfaces/test_both_ways",
    "tests/surfaces/test_relayed", "tests/cli/test_batch", "tests/cli/test_new_provider", "tests/engine/test_steps",
    "tests/events/test_webhooks",
)  # fmt: skip
"""Whose files take longest, each for itself."""
LATE = ("tests/abuse/test_slow",)
"""Whose files look at the end of what began with the tests beside them: half a minute later at the earliest."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Begin with the longest files, so that no worker sits alone over one at the end; else in the order drawn.

    What waits for the end of something comes last: then it is over.
    """
    items.sort(key=lambda item: item.nodeid.startswith(LATE) - item.nodeid.startswith(LONG))


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


@pytest.fixture(autouse=True, scope="session")
def _trusting() -> Iterator[None]:
    """Read whom the world trusts once: each client of httpx does anew, which takes longer than a call on loopback."""
    patch = pytest.MonkeyPatch()
    read = ssl.create_default_context
    worldwide = cache(lambda: read(cafile=certifi.where()))

    def create(*words: Any, **named: Any) -> ssl.SSLContext:
        return worldwide() if not words and named == {"cafile": certifi.where()} else read(*words, **named)

    patch.setattr(ssl, "create_default_context", create)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One open gateway on its embedded default, in haste, shared by tests that only add to it."""
    shared = Server(tmp_path_factory.mktemp("server"))
    shared.module = "tests.hasty"
    shared.start()
    yield shared
    assert shared.running(), shared.log.read_text()
    shared.stop()


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """One gateway with an account at every seller, shared by tests that only ask."""
    with trading(tmp_path_factory.mktemp("market")) as shared:
        yield shared
