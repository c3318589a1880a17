"""Laws of admission: what is too much is turned away at once, and nothing that brings work to its end."""

import asyncio
import time

import pytest

from gateway.door.admission import LATE_SECONDS, SPREAD, SWEPT, TICK_SECONDS, YOUNG_SECONDS, Admission
from gateway.telemetry import Metrics


def admission(most: int) -> Admission:
    return Admission(most, Metrics().lateness)


async def came(gate: Admission, now: float = 0.0) -> int:
    """Ask once; says in how many seconds to come again, 0 for who was let in, and stays."""
    _, wait = await gate.enter(now or time.perf_counter())
    return wait


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/videos"), ("GET", "/v1/videos/video_1"), ("DELETE", "/v1/videos/video_1"), ("HEAD", "/v1/videos"),
        ("GET", "/health/ready"), ("GET", "/metrics"), ("OPTIONS", "/v1/videos"), ("POST", "/v1/videos/video_1/cancel"),
        ("POST", "/videos/video_1/cancel"), ("POST", "/hooks/gemini/token"), ("POST", "/google/fetch"),
    ],
)  # fmt: skip
def test_work_already_taken_comes_to_its_end(method: str, path: str) -> None:
    """Looks, clips, cancels and callbacks are nobody's new work."""
    assert not Admission.concerns(method, path)


@pytest.mark.parametrize(
    "path", ["/v1/videos", "/videos", "/v1/videos/edits", "/v1/quotes", "/v1/files", "/google/predict"]
)
def test_new_work_is(path: str) -> None:
    """In whatever words it is asked for."""
    assert Admission.concerns("POST", path)


async def test_so_many_at_a_time() -> None:
    """Whoever finds no room waits for a moment, and is then told to come back, at different times."""
    gate = admission(3)
    assert [await came(gate) for _ in range(3)] == [0, 0, 0]
    waits = await asyncio.gather(*(came(gate) for _ in range(2 * SPREAD)))

    assert waits == 2 * [*range(1, SPREAD + 1)]
    assert (len(gate._begun), len(gate._waiting), gate._coming) == (3, 0, 0)


async def test_who_leaves_makes_room_for_who_came_last() -> None:
    """It has the most time left to wait; nobody is let in twice for one place."""
    gate = admission(2)
    (first, _), _ = [await gate.enter(time.perf_counter()) for _ in range(2)]
    waiting = [asyncio.create_task(came(gate)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave(first)

    waits = await asyncio.gather(*waiting)
    assert waits[2] == 0
    assert 0 not in waits[:2]
    assert len(gate._begun) == 2


async def test_who_hangs_up_while_it_waits_takes_no_place() -> None:
    """Its place is the next one's."""
    gate = admission(1)
    number, _ = await gate.enter(time.perf_counter())
    stays, goes = (asyncio.create_task(came(gate)) for _ in range(2))
    await asyncio.sleep(0)
    goes.cancel()
    await asyncio.sleep(0)
    gate.leave(number)

    assert await stays == 0
    goes = asyncio.create_task(came(gate))
    await asyncio.sleep(0)
    gate.leave(next(iter(gate._begun)))
    goes.cancel()  # When it has been called in, and has not come yet.
    await asyncio.sleep(0)
    assert (gate._coming, len(gate._begun)) == (0, 0)


async def test_few_are_sent_away_at_a_time() -> None:
    """To say no to a crowd takes no more than a share of the time, however large it is."""
    gate = admission(1)
    await came(gate)
    crowd = [asyncio.create_task(came(gate, time.perf_counter() - 1)) for _ in range(3 * SWEPT)]
    await asyncio.sleep(0)
    gate._sweep()

    assert len(gate._waiting) == 2 * SWEPT
    assert gate._sweeping is not None
    assert all(wait > 0 for wait in await asyncio.gather(*crowd))


async def test_who_is_slow_for_reasons_of_its_own_keeps_nobody_out() -> None:
    """A body that trickles in, pictures to fetch, a clip to be held for: after a second they count no more."""
    gate = admission(3)
    slow = [(await gate.enter(10.0))[0] for _ in range(3)]

    assert not gate.has_room(10.0 + YOUNG_SECONDS)
    assert await came(gate, 10.1 + YOUNG_SECONDS) == 0
    for each in slow:
        gate.leave(each)
    assert len(gate._begun) == 1


async def test_a_loop_that_is_late_takes_less() -> None:
    """A quarter of the usual is enough then; as soon as it has caught up it takes the rest."""
    gate = admission(8)
    timing = asyncio.create_task(gate.keep_time())
    assert [await came(gate, 1.0) for _ in range(2)] == [0, 0]
    await asyncio.sleep(0)
    time.sleep(TICK_SECONDS + LATE_SECONDS + 0.05)  # noqa: ASYNC251 - this is what keeps it busy
    await asyncio.sleep(0.001)
    assert await came(gate, 1.0) == 0
    assert not gate.has_room(1.0)
    async with asyncio.timeout(20):
        while not gate.has_room(1.0):  # noqa: ASYNC110 - time has to pass
            await asyncio.sleep(TICK_SECONDS)
    timing.cancel()
