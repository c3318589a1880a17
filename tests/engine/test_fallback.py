"""Laws of who makes a clip next: once the first has failed to, for nothing, or has turned the order away for long."""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from msgspec.structs import replace

from gateway.api import answers
from gateway.door.accept import Repeat, fingerprint_of
from gateway.jobs.job import Job, Outcome, State, move
from gateway.jobs.wish import Preferences, Problem, Wish, read_choice
from gateway.money.ledger import Hold
from gateway.settings import RoutingSettings
from gateway.store.orphans import unseen
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Missing,
    ProviderError,
    Refused,
    Scope,
    Throttled,
    Unavailable,
)
from providers.base.listing import Listing
from providers.base.order import Order, Request
from providers.base.task import Fault, Task, Update, Usage
from providers.base.task import State as TaskState
from providers.base.wire import Wire
from tests.make import listing, offer, price
from tests.scripted import Engine, done, running

Make = Callable[..., Engine]
CHEAP = listing("cheap", prices=[price("0.10")], deadline_seconds=3600)
FAIR = listing("fair", prices=[price("0.20")], deadline_seconds=3600)
DEAR = listing("dear", prices=[price("0.40")], deadline_seconds=3600)
ANY = Preferences()
BROKE = "it broke at the seller's"


def failed(
    task: str = "t", state: TaskState = TaskState.FAILED, *, billed: bool | None = False, usage: Usage | None = None
) -> Update:
    """Answer that a task came out badly, and what that costs."""
    return Update(state=state, task=Task(task), fault=Fault(code="E7", message=BROKE, billed=billed), usage=usage)


async def order(engine: Engine, preferences: Preferences = ANY, *, seed: int | None = None) -> Job:
    wish = Wish(request=Request(prompt="a cat", model="maker/one", seed=seed), preferences=preferences)
    decision, said = engine.acceptor.decide(wish), fingerprint_of(wish)
    job, _ = await engine.acceptor.accept(wish, decision, "tenant", Repeat(), fingerprint=said)
    return job


def problem(job: Job) -> Problem:
    return msgspec.json.decode(job.error or "", type=Problem)


async def tried(engine: Engine, job: Job) -> list[tuple[str, Outcome, str | None]]:
    """Say where a job was ordered, and what became of that."""
    return [(each.account, each.outcome, each.error) for each in await engine.store.attempts(job.id)]


def charged(job: Job) -> tuple[str, int | None]:
    held = msgspec.json.decode(job.hold or "", type=Hold)
    return held.billing, held.charged


@pytest.mark.parametrize("word", [TaskState.FAILED, TaskState.EXPIRED])
@pytest.mark.parametrize("at_once", [False, True])
async def test_the_next_best_makes_it(make: Make, word: TaskState, at_once: bool) -> None:
    """Whether the verdict came with the answer or later; only the one that made it is paid, and both are shown."""
    engine = make(CHEAP, FAIR, DEAR)
    cheap = engine.providers["cheap"]
    cheap.submits, cheap.polls = ([failed(state=word)], []) if at_once else ([running("t")], [failed(state=word)])
    job = await engine.run((await order(engine)).id)

    assert job.state is State.SUCCEEDED
    assert await tried(engine, job) == [
        ("cheap", Outcome.FAILED, BROKE), ("fair", Outcome.SUCCEEDED, None),
    ]  # fmt: skip
    assert charged(job) == ("billed", 1_600_000)
    video = answers.video(job)
    assert (video["provider"], video["error"]) == ("fair", None)
    assert video["routing"]["why"] == "cheap:maker/one failed to make it"
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 1, 0]
    assert {name: each.running for name, each in engine.accounts.items()} == {"cheap": 0, "fair": 0, "dear": 0}
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize(
    ("verdict", "billing"),
    [
        (failed(billed=None), ("possibly_billed", None)),
        (failed(billed=True), ("billed", 800_000)),
        (failed(state=TaskState.REFUSED), ("not_billed", 0)),
        (failed(state=TaskState.REFUSED, billed=None), ("possibly_billed", None)),
    ],
)
async def test_what_may_cost_anything_or_was_refused_ends_it(
    make: Make, verdict: Update, billing: tuple[str, int | None]
) -> None:
    """Nobody pays for two clips to get one, and what a seller will not show is not shopped around."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].polls = [verdict]
    job = await engine.run((await order(engine)).id)

    assert (job.state, problem(job).message, charged(job)) == (State.FAILED, BROKE, billing)
    assert engine.providers["fair"].ledger == []


@pytest.mark.parametrize(
    ("sold", "preferences"),
    [
        ([CHEAP], ANY),
        ([CHEAP, FAIR], Preferences(allow_fallbacks=False)),
        ([CHEAP, FAIR], Preferences(only=("cheap",))),
        ([CHEAP, FAIR], Preferences(max_usd_micros=1_000_000)),
    ],
)
async def test_where_nobody_else_may_make_it_the_verdict_is_the_end(
    make: Make, sold: list[Listing], preferences: Preferences
) -> None:
    """In the seller's own words, and for nothing."""
    engine = make(*sold)
    engine.providers["cheap"].polls = [failed()]
    job = await engine.run((await order(engine, preferences)).id)

    assert (job.state, problem(job).code, problem(job).message) == (State.FAILED, "generation_failed", BROKE)
    assert (problem(job).provider, problem(job).provider_code) == ("cheap", "E7")
    assert charged(job) == ("not_billed", 0)
    assert await tried(engine, job) == [("cheap", Outcome.FAILED, BROKE)]
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 0][: len(sold)]


