"""Laws of the store's engine: durable before told, alone in failure, together in commit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.database import ConflictError, Database, Statement, StoreUnavailableError, migrations, queries


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "db" / "test.db")
    opened.open()
    yield opened
    opened.close()


def key(number: int, *, rows: int | None = 1) -> Statement:
    blank = {"name": "n", "tenant": "t", "scopes": "", "created_at": number, "expires_at": None, "revoked_at": None}
    blank |= {"policy": None, "limits": None}
    return Statement("key_insert", {"id": f"k{number}", "hash": f"h{number}", **blank}, rows)


async def test_told_means_committed(database: Database) -> None:
    """Another connection sees what a write has answered."""
    await database.write(key(1))
    with sqlite3.connect(database.path) as other:
        found = other.execute("SELECT id FROM keys").fetchall()
    other.close()

    assert found == [("k1",)]


async def test_commits_survive_a_power_cut(database: Database) -> None:
    """Every commit is fsynced, and the log is never reset behind the writer's back."""
    for connection in (database._writer, database._reader):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert database._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_writes_that_wait_share_a_commit(database: Database) -> None:
    """A hundred writes at once take a handful of fsyncs, not a hundred."""
    before = database._commits
    await asyncio.gather(*(database.write(key(number)) for number in range(100)))

    assert len(await database.read("keys_all")) == 100
    assert database._commits - before <= 3


async def test_one_write_fails_alone(database: Database) -> None:
    """Of writes in one commit the broken one leaves no trace and the others stand."""
    results = await asyncio.gather(
        database.write(key(1)),
        database.write(key(2), key(1)),
        database.write(key(3)),
        database.write(key(4), Statement("key_revoke", {"id": "nobody", "now": 1}, 1)),
        return_exceptions=True,
    )

    assert [isinstance(result, ConflictError) for result in results] == [False, True, False, True]
    assert [row[0] for row in await database.read("keys_all")] == ["k1", "k3"]


async def test_a_full_disk_is_said_and_overcome(database: Database) -> None:
    """What cannot be committed is refused; once there is room the store goes on."""
    pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
    database._writer.execute(f"PRAGMA max_page_count = {pages}")

    async def fill() -> None:
        for number in range(500):
            await database.write(key(number))

    with pytest.raises(StoreUnavailableError):
        await fill()
    kept = len(await database.read("keys_all"))
    database._writer.execute("PRAGMA max_page_count = 100000")
    await database.write(key(1000))

    assert kept + 1 == len(await database.read("keys_all"))
    assert database._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_numbers_too_large_for_the_database_are_refused(database: Database) -> None:
    """An integer SQLite cannot hold is an error of the write, not a crash of the loop."""
    with pytest.raises((StoreUnavailableError, ConflictError)):
        await database.write(key(2**63))
    await database.write(key(1))

    assert len(await database.read("keys_all")) == 1


async def test_a_write_put_together_wrongly_fails_alone(database: Database) -> None:
    """Its caller hears of it at once; whoever wrote in the same moment does not."""
    wrong = database.write(Statement("key_insert", {"id": "half a key"}))
    came = await asyncio.gather(database.write(key(1)), wrong, database.write(key(2)), return_exceptions=True)

    assert [type(each) for each in came] == [list, StoreUnavailableError, list]
    assert len(await database.read("keys_all")) == 2


async def test_a_file_has_one_gateway(database: Database) -> None:
    """A second gateway on the same file does not start; a visitor may read and add keys."""
    with pytest.raises(StoreUnavailableError, match="in use"):
        Database(database.path).open()
    visitor = Database(database.path)
    visitor.open(exclusive=False)
    await visitor.write(key(9))
    visitor.close()

    assert [row[0] for row in await database.read("keys_all")] == ["k9"]


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """A store written by a later version is refused, not guessed at."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as future:
        future.execute(f"PRAGMA user_version = {migrations()[-1][0] + 1}")
    future.close()
    with pytest.raises(StoreUnavailableError, match="upgrade"):
        Database(path).open()


async def test_a_torn_log_is_a_prefix(tmp_path: Path) -> None:
    """Whatever part of the log a crash leaves, what is read is the first commits, whole and in order."""
    original = Database(tmp_path / "a.db")
    original.open()
    original._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(12):
        await original.write(key(number))
    log = (tmp_path / "a.db-wal").read_bytes()
    seen = set()
    for cut in [*range(0, len(log), 2060), len(log)]:
        torn = tmp_path / f"torn{cut}.db"
        torn.write_bytes((tmp_path / "a.db").read_bytes())
        torn.with_name(f"{torn.name}-wal").write_bytes(log[:cut])
        copy = Database(torn)
        copy.open()
        found = [row[0] for row in await copy.read("keys_all")]
        copy.close()

        assert [f"k{number}" for number in range(len(found))] == found

        seen.add(len(found))
    original.close()

    assert {0, 12} <= seen


def test_every_query_is_one_statement() -> None:
    """Queries are named, and none is built from strings."""
    assert len(queries()) > 25
    for name, query in queries().items():
        assert ";" not in query.sql, name
        assert query.sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}, name


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("jobs_claim", "jobs_due"),
        ("jobs_next_due", "jobs_due"),
        ("jobs_give_back", "jobs_due"),
        ("jobs_newest", "jobs_of_tenant"),
        ("jobs_oldest", "jobs_of_tenant"),
        ("attempts_of_job", "attempts_of_job"),
        ("attempts_running", "attempts_open"),
        ("files_newest", "files_of_tenant"),
        ("idempotency_sweep", "idempotency_expired"),
    ],
)
async def test_what_is_asked_often_is_found_by_index(database: Database, name: str, index: str) -> None:
    """However many jobs have ended, a scan for due ones, a list and a count read only what they answer."""
    query = queries()[name]
    named = dict.fromkeys(("now", "until", "most", "tenant", "after", "job"), 1)
    plan = database._reader.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.values(named)).fetchall()
    steps = [step[3] for step in plan]

    assert any(f"INDEX {index} " in f"{step} " for step in steps), steps
    assert not any(step.startswith("SCAN") and "INDEX" not in step for step in steps), steps
