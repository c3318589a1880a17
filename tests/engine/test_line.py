"""Laws of lines: who waits for a place is not written, is called in turn, and is forgotten by nobody."""

from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count as numbers
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.api.health import count
from gateway.door.accept import Repeat, fingerprint_of
from gateway.engine.ending import Ends
from gateway.engine.line import LONGEST_MS, Line
from gateway.engine.operator import resubmit, write_off
from gateway.jobs.job import Job, Outcome, State, move, standing
from gateway.jobs.wish import Wish
from gateway.money.billing import Bill
from gateway.offers.accounts import Account
from gateway.store.database import StoreUnavailableError
from providers.base.errors import Indeterminate
from providers.base.listing import Listing
from providers.base.order import Request
from tests.make import listing, offer, price
from tests.scripted import Engine, running

Make = Callable[..., Engine]
AGES = [running("t", poll_after=3600.0)]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Build engines that are closed whatever comes."""
    made: list[Engine] = []

    def build(*sold: Listing, **options: int) -> Engine:
        made.append(Engine(tmp_path, *sold, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        each.close()


async def order(engine: Engine, number: int, buyer: str = "local", model: str = "maker/one") -> Job:
    wish = Wish(request=Request(prompt=f"clip {number}", model=model))
    decision, said = engine.acceptor.decide(wish), fingerprint_of(wish)
    job, _ = await engine.acceptor.accept(wish, decision, "tenant", Repeat(), fingerprint=said, buyer=buyer)
    engine.now += 1  # Ids sort by the millisecond.
    return job


async def crowd(engine: Engine, number: int) -> list[Job]:
    """Fill the one place for an hour, and have so many more wait for it."""
    engine.provider.submits = AGES * (number + 2)
    jobs = [await order(engine, each) for each in range(number + 1)]
    await engine.turn()
    return jobs


async def leave(engine: Engine, account: str = "acme") -> None:
    """Give a place back: let the oldest task of an account come to nothing."""
    page = await engine.store.jobs("tenant", after=None, limit=100, newest_first=False)
    job = next(each for each in page.jobs if each.state is State.RUNNING and each.account == account)
    ended = move(job, State.FAILED, engine.now)
    await Ends(engine.tools).end(ended, standing(job, Outcome.FAILED, engine.now, None), bill=Bill.NOTHING)


async def test_who_waits_is_not_written(make: Make) -> None:
    """For ten minutes nothing happens to a job in line, however often the worker looks; then it comes by itself."""
    engine = make(max_running=1)
    _, *waiting = await crowd(engine, 5)
    before = [await engine.job(each.id) for each in waiting]
    assert {(each.state, each.account) for each in before} == {(State.QUEUED, "acme")}
    for _ in range(20):
        assert await engine.turn(seconds=20) == 0

    assert before == [await engine.job(each.id) for each in waiting]
    engine.now = max(each.due_at or 0 for each in before)
    assert await engine.turn() == 5
    assert {(await engine.job(each.id)).seq - each.seq for each in before} == {1}
    assert len(engine.provider.ledger) == 1


async def test_a_free_place_is_the_first_ones(make: Make) -> None:
    """It is called at once, the oldest first; a newer job that comes meanwhile goes to the end."""
    engine = make(max_running=1)
    _, *waiting = await crowd(engine, 3)
    for at, first in enumerate(waiting):
        await leave(engine)
        newer = await order(engine, 10 + at)
        (claimed,) = await engine.store.claim(lease=60_000, most=100)
        await engine.steps.take(claimed)
        assert (await engine.job(newer.id)).state is State.QUEUED
        assert await engine.turn() == 1
        assert (await engine.job(first.id)).state is State.RUNNING
    assert engine.accounts["acme"].running == 1


async def test_turns_go_round_the_buyers(make: Make) -> None:
    """Who ordered five keeps nobody waiting who ordered one, or came later."""
    engine = make(max_running=1)
    engine.provider.submits = AGES * 20
    jobs = {(await order(engine, each, buyer)).id: buyer for each, buyer in enumerate("aaaaaabc")}
    await engine.turn()
    bought: list[str] = []
    while len(bought) < len(jobs):
        if len(bought) == 4:
            jobs[(await order(engine, 9, "d")).id] = "d"
            await engine.turn()
        bought += [id_ for id_ in jobs if (await engine.job(id_)).state is State.RUNNING]
        await leave(engine)
        await engine.turn()

    assert "".join(jobs[each] for each in bought) == "aabcaadaa"
    assert await engine.store.lines() == []


MODELS = ("maker/one", "maker/three", "maker/two")
SEVERAL = listing(offers=[offer(each) for each in MODELS])


async def bought(engine: Engine, buyers: Mapping[str, str]) -> str:
    """Give one place back at a time until nobody waits; says in which order whose jobs were ordered."""
    told, seen = "", {id_ for id_ in buyers if (await engine.job(id_)).state is not State.QUEUED}
    while len(seen) < len(buyers):
        await leave(engine)
        await engine.turn()
        new = [id_ for id_ in buyers if id_ not in seen and (await engine.job(id_)).state is State.RUNNING]
        told += "".join(buyers[id_] for id_ in new)
        seen.update(new)
        assert new
    return told


async def test_turns_go_round_the_buyers_over_all_models(make: Make) -> None:
    """Who ordered one of a model waits behind nobody's queue for another; who waits for several has no more turns."""
    engine = make(SEVERAL, max_running=2)
    engine.provider.submits = AGES * 30
    jobs = {(await order(engine, each, "a")).id: "a" for each in range(8)}
    jobs |= {(await order(engine, each, "b", MODELS[1 + each % 2])).id: "b" for each in range(4)}
    await engine.turn()
    jobs[(await order(engine, 1, "c", "maker/two")).id] = "c"
    await engine.turn()

    assert await bought(engine, jobs) == "abcabababaa"
    assert await engine.store.lines() == []


