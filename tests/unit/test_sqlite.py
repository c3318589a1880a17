"""Laws of the store on SQLite: one file, one gateway, and what a power cut leaves."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.ids import least_id
from gateway.money.ledger import About, Budget, hold
from gateway.store.database import StoreUnavailableError, migrations, queries
from gateway.store.sqlite import Sqlite
from gateway.store.store import held
from tests.unit.rows import key


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Sqlite]:
    opened = Sqlite(tmp_path / "db" / "test.db")
    opened.open()
    yield opened
    opened.close()


async def test_told_means_committed(database: Sqlite) -> None:
    """Another connection sees what a write has answered."""
    await database.write(key(1))
    with sqlite3.connect(database.path) as other:
        found = other.execute("SELECT id FROM keys").fetchall()
    other.close()

    assert found == [("k1",)]


async def test_commits_survive_a_power_cut(database: Sqlite) -> None:
    """Every commit is fsynced, and the log is never reset behind the writer's back."""
    for connection in (database._writer, database._reader, database._surveyor):
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert database._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@contextmanager
def locked(database: Sqlite) -> Iterator[sqlite3.Connection]:
    """Keep everybody else from writing, as another program does in the middle of its transaction."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def test_who_writes_beside_us_keeps_nobody_else_waiting(database: Sqlite) -> None:
    """The loop goes on: what needs no writing is answered meanwhile, and what does afterwards."""
    with locked(database) as other:
        writes = [asyncio.create_task(database.write(key(number))) for number in range(3)]
        for _ in range(100):
            assert [] == await database.read("keys_all")
            await asyncio.sleep(0)
        assert not any(each.done() for each in writes)
        other.execute("ROLLBACK")
        await asyncio.gather(*writes)

    assert 3 == len(await database.read("keys_all"))


async def test_who_writes_for_too_long_is_not_waited_for(database: Sqlite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers are told so; once it has ended the store goes on."""
    monkeypatch.setattr("gateway.store.sqlite.LOCKED_SECONDS", 0.03)
    with locked(database):
        for number in range(2):
            with pytest.raises(StoreUnavailableError, match="locked"):
                await database.write(key(number))
    await database.write(key(3))

    assert 1 == len(await database.read("keys_all"))


async def test_a_full_disk_is_said_and_overcome(database: Sqlite) -> None:
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


async def test_a_file_has_one_gateway(database: Sqlite) -> None:
    """A second gateway on the same file does not start; a visitor may read and add keys."""
    with pytest.raises(StoreUnavailableError, match="in use"):
        Sqlite(database.path).open()
    visitor = Sqlite(database.path)
    visitor.open(exclusive=False)
    await visitor.write(key(9))
    visitor.close()

    assert [row[0] for row in await database.read("keys_all")] == ["k9"]


async def test_a_closed_store_is_surveyed_no_more(tmp_path: Path) -> None:
    """Whoever waited for a turn when it closed is told so, as whoever reads is."""
    database = Sqlite(tmp_path / "test.db")
    database.open()
    async with database._turns.take(1):
        waiting = asyncio.create_task(database.survey("keys_all"))
        await asyncio.sleep(0)
        database.close()
    with pytest.raises(StoreUnavailableError, match="closing"):
        await waiting


async def test_a_purchase_looks_at_none_before_it(database: Sqlite) -> None:
    """A budget that is open is not added up again: it takes as many steps after a thousand entries as after one."""
    budget = Budget("key:total", "key", "total", 0, 10**9)
    steps: list[int] = []
    for first, last in ((0, 1), (1, 1000)):
        for number in range(first, last):
            _, taken = hold(About(least_id("video", number), "key", "acme:maker/one", "main"), 1, (budget,), 0)
            await database.write(*held(taken))
        steps.append(0)
        query = queries()["budget_open"]

        def count() -> None:
            steps[-1] += 1

        database._writer.set_progress_handler(count, 1)
        database._writer.execute(query.sql, query.values(budget))
        database._writer.set_progress_handler(None, 1)

    assert 0 < steps[0] == steps[1]


