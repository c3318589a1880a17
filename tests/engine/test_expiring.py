"""What has had its time is forgotten, a few rows at a time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.clips.cleaning import Cleaner
from gateway.door.accept import KEPT_MS, Repeat
from tests.scripted import Engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    yield built
    built.close()


async def test_idempotency_keys_expire(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are swept a few at a time, and whoever asks whether the gateway is ready is not kept waiting for that."""
    monkeypatch.setattr("gateway.clips.cleaning.BATCH", 2)
    cleaner = Cleaner(engine.media, engine.store, engine.clock, retention_ms=0)
    for number in range(5):
        await engine.accept(Repeat(key=f"key {number}"))
        engine.now += 1000
    assert 0 == await cleaner.expire("idempotency_sweep")
    engine.now += KEPT_MS - 1000
    await engine.accept(Repeat(key="young"))
    await engine.store.ping()

    assert 4 == await cleaner.expire("idempotency_sweep")
    assert 0 == await cleaner.expire("idempotency_sweep")
