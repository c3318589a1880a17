"""Laws of ``on_unknown: resubmit``: once more at most, within what the client allows, and nothing of it is hidden."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.api.answers import video
from gateway.clock import DAY_MS
from gateway.door.accept import Repeat, fingerprint_of
from gateway.engine.operator import MoveError, adopt, questioned, settle, write_off
from gateway.events.events import SETTLED, Endpoint
from gateway.events.outbox import Outbox
from gateway.jobs.job import ASIDE_MS, LATE_LEAST, UNDER_WAY, Job, Outcome, State
from gateway.jobs.wish import Preferences, Problem, Wish
from gateway.money.billing import Abandoned, abandoned_of, former, unsettled
from gateway.money.ledger import NONE, Billing, Book, Limits, drift
from gateway.settings import RoutingSettings
from gateway.store.orphans import unseen
from gateway.store.store import MismatchError
from providers.base.errors import Indeterminate, ProviderError, Unavailable, Unsupported
from providers.base.listing import Listing
from providers.base.order import Order, Request
from providers.base.task import Fault, Task, Update, Usage
from providers.base.task import State as TaskState
from providers.base.wire import Wire
from tests.make import listing, price
from tests.scripted import Engine, done, running

Make = Callable[..., Engine]
CHEAP = listing("cheap", prices=[price("0.10")], deadline_seconds=3600)
FAIR = listing("fair", prices=[price("0.20")], deadline_seconds=3600)
FINDER = listing("cheap", prices=[price("0.10")], deadline_seconds=3600, submit_class="B")
AGAIN = Preferences(on_unknown="resubmit")
FIRST, SECOND = 800_000, 1_600_000
"""Eight seconds at each."""
SILENCE = Indeterminate("silence")
NOBODY = Unavailable("nobody home")


async def order(engine: Engine, preferences: Preferences = AGAIN, *, limits: Limits = NONE, key: str = "") -> Job:
    wish = Wish(request=Request(prompt="a cat", model="maker/one"), preferences=preferences)
    decision, said = engine.acceptor.decide(wish), fingerprint_of(wish)
    repeat = Repeat(key=key or None)
    job, _ = await engine.acceptor.accept(
        wish, decision, "tenant", repeat, fingerprint=said, buyer=await engine.key(limits), limits=limits
    )
    return job


async def doubted(engine: Engine, preferences: Preferences = AGAIN, **more: Any) -> Job:
    """A job whose first order nobody knows the fate of."""
    engine.provider.submits = [SILENCE]
    job = await order(engine, preferences, **more)
    await engine.turn()
    assert (await engine.job(job.id)).state is State.UNKNOWN
    return job


def problem(job: Job) -> Problem:
    return msgspec.json.decode(job.error or "", type=Problem)


def given_up(job: Job) -> Abandoned:
    found = abandoned_of(job)
    assert found is not None
    return found


async def tried(engine: Engine, job: Job) -> list[tuple[str, Outcome]]:
    return [(each.account, each.outcome) for each in await engine.store.attempts(job.id)]


async def books(engine: Engine, job: Job) -> dict[Book, int]:
    assert await engine.store.ailments() == {}
    return {book: sum_ for book, sum_ in drift(await engine.store.entries(job.id)).items() if sum_}


async def look_on(engine: Engine, job: Job) -> Job:
    """Let time pass until nothing of an ended job is in doubt any more."""
    for _ in range(300):
        job = await engine.job(job.id)
        if unsettled(job) is None:
            return job
        engine.now = max(engine.now, job.due_at or 0)
        await engine.turn()
    raise AssertionError(f"{job.id} stays in doubt")


async def test_a_lost_order_is_made_once_more(make: Make) -> None:
    """After three minutes, at another before the silent one; what the first may have cost stays set aside."""
    engine = make(CHEAP, FAIR)
    job = await doubted(engine)
    ended = await engine.run(job.id)

    assert ended.state is State.SUCCEEDED
    assert await tried(engine, ended) == [("cheap", Outcome.ABANDONED), ("fair", Outcome.SUCCEEDED)]
    first, second = await engine.store.attempts(job.id)
    assert UNDER_WAY <= (second.intent_at - first.intent_at) / 1000 <= UNDER_WAY + 5
    assert (first.task, first.answered_at, first.ended_at) == (None, None, second.intent_at)
    assert await books(engine, ended) == {
        Book.AVAILABLE: -FIRST - SECOND, Book.SUSPENSE: FIRST, Book.SPENT: SECOND,
    }  # fmt: skip
    shown = video(ended)
    assert (shown["possible_duplicate"], shown["status"], shown["provider"]) == (True, "completed", "fair")
    assert (shown["usage"]["cost"], shown["usage"]["billing"]) == (2.4, Billing.POSSIBLY_BILLED)
    assert shown["usage"]["estimated"]
    assert shown["routing"]["why"] == "cheap:maker/one never answered"
    assert {name: each.running for name, each in engine.accounts.items()} == {"cheap": 0, "fair": 0}


@pytest.mark.parametrize(
    ("others", "preferences"), [((), AGAIN), ((FAIR,), replace(AGAIN, allow_fallbacks=False))]
)  # fmt: skip
async def test_where_there_is_no_other_the_silent_one_is_asked_again(
    make: Make, others: tuple[Listing, ...], preferences: Preferences
) -> None:
    """So is the one a call keeps to, though there is another."""
    engine = make(CHEAP, *others)
    ended = await engine.run((await doubted(engine, preferences)).id)
    assert await tried(engine, ended) == [("cheap", Outcome.ABANDONED), ("cheap", Outcome.SUCCEEDED)]


async def test_who_does_not_ask_for_it_is_never_charged_twice(make: Make) -> None:
    engine = make(CHEAP, FAIR)
    ended = await engine.run((await doubted(engine, Preferences())).id)
    assert (ended.state, problem(ended).code) == (State.FAILED, "submission_unknown")
    assert problem(ended).message.endswith("It was not ordered twice.")
    assert await tried(engine, ended) == [("cheap", Outcome.FAILED)]
    assert video(ended)["possible_duplicate"] is False


async def test_it_is_done_once(make: Make) -> None:
    """A second order that is lost ends the job as ever, with the money of both in doubt; each is settled in the end."""
    engine = make(CHEAP, FAIR)
    engine.providers["fair"].submits = [SILENCE]
    ended = await engine.run((await doubted(engine)).id)

    assert (ended.state, problem(ended).code) == (State.FAILED, "submission_unknown")
    assert problem(ended).message == "Neither order was answered; the clip may have been bought twice."
    assert await tried(engine, ended) == [("cheap", Outcome.ABANDONED), ("fair", Outcome.FAILED)]
    assert await books(engine, ended) == {Book.AVAILABLE: -FIRST - SECOND, Book.SUSPENSE: FIRST + SECOND}
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 1]
    assert [each.id for each in await engine.store.in_doubt()] == [ended.id]

    settled = await look_on(engine, ended)
    assert 30 * DAY_MS <= engine.now - (ended.completed_at or 0) <= 30 * DAY_MS + 1000 * LATE_LEAST
    assert (settled.state, settled.error, settled.due_at) == (State.FAILED, ended.error, None)
    assert await books(engine, settled) == {Book.AVAILABLE: -FIRST - SECOND, Book.SPENT: FIRST + SECOND}
    assert video(settled)["usage"]["cost"] == 2.4


@pytest.mark.parametrize(
    ("preferences", "limits", "routing", "why"),
    [
        (AGAIN, Limits(total=FIRST + SECOND - 1), None, "a budget has not enough left for both orders"),
        (
            replace(AGAIN, max_usd_micros=SECOND - 1), NONE, None,
            "cheap charges $0.8, above max_cost_usd, of which the first order may have taken $0.8",
        ),
        (AGAIN, NONE, RoutingSettings(max_attempts=1), "as many orders of it have come to nothing as may"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_not_ordered(
    make: Make, preferences: Preferences, limits: Limits, routing: RoutingSettings | None, why: str
) -> None:
    """Both orders count: against the budgets, and against what the video may cost at most. It ends as it would have."""
    engine = make(CHEAP, FAIR, routing=routing)
    ended = await engine.run((await doubted(engine, preferences, limits=limits)).id)

    assert (ended.state, problem(ended).code) == (State.FAILED, "submission_unknown")
    assert problem(ended).message.endswith(f"It was not ordered twice: {why}.")
    assert (ended.abandoned, await tried(engine, ended)) == (None, [("cheap", Outcome.FAILED)])
    assert await books(engine, ended) == {Book.AVAILABLE: -FIRST, Book.SUSPENSE: FIRST}


@pytest.mark.parametrize(("most", "account", "price"), [(FIRST + SECOND, "fair", SECOND), (2 * FIRST, "cheap", FIRST)])
async def test_what_fits_to_the_last_cent_is_ordered(make: Make, most: int, account: str, price: int) -> None:
    """At the dearer seller's price where the ceiling and the budget reach it, else at the silent one's again."""
    engine = make(CHEAP, FAIR)
    job = await doubted(engine, replace(AGAIN, max_usd_micros=most), limits=Limits(total=most))
    ended = await engine.run(job.id)
    assert await tried(engine, ended) == [("cheap", Outcome.ABANDONED), (account, Outcome.SUCCEEDED)]
    assert await books(engine, ended) == {Book.AVAILABLE: -most, Book.SUSPENSE: FIRST, Book.SPENT: price}
    await look_on(engine, ended)
    spent = await engine.store.spent(0, engine.now + 1)
    assert (sum(each.usd_micros for each in spent), sum(each.purchases for each in spent)) == (most, 2)


async def test_a_cancelled_video_is_not_ordered_again(make: Make) -> None:
    """Neither before it is given up, nor after, while it waits for its turn."""
    engine = make(CHEAP, FAIR)
    job = await doubted(engine)
    await engine.store.cancel(job.id, "tenant")
    ended = await engine.run(job.id)
    assert (ended.abandoned, len(await tried(engine, ended))) == (None, 1)

    job = await doubted(engine)
    await engine.store.halt("enough")
    while (await engine.job(job.id)).state is State.UNKNOWN:
        await engine.turn(seconds=10)
    await engine.turn(seconds=1)
    assert (await engine.job(job.id)).state is State.QUEUED
    await engine.store.cancel(job.id, "tenant")
    ended = await engine.run(job.id)
    assert (ended.state, await tried(engine, ended)) == (State.CANCELLED, [("cheap", Outcome.ABANDONED)])
    assert await books(engine, ended) == {Book.AVAILABLE: -FIRST, Book.SUSPENSE: FIRST}
    assert video(ended)["usage"]["billing"] == Billing.POSSIBLY_BILLED


async def test_a_halt_holds_the_second_order_too(make: Make) -> None:
    """It waits in line until purchases go on, and ends in doubt where that is too late."""
    engine = make(CHEAP, FAIR)
    job = await doubted(engine)
    await engine.store.halt("enough")
    while not (ended := await engine.job(job.id)).state.final:
        await engine.turn(seconds=60)
    assert (ended.state, problem(ended).code) == (State.FAILED, "submission_unknown")
    assert "no other could be made" in problem(ended).message
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 0]
    assert (await books(engine, ended))[Book.SUSPENSE] == FIRST


async def test_who_breaks_the_gateway_down_is_not_ordered_again(make: Make) -> None:
    engine = make(CHEAP)
    job = await doubted(engine)
    engine.now += 2000
    for _ in range(3):
        for each in await engine.store.claim(lease=1, most=9):
            await engine.store.stumbled(each, engine.now)
    await engine.turn(seconds=1)
    assert (await engine.job(job.id)).aside_at is not None
    ended = await engine.run(job.id)
    assert ended.completed_at is not None
    assert ended.completed_at >= job.deadline_at - ASIDE_MS
    assert (ended.state, len(engine.provider.ledger)) == (State.FAILED, 1)


# Where somebody could tell


async def test_evidence_is_waited_for_until_half_of_the_time_is_over(make: Make) -> None:
    """A seller that keeps a list is asked; who does not answer leaves half of the time for another."""
    engine = make(FINDER, FAIR)
    engine.provider.finds = [NOBODY] * 999
    job = await doubted(engine)
    await engine.run(job.id)
    _, second = await engine.store.attempts(job.id)
    half = (job.deadline_at - job.created_at) / 2
    assert half <= second.intent_at - job.created_at <= half + 61_000


async def test_proof_is_better_than_a_second_purchase(make: Make) -> None:
    """Where the seller denies the order, or has it, nothing is given up."""
    engine = make(FINDER, FAIR)
    engine.provider.finds = [None] * 999
    denied = await engine.run((await doubted(engine)).id)
    assert (denied.abandoned, denied.state) == (None, State.SUCCEEDED)
    engine.provider.finds = [NOBODY, running("t")]
    found = await engine.run((await doubted(engine)).id)
    assert (found.abandoned, [outcome for _, outcome in await tried(engine, found)]) == (None, [Outcome.SUCCEEDED])


@pytest.mark.parametrize(
    ("told", "outcome", "billing", "charged"),
    [
        (done("t"), Outcome.SUCCEEDED, Billing.BILLED, FIRST),
        (done("t", usage=Usage(usd_micros=5)), Outcome.SUCCEEDED, Billing.BILLED, 5),
        (
            Update(state=TaskState.FAILED, task=Task("t"), fault=Fault(code="x", message="it broke", billed=False)),
            Outcome.FAILED, Billing.NOT_BILLED, 0,
        ),
        (
            Update(state=TaskState.FAILED, task=Task("t"), fault=Fault(code="x", message="it broke")),
            Outcome.ABANDONED, Billing.BILLED, FIRST,
        ),
        (None, Outcome.ABSENT, Billing.NOT_BILLED, 0),
        (NOBODY, Outcome.ABANDONED, Billing.BILLED, FIRST),
        (Unsupported("no list"), Outcome.ABANDONED, Billing.BILLED, FIRST),
    ],
)  # fmt: skip
async def test_what_became_of_the_first_is_settled_after_the_end(
    make: Make, told: Update | ProviderError | None, outcome: Outcome, billing: Billing, charged: int
) -> None:
    """By its seller's word, without touching the clip; who was made for nothing is on the operators' list."""
    engine = make(FINDER, FAIR)
    outbox = Outbox(engine.store.database, engine.clock)
    ears = Endpoint(
        id="whep_1", tenant="tenant", name="", url="https://ears.test", host="ears.test", event_types=SETTLED,
        version=1, old_until=None, created_at=0, updated_at=0,
    )  # fmt: skip
    await outbox.add_endpoint(ears)
    engine.provider.finds = [NOBODY] * 999
    ended = await engine.run((await doubted(engine)).id)
    assert ended.state is State.SUCCEEDED

    engine.provider.finds = [told] * 999
    engine.provider.polls = [told] * 999 if isinstance(told, Update) else []
    settled = await look_on(engine, ended)
    assert [each.outcome for each in await engine.store.attempts(ended.id)] == [outcome, Outcome.SUCCEEDED]
    hold = given_up(settled).hold
    assert (hold.billing, hold.charged) == (billing, charged)
    spent = {Book.AVAILABLE: -SECOND - charged, Book.SPENT: SECOND + charged}
    assert await books(engine, settled) == spent
    for name in ("state", "outputs", "attempt", "task", "hold", "completed_at", "expires_at"):
        assert getattr(settled, name) == getattr(ended, name) or engine.now >= (ended.expires_at or 0)
    usage = video(settled)["usage"]
    assert (usage["cost"], usage["billing"]) == ((SECOND + charged) / 1_000_000, Billing.BILLED)
    assert video(settled)["possible_duplicate"]
    lost = [(each.attempt, each.task, each.job) for each in await unseen(engine.store.database)]
    assert lost == ([(given_up(settled).attempt, "t", ended.id)] if outcome is Outcome.SUCCEEDED else [])
    told_of = [each.type for each in await outbox.deliveries_of(ended.id, "tenant")]
    assert told_of == [SETTLED]
    assert await engine.store.in_doubt() == []


async def test_a_clip_goes_at_its_time_though_the_first_is_in_doubt(make: Make) -> None:
    """One does not wait for the other: the clip goes when its time is over, and the money is asked after on and on."""
    engine = make(CHEAP, FAIR)
    ended = await engine.run((await doubted(engine)).id)
    assert ended.expires_at == (ended.completed_at or 0) + 3_600_000
    while (job := await engine.job(ended.id)).outputs != "[]":
        engine.now = max(engine.now, job.due_at or 0)
        await engine.turn()
    assert engine.now == ended.expires_at
    assert video(job)["status_detail"] == "expired"
    assert (unsettled(job), job.due_at is not None) == (former(job), True)
    assert (await look_on(engine, job)).due_at is None


async def test_a_deleted_video_is_asked_after_for_its_money(make: Make) -> None:
    engine = make(CHEAP, FAIR)
    ended = await engine.run((await doubted(engine)).id)
    assert await engine.store.delete(ended.id, "tenant")
    await engine.turn(seconds=31 * 86_400)
    await engine.turn()
    gone = await engine.store.any_job(ended.id)
    assert gone is not None
    assert (gone.outputs, given_up(gone).hold.billing) == ("[]", Billing.BILLED)
    assert [] == [each async for each in engine.media.shelf.walk("clips")]


async def test_an_answer_that_comes_after_all_is_kept(make: Make) -> None:
    """The process that sent the order stood still: what it hears is the first order's task, and nobody's second."""
    engine = make(CHEAP, FAIR)
    cheap = engine.providers["cheap"]

    async def slow(_: Order, __: Wire) -> Update:
        for _ in range(40):
            await engine.turn(seconds=10)
        return running("t")

    cheap.submit = slow  # type: ignore[method-assign]
    ended = await engine.run((await order(engine)).id)
    assert [outcome for _, outcome in await tried(engine, ended)] == [Outcome.ABANDONED, Outcome.SUCCEEDED]
    engine.restart()
    engine.receipts[-1].noted.clear()
    settled = await look_on(engine, ended)
    first, _ = await engine.store.attempts(ended.id)
    assert (first.outcome, msgspec.json.decode(first.task or "")["id"]) == (Outcome.SUCCEEDED, "t")
    assert given_up(settled).hold.billing is Billing.BILLED
    assert [each.task for each in await unseen(engine.store.database)] == ["t"]


async def test_a_second_order_may_fall_back_as_any(make: Make) -> None:
    """A refusal of it is no reason to forget the first."""
    engine = make(CHEAP, FAIR)
    engine.providers["fair"].submits = [Unavailable("closed")]
    ended = await engine.run((await doubted(engine)).id)
    assert ended.state is State.SUCCEEDED
    outcomes = [outcome for _, outcome in await tried(engine, ended)]
    assert outcomes[0] is Outcome.ABANDONED
    assert outcomes[1:] == [Outcome.NOT_ACCEPTED, Outcome.SUCCEEDED]
    assert (await books(engine, ended))[Book.SUSPENSE] == FIRST


# Operators


async def test_an_operator_finds_the_first_order(make: Make) -> None:
    """Its task is the first attempt's and settles its money; what the video is made of is not touched."""
    engine = make(CHEAP, FAIR)
    ended = await engine.run((await doubted(engine)).id)
    first, second = await engine.store.attempts(ended.id)
    assert questioned(ended) == first.id
    with pytest.raises(MoveError):
        adopt(ended, second, "found", engine.now)
    noted, named, whose = adopt(ended, first, "found", engine.now)
    await engine.store.save(noted, named, also=whose)
    settled = await look_on(engine, noted)
    assert (settled.task, settled.attempt) == (ended.task, second.id)
    assert given_up(settled).hold.billing is Billing.BILLED
    assert questioned(settled) == second.id


