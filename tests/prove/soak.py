"""A long day: whether the memory, the open files and the waiting of a gateway grow with its jobs."""

import asyncio
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any

import httpx
from msgspec import Struct

from tests.crash.arena import KINDS, Arena, arena
from tests.prove.part import Figures, Part, broken

RATE = 8
"""Clips ordered a second."""
AT_ONCE = 64
"""Clients' calls on their way at a time."""
LOOK_SECONDS = 1.0
"""How often a client asks for its clip."""
SAMPLE_SECONDS = 5.0
SETTLED = 1 / 3
"""The share of the time after which memory is looked at: until then caches fill."""


class Sample(Struct, frozen=True):
    """Hold how a gateway stood at a moment."""

    hours: float
    rss_mb: float
    files: int


class Day:
    """Clients that order clips of one gateway, wait for them, and fetch them."""

    def __init__(self, here: Arena, http: httpx.AsyncClient) -> None:
        self._here = here
        self._http = http
        self._ordered = 0
        self.ended = 0
        self.samples: list[Sample] = []
        self.waits: list[float] = []
        """Seconds each order waited to be accepted, in their order."""

    async def live(self) -> None:
        """Order a clip, ask for it until it is there, and fetch it."""
        self._ordered += 1
        body = {
            "model": "maker/one", "prompt": f"a day {self._ordered}", "seconds": 4,
            "provider": {"only": [f"seller{KINDS[self._ordered % len(KINDS)]}"]},
        }  # fmt: skip
        began = time.perf_counter()
        told = await self._http.post("/videos", json=body)
        self.waits.append(time.perf_counter() - began)
        assert told.status_code == 200, told.text
        path = f"/videos/{told.json()['id']}"
        while (told := await self._http.get(path)).json()["status"] not in {"completed", "failed"}:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)  # As clients do.
        assert told.json()["status"] == "completed", told.text
        clip = await self._http.get(f"{path}/content")
        assert clip.content == (self._here.folder / "clip.mp4").read_bytes()
        self.ended += 1

    async def go_on(self, seconds: float) -> None:
        """
        Order for so long, and wait for all of it.

        :raises AssertionError: somebody did not get a clip.
        """
        began = time.perf_counter()
        asked, sampled = 0, began
        try:
            async with asyncio.TaskGroup() as lives:
                while (now := time.perf_counter()) < began + seconds:
                    for _ in range(int((now - began) * RATE) - asked):
                        asked += 1
                        lives.create_task(self.live())
                    if now >= sampled:
                        sampled = now + SAMPLE_SECONDS
                        self.samples.append(look(self._here.server.pid, (now - began) / 3600))
                    await asyncio.sleep(0.02)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None


def look(pid: int, hours: float) -> Sample:
    """Read from the system what a process holds."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (rss,) = (int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return Sample(hours, rss / 1024, len([*Path(f"/proc/{pid}/fd").iterdir()]))


def soak(minutes: range) -> Figures:
    """Let one gateway work for so long."""
    try:
        with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=600) as here:
            here.start()
            return {"days": [asyncio.run(_live(here, 60 * len(minutes)))]}
    except AssertionError as error:
        return broken(f"from minute {minutes.start}", error)


async def _live(here: Arena, seconds: float) -> Figures:
    limits = httpx.Limits(max_connections=AT_ONCE)
    headers = {"authorization": f"Bearer {here.key}"}
    async with httpx.AsyncClient(
        base_url=here.server.api, headers=headers, limits=limits, trust_env=False, timeout=60
    ) as http:
        day = Day(here, http)
        await day.go_on(seconds)
    return summed(day.samples, day.waits, day.ended)


def summed(samples: Iterable[Sample], waits: list[float], jobs: int) -> Figures:
    """
    Say how a day went, its beginning left out, in which caches fill.

    >>> day = summed([Sample(hour, 100 + 2 * hour, 40) for hour in range(7)], [0.1] * 600, 600)
    >>> day["mb_an_hour"], day["mb_a_thousand_jobs"], day["files_more"], day["p99_times"]
    (2.0, 20.0, 0, 1.0)
    """
    every = [*samples]
    late = [each for each in every if each.hours >= SETTLED * every[-1].hours]
    slope = linear_regression([each.hours for each in late], [each.rss_mb for each in late]).slope
    half = len(late) // 2
    third = len(waits) // 3
    return {
        "hours": round(every[-1].hours, 2),
        "jobs": jobs,
        "rss_mb": round(mean(each.rss_mb for each in late), 1),
        "mb_an_hour": round(slope, 2),
        "mb_a_thousand_jobs": round(1000 * slope * every[-1].hours / jobs, 3),
        "files_more": round(mean(each.files for each in late[half:]) - mean(each.files for each in late[:half])),
        "p99_ms": round(1000 * _p99(waits[third:]), 1),
        "p99_times": round(_p99(waits[2 * third :]) / _p99(waits[third : 2 * third]), 2),
    }


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _says(seen: Mapping[str, Any]) -> str:
    told = (
        f"{day['hours']:g} h, {day['jobs']:,} jobs: {day['rss_mb']:g} MB resident, {day['mb_an_hour']:+g} MB an hour "
        f"({day['mb_a_thousand_jobs']:+g} a thousand jobs), {day['files_more']:+d} open files; p99 of accepting "
        f"{day['p99_ms']:g} ms, in the last third {day['p99_times']:g} times that of the one before"
        for day in seen.get("days", ())
    )
    return "; ".join(told) or "no day came to its end"


PARTS = {
    "soak": Part(
        what=f"one gateway on SQLite, {RATE} orders a second: looked at, kept, fetched by who ordered them",
        units="minutes", most=480, stretch=480, run=soak, says=_says,
    ),
}  # fmt: skip
