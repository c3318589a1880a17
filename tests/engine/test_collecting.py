"""Laws of a clip that could not be had: what that says of who serves it, and who waits for whom."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.jobs.finished import UNASKED, ClipError, Missed
from gateway.jobs.job import Attempt, State
from gateway.offers.accounts import TURNED, TURNED_MS
from providers.base.errors import Exhausted, Throttled
from tests.make import listing, price
from tests.scripted import Engine, clip

HOURS = 3_600_000_000


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    built.wire.default = clip(8, (64, 36))
    yield built
    built.close()


async def miss(engine: Engine, kind: Missed) -> None:
    """Have a task done whose clip cannot be kept for a reason."""
    keep = engine.tools.keeper.keep

    async def kept(*_: object) -> None:
        raise ClipError("no", kind)

    engine.tools.keeper.keep = kept  # type: ignore[method-assign, assignment]
    await engine.accept()
    await engine.turn()
    engine.now = (await engine.store.next_due()) or 0
    await engine.turn()
    engine.tools.keeper.keep = keep  # type: ignore[method-assign]


def held(engine: Engine) -> bool:
    """Whether clips of the account wait for one another's tries."""
    return engine.accounts["acme"].source.take(HOURS, engine.now) > engine.now


@pytest.mark.parametrize("kind", Missed)
async def test_only_silence_is_a_source_that_serves_nobody(engine: Engine, kind: Missed) -> None:
    """Half a clip, a dead link and a refusal are answers; a full disk of ours says nothing either way."""
    await miss(engine, kind)
    assert held(engine) is (kind is Missed.UNREACHABLE)

    source = engine.accounts["acme"].source
    for _ in range(5):
        engine.now = max(engine.now, source._until)
        source.failed(engine.now)
    await miss(engine, kind)
    assert held(engine) is (kind is Missed.UNREACHABLE or kind in UNASKED)


async def test_a_clip_that_is_kept_lets_the_others_come(engine: Engine) -> None:
    """What waits for another's try asks again soon, and has its turn once somebody was answered."""
    source = engine.accounts["acme"].source
    for _ in range(5):
        engine.now = max(engine.now, source._until)
        source.failed(engine.now)
    assert held(engine)
    job = await engine.run((await engine.accept()).id)

    assert job.state is State.SUCCEEDED
    assert not held(engine)


async def test_an_order_that_is_taken_ends_a_run_of_those_that_were_not(engine: Engine) -> None:
    """However many were turned away before it: the next one is the first again."""
    account = engine.accounts["acme"]
    for number in range(TURNED - 1):
        account.turned_away(f"order {number}", engine.now - TURNED_MS)
    await engine.run((await engine.accept()).id)

    assert 0.0 == account.turned_away("another", engine.now)


@pytest.mark.parametrize("turned_away", [False, True])
async def test_what_a_clip_took_counts_from_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned_away: bool
) -> None:
    """Another seller's delay is no news of who made it; where there was one order alone nobody looks for it."""
    (tmp_path / "two").mkdir()
    cheap, dear = listing("cheap", prices=[price("0.01")]), listing("dear", prices=[price("0.50")])
    engine = Engine(tmp_path / "two", cheap, dear)
    engine.wire.default = clip(8, (64, 36))
    if turned_away:
        engine.providers["cheap"].submits = [Throttled("slow", retry_after=100), Exhausted("no credits")]
    seen: list[tuple[str, float]] = []
    monkeypatch.setattr(engine.shop, "observe", lambda offer, seconds: seen.append((offer, seconds)))
    attempts, asked = engine.store.attempts, []

    async def counted(job: str) -> list[Attempt]:
        asked.append(job)
        return await attempts(job)

    monkeypatch.setattr(engine.store, "attempts", counted)
    job = await engine.run((await engine.accept()).id)
    *_, last = await attempts(job.id)
    engine.close()

    assert seen == [("dear:maker/one" if turned_away else "cheap:maker/one", (engine.now - last.intent_at) / 1000)]
    assert seen[0][1] < 20
    assert bool(asked) is turned_away
