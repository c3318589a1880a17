"""Laws of hearing providers: a call is a reason to look, and never a verdict."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.events.hooks import LEAST_MS, Hooks
from gateway.events.keyring import Keyring
from gateway.events.outbox import Outbox
from gateway.events.vault import Vault
from gateway.jobs.job import Job, Outcome, State
from gateway.jobs.wish import Preferences
from gateway.money.billing import unsettled
from gateway.network.outbound import Outbound
from gateway.store.orphans import unseen
from providers.base.errors import Indeterminate, Missing, Unavailable
from providers.base.order import Order
from providers.base.provider import HookHint
from providers.base.task import Task, Update
from providers.base.wire import Wire
from tests.make import listing
from tests.scripted import Engine, Scripted, clip, running
from tests.server import Server, eventually

BASE = "https://gw.example"


def nowhere() -> Outbound:
    """Keep everybody in: nothing here is signed with a public key."""
    raise AssertionError("nobody asks for keys")


class Calling(Scripted):
    """A provider that calls back with the name of a task, and nothing else in the body."""

    urls: list[str]

    async def submit(self, order: Order, wire: Wire) -> Update:
        self.urls.append(order.hook_url)
        return await super().submit(order, wire)

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        return (HookHint(body.decode()),) if body else ()


class World:
    """An engine that hears."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(folder)
        self.provider = Calling(listing())
        self.provider.urls = []
        self.engine.providers["acme"] = self.provider
        self.engine.accounts["acme"].provider = self.provider
        self.outbox = Outbox(self.engine.store.database, self.engine.clock)
        self.restart()

    def restart(self) -> None:
        """Forget what is only in memory."""
        vault = Vault(b"k" * 32)
        keyring = Keyring(nowhere, self.engine.clock)
        self.hooks = Hooks(self.outbox, vault, self.engine.accounts, self.engine.clock, BASE + "/", keyring)
        self.engine.restart(hooks=self.hooks)

    async def call(self, url: str, task: str) -> bool:
        """Call as the provider would; says whether there is such an address."""
        provider, token = url.removeprefix(f"{BASE}/hooks/").split("/")
        found = await self.hooks.find(provider, token)
        if found is not None:
            await self.hooks.hear(*found, {}, task.encode())
        return found is not None

    async def lost(self, preferences: Preferences = Preferences()) -> Job:  # noqa: B008
        """Order a clip whose answer is lost."""
        self.provider.submits = [Indeterminate("silence")]
        accepted = await self.engine.accept(preferences=preferences)
        await self.engine.turn()
        await self.engine.turn(seconds=2)
        found = await self.engine.job(accepted.id)
        assert State.UNKNOWN is found.state
        return found

    async def outcome(self, job: Job) -> Outcome:
        return (await self.engine.store.attempts(job.id))[-1].outcome


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    made.hooks.close()
    made.engine.close()


async def test_a_call_brings_the_next_look_forward(world: World) -> None:
    """At once; what it says of the task is not believed, for only the look decides."""
    world.provider.submits = [running("t-1", poll_after=3600.0)]
    world.provider.polls = [running("t-1", poll_after=3600.0)]
    accepted = await world.engine.accept()
    await world.engine.turn()
    assert 0 == await world.engine.turn(seconds=60)
    assert await world.call(world.provider.urls[0], "t-1")
    assert 1 == await world.engine.turn()
    assert (State.RUNNING, 1) == ((await world.engine.job(accepted.id)).state, world.provider.looked)


async def test_a_thousand_calls_are_one_look_in_five_seconds(world: World) -> None:
    """Replays cost nothing, and the last of them is still seen."""
    world.provider.submits = [running("t-1", poll_after=3600.0)]
    world.provider.polls = [running("t-1", poll_after=3600.0)] * 9
    accepted = await world.engine.accept()
    await world.engine.turn()
    for _ in range(1000):
        await world.call(world.provider.urls[0], "t-1")
    await world.engine.turn()
    for _ in range(1000):
        await world.call(world.provider.urls[0], "t-1")
    assert 0 == await world.engine.turn(seconds=4)
    assert world.engine.now + 1000 == (await world.engine.job(accepted.id)).due_at
    assert 1 == await world.engine.turn(seconds=1)
    assert (2, 5000) == (world.provider.looked, LEAST_MS)


