"""F43: a database restored from a backup: what was bought since is nobody's, and said as far as receipts tell of it."""

import shutil
import sqlite3
from pathlib import Path

import structlog

from gateway.api.health import count
from gateway.jobs.job import State
from gateway.store.orphans import report, see_to, unseen
from gateway.store.receipts import Receipts
from tests.scripted import Engine, clip, running


def restore(folder: Path) -> None:
    """Put the backup in the database's place."""
    for left in folder.glob("reelgate.db*"):
        left.unlink()
    shutil.copy(folder / "backup.db", folder / "reelgate.db")


async def restored(folder: Path) -> int:
    """Start on what is there, and say how many tasks are nobody's."""
    engine, receipts = Engine(folder), Receipts(folder / "receipts")
    receipts.open()
    try:
        await engine.store.start_over()
        return await report(engine.store.database, receipts, engine.now)
    finally:
        receipts.close()
        engine.close()


async def test_what_was_bought_after_the_backup_is_said_to_be_nobodys(tmp_path: Path) -> None:
    """Of what the backup knows nothing is; an order it left open is found by its receipt, and not made again."""
    engine = Engine(tmp_path)
    engine.wire.default = clip(4, (64, 36))
    engine.provider.submits = [running("early")]
    early = await engine.accept(prompt="early")
    open_ = await engine.accept(prompt="open")
    for job in (early, open_):
        await engine.steps.take(job)
    await engine.run(early.id)
    with sqlite3.connect(tmp_path / "reelgate.db") as file:
        file.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    file.close()
    late = [await engine.run((await engine.accept(prompt=f"late {number}")).id) for number in range(3)]
    lost = [attempt.id for job in late for attempt in await engine.store.attempts(job.id)]
    engine.close()
    assert await restored(tmp_path) == 0

    restore(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert await restored(tmp_path) == 3
    assert sorted(lost) == sorted(each["attempt"] for each in logs if each["event"] == "task.ownerless")

    again = Engine(tmp_path)
    found = await unseen(again.store.database)
    assert sorted(lost) == sorted(each.attempt for each in found)
    assert {("acme", each.attempt, "", again.now) for each in found} == {
        (each.account, each.task, each.job, each.found_at)
        for each in found  # The scripted provider calls tasks so.
    }
    assert await see_to(again.store.database, lost[0], again.now) == 1
    assert await see_to(again.store.database, lost[0], again.now) == 0
    again.close()
    assert await restored(tmp_path) == 3  # Each start looks anew, and what was seen to stays so.

    again = Engine(tmp_path)
    assert sorted(lost[1:]) == sorted(each.attempt for each in await unseen(again.store.database))
    await count(again.store, again.metrics, again.clock)
    assert again.metrics.registry.get_sample_value("reelgate_tasks_ownerless") == 2
    assert (await again.run(open_.id)).state is State.SUCCEEDED
    assert again.provider.ledger == []
    again.close()
