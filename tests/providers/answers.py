"""
Spoilt answers, each through its adapter and a whole step of the engine: never a crash, a wrong end or a refund.

An answer is one of the recorded ones, of a look or of the call that buys, spoilt by :mod:`tests.providers.spoilt`.
"""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.finished import ClipError, Missed
from gateway.jobs.job import Job, Outcome, State
from providers.base.errors import Again, ProviderError
from providers.base.task import State as TaskState
from providers.base.task import Task, Update
from tests.make import listing
from tests.providers.cases import Case, Exchange, Player, cases, listing_of, open_provider, order_of, tried
from tests.providers.spoilt import spoilt
from tests.scripted import Engine

BAD = frozenset({TaskState.FAILED, TaskState.REFUSED, TaskState.CANCELLED, TaskState.EXPIRED})
"""Ends without a clip."""
HALF = {
    ("cometapi", "a chat's task, running"): "its clip is named before it is rendered larger, by whatever ends in .mp4",
    ("flow", "one of two"): "what is left of it without the clip that was made says that the other failed",
    ("vertex", "veo done, one of two filtered"): "what is left of it without its clips says that all were filtered",
}
"""Recorded answers that say two things, of which one may be all that is left; no other changes its verdict."""


SPOILT = "is no verdict"
"""How the names of cases end that are spoilt as they are."""


class Told(Struct, frozen=True):
    """Hold one case with what it is asked by."""

    dialect: str
    verb: str
    case: Case

    @property
    def meant(self) -> TaskState | str:
        """What it says unspoilt: a task's state, or an error's kind."""
        if self.case.error is not None:
            return str(self.case.error["kind"])
        return TaskState((self.case.update or {}).get("state", "running"))


TOLD = [
    Told(dialect, verb, case)
    for dialect in tried()
    for verb, kind in (("poll", "looks"), ("submit", "orders"))
    for case in getattr(cases(dialect), kind)
    if not case.name.endswith(SPOILT)
    if case.exchange and (verb == "poll" or any(each.buys for each in case.exchange))
]


class Spoiler(Player):
    """Be the wire, and spoil one of the answers; a call nobody recorded finds nobody home."""

    def __init__(self, told: Told, provider: Any, chance: random.Random) -> None:
        super().__init__(told.dialect, provider, told.case.exchange)
        buys = [each for each in told.case.exchange if each.buys]
        self._chance, self._bad = chance, chance.choice(buys or told.case.exchange)
        self.body = b""
        """What was answered in place of what was recorded."""

    @property
    def status(self) -> int:
        """The status of the answer that was spoilt."""
        return self._bad.status

    def _body(self, said: Exchange) -> bytes:
        whole = super()._body(said)
        if said is not self._bad:
            return whole
        self.body = spoilt(whole, self._chance)
        return self.body


class Unkept:
    """Keep no clip: what happens after a verdict is not asked here."""

    async def keep(self, *_: object) -> Any:
        raise ClipError("not asked", Missed.UNREACHABLE)

    def forget(self, job: str) -> None:
        pass


