"""Laws of a worker that stands still while it buys: what it sends late is sent by nobody else, what it hears counts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from gateway.engine.sending import SEND_MS
from gateway.jobs.job import CONFIRM, UNDER_WAY, Outcome, State
from gateway.money.billing import in_doubt
from gateway.store.orphans import unseen
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Call, Reply, Wire
from tests.scripted import Engine, running


class Overtaken(Engine):
    """An engine whose orders take as long as a test says, while others work on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.order = self.provider.submit

    async def others(self, seconds: float) -> None:
        """Let time pass, and another worker take over what is due by then."""
        self.now += int(seconds * 1000)
        for job in await self.store.claim(lease=60_000, most=1):
            await self.steps.take(job)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Overtaken]:
    built = Overtaken(tmp_path)
    yield built
    built.close()


@pytest.mark.parametrize("looks", [0, 1, 2])
async def test_an_answer_that_comes_late_is_adopted(engine: Overtaken, looks: int) -> None:
    """However often others have asked in vain by then; the job goes on with the one task there is."""

    async def slow(order: Order, wire: Wire) -> Update:
        for _ in range(looks):
            await engine.others(61)
        if not looks:  # Claimed by another that has not got any further.
            engine.now += 61_000
            await engine.store.claim(lease=60_000, most=1)
        return await engine.order(order, wire)

    engine.provider.submit = slow  # type: ignore[method-assign]
    job = await engine.accept()
    with structlog.testing.capture_logs() as logs:
        await engine.turn()
    assert [each["event"] for each in logs].count("answer.late") == 1
    assert (await engine.job(job.id)).state is State.RUNNING

    assert (await engine.run(job.id)).state is State.SUCCEEDED
    (attempt,) = await engine.store.attempts(job.id)
    assert engine.provider.ledger == [attempt.id]


async def test_an_answer_that_comes_after_the_end_is_evidence(engine: Overtaken) -> None:
    """The end stays; its clip is kept all the same, and its money follows."""

    async def slow(order: Order, wire: Wire) -> Update:
        for _ in range(5):
            await engine.others(61)
        return await engine.order(order, wire)

    engine.provider.submit = slow  # type: ignore[method-assign]
    job = await engine.accept()
    with structlog.testing.capture_logs() as logs:
        await engine.turn()
    assert {"answer.late"} == {each["event"] for each in logs if each["event"].startswith(("answer.", "task."))}
    ended = await engine.job(job.id)
    assert (ended.state, in_doubt(ended), str(ended.attempt) in str(ended.task)) == (State.FAILED, True, True)

    await engine.turn(seconds=1)
    kept = await engine.job(job.id)
    assert (kept.state, in_doubt(kept), kept.outputs == "[]") == (State.FAILED, False, False)
    assert await engine.store.ailments() == {}


async def test_an_answer_nobody_waits_for_is_said(engine: Overtaken) -> None:
    """Where others have proof that there is no task, and ordered anew, the one that came out of it all is nobody's."""
    engine.provider.finds = [None] * 9

    async def slow(order: Order, wire: Wire) -> Update:
        engine.provider.submit = engine.order  # type: ignore[method-assign]
        for wait in (61, UNDER_WAY, CONFIRM + 1, 1):
            await engine.others(wait)
        return running("lost")

    engine.provider.submit = slow  # type: ignore[method-assign]
    job = await engine.accept()
    with structlog.testing.capture_logs() as logs:
        await engine.turn()
    (said,) = [each for each in logs if each["event"] == "task.ownerless"]
    assert (said["task"], said["job"], said["log_level"]) == ("lost", job.id, "error")
    (orphan,) = await unseen(engine.store.database)
    assert (orphan.task, orphan.account, orphan.job, orphan.attempt) == ("lost", "acme", job.id, said["attempt"])

    assert (await engine.run(job.id)).state is State.SUCCEEDED
    first, second = await engine.store.attempts(job.id)
    assert (first.outcome, second.outcome) == (Outcome.ABSENT, Outcome.SUCCEEDED)
    assert engine.provider.ledger == [second.id]


@pytest.mark.parametrize("overtaken", [False, True])
async def test_an_order_that_is_late_does_not_leave(
    engine: Overtaken, monkeypatch: pytest.MonkeyPatch, overtaken: bool
) -> None:
    """Whoever stood still between intent and order sends nothing; uploads, which cost nothing, may take their time."""
    sent: list[Call] = []

    async def send(call: Call) -> Reply:
        sent.append(call)
        return Reply(status=200, headers={}, body=b"")

    async def slow(order: Order, wire: Wire) -> Update:
        engine.provider.submit = engine.order  # type: ignore[method-assign]
        await (engine.others(61) if overtaken else engine.others(0))
        engine.now += SEND_MS
        await wire.send(Call(method="POST", url="https://acme.test/uploads", repeatable=True))
        engine.now += 1
        await wire.send(Call(method="POST", url="https://acme.test/orders", repeatable=False))
        raise AssertionError("it left")

    monkeypatch.setattr(engine.wire, "send", send)
    engine.provider.submit = slow  # type: ignore[method-assign]
    engine.provider.finds = [None] * 9
    job = await engine.accept()
    if overtaken:
        with pytest.raises(Exception, match="job_save"):
            await engine.turn()
    else:
        await engine.turn()
    first, *_ = await engine.store.attempts(job.id)
    assert first.outcome is (Outcome.UNKNOWN if overtaken else Outcome.NOT_ACCEPTED)

    assert (await engine.run(job.id)).state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 1
    assert [each.url for each in sent] == ["https://acme.test/uploads"]
