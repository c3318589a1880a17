"""Laws of what ended in doubt: its end stays, its money follows the evidence, and a clip that was paid for is kept."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from gateway.api.answers import video
from gateway.api.content import find_rendition
from gateway.api.order import remove_clips
from gateway.billing import in_doubt
from gateway.cleaning import Cleaner
from gateway.clock import DAY_MS
from gateway.events import FAILED, SETTLED, Endpoint
from gateway.job import Job, Outcome, State
from gateway.ledger import Billing, Book, Hold, drift
from gateway.operator import settle, write_off
from gateway.outbox import Outbox
from gateway.wish import Notice
from providers.base.errors import Indeterminate, Missing
from providers.base.task import AssetRef, Fault, Task, Update, Usage
from providers.base.task import State as TaskState
from tests.make import listing, offer, price
from tests.scripted import Engine, clip, done, running

PRICE = 400_000
"""Four seconds at ten cents."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(prices=[price("0.05")], deadline_seconds=600, poll_seconds=60))
    built.wire.default = clip(8, (64, 36))
    yield built
    built.close()


def ended(state: TaskState, billed: bool | None = None) -> Update:
    return Update(state=state, task=Task("t"), fault=Fault(code="x", message="it broke", billed=billed))


def billing(job: Job) -> tuple[Billing, int | None]:
    hold = msgspec.json.decode(job.hold or "", type=Hold)
    return hold.billing, hold.charged


def notices(job: Job) -> list[Notice]:
    return msgspec.json.decode(job.warnings, type=list[Notice])


async def given_up(engine: Engine, **request: object) -> Job:
    """A job whose task was still being made at its deadline."""
    engine.provider.submits = [running("t")]
    engine.provider.polls = [running("t") for _ in range(40)]
    job = await engine.run((await engine.accept(**request)).id)
    engine.provider.polls = []
    assert (job.state, billing(job)) == (State.FAILED, (Billing.POSSIBLY_BILLED, None))
    return job


async def lost(engine: Engine) -> Job:
    """A job nobody could tell the fate of, which an operator gave up."""
    engine.provider.submits = [Indeterminate("no answer")]
    job = await engine.accept()
    await engine.turn()
    job = await engine.job(job.id)
    failed, attempt, postings, also = write_off(job, (await engine.store.attempts(job.id))[0], engine.now)
    await engine.store.save(failed, attempt, postings=postings, also=also)
    return await engine.job(job.id)


async def look_on(engine: Engine, job: Job, *, days: float = 40) -> Job:
    """Let time pass until nobody looks at it any more for its money."""
    until = engine.now + int(days * DAY_MS)
    while in_doubt(job):
        engine.now = await engine.store.next_due() or until
        assert engine.now <= until
        await engine.turn()
        found = await engine.store.any_job(job.id)
        assert found is not None
        job = found
    return job


async def books(engine: Engine, job: Job) -> dict[Book, int]:
    assert await engine.store.ailments() == {}
    return {book: sum_ for book, sum_ in drift(await engine.store.entries(job.id)).items() if sum_}


async def test_a_clip_that_comes_late_is_kept_and_paid_for(engine: Engine) -> None:
    """The job stays failed, which its client was told; whoever paid for the clip can fetch it."""
    before = await given_up(engine)
    job = await look_on(engine, before)

    assert (job.state, job.error, job.completed_at) == (State.FAILED, before.error, before.completed_at)
    assert (billing(job), await books(engine, job)) == (
        (Billing.BILLED, PRICE), {Book.AVAILABLE: -PRICE, Book.SPENT: PRICE},
    )  # fmt: skip
    assert "late" in {each.type for each in notices(job)}
    kept = find_rendition(job, "video", 0)
    found = await engine.media.shelf.find(kept.path)
    assert found is not None
    assert kept.bytes == found.size
    (attempt,) = await engine.store.attempts(job.id)
    assert (attempt.outcome, attempt.ended_at) == (Outcome.SUCCEEDED, before.completed_at)
    assert len(engine.provider.ledger) == 1
    shown = video(job)
    assert (shown["status"], shown["usage"]["billing"], len(shown["outputs"])) == ("failed", "billed", 4)