async def test_an_operator_settles_one_after_the_other(make: Make) -> None:
    """The last order first; its client hears of it once nothing is in doubt any more."""
    engine = make(CHEAP, FAIR)
    engine.providers["fair"].submits = [SILENCE]
    job = await engine.run((await doubted(engine)).id)
    for cost, told in ((SECOND, 0), (0, 1)):
        job, postings, also = settle(job, cost, engine.now)
        assert len(also) == told
        await engine.store.save(job, postings=postings, also=also)
    assert await books(engine, job) == {Book.AVAILABLE: -SECOND, Book.SPENT: SECOND}
    assert (job.due_at, video(job)["usage"]["cost"]) == (None, SECOND / 1_000_000)
    with pytest.raises(MoveError):
        settle(job, 1, engine.now)


async def test_an_operator_decides_of_the_second_only(make: Make) -> None:
    """While it is open the first is nobody's to settle; written off, the job says that there were two."""
    engine = make(CHEAP, FAIR)
    engine.providers["fair"].submits = [SILENCE]
    job = await doubted(engine)
    while (await engine.job(job.id)).abandoned is None:
        await engine.turn(seconds=10)
    await engine.turn(seconds=1)
    job = await engine.job(job.id)
    assert job.state is State.UNKNOWN
    with pytest.raises(MoveError):
        settle(job, 1, engine.now)
    _, open_ = await engine.store.attempts(job.id)
    assert questioned(job) == open_.id
    ended, lost, postings, told = write_off(job, open_, engine.now)
    await engine.store.save(ended, lost, postings=postings, also=told)
    assert "One before it" in problem(ended).message
    assert await books(engine, ended) == {Book.AVAILABLE: -FIRST - SECOND, Book.SUSPENSE: FIRST + SECOND}


async def test_it_is_part_of_what_a_call_is_known_by(make: Make) -> None:
    """The same key without it is another call; left out, it is the call it always was."""
    engine = make(CHEAP)
    job = await order(engine, key="k")
    assert (await order(engine, key="k")).id == job.id
    with pytest.raises(MismatchError):
        await order(engine, Preferences(), key="k")
    assert "on_unknown" not in msgspec.json.encode(Preferences(on_unknown="fail")).decode()
