"""Laws of buying: once, on evidence, and said."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.clips.media import clip_folder
from gateway.clock import DAY_MS
from gateway.door.accept import Repeat
from gateway.jobs.job import CONFIRM, UNDER_WAY, Job, Outcome, State, turned_down
from gateway.jobs.wish import Notice, Problem, Rendition
from gateway.store.database import ConflictError
from gateway.store.store import MismatchError
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Refused,
    Throttled,
    Unauthorized,
    Unavailable,
)
from providers.base.task import Fault, Task, Update
from providers.base.task import State as TaskState
from tests.make import listing, offer, price
from tests.scripted import Engine, clip, done, running


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path)
    yield built
    built.close()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Engine]:
    cheap, dear = listing("cheap", prices=[price("0.01")]), listing("dear", prices=[price("0.50")])
    built = Engine(tmp_path, cheap, dear)
    yield built
    built.close()


@pytest.fixture
async def repeatable(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(submit_class="A"))
    yield built
    built.close()


async def test_a_wish_becomes_a_kept_clip(engine: Engine) -> None:
    """Accepted, bought once, looked at, fetched, measured, kept."""
    job = await engine.run((await engine.accept()).id)

    assert job.state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 1
    video, thumbnail, sheet, last = msgspec.json.decode(job.outputs, type=list[Rendition])
    assert (video.codec, video.width, video.height, video.duration_seconds, video.has_audio) == (
        "h264",
        1280,
        720,
        8.0,
        True,
    )
    assert await engine.media.whole(video) == engine.wire.default
    assert [thumbnail.kind, sheet.kind, last.kind] == ["thumbnail", "spritesheet", "last_frame"]
    assert (await engine.media.whole(thumbnail))[8:12] == b"WEBP"
    assert job.warnings == "[]"
    (attempt,) = await engine.store.attempts(job.id)
    assert attempt.outcome is Outcome.SUCCEEDED
    assert None not in (attempt.answered_at, attempt.ended_at)


async def test_the_intent_is_on_disk_before_the_order_leaves(engine: Engine) -> None:
    """Whoever opens the database while the order is under way finds the attempt there."""
    seen = []
    submit = engine.provider.submit

    async def watched(order, wire):  # type: ignore[no-untyped-def]
        seen.extend(
            await engine.store.attempts(
                (await engine.store.jobs("tenant", after=None, limit=1, newest_first=True)).jobs[0].id
            )
        )
        return await submit(order, wire)

    engine.provider.submit = watched  # type: ignore[method-assign]
    job = await engine.accept()
    await engine.run(job.id)

    assert [each.id for each in seen] == engine.provider.ledger
    assert [each.outcome for each in seen] == [Outcome.INTENT]


@pytest.mark.parametrize("error", [Indeterminate("?"), Malformed("?"), RuntimeError("a bug of ours")])
async def test_a_lost_answer_is_never_bought_again(engine: Engine, error: Exception) -> None:
    """Where nobody can be asked and nobody calls, its client is told so after three minutes, and not after an hour."""
    engine.provider.submits = [error]
    job = await engine.accept()
    await engine.turn()

    assert (await engine.job(job.id)).state is State.UNKNOWN
    ended = await engine.run(job.id)
    assert (ended.state, msgspec.json.decode(ended.error, type=Problem).code) == (State.FAILED, "submission_unknown")
    assert len(engine.provider.ledger) == 1
    assert UNDER_WAY <= (ended.updated_at - job.created_at) / 1000 <= UNDER_WAY + 5


async def test_what_costs_nothing_is_kept_in_sight(tmp_path: Path) -> None:
    """Its money is in no doubt, so its end would be final: until its deadline an operator may name its task."""
    engine = Engine(tmp_path, listing(prices=[price("0")]))
    engine.provider.submits = [Indeterminate("?")]
    job = await engine.accept()
    ended = await engine.run(job.id)
    engine.close()

    assert ended.state is State.FAILED
    assert ended.updated_at >= job.deadline_at


async def test_a_lost_answer_found_again_is_adopted(engine: Engine) -> None:
    """A look-up that finds the task goes on with it."""
    engine.provider.submits = [Indeterminate("?")]
    job = await engine.accept()
    await engine.turn()
    engine.provider.finds = [Unavailable("busy"), running("found")]
    ended = await engine.run(job.id)

    assert ended.state is State.SUCCEEDED
    assert msgspec.json.decode(ended.task, type=Task).id == "found"
    assert len(engine.provider.ledger) == 1


async def test_a_proof_of_absence_frees_the_job(engine: Engine) -> None:
    """
    Only a provider that says it never took the order lets it be sent again, as another attempt.

    And only when the first can no longer be on its way: what is late is not absent.
    """
    engine.provider.submits = [Indeterminate("?")]
    job = await engine.accept()
    await engine.turn()
    begun = engine.now
    engine.provider.finds = [None] * 100
    ended = await engine.run(job.id)

    assert ended.completed_at is not None
    assert ended.completed_at - begun >= 1000 * (UNDER_WAY + CONFIRM)
    assert 2 <= 100 - len(engine.provider.finds) <= 20
    assert ended.state is State.SUCCEEDED
    assert [each.outcome for each in await engine.store.attempts(job.id)] == [Outcome.ABSENT, Outcome.SUCCEEDED]
    assert len(set(engine.provider.ledger)) == 2


async def test_one_denial_is_no_proof(engine: Engine) -> None:
    """However late the first look is, a list that is behind would buy it twice: it is asked once more, in a while."""
    engine.provider.submits = [Indeterminate("?")]
    job = await engine.accept()
    await engine.turn()
    engine.provider.finds = [Unavailable("down")] * 3 + [None, Unavailable("down"), running("found")]
    engine.now += 400_000
    ended = await engine.run(job.id)

    assert (ended.state, len(engine.provider.ledger)) == (State.SUCCEEDED, 1)


async def test_class_a_repeats_the_same_order(repeatable: Engine) -> None:
    """Where repeating is free the same attempt is sent until an answer comes."""
    repeatable.provider.submits = [Indeterminate("?"), Throttled("slow"), Unavailable("down"), Indeterminate("?")]
    ended = await repeatable.run((await repeatable.accept()).id)

    assert ended.state is State.SUCCEEDED
    assert len(set(repeatable.provider.ledger)) == 1
    assert len(repeatable.provider.ledger) == 5
    assert ended.attempts == 1


async def test_a_refusal_does_not_speak_for_what_is_still_on_its_way(repeatable: Engine) -> None:
    """After a lost answer a refusal of the repeated order counts once nothing of it can arrive any more."""
    repeatable.provider.submits = [Indeterminate("?"), Invalid("bad"), Invalid("bad")]
    job = await repeatable.accept()
    await repeatable.turn()
    asked_at = repeatable.now
    await repeatable.turn(seconds=2)

    doubtful = await repeatable.job(job.id)
    assert (doubtful.state, len(repeatable.provider.ledger)) == (State.UNKNOWN, 2)
    assert doubtful.due_at - asked_at >= 180_000
    ended = await repeatable.run(job.id)
    assert (ended.state, len(repeatable.provider.ledger)) == (State.FAILED, 3)


async def test_a_dead_workers_purchase_is_doubted(engine: Engine) -> None:
    """A job found in submitting by another worker is unknown, whether or not the order left."""
    job = await engine.accept()

    async def die(order, wire):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    engine.provider.submit = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await engine.turn()
    assert (await engine.job(job.id)).state is State.SUBMITTING
    engine.restart()
    assert await engine.turn(seconds=59) == 0
    assert await engine.turn(seconds=2) == 1

    assert (await engine.job(job.id)).state is State.UNKNOWN


@pytest.mark.parametrize("error", [Throttled("slow", retry_after=30), Unavailable("down")])
async def test_turned_away_at_the_door_waits_and_tries_again(engine: Engine, error: ProviderError) -> None:
    """What was not taken may be sent again, no sooner than asked."""
    engine.provider.submits = [error, error]
    job = await engine.accept()
    await engine.turn()

    waiting = await engine.job(job.id)
    assert waiting.state is State.QUEUED
    assert waiting.due_at - engine.now >= 1000 * (error.retry_after or 0.5)
    assert engine.accounts["acme"].running == 0
    assert (await engine.run(job.id)).state is State.SUCCEEDED
    assert [each.outcome for each in await engine.store.attempts(job.id)] == [
        Outcome.NOT_ACCEPTED, Outcome.NOT_ACCEPTED, Outcome.SUCCEEDED,
    ]  # fmt: skip


@pytest.mark.parametrize("error", [Invalid("bad"), Unauthorized("key"), Exhausted("empty")])
async def test_an_account_of_no_use_is_left_for_the_next(two: Engine, error: ProviderError) -> None:
    """A refusal that is the account's goes on to the next quote, and is shown."""
    two.providers["cheap"].submits = [error]
    ended = await two.run((await two.accept()).id)

    assert (ended.state, ended.account, ended.offer) == (State.SUCCEEDED, "dear", "dear:maker/one")
    assert [(each.account, each.outcome) for each in await two.store.attempts(ended.id)] == [
        ("cheap", turned_down(error)), ("dear", Outcome.SUCCEEDED),
    ]  # fmt: skip
    assert ended.error is None