async def test_a_new_budget_looks_at_its_owner_alone(database: Sqlite) -> None:
    """A key that is given a limit is added up in as many steps, however much others have spent before."""
    steps: list[int] = []

    def note() -> None:
        steps[-1] += 1

    for first, last in ((0, 1), (1, 1000)):
        for number in range(first, last):
            _, taken = hold(About(least_id("video", number), "other", "acme:maker/one", "main"), 1, (), 0)
            await database.write(*held(taken))
        steps.append(0)
        budget, query = Budget(f"key{first}:total", f"key{first}", "total", 0, 10**9), queries()["budget_open"]
        database._writer.set_progress_handler(note, 1)
        database._writer.execute(query.sql, query.values(budget))
        database._writer.set_progress_handler(None, 1)

    assert 0 < steps[0] == steps[1]


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """A store written by a later version is refused, not guessed at."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as future:
        future.execute(f"PRAGMA user_version = {migrations()[-1][0] + 1}")
    future.close()
    with pytest.raises(StoreUnavailableError, match="upgrade"):
        Sqlite(path).open()


def garbage(path: Path) -> Path:
    path.write_bytes(b"no database at all" * 100)
    return path


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (garbage, "not a database"),
        (lambda path: path.mkdir() or path, "is a folder"),
        (lambda path: garbage(path) / "in" / "reelgate.db", "Not a directory|does not exist"),
    ],
)
def test_what_can_be_no_store_is_named(
    tmp_path: Path, spoil: Callable[[Path], Path], said: str, exclusive: bool
) -> None:
    """A file that is none, a folder, and a place nothing can be made in are said in a line, and nothing stays open."""
    store = Sqlite(spoil(tmp_path / "reelgate.db"))
    with pytest.raises(StoreUnavailableError, match=said) as caught:
        store.open(exclusive=exclusive)

    assert str(tmp_path / "reelgate.db") in str(caught.value)
    assert store._lock is None


async def test_a_torn_log_is_a_prefix(tmp_path: Path) -> None:
    """Whatever part of the log a crash leaves, what is read is the first commits, whole and in order."""
    original = Sqlite(tmp_path / "a.db")
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
        copy = Sqlite(torn)
        copy.open()
        found = [row[0] for row in await copy.read("keys_all")]
        copy.close()

        assert [f"k{number}" for number in range(len(found))] == found

        seen.add(len(found))
    original.close()

    assert {0, 12} <= seen


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("jobs_claim", "jobs_due"),
        ("jobs_next_due", "jobs_due"),
        ("jobs_give_back", "jobs_due"),
        ("jobs_newest", "jobs_of_tenant"),
        ("jobs_oldest", "jobs_of_tenant"),
        ("jobs_newest_of", "jobs_listed"),
        ("jobs_oldest_of", "jobs_listed"),
        ("jobs_by_state", "jobs_listed"),
        ("jobs_oldest_queued", "jobs_listed"),
        ("jobs_in_doubt", "jobs_in_doubt"),
        ("jobs_recall", "jobs_in_doubt"),
        ("attempts_of_job", "attempts_of_job"),
        ("attempts_running", "attempts_open_of_account"),
        ("files_newest", "files_of_tenant"),
        ("idempotency_sweep", "idempotency_expired"),
        ("jobs_old", "sqlite_autoindex_jobs_1"),
        ("jobs_old", "entries_of_job"),
        ("jobs_old", "idempotency_of_job"),
        ("forget_tasks", "tasks_of_attempt"),
        ("forget_attempts", "tasks_of_attempt"),
        ("forget_deliveries", "deliveries_of_job"),
        ("forget_job", "sqlite_autoindex_jobs_1"),
    ],
)
async def test_what_is_asked_often_is_found_by_index(database: Sqlite, name: str, index: str) -> None:
    """However many jobs have ended, a scan for due ones, a list and a count read only what they answer."""
    query = queries()[name]
    places = (
        *("now", "until", "dead", "most", "tenant", "after", "job", "longest", "doubted", "suspect", "purpose"),
        *("kinds", "names", "first", "last", "key", "expired", "before", "everybody", "id"),
    )
    named = dict.fromkeys(places, 1)
    plan = database._reader.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.values(named)).fetchall()
    steps = [step[3] for step in plan]

    assert any(f"INDEX {index} " in f"{step} " for step in steps), steps
    assert not any(step.startswith("SCAN") and "INDEX" not in step for step in steps), steps


@pytest.mark.parametrize("error", [MemoryError(), sqlite3.OperationalError("disk I/O error")])
async def test_what_is_on_disk_is_told_whatever_becomes_of_the_log(
    database: Sqlite, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The log that cannot be folded into the file takes nothing back."""

    def fail() -> int:
        raise error

    monkeypatch.setattr(database, "_log_pages", fail)
    database._commits = 63
    await database.write(key(1))
    assert len(await database.read("keys_all")) == 1
