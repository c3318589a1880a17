"""The doctor finds what it says it looks for: each law is broken once by hand, and that law alone complains of it."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import msgspec
import pytest

from gateway.money.ledger import Hold
from gateway.store.database import Kind, bodies
from tests import databases
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
    "given_up_for_ever": [
        ENDED.format("failed"), "UPDATE jobs SET abandoned = '{\"billing\":\"possibly_billed\"}'",
        "UPDATE attempts SET outcome = 'failed', usd_micros = 0", "DELETE FROM entries",
    ],
    "given_up_unasked": [AGAIN.format("abandoned", "NULL")],
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
        """UPDATE jobs SET wish = replace(wish, '{"request"', '{"callback_url":"https://example.com/","request"')""",
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
    "counted_twice": [
        """INSERT INTO past_orders (id, buyer, offer, account, outcome, mismatched, late)
        SELECT id, '', offer, account, outcome, 0, 0 FROM attempts""",
    ],
}  # fmt: skip
"""What breaks each law in a store that holds one job under way."""
ALSO = {"ended_open": {"bought_unsaid"}, "below_nothing": {"budget_astray"}}
"""Laws that cannot be broken without another."""


async def spoil(folder: Path, kind: Kind, statements: Sequence[str]) -> None:
    """Write to a store behind its back."""
    if kind == "sqlite":
        with closing(sqlite3.connect(folder / "reelgate.db", isolation_level=None)) as other:
            for statement in statements:
                other.execute(statement)
        return
    other = await asyncpg.connect(databases.url_of(folder), password=databases.PASSWORD)
    for statement in statements:
        await other.execute(statement)
    await other.close()


@pytest.mark.parametrize("kind", databases.KINDS)
@pytest.mark.parametrize("law", bodies("doctor"))
async def test_each_ailment_is_found(tmp_path: Path, law: str, kind: Kind) -> None:
    """A sound store has none; a broken law is named, and only that one, whatever the database."""
    with databases.using(kind):
        engine = Engine(tmp_path)
        job = await engine.accept()
        await engine.turn()
        assert msgspec.json.decode((await engine.job(job.id)).hold or "", type=Hold).usd_micros
        assert await engine.store.ailments() == {}
        await spoil(tmp_path, kind, [statement.replace(":now", str(engine.now)) for statement in SICK[law]])

        assert set(await engine.store.ailments()) == {law} | ALSO.get(law, set())
    engine.close()