async def test_no_account_is_asked_twice_in_vain(two: Engine) -> None:
    """When every account has refused the job fails with the last one's words."""
    for provider in two.providers.values():
        provider.submits = [Exhausted("no credits left")] * 5
    ended = await two.run((await two.accept()).id)

    assert ended.state is State.FAILED
    assert msgspec.json.decode(ended.error, type=Problem).message == "no credits left"
    assert [len(provider.ledger) for provider in two.providers.values()] == [1, 1]


async def test_a_model_nobody_sells_any_more_ends_its_jobs(tmp_path: Path) -> None:
    """Its only account was taken out of the configuration: it fails in words, at once where nobody else may have it."""
    before = Engine(tmp_path)
    job = await before.accept()
    before.close()
    after = Engine(tmp_path, listing("other", offers=[offer("maker/two")]))
    await after.turn()
    if after.store.shared:
        assert (await after.job(job.id)).state is State.QUEUED
        after.now = job.deadline_at
        await after.turn()
    ended = await after.job(job.id)

    code = "deadline_exceeded" if after.store.shared else "no_offer"
    assert (ended.state, msgspec.json.decode(ended.error, type=Problem).code) == (State.FAILED, code)
    assert after.provider.ledger == []
    after.close()


async def test_a_policy_refusal_is_not_shopped_around(two: Engine) -> None:
    """What one provider's policy forbids is not offered to the next."""
    two.providers["cheap"].submits = [Refused("not this", code="SAFETY")]
    ended = await two.run((await two.accept()).id)
    problem = msgspec.json.decode(ended.error, type=Problem)

    assert (ended.state, problem.code, problem.provider_code) == (State.FAILED, "content_policy_violation", "SAFETY")
    assert two.providers["dear"].ledger == []


