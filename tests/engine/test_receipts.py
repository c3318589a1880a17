"""Laws of receipts: what was answered is known, although the database never heard of it."""

from pathlib import Path

import pytest

from gateway.jobs.job import State
from gateway.store.database import StoreUnavailableError
from gateway.store.receipts import SLOT, SLOTS, Receipts
from tests.scripted import Engine


def opened(folder: Path) -> Receipts:
    receipts = Receipts(folder)
    receipts.open()
    return receipts


def test_a_note_outlives_its_process(tmp_path: Path) -> None:
    """Another process reads it, also while the first still has its file."""
    first = opened(tmp_path)
    first.note("att_1", '{"id":"t1"}')
    second = opened(tmp_path)
    assert (second.get("att_1"), second.get("att_2"), second.get(None)) == ('{"id":"t1"}', None, None)
    second.note("att_2", '{"id":"t2"}')
    first.close()
    second.close()
    third = opened(tmp_path)
    assert (third.get("att_1"), third.get("att_2")) == ('{"id":"t1"}', '{"id":"t2"}')
    third.close()


def test_half_a_note_is_none(tmp_path: Path) -> None:
    """A note torn anywhere is not believed, and does not stop the others from being read."""
    receipts = opened(tmp_path)
    receipts.note("att_1", '{"id":"t1"}')
    receipts.note("att_2", '{"id":"t2"}')
    receipts.close()
    path = tmp_path / "receipts-0"
    whole = path.read_bytes()
    for at in range(60):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        read = opened(tmp_path)
        assert read.get("att_2") == '{"id":"t2"}'
        assert read.get("att_1") in {None, '{"id":"t1"}'}
        read.close()


def test_the_file_never_grows(tmp_path: Path) -> None:
    """It is laid out beforehand, so that a full disk does not matter; the oldest notes give way."""
    receipts = opened(tmp_path)
    for number in range(SLOTS + 10):
        receipts.note(f"att_{number}", "x" * 100)
    receipts.note("att_long", "x" * SLOT)
    assert (tmp_path / "receipts-0").stat().st_size == SLOT * SLOTS
    assert (receipts.get("att_0"), receipts.get(f"att_{SLOTS + 9}")) == (None, "x" * 100)
    assert receipts.get("att_long")
    receipts.close()


async def test_a_database_that_dies_after_the_order_loses_nothing(tmp_path: Path) -> None:
    """The answer cannot be committed; a new process goes on with the task, and buys nothing."""
    engine = Engine(tmp_path)
    job = await engine.accept()
    save = engine.store.save

    async def failing(moved, *attempts, **more):
        if moved.state is State.RUNNING:
            raise StoreUnavailableError("gone")
        await save(moved, *attempts, **more)

    engine.store.save = failing
    with pytest.raises(StoreUnavailableError):
        await engine.turn()
    assert (await engine.job(job.id)).state is State.SUBMITTING
    engine.store.save = save
    engine.restart()
    done = await engine.run(job.id)

    assert (done.state, len(engine.provider.ledger)) == (State.SUCCEEDED, 1)
    engine.close()