async def test_nobody_is_ordered_from_above_the_operators_ceiling(make: Make) -> None:
    """Neither what would take the turn of another, nor what was accepted under a higher ceiling."""
    engine = make(CHEAP, FAIR, routing=RoutingSettings(price_ceiling_usd="1.00"))
    engine.providers["cheap"].polls = [failed()]
    job = await engine.run((await order(engine)).id)
    assert (job.state, [len(each.ledger) for each in engine.providers.values()]) == (State.FAILED, [1, 0])

    waiting = await order(engine)
    engine.shop._terms = replace(engine.shop._terms, ceiling=799_999)  # As after a start with a lower one.
    job = await engine.run(waiting.id)
    assert (job.state, problem(job).code, charged(job)) == (State.FAILED, "no_offer", ("not_billed", 0))
    assert "above the $0.799999 this gateway pays" in problem(job).message
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 0]


async def test_who_takes_a_turn_leaves_nothing_out(make: Make) -> None:
    """What may be left out is decided when it is quoted: later nobody makes the clip without, at any price."""
    plain = listing("plain", prices=[price("0.20")], offers=[offer(features=[])], deadline_seconds=3600)
    engine = make(CHEAP, plain)
    engine.providers["cheap"].submits = [Exhausted("no credits left")]
    job = await order(engine, Preferences(on_unsupported="warn"), seed=7)
    ended = await engine.run(job.id)

    assert engine.providers["plain"].ledger == []
    assert (ended.state, charged(ended)) == (State.FAILED, ("not_billed", 0))


async def test_so_many_are_asked_and_no_more(make: Make) -> None:
    """``max_attempts`` counts every order; the last one's verdict is the job's."""
    engine = make(CHEAP, FAIR, DEAR, routing=RoutingSettings(max_attempts=2))
    for each in engine.providers.values():
        each.polls = [failed()]
    job = await engine.run((await order(engine)).id)

    assert [account for account, *_ in await tried(engine, job)] == ["cheap", "fair"]
    assert (job.state, problem(job).provider, charged(job)) == (State.FAILED, "fair", ("not_billed", 0))


async def test_a_refusal_after_a_failure_is_as_any(make: Make) -> None:
    """What the second says of the order itself ends it."""
    engine = make(CHEAP, FAIR, DEAR)
    engine.providers["cheap"].polls = [failed()]
    engine.providers["fair"].submits = [Refused("no cats")]
    job = await engine.run((await order(engine)).id)

    assert (job.state, problem(job).code) == (State.FAILED, "content_policy_violation")
    assert engine.providers["dear"].ledger == []


async def test_who_was_busy_is_asked_again_and_who_failed_is_not(make: Make) -> None:
    """The first account comes back after its wait, but not for what it has failed to make."""
    engine = make(CHEAP, FAIR, routing=RoutingSettings(max_attempts=9))
    engine.providers["cheap"].submits = [Throttled("slow down", retry_after=5)]
    engine.providers["cheap"].polls = [failed()]
    engine.providers["fair"].polls = [failed()]
    job = await engine.run((await order(engine)).id)

    assert [(account, outcome) for account, outcome, _ in await tried(engine, job)] == [
        ("cheap", Outcome.NOT_ACCEPTED), ("cheap", Outcome.FAILED), ("fair", Outcome.FAILED),
    ]  # fmt: skip
    assert (job.state, problem(job).provider) == (State.FAILED, "fair")


