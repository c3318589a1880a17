"""What is kept is kept alike on every shelf: in a folder, and in an object store that speaks S3."""

from collections.abc import Iterator

import pytest

from tests import objects
from tests.server import Server


@pytest.fixture(autouse=True, scope="module", params=objects.KINDS)
def shelf_kind(request: pytest.FixtureRequest) -> Iterator[objects.Kind]:
    """Put what a module keeps on one kind of shelf, then on the other; other folders are none of it."""
    with objects.using(request.param):
        yield request.param


@pytest.fixture(scope="module")
def server(shelf_kind: objects.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One open gateway on each kind of shelf, shared by a module's tests."""
    shared = Server(tmp_path_factory.mktemp(shelf_kind)).start()
    yield shared
    assert shared.running(), shared.log.read_text()
    shared.stop()
