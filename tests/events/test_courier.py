"""Laws of telling: at least once, the same id every time, no endpoint at another's expense; on a stopped clock."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from gateway.events.events import COMPLETED, FAILED, GAPS, Delivery, announce, next_try
from gateway.jobs.job import State
from gateway.store.database import Statement
from tests.events.told import Told, running, until
from tests.make import job
from tests.receiver import Receiver, receiver

DAY = 86_400


@pytest.fixture
def heard() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
async def told(tmp_path: Path, heard: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Told]:
    monkeypatch.setattr("gateway.rounds.Rounds.idle_seconds", 0.02)  # What passes is the stopped clock's time.
    made = Told(tmp_path, heard)
    yield made
    made.engine.close()


async def test_an_end_is_told_once(told: Told, heard: Receiver) -> None:
    """A 2xx ends a delivery; what it says is thin, and of OpenAI's shape."""
    await told.endpoint()
    id_ = await told.ended()
    await told.deliver()
    await told.deliver(seconds=DAY)
    (one,) = heard.heard
    body = msgspec.json.decode(one.body)
    assert {"object": "event", "type": COMPLETED, "data": {"id": id_}} == {
        name: body[name] for name in ("object", "type", "data")
    }
    assert (one.id, "application/json") == (body["id"], one.headers["content-type"])
    assert ("delivered", 1) == ((await told.only(id_)).state, (await told.only(id_)).tries)


async def test_a_try_is_logged_with_its_job_and_its_reason(told: Told, heard: Receiver) -> None:
    """Under the words of every other line of the log, so that a job's own are found together."""
    await told.endpoint()
    id_ = await told.ended()
    heard.script["/a"] = [500]
    with capture_logs() as logs:
        await told.deliver()
    (tried,) = [each for each in logs if "delivery.tried" == each["event"]]
    assert (id_, "pending") == (tried["job"], tried["state"])
    assert "reason" in tried
    assert "error" not in tried


async def test_the_outbox_holds_with_the_job_or_not_at_all(told: Told) -> None:
    """An end that is not kept is told to nobody."""
    await told.endpoint()
    accepted = await told.engine.accept()
    stale = replace(await told.engine.job(accepted.id), state=State.FAILED, seq=9, completed_at=1)
    with pytest.raises(Exception, match="job_save"):
        await told.engine.store.save(stale, also=announce(stale))
    assert [] == await told.outbox.deliveries_of(accepted.id, "tenant")


async def test_a_failure_is_told_again_with_the_same_id(told: Told, heard: Receiver) -> None:
    """Ten tries in about 75 hours, each signed anew over the same bytes; then it is over, and can be replayed."""
    heard.script["/a"] = [500]
    endpoint = await told.endpoint()
    id_ = await told.cancelled()
    began = told.engine.now
    for _ in range(40):
        await told.deliver()
        due = (await told.only(id_)).due_at
        if due is None:
            break
        told.engine.now = due
    assert 10 == len(heard.heard)
    assert 1 == len({each.id for each in heard.heard}) == len({each.body for each in heard.heard})
    assert 10 == len({each.headers["webhook-timestamp"] for each in heard.heard})
    assert 75 * 3600 <= (told.engine.now - began) / 1000 <= 75 * 3600 * 1.2
    assert "failed" == (await told.only(id_)).state
    tries = await told.outbox.tries((await told.only(id_)).id)
    assert [(number, 500, "answered 500") for number in range(1, 11)] == [
        (each.number, each.status, each.error) for each in tries
    ]
    heard.script.clear()
    assert await told.outbox.replay((await told.only(id_)).id, endpoint.tenant)
    await told.deliver()
    assert 11 == len(heard.heard)
    assert 1 == len({each.id for each in heard.heard})
    assert ("delivered", 11) == ((await told.only(id_)).state, (await told.only(id_)).tries)


async def test_every_signature_is_standard_webhooks(told: Told, heard: Receiver) -> None:
    """By the endpoint's own secret of 32 bytes; during a rotation by the old one too."""
    endpoint = await told.endpoint()
    told.engine.now = time.time_ns() // 1_000_000
    await told.outbox.save_endpoint(replace(endpoint, version=2, old_until=told.engine.now + 60_000))
    await told.cancelled()
    await told.deliver()
    (one,) = heard.heard
    new, old = (told.vault.signing_secret(endpoint.id, version) for version in (2, 1))
    assert 32 == len(base64.b64decode(new.removeprefix("whsec_")))
    for secret in (new, old):
        Webhook(secret).verify(one.body, one.headers)
    for secret in (told.vault.signing_secret(endpoint.id, 3), told.vault.signing_secret("whep_b", 2)):
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(secret).verify(one.body, one.headers)


