"""Laws of the store's engine, whichever it is: durable before told, alone in failure, together in commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.api.health import count
from gateway.cli.money import go_on, halt
from gateway.door.answering import understand
from gateway.ids import least_id
from gateway.money.ledger import INSTANCE, About, Budget, hold
from gateway.store.database import (
    PLACES,
    TOUCHED,
    AbsentError,
    BehindError,
    BusyError,
    ConflictError,
    Database,
    Kind,
    Query,
    Row,
    Statement,
    StoreUnavailableError,
    bodies,
    migrations,
    queries,
)
from gateway.store.store import Store, held
from gateway.telemetry import Metrics
from tests import databases
from tests.unit.rows import key


@pytest.fixture(params=databases.KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
async def database(kind: Kind, tmp_path: Path) -> AsyncIterator[Database]:
    with databases.using(kind):
        opened = databases.store_in(tmp_path)
    opened.open()
    yield opened
    opened.close()


async def test_told_means_committed(database: Database, tmp_path: Path, kind: Kind) -> None:
    """Another connection sees what a write has answered."""
    await database.write(key(1))
    with databases.using(kind):
        other = databases.store_in(tmp_path)
    other.open(exclusive=False)
    found = await other.read("keys_all")
    other.close()

    assert [row[0] for row in found] == ["k1"]


async def visit(visitor: Database, *, makes: bool = False) -> None:
    visitor.open(exclusive=False, makes=makes)
    await visitor.read("keys_all")


async def test_a_visitor_leaves_an_older_store_as_it_is(
    database: Database, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older gateway may be at work on it: only a gateway upgrades, and the visitor says so."""
    await database.read("keys_all")
    last = migrations()[-1][0]
    newer = [*migrations(), (last + 1, "CREATE TABLE later (id TEXT PRIMARY KEY);\n")]
    with databases.using(kind):
        visitor = databases.store_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.database.migrations", lambda: newer)
        with pytest.raises(BehindError, match=f"version {last}, this program wants {last + 1}; start the gateway"):
            await visit(visitor, makes=True)

    visitor.open(exclusive=False)
    await visitor.write(key(1))
    visitor.close()
    assert [row[0] for row in await database.read("keys_all")] == ["k1"]


