"""Laws of what is foretold: a place in line moves up, and what was observed is known again after a restart."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api import outlook
from tests.outside import gateway, world
from tests.server import Server, eventually

SMALL = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p"}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Server]:
    """A gateway whose one account makes one clip at a time."""
    server = Server(
        tmp_path, REELGATE__ACCOUNTS__SANDBOX__PROVIDER="sandbox", REELGATE__ACCOUNTS__SANDBOX__MAX_RUNNING="1"
    )
    server.module = "tests.hasty"
    server.start()
    yield server
    server.stop()


def order(server: Server, prompt: str) -> Any:
    return server.post("/v1/videos", {**SMALL, "prompt": prompt}).json()


def seen(server: Server, id_: str) -> Any:
    return server.get(f"/v1/videos/{id_}").json()


def expected(server: Server) -> Any:
    """Read how long the offer is said to take."""
    offers = server.get("/v1/offers").json()["data"]
    return next(each["expected_seconds"] for each in offers if each["id"] == "sandbox:sandbox/demo")


def test_what_is_foretold(narrow: Server) -> None:
    """Places are told, move up without the job moving, and are part of what a client knows it by; then the seconds."""
    first, *waiting = [order(narrow, f"[slow 1] clip {number}")["id"] for number in range(5)]
    ids = [first, *waiting]
    eventually(lambda: [1, 2, 3, 4] == sorted(seen(narrow, id_)["queue_position"] or 0 for id_ in waiting))
    last = httpx.get(f"{narrow.api}/videos/{waiting[-1]}", trust_env=False)
    known = {"if-none-match": last.headers["etag"]}

    asked: list[httpx.Response] = []

    def changed() -> bool:
        asked.append(httpx.get(f"{narrow.api}/videos/{waiting[-1]}", headers=known, trust_env=False))
        return asked[-1].status_code == 200

    assert (last.json()["queue_position"], last.json()["eta_seconds"]) == (4, None)
    eventually(changed)
    assert asked[-1].json()["queue_position"] in {1, 2, 3}
    eventually(lambda: all(seen(narrow, id_)["status"] == "completed" for id_ in ids))
    assert [None] * 5 == [seen(narrow, id_)["queue_position"] for id_ in ids]

    before = expected(narrow)
    narrow.stop()
    narrow.start()
    eventually(lambda: expected(narrow) == before)
    behind = [order(narrow, f"[slow 1] behind {number}")["id"] for number in range(3)]
    eventually(lambda: seen(narrow, behind[-1])["queue_position"])
    one, *_, more = [seen(narrow, id_)["eta_seconds"] for id_ in behind]
    assert (one or 0) < more


async def test_who_comes_near_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place too far back to be told is news once it is near, though the job has not moved."""
    narrow = {"sandbox": {"provider": "sandbox", "max_running": 1}}
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), accounts=narrow, worker={"enabled": True}) as client:
            ids = [
                (await client.post("/v1/videos", json={**SMALL, "prompt": f"[stuck] {number}"})).json()["id"]
                for number in range(3)
            ]

            async def read(id_: str, **headers: str) -> httpx.Response:
                return await client.get(f"/v1/videos/{id_}", headers=headers)

            async def places() -> list[int | None]:
                return [(await read(id_)).json()["queue_position"] for id_ in ids]

            async with asyncio.timeout(20):
                while [None, 1, 2] != await places():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            monkeypatch.setattr(outlook, "MOST_AHEAD", 1)
            far = {"if-none-match": (await read(ids[2])).headers["etag"]}
            await client.post(f"/v1/videos/{ids[1]}/cancel")
            async with asyncio.timeout(20):
                while [None, None, 1] != await places():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            near = await client.get(f"/v1/videos/{ids[2]}", headers=far)
    assert (200, 1) == (near.status_code, near.json()["queue_position"])