async def test_gone_disables_at_once_and_nothing_is_lost(told: Told, heard: Receiver) -> None:
    """410 ends it; what happens meanwhile is held, and told when the endpoint is enabled again."""
    heard.script["/a"] = [410, 204]
    endpoint = await told.endpoint()
    await told.cancelled()
    await told.deliver()
    found = await told.outbox.endpoint(endpoint.id, endpoint.tenant)
    assert found is not None
    assert (told.engine.now, "It answered 410 Gone.") == (found.disabled_at, found.disabled_why)
    later = await told.cancelled()
    await told.deliver(seconds=DAY)
    assert 1 == len(heard.heard)
    assert "held" == (await told.only(later)).state
    await told.outbox.enable(found)
    await told.deliver()
    assert 2 == len(heard.heard)
    assert "delivered" == (await told.only(later)).state


async def test_five_days_of_nothing_but_failure_disable(told: Told, heard: Receiver) -> None:
    """One success begins the count anew."""
    heard.script["/a"] = [500, 204, 500]
    endpoint = await told.endpoint()
    await told.cancelled()
    await told.deliver()
    await told.deliver(seconds=6)  # Succeeds.
    await told.cancelled()
    await told.deliver(seconds=4 * DAY)
    began = told.engine.now
    for _ in range(8):
        await told.cancelled()
        await told.deliver(seconds=DAY)
        found = await told.outbox.endpoint(endpoint.id, endpoint.tenant)
        assert found is not None
        if found.disabled_at is not None:
            break
    assert 5 * DAY * 1000 <= told.engine.now - began < 7 * DAY * 1000
    assert "It did nothing but fail for five days." == found.disabled_why


@pytest.mark.parametrize(
    "answer", [301, (302, {"location": "/b"}), (307, {"location": "/b"}), 400, 404, 429, 500, 503], ids=str
)
async def test_nothing_but_2xx_is_a_success(told: Told, heard: Receiver, answer: int) -> None:
    """A redirect is not followed."""
    heard.script["/a"] = [answer]
    await told.endpoint()
    id_ = await told.cancelled()
    await told.deliver()
    assert ["/a"] == [each.path for each in heard.heard]
    assert ("pending", 1) == ((await told.only(id_)).state, (await told.only(id_)).tries)


async def test_a_receiver_is_not_asked_sooner_than_it_wants(told: Told, heard: Receiver) -> None:
    """Retry-After holds, up to a day; the schedule holds where it is longer."""
    heard.script["/a"] = [(429, {"retry-after": "600"}), 204]
    await told.endpoint()
    id_ = await told.cancelled()
    await told.deliver()
    due = (await told.only(id_)).due_at
    assert due is not None
    assert 600_000 <= due - told.engine.now <= 660_000


def test_the_schedule_is_ten_tries_and_never_shrinks() -> None:
    """Spread only makes a gap longer, by at most a tenth; nobody can ask for more than a day."""
    for step, gap in enumerate(GAPS):
        assert gap == next_try(step, None, 0)
        assert gap * 1.1 == pytest.approx(next_try(step, 0.0, 1))
    assert next_try(len(GAPS), None, 0) is None
    assert DAY == next_try(0, 1e9, 0)


async def test_a_cancelled_video_is_told_to_whoever_can_hear_it(told: Told, heard: Receiver) -> None:
    """As ``video.canceled`` where that is subscribed, as OpenAI's ``video.failed`` where only that is."""
    await told.endpoint("/all")
    await told.endpoint("/openai", f"{COMPLETED} {FAILED}")
    await told.endpoint("/done", COMPLETED)
    await told.endpoint("/stranger", tenant="other")
    accepted = await told.engine.accept()
    await told.engine.store.cancel(accepted.id, "tenant")
    await told.engine.run(accepted.id)
    await told.deliver()
    assert {("/all", "video.canceled"), ("/openai", FAILED)} == {(each.path, each.type) for each in heard.heard}
    assert 1 == len({each.id for each in heard.heard})


