"""Laws of what was observed: it outlives the process that saw it, and is of clips alone that came when they should."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.offers.shop import ENOUGH, KEPT, Shop
from gateway.offers.speeds import Speeds
from gateway.settings import RoutingSettings
from gateway.store.database import Row
from providers.base.task import State, Update
from tests.make import listing, offer
from tests.scripted import Engine, done, running

MODELS = ("maker/one", "maker/two")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(offers=[offer(each) for each in MODELS]))
    yield built
    built.close()


async def make(engine: Engine, seconds: float, model: str = MODELS[0]) -> None:
    """Have a clip made that takes so long."""
    engine.provider.submits, engine.provider.polls = [running("t", poll_after=seconds)], [done("t")]
    job = await engine.accept(model=model, seed=engine.now)
    await engine.turn()
    await engine.turn(seconds=seconds)
    await engine.turn()
    assert (await engine.job(job.id)).state.final


def anew(engine: Engine) -> Shop:
    """Open the shop a process has that has just started."""
    return Shop(engine.accounts, {}, RoutingSettings(), engine.clock)


async def test_what_was_observed_outlives_the_process(engine: Engine) -> None:
    """The median of the last clips of each offer, as it was before; an offer seen too seldom stays as it is listed."""
    for seconds in (10, 20, 30, 40, 90):
        await make(engine, seconds)
    await make(engine, 500, MODELS[1])
    shop = anew(engine)
    await recall(engine, shop)

    assert {"acme:maker/one": 30.0} == shop.speeds == engine.shop.speeds
    shop.observe("acme:maker/one", 100)
    assert {"acme:maker/one": 35.0} == shop.speeds


async def test_what_failed_says_nothing(engine: Engine) -> None:
    """Nor is more than the newest looked through, of each offer the last."""
    for seconds in (50,) * ENOUGH:
        await make(engine, seconds)
    for number in range(ENOUGH):
        engine.provider.submits = [running(str(number), poll_after=5.0)]
        engine.provider.polls = [Update(state=State.FAILED, task=None)]
        await engine.accept(seed=number)
        await engine.turn()
        await engine.turn(seconds=5)

    assert [("acme:maker/one", 50.0)] * ENOUGH == await engine.store.took(newest=100, each=KEPT)
    assert [("acme:maker/one", 50.0)] * 2 == await engine.store.took(newest=100, each=2)
    assert [("acme:maker/one", 50.0)] == await engine.store.took(newest=ENOUGH + 1, each=KEPT)


async def test_what_the_store_does_not_tell_stays(engine: Engine) -> None:
    """Too many others were ordered since: what this process saw itself is not forgotten."""
    shop = anew(engine)
    for _ in range(ENOUGH):
        shop.observe("acme:maker/two", 7)
    shop.recall([("acme:maker/one", 10.0)] * ENOUGH)

    assert {"acme:maker/one": 10.0, "acme:maker/two": 7.0} == shop.speeds


async def recall(engine: Engine, shop: Shop) -> None:
    """Go round once."""
    speeds = Speeds(engine.store, shop)
    speeds.stop()
    await speeds._round()


async def test_who_works_alone_asks_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever is not alone again and again: another process may have made what this one never saw."""
    asked: list[str] = []
    survey = engine.store.database.survey

    async def noted(query: str, params: dict[str, int]) -> list[Row]:
        asked.append(query)
        if len(asked) == 3:
            speeds.stop()
        return await survey(query, params)

    speeds = Speeds(engine.store, engine.shop)
    monkeypatch.setattr(engine.store.database, "survey", noted)
    monkeypatch.setattr("gateway.offers.speeds.EVERY_SECONDS", 0.001)
    await speeds.run()

    assert ["attempts_took"] * (3 if engine.store.shared else 1) == asked
