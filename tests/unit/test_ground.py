"""Laws of looking at a PostgreSQL first: what cannot be worked on is refused at the start, and why."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import asyncpg
import msgspec
import pytest

from gateway.cli import check
from gateway.settings import Settings
from gateway.store import postgres
from gateway.store.database import Query, StoreUnavailableError, migrations, queries
from gateway.store.ground import OURS, UNPREPARED, keeps_sessions
from gateway.store.postgres import Postgres
from gateway.store.readers import Readers
from tests import databases
from tests.databases import PASSWORD
from tests.unit.rows import key


class Pooler:
    """Stand between clients and so many sessions: each client's own, the one used last, or each in its turn."""

    def __init__(self, way: str, sessions: int, *, prepares: bool = True) -> None:
        self.way = way
        self.sessions: list[dict[str, Any]] = [{} for _ in range(sessions)]
        self.prepares = prepares
        self.asked = 0

    def client(self, number: int) -> asyncpg.Connection:
        """Have a connection as it looks to a client."""
        return cast("asyncpg.Connection", Client(self, number))

    def session(self, client: int) -> dict[str, Any]:
        """Give a transaction a session."""
        self.asked += 1
        return self.sessions[{"own": client, "last": 0, "turns": self.asked % len(self.sessions)}[self.way]]


class Client:
    """Keep one value in a session, and read it."""

    def __init__(self, pooler: Pooler, number: int) -> None:
        self.pooler = pooler
        self.number = number

    async def fetchval(self, _: str, *values: str) -> Any:
        if not self.pooler.prepares:
            raise UNPREPARED[0]
        session = self.pooler.session(self.number)
        session.update(dict.fromkeys(("mark",), *values) if values else {})
        return session.get("mark")


@pytest.mark.parametrize("way", ["last", "turns"])
@pytest.mark.parametrize("sessions", [1, 2, 3, 4, 5])
async def test_a_pooler_that_shares_sessions_out_is_found(way: str, sessions: int) -> None:
    """Whichever it gives a transaction, and though marks of earlier looks are still there."""
    pooler = Pooler(way, sessions)
    for _ in range(3):
        assert not await keeps_sessions(pooler.client(0), pooler.client(1))


async def test_a_pooler_that_keeps_sessions_is_let_be() -> None:
    """And one that loses statements on the way is found, too."""
    kept, losing = Pooler("own", 2), Pooler("own", 2, prepares=False)

    assert await keeps_sessions(kept.client(0), kept.client(1))
    assert not await keeps_sessions(losing.client(0), losing.client(1))


class Lesser:
    """Hold a database of the tests' server, and a role that owns nothing in it."""

    def __init__(self, name: str) -> None:
        self.owners = databases.server().url_of(name)
        self.url = self.owners.replace("reelgate@", "lesser@")
        self.run("GRANT USAGE ON SCHEMA public TO lesser")

    def run(self, sql: str) -> None:
        databases.server().run(sql, database=self.owners.rpartition("/")[2])

    async def lay_out(self) -> None:
        """Make the tables, as their owner."""
        owner = opened(self.owners)
        try:
            await owner.read("keys_all")
        finally:
            owner.close()

    async def refusal(self) -> str:
        """Say why it cannot be started on, in the gateway's words and in those of ``check``."""
        database = opened(self.url)
        try:
            with pytest.raises(StoreUnavailableError) as caught:
                await database.write(key(1))
        finally:
            database.close()
        found = (await self.checked()).found
        assert found.wrong, found.said
        assert str(caught.value) in found.said
        return str(caught.value)

    async def checked(self) -> Any:
        """Look at it as ``reelgate check`` does."""
        return await check._stored(msgspec.convert({"store": {"url": self.url}}, Settings))


def opened(url: str) -> Postgres:
    """Open a database as a gateway does."""
    database = Postgres(url, password=PASSWORD)
    database.open()
    return database