async def test_a_call_during_a_look_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the look under way sees may be older than the call: there is another as soon as it has ended."""
    monkeypatch.setattr("gateway.events.hooks.ASK_AGAIN", (0.01,) * 50)
    world.provider.submits = [running("t-1", poll_after=200.0)]
    accepted = await world.engine.accept()
    await world.engine.turn()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(task: Task, wire: Wire) -> Update:
        began.set()
        await go_on.wait()
        return running("t-1", poll_after=200.0)

    world.provider.poll = slow  # type: ignore[method-assign]
    looking = asyncio.create_task(world.engine.turn(seconds=200))
    await began.wait()
    for _ in range(100):
        assert await world.call(world.provider.urls[0], "t-1")
    assert 1 == len(world.hooks._asking)
    go_on.set()
    await looking
    await asyncio.gather(*world.hooks._asking.values())
    assert world.engine.now == (await world.engine.job(accepted.id)).due_at


async def test_forgeries_change_nothing(world: World) -> None:
    """Another token, another provider's path, a body nobody can read: no row is other than it was."""
    world.provider.submits = [running("t-1", poll_after=3600.0)]
    accepted = await world.engine.accept()
    await world.engine.turn()
    url = world.provider.urls[0]
    before = await world.engine.job(accepted.id)
    other = url[:-1] + ("0" if url[-1] != "0" else "1")
    for forged in (other, url[:-1], url + "0", url.replace("/acme/", "/flow/"), url.replace("/acme/", "/ACME/")):
        assert not await world.call(forged, "t-1")
    assert await world.call(url, "")
    assert before == await world.engine.job(accepted.id)


async def test_a_call_after_the_end_changes_nothing(world: World) -> None:
    """An end is an end; the address still exists, so that the provider stops calling."""
    accepted = await world.engine.accept()
    ended = await world.engine.run(accepted.id)
    assert await world.call(world.provider.urls[0], "other")
    assert ended == await world.engine.job(accepted.id)
    assert await world.outbox.hint(ended.attempt or "") is None


async def test_a_call_after_an_end_in_doubt_brings_a_look(world: World) -> None:
    """A provider that calls about an order that was given up settles its money: by the look, as ever."""
    job = await world.lost()
    world.engine.now = job.deadline_at
    await world.engine.turn()
    assert State.FAILED is (await world.engine.job(job.id)).state
    assert await world.call(world.provider.urls[0], "t-9")
    assert 1 == await world.engine.turn()
    found = await world.engine.job(job.id)
    assert (State.FAILED, Outcome.SUCCEEDED) == (found.state, await world.outcome(found))
    assert await world.call(world.provider.urls[0], "t-9")
    assert found == await world.engine.job(job.id)
    assert 1 == len(world.provider.ledger)


async def test_a_call_about_an_order_given_up_is_heard_at_the_end(world: World) -> None:
    """It names the first attempt's task while the next is made: that goes on, and both are paid for and told apart."""
    job = await world.lost(Preferences(on_unknown="resubmit"))
    world.provider.submits, world.provider.polls = [running("t-2")], [running("t-2")] * 9
    while (await world.engine.job(job.id)).state is not State.RUNNING:
        await world.engine.turn(seconds=60)
    assert await world.call(world.provider.urls[0], "t-1")
    found = await world.engine.job(job.id)
    assert (State.RUNNING, "t-2") == (found.state, msgspec.json.decode(found.task or "")["id"])
    world.provider.polls = []
    ended = await world.engine.run(job.id)
    assert State.SUCCEEDED is ended.state

    assert await world.call(world.provider.urls[0], "t-1")
    assert 1 == await world.engine.turn(seconds=5)
    settled = await world.engine.job(job.id)
    tasks = [msgspec.json.decode(each.task or "")["id"] for each in await world.engine.store.attempts(job.id)]
    assert (["t-1", "t-2"], ended.task, None) == (tasks, settled.task, unsettled(settled))
    assert ["t-1"] == [each.task for each in await unseen(world.engine.store.database)]
    assert await world.call(world.provider.urls[0], "t-1")
    assert settled == await world.engine.job(job.id)


