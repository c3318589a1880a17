"""Laws of jobs that keep to their offer: who allows no fallback, what ``split`` has drawn, an alias's first model."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest

from gateway.api import answers
from gateway.clock import DAY_MS
from gateway.door.accept import Repeat, fingerprint_of
from gateway.engine.ending import Ends
from gateway.engine.line import LONGEST_MS
from gateway.jobs.job import Job, Outcome, State, move, standing
from gateway.jobs.wish import Preferences, Problem, Wish
from gateway.money.billing import Bill
from gateway.offers import shop
from gateway.settings import RoutingSettings
from providers.base.errors import Exhausted, Invalid, Scope, Unavailable
from providers.base.listing import Listing
from providers.base.order import Request
from tests import databases
from tests.make import listing, offer, price
from tests.scripted import Engine, running

Make = Callable[..., Engine]
CHEAP = listing("cheap", prices=[price("0.10")], deadline_seconds=3600)
DEAR = listing("dear", prices=[price("0.40")], deadline_seconds=3600)
ALONE = Preferences(allow_fallbacks=False)
AGES = [running("t", poll_after=3600.0)]
REST = "the account cheap orders nothing until 2027-01-15 08:30 UTC: exhausted (0)"


async def order(
    engine: Engine,
    preferences: Preferences = ALONE,
    prompt: str = "a cat",
    user: str | None = None,
    model: str = "maker/one",
) -> Job:
    wish = Wish(request=Request(prompt=prompt, model=model), preferences=preferences, user=user)
    decision, said = engine.acceptor.decide(wish), fingerprint_of(wish)
    job, _ = await engine.acceptor.accept(wish, decision, "tenant", Repeat(), fingerprint=said)
    engine.now += 1  # Ids sort by the millisecond.
    return job


async def exhaust(engine: Engine, preferences: Preferences = ALONE) -> Job:
    """Quote a job where the account then rests for half an hour, before the job's first attempt."""
    engine.providers["cheap"].submits = [Exhausted("no credits")]
    first, second = await order(engine, preferences), await order(engine, preferences, "a dog")
    claimed = {each.id: each for each in await engine.store.claim(lease=60_000, most=100)}
    await engine.steps.take(claimed[first.id])
    return claimed[second.id]


def problem(job: Job) -> Problem:
    return msgspec.json.decode(job.error or "", type=Problem)


async def offers(engine: Engine, job: Job) -> list[tuple[str, int]]:
    """Name where a job was ordered, and at what price."""
    return [(each.offer, each.usd_micros) for each in await engine.store.attempts(job.id)]


async def test_a_rest_is_waited_for(make: Make) -> None:
    """Before the first attempt as after it: it says what it waits for, and is made where it was quoted."""
    engine = make(CHEAP, DEAR)
    job = await exhaust(engine)
    await engine.steps.take(job)
    waiting = await engine.job(job.id)
    assert (waiting.state, answers.video(waiting)["waiting"]) == (State.QUEUED, REST)

    for seconds in (1000, 799):  # It comes by itself meanwhile.
        assert await engine.turn(seconds=seconds) > 0
        assert (await engine.job(job.id)).state is State.QUEUED
    ended = await engine.run(job.id)
    assert (ended.state, answers.video(ended)["waiting"]) == (State.SUCCEEDED, None)
    assert await offers(engine, job) == [("cheap:maker/one", 800_000)]
    assert engine.providers["dear"].ledger == []


@pytest.mark.parametrize("again", [False, True])
async def test_who_meets_the_rest_waits_for_its_end_too(make: Make, again: bool) -> None:
    """Whoever began it, and in a process that has not heard of it: which asks once more, and waits as well."""
    engine = make(CHEAP, DEAR)
    engine.providers["cheap"].submits = [Exhausted("no credits")] * (2 if again else 1)
    job = await order(engine)
    await engine.turn()
    await engine.turn()
    waiting = await engine.job(job.id)
    assert (waiting.state, answers.video(waiting)["waiting"]) == (State.QUEUED, REST)

    if again:
        engine.accounts["cheap"].rests.clear()
        await engine.turn(seconds=1000)
        assert (await engine.job(job.id)).state is State.QUEUED
    await engine.turn(seconds=1799)
    ended = await engine.run(job.id)
    assert (ended.state, answers.video(ended)["waiting"]) == (State.SUCCEEDED, None)
    assert {offer for offer, _ in await offers(engine, job)} == {"cheap:maker/one"}
    assert engine.providers["dear"].ledger == []


