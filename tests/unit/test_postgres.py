"""Laws of the store on PostgreSQL: any number of processes, and a server that may go and come back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from gateway.ids import least_id
from gateway.money.ledger import About, Budget, hold
from gateway.store.database import ConflictError, Statement, StoreUnavailableError, connect, migrations, queries
from gateway.store.postgres import Postgres
from gateway.store.store import held
from tests import databases
from tests.databases import ENVIRON, PostgreSQL
from tests.unit.rows import key


def opened(url: str) -> Postgres:
    database = connect(url, ENVIRON)
    assert isinstance(database, Postgres)
    database.open()
    return database


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return databases.server().url_of(request.node.nodeid)


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[Postgres, Postgres]]:
    """Two processes' worth of databases, which never met before."""
    pair = opened(url), opened(url)
    yield pair
    for each in pair:
        each.close()


@pytest.fixture
def mortal() -> Iterator[PostgreSQL]:
    """A server of its own for a test that ends it; it waits for the disk."""
    made = PostgreSQL(fsync=True).start()
    yield made
    made.remove()


@pytest.mark.parametrize("broken_off", [True, False])
async def test_a_connection_broken_off_between_two_messages_is_no_bug(
    two: tuple[Postgres, Postgres], monkeypatch: pytest.MonkeyPatch, broken_off: bool
) -> None:
    """The library then trips over what it has let go of; where nothing was broken off, the bug is told as one."""

    async def tripped(connection: asyncpg.Connection, *_: object, **__: object) -> list[asyncpg.Record]:
        if broken_off:
            connection.terminate()
        raise AttributeError("'NoneType' object has no attribute 'bind_execute'")

    await two[0].survey("keys_all")  # Connected before.
    monkeypatch.setattr(asyncpg.Connection, "fetch", tripped)
    with pytest.raises(StoreUnavailableError if broken_off else AttributeError):
        await two[0].survey("keys_all")


def job(number: int, *, due: int | None = 1) -> Statement:
    text = dict.fromkeys(("tenant", "state", "operation", "wish", "quote", "outputs", "usage", "warnings"), "")
    zero = dict.fromkeys(
        (
            *("seq", "created_at", "updated_at", "deadline_at", "tries", "lease_epoch", "attempts"),
            *("progress", "cancel_requested"),
        ),
        0,
    )
    none = dict.fromkeys(
        (
            *("started_at", "completed_at", "expires_at", "lease_until", "parent", "offer", "account", "attempt"),
            *("task", "error", "deleted_at", "buyer", "hold"),
        ),
    )
    return Statement("job_insert", {**text, **zero, **none, "id": f"j{number}", "due_at": due})


def attempt(number: int, *, account: str = "a") -> Statement:
    blank = dict.fromkeys(("answered_at", "ended_at", "task", "error"))
    record = {"id": f"t{number}", "job": f"j{number}", "number": 1, "offer": "", "account": account, **blank}
    record |= {"submit_class": "B", "outcome": "intent", "usd_micros": 0, "intent_at": 0}
    return Statement("attempt_insert", record, 1)


async def queued(connection: asyncpg.Connection, count: int) -> None:
    """Wait until so many are held up by what a connection holds."""
    held_up = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(5):
        while await connection.fetchval(held_up) < count:
            await connection.execute("SELECT pg_stat_clear_snapshot()")


CLAIM = Statement("jobs_claim", {"now": 5, "until": 99, "most": 10})


async def test_several_start_at_once(url: str) -> None:
    """Whoever comes first makes the tables, and the others find them."""
    many = [opened(url) for _ in range(4)]
    assert await asyncio.gather(*(each.read("keys_all") for each in many)) == [[]] * 4
    for each in many:
        each.close()


async def test_a_job_is_claimed_by_one(two: tuple[Postgres, Postgres]) -> None:
    """However many claim at the same time, every job is leased once, and none waits for another's commit."""
    one, other = two
    await asyncio.gather(*(one.write(job(number)) for number in range(40)))
    claimed = [
        row[0]
        for rows in await asyncio.gather(*(database.write(CLAIM) for _ in range(3) for database in (one, other)))
        for row in rows[0]
    ]

    assert sorted(claimed) == sorted(f"j{number}" for number in range(40))


async def test_a_claim_passes_over_what_another_has_its_hand_on(two: tuple[Postgres, Postgres], url: str) -> None:
    """A row that is locked is neither waited for nor taken."""
    one, _ = two
    await one.write(job(1), job(2))
    other = await asyncpg.connect(url, password=databases.PASSWORD)
    async with other.transaction():
        await other.execute("SELECT * FROM jobs WHERE id = 'j1' FOR UPDATE")
        (rows,) = await asyncio.wait_for(one.write(CLAIM), 5)
    await other.close()

    assert [row[0] for row in rows] == ["j2"]