async def test_a_late_clip_goes_when_its_time_is_over(engine: Engine) -> None:
    """As any other: its files are removed at its end, and nothing but that ever becomes due."""
    job = await look_on(engine, await given_up(engine))
    assert job.expires_at == job.due_at == await engine.store.next_due()
    engine.now = job.expires_at or 0
    await engine.turn()

    job = await engine.job(job.id)
    assert (job.state, job.outputs, job.due_at) == (State.FAILED, "[]", None)
    assert [] == [each async for each in engine.media.shelf.walk("clips")]


@pytest.mark.parametrize("billed", [True, False])
async def test_a_late_failure_is_charged_as_its_provider_says(engine: Engine, billed: bool) -> None:
    """It tells whether it charged; nothing is guessed any more."""
    job = await given_up(engine)
    engine.provider.polls = [running("t"), ended(TaskState.FAILED, billed)]
    job = await look_on(engine, job)

    assert billing(job) == ((Billing.BILLED, PRICE) if billed else (Billing.NOT_BILLED, 0))
    assert (await books(engine, job)).get(Book.SPENT, 0) == (PRICE if billed else 0)
    assert [each.outcome for each in await engine.store.attempts(job.id)] == [Outcome.FAILED]


async def test_the_providers_late_count_is_charged(engine: Engine) -> None:
    """As at any other end."""
    job = await given_up(engine)
    engine.provider.polls = [done("t", usage=Usage(usd_micros=123))]

    assert billing(await look_on(engine, job)) == (Billing.BILLED, 123)


async def test_what_never_ends_counts_as_spent_in_the_end(engine: Engine) -> None:
    """Looked at less and less often for thirty days; then the quote is what it cost, and nobody looks again."""
    job = await given_up(engine)
    engine.provider.polls = [running("t") for _ in range(1000)]
    looked = engine.provider.looked
    late = await look_on(engine, job)

    assert engine.now == (job.completed_at or 0) + 30 * DAY_MS
    assert (billing(late), late.due_at) == ((Billing.BILLED, PRICE), None)
    assert 20 < engine.provider.looked - looked < 80


@pytest.mark.parametrize("told", [Missing("who?"), ended(TaskState.FAILED)])
async def test_a_provider_that_cannot_tell_settles_nothing(engine: Engine, told: Update | Exception) -> None:
    """To have forgotten a task, or not to say what it charged, is no word about money."""
    job = await given_up(engine)
    engine.provider.polls = [told] * 1000
    late = await look_on(engine, job)

    assert engine.now == (job.completed_at or 0) + 30 * DAY_MS
    assert billing(late) == (Billing.BILLED, PRICE)


async def test_a_lost_order_that_is_found_late_is_settled_by_its_task(engine: Engine) -> None:
    """What was bought belongs to its attempt, and the clip to who paid for it."""
    job = await lost(engine)
    engine.provider.finds = [running("t7")]
    job = await look_on(engine, job)

    assert (job.state, billing(job)) == (State.FAILED, (Billing.BILLED, PRICE))
    (attempt,) = await engine.store.attempts(job.id)
    assert (attempt.outcome, msgspec.json.decode(attempt.task or "")["id"]) == (Outcome.SUCCEEDED, "t7")
    assert find_rendition(job, "video", 0)
    assert len(engine.provider.ledger) == 1


async def test_a_lost_order_that_is_not_there_gives_its_money_back(engine: Engine) -> None:
    """Once it can no longer be on its way: nothing is ordered anew, its client was told that it failed."""
    job = await lost(engine)
    engine.provider.finds = [None, None]
    job = await look_on(engine, job)

    assert (billing(job), await books(engine, job)) == ((Billing.NOT_BILLED, 0), {})
    assert [each.outcome for each in await engine.store.attempts(job.id)] == [Outcome.ABSENT]
    assert len(engine.provider.ledger) == 1


async def test_a_cancel_that_may_have_cost_something_is_asked_after_too(engine: Engine) -> None:
    """Its provider stopped, and did not say whether it charges."""
    job = await engine.accept()
    engine.provider.cancels = [ended(TaskState.CANCELLED)]
    engine.provider.submits = [running("t")]
    await engine.turn()
    await engine.store.cancel(job.id, "tenant")
    job = await engine.run(job.id)
    assert (job.state, [each.id for each in await engine.store.in_doubt()]) == (State.CANCELLED, [job.id])
    engine.provider.polls = [ended(TaskState.CANCELLED, billed=False)]

    assert billing(await look_on(engine, job)) == (Billing.NOT_BILLED, 0)
    assert [] == await engine.store.in_doubt()