async def test_who_wants_it_no_more_is_bought_no_other(make: Make) -> None:
    """A cancellation the first seller could not obey ends with the verdict."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].polls = [running("t", poll_after=5.0), failed()]
    job = await order(engine)
    await engine.turn()
    await engine.turn(seconds=6)
    await engine.store.cancel(job.id, "tenant")
    job = await engine.run(job.id)

    assert (job.state, problem(job).message) == (State.FAILED, BROKE)
    assert engine.providers["fair"].ledger == []


async def test_with_no_time_left_the_verdict_is_said_and_not_the_hour(make: Make) -> None:
    """Whoever could still make it could not do so in time."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].polls = [running("t", poll_after=3585.0), failed()]
    job = await engine.run((await order(engine)).id)

    assert (job.state, problem(job).code, charged(job)) == (State.FAILED, "generation_failed", ("not_billed", 0))
    assert engine.providers["fair"].ledger == []


async def test_of_the_first_order_nothing_is_left_but_how_far_it_came(make: Make) -> None:
    """Progress stands still until the second is as far; times, credits and patience are the second's own."""
    engine = make(CHEAP, FAIR)
    cheap, fair = engine.providers["cheap"], engine.providers["fair"]
    cheap.polls = [running("t", progress=60, poll_after=600.0), failed(usage=Usage(credits=Decimal(9)))]
    fair.submits = [running("u", progress=10)]
    fair.polls = [Missing("not yet"), running("u", progress=70), done("u")]
    job = await order(engine)
    await engine.turn()
    await engine.turn(seconds=6)
    await engine.turn(seconds=601)
    queued = answers.video(await engine.job(job.id))
    assert (queued["status"], queued["progress"], queued["started_at"]) == ("queued", 60, None)

    await engine.turn()
    going = await engine.job(job.id)
    video = answers.video(going)
    assert (video["status"], video["progress"], video["started_at"]) == ("in_progress", 60, engine.now // 1000)
    assert (going.task, read_choice(going.quote).account) == ('{"id":"u","data":{}}', "fair")
    ended = await engine.run(job.id)
    assert (ended.state, ended.usage) == (State.SUCCEEDED, "{}")
    assert fair.looked == 3


async def test_an_answer_that_comes_after_its_failure_is_news_to_nobody(make: Make) -> None:
    """Who took the job over has found the task, and gone on: it is no task without an owner."""
    engine = make(CHEAP, FAIR)
    cheap = engine.providers["cheap"]
    at_once, cheap.finds = cheap.submit, [failed("t")]

    async def slow(order: Order, wire: Wire) -> Update:
        cheap.submit = at_once  # type: ignore[method-assign]
        await engine.turn(seconds=61)  # Its lease has run out meanwhile.
        await engine.turn(seconds=1)
        return running("t")

    cheap.submit = slow  # type: ignore[method-assign]
    job = await engine.run((await order(engine)).id)
    assert [outcome for _, outcome, _ in await tried(engine, job)] == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert await unseen(engine.store.database) == []


async def test_the_patience_with_an_order_begins_with_it(make: Make) -> None:
    """Also where an older program has put the job back, which left in it when the first was made."""
    engine = make(CHEAP)
    await order(engine)
    (job,) = await engine.store.claim(lease=60_000, most=1)
    then, engine.now = engine.now, engine.now + 600_000
    await engine.store.save(move(job, State.QUEUED, engine.now, due_at=engine.now, started_at=then))
    engine.provider.submits = [Indeterminate("lost")]
    ordered, ended = engine.now, await engine.run(job.id)
    assert (problem(ended).code, engine.now - ordered) == ("submission_unknown", 180_000)


BUSY = [
    Throttled("slow down"),
    Throttled("slow down", retry_after=30),
    Throttled("slow down", scope=Scope.ORDER, retry_after=60),
    Throttled("slow down", scope=Scope.MODEL),
    Unavailable("closed"),
]


@pytest.mark.parametrize("error", BUSY, ids=repr)
async def test_who_turns_it_away_for_two_minutes_is_waited_for_no_longer(make: Make, error: ProviderError) -> None:
    """Its client hears what it waits for meanwhile; then the next best is asked, at its price."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].submits = [error] * 99
    job = await order(engine)
    await engine.turn()
    assert answers.video(await engine.job(job.id))["waiting"] == f"cheap did not take it: {error.message}"

    began = engine.now
    ended = await engine.run(job.id)
    *away, last = await tried(engine, job)
    assert {(account, outcome) for account, outcome, _ in away} == {("cheap", Outcome.NOT_ACCEPTED)}
    assert (last[:2], 3 <= len(away) <= 9) == (("fair", Outcome.SUCCEEDED), True)
    assert 120 <= (engine.now - began) / 1000 <= 300
    assert (charged(ended), answers.video(ended)["waiting"]) == (("billed", 1_600_000), None)
    assert answers.video(ended)["routing"]["why"] == "cheap:maker/one turned it away"


async def test_a_short_rush_is_waited_out(make: Make) -> None:
    """Nobody pays more for a minute."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].submits = [Throttled("slow down", retry_after=20)] * 4
    job = await engine.run((await order(engine)).id)

    assert (job.state, charged(job)) == (State.SUCCEEDED, ("billed", 800_000))
    assert engine.providers["fair"].ledger == []


@pytest.mark.parametrize(
    "preferences",
    [Preferences(allow_fallbacks=False), Preferences(only=("cheap",)), Preferences(max_usd_micros=1_000_000)],
)
async def test_where_nobody_else_may_make_it_it_goes_on_asking(make: Make, preferences: Preferences) -> None:
    """Until its time is over, and the end says who did not take it, and why; a place that opens before is taken."""
    engine = make(CHEAP, FAIR)
    engine.providers["cheap"].submits = [Throttled("slow down")] * 999
    lost = await engine.run((await order(engine, preferences)).id)
    assert (lost.state, problem(lost).code, charged(lost)) == (State.FAILED, "deadline_exceeded", ("not_billed", 0))
    assert problem(lost).message == "No offer took the job in time: cheap did not take it: slow down"
    assert engine.providers["fair"].ledger == []

    engine.providers["cheap"].submits = [Throttled("slow down")] * 12
    made = await engine.run((await order(engine, preferences)).id)
    assert made.state is State.SUCCEEDED


async def test_where_all_are_busy_they_are_asked_in_turn(make: Make) -> None:
    """Whoever opens first makes it."""
    engine = make(CHEAP, FAIR, DEAR)
    for name, often in (("cheap", 99), ("fair", 99), ("dear", 8)):
        engine.providers[name].submits = [Throttled("slow down", scope=Scope.ORDER)] * often
    job = await engine.run((await order(engine)).id)

    assert job.state is State.SUCCEEDED
    assert (await tried(engine, job))[-1][:2] == ("dear", Outcome.SUCCEEDED)
    assert min(len(engine.providers[name].ledger) for name in ("cheap", "fair")) >= 3


@pytest.mark.parametrize("seconds", [900, 3600])
async def test_who_opens_again_is_not_passed_over_for_one_that_is_full(make: Make, seconds: float) -> None:
    """A job that has stood in line elsewhere in vain asks again who turned it away, however little time it has."""
    engine = make(replace(CHEAP, deadline_seconds=seconds), FAIR, max_running=1)
    cheap, fair = engine.providers["cheap"], engine.providers["fair"]
    fair.submits, fair.polls = [running("long", poll_after=3500.0)], [running("long", poll_after=3500.0)]
    await order(engine, Preferences(only=("fair",)))
    await engine.turn()
    cheap.submits = [Throttled("slow down")] * 8
    job = await engine.run((await order(engine)).id, most=5000)

    assert (job.state, charged(job)) == (State.SUCCEEDED, ("billed", 800_000))
    assert {account for account, *_ in await tried(engine, job)} == {"cheap"}
    assert len(fair.ledger) == 1


async def test_who_is_too_slow_is_no_way_out(make: Make) -> None:
    """Where the others could not be in time any more, the busy one is asked on."""
    slow = listing("slow", prices=[price("0.40")], deadline_seconds=3600, offers=[offer(typical_seconds=100_000)])
    engine = make(listing("cheap", prices=[price("0.10")], deadline_seconds=600), slow)
    engine.providers["cheap"].submits = [
        Throttled("slow down", scope=Scope.ORDER, retry_after=seconds) for seconds in (230, 230, 1)
    ]
    job = await engine.run((await order(engine)).id)

    assert (job.state, engine.providers["slow"].ledger) == (State.SUCCEEDED, [])


async def test_being_busy_uses_up_no_try(make: Make) -> None:
    """``max_attempts`` counts orders that came to nothing, not those nobody took."""
    engine = make(CHEAP, FAIR, DEAR, routing=RoutingSettings(max_attempts=2))
    engine.providers["cheap"].submits = [Throttled("slow down", retry_after=5)] * 4
    engine.providers["cheap"].polls = [failed()]
    engine.providers["fair"].polls = [failed()]
    job = await engine.run((await order(engine)).id)

    assert [account for account, outcome, _ in await tried(engine, job) if outcome is Outcome.FAILED] == [
        "cheap",
        "fair",
    ]
    assert (job.state, problem(job).provider, engine.providers["dear"].ledger) == (State.FAILED, "fair", [])
