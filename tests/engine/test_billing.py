"""Laws of money in the engine: set aside before, settled after, in doubt where nobody can tell; never overspent."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.api.answers import video
from gateway.clock import DAY_MS
from gateway.door.accept import Acceptor, Hands, Repeat, fingerprint_of
from gateway.engine.operator import MoveError, adopt, resubmit, settle, write_off
from gateway.jobs.job import Job, Outcome, State, as_json
from gateway.jobs.wish import Problem, Wish
from gateway.money.ledger import Billing, Book, Hold, Limits, drift
from gateway.problems import ProblemError
from gateway.store.database import Kind
from gateway.store.store import TakenError
from providers import flow, gemini, vertex
from providers.base.errors import Indeterminate, Invalid, Missing
from providers.base.order import Request
from providers.base.task import Fault, Task, Update, Usage
from providers.base.task import State as TaskState
from tests.make import listing, offer, price
from tests.providers.cases import sample
from tests.scripted import Engine, clip, running

PRICE = 400_000
"""Four seconds at ten cents."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing(prices=[price("0.05")]))
    yield built
    built.close()


def money(job: Job) -> Hold:
    assert job.hold is not None
    return msgspec.json.decode(job.hold, type=Hold)


async def books(engine: Engine, job: Job) -> dict[Book, int]:
    return drift(await engine.store.entries(job.id))


def ended(state: TaskState, billed: bool | None, **changes: object) -> Update:
    fault = Fault(code="x", message="it broke", billed=billed)
    return Update(state=state, task=Task("t"), fault=fault, **changes)  # type: ignore[arg-type]


async def test_a_clip_is_held_then_spent(engine: Engine) -> None:
    """The quote is set aside with the job, and spent with its success."""
    job = await engine.accept()
    assert (money(job).billing, (await books(engine, job))[Book.HELD]) == (Billing.HELD, PRICE)
    job = await engine.run(job.id)

    assert (money(job).billing, money(job).charged, money(job).told) == (Billing.BILLED, PRICE, False)
    assert (await books(engine, job))[Book.SPENT] == PRICE
    assert await engine.store.ailments() == {}


async def test_the_providers_count_beats_the_quote(engine: Engine) -> None:
    """What the provider says it charged is what is spent."""
    engine.provider.polls = [running("t", usage=Usage(usd_micros=123_456))]
    job = await engine.run((await engine.accept()).id)

    assert (money(job).charged, money(job).told) == (123_456, True)
    assert (await books(engine, job)) == {
        Book.AVAILABLE: -123_456, Book.HELD: 0, Book.SPENT: 123_456, Book.SUSPENSE: 0,
    }  # fmt: skip


async def test_tokens_counted_by_the_provider_are_the_bill(tmp_path: Path) -> None:
    """What Google counted of a clip is charged at the price of a token, whatever the quote guessed."""
    engine = Engine(tmp_path, listing(prices=[price("0.0000175", per="token", tokens=1931)]))
    said = msgspec.json.decode(sample("gemini", "interactions_get_completed_uri.json"))
    engine.provider.polls = [gemini.decode(said, "https://acme.test")]
    job = await engine.run((await engine.accept(seconds=8)).id)

    counted = int(46_336 * Decimal("0.0000175") * 1_000_000)
    assert (job.state, money(job).charged, money(job).told) == (State.SUCCEEDED, counted, True)
    assert (await books(engine, job))[Book.SPENT] == counted == 810_880
    engine.close()


