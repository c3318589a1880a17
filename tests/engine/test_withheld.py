"""Laws of an order that is not wanted any more: one that has not left does not, and one that has is not forgotten."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.engine.sending import FRESH_MS
from gateway.jobs.job import Outcome, State
from gateway.money.ledger import Billing, Hold
from gateway.store.database import StoreUnavailableError
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Call, Reply, Wire
from tests.scripted import Engine, running

Meanwhile = Callable[[], Awaitable[object]]


class Line:
    """A wire that notes where calls go."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, call: Call) -> Reply:
        self.sent.append(call.url)
        return Reply(status=200, headers={}, body=b"{}")


class Uploading(Engine):
    """An engine whose provider wants inputs first, and whose upload takes a while."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.line = Line()
        self.accounts["acme"].wire = self.line  # type: ignore[assignment]
        self.seconds = 30.0
        self.provider.submit = self._submit  # type: ignore[method-assign]
        self.meanwhile: Meanwhile | None = None

    async def _submit(self, order: Order, wire: Wire) -> Update:
        await wire.send(Call(method="POST", url="upload", repeatable=True))
        if self.meanwhile is not None:
            await self.meanwhile()
            self.meanwhile = None
        self.now += int(self.seconds * 1000)
        await wire.send(Call(method="POST", url="order", repeatable=False))
        return running(order.attempt)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Uploading]:
    built = Uploading(tmp_path)
    yield built
    built.close()


async def test_a_halt_holds_an_order_back_whose_inputs_are_on_their_way(engine: Uploading) -> None:
    """It is ordered once purchases go on, and its money was held all the while."""
    job = await engine.accept()
    engine.meanwhile = lambda: engine.store.halt("stop")
    await engine.turn()
    waiting = await engine.job(job.id)
    (attempt,) = await engine.store.attempts(job.id)
    assert (engine.line.sent, waiting.state, attempt.outcome) == (["upload"], State.QUEUED, Outcome.NOT_ACCEPTED)
    assert msgspec.json.decode(waiting.hold or "", type=Hold).billing is Billing.HELD
    assert engine.accounts["acme"].running == 0

    await engine.store.go_on()
    engine.now += 60_000
    while (await engine.job(job.id)).state is State.QUEUED:
        await engine.turn(seconds=1)
    assert engine.line.sent == ["upload", "upload", "order"]
    assert engine.accounts["acme"]._failures == 0  # Nobody failed.


async def test_a_cancel_holds_an_order_back_whose_inputs_are_on_their_way(engine: Uploading) -> None:
    """Nothing was bought, so its money is given back."""
    job = await engine.accept()
    engine.meanwhile = lambda: engine.store.cancel(job.id, "tenant")
    await engine.turn()
    ended = await engine.run(job.id)

    assert (ended.state, engine.line.sent) == (State.CANCELLED, ["upload"])
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.NOT_BILLED


async def test_a_cancel_between_claim_and_intent_buys_nothing(engine: Uploading) -> None:
    """However late it was answered: whoever heard that it is cancelled must not pay."""
    job = await engine.accept()
    (claimed,) = await engine.store.claim(lease=60_000, most=1)
    assert await engine.store.cancel(job.id, "tenant")
    await engine.steps.take(claimed)
    ended = await engine.job(job.id)

    assert (ended.state, engine.line.sent) == (State.CANCELLED, [])
    assert await engine.store.attempts(job.id) == []
    assert msgspec.json.decode(ended.hold or "", type=Hold).billing is Billing.NOT_BILLED
    assert engine.accounts["acme"].running == 0


@pytest.mark.parametrize("seconds", [0.0, 30.0])
async def test_an_order_leaves_where_nobody_can_say_that_it_must_not(
    engine: Uploading, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Its intent is on disk: to break it off for a store that does not answer would leave it in doubt."""
    asked = []

    async def away(query: str) -> bool:
        asked.append(query)
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(engine.store, "may_buy", away)
    engine.seconds = seconds
    job = await engine.accept()
    await engine.turn()

    assert engine.line.sent == ["upload", "order"]
    assert (await engine.job(job.id)).state is State.RUNNING
    assert len(asked) == (seconds * 1000 > FRESH_MS)  # One that leaves at once is not asked twice.
