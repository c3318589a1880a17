"""Laws of admission: what is too much is turned away at once, and nothing that brings work to its end."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.door.admission import (
    LATE_SECONDS,
    NOBODY,
    SPREAD,
    SWEPT,
    TICK_SECONDS,
    YOUNG_SECONDS,
    Admission,
    asker,
)
from gateway.door.keys import new_secret
from gateway.telemetry import Metrics


def admission(most: int) -> Admission:
    return Admission(most, Metrics().lateness)


async def came(gate: Admission, now: float = 0.0, who: int = NOBODY) -> int:
    """Ask once; says in how many seconds to come again, 0 for who was let in, and stays."""
    _, wait = await gate.enter(now or time.perf_counter(), who)
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


FLOOD, OTHER, THIRD = 1, 2, 3


async def test_a_flood_by_one_key_keeps_no_other_out() -> None:
    """Who has less than its share finds room beside a full house, a quarter more of it; alone, a key has it all."""
    gate = admission(8)
    assert [await came(gate, 1.0, FLOOD) for _ in range(8)] == [0] * 8
    assert not gate.has_room(1.0, FLOOD)
    assert [await came(gate, 1.0, who) for who in (OTHER, THIRD)] == [0, 0]
    assert not any(gate.has_room(1.0, who) for who in (FLOOD, OTHER, THIRD))


@pytest.mark.parametrize("most", [1, 4])
async def test_a_place_goes_to_who_has_less_than_its_share_first(most: int) -> None:
    """Whoever came before or after it; the key that floods is sent away before."""
    gate = admission(most)
    numbers = [(await gate.enter(time.perf_counter(), FLOOD))[0] for _ in range(most)]
    for _ in range(most // 4):
        assert await came(gate, who=OTHER) == 0
    early = [asyncio.create_task(came(gate, who=FLOOD)) for _ in range(2)]
    await asyncio.sleep(0)
    modest = asyncio.create_task(came(gate, who=THIRD))
    await asyncio.sleep(0)
    late = asyncio.create_task(came(gate, who=FLOOD))
    await asyncio.sleep(0)
    gate.leave(numbers[0])

    assert await modest == 0
    assert 0 not in await asyncio.gather(*early, late)
    assert (gate._held[THIRD], gate._held.get(FLOOD, 0)) == (1, most - 1)


async def test_who_floods_is_sent_away_first() -> None:
    """Of those that have waited long enough; the others in their turn."""
    gate = admission(4)
    for who in (*[FLOOD] * 4, OTHER):
        await came(gate, who=who)
    then = time.perf_counter() - 1
    modest = asyncio.create_task(came(gate, then - 1, THIRD))
    crowd = [asyncio.create_task(came(gate, then, FLOOD)) for _ in range(SWEPT)]
    await asyncio.sleep(0)
    gate._sweep()

    assert (len(gate._waiting), len(gate._modest)) == (0, 1)
    assert 0 not in await asyncio.gather(modest, *crowd)
    assert (gate._held, gate._coming) == ({FLOOD: 4, OTHER: 1}, 0)


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.floats(0, 0.4)), max_size=60))
def test_who_is_in_is_counted_once(most: int, calls: list[tuple[int, bool, float]]) -> None:
    """Never more than the house and a quarter of it, and each key's as they are; one key alone has the house alone."""
    gate, now, inside = admission(most), 1.0, list[tuple[int, int]]()

    async def live() -> None:
        nonlocal now
        for who, leaves, passed in calls:
            now += passed
            if leaves and inside:
                gate.leave(inside.pop(0)[0])
            elif gate.has_room(now, who):
                inside.append(((await gate.enter(now, who))[0], who))
            young = [whose for number, whose in inside if number in gate._begun]
            assert gate._held == {each: young.count(each) for each in {*young}}
            assert len(young) <= most + most // 4 * (len({*young}) > 1)

    asyncio.run(live())


def test_callers_are_told_apart_by_their_keys() -> None:
    """Whichever header it comes in and however it is spaced; without one, or with what is none, they are the same."""
    headers = [b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"]
    key, other = (new_secret().encode() for _ in range(2))
    spaced = [b"Bearer " + key, b" " + key + b" ", b"Bearer  " + key]
    one = {asker([(b"host", b"localhost"), (name, value)]) for name in headers for value in spaced}
    assert len(one) == 1
    assert len(one | {asker([(b"authorization", b"Bearer " + other)]), asker([])}) == 3
    made_up = [b" ", b"Bearer abc", key[:-1], key + b"0", b"\xff" * len(key)]
    assert {NOBODY} == {asker([]), *(asker([(b"x-api-key", each)]) for each in made_up)}