class Court:
    """Hold one engine, and try answers in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine(folder, listing(missing_seconds=0), max_running=10**9)
        self.engine.use(replace(self.engine.tools, keeper=Unkept()))
        self.met: Counter[str] = Counter()
        self._running: Job | None = None

    async def try_one(self, number: int) -> None:
        """Spoil one answer, read it, and take the step that hears it."""
        chance = random.Random(number)
        told = chance.choice(TOLD)
        provider = open_provider(listing_of(told.dialect), **told.case.credentials)
        wire = Spoiler(told, provider, chance)
        came: Update | ProviderError
        try:
            if told.verb == "poll":
                came = await provider.poll(Task(**(told.case.task or {})), wire)
            else:
                came = await provider.submit(order_of(told.case, listing_of(told.dialect), self.folder), wire)
        except ProviderError as error:
            came = error
        except AssertionError as error:
            if "nobody expects" not in str(error) and "said.call" not in str(error):
                raise
            self.met["asks on"] += 1  # It looked somewhere else, as an answer told it to.
            return
        try:
            self._judge(told, came, wire.status)
            if isinstance(came, Update):  # A task of its own, as every order has.
                came = replace(came, task=Task(f"task-{number}", came.task.data))
            await (self._look(told, came) if told.verb == "poll" else self._buy(told, came))
        except AssertionError as error:
            error.add_note(f"number {number}: {told.dialect} {told.verb} {told.case.name}: {wire.body[:1000]!r}")
            raise
        self.met[came.kind if isinstance(came, ProviderError) else came.state] += 1

    def _judge(self, told: Told, came: Update | ProviderError, status: int) -> None:
        """A spoilt answer is no other verdict than the whole one, and no leave to buy again."""
        meant, half = told.meant, (told.dialect, told.case.name) in HALF
        if isinstance(came, ProviderError):
            assert came.kind != "provider_error"
            if told.verb == "submit" and (status < 400 or status >= 500):
                assert came.again is Again.NEVER or came.kind == meant, f"{came.kind} may be ordered again"
            if told.verb == "poll":
                assert came.kind != "missing" or meant == "missing", "a task is said to be gone"
            return
        assert came.task.id
        if half or not came.state.final:
            return
        if came.state is TaskState.SUCCEEDED:
            # One that names no clip any more is asked for it again, and in the end lost: never given back.
            assert meant is TaskState.SUCCEEDED, f"{meant} became a success"
        elif meant is TaskState.SUCCEEDED:
            # A clip that cannot be found in what is only words, or in nothing at all, is doubt about the money.
            assert came.fault is not None
            assert came.fault.billed is None, "the money of a clip would be given back"
            assert came.fault.code in {"", "empty"}, came.fault
        else:
            assert meant in BAD or meant == "malformed", f"{meant} became {came.state}"

    async def _look(self, told: Told, came: Update | ProviderError) -> None:
        """Hear it as the answer to a look at a task."""
        engine = self.engine
        if self._running is None:
            self._running = await self._bought()
        engine.provider.polls = [came]
        await engine.steps.take(self._running)
        now = await engine.job(self._running.id)
        self._running = now if now.state is State.RUNNING else None
        await self._check(told, came, now)

    async def _buy(self, told: Told, came: Update | ProviderError) -> None:
        """Hear it as the answer to an order."""
        engine = self.engine
        job = await self._wanted()
        engine.provider.submits = [came]
        await engine.steps.take(job)
        now = await engine.job(job.id)
        if isinstance(came, ProviderError) and came.again is Again.NEVER:
            (attempt,) = await engine.store.attempts(job.id)
            assert (now.state, attempt.outcome) == (State.UNKNOWN, Outcome.UNKNOWN)
        await self._check(told, came, now)

    async def _check(self, told: Told, came: Update | ProviderError, job: Job) -> None:
        """Unless it was turned down or ended badly when whole, its money is still set aside, or in doubt."""
        kinds = {each.kind for each in await self.engine.store.entries(job.id)}
        refused = told.meant in BAD or (isinstance(came, ProviderError) and came.again is not Again.NEVER)
        half = (told.dialect, told.case.name) in HALF
        assert refused or half or kinds <= {"hold", "suspend"}, f"{kinds}: {job.state}"
        if isinstance(came, ProviderError) and told.verb == "poll":
            assert job.state is State.RUNNING or came.kind == "missing", "a look that failed became a verdict"

    async def _bought(self) -> Job:
        """Make a job that is being made."""
        job = await self._wanted()
        await self.engine.steps.take(job)
        return await self.engine.job(job.id)

    async def _wanted(self) -> Job:
        """Take a wish in, with an account that rests no more."""
        (account,) = self.engine.accounts.values()
        account.rests.clear()
        account._limit = float(account.max_running)
        return await self.engine.accept()


async def try_answers(folder: Path, numbers: range) -> Counter[str]:
    """Try so many answers; says what came of them, how often."""
    court = Court(folder)
    try:
        with structlog.testing.capture_logs():
            for number in numbers:
                await court.try_one(number)
        assert await court.engine.store.ailments() == {}
    finally:
        court.engine.close()
    return court.met