async def test_a_failed_task_says_why(engine: Engine) -> None:
    """The provider's verdict ends the job, in its words."""
    engine.provider.polls = [Update(state=TaskState.FAILED, task=Task("t"), fault=Fault(code="E7", message="it broke"))]
    ended = await engine.run((await engine.accept()).id)
    problem = msgspec.json.decode(ended.error, type=Problem)

    assert (ended.state, problem.code, problem.message, problem.provider_code) == (
        State.FAILED, "generation_failed", "it broke", "E7",
    )  # fmt: skip
    assert engine.accounts["acme"].running == 0


@pytest.mark.parametrize(
    "error", [Unavailable("502"), Throttled("429"), Malformed("html"), Unauthorized("revoked"), Missing("404")]
)
async def test_a_failed_look_is_not_a_verdict(engine: Engine, error: ProviderError) -> None:
    """Whatever goes wrong while looking, the job goes on and nothing is bought again."""
    engine.provider.polls = [error] * 3
    ended = await engine.run((await engine.accept()).id)

    assert ended.state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 1


async def test_a_task_its_provider_forgot_is_lost_only_after_a_while(engine: Engine) -> None:
    """A 404 counts once the listing's time of grace is over."""
    engine.provider.polls = [Missing("who?")] * 1000
    job = await engine.accept()
    ended = await engine.run(job.id)

    assert msgspec.json.decode(ended.error, type=Problem).code == "task_lost"
    assert ended.completed_at - ended.started_at >= engine.provider.listing.missing_seconds * 1000


