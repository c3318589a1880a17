"""Laws of the list of files, which apps read one page of and take for all there are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.api.files import AT_ONCE
from gateway.ids import new_id
from gateway.store.database import connect
from gateway.store.registry import File
from gateway.store.store import Store
from tests.outside import gateway, world

MANY = 3 * AT_ONCE + 1


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose one tenant has many files."""
    database = connect(f"sqlite:///{tmp_path}/reelgate.db", {})
    database.open()
    store = Store(database, lambda: 0)
    more = ("a.png", "vision", "image/png", "ab", 5, 1, 1, 0, 0.0, None)
    await asyncio.gather(*(store.add_file(File(new_id("file", 1), "local", *more)) for _ in range(MANY)))
    database.close()
    with world() as outside:
        async with gateway(tmp_path, outside.outbound()) as client:
            yield client


async def test_a_list_of_files_is_of_all(client: httpx.AsyncClient) -> None:
    """Who says nothing gets every file, once, and others have their turns meanwhile; who pages, gets the same."""
    turns = 0

    async def live() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    living = asyncio.create_task(live())
    await asyncio.sleep(0)
    begun, whole = turns, (await client.get("/v1/files")).json()
    during = turns - begun
    living.cancel()
    ids = [each["id"] for each in whole["data"]]
    assert (MANY, False) == (len(set(ids)), whole["has_more"])
    assert ids == sorted(ids, reverse=True)
    assert (ids[0], ids[-1]) == (whole["first_id"], whole["last_id"])
    assert MANY // AT_ONCE <= during

    first = (await client.get(f"/v1/files?order=asc&limit={AT_ONCE}")).json()
    rest = (await client.get(f"/v1/files?order=asc&limit=10000&after={first['last_id']}")).json()
    assert (True, False) == (first["has_more"], rest["has_more"])
    assert ids[::-1] == [each["id"] for each in first["data"] + rest["data"]]
    none = (await client.get(f"/v1/files?after={ids[-1]}")).json()
    assert ([], None, None, False) == (none["data"], none["first_id"], none["last_id"], none["has_more"])
