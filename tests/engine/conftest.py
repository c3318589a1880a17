"""Every law of the engine holds on both databases."""

from collections.abc import Iterator

import pytest

from gateway.store.database import Kind
from tests import databases


@pytest.fixture(autouse=True, scope="module", params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Put every store a module makes on one kind of database, then on the other; other folders are none of it."""
    with databases.using(request.param):
        yield request.param
