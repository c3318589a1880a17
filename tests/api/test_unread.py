"""Law of an older gateway beside a newer one: what it cannot read it says so of, and of nothing else."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.outside import gateway, world

ORDER = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}


def write(folder: Path, job: str) -> None:
    """Let a job ask for what a later version will make, behind the gateway's back."""
    (store,) = folder.rglob("*.db")
    with closing(sqlite3.connect(store, timeout=20)) as file, file:
        file.execute(
            """UPDATE jobs SET wish = replace(wish, '"request":{', '"request":{"mode":"morph",') WHERE id = ?""", (job,)
        )


async def test_a_video_only_a_newer_gateway_reads_is_told_of(tmp_path: Path) -> None:
    """It is a matter of whom to ask, so of coming again: nobody here is at fault."""
    with world() as outside:
        async with gateway(tmp_path, outside.outbound()) as client:
            newer, other = [(await client.post("/v1/videos", json=ORDER)).json()["id"] for _ in range(2)]
            write(tmp_path, newer)
            answers = [
                await client.get(f"/v1/videos/{newer}"),
                await client.get("/v1/videos"),
                await client.post(f"/v1/videos/{newer}/cancel"),
            ]
            assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(503, "version_newer")}
            assert all("retry-after" in each.headers for each in answers)
            assert (await client.get(f"/v1/videos/{other}")).status_code == 200
