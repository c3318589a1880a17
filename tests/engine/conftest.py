"""Every law of the engine holds on both databases."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.store.database import Kind
from providers.base.listing import Listing
from tests import databases
from tests.scripted import Engine, clip


@pytest.fixture(autouse=True, scope="module", params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Put every store a module makes on one kind of database, then on the other; other folders are none of it."""
    with databases.using(request.param):
        yield request.param


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Engine]]:
    """Build engines of listings that are closed whatever comes."""
    made: list[Engine] = []

    def build(*sold: Listing, **options: object) -> Engine:
        made.append(Engine(tmp_path, *sold, **options))  # type: ignore[arg-type]
        made[-1].wire.default = clip(8, (64, 36))
        return made[-1]

    yield build
    for each in made:
        each.close()
