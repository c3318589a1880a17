"""One gateway's life as Hypothesis tells it: whatever is asked, answered, decided and forgotten, in whatever order."""

import asyncio
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import msgspec
import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Struct

from gateway.door.accept import KEPT_MS, Repeat, fingerprint_of
from gateway.engine.operator import MoveError, adopt, resubmit, settle, write_off
from gateway.events.events import SETTLED
from gateway.jobs.job import FINAL, OPEN, Attempt, Job, State
from gateway.jobs.wish import Preferences, Wish
from gateway.money.billing import doubts, former
from gateway.money.ledger import Book, Hold, Limits, drift
from gateway.problems import ProblemError
from gateway.store.database import ConflictError, Statement
from gateway.store.store import MismatchError, TakenError
from providers.base.errors import Indeterminate, Invalid, Missing, Refused, Throttled, Unavailable
from providers.base.order import Order, Request
from providers.base.task import Fault, Task, Update, Usage
from providers.base.task import State as TaskState
from providers.base.wire import Wire
from tests.machine.laws import doubtful
from tests.machine.upstream import CLIP, study
from tests.machine.world import blank
from tests.make import listing, price
from tests.scripted import Engine, Scripted, done, running

MINUTE_MS, DAY_MS = 60_000, 86_400_000
LIMITS = Limits(total=2_500_000, jobs=6)
"""What the one key may spend, and have under way."""
TAKEN = ("taken", "taken and lost", "taken and crashed")
NOT_TAKEN = ("lost", "refused", "invalid", "throttled", "unavailable")
ENDS = ("done", "cheap", "failed", "billed", "unsaid", "forgotten", "silent")


class Made(Struct):
    """Hold one task as its seller knows it."""

    attempt: str
    end: str = ""