async def test_an_account_that_has_too_little_for_it_is_asked_so_often_and_no_more(make: Make) -> None:
    """Where nothing rests there is nothing to wait for."""
    engine = make(CHEAP, DEAR)
    engine.providers["cheap"].submits = [Exhausted("too little for this", scope=Scope.ORDER)] * 9
    job = await order(engine)
    ended = await engine.run(job.id)

    assert (ended.state, problem(ended).code) == (State.FAILED, "provider_exhausted")
    assert len(await offers(engine, job)) == engine.shop.routing.max_attempts


async def test_a_rest_that_is_too_long_ends_it_at_once(make: Make) -> None:
    """With no time left after the rest nobody is kept waiting for it; the words say until when, and what to change."""
    engine = make(listing("cheap", deadline_seconds=1800), DEAR)
    job = await exhaust(engine)
    await engine.steps.take(job)

    ended = await engine.job(job.id)
    assert (ended.state, problem(ended).code) == (State.FAILED, "no_offer")
    said = f"No offer can make this now: {REST}; provider.allow_fallbacks is false, so no other was tried."
    assert problem(ended).message == said
    assert (await engine.store.lines(), await offers(engine, job)) == ([], [])


async def test_silence_is_waited_for(make: Make) -> None:
    """It ends as soon as anybody answers, however long it may last."""
    engine = make(listing("cheap", deadline_seconds=360), DEAR)
    job, account = await order(engine), engine.accounts["cheap"]
    for _ in range(40):
        account.failed(engine.now)
    assert account.seller(engine.now).shut == {"*": "Cheap does not answer the account cheap"}
    await engine.turn()
    assert (await engine.job(job.id)).state is State.QUEUED
    account.answered(engine.now)
    await engine.turn()

    assert await offers(engine, job) == [("cheap:maker/one", 800_000)]


@pytest.mark.parametrize("turned", [False, True])
async def test_a_full_account_is_waited_for_over_midnight(make: Make, turned: bool) -> None:
    """No place is no reason to go elsewhere, and neither is another day, nor a rest on it."""
    engine = make(CHEAP, DEAR, max_running=1)
    engine.now += DAY_MS - engine.now % DAY_MS - 60_000
    engine.providers["cheap"].submits = [*AGES, Unavailable("busy")]
    await order(engine)
    await engine.turn()
    job = await order(engine, prompt="a dog")
    await engine.turn(seconds=120 if turned else 0)
    if turned:
        engine.accounts["cheap"].rest("maker/one", engine.now + 1_200_000, "daily quota")
        await engine.steps.take(await engine.job(job.id))
    assert await engine.store.lines(job.id) == [("cheap", "maker/one")]
    assert answers.video(await engine.job(job.id))["waiting"] == ("daily quota" if turned else None)


async def test_an_account_that_is_gone_ends_it(tmp_path: Path) -> None:
    """Alone on its store nobody could bring it back; it says which account is missing."""
    with databases.using("sqlite"):
        (tmp_path / "alone").mkdir()
        before = Engine(tmp_path / "alone", CHEAP, DEAR)
        job = await order(before)
        before.close()
        after = Engine(tmp_path / "alone", DEAR)
        await after.turn()
        ended = await after.job(job.id)
        after.close()
    why = "account cheap is not configured; provider.allow_fallbacks is false, so no other was tried"
    assert (ended.state, problem(ended).message) == (State.FAILED, f"No offer can make this now: {why}.")