async def test_an_account_is_never_over_full_whoever_orders(two: tuple[Postgres, Postgres]) -> None:
    """Of attempts that several processes open at once, as many stand as the account has places."""
    one, _ = two
    await asyncio.gather(*(one.write(job(number)) for number in range(30)))
    place = Statement("place_kept", {"account": "a", "most": 4}, 1)
    came = await asyncio.gather(
        *(two[number % 2].write(attempt(number), place) for number in range(30)), return_exceptions=True
    )

    assert sum(isinstance(each, ConflictError) for each in came) == 26
    assert await one.read("attempts_running") == [("a", 4)]


async def test_a_budget_begins_with_what_others_are_about_to_commit(two: tuple[Postgres, Postgres], url: str) -> None:
    """Who opens a budget waits for whom else money is on its way, and whoever moves it then finds it."""
    budget, known = Budget("key:total", "key", "total", 0, 10**9), queries("postgresql")
    (earlier,), (later,) = (
        hold(About(least_id("video", number), "key", "acme:maker/one", "main"), 100, limits, 0)[1]
        for number, limits in ((1, ()), (2, (budget,)))
    )
    await two[0].read("budgets_within", {"first": "", "last": "~"})
    other = await asyncpg.connect(url, password=databases.PASSWORD)
    async with other.transaction():
        for each in (Statement("budgets_share", {}), *held([earlier])):
            await other.execute(known[each.query].sql, *known[each.query].values(each.params))
        opening = asyncio.create_task(two[0].write(*held([later])))
        waiting = asyncio.create_task(queued(other, 1))
        await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    await opening
    await other.close()

    ((*_, aside, _, _, _),) = await two[1].read("budgets_within", {"first": "", "last": "~"})
    assert aside == 200


async def test_what_wakes_is_heard_by_all(two: tuple[Postgres, Postgres]) -> None:
    """A write that makes a job due is heard in every process, and one that does not is not."""
    one, other = two
    heard, ready = asyncio.Event(), asyncio.Event()
    await one.read("keys_all")
    other.listen(lambda: heard.set() if ready.is_set() else ready.set())
    await asyncio.wait_for(ready.wait(), 5)
    await one.write(job(1, due=None))
    assert not heard.is_set()
    await one.write(job(2), wakes=True)
    await asyncio.wait_for(heard.wait(), 5)


async def test_who_stands_in_each_others_way_both_arrive(two: tuple[Postgres, Postgres], url: str) -> None:
    """A deadlock costs time, and no write."""
    one, other = two
    await one.write(key(1), key(2))
    first, second = (Statement("key_revoke", {"id": name, "now": 1}) for name in ("k1", "k2"))
    stranger = await asyncpg.connect(url, password=databases.PASSWORD)
    # Whoever holds k1 has the other two queue up behind it in opposite orders.
    async with stranger.transaction():
        await stranger.execute("SELECT * FROM keys FOR UPDATE")
        writes = asyncio.gather(one.write(first, second), other.write(second, first))
        await queued(stranger, 2)
    answers = await writes
    await stranger.close()

    assert sum(len(rows) for answer in answers for rows in answer) == 2


async def test_every_text_is_compared_by_bytes(two: tuple[Postgres, Postgres], url: str) -> None:
    """Whatever order the database has by default, no column of ours takes it."""
    await two[0].read("keys_all")
    connection = await asyncpg.connect(url, password=databases.PASSWORD)
    found = await connection.fetch(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text'"
    )
    await connection.close()

    assert len(found) > 30
    assert {row["collation_name"] for row in found} == {"C"}


async def test_a_newer_database_is_left_alone(url: str) -> None:
    """A store written by a later version is refused, not guessed at."""
    database = opened(url)
    await database.write(Statement("version_keep", {"version": migrations()[-1][0] + 1}))
    database.close()
    late = opened(url)
    with pytest.raises(StoreUnavailableError, match="upgrade"):
        await late.read("keys_all")
    with pytest.raises(StoreUnavailableError, match="upgrade"):
        await late.write(key(1))
    late.close()


async def test_commits_survive_a_power_cut(mortal: PostgreSQL) -> None:
    """A commit that was answered is on disk even where the server was told not to wait for it."""
    mortal.run("ALTER SYSTEM SET synchronous_commit = off")
    mortal.stop()
    mortal.start()
    database = opened(mortal.url_of("power"))
    await asyncio.gather(*(database.write(key(number)) for number in range(50)))
    mortal.stop(signal.SIGQUIT)
    with pytest.raises(StoreUnavailableError):
        await database.write(key(100))
    with pytest.raises(StoreUnavailableError):
        await database.read("keys_all")
    mortal.start()

    assert len(await database.read("keys_all")) == 50
    await database.write(key(101))
    database.close()


