"""Laws of sharing the way out: whose names do not resolve, or whose servers hang, delays nobody else by a second."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.events import courier as module
from gateway.events.courier import Courier
from gateway.events.letters import Letter
from gateway.network import outbound
from gateway.network.errand import FetchError
from gateway.network.names import Found, Names
from tests import databases
from tests.events.told import Told, running, until
from tests.outside import gateway
from tests.receiver import Receiver, receiver

LETTER = Letter(b"{}")
on_both = pytest.mark.parametrize("told", databases.KINDS, indirect=True)


@pytest.fixture
def heard() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
async def told(
    request: pytest.FixtureRequest, tmp_path: Path, heard: Receiver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Told]:
    """A courier with four threads for names, of which those that begin with ``deaf`` have no name server."""
    monkeypatch.setattr(module.Courier, "idle_seconds", 0.02)  # What passes is the stopped clock's time.

    def ask(host: str) -> list[Found]:
        if host.startswith("deaf"):
            heard.hang.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [Found(socket.AF_INET, 6, "127.0.0.1")]

    with databases.using(getattr(request, "param", "sqlite")):
        made = Told(tmp_path, heard, names=Names(ask, most=4))
        yield made
        heard.hang.set()
        made.engine.close()


async def ended(told: Told, tenant: str) -> str:
    """End a job of a tenant's, and say so to its courier."""
    id_ = await told.cancelled(tenant)
    told.courier.wake()
    return id_


async def test_names_nobody_answers_for_delay_only_whose_they_are(told: Told, heard: Receiver) -> None:
    """However many one tenant has: another's endpoint is told within a second, at its first try."""
    for number in range(12):
        await told.endpoint(f"/deaf{number}", tenant="alice", name=f"deaf{number}.test")
    await told.endpoint("/bob", tenant="bob", name="well.test")
    async with running(told.courier):
        await ended(told, "alice")
        await until(lambda: len(told.courier._under_way) == 12)
        began = time.monotonic()
        id_ = await ended(told, "bob")
        await until(lambda: heard.at("/bob"))
        assert time.monotonic() - began < 1
        heard.hang.set()
    assert ("delivered", 1) == ((await told.only(id_, "bob")).state, (await told.only(id_, "bob")).tries)


