"""Laws of processes that change the same rows on PostgreSQL: however batches are mixed, none has to be repeated."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.events.events import Delivery
from gateway.ids import least_id
from gateway.jobs.job import Job, State, born, move
from gateway.money.ledger import About, Budget, hold
from gateway.store.database import Statement, connect, queries
from gateway.store.locks import ROWS
from gateway.store.postgres import Postgres
from tests import databases

DAY = 86_400_000
JOBS = [least_id("video", at) for at in (DAY + 1, 2 * DAY + 1, 2 * DAY + 2)]
"""A job of the first day, and two of the second."""
DAYS = [
    Budget(f"{owner}:{day}", owner, "day", day * DAY, (day + 1) * DAY) for owner in ("key", "other", "instance")
    for day in (1, 2)
]  # fmt: skip
CLAIM = Statement("deliveries_claim", {"now": 5, "until": 99, "each": 9, "most": 9, "busy": "", "full": ""})
Writes = Sequence[Sequence[Statement]]


def job(number: int) -> Job:
    none = {"parent": None, "deadline_at": 9, "operation": "create", "lease_until": None}
    text = dict.fromkeys(("wish", "offer", "quote", "warnings", "hold"), "")
    return born(JOBS[number], "tenant", 1, buyer="key", **none, **text)  # type: ignore[arg-type]


def delivery(number: int) -> Delivery:
    return Delivery(
        id=f"d{number}", event="e", tenant="tenant", job=JOBS[0], endpoint="e0", url="", host=f"h{number}", type="t",
        created_at=1, due_at=1, lease_until=None, state="pending", tries=0, step=0, ended_at=None,
    )  # fmt: skip


def endpoint(number: int) -> Statement:
    none = dict.fromkeys(("old_until", "failing_since", "disabled_at", "disabled_why"))
    blank = dict.fromkeys(("tenant", "name", "url", "host", "event_types"), "")
    zero = dict.fromkeys(("version", "created_at", "updated_at"), 0)
    return Statement("endpoint_insert", {"id": f"e{number}", **blank, **none, **zero})


def shift(number: int, owner: str = "key") -> Statement:
    (posting,) = hold(About(JOBS[number], owner, "acme:maker/one", "main"), 100, (), 0)[1]
    return Statement("budget_shift", posting.shift())


def cancel(number: int) -> Statement:
    return Statement("job_cancel", {"id": JOBS[number], "tenant": "tenant", "now": 1})


def failed(number: int) -> Statement:
    return Statement("endpoint_failed", {"id": f"e{number}", "url": "", "now": 1})


def saved(number: int) -> Statement:
    return Statement("delivery_save", replace(delivery(number), tries=1), 1)


MOVED = Statement("job_save", move(job(0), State.QUEUED, 1), 1)
HOLD = Statement("deliveries_hold", {"endpoint": "e0"})
OFF = Statement("endpoint_disable", {"id": "e0", "url": "", "now": 1, "why": ""})
BUDGETS = "SELECT * FROM budgets FOR UPDATE"


@pytest.fixture
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Postgres, Postgres, asyncpg.Connection]]:
    """Two processes' worth of databases with something of everything in them, and a stranger."""
    url = databases.server().url_of(request.node.nodeid)
    one, other = (connect(url, databases.ENVIRON) for _ in range(2))
    assert isinstance(one, Postgres)
    assert isinstance(other, Postgres)
    for each in (one, other):
        each.open()
    await one.write(*(Statement("job_insert", job(number)) for number in range(3)))
    await one.write(*(Statement("delivery_insert", delivery(number)) for number in range(2)))
    await one.write(*(endpoint(number) for number in range(3)))
    await one.write(*(Statement("budget_open", budget) for budget in DAYS))
    await other.read("keys_all")
    await other.write(Statement("switch_off", {"name": "halt"}))
    stranger = await asyncpg.connect(url, password=databases.PASSWORD)
    yield one, other, stranger
    await stranger.close()
    one.close()
    other.close()