@pytest.fixture(scope="module", autouse=True)
def _role() -> Iterator[None]:
    """Make the role, and have it stand in the environment."""
    databases.server().run(f"CREATE ROLE lesser LOGIN PASSWORD '{PASSWORD}'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        yield


@pytest.fixture
def lesser(request: pytest.FixtureRequest) -> Lesser:
    return Lesser(request.node.nodeid)


async def test_a_role_that_may_make_no_tables_is_told_so(lesser: Lesser) -> None:
    """Where it may not, and what would help."""
    said = await lesser.refusal()
    assert said.startswith("PostgreSQL at 127.0.0.1:")
    assert "(store.url): role lesser may not make tables in schema public: GRANT CREATE ON SCHEMA public TO" in said

    lesser.run("GRANT CREATE ON SCHEMA public TO lesser")
    assert not (await lesser.checked()).found.wrong
    database = opened(lesser.url)
    await database.write(key(1))
    database.close()


async def test_who_only_reads_is_told_so(lesser: Lesser) -> None:
    """A standby, or a role that was told so."""
    lesser.run("GRANT CREATE ON SCHEMA public TO lesser")
    name = lesser.url.rpartition("/")[2]
    lesser.run(f"ALTER ROLE lesser IN DATABASE {name} SET default_transaction_read_only = on")

    assert "(store.url) only reads: name the primary" in await lesser.refusal()


async def test_a_schema_that_is_not_there_is_told_of(lesser: Lesser) -> None:
    """Else the server only says that none was chosen."""
    name = lesser.url.rpartition("/")[2]
    lesser.run(f"ALTER ROLE lesser IN DATABASE {name} SET search_path = nowhere")

    assert "no schema of role lesser's search_path is there" in await lesser.refusal()


async def test_a_lesser_role_works_on_what_the_owner_has_laid_out(lesser: Lesser) -> None:
    """It needs no right to make anything; what it needs is named, table by table."""
    await lesser.lay_out()
    assert "may not use schema_version: GRANT SELECT" in await lesser.refusal()
    lesser.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO lesser")
    assert f"may not use {', '.join(sorted(OURS))}: GRANT SELECT, INSERT" in await lesser.refusal()
    lesser.run("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lesser")
    lesser.run("CREATE TABLE theirs (id int)")

    database = opened(lesser.url)
    await database.write(key(1))
    database.close()
    assert not (await lesser.checked()).found.wrong


async def test_who_does_not_own_the_tables_cannot_upgrade_them(lesser: Lesser) -> None:
    """And is told so before it tries."""
    await lesser.lay_out()
    lesser.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO lesser")
    lesser.run("GRANT CREATE ON SCHEMA public TO lesser")
    lesser.run(f"DELETE FROM schema_version WHERE version = {migrations()[-1][0]}")

    assert "is to be upgraded, and its tables are not role lesser's" in await lesser.refusal()


async def test_a_server_with_no_more_connections_answers_over_those_there_are(lesser: Lesser) -> None:
    """One writes and one reads; nobody who comes beside is refused."""
    lesser.run("GRANT CREATE ON SCHEMA public TO lesser")
    lesser.run("ALTER ROLE lesser CONNECTION LIMIT 2")
    database = opened(lesser.url)
    try:
        found = await asyncio.gather(*(database.read("keys_all") for _ in range(20)))
    finally:
        database.close()
        lesser.run("ALTER ROLE lesser CONNECTION LIMIT -1")

    assert [[]] * 20 == found


async def test_limits_are_kept_and_asked_of_no_pooler(lesser: Lesser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler refuses whoever asks for them at the start; every connection has them."""
    connect, asked = asyncpg.connect, []

    async def note(**options: Any) -> Any:
        asked.append({*options["server_settings"]})
        return await connect(**options)

    monkeypatch.setattr(asyncpg, "connect", note)
    database = opened(lesser.owners)
    await database.read("keys_all")
    assert database._writer is not None
    async with database._readers.one() as reader:
        for each in (database._writer, reader):
            shown = [await each.fetchval(f"SHOW {name}") for name in LIMITS]
            assert ["10s", "10s", "reelgate"] == shown
    database.close()

    assert [{"application_name"}] * 2 == asked


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for answers and for locks."""
    known = cast("dict[str, Query]", queries("postgresql"))
    limits = known["limits"]
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 1.0)
    monkeypatch.setitem(known, "limits", msgspec.structs.replace(limits, sql=limits.sql.replace("'10s'", "'300ms'")))


def next_step(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Let this program want one step more."""
    steps = [*migrations()]
    monkeypatch.setattr("gateway.store.database.migrations", lambda: [*steps, (steps[-1][0] + 1, sql)])


@pytest.mark.usefixtures("hasty")
async def test_a_long_upgrade_is_waited_for(lesser: Lesser, monkeypatch: pytest.MonkeyPatch) -> None:
    """By who brings it about and by who starts beside: each gave up, at every start anew."""
    await lesser.lay_out()
    next_step(monkeypatch, "ALTER TABLE attempts ADD COLUMN further TEXT; SELECT pg_sleep(1.2)")

    await asyncio.gather(lesser.lay_out(), lesser.lay_out())

    lesser.run("SELECT further FROM attempts")


@pytest.mark.usefixtures("hasty")
async def test_who_holds_a_table_keeps_it_from_an_upgrade(lesser: Lesser, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not waited for: everybody else would wait, too."""
    await lesser.lay_out()
    next_step(monkeypatch, "ALTER TABLE attempts ADD COLUMN further TEXT")
    beside = await asyncpg.connect(lesser.owners, password=PASSWORD)
    async with beside.transaction():
        await beside.execute("SELECT count(*) FROM attempts")
        with pytest.raises(StoreUnavailableError, match=r"is to be upgraded, and somebody holds its tables"):
            await lesser.lay_out()
    await beside.close()
    await lesser.lay_out()


async def test_an_upgrade_that_meets_a_write_is_tried_again(lesser: Lesser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other; the server lets one of them go on."""
    await lesser.lay_out()
    next_step(monkeypatch, "ALTER TABLE jobs ADD COLUMN further TEXT; ALTER TABLE attempts ADD COLUMN further TEXT")
    beside = await asyncpg.connect(lesser.owners, password=PASSWORD)
    writing = beside.transaction()
    await writing.start()
    await beside.execute("DELETE FROM attempts")
    upgrade = asyncio.create_task(lesser.lay_out())
    while not await beside.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the server's
        await asyncio.sleep(0.01)
    await beside.execute("DELETE FROM jobs")
    await writing.commit()
    await upgrade
    await beside.close()


LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout", "application_name")


class Line:
    """Be a connection, as far as who shares it out can see."""

    closed = False

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True


class Exchange:
    """Give out so many lines, and refuse the next."""

    def __init__(self, most: int) -> None:
        self.left = most

    async def dial(self) -> asyncpg.Connection:
        await asyncio.sleep(0)
        if not self.left:
            raise StoreUnavailableError("TooManyConnectionsError")
        self.left -= 1
        return cast("asyncpg.Connection", Line())


async def crowd(readers: Readers, count: int) -> tuple[int, set[Any]]:
    """Let many read at once; says how many did at most, and over which lines."""
    at_once, most, used = 0, 0, set()

    async def read() -> None:
        nonlocal at_once, most
        async with readers.one() as line:
            at_once += 1
            most = max(most, at_once)
            used.add(line)
            await asyncio.sleep(0)
            at_once -= 1

    async with asyncio.timeout(5):
        await asyncio.gather(*(read() for _ in range(count)))
    return most, used


@pytest.mark.parametrize(("given", "most"), [(1, 1), (2, 2), (4, 4), (9, 4)])
async def test_readers_get_by_with_what_there_is(given: int, most: int) -> None:
    """Whoever finds no connection waits for one that is open, however few the server gives."""
    readers = Readers(Exchange(given).dial, 4)

    assert most == (await crowd(readers, 20))[0]


async def test_nobody_waits_for_a_line_that_does_not_come() -> None:
    """A full pooler takes a login and keeps it waiting: what is open goes round meanwhile."""
    exchange, calls = Exchange(1), count()

    async def dial() -> asyncpg.Connection:
        if next(calls):
            await asyncio.Event().wait()
        return await exchange.dial()

    readers = Readers(dial, 4)
    assert 1 == (await crowd(readers, 20))[0]
    readers.close()


async def test_without_any_connection_it_is_said() -> None:
    """Nobody waits for what there is none of; one that broke is none, and is made anew where that can be."""
    exchange = Exchange(0)
    readers = Readers(exchange.dial, 4)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await crowd(readers, 3)
    exchange.left = 1
    _, (line,) = await crowd(readers, 3)
    line.terminate()
    with pytest.raises(StoreUnavailableError):
        await crowd(readers, 3)
    exchange.left = 1
    _, (newer,) = await crowd(readers, 3)
    assert newer is not line


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    """Whenever that is."""
    readers = Readers(Exchange(1).dial, 4)
    async with readers.one():
        waiting = [asyncio.create_task(crowd(readers, 1)) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
    waiting[1].cancel()

    assert 1 == (await waiting[2])[0]
    assert 1 == (await crowd(readers, 5))[0]
