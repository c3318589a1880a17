"""The doctor finds what it says it looks for: each law is broken once by hand, and that law alone complains of it."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from gateway.database import bodies
from gateway.ledger import Hold
from tests.scripted import Engine

MINUTE = 60_000
AGAIN = (
    "INSERT INTO attempts (id, job, number, offer, account, submit_class, outcome, usd_micros, intent_at, task) "
    "SELECT 'att_2', job, 2, offer, account, submit_class, '{}', 0, intent_at, {} FROM attempts"
)
ENDED = "UPDATE jobs SET completed_at = 1, state = '{}', due_at = NULL"
SICK = {
    "two_orders": ["DROP INDEX attempts_open", AGAIN.format("accepted", "NULL")],
    "task_twice": [AGAIN.format("failed", "task")],
    "overdue": [f"UPDATE jobs SET deadline_at = :now - {11 * MINUTE}"],
    "forgotten": ["UPDATE jobs SET due_at = NULL"],
    "doubted_for_ever": [
        ENDED.format("failed"), "UPDATE jobs SET hold = replace(hold, '}', ',\"billing\":\"possibly_billed\"}')",
        "UPDATE attempts SET outcome = 'failed', usd_micros = 0", "DELETE FROM entries",
    ],
    "ended_open": [ENDED.format("failed"), "DELETE FROM entries"],
    "running_closed": ["UPDATE attempts SET outcome = 'failed'"],
    "bought_unsaid": ["DELETE FROM entries"],
    "held_for_ever": [ENDED.format("failed"), "UPDATE attempts SET outcome = 'failed'"],
    "below_nothing": ["INSERT INTO budgets VALUES ('x', 'x', 'day', '0', '0', -1, 0, 0, 0)"],
    "budget_astray": ["INSERT INTO budgets VALUES ('x', 'x', 'day', '0', '0', 1, 0, 0, 1)"],
    "overdrawn": [
        "INSERT INTO budgets SELECT 'x', owner, 'total', '', '~', usd_micros, 0, 0, usd_micros - 1 FROM entries",
    ],
    "untold": [
        "UPDATE jobs SET completed_at = :now, state = 'failed', due_at = NULL",
        "UPDATE jobs SET wish = json_set(wish, '$.callback_url', 'https://example.com/')",
        "UPDATE attempts SET outcome = 'failed', usd_micros = 0", "DELETE FROM entries",
    ],
    "in_line_ended": [
        "UPDATE jobs SET state = 'running'",
        "INSERT INTO lines (job, account, model, buyer, turn) SELECT id, 'acme', 'x', '', 1 FROM jobs",
    ],
    "in_no_line": [
        "UPDATE attempts SET outcome = 'not_accepted'",
        "UPDATE jobs SET state = 'queued', account = 'acme', attempt = NULL",
    ],
    "lease_dead": [f"UPDATE jobs SET lease_until = :now - {3 * MINUTE}"],
    "put_aside": ["UPDATE jobs SET aside_at = 1"],
    "clip_missing": [
        ENDED.format("succeeded"), "UPDATE attempts SET outcome = 'succeeded', usd_micros = 0", "DELETE FROM entries",
    ],
}  # fmt: skip
"""What breaks each law in a store that holds one job under way."""
ALSO = {"ended_open": {"bought_unsaid"}, "below_nothing": {"budget_astray"}}
"""Laws that cannot be broken without another."""


@pytest.mark.parametrize("law", bodies("doctor"))
async def test_each_ailment_is_found(tmp_path: Path, law: str) -> None:
    """A sound store has none; a broken law is named, and only that one."""
    engine = Engine(tmp_path)
    job = await engine.accept()
    await engine.turn()
    assert msgspec.json.decode((await engine.job(job.id)).hold or "", type=Hold).usd_micros
    assert await engine.store.ailments() == {}
    with sqlite3.connect(engine.store.database.path) as other:
        for statement in SICK[law]:
            other.execute(statement, {"now": engine.now} if ":now" in statement else {})
    other.close()

    assert set(await engine.store.ailments()) == {law} | ALSO.get(law, set())
    engine.close()