async def test_an_older_store_can_be_halted(
    database: Database, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is upgraded, as that is by a gateway that buys what waits; and it stays as it is."""
    await database.read("keys_all")
    newer = [*migrations(), (migrations()[-1][0] + 1, "CREATE TABLE later (id TEXT PRIMARY KEY);\n")]
    config = tmp_path / "config.toml"
    with databases.using(kind):
        config.write_text(f'[store]\nurl = "{databases.url_of(tmp_path)}"\n')
    for name, value in databases.ENVIRON.items():
        monkeypatch.setenv(name, value)
    for command, halted in ((halt, True), (go_on, False)):
        with monkeypatch.context() as patch:
            patch.setattr("gateway.store.database.migrations", lambda: newer)
            await asyncio.to_thread(command, config=config)
        assert (await Store(database, lambda: 0).halted() is not None) == halted


async def test_a_visitor_makes_no_store_unless_it_is_to(tmp_path: Path, kind: Kind) -> None:
    """Who looks in the wrong place is told so, and nothing is there afterwards; who brings a key makes one."""
    with databases.using(kind):
        visitor = databases.store_in(tmp_path / "here")
    for _ in range(2):
        with pytest.raises(AbsentError, match="start the gateway once"):
            await visit(visitor)
    assert not (tmp_path / "here").exists()
    visitor.open(exclusive=False, makes=True)
    await visitor.write(key(1))
    assert [row[0] for row in await visitor.read("keys_all")] == ["k1"]
    visitor.close()


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


async def test_a_conflict_is_told_once_its_cause_can_be_read(database: Database) -> None:
    """Of equal writes at one moment one stands, and the others find what stood in their way."""

    async def claim(number: int, again: int) -> bool:
        try:
            await database.write(key(number))
        except ConflictError:
            assert any(row[0] == f"k{number}" for row in await database.read("keys_all")), again
            return False
        return True

    for number in range(10):
        assert sum(await asyncio.gather(*(claim(number, again) for again in range(20)))) == 1


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


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
async def test_text_that_is_none_fails_alone(database: Database, text: str) -> None:
    """What a database cannot hold as text is refused or kept whole, and nobody else suffers."""
    odd = Statement("key_insert", {**key(1).params, "name": text}, 1)  # type: ignore[dict-item]
    came = await asyncio.gather(database.write(odd), database.write(key(2)), return_exceptions=True)
    kept = [row[0] for row in await database.read("keys_all")]

    assert isinstance(came[0], StoreUnavailableError) == ("k1" not in kept)
    assert came[1] == [[("k2",)]] or came[1] == [[]]
    assert "k2" in kept


async def test_ids_are_in_one_order(database: Database) -> None:
    """Text is compared byte by byte, whatever the order of the country: a page ends where the next begins."""
    for name in ("file_a", "file_B", "file_~", "file_0", "File_z"):
        blank = dict.fromkeys(("tenant", "filename", "purpose", "media_type", "sha256"), "t")
        numbers = dict.fromkeys(("bytes", "width", "height", "created_at", "seconds", "expires_at"), 1)
        await database.write(Statement("file_insert", {"id": name, **blank, **numbers}, 1))
    rows = await database.read("files_oldest", {"tenant": "t", "after": "", "most": 9, "now": 0, "purpose": None})

    assert [row[0] for row in rows] == ["File_z", "file_0", "file_B", "file_a", "file_~"]


async def test_a_budget_begins_with_what_its_owner_spent(database: Database) -> None:
    """A key's with its own entries, the instance's with everybody's, each within its window."""
    for number, owner in enumerate(("one", "one", "two")):
        _, taken = hold(About(least_id("video", number), owner, "acme:maker/one", "main"), 1 + number, (), 0)
        await database.write(*held(taken))
    for owner, since in (("one", 0), ("one", 1), ("two", 0), ("new", 0), (INSTANCE, 0), (INSTANCE, 1)):
        await database.write(Statement("budget_open", Budget(f"{owner}{since}", owner, "total", since, 9)))
    sums = {row[0]: row[5] for row in await database.read("budgets_within", {"first": "", "last": "~"})}

    assert {"one0": 3, "one1": 2, "two0": 3, "new0": 0, "instance0": 6, "instance1": 5} == sums


async def test_a_caller_who_left_is_no_harm(database: Database) -> None:
    """A write nobody waits for any more is kept or not, and the ones beside it are."""
    left = asyncio.ensure_future(database.write(key(1)))
    stayed = asyncio.ensure_future(database.write(key(2)))
    await asyncio.sleep(0)
    left.cancel()
    await stayed

    assert {row[0] for row in await database.read("keys_all")} >= {"k2"}


ENDLESS = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(86400)",
}


@pytest.fixture
async def endless(
    database: Database, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator["asyncio.Task[list[Row]]"]:
    """A survey that never ends by itself."""
    known = {**queries(kind), "endless": Query(ENDLESS[kind], lambda _: (), lambda _: (), True)}
    monkeypatch.setattr(f"gateway.store.{kind.removesuffix('ql')}.queries", lambda *_: known)
    await database.read("keys_all")
    await database.survey("keys_all")
    task = asyncio.create_task(database.survey("endless"))
    await asyncio.sleep(0)
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError, StoreUnavailableError):
        await task


async def test_a_survey_keeps_no_other_waiting(database: Database, endless: "asyncio.Task[list[Row]]") -> None:
    """While one goes through whole tables the others read and write, as many as like."""
    for number in range(5):
        await database.write(key(number))
        found = await asyncio.gather(*(database.read("keys_all") for _ in range(10)))
        assert [number + 1] * 10 == [len(rows) for rows in found]

    assert not endless.done()