async def test_a_place_is_told_as_it_will_be_called(make: Make) -> None:
    """Who comes before is counted over all models, up to a bound; who has a place, or is done, stands nowhere."""
    engine = make(SEVERAL, max_running=1)
    engine.provider.submits = AGES * 30
    jobs = {(await order(engine, each, "a")).id: "a" for each in range(5)}
    jobs |= {(await order(engine, each, "b", MODELS[1 + each % 2])).id: "b" for each in range(4)}
    await engine.turn()
    running = next(iter(jobs))
    told = {id_: await engine.store.ahead(id_, 1000) for id_ in jobs if id_ != running}
    order_ = sorted(told, key=lambda id_: told[id_])
    bounded = [await engine.store.ahead(id_, 3) for id_ in order_]

    assert [] == await engine.store.ahead(running, 1000)
    assert [[("acme", at)] for at in range(8)] == [told[id_] for id_ in order_]
    assert [[("acme", min(at, 3))] for at in range(8)] == bounded
    assert "".join(jobs[id_] for id_ in order_) == await bought(engine, jobs)


@pytest.mark.parametrize("rests", [False, True])
async def test_a_newer_one_overtakes_nobody_by_another_model(make: Make, rests: bool) -> None:
    """A free place is his who waited, whatever model he wants, unless his rests: then it is for who wants another."""
    engine = make(SEVERAL, max_running=1)
    _, first = await crowd(engine, 1)
    await leave(engine)
    if rests:
        engine.accounts["acme"].rest("maker/one", engine.now + 60_000, "too fast")
    newer = await order(engine, 2, model="maker/two")
    (claimed,) = await engine.store.claim(lease=60_000, most=100)
    await engine.steps.take(claimed)
    await engine.turn()

    ran = [(await engine.job(each.id)).state is State.RUNNING for each in (first, newer)]
    assert ran == [not rests, rests]


