"""Laws of forgetting: of any population exactly the jobs go that may, whole, and no sum and no law is moved by it."""

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.clips.cleaning import Cleaner
from gateway.clips.forgetting import Forgetter
from gateway.clips.shelf import ShelfError
from gateway.clock import DAY_MS
from gateway.door.accept import KEPT_MS, Repeat
from gateway.engine.operator import settle
from gateway.events.events import ENDED, SETTLED, Delivery, Endpoint, Try
from gateway.events.hooks import take_task
from gateway.events.outbox import Outbox
from gateway.ids import new_id
from gateway.jobs.job import Job, State
from gateway.money.billing import in_doubt
from gateway.money.ledger import FOR_EVER, Book, drift
from gateway.store.database import Row, Statement
from gateway.store.evidence import Kind as Said
from gateway.store.evidence import keep
from gateway.store.orphans import Orphan, note, report, see_to
from gateway.store.past import Why, old_jobs
from gateway.store.store import Store, TakenError
from providers.base.errors import Indeterminate, Refused, Throttled
from providers.base.task import Fault, Task, Update
from providers.base.task import State as TaskState
from providers.base.wire import Wire
from tests import databases
from tests.make import listing, price
from tests.scripted import Engine, clip, done, running

HOUR_MS = 3_600_000
TABLES = (
    "jobs", "attempts", "idempotency", "entries", "budgets", "deliveries", "tries", "hooks", "tasks", "lines",
    "evidence", "orphans", "past_orders", "past_tasks", "keys", "files", "endpoints", "switches", "callback_secrets",
)  # fmt: skip
LEDGER = {"entries", "budgets", "past_orders", "past_tasks"}
"""Where a forgotten job may still be named."""


async def says(task: Task, wire: Wire) -> Update:
    """How a task stands: as it is called, whenever it is asked."""
    kind = task.id.partition("-")[0]
    if kind == "doubt":
        return running(task.id)
    if kind in {"free", "charged"}:
        fault = Fault(code="x", message="it broke", billed=kind == "charged")
        return Update(state=TaskState.FAILED, task=task, fault=fault)
    return done(task.id)


def build(folder: Path) -> Engine:
    """A gateway whose jobs end as their tasks are called, and whose endpoint hears of every end."""
    engine = Engine(folder, listing(prices=[price("0.05")], deadline_seconds=600, poll_seconds=60), max_running=1000)
    engine.wire.default = clip(8, (64, 36))
    engine.provider.poll = says  # type: ignore[method-assign]
    return engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = build(tmp_path)
    yield built
    built.close()


async def order(engine: Engine, kind: str, **how: Any) -> Job:
    """Order a clip whose task is called so, and see it to its end."""
    engine.provider.submits = [running(f"{kind}-{new_id('t', engine.now)}")]
    return await engine.run((await engine.accept(prompt="a canary in a coal mine", **how)).id)


async def stale(engine: Engine, kind: str = "made") -> Job:
    """A job that ended so long ago that it may be forgotten."""
    job = await order(engine, kind)
    engine.now += KEPT_MS
    return job


def forgetter(engine: Engine) -> Forgetter:
    return Forgetter(engine.media, engine.store, engine.clock, engine.metrics)