async def test_what_is_not_open_is_not_dialled(told: Told, heard: Receiver) -> None:
    """An address that leads inside by the time it is told is a failed try like any other, and says no more."""
    endpoint = await told.endpoint()
    await told.outbox.save_endpoint(replace(endpoint, url=f"http://localhost:{heard.port}/a", host="x"))
    id_ = await told.cancelled()
    await told.deliver()
    assert [] == heard.heard
    (made,) = await told.outbox.tries((await told.only(id_)).id)
    assert (None, "its name does not resolve, or the address is not allowed") == (made.status, made.error)


async def test_plain_http_is_told_only_where_it_was_opened(told: Told, heard: Receiver) -> None:
    """Https alone by default, whatever the guard lets through."""
    told.courier = told.new_courier(http=False)
    await told.endpoint()
    await told.cancelled()
    await told.deliver()
    assert [] == heard.heard


async def test_nobody_waits_until_a_hung_endpoint_is_given_up(told: Told, heard: Receiver) -> None:
    """However much waits for it: it holds a bounded number of places, and those only while it may yet answer."""
    heard.script["/hung"] = [heard.wait]
    told.courier = told.new_courier(seconds=30, at_once=8, per_host=8)
    hung = await told.endpoint("/hung")
    await told.outbox.save_endpoint(replace(hung, host="hung.test"))
    for _ in range(40):
        await told.cancelled()
    async with running(told.courier):
        await until(lambda: len(heard.heard) >= 8)
        await told.endpoint("/well")
        id_ = await told.cancelled()
        told.courier.wake()
        await until(lambda: heard.at("/well"))
        assert {"pending"} == {*await told.states(hung)}
        assert len(heard.at("/hung")) <= 15
        assert id_
        heard.hang.set()


async def test_waiting_deliveries_are_rows_not_tasks(told: Told, heard: Receiver) -> None:
    """A hundred that wait for their next try cost no task of the loop."""
    heard.script["/a"] = [500]
    endpoint = await told.endpoint()
    for _ in range(100):
        await told.cancelled()
    await told.deliver()
    assert len(asyncio.all_tasks()) <= 2
    assert ["pending"] * 100 == await told.states(endpoint)


async def test_a_courier_outlives_a_bug_of_its_own(told: Told, heard: Receiver) -> None:
    """Whatever a turn raises, the next is taken; else nobody would be told of anything any more."""
    await told.endpoint()
    await told.cancelled()
    claim, raised = told.outbox.claim, asyncio.Event()

    async def broken(**asked: Any) -> list[Delivery]:
        if not raised.is_set():
            raised.set()
            raise TypeError("a bug")
        return await claim(**asked)

    told.outbox.claim = broken  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with running(told.courier):
            await until(lambda: heard.heard)

    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["courier.crashed"]


async def test_a_claim_whose_courier_died_comes_back(told: Told, heard: Receiver) -> None:
    """Its lease runs out, or the next start gives it back; then it is sent again with its id."""
    await told.endpoint()
    id_ = await told.cancelled()
    (claimed,) = await told.outbox.claim(lease=60_000, each=8, most=8, busy="  ")
    await told.deliver()
    assert [] == heard.heard
    await told.engine.store.start_over()
    await told.deliver()
    assert [claimed.event] == [each.id for each in heard.heard]
    assert "delivered" == (await told.only(id_)).state


async def test_old_deliveries_are_forgotten_and_open_ones_never(told: Told, heard: Receiver) -> None:
    """The log goes back as far as it was told to."""
    heard.script["/a"] = [204, 500]
    await told.endpoint()
    settled = await told.cancelled()
    await told.deliver()
    open_ = await told.cancelled()
    await told.deliver()
    await told.outbox.sweep(before=told.engine.now + 1)
    assert [] == await told.outbox.deliveries_of(settled, "tenant")
    assert "pending" == (await told.only(open_)).state


