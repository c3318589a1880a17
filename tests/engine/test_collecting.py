"""Laws of a clip that could not be had: what that says of who serves it, and who waits for whom."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.finished import UNASKED, ClipError, Missed
from gateway.job import State
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
    keep = engine.steps._keeper.keep

    async def kept(*_: object) -> None:
        raise ClipError("no", kind)

    engine.steps._keeper.keep = kept  # type: ignore[method-assign, assignment]
    await engine.accept()
    await engine.turn()
    engine.now = (await engine.store.next_due()) or 0
    await engine.turn()
    engine.steps._keeper.keep = keep  # type: ignore[method-assign]


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