@pytest.mark.parametrize(("clips", "told"), [(1, True), (3, True), (4, False)])
async def test_clips_the_filter_took_are_not_charged(tmp_path: Path, clips: int, told: bool) -> None:
    """Of four ordered those that came are charged, and the client is told that fewer came."""
    engine = Engine(tmp_path, listing(offers=[offer(n=[4])], prices=[price("0.10000001", per="video")]))
    videos = [{"bytesBase64Encoded": b64encode(clip(8, (64, 36))).decode()}] * clips
    response = {"raiMediaFilteredCount": 4 - clips, "videos": videos}
    engine.provider.polls = [vertex.decode({"name": "a/operations/1", "done": True, "response": response})]
    job = await engine.run((await engine.accept()).id)

    share = {1: 100_001, 3: 300_001, 4: 400_001}[clips]
    assert (job.state, money(job).charged, money(job).told) == (State.SUCCEEDED, share, told)
    assert (await books(engine, job))[Book.SPENT] == share
    assert f"4 clips were ordered, {clips} came" in job.warnings or clips == 4
    assert await engine.store.ailments() == {}
    usage = video(job)["usage"]
    assert (8 * clips, round(share / 8_000_000 / clips, 6)) == (usage["billed_seconds"], usage["unit_price"])
    engine.close()