async def test_a_disabled_endpoint_hears_nothing_that_was_on_its_way(told: Told, heard: Receiver) -> None:
    """What was being retried when it was disabled is held like the rest."""
    heard.script["/a"] = [500, 410, 204]
    endpoint = await told.endpoint()
    first = await told.cancelled()
    await told.deliver()
    second = await told.cancelled()
    await told.deliver()
    assert ["held", "failed"] == [(await told.only(id_)).state for id_ in (first, second)]
    await told.engine.store.database.write(  # As if its try had been under way.
        Statement("delivery_replay", {"id": (await told.only(first)).id, "tenant": "tenant", "now": told.engine.now})
    )
    await told.deliver(seconds=DAY)
    assert (2, "held") == (len(heard.heard), (await told.only(first)).state)
    found = await told.outbox.endpoint(endpoint.id, "tenant")
    assert found is not None
    await told.outbox.delete_endpoint(found)
    await told.deliver(seconds=DAY)
    assert (2, "dropped") == (len(heard.heard), (await told.only(first)).state)


@pytest.mark.parametrize(("answer", "state"), [(503, "dropped"), (204, "delivered")])
async def test_a_deleted_endpoint_is_told_nothing_more(told: Told, heard: Receiver, answer: int, state: str) -> None:
    """A try that was under way is kept, and brings nothing back."""
    heard.script["/a"] = [lambda: heard.wait() and answer]
    endpoint = await told.endpoint()
    id_ = await told.cancelled()
    async with running(told.courier):
        await until(lambda: heard.heard)
        await told.outbox.delete_endpoint(endpoint)
        heard.hang.set()
    delivery = await told.only(id_)
    assert (state, 1, None, None) == (delivery.state, delivery.tries, delivery.due_at, delivery.lease_until)
    assert [answer] == [each.status for each in await told.outbox.tries(delivery.id)]
    assert delivery.ended_at is not None
    await told.deliver(seconds=DAY)
    assert 1 == len(heard.heard)


async def test_what_waits_for_a_receiver_that_is_gone_is_dropped(told: Told, heard: Receiver) -> None:
    """However it came to wait."""
    endpoint = await told.endpoint()
    id_ = await told.cancelled()
    await told.engine.store.database.write(Statement("endpoint_delete", {"id": endpoint.id, "tenant": endpoint.tenant}))
    await told.deliver()
    delivery = await told.only(id_)
    assert ("dropped", None, None) == (delivery.state, delivery.due_at, delivery.lease_until)
    assert [] == heard.heard


async def test_what_waits_follows_its_endpoint(told: Told, heard: Receiver) -> None:
    """An address that was wrong is mended, and what failed there goes to the right one."""
    heard.script["/a"] = [404]
    endpoint = await told.endpoint()
    await told.cancelled()
    await told.deliver()
    await told.outbox.save_endpoint(replace(endpoint, url=f"{heard.url}/b"))
    await told.deliver(seconds=6)
    assert ["/a", "/b"] == [each.path for each in heard.heard]


@pytest.mark.parametrize("answer", [500, 410])
async def test_a_new_address_begins_anew(told: Told, heard: Receiver, answer: int) -> None:
    """Five days of failure were the old one's; and so is what the old one answers to a try that was under way."""
    heard.script |= {"/a": [500, lambda: heard.wait() and answer], "/b": [500]}
    endpoint = await told.endpoint()
    await told.cancelled()
    await told.deliver()
    before = await told.outbox.endpoint(endpoint.id, "tenant")
    assert before is not None
    assert before.failing_since is not None
    told.engine.now += 5 * DAY * 1000
    async with running(told.courier):
        await until(lambda: 2 == len(heard.heard))
        await told.outbox.save_endpoint(before.moved(f"{heard.url}/b"))
        heard.hang.set()
    await told.cancelled()
    await told.deliver()
    found = await told.outbox.endpoint(endpoint.id, "tenant")
    assert found is not None
    assert (None, told.engine.now) == (found.disabled_at, found.failing_since)
    assert "held" not in await told.states(endpoint)
    assert found == found.moved(found.url)


def test_an_end_has_one_event_whoever_writes_it() -> None:
    """The same end has the same id, so that it cannot be told twice under two."""
    ended = job(
        State.FAILED, id="video_" + "0" * 12 + "ab" * 10, completed_at=5, wish='{"callback_url":"https://a.b/"}'
    )
    first, second = announce(ended), announce(ended)
    assert [each.params for each in first] == [each.params for each in second]
    assert ["deliveries_insert", "delivery_insert"] == [each.query for each in first]