async def test_an_unknown_word_is_no_verdict(engine: Engine) -> None:
    """A state nobody knows leaves the job running until its deadline, and no longer."""
    pondering = Update(state=TaskState.UNKNOWN, task=Task("t"), raw_state="pondering")
    engine.provider.polls = [pondering] * 2
    assert (await engine.run((await engine.accept()).id)).state is State.SUCCEEDED

    engine.provider.polls = [pondering] * 1000
    ended = await engine.run((await engine.accept(seed=1)).id)
    assert msgspec.json.decode(ended.error, type=Problem).code == "deadline_exceeded"


async def test_a_clip_that_cannot_be_fetched_is_tried_again_then_said_to_be_lost(engine: Engine) -> None:
    """A paid clip is fetched again and again; its loss is told apart from a failure to make it."""
    engine.wire.answers = [(503, b""), Unavailable("cut"), (404, b"")]
    assert (await engine.run((await engine.accept()).id)).state is State.SUCCEEDED

    engine.wire.answers = [(404, b"")] * 50
    ended = await engine.run((await engine.accept(seed=1)).id)
    assert msgspec.json.decode(ended.error, type=Problem).code == "result_lost"
    assert (await engine.store.attempts(ended.id))[0].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("body", [b"", b"<html>not a clip</html>", clip()[:2000]])
async def test_what_is_no_clip_is_not_kept(engine: Engine, body: bytes) -> None:
    """A page served in place of the clip never becomes a finished video."""
    engine.wire.answers = [(200, body)] * 50
    ended = await engine.run((await engine.accept()).id)

    assert ended.state is State.FAILED
    assert msgspec.json.decode(ended.error, type=Problem).code == "result_lost"
    assert list(engine.media.incoming.iterdir()) == []


async def test_a_clip_that_is_not_what_was_ordered_says_so(engine: Engine) -> None:
    """Length, size and sound are compared with the order; the clip is kept, the difference told."""
    engine.wire.default = clip(4, (640, 360), audio=False)
    ended = await engine.run((await engine.accept()).id)
    notices = msgspec.json.decode(ended.warnings, type=list[Notice])

    assert ended.state is State.SUCCEEDED
    assert [(notice.type, notice.feature) for notice in notices] == [
        ("mismatch", "seconds"), ("mismatch", "resolution"), ("mismatch", "audio"),
    ]  # fmt: skip
    (came,) = await engine.store.orders(ended.created_at, ended.created_at + DAY_MS)
    assert (came.outcome, came.mismatched, came.orders) == (Outcome.SUCCEEDED, True, 1)


async def test_a_crash_while_fetching_fetches_again(engine: Engine) -> None:
    """A job found in storing asks for the address anew and ends well; nothing is bought."""
    engine.wire.answers = [RuntimeError("power cut")]
    job = await engine.accept()
    await engine.turn()

    async def until_storing() -> None:
        while True:
            await engine.turn(seconds=5)

    with pytest.raises(RuntimeError, match="power cut"):
        await until_storing()
    assert (await engine.job(job.id)).state is State.STORING
    assert (await engine.run(job.id)).state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 1


async def test_a_job_not_yet_bought_is_cancelled_for_nothing(engine: Engine) -> None:
    """Cancelled before the intent, nothing is ordered."""
    job = await engine.accept()
    await engine.store.cancel(job.id, "tenant")
    ended = await engine.run(job.id)

    assert ended.state is State.CANCELLED
    assert engine.provider.ledger == []


async def test_a_running_job_ends_as_its_provider_says(engine: Engine) -> None:
    """Cancelling asks the provider; one that cannot stop delivers, and the clip is kept."""
    engine.provider.polls = [running("t")] * 3
    stopped = await engine.accept()
    await engine.turn()
    engine.provider.cancels = [Update(state=TaskState.CANCELLED, task=Task("t"))]
    await engine.store.cancel(stopped.id, "tenant")
    assert (await engine.run(stopped.id)).state is State.CANCELLED

    unstoppable = await engine.accept(seed=1)
    await engine.turn()
    await engine.store.cancel(unstoppable.id, "tenant")
    assert (await engine.run(unstoppable.id)).state is State.SUCCEEDED
    assert engine.accounts["acme"].running == 0


