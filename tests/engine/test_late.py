"""Laws of what ended in doubt: its end stays, its money follows the evidence, and a clip that was paid for is kept."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.api.answers import video
from gateway.api.calls import remove_clips
from gateway.api.content import find_rendition
from gateway.clips.cleaning import Cleaner
from gateway.clock import DAY_MS
from gateway.engine.operator import settle, write_off
from gateway.events.events import FAILED, SETTLED, Endpoint
from gateway.events.outbox import Outbox
from gateway.jobs.job import Job, Outcome, State, move
from gateway.jobs.wish import Notice
from gateway.money.billing import in_doubt
from gateway.money.ledger import Billing, Book, Hold, drift
from gateway.surfaces.common import clips_of
from providers.base.errors import Indeterminate, Missing, Unavailable
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


def endpoint(id_: str, types: str) -> Endpoint:
    return Endpoint(
        id=id_, tenant="tenant", name="n", url="https://app.test/a", host="app.test", event_types=types,
        version=1, old_until=None, created_at=1, updated_at=1,
    )  # fmt: skip


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


async def test_what_it_cost_beyond_its_quote_is_told_late_too(engine: Engine) -> None:
    """By the provider's word, or by an operator's, which has no figure of its own."""
    before = await given_up(engine)
    engine.provider.polls = [done("t", usage=Usage(usd_micros=PRICE + 100_000))]
    with capture_logs() as logs:
        job = await look_on(engine, before)
    assert [each["over_usd"] for each in logs if each["event"] == "estimate.exceeded"] == [0.1]
    assert "cost $0.5" in next(each.details for each in notices(job) if each.type == "over_estimate")

    other, postings, also = settle(await lost(engine), PRICE + 200_000, engine.now)
    await engine.store.save(other, postings=postings, also=also)
    assert "cost $0.6" in next(each.details for each in notices(other) if each.type == "over_estimate")


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
    assert [] == clips_of(job)  # Borrowed words have no place for it: there it failed, as it was told.


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
    figures = engine.metrics.exposition().decode().splitlines()
    measured = [float(line.split()[-1]) for line in figures if line.startswith("reelgate_spend_usd_total{")]
    assert measured == ([PRICE / 1_000_000] if billed else [])
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
    assert billing(await look_on(engine, job)) == (Billing.BILLED, PRICE)
    await engine.turn()

    late = await engine.store.any_job(job.id)
    assert late is not None
    assert (late.outputs, late.due_at) == ("[]", None)
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


@pytest.mark.parametrize("then", [Unavailable("down"), Missing("who?"), ended(TaskState.FAILED, billed=False)])
async def test_a_late_clip_is_had_from_where_it_was_said_to_lie(engine: Engine, then: Update | Exception) -> None:
    """It was made: whatever its provider says of the task afterwards is not a verdict."""
    job = await given_up(engine)
    engine.provider.polls = [done("t"), *[then] * 100]
    engine.wire.answers = [(503, b"")] * 3
    job = await look_on(engine, job)

    assert (find_rendition(job, "video", 0).index, billing(job)) == (0, (Billing.BILLED, PRICE))
    assert engine.now - (job.completed_at or 0) < DAY_MS


async def test_what_came_of_several_late_clips_is_kept_when_the_others_are_lost(tmp_path: Path) -> None:
    """One warning says that they came late, another what is missing."""
    sold = listing(offers=[offer(n=[2])], prices=[price("0.05")], deadline_seconds=600, link_hours=1)
    engine = Engine(tmp_path, sold)
    engine.wire.default = clip(8, (64, 36))
    job = await given_up(engine, n=2)
    two = tuple(AssetRef(url=f"https://acme.test/{at}.mp4", index=at) for at in range(2))
    engine.provider.polls = [Update(state=TaskState.SUCCEEDED, task=Task("t"), assets=two), *[Missing("who?")] * 1000]
    engine.wire.answers = [(200, clip(8, (64, 36))), *[(503, b"")] * 10_000]
    job = await look_on(engine, job)

    assert find_rendition(job, "video", 0)
    assert {"late", "result_lost"} <= {each.type for each in notices(job)}
    assert (billing(job)[0], await engine.store.ailments()) == (Billing.BILLED, {})
    engine.close()


async def test_where_nobody_can_be_asked_nobody_has_answered(engine: Engine) -> None:
    """A look that makes no call ends no rest: orders would go out to who answers none of them."""
    job, account = await lost(engine), engine.accounts["acme"]
    assert job.due_at is not None
    engine.now = job.due_at
    for _ in range(5):
        account.failed(engine.now)
    assert await engine.turn() == 1
    assert (engine.provider.looked, account.is_failing(engine.now)) == (0, True)


async def test_a_receipt_is_evidence(engine: Engine) -> None:
    """An order whose answer was noted and never committed, and whose job another process ended meanwhile."""
    job = await lost(engine)
    engine.tools.receipts.note(job.attempt or "", msgspec.json.encode(Task("t8")).decode())
    job = await look_on(engine, job)

    assert find_rendition(job, "video", 0)
    assert msgspec.json.decode((await engine.store.attempts(job.id))[0].task or "")["id"] == "t8"


async def test_nothing_stays_of_a_job_deleted_while_its_clip_came(engine: Engine) -> None:
    """Also where clips are kept for ever: the row says deleted, so nobody would find them."""
    job = await given_up(engine)
    keep = engine.tools.keeper.keep

    async def kept(*words: Any) -> Any:
        renditions = await keep(*words)
        await engine.store.delete(job.id, "tenant")
        return renditions

    engine.tools.keeper.keep = kept  # type: ignore[method-assign]
    late = await look_on(engine, job)

    assert (billing(late), late.outputs, late.due_at) == ((Billing.BILLED, PRICE), "[]", None)
    assert [] == [each async for each in engine.media.shelf.walk("clips")]


async def test_what_an_older_program_left_due_for_nobody_is_taken_up(engine: Engine) -> None:
    """Beside a newer one it ends jobs in doubt as it always did, or takes up what is due and lets it lie."""
    job = await given_up(engine)
    await engine.store.save(move(job, job.state, engine.now, due_at=None))
    assert [each.id for each in await engine.store.in_doubt()] == [job.id]
    engine.now += 2 * 3_600_000
    assert "doubted_for_ever" in await engine.store.ailments()
    await engine.store.recall()

    assert await engine.store.ailments() == {}
    assert billing(await look_on(engine, await engine.job(job.id))) == (Billing.BILLED, PRICE)


async def test_a_clock_that_is_set_back_strands_no_doubt(engine: Engine) -> None:
    """At the next start it is due at once."""
    job = await given_up(engine)
    engine.now -= 365 * DAY_MS
    await engine.store.start_over()

    assert (await engine.job(job.id)).due_at == engine.now


async def test_a_crowd_in_doubt_takes_no_turn_from_who_is_under_way(engine: Engine) -> None:
    """Its looks are its own, a few a second."""
    late = await given_up(engine)
    account = engine.accounts["acme"]
    put_off = [engine.turns.put_off(late, Counter()) for _ in range(5000)]
    engine.provider.submits = [running("t2")]
    job = await engine.accept(seed=2)
    await engine.turn()
    job = await engine.job(job.id)

    assert 5000 - put_off.count(None) > 4000
    assert (job.state, engine.turns.put_off(job, Counter())) == (State.RUNNING, None)
    assert account.looks.take(engine.now) == engine.now


async def test_late_clips_wait_for_a_source_that_serves_nobody(engine: Engine) -> None:
    """As any other clips do."""
    job = await given_up(engine)
    engine.provider.polls = [done("t")] * 99
    engine.wire.answers = [(503, b"")] * 9
    engine.now = await engine.store.next_due() or 0
    await engine.turn()
    source = engine.accounts["acme"].source
    for _ in range(5):
        engine.now = max(engine.now, source._until)
        source.failed(engine.now)
    job = await engine.job(job.id)

    assert in_doubt(job)
    assert (engine.turns.put_off(job, Counter()) or 0) > engine.now


async def test_a_late_look_that_breaks_the_gateway_is_made_once_a_day(engine: Engine) -> None:
    """Nothing but its money waits for it."""
    job = await given_up(engine)
    await engine.steps.take(replace(job, crashes=3))

    assert (await engine.job(job.id)).due_at == engine.now + DAY_MS


async def test_an_operators_word_ends_the_looking(engine: Engine) -> None:
    """The invoice has come; what the provider says later is not asked."""
    job = await given_up(engine)
    outbox = Outbox(engine.store.database, engine.clock)
    await outbox.add_endpoint(endpoint("whep_a", SETTLED))
    settled, postings, told = settle(job, 250_000, engine.now)
    await engine.store.save(settled, postings=postings, also=told)

    assert [each.type for each in await outbox.deliveries_of(job.id, "tenant")] == [SETTLED]
    assert await engine.store.next_due() is None
    assert billing(await engine.job(job.id)) == (Billing.BILLED, 250_000)


async def test_who_asked_for_it_is_told_once(engine: Engine) -> None:
    """A type of its own: who knows only ends hears nothing twice."""
    outbox = Outbox(engine.store.database, engine.clock)
    for id_, types in (("whep_a", FAILED), ("whep_b", f"{FAILED} {SETTLED}")):
        await outbox.add_endpoint(endpoint(id_, types))
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