async def held_up(stranger: asyncpg.Connection, count: int) -> None:
    """Wait until so many are held up by what a stranger holds."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(5):
        while await stranger.fetchval(asked) < count:
            await stranger.execute("SELECT pg_stat_clear_snapshot()")


@pytest.mark.parametrize(
    ("holding", "first", "second"),
    [
        pytest.param(BUDGETS, [[shift(0)], [cancel(0)]], [[MOVED, shift(0)]], id="cancel"),
        pytest.param(BUDGETS, [[shift(0)], [CLAIM]], [[CLAIM], [shift(0)]], id="claim"),
        pytest.param(
            "SELECT * FROM budgets WHERE owner = 'key' FOR UPDATE",
            [[shift(0)], [shift(1, "other")]], [[shift(1)], [shift(0, "other")]], id="windows",
        ),
        pytest.param(
            f"SELECT * FROM jobs WHERE id = '{JOBS[2]}' FOR UPDATE",
            [[cancel(at)] for at in (0, 2, 1)], [[cancel(at)] for at in (1, 2, 0)], id="cancels",
        ),
        pytest.param(
            "SELECT * FROM endpoints WHERE id = 'e2' FOR UPDATE",
            [[failed(at)] for at in (0, 2, 1)], [[failed(at)] for at in (1, 2, 0)], id="failing",
        ),
        pytest.param(
            "SELECT * FROM deliveries FOR UPDATE",
            [[saved(1), failed(1)], [saved(0), failed(0)]], [[OFF, HOLD]], id="holding",
        ),
    ],
)  # fmt: skip
async def test_nobody_waits_for_who_waits_for_him(
    two: tuple[Postgres, Postgres, asyncpg.Connection], holding: str, first: Writes, second: Writes
) -> None:
    """Two batches that want the same rows in other orders come to their ends one after the other."""
    one, other, stranger = two
    with capture_logs() as logs:
        async with stranger.transaction():
            await stranger.execute(holding)
            ends = [asyncio.gather(*(one.write(*write) for write in first))]
            await held_up(stranger, 1)
            ends.append(asyncio.gather(*(other.write(*write) for write in second)))
            await held_up(stranger, 2)
        await asyncio.gather(*ends)

    assert [each["event"] for each in logs] == []


async def test_a_claim_passes_over_a_delivery_in_another_hand(
    two: tuple[Postgres, Postgres, asyncpg.Connection],
) -> None:
    """It is neither waited for nor taken."""
    one, _, stranger = two
    async with stranger.transaction():
        await stranger.execute("SELECT * FROM deliveries WHERE id = 'd0' FOR UPDATE")
        (rows,) = await asyncio.wait_for(one.write(CLAIM), 5)
    assert [row[0] for row in rows] == ["d1"]
    (rows,) = await one.write(CLAIM)
    assert [row[0] for row in rows] == ["d0"]


UNNAMED = {
    "budget_fits": "budget_shift has the row",
    "jobs_give_back": "nobody else is at work",
    "jobs_reckon": "nobody else is at work",
    "line_rouse": "nobody else is at work",
    "deliveries_give_back": "nobody else is at work",
    "deliveries_sweep": "nobody changes what ended days ago",
}
"""What changes rows that nobody locks before, and why."""


def test_whatever_changes_rows_of_others_locks_them_first() -> None:
    """A statement on a table several processes change is in the order, passes over what is locked, or is excused."""
    found = set()
    for name, query in queries("postgresql").items():
        table = re.search(r"(?:^|\s)(?:UPDATE|DELETE FROM) (jobs|budgets|endpoints|deliveries)\b", query.sql)
        if table and "SKIP LOCKED" not in query.sql:
            found.add(name)
            named = frozenset[str]().union(*(of for _, of in ROWS[f"{table[1]}_rows"].values()))
            assert (name in named) is (name not in UNNAMED), name
    assert found == {name for lists in ROWS.values() for _, of in lists.values() for name in of} | {*UNNAMED}