async def test_of_a_deleted_job_only_the_money_is_settled(engine: Engine) -> None:
    """Nobody wants its clip."""
    job = await given_up(engine)
    await engine.store.delete(job.id, "tenant")
    late = await look_on(engine, job)

    assert (billing(late), late.outputs, late.due_at) == ((Billing.BILLED, PRICE), "[]", None)
    assert [] == [each async for each in engine.media.shelf.walk("clips")]


async def test_a_late_clip_is_deleted_with_its_job(engine: Engine) -> None:
    """Also by a worker, where its files could not be reached at once."""
    job = await look_on(engine, await given_up(engine))
    await engine.store.delete(job.id, "tenant")
    await remove_clips(SimpleNamespace(media=engine.media), job.id)  # type: ignore[arg-type]

    assert [] == [each async for each in engine.media.shelf.walk("clips")]
    assert await engine.store.next_due() is None


async def test_a_late_clip_that_cannot_be_had_is_lost_and_paid_for(engine: Engine) -> None:
    """Tried as any other, and said where its client reads warnings."""
    job = await given_up(engine)
    engine.wire.answers = [(404, b"")] * 100
    job = await look_on(engine, job)

    assert (billing(job), job.outputs, job.due_at) == ((Billing.BILLED, PRICE), "[]", None)
    assert "could not be kept" in next(each.details for each in notices(job) if each.type == "result_lost")


async def test_of_several_late_clips_each_is_kept_when_it_comes(tmp_path: Path) -> None:
    """What is kept already is nobody's litter while the others are fetched."""
    engine = Engine(tmp_path, listing(offers=[offer(n=[2])], prices=[price("0.05")], deadline_seconds=600))
    engine.wire.default = clip(8, (64, 36))
    job = await given_up(engine, n=2)
    two = tuple(AssetRef(url=f"https://acme.test/{at}.mp4", index=at) for at in range(2))
    engine.provider.polls = [Update(state=TaskState.SUCCEEDED, task=Task("t"), assets=two)] * 9
    engine.wire.answers = [(200, clip(8, (64, 36))), ConnectionError("no")]
    engine.now = await engine.store.next_due() or 0
    await engine.turn()
    cleaner = Cleaner(engine.media, engine.store, lambda: 2**44, retention_ms=DAY_MS)
    assert [] == [each.name async for each in cleaner.litter(seconds=1.0)]
    job = await look_on(engine, await engine.job(job.id))

    assert find_rendition(job, "video", 0) != find_rendition(job, "video", 1)
    assert billing(job)[0] is Billing.BILLED
    engine.close()


async def test_an_operators_word_ends_the_looking(engine: Engine) -> None:
    """The invoice has come; what the provider says later is not asked."""
    job = await given_up(engine)
    settled, postings = settle(job, 250_000, engine.now)
    await engine.store.save(settled, postings=postings)

    assert await engine.store.next_due() is None
    assert billing(await engine.job(job.id)) == (Billing.BILLED, 250_000)


async def test_who_asked_for_it_is_told_once(engine: Engine) -> None:
    """A type of its own: who knows only ends hears nothing twice."""
    outbox = Outbox(engine.store.database, engine.clock)
    for id_, types in (("whep_a", FAILED), ("whep_b", f"{FAILED} {SETTLED}")):
        made = Endpoint(
            id=id_, tenant="tenant", name="n", url="https://app.test/a", host="app.test", event_types=types,
            version=1, old_until=None, created_at=1, updated_at=1,
        )  # fmt: skip
        await outbox.add_endpoint(made)
    job = await look_on(engine, await given_up(engine))

    told = await outbox.deliveries_of(job.id, "tenant")
    assert [(each.endpoint, each.type) for each in sorted(told, key=lambda each: (each.created_at, each.id))] == [
        ("whep_a", FAILED), ("whep_b", FAILED), ("whep_b", SETTLED),
    ]  # fmt: skip
    assert len({each.event for each in told}) == 2


async def test_what_waits_for_its_account_is_settled_when_that_is_back(engine: Engine) -> None:
    """As every look; meanwhile it is in doubt."""
    job = await given_up(engine)
    account = engine.accounts.pop("acme")
    for _ in range(3):
        engine.now = await engine.store.next_due() or 0
        await engine.turn()
    assert in_doubt(await engine.job(job.id))
    engine.accounts["acme"] = account

    assert billing(await look_on(engine, job)) == (Billing.BILLED, PRICE)
