"""Laws of a disk that is full: what could not be kept is not bought, who waits for room says so, and is made later."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.clips.room import LEAST_TO_ORDER, NO_ROOM
from gateway.engine.findings import waiting_for
from gateway.jobs.job import State
from gateway.money.ledger import Billing, Hold
from tests.scripted import Engine


class Filled(Engine):
    """An engine whose disk has as much room as is said."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.free = LEAST_TO_ORDER - 1
        self.looks = 0
        self.media.free_bytes = self._look  # type: ignore[method-assign]

    def _look(self) -> int:
        self.looks += 1
        if self.free < 0:
            raise FileNotFoundError("no such folder")
        return self.free


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Filled]:
    built = Filled(tmp_path)
    yield built
    built.close()


@pytest.mark.parametrize("free", [LEAST_TO_ORDER - 1, -1])
async def test_nothing_is_bought_without_room_for_it(engine: Filled, free: int) -> None:
    """More jobs than the account has places wait, and say for what; with room again all are made, and none twice."""
    engine.free = free
    jobs = [await engine.accept(prompt=f"clip {number}") for number in range(6)]
    for _ in range(3):
        await engine.turn(seconds=60)
    waiting = [await engine.job(each.id) for each in jobs]
    assert engine.provider.ledger == []
    assert {(each.state, waiting_for(each), each.attempts) for each in waiting} == {(State.QUEUED, NO_ROOM, 0)}

    engine.free = LEAST_TO_ORDER
    made = [await engine.run(each.id) for each in jobs]
    assert {(each.state, each.error) for each in made} == {(State.SUCCEEDED, None)}
    assert len(set(engine.provider.ledger)) == len(engine.provider.ledger) == len(jobs)


async def test_who_waits_for_room_is_not_written(engine: Filled) -> None:
    """And nobody is called: the disk is looked at once a second, however many wait, and the log tells once."""
    jobs = [await engine.accept(prompt=f"clip {number}") for number in range(20)]
    with capture_logs() as logs:
        await engine.turn()
        assert engine.looks == 1
        before = [await engine.job(each.id) for each in jobs]
        for _ in range(10):
            assert await engine.turn(seconds=1) == 0
    assert engine.looks == 11
    assert before == [await engine.job(each.id) for each in jobs]
    assert [each["event"] for each in logs] == ["disk.filled"]


async def test_what_was_bought_goes_on_without_room_for_more(engine: Filled) -> None:
    """Its task is looked at: only what is yet to be bought waits."""
    engine.free = LEAST_TO_ORDER
    job = await engine.accept()
    await engine.turn()
    engine.free = 0
    await engine.turn(seconds=10)
    assert (await engine.job(job.id)).state is State.STORING
    engine.free = 2 * LEAST_TO_ORDER
    assert (await engine.run(job.id)).state is State.SUCCEEDED


async def test_who_waited_too_long_for_room_hears_why(engine: Filled) -> None:
    """At its deadline nothing was bought, and nothing is owed."""
    job = await engine.accept()
    for _ in range(3):
        await engine.turn(seconds=600)
    ended = await engine.job(job.id)
    problem = msgspec.json.decode(ended.error or "{}")
    assert (ended.state, problem["code"]) == (State.FAILED, "deadline_exceeded")
    assert NO_ROOM in problem["message"].lower()
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.NOT_BILLED
    assert engine.provider.ledger == []
