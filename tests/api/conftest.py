"""What a client sees is the same on both databases."""

from collections.abc import Iterator

import pytest

from gateway.store.database import Kind
from tests import databases
from tests.server import Server


@pytest.fixture(autouse=True, scope="module", params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Put every gateway a module starts on one kind of database, then on the other; other folders are none of it."""
    with databases.using(request.param):
        yield request.param


@pytest.fixture(scope="module")
def server(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One open gateway on each kind of database, shared by a module's tests, which only add to it."""
    shared = Server(tmp_path_factory.mktemp(kind)).start()
    yield shared
    assert shared.running(), shared.log.read_text()
    shared.stop()