async def test_a_listener_finds_its_server_again(mortal: PostgreSQL) -> None:
    """After a server went and came back, what is due is heard of again."""
    database = opened(mortal.url_of("ears"))
    await database.read("keys_all")
    heard: asyncio.Queue[None] = asyncio.Queue()
    database.listen(lambda: heard.put_nowait(None))
    await asyncio.wait_for(heard.get(), 5)
    mortal.stop()
    mortal.start()
    await asyncio.wait_for(heard.get(), 10)
    await database.write(job(1), wakes=True)
    await asyncio.wait_for(heard.get(), 5)
    database.close()


async def test_a_link_cut_while_it_writes_is_said(two: tuple[Postgres, Postgres], url: str) -> None:
    """Whoever was being written for hears that nothing is certain, and the next write goes through."""
    one, _ = two
    await one.write(key(1))
    stranger = await asyncpg.connect(url, password=databases.PASSWORD)
    async with stranger.transaction():
        await stranger.execute("LOCK TABLE keys IN EXCLUSIVE MODE")
        cut = asyncio.ensure_future(one.write(key(2)))
        await queued(stranger, 1)
        await stranger.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with pytest.raises(StoreUnavailableError):
            await cut
    await stranger.close()
    await one.write(key(3))

    assert {row[0] for row in await one.read("keys_all")} == {"k1", "k3"}


async def test_a_password_is_wanted_and_never_told(url: str) -> None:
    """Without it, or with a wrong one, the store says so and not what was tried."""
    for environ in ({}, {"REELGATE_STORE_PASSWORD": "a-guess"}):
        shut = connect(url, environ)
        shut.open()
        with pytest.raises(StoreUnavailableError) as caught:
            await shut.write(key(1))
        assert "a-guess" not in str(caught.value)
        shut.close()
    right = connect(url, {"PGPASSWORD": databases.PASSWORD})
    right.open()
    assert await right.read("keys_all") == []
    right.close()


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("jobs_claim", "jobs_due"),
        ("jobs_next_due", "jobs_due"),
        ("jobs_newest", "jobs_of_tenant"),
        ("attempts_of_job", "attempts_of_job"),
        ("place_kept", "attempts_open_of_account"),
        ("idempotency_sweep", "idempotency_expired"),
        ("jobs_old", "jobs_pkey"),
        ("jobs_old", "idempotency_of_job"),
        ("forget_tasks", "tasks_of_attempt"),
        ("forget_deliveries", "deliveries_of_job"),
    ],
)
async def test_what_is_asked_often_is_found_by_index(
    two: tuple[Postgres, Postgres], url: str, name: str, index: str
) -> None:
    """The planner has an index for whatever is asked while many jobs lie about."""
    await two[0].read("keys_all")
    query = queries("postgresql")[name]
    numbers = dict.fromkeys(("now", "until", "most", "before", "everybody"), 1)
    texts = dict.fromkeys(("tenant", "after", "job", "account", "id", "first", "last"), "x")
    values = query.values({**numbers, **texts})
    connection = await asyncpg.connect(url, password=databases.PASSWORD)
    await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query.sql}", *values))
    await connection.close()

    assert f"{index} " in plan, plan


COUNTS = {
    *(
        "attempts",
        "cancel_requested",
        "clips",
        "crashes",
        "dead",
        "faults",
        "fresh",
        "height",
        "number",
        "progress",
        "seq",
    ),
    *("status", "step", "suspect", "took_ms", "tries", "version", "width"),
}
"""Parameters that are small numbers; any other number may be a time."""
TODAY = 1_800_000_000_000


class Names(dict[str, str]):
    """Answer the name of whatever is asked for."""

    def __missing__(self, name: str) -> str:
        return name


async def test_every_query_takes_the_time_of_today(two: tuple[Postgres, Postgres], url: str) -> None:
    """PostgreSQL types a parameter by what stands beside it: none of any query is of a type no clock fits."""
    await two[0].read("keys_all")
    connection = await asyncpg.connect(url, password=databases.PASSWORD)
    await connection.execute("SET session_replication_role = replica")  # No row has to be there for another's sake.
    refused = []
    for name, query in queries("postgresql").items():
        asked = await connection.prepare(query.sql)
        values = [
            [] if kind.kind == "array" else "[]" if kind.name == "text" else 0 if each in COUNTS else TODAY
            for each, kind in zip(query.values(Names()), asked.get_parameters(), strict=True)
        ]
        run = connection.transaction()
        await run.start()
        try:
            await asked.fetch(*values)
        except asyncpg.DataError as error:
            refused.append((name, str(error)))
        finally:
            await run.rollback()
    await connection.close()

    assert refused == []


async def test_a_query_that_cannot_be_asked_is_told_of(two: tuple[Postgres, Postgres]) -> None:
    """No rows is the answer to a text no column can hold, not to a number the query has no room for."""
    for text in ("a\0b", "\ud800"):
        assert [] == await two[0].read("job_read", {"id": text})
    with pytest.raises(StoreUnavailableError, match="files_oldest"):
        await two[0].read("files_oldest", {"tenant": "t", "after": "", "most": 2**64, "now": 0, "purpose": None})