async def test_who_has_called_is_not_given_up(world: World) -> None:
    """A seller that named a task has taken the order, though it cannot be reached to say how that stands."""
    job = await world.lost(Preferences(on_unknown="resubmit"))
    assert await world.call(world.provider.urls[0], "t-1")
    world.provider.polls = [Unavailable("down")] * 9999
    ended = await world.engine.run(job.id, most=2000)
    assert (State.FAILED, None, 1) == (ended.state, ended.abandoned, len(world.provider.ledger))


async def test_a_lost_order_is_brought_home(world: World) -> None:
    """The token names the attempt, the call its task: polled with our key, it is ours. Nothing is bought again."""
    job = await world.lost()
    world.restart()
    assert await world.call(world.provider.urls[0], "t-9")
    world.provider.polls = [running("t-9")]
    await world.engine.turn()
    found = await world.engine.job(job.id)
    assert (State.RUNNING, "t-9") == (found.state, msgspec.json.decode(found.task or "")["id"])
    assert Outcome.ACCEPTED is await world.outcome(found)
    assert State.SUCCEEDED is (await world.engine.run(job.id)).state
    assert 1 == len(world.provider.ledger)


async def test_a_call_before_the_answer_is_kept(world: World) -> None:
    """It comes while the order is still under way; when its answer never comes, the task is known."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def silent(order: Order, wire: Wire) -> Update:
        world.provider.urls.append(order.hook_url)
        began.set()
        await go_on.wait()
        raise Indeterminate("silence")

    world.provider.submit = silent  # type: ignore[method-assign]
    accepted = await world.engine.accept()
    buying = asyncio.create_task(world.engine.turn())
    await began.wait()
    assert await world.call(world.provider.urls[0], "t-3")
    go_on.set()
    await buying
    await world.engine.turn(seconds=2)
    found = await world.engine.job(accepted.id)
    assert (State.RUNNING, Outcome.ACCEPTED) == (found.state, await world.outcome(found)) or found.state.final


@pytest.mark.parametrize("hint", ["", "t-\x00", "x" * 513, "\ud800".encode("utf-8", "replace").decode() * 600])
async def test_a_name_that_cannot_be_one_is_not_kept(world: World, hint: str) -> None:
    """Too long, empty or unprintable."""
    job = await world.lost()
    await world.call(world.provider.urls[0], hint)
    assert await world.outbox.hint(job.attempt or "") is None


async def test_a_task_nobody_knows_is_not_adopted(world: World) -> None:
    """The provider says that there is none: the job is as unknown as before, and is not ordered again."""
    job = await world.lost()
    await world.call(world.provider.urls[0], "t-wrong")
    world.provider.polls = [Missing("none")]
    await world.engine.turn()
    assert (State.UNKNOWN, None) == ((await world.engine.job(job.id)).state, await world.outbox.hint(job.attempt or ""))
    assert await world.call(world.provider.urls[0], "t-right")
    world.provider.polls = [running("t-right")]
    await world.engine.turn(seconds=5)
    assert State.RUNNING is (await world.engine.job(job.id)).state
    assert 1 == len(world.provider.ledger)


async def test_a_look_that_fails_is_no_evidence(world: World) -> None:
    """The name is kept until the provider answers."""
    job = await world.lost()
    await world.call(world.provider.urls[0], "t-9")
    world.provider.polls = [Unavailable("down"), running("t-9")]
    await world.engine.turn()
    assert (State.UNKNOWN, "t-9") == (
        (await world.engine.job(job.id)).state,
        await world.outbox.hint(job.attempt or ""),
    )
    await world.engine.turn(seconds=60)
    assert State.RUNNING is (await world.engine.job(job.id)).state


async def test_one_task_is_never_two_attempts(world: World) -> None:
    """A call that names another order's task is not believed: that clip is somebody's already."""
    world.provider.submits = [running("t-1", poll_after=3600.0)]
    await world.engine.accept(seed=1)
    await world.engine.turn()
    job = await world.lost()
    assert await world.call(world.provider.urls[-1], "t-1")
    await world.engine.turn()
    assert (State.UNKNOWN, None) == ((await world.engine.job(job.id)).state, await world.outbox.hint(job.attempt or ""))
    assert 2 == len(world.provider.ledger)


async def test_addresses_cannot_be_guessed_or_read(world: World) -> None:
    """160 bits, another for each attempt, and in the database by its hash alone."""
    world.provider.submits = [running("a", poll_after=9.0), running("b", poll_after=9.0)]
    for seed in range(2):
        await world.engine.accept(seed=seed)
        await world.engine.turn()
    first, second = (url.rpartition("/")[2] for url in world.provider.urls)
    assert first != second
    assert 160 == 4 * len(first) == 4 * len(second)
    kept = b"".join(path.read_bytes() for path in world.engine.folder.glob("engine.db*"))
    assert first.encode() not in kept


async def test_without_a_public_address_nobody_is_asked_to_call(world: World) -> None:
    """No address is given and none is kept."""
    world.hooks._base = ""
    await world.engine.accept()
    await world.engine.turn()
    assert [""] == world.provider.urls
    assert [] == await world.engine.store.database.read("hook_read", {"hash": ""})


class Upstream(ThreadingHTTPServer):
    """Google Flow at useapi.net, as far as one clip: it takes an order and hangs up."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.looks: list[str] = []
        self.clip = clip(8)
        super().__init__(("127.0.0.1", 0), _Upstream)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up is gone."""


class _Upstream(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        self.server.orders.append(msgspec.json.decode(self.rfile.read(int(self.headers["content-length"]))))
        self.close_connection = True

    def do_GET(self) -> None:
        body = self.server.clip
        if self.path.startswith("/jobs/"):
            self.server.looks.append(self.path)
            media = [{"videoUrl": f"{self.server.url}/clip.mp4", "mediaGenerationId": "m"}]
            known = self.path == "/jobs/j1-v"
            status = {"jobid": "j1-v", "status": "completed", "response": {"media": media}}
            body = msgspec.json.encode(status if known else {"error": "not found"})
            self.send_response(200 if known else 404)
        else:
            self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.shutdown()
    made.server_close()


def test_a_lost_flow_order_comes_home_by_its_callback(tmp_path: Path, upstream: Upstream) -> None:
    """The real gateway and the real adapter on real sockets: submit's answer is lost, the callback heals it."""
    server = Server(
        tmp_path, REELGATE__ACCOUNTS__FLOW__PROVIDER="flow", REELGATE__ACCOUNTS__FLOW__PLAN="plus",
        REELGATE__ACCOUNTS__FLOW__BASE_URL=upstream.url, USEAPI_TOKEN="t",
    )  # fmt: skip
    server.environ["REELGATE__SERVER__PUBLIC_URL"] = server.url
    headers = {"authorization": f"Bearer {server.create_key('--name', 'app')}"}
    server.start()

    def video(path: str = "") -> dict[str, Any]:
        said: dict[str, Any] = httpx.get(f"{server.api}/videos/{id_}{path}", headers=headers, trust_env=False).json()
        return said

    def call(url: str, body: bytes) -> int:
        return httpx.post(url, content=body, trust_env=False, timeout=20).status_code

    order = {"model": "flow:google/veo-3.1-fast", "prompt": "a kite", "seconds": 8, "resolution": "720p"}
    answer = httpx.post(f"{server.api}/videos", json=order, headers=headers, trust_env=False, timeout=20)
    assert 200 == answer.status_code, answer.text
    id_ = answer.json()["id"]
    eventually(lambda: video()["status_detail"] == "unknown", seconds=20)
    (sent,) = upstream.orders
    url = sent["replyUrl"]
    assert url.startswith(f"{server.url}/hooks/flow/")
    done = msgspec.json.encode({"jobid": "j1-v", "status": "failed", "error": "a lie", "replyRef": sent["replyRef"]})
    for forged in (url[:-1] + ("0" if url[-1] != "0" else "1"), url.replace("/flow/", "/gemini/"), url + "x"):
        assert 404 == call(forged, done)
    assert [202, 202, 413] == [call(url, body) for body in (b"", b"<html>", b"x" * (2**20 + 1))]
    assert "unknown" == video()["status_detail"]
    assert [] == upstream.looks
    assert 202 == call(url, done)
    eventually(lambda: video()["status"] == "completed", seconds=30)
    (attempt,) = video("/attempts")["data"]
    assert "succeeded" == attempt["outcome"]
    looks = len(upstream.looks)
    ended = video()
    assert {202} == {call(url, done) for _ in range(20)}
    assert (looks, 1, ended) == (len(upstream.looks), len(upstream.orders), video())
    token = url.rpartition("/")[2]
    assert 0 == server.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("reelgate.db*")) + server.log.read_bytes()
    assert token.encode() not in kept