async def test_who_waits_for_a_model_that_rests_holds_up_no_turn(make: Make) -> None:
    """Beside him nobody who orders one clip after the other is always first."""
    engine = make(SEVERAL, max_running=1)
    engine.provider.submits = AGES * 30
    await order(engine, 0)
    await engine.turn()
    await order(engine, 1, "rests")
    await engine.turn()
    engine.accounts["acme"].rest("maker/one", engine.now + 110_000, "too fast")
    jobs = {(await order(engine, each, "a", "maker/three")).id: "a" for each in range(8)}
    await engine.turn()
    told = ""
    for number in range(6):
        id_ = (await order(engine, number, "b", "maker/two")).id
        await engine.turn()
        while (await engine.job(id_)).state is State.QUEUED:
            await leave(engine)
            await engine.turn()
            states = {each: (await engine.job(each)).state for each in jobs}
            told += "b" if (await engine.job(id_)).state is State.RUNNING else "a"
    assert "bb" not in told
    assert [*states.values()].count(State.QUEUED) <= 3


async def test_a_line_outlives_the_process(make: Make) -> None:
    """A process that has just started learns who waits by counting, as it learns how much is under way."""
    engine = make(max_running=1)
    _, first, *_ = await crowd(engine, 3)
    await leave(engine)
    engine.restart()
    assert await engine.turn() == 0
    await engine.tools.line.recount()
    assert await engine.turn() == 1

    assert (await engine.job(first.id)).state is State.RUNNING


