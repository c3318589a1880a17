"""R10, F19, F20: a provider that is sick is asked no more than one that is well, and not stormed when it is back."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog

from gateway.jobs.job import State
from tests.machine.weather import Sick, Weather, between

HOUR = 3600.0
DIES, BACK = 60.0, 60.0 + HOUR


@pytest.fixture
async def weather() -> AsyncIterator[Callable[..., Weather]]:
    """Make weather in folders that cost no fsync, where there are such."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        made: list[Weather] = []

        def make(sick: Sick, *, takes: float, places: int) -> Weather:
            made.append(Weather(Path(folder, str(len(made))), sick, takes=takes, places=places))
            return made[-1]

        with structlog.testing.capture_logs():
            yield make
        for each in made:
            each.engine.close()


@pytest.mark.parametrize("share", [0.5, 1.0])
async def test_who_is_sick_is_looked_at_no_more_than_who_is_well(weather: Callable[..., Weather], share: float) -> None:
    """Over any five minutes with as many tasks under way, at most 1.2 times the calls; every task is bought once."""
    well = weather(lambda at: 0.0, takes=2 * HOUR, places=6)
    sick = weather(lambda at: share if at > DIES else 0.0, takes=2 * HOUR, places=6)
    for each in (well, sick):
        await each.want(6)
        await each.live(1500)

    for since in range(60, 1500, 300):
        calls = [between(each.patient.calls, since, since + 300) for each in (sick, well)]
        assert calls[0] <= 1.2 * calls[1], since
    assert len(sick.patient.calls) <= 1.2 * len(well.patient.calls)
    assert len(sick.patient.orders) == 6
    assert (await sick.engine.store.census()) == {State.RUNNING: 6}


async def test_half_of_all_looks_lost_costs_time_and_no_calls(weather: Callable[..., Weather]) -> None:
    """F19: the clips come, later, for hardly more looks."""
    well = weather(lambda at: 0.0, takes=90, places=6)
    half = weather(lambda at: 0.5 if at > 10 else 0.0, takes=90, places=6)
    for each in (well, half):
        await each.want(6)
        await each.live(900)

    assert await well.ended() == await half.ended() == 6
    assert len(half.patient.looks) <= 1.2 * len(well.patient.looks)
    assert len(half.patient.orders) == 6


@pytest.mark.parametrize("doubtful", [False, True])
async def test_nobody_storms_a_provider_that_is_back(weather: Callable[..., Weather], doubtful: bool) -> None:
    """
    F20: dead for an hour with tasks under way and jobs queued for them.

    In the first minute after it each task costs the look that ends it and its download; queued jobs waited, and are
    ordered a few at a time. Nothing is ordered meanwhile, and nothing twice.
    """
    there = weather(lambda at: 1.0 if DIES < at < BACK else 0.0, takes=90, places=6)
    there.patient.doubtful = doubtful
    await there.want(12)
    await there.live(BACK)
    assert between(there.patient.orders, DIES, BACK) == 0
    assert between(there.patient.looks, BACK - 60, BACK) <= 6
    assert (await there.engine.store.census()) == {State.RUNNING: 6, State.QUEUED: 6}
    await there.live(BACK + 60)
    looks, orders, downloads = (
        between(calls, BACK, BACK + 60)
        for calls in (there.patient.looks, there.patient.orders, there.patient.downloads)
    )
    normal = between(there.patient.calls, 0, DIES)
    assert looks + orders + downloads <= 1.5 * normal
    assert downloads == 6
    assert orders <= 6
    await there.live(BACK + 900)

    assert await there.ended() == 12
    assert len(there.patient.orders) == len(set(there.patient.ledger)) == 12


@pytest.mark.parametrize("doubtful", [False, True])
async def test_what_is_paid_for_is_asked_for_once(weather: Callable[..., Weather], doubtful: bool) -> None:
    """R10: every order fails: once where it may have been taken, else again, but not while nobody answers."""
    there = weather(lambda at: 1.0, takes=90, places=20)
    there.patient.doubtful = doubtful
    await there.want(5)
    await there.live(HOUR)
    orders = len(there.patient.orders)

    if doubtful:
        assert orders == 5
        assert (await there.engine.store.census()) == {State.FAILED: 5}
        assert len(await there.engine.store.in_doubt()) == 5
    else:
        assert 5 <= orders <= 5 + 20  # One try after each of the breaker's rests: 30 s, a minute, ... five.
        assert (await there.engine.store.census()) == {State.QUEUED: 5}


async def test_clips_nobody_serves_are_not_asked_for_again_and_again(weather: Callable[..., Weather]) -> None:
    """
    R10: tasks are done, and their clips answer 503 for an hour: 1.2 tries each in ten minutes, then one in five.

    Once they are served all are kept, without another miss, within what one try for all may have to wait.
    """
    there = weather(lambda at: 1.0 if at < HOUR else 0.0, takes=10, places=40)
    there.patient.only_clips = True
    await there.want(40)
    await there.live(600)
    assert len(there.patient.downloads) <= 1.2 * 40
    assert (await there.engine.store.census()) == {State.STORING: 40}
    await there.live(HOUR)
    assert between(there.patient.downloads, 600, HOUR) <= 11
    await there.live(HOUR + 340)

    assert await there.ended() == 40
    assert between(there.patient.downloads, HOUR, HOUR + 340) == 40
    assert len(there.patient.orders) == 40


async def test_one_clip_by_itself_is_fetched_again_soon(weather: Callable[..., Weather]) -> None:
    """What is held back for others' sake holds nobody back who is alone: its own tries come as soon as ever."""
    there = weather(lambda at: 1.0 if at < 30 else 0.0, takes=10, places=1)
    there.patient.only_clips = True
    await there.want(1)
    await there.live(60)

    assert await there.ended() == 1
    assert 4 <= len(there.patient.downloads) <= 6