async def test_an_account_is_never_over_full(tmp_path: Path) -> None:
    """No more tasks are under way than the account may have; the others wait and are all made."""
    engine = Engine(tmp_path, max_running=2)
    engine.provider.polls = [running("t")] * 12
    jobs = [await engine.accept(seed=seed) for seed in range(6)]
    await engine.turn()
    assert len(engine.provider.ledger) == 2

    for job in jobs:
        assert (await engine.run(job.id)).state is State.SUCCEEDED
        assert engine.accounts["acme"].running <= 2
    assert len(engine.provider.ledger) == 6
    engine.close()


async def test_one_open_attempt_is_all_the_database_allows(engine: Engine) -> None:
    """A second purchase for a job with an open one is refused by the database itself."""
    job = await engine.accept()
    await engine.turn()
    (first,) = await engine.store.attempts(job.id)
    held = await engine.job(job.id)
    again = msgspec.structs.replace(first, id="att_other", number=2, outcome=Outcome.INTENT)

    with pytest.raises(ConflictError):
        await engine.store.save(msgspec.structs.replace(held, seq=held.seq + 1), again)
    assert (await engine.job(job.id)).seq == held.seq


async def test_a_worker_that_lost_its_lease_changes_nothing(engine: Engine) -> None:
    """After a lease has run out and been taken over, the old holder's move is refused."""
    await engine.accept()
    (old,) = await engine.store.claim(lease=1000, most=1)
    engine.now += 2000
    (new,) = await engine.store.claim(lease=1000, most=1)
    assert new.lease_epoch == old.lease_epoch + 1

    with pytest.raises(ConflictError):
        await engine.steps.take(old)
    assert engine.provider.ledger == []


async def test_a_retry_finds_the_job_of_its_first_try(engine: Engine) -> None:
    """An SDK's own retry of the same body is the same job; a fresh call is a new one."""
    first = await engine.accept()

    assert (await engine.accept(Repeat(retry=1))).id == first.id
    assert (await engine.accept(Repeat(retry=1), seed=5)).id != first.id
    second = await engine.accept()
    assert second.id != first.id
    assert (await engine.accept(Repeat(retry=2))).id == second.id
    engine.now += 31 * 60_000
    assert (await engine.accept(Repeat(retry=1))).id != second.id


async def test_an_idempotency_key_is_one_job(engine: Engine) -> None:
    """The same key and body is the same job for three days; another body is refused."""
    first = await engine.accept(Repeat(key="k"))

    assert (await engine.accept(Repeat(key="k"))).id == first.id
    with pytest.raises(MismatchError):
        await engine.accept(Repeat(key="k"), seed=5)
    engine.now += 73 * 3_600_000
    assert (await engine.accept(Repeat(key="k"))).id != first.id


async def clips(engine: Engine, job: Job) -> list[str]:
    """List what lies on the shelf of a job."""
    return [each.key async for each in engine.media.shelf.walk(clip_folder(job.id))]


async def test_clips_are_removed_when_their_time_is_over(engine: Engine) -> None:
    """Retention removes the files; the job stays completed and says that they are gone."""
    job = await engine.run((await engine.accept()).id)
    assert 4 == len(await clips(engine, job))
    await engine.turn(seconds=3601)

    assert [] == await clips(engine, job)
    after = await engine.job(job.id)
    assert (after.state, after.outputs, after.due_at) == (State.SUCCEEDED, "[]", None)


async def test_n_clips_are_all_kept(tmp_path: Path) -> None:
    """Every clip a provider delivers is kept, by its index."""
    engine = Engine(tmp_path)
    two_assets = done("t")
    engine.provider.polls = [
        msgspec.structs.replace(
            two_assets, assets=(*two_assets.assets, msgspec.structs.replace(two_assets.assets[0], index=1))
        )
    ]
    ended = await engine.run((await engine.accept()).id)
    kept = msgspec.json.decode(ended.outputs, type=list[Rendition])

    assert [each.index for each in kept if each.kind == "video"] == [0, 1]
    engine.close()