async def test_a_lost_call_is_made_up_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nobody were ever called, every job would be bought."""
    engine = make(listing(deadline_seconds=3600), max_running=2)
    jobs = [await engine.accept(seed=seed) for seed in range(5)]

    async def silent(self: Line, **_: int) -> list[Job]:
        self._waited.clear()
        return []

    monkeypatch.setattr(Line, "call", silent)
    began = engine.now
    for _ in range(60):
        await engine.turn(seconds=30)
    assert {(await engine.job(each.id)).state for each in jobs} == {State.SUCCEEDED}
    assert engine.now - began <= 3 * LONGEST_MS


async def test_the_first_of_several_places_is_taken(make: Make) -> None:
    """Who could be made at two accounts waits at both, is made where there is a place first, and leaves both lines."""
    engine = make(listing("acme"), listing("zeta"), max_running=1)
    for slug, each in engine.providers.items():
        each.submits = [running(f"{slug}{number}", poll_after=3600.0) for number in range(5)]
    for number in range(4):
        await order(engine, number)
        await engine.turn()
    assert [len(each.ledger) for each in engine.providers.values()] == [1, 1]
    assert sorted(await engine.store.lines()) == [("acme", "maker/one"), ("zeta", "maker/one")]
    for _ in range(2):
        await leave(engine, "zeta")
        await engine.turn()

    assert [len(each.ledger) for each in engine.providers.values()] == [1, 3]
    assert await engine.store.lines() == []
    assert await engine.store.ailments() == {}


async def test_who_was_called_is_stepped_though_the_store_fails_meanwhile(make: Make) -> None:
    """Of two lines the second is not to be had just now: who stands first in the other has no lease for nothing."""
    engine = make(listing("acme"), listing("zeta"), max_running=1)
    for slug, each in engine.providers.items():
        each.submits = [running(f"{slug}{number}", poll_after=3600.0) for number in range(5)]
    jobs = [await order(engine, number) for number in range(4)]
    await engine.turn()
    for slug in engine.providers:
        await leave(engine, slug)
    line, claim, claims = engine.tools.line, engine.store.claim, numbers()

    async def broken(*, lease: int, most: int, line: tuple[str, list[str]], only: str = "") -> list[Job]:
        if next(claims):
            raise StoreUnavailableError("the database system is shutting down")
        return await claim(lease=lease, most=most, line=line, only=only)

    engine.store.claim = broken  # type: ignore[method-assign, assignment]
    called = await line.call(lease=60_000, most=8)
    assert [each.id for each in called] == [jobs[2].id]
    with pytest.raises(StoreUnavailableError):
        await line.call(lease=60_000, most=8)
    engine.store.claim = claim  # type: ignore[method-assign]

    assert [each.id for each in await line.call(lease=60_000, most=8)] == [jobs[3].id]


async def test_nobody_waits_where_he_would_pay_more(make: Make) -> None:
    """A place at a dearer account is not one's own, and its line not one's line."""
    dear = listing("zeta", prices=[price("0.20")])
    engine = make(listing("acme"), dear, max_running=1)
    engine.providers["acme"].submits = AGES * 3
    for number in range(2):
        await order(engine, number)
        await engine.turn()

    assert await engine.store.lines() == [("acme", "maker/one")]
    assert engine.providers["zeta"].ledger == []


async def test_a_model_that_rests_holds_up_no_other(make: Make) -> None:
    """Lines are of a model at an account: who waits for one that rests is not called, who waits for another is."""
    both = listing(offers=[offer(), offer("maker/two")])
    engine = make(both, max_running=1)
    engine.provider.submits = AGES * 5
    await order(engine, 0)
    await engine.turn()
    tired = await engine.accept(model="maker/one")
    other = await engine.accept(model="maker/two")
    await engine.turn()
    engine.accounts["acme"].rest("maker/one", engine.now + 60_000, "daily quota")
    await leave(engine)
    assert await engine.turn() == 1
    assert [(await engine.job(each.id)).state for each in (tired, other)] == [State.QUEUED, State.RUNNING]
    await leave(engine)
    assert await engine.turn() == 0
    assert await engine.turn(seconds=61) == 1
    assert (await engine.job(tired.id)).state is State.RUNNING


async def test_who_gives_up_leaves(make: Make) -> None:
    """A job that is cancelled, or past its deadline, stands in no line; the next one moves up."""
    engine = make(max_running=1)
    _, first, second, third = await crowd(engine, 3)
    await engine.store.cancel(first.id, "tenant")
    assert await engine.turn() == 1
    assert (await engine.job(first.id)).state is State.CANCELLED
    await leave(engine)
    assert await engine.turn() == 1
    assert (await engine.job(second.id)).state is State.RUNNING
    engine.now = third.deadline_at
    await engine.turn()
    assert (await engine.job(third.id)).state is State.FAILED
    assert await engine.store.lines() == []


async def test_a_halt_calls_nobody_again_and_again(make: Make) -> None:
    """While purchases are halted a free place is tried every other second, and not at every turn."""
    engine = make(max_running=1)
    await crowd(engine, 5)
    await engine.store.halt("too dear")
    await leave(engine)
    assert [await engine.turn() for _ in range(5)] == [1, 0, 0, 0, 0]
    assert await engine.turn(seconds=2) == 1
    await engine.store.go_on()
    assert await engine.turn(seconds=2) == 1
    assert len(engine.provider.ledger) == 2


@pytest.mark.parametrize("decide", [write_off, resubmit])
async def test_a_place_an_operator_frees_is_free(make: Make, decide: object) -> None:
    """What is decided from outside gives the account its place back without a restart."""
    engine = make(max_running=1)
    engine.provider.submits = [Indeterminate("silence"), *AGES]
    job = await order(engine, 0)
    await engine.turn()
    waiting = await order(engine, 1)
    await engine.turn()
    lost = await engine.job(job.id)
    assert (lost.state, engine.accounts["acme"].running) == (State.UNKNOWN, 1)
    (open_,) = await engine.store.attempts(job.id)
    moved, ended, *_ = decide(lost, open_, engine.now)  # type: ignore[operator]
    await engine.store.save(moved, ended)
    await engine.tools.line.recount()
    assert engine.accounts["acme"].running == 0
    await engine.turn()

    assert (await engine.job(waiting.id)).state is State.RUNNING


async def test_counting_forgets_no_order_on_its_way(make: Make) -> None:
    """An intent that is being committed while the store counts is counted once."""
    engine = make(max_running=2)
    engine.provider.submits = AGES * 2
    account = engine.accounts["acme"]
    await order(engine, 0)
    await engine.turn()
    account.take_place("maker/one", engine.now)
    await engine.tools.line.recount()
    assert account.running == 2
    account.took_place()
    account.give_place()
    await engine.tools.line.recount()
    assert (account.running, account.taking) == (1, 0)


async def test_too_late_is_not_bought(make: Make) -> None:
    """With less left than half the time its offer takes, a job fails unbought; a faster offer still makes it."""
    slow = listing("acme", offers=[offer(typical_seconds=200)], deadline_seconds=600)
    engine = make(slow, max_running=1)
    engine.provider.submits = AGES * 3
    await order(engine, 0)
    late, later = await order(engine, 1), await order(engine, 2)
    await engine.turn()
    engine.now = late.deadline_at - 100_000
    await leave(engine)
    await engine.turn()
    assert (await engine.job(late.id)).state is State.RUNNING
    engine.now = later.deadline_at - 99_999
    await leave(engine)
    await engine.turn()
    ended = await engine.job(later.id)
    assert (ended.state, "deadline_exceeded" in (ended.error or "")) == (State.FAILED, True)
    assert len(engine.provider.ledger) == 2


async def test_a_faster_offer_is_bought_where_a_slow_one_is_too_late(make: Make) -> None:
    """Of two that charge the same, the one that can still make it does."""
    slow, fast = (
        listing("acme", offers=[offer(typical_seconds=300)]),
        listing("zeta", offers=[offer(typical_seconds=9)]),
    )
    engine = make(slow, fast)
    job = await order(engine, 0)
    engine.now = job.deadline_at - 50_000
    await engine.turn()

    assert [len(each.ledger) for each in engine.providers.values()] == [0, 1]


async def test_since_when_the_oldest_job_waits(make: Make) -> None:
    """Of those that wait for their order, and of nobody's else; what is counted says so in seconds."""
    engine = make()
    assert await engine.store.oldest_queued() is None
    first = await engine.accept()
    engine.now += 5_000
    second = await engine.accept()
    assert first.created_at == await engine.store.oldest_queued()
    assert first.created_at + 5_000 == second.created_at
    await engine.turn()
    assert State.RUNNING is (await engine.job(first.id)).state
    await count(engine.store, engine.metrics, engine.clock)
    assert 0 == engine.metrics.registry.get_sample_value("reelgate_jobs_oldest_queued_seconds")
    third = await engine.accept()
    engine.now += 12_000
    assert third.created_at == await engine.store.oldest_queued()
    await count(engine.store, engine.metrics, engine.clock)
    assert 12 == engine.metrics.registry.get_sample_value("reelgate_jobs_oldest_queued_seconds")


@pytest.mark.parametrize("left", ["account", "model"])
async def test_what_is_sold_no_more_is_waited_for_by_nobody(make: Make, left: str) -> None:
    """Who stands in a line nobody calls after a restart goes to the next best; on a shared store others may call it."""
    sold = listing("zeta", prices=[price("0.05")]), listing("acme")
    engine = make(*sold, max_running=1)
    engine.providers["zeta"].submits = AGES * 2
    jobs = [await order(engine, number) for number in range(2)]
    await engine.turn()
    assert await engine.store.lines() == [("zeta", "maker/one")]
    if left == "account":
        engine.accounts.pop("zeta")
    else:
        other, seller = replace(sold[0], offers=[offer(model="maker/two")]), engine.providers["zeta"]
        engine.accounts["zeta"] = Account("zeta", seller, engine.wire, plan="", max_running=1, listing=other)
    engine.restart()
    await engine.tools.line.open()
    await engine.turn()

    assert engine.store.shared is not bool(engine.providers["acme"].ledger)
    assert (State.QUEUED if engine.store.shared else State.RUNNING) is (await engine.job(jobs[1].id)).state