@pytest.mark.parametrize(("ceiling", "bought"), [(None, 3_200_000), (3_200_000, 3_200_000), (3_199_999, None)])
async def test_the_ceiling_of_others_is_max_cost_usd(make: Make, ceiling: int | None, bought: int | None) -> None:
    """Whoever allows fallbacks is made by the next best at once, at any price within the ceiling that was named."""
    engine = make(CHEAP, DEAR)
    job = await exhaust(engine, Preferences(max_usd_micros=ceiling))
    await engine.steps.take(job)

    assert await offers(engine, job) == ([("dear:maker/one", bought)] if bought else [])
    assert (await engine.job(job.id)).state is (State.RUNNING if bought else State.FAILED)


@pytest.fixture
def lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who names no user draw the same each time the test runs, and anew at each draw."""
    numbers = count()
    monkeypatch.setattr(shop, "token_hex", lambda _: f"lot {next(numbers)}")


def splitting(*slugs: str, **shares: int) -> tuple[list[Listing], RoutingSettings]:
    """Have sellers of one price share the work."""
    return [listing(slug, deadline_seconds=7200) for slug in slugs], RoutingSettings(policy="split", split={**shares})


@pytest.mark.usefixtures("lots")
@pytest.mark.parametrize("named", [False, True])
async def test_what_was_drawn_stays_drawn(make: Make, named: bool) -> None:
    """A seller without a place keeps its share: its jobs stand in its line and in no other, whoever ordered them."""
    sold, routing = splitting("acme", "zeta", acme=3, zeta=1)
    engine = make(*sold, routing=routing, max_running=1)
    for each in engine.providers.values():
        each.submits = AGES * 20
    jobs = [await order(engine, Preferences(), f"clip {each}", f"user {each}" if named else None) for each in range(16)]
    await engine.turn()
    await engine.turn(seconds=LONGEST_MS / 1000)

    drawn = [(job.offer or "").partition(":")[0] for job in jobs]
    assert set(drawn) == {"acme", "zeta"}
    assert drawn == [(await engine.job(job.id)).account for job in jobs]
    waiting = [each for each in jobs if (await engine.job(each.id)).state is State.QUEUED]
    assert len(waiting) == 14
    for job in waiting:
        assert await engine.store.lines(job.id) == [((job.offer or "").partition(":")[0], "maker/one")]


@pytest.mark.usefixtures("lots")
async def test_whose_seller_rests_is_drawn_anew_once(make: Make) -> None:
    """Nobody's job wanders from line to line, also without a user; when its seller is back it is at home there."""
    sold, routing = splitting("acme", "beta", "zeta", acme=1, beta=1, zeta=1)
    engine = make(*sold, routing=routing, max_running=1)
    jobs = [await order(engine, Preferences(), f"clip {each}") for each in range(16)]
    for each in engine.accounts.values():
        each.take_place("maker/one", engine.now)
    assert {each.offer for each in jobs} == {f"{slug}:maker/one" for slug in engine.accounts}
    moved = [each for each in jobs if each.offer == "acme:maker/one"]
    engine.accounts["acme"].rest("*", engine.now + 1_500_000, "no credits")
    seen = []
    for _ in range(4):
        await engine.turn()
        seen.append([await engine.store.lines(each.id) for each in moved])
        engine.now += LONGEST_MS
    assert [seen[0], seen[0]] == seen[1:3]
    assert {len(each) for each in seen[0]} == {1}
    assert {place for each in seen[0] for place in each} <= {("beta", "maker/one"), ("zeta", "maker/one")}
    assert seen[3] == [[("acme", "maker/one")]] * len(moved)


def aliased(make: Make, *sold: Listing, seconds: float = 8, **options: object) -> Engine:
    """Sell two models for the same, of which an alias prefers the first."""
    offers = [offer(typical_seconds=seconds), offer("maker/two")]
    engine = make(*(sold or [listing("acme", offers=offers, deadline_seconds=3600)]), **options)
    engine.shop.aliases = {"best": ["maker/one", "maker/two"]}
    for each in engine.providers.values():
        each.submits = AGES * 20
    return engine


async def crowd(engine: Engine, number: int, model: str = "maker/one") -> list[Job]:
    """Have so many ordered, one after the other, and each either begun or in line."""
    jobs = []
    for each in range(number):
        jobs.append(await order(engine, Preferences(), f"clip {each}", model=model))
        await engine.turn()
    return jobs


