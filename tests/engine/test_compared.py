"""Laws of the comparison, from orders that were made: what counts as made, on whose account, and what a clip cost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.clock import DAY_MS
from gateway.jobs.job import State
from gateway.money.comparing import Record, records_of
from gateway.money.ledger import FOR_EVER
from providers.base.errors import Exhausted, Invalid, ProviderError, Scope, Unauthorized
from providers.base.task import AssetRef
from tests.make import listing, offer, price
from tests.scripted import Engine, clip, done, running

SMALL = clip(8, (64, 36))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """A cheap seller of one clip or several at a quarter each, and a dear one."""
    sold = [offer(n=[1, 4])]
    built = Engine(
        tmp_path,
        listing("cheap", offers=sold, prices=[price("0.25", per="video")], deadline_seconds=600, poll_seconds=60),
        listing("dear", offers=sold, prices=[price("0.75", per="video")]),
    )
    built.wire.default = SMALL
    yield built
    built.close()


async def compared(engine: Engine) -> dict[str, Record]:
    """What is said of each seller."""
    came, spent = await engine.store.orders(0, FOR_EVER), await engine.store.spent(0, FOR_EVER)
    return {each.of["provider"]: each for each in records_of(came, spent, ["provider"])}


async def test_what_was_paid_for_and_lost_was_not_made(engine: Engine) -> None:
    """It counts against the seller's share as what it is, brings no clip, and takes no time; its money was spent."""
    engine.wire.answers = [(404, b"")] * 10
    lost = await engine.run((await engine.accept()).id)
    engine.wire.answers = []
    assert State.FAILED is lost.state
    assert State.SUCCEEDED is (await engine.run((await engine.accept(prompt="a dog")).id)).state

    cheap = (await compared(engine))["cheap"]
    assert (2, 1, 1, 0.5) == (cheap.orders, cheap.made, cheap.lost, cheap.made_share)
    assert (1, 8000, 500_000, 0.5) == (cheap.clips, cheap.clips_ms, cheap.usd_micros, cheap.usd_per_clip)
    kept = [each for each in await engine.store.orders(0, FOR_EVER) if not each.lost]
    assert {cheap.seconds} == {(each.seconds, each.seconds) for each in kept}


@pytest.mark.parametrize("comes", [True, False])
async def test_a_clip_that_comes_late_was_made_and_not_in_time(engine: Engine, comes: bool) -> None:
    """It is kept for who paid for it, and nobody saw when it was ready; one that never comes is lost."""
    engine.providers["cheap"].polls = [running("t") for _ in range(40)]
    job = await engine.run((await engine.accept()).id)
    engine.providers["cheap"].polls = []
    engine.wire.answers = [] if comes else [(404, b"")] * 10
    while not (cheap := (await compared(engine))["cheap"]).made + cheap.lost:
        engine.now = await engine.store.next_due() or job.created_at + 40 * DAY_MS
        await engine.turn()

    assert State.FAILED is (await engine.job(job.id)).state
    assert (int(comes), int(comes), int(not comes)) == (cheap.made, cheap.late, cheap.lost)
    assert (None, int(comes), 250_000) == (cheap.seconds, cheap.clips, cheap.usd_micros)


async def test_a_clip_costs_the_same_in_one_order_or_in_several(engine: Engine) -> None:
    """What is compared is clips and their seconds; and both are known long after their files are gone."""
    for number in (1, 4):
        assets = tuple(AssetRef(url=f"https://acme.test/{at}.mp4", index=at) for at in range(number))
        engine.providers["cheap"].polls = [replace(done("t"), assets=assets)]
        job = await engine.run((await engine.accept(n=number, prompt=str(number))).id)

    cheap = (await compared(engine))["cheap"]
    assert (2, 5, 40_000) == (cheap.made, cheap.clips, cheap.clips_ms)
    assert (0.25, 0.25 / 8) == (cheap.usd_per_clip, cheap.usd_per_second)
    engine.now = job.expires_at or 0
    await engine.turn()
    assert ("[]", cheap) == ((await engine.job(job.id)).outputs, (await compared(engine))["cheap"])


async def test_clips_count_as_they_came(engine: Engine) -> None:
    """One that is shorter than ordered brings fewer seconds, and of several those that came."""
    engine.wire.default = clip(4, (64, 36))
    job = await engine.run((await engine.accept(n=4, seconds=8)).id)
    cheap = (await compared(engine))["cheap"]

    assert State.SUCCEEDED is job.state
    assert (1, 1, 1, 4000) == (cheap.made, cheap.mismatched, cheap.clips, cheap.clips_ms)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (Exhausted("no credits"), 0),
        (Exhausted("no credits", scope=Scope.ORDER), 0),
        (Unauthorized("bad key"), 0),
        (Unauthorized("not this model", scope=Scope.MODEL), 0),
        (Invalid("bad picture"), 1),
        (Unauthorized("a firewall dislikes the prompt", scope=Scope.ORDER), 1),
    ],
)
async def test_an_account_without_means_is_no_fault_of_its_seller(
    engine: Engine, error: ProviderError, refused: int
) -> None:
    """Its share falls by what it turned down for the order's sake alone; nobody is asked twice for one job."""
    engine.providers["cheap"].submits = [error]
    await engine.run((await engine.accept()).id)
    said = await compared(engine)

    cheap = said["cheap"]
    assert (1, refused, 1 - refused) == (cheap.orders, cheap.refused, cheap.turned_away)
    assert (0.0 if refused else None, 1.0) == (cheap.made_share, said["dear"].made_share)
    assert 1 == len(engine.providers["cheap"].ledger)