class Seller(Scripted):
    """Take orders as fate will, and know the truth."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.fates: list[str] = []
        self.tasks: dict[str, Made] = {}

    async def submit(self, order: Order, wire: Wire) -> Update:
        fate = self.fates.pop(0) if self.fates else "taken"
        refusals = {
            "lost": Indeterminate("silence"), "refused": Refused("no"), "invalid": Invalid("no"),
            "throttled": Throttled("slow down", retry_after=5), "unavailable": Unavailable("closed"),
        }  # fmt: skip
        if fate in refusals:
            raise refusals[fate]
        task = f"{self.listing.slug}-{len(self.tasks)}"
        self.tasks[task] = Made(order.attempt)
        if fate == "taken and lost":
            raise Indeterminate("silence")
        if fate == "taken and crashed":
            raise RuntimeError("a defect of ours")
        return running(task)

    async def poll(self, task: Task, wire: Wire) -> Update:
        made = self.tasks.get(task.id, Made("", "forgotten"))
        match made.end:
            case "":
                return running(task.id)
            case "done":
                return done(task.id)
            case "cheap":
                return done(task.id, usage=Usage(usd_micros=1_000))
            case "forgotten":
                raise Missing("who?")
            case "silent":
                raise Unavailable("nobody home")
        billed = {"failed": False, "billed": True, "unsaid": None, "cancelled": False}[made.end]
        state = TaskState.CANCELLED if made.end == "cancelled" else TaskState.FAILED
        return Update(state=state, task=task, fault=Fault(code="x", message="it broke", billed=billed))

    async def find(self, order: Order, wire: Wire) -> Update | None:
        if self.listing.submit_class != "B":
            return await super().find(order, wire)
        return next((running(task) for task, made in self.tasks.items() if made.attempt == order.attempt), None)

    async def cancel(self, task: Task, wire: Wire) -> Update:
        made = self.tasks.get(task.id)
        if made is not None and not made.end:
            made.end = "cancelled"
        return await self.poll(task, wire)


class Life(RuleBasedStateMachine):
    """Hold a gateway, what its clients were told, and what its sellers really sold."""

    begun = 0
    met: ClassVar[Counter[str]] = Counter()
    """States jobs were seen in, and what their money came to, over every life."""

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
        folder = Path(self.folder.name)
        blank(folder / "reelgate.db")
        self.patches = [
            mock.patch("gateway.clips.study._study", study), mock.patch("tests.scripted.Scripted", Seller),
            mock.patch("tests.scripted.clip", return_value=CLIP + b"x" * 99), structlog.testing.capture_logs(),
        ]  # fmt: skip
        for each in self.patches:
            each.__enter__()
        self.runner = asyncio.Runner()
        found = listing("finder", submit_class="B", prices=[price("0.05")])
        self.engine = Engine(folder, found, listing("silent", prices=[price("0.06")]), max_running=3)
        # The doctor is asked after every step: in this thread, which Hypothesis watches at every line, not in another.
        self.engine.store.database.survey = self.engine.store.database.read  # type: ignore[method-assign, assignment]
        self.sellers: list[Seller] = list(self.engine.providers.values())  # type: ignore[arg-type]
        self.auditor = sqlite3.connect(f"file:{folder}/reelgate.db?mode=ro", uri=True)
        self.auditor.row_factory = sqlite3.Row
        self.buyer = self.do(self.engine.key(LIMITS))
        self.jobs: list[str] = []
        self.keys: dict[str, tuple[int, str, int]] = {}
        self.late: list[Any] = []
        self.resubmitted: Counter[str] = Counter()
        self.ends: dict[str, tuple[Any, ...]] = {}
        self.paid: dict[str, tuple[Any, ...]] = {}
        self.doubted: set[str] = set()
        Life.begun += 1

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        Life.met.update(kind for (kind,) in self.auditor.execute("SELECT kind FROM entries"))
        Life.met.update(state for (state,) in self.auditor.execute("SELECT state FROM jobs"))
        Life.met.update(outcome for (outcome,) in self.auditor.execute("SELECT outcome FROM attempts"))
        self.auditor.close()
        self.engine.close()
        self.runner.close()
        for each in reversed(self.patches):
            each.__exit__(None, None, None)
        self.folder.cleanup()

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)

    # Clients

    @rule(
        key=st.sampled_from((None, None, "k0", "k1")), body=st.integers(0, 1), seller=st.sampled_from((0, 1, None)),
        fate=st.sampled_from(("taken", *TAKEN, *NOT_TAKEN)), begin=st.integers(0, 3), again=st.booleans(),
    )  # fmt: skip
    def create(self, key: str | None, body: int, seller: int | None, fate: str, begin: int, *, again: bool) -> None:
        """Ask for a clip, and mostly begin with it: fate decides what becomes of the order."""
        self.ask(key, body, seller, again=again)
        if begin:
            for each in self.sellers:
                each.fates[:] = [fate]
            self.do(self.engine.turn())

    @precondition(lambda self: not self.jobs)
    @rule(count=st.integers(1, 3))
    def hear_nothing(self, count: int) -> None:
        """Order, for a client who would rather pay twice, of who takes every order and answers none for a while."""
        self.ask(None, 0, 1, again=True)
        for each in self.sellers:
            each.fates[:] = ["taken and lost"] * count
        self.do(self.engine.turn())
        for _ in range(count):
            self.wait(200)
        for each in self.sellers:
            each.fates.clear()

    def ask(self, key: str | None, body: int, seller: int | None, *, again: bool) -> None:
        """With a key it is one job, whatever comes; what is over the limits is none."""
        prompt = f"a cat, {body} {seller}"
        wish = Wish(request=Request(prompt=prompt, model="maker/one", seconds=8), callback_url="https://client.test")
        only = () if seller is None else (self.sellers[seller].listing.slug,)
        wanted = Preferences(only=only, on_unknown="resubmit" if again else "fail")
        wish = msgspec.structs.replace(wish, preferences=wanted)
        known = self.keys.get(key or "")
        fresh = known is None or self.engine.now >= known[2]
        said = hash(prompt)
        acceptor = self.engine.acceptor
        try:
            decision = acceptor.decide(wish)
        except ProblemError as problem:
            if problem.code not in {"no_offer", "no_offer_now"}:
                raise
            return
        quoted = decision.ranked[0].choice
        assert quoted is not None
        try:
            said = fingerprint_of(wish)
            job, new = self.do(
                acceptor.accept(
                    wish, decision, "tenant", Repeat(key=key), fingerprint=said, buyer=self.buyer, limits=LIMITS
                )
            )
        except MismatchError:
            assert known is not None
            assert not fresh
            assert known[0] != said
            return
        except ProblemError as problem:
            assert fresh, "what a key has bought is answered whatever is left"
            if problem.status == 429:
                assert self.count("SELECT count(*) FROM jobs WHERE completed_at IS NULL") == LIMITS.jobs
            else:
                if problem.status != 402:
                    raise
                used = self.count("SELECT held + spent + suspense FROM budgets")
                assert used + quoted.usd_micros > (LIMITS.total or 0)
            return
        assert new is fresh
        if not fresh:
            assert known is not None
            assert (job.id, said) == (known[1], known[0])
            return
        self.jobs.append(job.id)
        if key:
            self.keys[key] = (said, job.id, self.engine.now + KEPT_MS)

    @precondition(lambda self: self.jobs)
    @rule(at=st.integers(0, 99))
    def cancel(self, at: int) -> None:
        """Think better of it: what has ended stays as it is."""
        id_ = self.jobs[at % len(self.jobs)]
        ended = self.state(id_) in FINAL
        assert (self.do(self.engine.store.cancel(id_, "tenant")) is None) is ended

    # Sellers

    @precondition(lambda self: any(each.tasks for each in self.sellers))
    @rule(at=st.integers(0, 99), how=st.sampled_from(("done", "done", "done", *ENDS)), look=st.booleans())
    def come_out(self, at: int, how: str, look: bool) -> None:
        """Let a task come to its end, seen at once or later."""
        tasks = [made for each in self.sellers for made in each.tasks.values()]
        made = next((each for each in tasks if not each.end), tasks[at % len(tasks)])
        made.end = made.end or how
        if look:
            self.wait(70)

    # Workers and time

    @rule(seconds=st.sampled_from((0, 1, 10, 10, 70, 70, 200, 200, 700, 90_000, 4 * 86_400)))
    def wait(self, seconds: int) -> None:
        """Let time pass, and work off what is due."""
        self.do(self.engine.turn(seconds=seconds))
        for _ in range(20):
            if not self.do(self.engine.turn()):
                return

    @rule()
    def fall_asleep(self) -> None:
        """Claim what is due, and do nothing about it yet."""
        self.late += self.do(self.engine.store.claim(lease=60_000, most=2))

    @precondition(lambda self: self.late)
    @rule()
    def wake_up(self) -> None:
        """Go on with a job claimed long ago, which another may have gone on with."""
        job = self.late.pop()
        try:
            self.do(self.engine.steps.take(job))
        except ConflictError:
            assert self.count("SELECT seq + lease_epoch FROM jobs WHERE id = ?", job.id) > job.seq + job.lease_epoch

    @rule(operator=st.booleans())
    def be_overtaken(self, operator: bool) -> None:
        """Claim a job, and go on with it only after another has, or after an operator has decided."""
        self.engine.now += 70_000
        self.late += self.do(self.engine.store.claim(lease=60_000, most=9))
        if operator:
            for each in self.late:
                self.decide(self.jobs.index(each.id), "write off", 0)
        else:
            self.do(self.engine.turn(seconds=60.001))
        while self.late:
            self.wake_up()

    @rule()
    def start_again(self) -> None:
        """End the process and start another."""
        self.late.clear()
        self.engine.restart()
        self.do(self.engine.store.start_over())
        self.do(self.engine.tools.line.recount())

    # Operators

    @rule(stop=st.booleans())
    def halt(self, stop: bool) -> None:
        """Let nothing be bought, or let it be bought again."""
        store = self.engine.store
        before = sum(len(each.tasks) for each in self.sellers)
        if stop:
            self.do(store.halt("enough"))
            self.do(self.engine.turn())
            assert sum(len(each.tasks) for each in self.sellers) == before
        self.do(store.go_on())

    @precondition(lambda self: self.jobs)
    @rule(at=st.integers(0, 99), what=st.sampled_from(("adopt", "resubmit", "write off")), task=st.integers(0, 99))
    def decide(self, at: int, what: str, task: int) -> None:
        """Decide about a job: refused unless nobody knows its order's fate, or where the task is somebody else's."""
        store, now = self.engine.store, self.engine.now
        id_ = self.jobs[at % len(self.jobs)]
        job = self.do(store.any_job(id_))
        open_ = next((each for each in self.do(store.attempts(id_)) if each.outcome in OPEN), None)
        if open_ is None:
            return
        tasks = {n: made for each in self.sellers for n, made in each.tasks.items() if each.listing.slug == job.account}
        try:
            if what == "adopt" and tasks:
                name = [*tasks][task % len(tasks)]
                owned = self.count("SELECT count(*) FROM tasks WHERE task = ? AND attempt <> ?", name, open_.id)
                if tasks[name].attempt == open_.id or owned:
                    self.adopt(adopt(job, open_, name, now), refused=bool(owned))
            elif what == "resubmit":
                self.do(store.save(*resubmit(job, open_, now)))
                self.resubmitted[id_] += 1
            elif what == "write off":
                ended, lost, postings, told = write_off(job, open_, now)
                self.do(store.save(ended, lost, postings=postings, also=told))
        except MoveError:
            assert job.state is not State.UNKNOWN

    def adopt(self, ruling: tuple[Job, Attempt, list[Statement]], *, refused: bool) -> None:
        job, accepted, whose = ruling
        try:
            self.do(self.engine.store.save(job, accepted, also=whose))
        except TakenError:
            assert refused
        else:
            assert not refused, "one task was given to two"

    @precondition(lambda self: self.jobs)
    @rule(at=st.integers(0, 99), share=st.sampled_from((0, 1, 2)))
    def bill(self, at: int, share: int) -> None:
        """Settle what is in doubt by the invoice; what is not in doubt is not settled."""
        job = self.do(self.engine.store.any_job(self.jobs[at % len(self.jobs)]))
        held = msgspec.json.decode(job.hold, type=Hold)
        try:
            settled, postings, told = settle(job, held.usd_micros * share // 2, self.engine.now)
        except MoveError:
            assert not doubts(job)
        else:
            self.do(self.engine.store.save(settled, postings=postings, also=told))

    # Laws

    @invariant()
    def money_adds_up(self) -> None:
        """I4: sums are their entries', nothing is below nothing or over its limit, and a hold is closed once."""
        if not hasattr(self, "engine"):
            return
        sums: Counter[Book] = Counter()
        for id_ in self.jobs:
            entries = self.do(self.engine.store.entries(id_))
            books = drift(entries)
            assert sum(books.values()) == 0
            assert min(books[each] for each in (Book.HELD, Book.SPENT, Book.SUSPENSE)) >= 0
            ended = self.state(id_) in FINAL
            held = sum(each.usd_micros for each in entries if each.credit is Book.HELD)
            job = self.do(self.engine.store.any_job(id_))
            order = former(job)
            apart = msgspec.json.decode(order.hold, type=Hold).usd_micros if order else 0
            assert books[Book.HELD] == (0 if ended else held - apart)
            assert ended or (books[Book.SPENT], books[Book.SUSPENSE]) == (0, apart)
            kinds = Counter((each.kind, bool(order and each.id.endswith(order.attempt))) for each in entries)
            closing = [count for (kind, _), count in kinds.items() if kind in {"settle", "suspend", "release"}]
            assert max(closing, default=0) <= 1
            sums.update(books)
        for row in self.auditor.execute("SELECT held, spent, suspense FROM budgets"):
            assert tuple(row) == (sums[Book.HELD], sums[Book.SPENT], sums[Book.SUSPENSE])
            assert sum(row) <= (LIMITS.total or 0)

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        """
        I1: whatever was lost and found, a job has one task that costs anything or may yet, and one more for each time
        an operator said so, or once where its call asked for it.
        """
        if not hasattr(self, "engine"):
            return
        bought: Counter[str] = Counter()
        whose = {row["id"]: row["job"] for row in self.auditor.execute("SELECT id, job FROM attempts")}
        for each in self.sellers:
            bought.update(whose[made.attempt] for made in each.tasks.values() if made.end != "failed")
        for id_, count in bought.items():
            again = self.count("SELECT count(*) FROM jobs WHERE id = ? AND abandoned IS NOT NULL", id_)
            assert count <= 1 + self.resubmitted[id_] + again, f"{id_} was bought {count} times"

    @invariant()
    def ends_stay(self) -> None:
        """I7 and I8: an end never changes, and exactly one message to each who asked says so."""
        if not hasattr(self, "engine"):
            return
        count = "SELECT job, count(*) FROM deliveries WHERE (type = ?) = ? GROUP BY job"
        told, settled = (dict(self.auditor.execute(count, (SETTLED, late)).fetchall()) for late in (0, 1))
        for row in self.auditor.execute("SELECT * FROM jobs WHERE completed_at IS NOT NULL"):
            end = tuple(row[name] for name in ("state", "completed_at", "error", "attempt"))
            assert self.ends.setdefault(row["id"], end) == end
            assert told.get(row["id"]) == 2  # the endpoint and the callback
            if doubtful(row):
                self.doubted.add(row["id"])
            else:
                paid = row["task"], row["usage"], row["hold"], row["abandoned"]
                assert self.paid.setdefault(row["id"], paid) == paid
        assert told.keys() == self.ends.keys()
        assert settled == dict.fromkeys(self.doubted & self.paid.keys(), 1)

    @invariant()
    def the_doctor_finds_nothing(self) -> None:
        """Every law of ``sql/doctor.sql`` holds at every moment."""
        if hasattr(self, "engine"):
            found = self.do(self.engine.store.ailments())
            # Somebody fell asleep over it three times in a row: as far as can be told, he died of it.
            found.pop("put_aside", None)
            assert found == {}

    def state(self, id_: str) -> State:
        (state,) = self.auditor.execute("SELECT state FROM jobs WHERE id = ?", (id_,)).fetchone()
        return State(state)

    def count(self, sql: str, *values: object) -> int:
        row = self.auditor.execute(sql, values).fetchone()
        return row[0] if row else 0