async def test_surveys_are_made_one_at_a_time(database: Database, endless: "asyncio.Task[list[Row]]") -> None:
    """The next waits its turn, gives up after a while, and has it as soon as nobody waits for the one before."""
    with pytest.raises(BusyError, match="try again later"):
        await database.survey("keys_all", patience=0.01)
    waiting = asyncio.create_task(database.survey("keys_all"))
    for _ in range(10):
        await database.read("keys_all")
    assert not waiting.done()
    endless.cancel()

    assert [] == await waiting
    assert endless.cancelled()


async def test_a_survey_under_way_keeps_no_store_from_closing(
    database: Database, endless: "asyncio.Task[list[Row]]"
) -> None:
    """It is broken off, and whoever waits for it told so."""
    await database.read("keys_all")
    database.close()
    with pytest.raises(StoreUnavailableError):
        await endless


async def test_what_goes_through_whole_tables_is_a_survey(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports, the census and the doctor leave the small reads alone."""
    store = Store(database, lambda: 1)
    await store.put_aside()
    asked: list[str] = []
    survey = database.survey

    async def noted(query: str, *rest: Any, **more: Any) -> list[Row]:
        asked.append(query)
        return await survey(query, *rest, **more)

    async def small(query: str, *_: Any) -> list[Row]:
        raise AssertionError(query)

    monkeypatch.setattr(database, "read", small)
    monkeypatch.setattr(database, "survey", noted)
    assert {} == await store.census() == await store.ailments()
    assert await store.oldest_queued() is None
    assert [] == await store.spent(0, 1) == await store.orders(0, 1) == await store.budgets()

    assert {"jobs_by_state", "jobs_oldest_queued", "spent_by", "orders_by", "budgets_within", *bodies("doctor")} == {
        *asked
    }


async def test_jobs_are_counted_at_most_every_ten_seconds(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While reports are drawn up the last count stands; where there is none yet, that is said."""
    busy, counted = True, 0

    async def census() -> dict[str, int]:
        nonlocal counted
        if busy:
            raise BusyError("busy")
        counted += 1
        return {}

    store, metrics = Store(database, lambda: 0), Metrics()
    monkeypatch.setattr(store, "census", census)
    with pytest.raises(BusyError):
        await count(store, metrics, lambda: 0)
    busy = False
    for now in (0, 1, 9_999, 10_000, 10_001):
        await count(store, metrics, partial(int, now))
    assert 2 == counted
    busy = True
    await count(store, metrics, lambda: 60_000)

    assert 503 == understand(BusyError("busy"), {}).status
    assert "10" == understand(BusyError("busy"), {}).headers["retry-after"]


def test_every_query_is_one_statement(kind: Kind) -> None:
    """Queries are named, and none is built from strings."""
    assert len(queries(kind)) > 25
    for name, query in queries(kind).items():
        assert ";" not in query.sql, name
        assert query.sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE"}, name


def test_what_one_database_reads_otherwise_is_little() -> None:
    """Of the queries both have, only locks and JSON differ by more than how places, and touched rows, are marked."""
    lite, postgres = ({name: query.sql for name, query in queries(kind).items()} for kind in databases.KINDS)
    common = lite.keys() & postgres.keys()
    numbered = {
        name: postgres[name].replace(PLACES["postgresql"], PLACES["sqlite"]).removesuffix(TOUCHED) for name in common
    }

    assert common == lite.keys()
    different = [name for name in sorted(common) if lite[name] != numbered[name]]
    assert different == [
        "deliveries_claim", "idempotency_sweep", "jobs_claim", "jobs_newest_of", "jobs_oldest_of", "jobs_recall",
        "line_call", "untold",
    ]  # fmt: skip


def test_migrations_are_in_order() -> None:
    """Each step has a number of its own."""
    numbers = [number for number, _ in migrations()]

    assert numbers == sorted(set(numbers))