@on_both
async def test_no_receiver_is_charged_for_our_lack_of_threads(
    told: Told, heard: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be looked up was not tried; it comes again when there may be room."""
    monkeypatch.setattr(outbound, "PATIENCE_SECONDS", 0.05)
    for number in range(3):
        await told.endpoint(f"/deaf{number}", tenant="alice", name=f"deaf{number}.test")
    well = await told.endpoint("/well", tenant="alice", name="well.test")
    async with running(told.courier):
        for number in range(3):
            await told.outbound._names.begin(f"deaf{number}.test", "webhooks/alice", patience=0)
        await ended(told, "alice")
        await until(lambda: told.courier._under_way)
        await asyncio.sleep(0.2)
        (waiting,), _ = await told.outbox.deliveries_to(well, after=None, limit=9)
        assert ([], 0, "pending", None) == (heard.at("/well"), waiting.tries, waiting.state, waiting.lease_until)
        assert [] == await told.outbox.tries(waiting.id)
        heard.hang.set()
        await asyncio.sleep(0.05)
        told.engine.now += module.PUT_OFF_MS
        told.courier.wake()
        await until(lambda: heard.at("/well"))
    assert ["delivered"] == await told.states(well)
    assert [204] == [made.status for made in await told.outbox.tries(waiting.id)]


async def test_our_own_wait_is_not_counted_as_the_receivers(told: Told, heard: Receiver) -> None:
    """Its seconds begin when it is asked for."""
    told.courier = told.new_courier(seconds=0.3)
    for number in range(3):
        await told.outbound._names.begin(f"deaf{number}.test", "webhooks/alice", patience=0)
    well = await told.endpoint("/well", tenant="alice", name="well.test")
    async with running(told.courier):
        await ended(told, "alice")
        await until(lambda: told.courier._under_way)
        await asyncio.sleep(0.5)
        assert [] == heard.heard
        heard.hang.set()
        await until(lambda: heard.at("/well"))
    assert ["delivered"] == await told.states(well)


async def test_many_hosts_of_one_tenant_are_one_tenants(
    told: Told, heard: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold a share of the places for a moment and half of them for long, not all."""
    monkeypatch.setattr(module, "MOST", 16)
    monkeypatch.setattr(module, "YOUNG_SECONDS", 0.1)
    told.courier = told.new_courier(seconds=20, at_once=8)
    for number in range(24):
        path = f"/hung{number}"
        heard.script[path] = [heard.wait]
        await told.endpoint(path, tenant="alice", name=f"h{number}.test")
    await told.endpoint("/bob", tenant="bob", name="well.test")
    began = time.monotonic()
    async with running(told.courier):
        await ended(told, "alice")
        await until(lambda: heard.heard)
        await ended(told, "bob")
        await until(lambda: heard.at("/bob"))
        assert time.monotonic() - began < 1
        await until(lambda: len(heard.heard) > 8)
        await asyncio.sleep(0.4)
        assert len(heard.heard) - 1 <= 12
        again = time.monotonic()
        await ended(told, "bob")
        await until(lambda: len(heard.at("/bob")) == 2)
        assert time.monotonic() - again < 1
        heard.hang.set()


async def test_a_share_is_no_larger_for_being_filled_bit_by_bit(
    told: Told, heard: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is claimed next fits into what is left of it."""
    monkeypatch.setattr(module, "YOUNG_SECONDS", 60)
    told.courier = told.new_courier(seconds=20, at_once=8, per_host=1)
    for number in range(5):
        heard.script[f"/hung{number}"] = [heard.wait]
        await told.endpoint(f"/hung{number}", tenant="alice", name=f"h{number}.test")
    await told.endpoint("/bob", tenant="bob", name="well.test")
    async with running(told.courier):
        await ended(told, "alice")
        await until(lambda: len(heard.heard) == 5)
        for number in range(5, 10):
            heard.script[f"/hung{number}"] = [heard.wait]
            await told.endpoint(f"/hung{number}", tenant="alice", name=f"h{number}.test")
        await ended(told, "alice")
        await until(lambda: len(heard.heard) == 6)
        await ended(told, "bob")
        await until(lambda: heard.at("/bob"))
        assert 7 == len(heard.heard)
        heard.hang.set()


@on_both
async def test_a_tenants_name_is_taken_as_it_is_written(told: Told, heard: Receiver) -> None:
    """Who is full is nobody whose name is like theirs."""
    names = ("al", "Alice", "a%", "_lice", "ali ce")
    for tenant in names:
        await told.endpoint(f"/{names.index(tenant)}", tenant=tenant)
        await told.cancelled(tenant)
    assert len(names) == len(
        await told.outbox.claim(lease=1, each=9, most=9, busy="  ", full='"alice" "ice" "ali" "ce"')
    )
    told.engine.now += 1
    left = await told.outbox.claim(lease=1, each=9, most=9, busy="  ", full='"a%" "ali ce"')
    assert {"al", "Alice", "_lice"} == {each.tenant for each in left}


async def test_samples_have_a_share_too(told: Told, heard: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's hang in three quarters of the places; it hears that it is to wait, and nobody else does."""
    monkeypatch.setattr(module, "TESTS", 4)
    monkeypatch.setattr(module, "TEST_PATIENCE", 0.05)
    told.courier = told.new_courier(seconds=20)
    heard.script["/hung"] = [heard.wait]
    slow, well = await told.endpoint("/hung", tenant="alice"), await told.endpoint("/well", tenant="bob")
    hanging = [asyncio.create_task(told.courier.test(slow, "evt_1", LETTER)) for _ in range(3)]
    await until(lambda: len(heard.heard) == 3)
    with pytest.raises(FetchError) as caught:
        await told.courier.test(slow, "evt_1", LETTER)
    assert ("testing_busy", True) == (caught.value.code, caught.value.busy)
    assert 204 == (await asyncio.wait_for(told.courier.test(well, "evt_2", LETTER), 1)).status
    heard.hang.set()
    assert [204] * 3 == [(await each).status for each in hanging]


async def test_a_sample_there_is_no_room_for_is_to_come_again(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of the endpoint, for nothing is known."""

    async def full(*_: object) -> None:
        raise FetchError("testing_busy", "Too many endpoints are being tested; try again.", busy=True)

    monkeypatch.setattr(Courier, "test", full)
    given = {"name": "n", "url": "https://hooks.example.com/", "event_types": ["video.failed"]}
    (tmp_path / "g").mkdir()
    async with gateway(tmp_path / "g", told.outbound) as client:
        id_ = (await client.post("/v1/webhook_endpoints", json=given)).json()["id"]
        answer = await client.post(f"/v1/webhook_endpoints/{id_}/test", json={"event_type": "video.failed"})
    assert (503, "testing_busy") == (answer.status_code, answer.json()["error"]["code"])
    assert int(answer.headers["retry-after"]) > 0