@pytest.mark.parametrize(("message", "charged"), [("PUBLIC_ERROR_AUDIO_FILTERED", 100_000), ("a new word", 200_000)])
async def test_clips_flow_filtered_are_not_charged(tmp_path: Path, message: str, charged: int) -> None:
    """Of two ordered one came: the other is charged unless it is known that Google turned it down."""
    prices = [price("", credits="5", per="video")]
    engine = Engine(tmp_path, listing(offers=[offer(n=[2])], prices=prices, usd_credit="0.02"))
    said = msgspec.json.decode(sample("flow", "job_completed_one_of_two.json"))
    failed = said["response"]["media"][0]["mediaMetadata"]["mediaStatus"]
    failed |= {"error": {"code": 3, "message": message}, "failureReasons": []}
    engine.provider.polls = [flow.decode(said)]
    job = await engine.run((await engine.accept()).id)

    assert (job.state, money(job).charged) == (State.SUCCEEDED, charged)
    usage = video(job)["usage"]
    assert (charged, charged // 20_000) == (1_000_000 * usage["cost"], int(usage["credits"]))
    engine.close()


@pytest.mark.parametrize("charged", [PRICE - 1, PRICE, PRICE + 1, 2 * PRICE])
async def test_nobody_pays_more_than_was_set_aside_in_silence(engine: Engine, charged: int) -> None:
    """The video says so, the log does, and a figure; of what fits nobody says a word."""
    engine.provider.polls = [running("t", usage=Usage(usd_micros=charged))]
    with capture_logs() as logs:
        job = await engine.run((await engine.accept()).id)

    over = [each["details"] for each in msgspec.json.decode(video(job)["warnings"]) if each["type"] == "over_estimate"]
    loud = [(each["usd"], each["over_usd"]) for each in logs if each["event"] == "estimate.exceeded"]
    labels = {"provider": "acme", "model": "maker/one"}
    figure = engine.metrics.registry.get_sample_value("reelgate_over_estimate_usd_total", labels)
    if charged <= PRICE:
        assert (over, loud, figure) == ([], [], None)
        return
    assert over == [f"it was quoted at $0.4 and cost ${charged / 1_000_000:.6g}"]
    assert (loud, figure) == ([(charged / 1_000_000, (charged - PRICE) / 1_000_000)], (charged - PRICE) / 1_000_000)


async def test_a_job_is_followed_through_the_log(engine: Engine) -> None:
    """What was ordered where, for how much, as which task; what it cost; and its end: each once, and no prompt."""
    with capture_logs() as logs:
        job = await engine.run((await engine.accept(prompt="canary-prompt")).id)
    told = [each for each in logs if each.get("job") == job.id]
    assert [each["event"] for each in told] == ["attempt.submitted", "hold.settled", "job.ended"]
    assert all(each["attempt"] == job.attempt for each in told)
    assert {(each["offer"], each["account"]) for each in told} == {("acme:maker/one", "acme")}
    assert (told[0]["usd"], told[0]["task"]) == (0.4, job.attempt)  # The scripted provider calls tasks so.
    assert (told[1]["usd"], told[1]["billing"]) == (0.4, "billed")
    assert "canary" not in str(logs)


async def test_what_cost_more_than_quoted_is_one_purchase(engine: Engine) -> None:
    """What is taken beyond the hold is an entry of its own, and no clip of its own."""
    engine.provider.polls = [running("t", usage=Usage(usd_micros=PRICE + 1))]
    await engine.run((await engine.accept()).id)

    (spent,) = await engine.store.spent(0, engine.now + 1)
    assert (spent.purchases, spent.usd_micros) == (1, PRICE + 1)


@pytest.mark.parametrize(
    ("state", "billed", "billing"),
    [
        (TaskState.FAILED, False, Billing.NOT_BILLED), (TaskState.REFUSED, False, Billing.NOT_BILLED),
        (TaskState.FAILED, True, Billing.BILLED), (TaskState.FAILED, None, Billing.POSSIBLY_BILLED),
        (TaskState.EXPIRED, None, Billing.POSSIBLY_BILLED), (TaskState.CANCELLED, None, Billing.POSSIBLY_BILLED),
    ],
)  # fmt: skip
async def test_a_bad_end_costs_what_the_provider_says(
    engine: Engine, state: TaskState, billed: bool | None, billing: Billing
) -> None:
    """Its word on billing decides; without one the money stays in doubt."""
    engine.provider.polls = [ended(state, billed)]
    job = await engine.run((await engine.accept()).id)

    assert money(job).billing is billing
    assert (await books(engine, job))[Book.HELD] == 0
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize(
    ("billed", "usage"),
    [(False, (0.0, 0, None, "0", False)), (True, (0.2, 8, 0.025, "10", True)), (None, (0.2, 8, 0.025, "10", True))],
)
async def test_what_was_not_billed_shows_nothing_billed(
    tmp_path: Path, billed: bool | None, usage: tuple[float, int, float | None, str, bool]
) -> None:
    """No seconds, no credits, and nothing is estimated; what was, or may have been, is as quoted, and says so."""
    engine = Engine(tmp_path, listing(prices=[price("", credits="10", per="video")], usd_credit="0.02"))
    engine.provider.polls = [ended(TaskState.FAILED, billed)]
    shown = video(await engine.run((await engine.accept()).id))["usage"]

    words = ("cost", "billed_seconds", "unit_price", "credits", "estimated")
    assert usage == tuple(shown[each] for each in words)
    engine.close()


async def test_what_was_never_bought_is_given_back(engine: Engine) -> None:
    """A definite refusal releases all of it."""
    engine.provider.submits = [Invalid("no")]
    job = await engine.run((await engine.accept()).id)

    assert (job.state, money(job).billing) == (State.FAILED, Billing.NOT_BILLED)
    assert (await books(engine, job))[Book.AVAILABLE] == 0


async def test_an_order_nobody_can_tell_of_stays_in_doubt(engine: Engine) -> None:
    """A lost answer never releases, never repeats; a task that vanished neither."""
    engine.provider.submits = [Indeterminate("silence")]
    lost = await engine.run((await engine.accept()).id)
    engine.provider.polls = [Missing("who?")] * 50
    gone = await engine.run((await engine.accept(prompt="another")).id)

    for job in (lost, gone):
        assert (job.state, money(job).billing) == (State.FAILED, Billing.POSSIBLY_BILLED)
        assert (await books(engine, job))[Book.SUSPENSE] == PRICE
    assert len(engine.provider.ledger) == 2


async def test_a_dearer_second_offer_sets_more_aside(tmp_path: Path) -> None:
    """A fallback holds the difference before it buys, and the end gives back what was not needed."""
    engine = Engine(tmp_path, listing("cheap", prices=[price("0.01")]), listing("dear", prices=[price("0.50")]))
    engine.providers["cheap"].submits = [Invalid("no")]
    job = await engine.run((await engine.accept()).id)

    assert (job.offer, money(job).charged) == ("dear:maker/one", 4_000_000)
    assert [each.kind for each in await engine.store.entries(job.id)] == ["hold", "hold", "settle"]
    assert await engine.store.ailments() == {}
    engine.close()


async def order(acceptor: Acceptor, number: int, **caller: object) -> Job:
    wanted = Wish(request=Request(prompt=f"a cat, {number}", model="maker/one"))
    decision, said = acceptor.decide(wanted), fingerprint_of(wanted)
    job, _ = await acceptor.accept(wanted, decision, "tenant", Repeat(), fingerprint=said, **caller)  # type: ignore[arg-type]
    return job


async def test_two_hundred_at_once_never_overspend(engine: Engine) -> None:
    """Of 200 orders at the same moment on a budget for exactly 7, seven are taken and the rest hear 402."""
    limits = Limits(total=7 * PRICE + PRICE - 1)
    came = await asyncio.gather(
        *(order(engine.acceptor, number, buyer="key_1", limits=limits) for number in range(200)),
        return_exceptions=True,
    )
    taken = [each for each in came if isinstance(each, Job)]
    refused = [each for each in came if isinstance(each, ProblemError)]
    assert (len(taken), len(refused)) == (7, 193)
    assert {(each.status, each.code) for each in refused} == {(402, "budget_exceeded")}
    (budget,) = await engine.store.budgets()
    assert (budget.held, budget.spent) == (7 * PRICE, 0)
    for job in taken:
        await engine.run(job.id)
    (budget,) = await engine.store.budgets()
    assert (budget.held, budget.spent, budget.suspense) == (0, 7 * PRICE, 0)
    with pytest.raises(ProblemError):
        await order(engine.acceptor, 999, buyer="key_1", limits=limits)
    await order(engine.acceptor, 1000, buyer="key_2", limits=limits)


async def test_a_limit_set_later_counts_what_was_spent_before(engine: Engine) -> None:
    """A budget begins with what its owner has spent in its window already."""
    await engine.run((await order(engine.acceptor, 1, buyer="key_1")).id)
    with pytest.raises(ProblemError):
        await order(engine.acceptor, 2, buyer="key_1", limits=Limits(day=2 * PRICE - 1))
    await order(engine.acceptor, 3, buyer="key_1", limits=Limits(day=2 * PRICE))


async def test_a_budget_set_later_counts_what_is_under_way(engine: Engine) -> None:
    """It begins with what is set aside and in doubt, and hears how that ends."""
    engine.provider.submits = [Indeterminate("silence")]
    lost = await engine.run((await order(engine.acceptor, 1, buyer="key_1")).id)
    assert money(lost).billing is Billing.POSSIBLY_BILLED
    under_way = await order(engine.acceptor, 2, buyer="key_1")
    late = await order(engine.acceptor, 3, buyer="key_2")
    acceptor = Acceptor(engine.store, engine.shop, engine.clock, Hands(), limits=Limits(total=4 * PRICE))
    last = await order(acceptor, 4, buyer="key_1", limits=Limits(day=3 * PRICE))

    for each in (under_way, late, last):
        await engine.run(each.id)
    sums = {each.id: (each.held, each.spent, each.suspense) for each in await engine.store.budgets()}
    assert sums["instance:total"] == (0, 3 * PRICE, PRICE)
    assert [row for id_, row in sums.items() if id_.startswith("key_1:day")] == [(0, 2 * PRICE, PRICE)]
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize("opened", ["first", "last"])
async def test_a_job_counts_on_the_day_it_was_accepted(engine: Engine, opened: str) -> None:
    """One that ends after midnight takes nothing from the next day, whichever comes first: its end or that day's."""
    midnight, limits = (engine.now // DAY_MS + 1) * DAY_MS, Limits(day=PRICE)
    engine.now = midnight - 10_000
    late = await order(engine.acceptor, 1, buyer="key_1", limits=limits)
    await engine.turn()
    engine.now = midnight + 60_000
    if opened == "first":
        await order(engine.acceptor, 2, buyer="key_1", limits=limits)
    await engine.run(late.id)
    if opened == "last":
        await order(engine.acceptor, 2, buyer="key_1", limits=limits)

    assert [each.spent + each.held for each in await engine.store.budgets()] == [PRICE, PRICE]
    for since, count in ((midnight - DAY_MS, 1), (midnight, 1), (midnight - 2 * DAY_MS, 0), (midnight + DAY_MS, 0)):
        assert count == len(await engine.store.budgets(since, since + DAY_MS)), since
    with pytest.raises(ProblemError):
        await order(engine.acceptor, 3, buyer="key_1", limits=limits)
    assert await engine.store.ailments() == {}


async def test_what_is_settled_months_later_is_that_months(engine: Engine) -> None:
    """An invoice that comes late moves the month the job was accepted in, and the key's whole."""
    limits = Limits(month=2 * PRICE, total=9 * PRICE)
    engine.provider.submits = [Indeterminate("silence")]
    lost = await order(engine.acceptor, 1, buyer="key_1", limits=limits)
    lost = await engine.run(lost.id)
    engine.now += 29 * DAY_MS
    await engine.run((await order(engine.acceptor, 2, buyer="key_1", limits=limits)).id)
    settled, postings, _ = settle(await engine.job(lost.id), 3 * PRICE, engine.now)
    await engine.store.save(settled, postings=postings)

    sums = {each.id: (each.spent, each.suspense) for each in await engine.store.budgets()}
    assert sorted(sums.values()) == [(PRICE, 0), (3 * PRICE, 0), (4 * PRICE, 0)]
    assert sums["key_1:total"] == (4 * PRICE, 0)
    assert await engine.store.ailments() == {}
    await order(engine.acceptor, 3, buyer="key_1", limits=limits)


async def test_a_limit_that_is_gone_still_counts(engine: Engine) -> None:
    """While a key has no limit its budget goes on being kept, so that the limit means the same when it is back."""
    limits = Limits(total=2 * PRICE)
    for each in (limits, Limits()):
        await engine.run((await order(engine.acceptor, 1 + (each is limits), buyer="key_1", limits=each)).id)

    with pytest.raises(ProblemError):
        await order(engine.acceptor, 3, buyer="key_1", limits=limits)
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize("limit", [4_000_000, 3_999_999])
async def test_a_dearer_offer_after_a_free_one_is_held_to_the_budget(tmp_path: Path, limit: int) -> None:
    """A job that was to cost nothing counts as soon as it costs something, and is not bought where that is too much."""
    engine = Engine(tmp_path, listing("own", prices=[price("0")]), listing("cloud", prices=[price("0.50")]))
    engine.providers["own"].submits = [Invalid("no")]
    limits = Limits(total=limit)
    job = await engine.run((await order(engine.acceptor, 1, buyer=await engine.key(limits), limits=limits)).id)

    bought = limit >= 4_000_000
    assert (job.state, len(engine.providers["cloud"].ledger)) == (State.SUCCEEDED if bought else State.FAILED, bought)
    assert sum(each.spent for each in await engine.store.budgets()) == (4_000_000 if bought else 0)
    assert await engine.store.ailments() == {}
    engine.close()


async def test_the_instance_has_a_budget_of_its_own(engine: Engine) -> None:
    """Whoever asks, the whole gateway spends no more than it may."""
    acceptor = Acceptor(engine.store, engine.shop, engine.clock, Hands(), limits=Limits(month=PRICE))
    await order(acceptor, 1, buyer="key_1")
    told = r"quoted at \$0\.4, and the gateway's own budget is used up: ask for .*, wait for .*, or have it raised\.$"
    with pytest.raises(ProblemError, match=told):
        await order(acceptor, 2, buyer="key_2", limits=Limits(day=9 * PRICE))


@pytest.mark.parametrize(
    ("limits", "said", "waits"),
    [
        (Limits(day=PRICE + 1), r"\$0\.000001 is left of the \$0\.400001 this key has for a day \(UTC\): ", True),
        (
            Limits(month=PRICE, total=9 * PRICE),
            r"and \$0 is left of the \$0\.4 this key has for a month \(UTC\): ",
            True,
        ),
        (
            Limits(day=PRICE, total=PRICE),
            r"for a day \(UTC\) and \$0 is left of the \$0\.4 this key has in all: ",
            False,
        ),
        (Limits(day=PRICE - 1), r"and \$0 is left of the \$0\.399999 this key has for a day \(UTC\): ", False),
    ],
)
async def test_a_refusal_says_which_budget_has_how_much_left(
    engine: Engine, limits: Limits, said: str, waits: bool
) -> None:
    """Of the caller's own key; to wait is advised where that helps, whoever opened the budget."""
    await order(engine.acceptor, 1, buyer="key_1")
    await order(engine.acceptor, 2, buyer="key_2")
    with pytest.raises(ProblemError, match=said) as caught:
        await order(engine.acceptor, 3, buyer="key_1", limits=limits)
    assert waits is ("wait for" in caught.value.message)


async def test_a_key_has_so_many_jobs_under_way(engine: Engine) -> None:
    """The next is refused until one has ended."""
    first = await order(engine.acceptor, 1, buyer="key_1", limits=Limits(jobs=1))
    with pytest.raises(ProblemError) as caught:
        await order(engine.acceptor, 2, buyer="key_1", limits=Limits(jobs=1))
    assert (caught.value.status, caught.value.code) == (429, "too_many_jobs")
    await engine.run(first.id)
    await order(engine.acceptor, 3, buyer="key_1", limits=Limits(jobs=1))


async def test_a_key_has_so_many_jobs_whoever_takes_them(tmp_path: Path, kind: Kind) -> None:
    """Of many orders at the same moment, at two processes where there may be two, as many are taken as it may have."""
    engines = [Engine(tmp_path, listing(prices=[price("0.05")])) for _ in range(2 if kind == "postgresql" else 1)]
    for buyer in ("key_1", "key_2", "key_3"):
        came = await asyncio.gather(
            *(
                order(engines[number % len(engines)].acceptor, number, buyer=buyer, limits=Limits(jobs=2))
                for number in range(40)
            ),
            return_exceptions=True,
        )
        taken = {each.id for each in came if isinstance(each, Job)}
        refused = {each.code for each in came if isinstance(each, ProblemError)}
        assert (len(taken), refused) == (2, {"too_many_jobs"})
    for engine in engines:
        engine.close()


async def test_a_halt_stops_purchases_and_nothing_else(engine: Engine) -> None:
    """Jobs are accepted and wait, tasks under way go on; then they are bought, once."""
    under_way = await engine.accept()
    await engine.turn()
    await engine.store.halt("too dear")
    waiting = await engine.accept(prompt="another")
    for _ in range(5):
        await engine.turn(seconds=10)
    assert (await engine.job(under_way.id)).state is State.SUCCEEDED
    assert (await engine.job(waiting.id)).state is State.QUEUED
    assert (len(engine.provider.ledger), engine.accounts["acme"].running) == (1, 0)
    await engine.store.go_on()
    assert (await engine.run(waiting.id)).state is State.SUCCEEDED
    assert len(engine.provider.ledger) == 2


async def unknown(engine: Engine, **request: object) -> Job:
    engine.provider.submits = [Indeterminate("silence")]
    job = await engine.accept(**request)
    await engine.turn()
    job = await engine.job(job.id)
    assert job.state is State.UNKNOWN
    return job


async def test_an_operator_adopts_a_task(engine: Engine) -> None:
    """A task found by hand is looked at like any other; nothing is bought again."""
    job = await unknown(engine)
    (open_,) = await engine.store.attempts(job.id)
    running_, accepted, whose = adopt(job, open_, "found-1", engine.now)
    await engine.store.save(running_, accepted, also=whose)
    job = await engine.run(job.id)

    assert (job.state, money(job).billing, len(engine.provider.ledger)) == (State.SUCCEEDED, Billing.BILLED, 1)


async def test_no_two_jobs_are_given_one_task(engine: Engine) -> None:
    """A task that is another order's is refused, and the job stays as unknown as it was."""
    owner = await engine.accept()
    await engine.turn()
    (mine,) = await engine.store.attempts(owner.id)
    assert mine.task
    task = msgspec.json.decode(mine.task, type=Task).id
    job = await unknown(engine, prompt="another")
    (open_,) = await engine.store.attempts(job.id)
    running_, accepted, whose = adopt(job, open_, task, engine.now)
    with pytest.raises(TakenError):
        await engine.store.save(running_, accepted, also=whose)

    assert (await engine.job(job.id)).state is State.UNKNOWN
    assert await engine.store.ailments() == {}


async def test_an_operator_orders_again(engine: Engine) -> None:
    """Only by hand, and then it is one more purchase, of which everybody can see both attempts."""
    job = await unknown(engine)
    (open_,) = await engine.store.attempts(job.id)
    await engine.store.save(*resubmit(job, open_, engine.now))
    job = await engine.run(job.id)

    assert (job.state, len(engine.provider.ledger)) == (State.SUCCEEDED, 2)
    assert [each.outcome for each in await engine.store.attempts(job.id)] == ["absent", "succeeded"]


async def test_an_operator_writes_off_and_settles_later(engine: Engine) -> None:
    """The job ends at once, its money only when the invoice has come."""
    job = await unknown(engine)
    (open_,) = await engine.store.attempts(job.id)
    ended_, attempt, postings, told = write_off(job, open_, engine.now)
    await engine.store.save(ended_, attempt, postings=postings, also=told)
    job = await engine.job(job.id)
    assert (job.state, money(job).billing) == (State.FAILED, Billing.POSSIBLY_BILLED)
    settled, postings, _ = settle(job, 0, engine.now)
    await engine.store.save(settled, postings=postings)
    job = await engine.job(job.id)
    assert (money(job).billing, (await books(engine, job))[Book.AVAILABLE]) == (Billing.NOT_BILLED, 0)
    with pytest.raises(MoveError):
        settle(job, 1, engine.now)
    with pytest.raises(MoveError):
        adopt(job, attempt, "too late", engine.now)


async def test_an_operator_finds_the_task_of_what_ended_in_doubt(engine: Engine) -> None:
    """Its clip is kept, and its seller says what it cost; another's task is refused, and a second one by then."""
    other = await engine.run((await engine.accept(prompt="another")).id)
    job = await engine.run((await unknown(engine)).id)
    (last,) = await engine.store.attempts(job.id)
    assert other.task is not None
    ended, named, whose = adopt(job, last, msgspec.json.decode(other.task, type=Task).id, engine.now)
    with pytest.raises(TakenError):
        await engine.store.save(ended, named, also=whose)

    ended, named, whose = adopt(job, last, "found-1", engine.now)
    await engine.store.save(ended, named, also=whose)
    await engine.turn()
    job = await engine.job(job.id)
    with pytest.raises(MoveError):
        adopt(job, named, "found-2", engine.now)
    assert (job.state, money(job).billing, job.outputs == "[]") == (State.FAILED, Billing.BILLED, False)
    assert [(each.outcome, each.task) for each in await engine.store.attempts(job.id)] == [
        (Outcome.SUCCEEDED, '{"id":"found-1","data":{}}'),
    ]  # fmt: skip
    assert await engine.store.ailments() == {}


@pytest.mark.parametrize(("before", "after", "bought"), [(9_000_000, 1_000_000, False), (1_000_000, 9_000_000, True)])
async def test_a_dearer_offer_is_held_to_what_its_key_may_spend_by_then(
    tmp_path: Path, before: int, after: int, bought: bool
) -> None:
    """What an operator has changed since the job was accepted holds, in either direction."""
    engine = Engine(tmp_path, listing("cheap"), listing("dear", prices=[price("0.40")]))
    engine.providers["cheap"].submits = [Invalid("no")]
    buyer = await engine.key(Limits(total=before))
    job = await order(engine.acceptor, 1, buyer=buyer, limits=Limits(total=before))
    key = await engine.store.key_named(buyer)
    assert key is not None
    assert await engine.store.limit_key(key, as_json(Limits(total=after)))
    ended = await engine.run(job.id)

    assert (State.SUCCEEDED if bought else State.FAILED) is ended.state
    assert bought == bool(engine.providers["dear"].ledger)
    assert bought or msgspec.json.decode(ended.error or "", type=Problem).code == "budget_exceeded"
    engine.close()