async def end(engine: Engine, job: Job) -> None:
    """Let a job's task come to nothing, which gives its place back."""
    job = await engine.job(job.id)
    failed = standing(job, Outcome.FAILED, engine.now, None)
    await Ends(engine.tools).end(move(job, State.FAILED, engine.now), failed, bill=Bill.NOTHING)


async def routed(engine: Engine, job: Job) -> tuple[str, str, list[str]]:
    """Read which model makes a job, why, and what else there was, as its client does."""
    video = answers.video(await engine.job(job.id))
    routing = video["routing"]
    return video["resolved_model"], routing["why"], [each["offer"] for each in routing["others"]]


NAMED = ("maker/one", "the only offer of maker/one, the alias's first model that can", ["acme:maker/two"])


async def test_a_full_account_is_no_reason_for_another_model(make: Make) -> None:
    """What the create's answer named makes the clip: who comes late waits in its line alone, and overtakes nobody."""
    engine = aliased(make, max_running=1)
    jobs = await crowd(engine, 3, "best")
    for at, next_ in enumerate(jobs[1:]):
        await end(engine, jobs[at])
        jobs.append(await order(engine, Preferences(), f"newer {at}", model="best"))
        (newer,) = await engine.store.claim(lease=60_000, most=100)
        await engine.steps.take(newer)
        assert await engine.store.lines() == [("acme", "maker/one")]
        await engine.turn()
        assert (await engine.job(next_.id)).state is State.RUNNING
    for at, job in enumerate(jobs[2:-1], 3):
        await end(engine, job)
        await engine.turn(seconds=LONGEST_MS / 1000)
        assert (await engine.job(jobs[at].id)).state is State.RUNNING
    assert [await routed(engine, each) for each in jobs] == [NAMED] * 5


@pytest.mark.parametrize(
    ("lacks", "why"),
    [
        (None, NAMED[1]),
        ("refused", "acme:maker/one refused it"),
        ("rests", "the only offer that can: acme:maker/one cannot make it now (daily quota)"),
        ("late", "acme:maker/one would be too late"),
    ],
)
async def test_another_model_says_why(make: Make, lacks: str | None, why: str) -> None:
    """It makes the clip where the first cannot, and its client reads what the first lacked and what else there was."""
    engine = aliased(make, max_running=1, seconds=3000 if lacks == "late" else 8)
    engine.accounts["acme"].take_place("maker/one", engine.now)
    job = await order(engine, Preferences(), model="best")
    await engine.turn()
    if lacks == "refused":
        engine.provider.submits.insert(0, Invalid("not this one"))
    if lacks == "rests":
        engine.accounts["acme"].rest("maker/one", engine.now + 7_200_000, "daily quota")
    engine.now = job.deadline_at - 800_000
    engine.accounts["acme"].give_place()
    await engine.turn()
    await engine.turn()
    left = [] if lacks == "rests" else ["acme:maker/one"]
    assert await routed(engine, job) == (("maker/two", why, left) if lacks else NAMED)
    assert (await engine.job(job.id)).state is State.RUNNING


async def test_another_seller_of_the_model_says_why(make: Make) -> None:
    """Who asks no more takes the turn of who is full; decided anew on another day, the first keeps its words."""
    engine = make(*(listing(slug, deadline_seconds=2 * 86_400) for slug in ("acme", "zeta")), max_running=1)
    for each in engine.providers.values():
        each.submits = AGES * 3
    jobs = await crowd(engine, 3)
    won = "the cheapest of 2 offers that can"
    said = [(await routed(engine, each))[1:] for each in jobs]
    room = f"{won}, and of those as good its account has the largest share of its places free"
    assert said == [(won, ["zeta:maker/one"]), (room, ["acme:maker/one"]), said[0]]
    engine.now += 86_400_000
    await end(engine, jobs[0])
    await engine.turn()

    assert (await engine.job(jobs[2].id)).state is State.RUNNING
    assert await routed(engine, jobs[2]) == ("maker/one", *said[0])