async def dump(engine: Engine) -> dict[str, list[Row]]:
    """Read every table, behind the store's back."""
    if engine.store.shared:
        other = await asyncpg.connect(databases.url_of(engine.folder), password=databases.PASSWORD)
        found = {table: [tuple(row) for row in await other.fetch(f"SELECT * FROM {table}")] for table in TABLES}
        await other.close()
        return found
    with closing(sqlite3.connect(engine.folder / "reelgate.db")) as file:
        return {table: file.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


async def spoil(engine: Engine, statement: str) -> None:
    """Write behind the store's back."""
    if engine.store.shared:
        other = await asyncpg.connect(databases.url_of(engine.folder), password=databases.PASSWORD)
        await other.execute(statement)
        await other.close()
        return
    with closing(sqlite3.connect(engine.folder / "reelgate.db", isolation_level=None)) as file:
        file.execute(statement)


async def reports(engine: Engine) -> dict[str, Any]:
    """Everything that is added up, and every law that is broken."""
    store = engine.store
    return {
        "spent": await store.spent(0, FOR_EVER),
        "orders": Counter({replace(each, orders=0): each.orders for each in await store.orders(0, FOR_EVER)}),
        "took": sorted(await store.took(newest=1000, each=1000)),
        "last": await store.took(newest=2, each=1),
        "budgets": await store.budgets(),
        "ailments": await store.ailments(),
    }


async def shelved(engine: Engine) -> set[str]:
    """Whose clips lie on the shelf."""
    return {each.key.split("/")[2] async for each in engine.media.shelf.walk("clips")}


def mentions(row: Row, ids: set[str]) -> bool:
    return any(isinstance(value, str) and value in ids for value in row)


# How jobs come to be as they are


async def deleted(engine: Engine) -> Job:
    """One its client has deleted."""
    job = await order(engine, "made")
    await engine.store.delete(job.id, job.tenant)
    await engine.media.remove_clips(job.id)
    return job


async def cancelled(engine: Engine) -> Job:
    job = await engine.accept(prompt="a canary in a coal mine")
    await engine.store.cancel(job.id, job.tenant)
    return await engine.run(job.id)


async def refused(engine: Engine) -> Job:
    engine.provider.submits = [Refused("no")]
    return await engine.run((await engine.accept(prompt="a canary in a coal mine")).id)


async def turned_away(engine: Engine) -> Job:
    """One that was ordered twice, as it was turned away at first."""
    engine.provider.submits = [Throttled("busy", retry_after=1), running(f"made-{new_id('t', engine.now)}")]
    return await engine.run((await engine.accept(prompt="a canary in a coal mine")).id)


async def lost(engine: Engine) -> Job:
    """One whose order was never answered."""
    engine.provider.submits = [Indeterminate("silence")]
    return await engine.run((await engine.accept(prompt="a canary in a coal mine")).id)


async def settled(engine: Engine) -> Job:
    """One that was in doubt until an operator settled it."""
    done_, postings, told = settle(await order(engine, "doubt"), 150_000, engine.now)
    await engine.store.save(done_, postings=postings, also=told)
    return done_


async def keyed(engine: Engine) -> Job:
    return await order(engine, "made", repeat=Repeat(key=new_id("key", engine.now)))


async def ownerless(engine: Engine) -> Job:
    """One whose order made a task that nobody has seen to."""
    job = await order(engine, "free")
    await note(engine.store.database, Orphan(
        attempt=(await engine.store.attempts(job.id))[0].id, task="x", account="acme", job=job.id, found_at=engine.now,
    ))  # fmt: skip
    return job


async def seen_to(engine: Engine) -> Job:
    """The same, of which an operator has said that it is dealt with."""
    job = await ownerless(engine)
    assert await see_to(engine.store.database, (await engine.store.attempts(job.id))[0].id, engine.now) == 1
    return job


async def queued(engine: Engine) -> Job:
    return await engine.accept(prompt="a canary in a coal mine")


async def under_way(engine: Engine) -> Job:
    """One whose task is being made."""
    engine.provider.submits = [running(f"doubt-{new_id('t', engine.now)}")]
    job = await engine.accept(prompt="a canary in a coal mine")
    await engine.turn()
    return job


async def unknown(engine: Engine) -> Job:
    engine.provider.submits = [Indeterminate("silence")]
    job = await engine.accept(prompt="a canary in a coal mine")
    await engine.turn()
    return job


def ending(kind: str) -> Callable[[Engine], Any]:
    return lambda engine: order(engine, kind)


ENDINGS: Mapping[str, Callable[[Engine], Any]] = {
    "made": ending("made"), "free": ending("free"), "charged": ending("charged"), "doubt": ending("doubt"),
    "deleted": deleted, "cancelled": cancelled, "refused": refused, "turned_away": turned_away, "lost": lost,
    "settled": settled, "keyed": keyed, "ownerless": ownerless, "seen_to": seen_to,
}  # fmt: skip
OPEN: Mapping[str, Callable[[Engine], Any]] = {"queued": queued, "under_way": under_way, "unknown": unknown}
TOLD = ("delivered", "failed", "dropped", "pending", "held")
"""What becomes of the message of an end."""


async def told(engine: Engine, how: str) -> None:
    """Have the messages that are due go so."""
    outbox = Outbox(engine.store.database, engine.clock)
    for each in await outbox.claim(lease=1000, each=100, most=100, busy="", full=""):
        due = engine.now if how == "pending" else None
        tried = replace(each, state=how, due_at=due, tries=each.tries + 1, ended_at=engine.now, lease_until=None)
        await engine.store.database.write(
            Statement("delivery_save", tried, 1),
            Statement("try_insert", Try(delivery=each.id, number=tried.tries, at=engine.now, took_ms=5, status=200), 1),
        )


async def populate(engine: Engine, ended: list[tuple[str, str, int]], open_: list[str]) -> None:
    """Let jobs end one after the other, each message go its way, and hours pass; then begin some that do not end."""
    outbox = Outbox(engine.store.database, engine.clock)
    await outbox.add_endpoint(Endpoint(
        id="endpoint", tenant="tenant", name="n", url="https://app.test/a", host="app.test",
        event_types=" ".join((*ENDED, SETTLED)), version=1, old_until=None, created_at=1, updated_at=1,
    ))  # fmt: skip
    for kind, message, hours in ended:
        job = await ENDINGS[kind](engine)
        await told(engine, message)
        for each in await engine.store.attempts(job.id):
            await engine.store.database.write(
                keep(each.id, Said.ANSWER, "a canary said", engine.now),
                Statement("hook_insert", {"hash": f"hash {each.id}", "attempt": each.id}),
            )
        engine.now += hours * HOUR_MS
    for kind in open_:
        await OPEN[kind](engine)


async def expected(engine: Engine, rows: Mapping[str, list[Row]], before: int) -> tuple[set[str], int]:
    """Say by the law, job by job, who is to go; and how many of those that ended in time are kept."""
    go, kept = set[str](), 0
    for id_, *_ in rows["jobs"]:
        job = await engine.store.any_job(id_)
        assert job is not None
        if not job.state.final or (job.completed_at or 0) > before:
            continue
        books = drift(await engine.store.entries(id_))
        attempts = {each.id for each in await engine.store.attempts(id_)}
        may = (
            not in_doubt(job)
            and books[Book.HELD] == books[Book.SUSPENSE] == 0
            and not any(row[3] == id_ and row[11] in {"pending", "held"} for row in rows["deliveries"])
            and not any(row[3] == id_ and row[4] > engine.now for row in rows["idempotency"])
            and not any(row[0] in attempts and row[5] is None for row in rows["orphans"])
        )
        if may:
            go.add(id_)
        else:
            kept += 1
    return go, kept


@dataclass
class Life:
    """One population, and what was forgotten of it."""

    ended: list[tuple[str, str, int]]
    open: list[str]
    days: int
    """How long ago the last of them ended."""
    back: int
    """How many hours before that who is forgotten had ended."""
    seen: Counter[str] = field(default_factory=Counter)

    async def live(self, folder: Path) -> None:
        engine = build(folder)
        try:
            await self._live(engine)
        finally:
            engine.close()

    async def _live(self, engine: Engine) -> None:
        await populate(engine, self.ended, self.open)
        before = engine.now - self.back * HOUR_MS
        engine.now += self.days * DAY_MS
        rows, sums = await dump(engine), await reports(engine)
        go, kept = await expected(engine, rows, before)
        attempts = {row[0] for row in rows["attempts"] if row[1] in go}
        named = go | attempts | {row[0] for row in rows["deliveries"] if row[3] in go}
        clips = await shelved(engine)

        would, why = await forgetter(engine).all(before, dry_run=True)
        assert (len(go), kept) == (would, why.total())
        assert (rows, sums) == (await dump(engine), await reports(engine))
        assert (len(go), why) == await forgetter(engine).all(before)

        left = await dump(engine)
        assert sums == await reports(engine)
        for table in TABLES:
            if table not in LEDGER:
                stay = [row for row in rows[table] if not mentions(row, named)]
                assert Counter(left[table]) == Counter(stay), table
        assert (left["entries"], left["budgets"]) == (rows["entries"], rows["budgets"])
        assert {row[0] for row in left["past_orders"]} == attempts
        assert {row[2] for row in left["past_tasks"]} <= attempts
        assert not any("canary" in str(row) for table in LEDGER for row in left[table])
        assert clips - go == await shelved(engine)
        for id_ in go:
            assert (await engine.store.job(id_, "tenant"), await engine.store.owns(id_, "tenant")) == (None, True)
        assert (0, why) == await forgetter(engine).all(before)
        assert left == await dump(engine)
        self.seen.update({"gone": len(go), **why})


@given(
    ended=st.lists(
        st.tuples(st.sampled_from([*ENDINGS]), st.sampled_from(TOLD), st.integers(0, 40)), min_size=1, max_size=6
    ),
    open_=st.lists(st.sampled_from([*OPEN]), max_size=2),
    days=st.sampled_from([0, 1, 10]),
    back=st.integers(0, 60),
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_exactly_those_go_that_may(
    tmp_path: Path, ended: list[tuple[str, str, int]], open_: list[str], days: int, back: int
) -> None:
    """Whatever there is: who goes, goes whole; nobody else is touched, and no report says anything else than before."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    asyncio.run(Life(ended, open_, days, back).live(folder))


def test_every_reason_to_keep_a_job_is_met(tmp_path: Path) -> None:
    """One of each, told in each way: the law above has all of them to tell apart."""
    ended = [(kind, "delivered", 1) for kind in ENDINGS] + [("made", how, 1) for how in TOLD]
    life = Life(ended, [*OPEN], days=0, back=0)
    asyncio.run(life.live(tmp_path))

    assert {"gone", Why.MONEY, Why.WEBHOOK, Why.REPEAT, Why.ORPHAN} == set(life.seen)
    assert life.seen["gone"] >= 9


async def test_nobody_goes_before_the_time(engine: Engine) -> None:
    """It counts from the end, to the millisecond."""
    job = await stale(engine)
    assert job.completed_at is not None

    assert 0 == (await forgetter(engine).all(job.completed_at - 1))[0]
    assert 1 == (await forgetter(engine).all(job.completed_at))[0]


async def test_what_is_to_be_sent_again_meanwhile_stays(engine: Engine) -> None:
    """Who goes is looked at again in the transaction in which it would."""
    outbox = Outbox(engine.store.database, engine.clock)
    job = await stale(engine)
    told_of = Delivery(
        id="d", event="e", tenant="tenant", job=job.id, endpoint=None, url="https://app.test", host="app.test",
        type="t", created_at=engine.now, due_at=None, state="delivered", ended_at=engine.now,
    )  # fmt: skip
    await engine.store.database.write(Statement("delivery_insert", told_of))
    page = await old_jobs(engine.store.database, before=engine.now, now=engine.now, after="", most=9)
    assert [None] == [each.kept for each in page]
    assert await outbox.replay("d", "tenant")

    assert 0 == await forgetter(engine).forget(page, engine.now)
    assert [Why.WEBHOOK] == [*(await forgetter(engine).all(engine.now))[1]]
    (waiting,) = await outbox.claim(lease=1000, each=1, most=1, busy="", full="")
    assert job.id == waiting.job


async def test_a_clip_that_cannot_be_removed_keeps_its_row(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted as far as its client sees, a worker goes on trying, and it is forgotten once its clip is gone."""
    job = await stale(engine)

    async def fail(keys: object) -> None:
        raise ShelfError("away")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(engine.media.shelf, "remove", fail)
        assert 0 == (await forgetter(engine).all(engine.now))[0]
    assert ["clips.unremoved"] == [each["event"] for each in logs]
    assert await engine.store.job(job.id, job.tenant) is None
    found = await engine.store.any_job(job.id)
    assert found is not None
    assert engine.now == found.due_at
    await engine.turn()
    assert [] == [each async for each in engine.media.shelf.walk("clips")]
    assert 1 == (await forgetter(engine).all(engine.now))[0]


async def test_a_forgotten_order_is_no_orphan(engine: Engine) -> None:
    """Its receipt outlives it, and tells of nothing that is lost."""
    job = await stale(engine)
    (attempt,) = await engine.store.attempts(job.id)
    assert attempt.id in engine.receipts[-1].noted
    assert 1 == (await forgetter(engine).all(engine.now))[0]

    assert 0 == await report(engine.store.database, engine.receipts[-1], engine.now)


async def test_a_forgotten_task_is_taken_for_nobody_elses(engine: Engine) -> None:
    """An old clip would be another's, and told to whoever ordered the new one."""
    job = await stale(engine)
    (before,) = await engine.store.attempts(job.id)
    assert 1 == (await forgetter(engine).all(engine.now))[0]
    engine.provider.submits = [Indeterminate("silence")]
    other = await engine.accept(prompt="a dog")
    await engine.turn()
    other = await engine.job(other.id)
    task = Task(str(before.task).split('"')[3])

    assert before.id == await Outbox(engine.store.database, engine.clock).owner("acme", task.id)
    with pytest.raises(TakenError):
        await engine.store.save(replace(other, seq=other.seq + 1), also=[take_task(other, task, adopted=True)])


async def test_pages_go_on_behind_who_is_forgotten(engine: Engine) -> None:
    """A list that was left off there goes on as behind one that is deleted; an id nobody had is none."""
    jobs = [await order(engine, "made") for _ in range(3)]
    engine.now += KEPT_MS
    page = await old_jobs(engine.store.database, before=engine.now, now=engine.now, after="", most=2)
    assert 2 == await forgetter(engine).forget(page, engine.now)

    assert await engine.store.owns(jobs[1].id, "tenant")
    found = await engine.store.jobs("tenant", after=jobs[1].id, limit=9, newest_first=False)
    assert [jobs[2].id] == [each.id for each in found.jobs]
    assert not await engine.store.owns(jobs[2].id, "other")
    assert not await engine.store.owns(new_id("video", engine.now + 1), "tenant")


async def test_a_repeat_of_a_call_whose_job_is_forgotten_is_a_new_call(engine: Engine) -> None:
    """For as long as the key holds it is the same job, which stays; then both are gone."""
    repeat = Repeat(key="once")
    job = await order(engine, "made", repeat=repeat)
    engine.now = job.created_at + KEPT_MS - 1
    assert (0, Counter({Why.REPEAT: 1})) == await forgetter(engine).all(engine.now)
    assert job.id == (await engine.accept(repeat, prompt="a canary in a coal mine")).id
    engine.now += 1
    assert (1, Counter()) == await forgetter(engine).all(engine.now)

    assert job.id != (await engine.accept(repeat, prompt="a canary in a coal mine")).id


async def test_a_round_is_bounded_and_goes_round(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are kept, those behind them have their turn; and who may go later has it at the next time round."""
    monkeypatch.setattr("gateway.clips.forgetting.PAGE", 2)
    monkeypatch.setattr("gateway.clips.forgetting.PAGES", 1)
    doubts = [await order(engine, "doubt") for _ in range(2)]
    made = [await order(engine, "free") for _ in range(3)]
    engine.now += 5 * DAY_MS
    each = forgetter(engine)

    assert [0, 2, 1] == [await each.round(engine.now) for _ in range(3)]
    job, postings, told_of = settle(await engine.job(doubts[0].id), 0, engine.now)
    await engine.store.save(job, postings=postings, also=told_of)
    assert 1 == await each.round(engine.now)
    assert [doubts[1].id] == [row[0] for row in (await dump(engine))["jobs"]]
    assert State.FAILED is made[0].state
    assert "reelgate_jobs_forgotten_total 4.0" in engine.metrics.exposition().decode()


async def test_two_processes_forget_once(engine: Engine) -> None:
    """Each order is counted once, whoever comes first."""
    for _ in range(9):
        await order(engine, "free")
    engine.now += KEPT_MS
    sums = await reports(engine)
    with databases.using("postgresql" if engine.store.shared else "sqlite"):
        beside = databases.store_in(engine.folder)
    beside.open(exclusive=False)
    other = Forgetter(engine.media, Store(beside, engine.clock), engine.clock)
    gone = await asyncio.gather(forgetter(engine).all(engine.now), other.all(engine.now))
    beside.close()

    assert 9 == sum(count for count, _ in gone)
    assert sums == await reports(engine)
    assert [] == (await dump(engine))["jobs"]


@pytest.mark.parametrize(("days", "left"), [(0, 1), (3, 1), (2, 0)])
async def test_the_cleaner_forgets_where_it_is_told_to(engine: Engine, days: int, left: int) -> None:
    """So many days after the end; by default never."""
    await order(engine, "made")
    engine.now += 3 * DAY_MS - 1
    with capture_logs() as logs:
        cleaner = Cleaner(engine.media, engine.store, engine.clock, retention_ms=0, jobs_ms=days * DAY_MS)
        cleaner.wake()
        await cleaner._round()

    assert left == len((await dump(engine))["jobs"])
    assert [1 - left] * (1 - left) == [each["count"] for each in logs if each["event"] == "jobs.forgotten"]


async def test_who_is_being_worked_on_stays(engine: Engine) -> None:
    """A worker that removes its clips finds it there when it has done so."""
    job = await stale(engine)
    await engine.store.delete(job.id, job.tenant)
    await engine.store.database.write(Statement("job_retire", {"id": job.id, "now": engine.now}))
    (claimed,) = await engine.store.claim(lease=60_000, most=9)
    assert (0, Counter({Why.STEP: 1})) == await forgetter(engine).all(engine.now)

    await engine.steps.take(claimed)
    assert (1, Counter()) == await forgetter(engine).all(engine.now)


async def test_what_breaks_a_law_is_left_for_the_doctor(engine: Engine) -> None:
    """An order open after its job's end, money still set aside, a doubt without any: none goes unseen."""
    broken = [await order(engine, kind) for kind in ("charged", "free", "doubt")]
    engine.now += KEPT_MS
    await spoil(engine, f"UPDATE attempts SET outcome = 'accepted' WHERE job = '{broken[0].id}'")
    await spoil(engine, f"DELETE FROM entries WHERE job = '{broken[1].id}' AND kind <> 'hold'")
    await spoil(engine, f"DELETE FROM entries WHERE job = '{broken[2].id}'")
    before = await engine.store.ailments()
    assert {"ended_open", "held_for_ever", "bought_unsaid"} == set(before)

    assert (0, Counter([Why.ORDER, Why.MONEY, Why.MONEY])) == await forgetter(engine).all(engine.now)
    assert before == await engine.store.ailments()
