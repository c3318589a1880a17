"""Laws of webhooks as an app sees them: the OpenAI SDK manages and verifies them, against the real gateway."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from tests.outside import gateway, world
from tests.receiver import Heard, Receiver, receiver
from tests.server import Server, eventually

ORDER = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}
# From 3.1.0 on every method of client.videos warns that OpenAI's own service has ended; ours has not.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled to permanently shut down:DeprecationWarning")


@pytest.fixture(scope="module")
def heard() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, heard: Receiver) -> Iterator[Server]:
    """A gateway that may tell the receiver."""
    made = telling(tmp_path_factory.mktemp("told"), heard).start()
    yield made
    assert made.running(), made.log.read_text()
    made.stop()


@pytest.fixture
def client(told: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=told.api, api_key="none", max_retries=0) as made:
        yield made


def telling(folder: Path, heard: Receiver) -> Server:
    return Server(
        folder, REELGATE__NETWORK__ALLOW=f'["{heard.allowed}"]', REELGATE__WEBHOOKS__HTTP="true",
        REELGATE__WEBHOOKS__SECONDS="3",
    )  # fmt: skip


def only(heard: Receiver, path: str) -> Heard:
    """Wait for the one thing told at a path."""
    eventually(lambda: heard.at(path), seconds=20)
    (one,) = heard.at(path)
    return one


def test_the_sdk_verifies_what_it_is_told(client: openai.OpenAI, heard: Receiver) -> None:
    """An endpoint made by the SDK is told of a clip, signed so that the SDK's own unwrap believes it."""
    made = client.webhooks.create(name="app", url=f"{heard.url}/sdk", event_types=["video.completed", "video.failed"])
    video = client.videos.create_and_poll(model="sandbox/demo", prompt="a kite", seconds="1", size="640x360")  # type: ignore[arg-type]
    one = only(heard, "/sdk")
    event: Any = client.webhooks.unwrap(one.body, one.headers, secret=made.signing_secret)
    assert ("video.completed", video.id, one.id) == (event.type, event.data.id, event.id)
    assert abs(int(one.headers["webhook-timestamp"]) - time.time()) < 60
    forged = one.body.replace(b"completed", b"failed---")
    for body, headers, secret in (
        (forged, one.headers, made.signing_secret),
        (one.body, {**one.headers, "webhook-id": "evt_other"}, made.signing_secret),
        (one.body, {**one.headers, "webhook-timestamp": "1"}, made.signing_secret),
        (one.body, one.headers, client.webhooks.rotate_secret(made.id).signing_secret),
    ):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(body, headers, secret=secret)
    client.webhooks.delete(made.id)


def test_the_sdk_manages_endpoints(client: openai.OpenAI, heard: Receiver) -> None:
    """Create, list, retrieve, update, rotate, test and delete as the SDK calls them; a secret is shown once."""
    ends = ["video.completed", "video.failed", "video.canceled"]
    assert [*ends, "video.billing_updated"] == client.webhooks.event_types.list().data
    made = client.webhooks.create(name="one", url=f"{heard.url}/one", event_types=["video.failed"])
    other = client.webhooks.create(name="two", url=f"{heard.url}/two", event_types=["video.failed"])
    assert made.signing_secret.startswith("whsec_")
    assert [other.id, made.id] == [each.id for each in client.webhooks.list(limit=1)][:2]
    shown = client.webhooks.retrieve(made.id)
    assert made.signing_secret not in shown.model_dump_json()
    assert shown.signing_secret_hint
    assert made.signing_secret.endswith(shown.signing_secret_hint[-5:])
    changed = client.webhooks.update(made.id, name="uno", event_types=["video.completed"])
    assert ("uno", ["video.completed"], made.url) == (changed.name, changed.event_types, changed.url)
    turned = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert turned.signing_secret != made.signing_secret
    heard.script["/one"] = [500, 204]
    tested = client.webhooks.test(made.id, event_type="video.completed")
    assert (500, True, "webhook_endpoint.test") == (tested.status_code, tested.success, tested.object)
    one = only(heard, "/one")
    for secret in (turned.signing_secret, made.signing_secret):  # Like any delivery while the secret turns.
        client.webhooks.unwrap(one.body, one.headers, secret=secret)
    for each in (made, other):
        assert client.webhooks.delete(each.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.webhooks.retrieve(each.id)


def test_an_update_forgets_how_the_old_address_did(client: openai.OpenAI, told: Server, heard: Receiver) -> None:
    """Only where the address is another."""
    heard.script["/late"] = [500]
    made = client.webhooks.create(name="late", url=f"{heard.url}/late", event_types=["video.failed"])
    told.post("/v1/videos", {"model": "sandbox/demo", "prompt": "[fail]", "seconds": 1, "resolution": "360p"})

    def failing(shown: Any) -> Any:
        return shown.model_extra["failing_since"]

    eventually(lambda: failing(client.webhooks.retrieve(made.id)), seconds=20)
    assert failing(client.webhooks.update(made.id, url=made.url)) is not None
    assert failing(client.webhooks.update(made.id, url=f"{heard.url}/right")) is None
    client.webhooks.delete(made.id)


async def test_an_update_that_changes_nothing_is_none(tmp_path: Path) -> None:
    """``updated_at`` is when it was last another, as OpenAI has it; naming what is there already is no change."""
    now = 1_000_000
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), clock=lambda: now) as client:
            said: dict[str, Any] = {"name": "a", "url": "https://example.com/h", "event_types": ["video.completed"]}
            made = (await client.post("/v1/webhook_endpoints", json=said)).json()
            path = f"/v1/webhook_endpoints/{made['id']}"
            for again in ({}, {"name": "a"}, said):
                now += 1000
                assert made["updated_at"] == (await client.post(path, json=again)).json()["updated_at"]
            for other in ({"name": "b"}, {"url": "https://example.com/i"}, {"event_types": ["video.failed"]}):
                now += 1000
                assert now // 1000 == (await client.post(path, json=other)).json()["updated_at"]
            assert now // 1000 == (await client.get(path)).json()["updated_at"]


def test_a_call_names_its_own_address(told: Server, heard: Receiver) -> None:
    """``callback_url`` is told of its own video and of nothing else, signed with the tenant's callback secret."""
    secret = told.post("/v1/callback_secret", {}).json()["signing_secret"]
    video = told.post("/v1/videos", {**ORDER, "callback_url": f"{heard.url}/back"}).json()
    assert [] == [each for each in video["warnings"] if each["feature"] == "callback_url"]
    one = only(heard, "/back")
    with openai.OpenAI(base_url=told.api, api_key="none", webhook_secret=secret) as client:
        event: Any = client.webhooks.unwrap(one.body, one.headers)
    assert (video["id"], "video.completed") == (event.data.id, event.type)
    eventually(lambda: told.get(f"/v1/videos/{video['id']}/deliveries").json()["data"][0]["state"] == "delivered")
    (log,) = told.get(f"/v1/videos/{video['id']}/deliveries").json()["data"]
    assert (one.id, None, [204]) == (
        log["event_id"], log["webhook_endpoint_id"], [each["status_code"] for each in log["tries"]],
    )  # fmt: skip


def test_failures_are_told_too(told: Server, heard: Receiver) -> None:
    """A clip that fails is ``video.failed``, a cancelled one ``video.canceled``."""
    told.post("/v1/videos", {**ORDER, "prompt": "[fail]", "callback_url": f"{heard.url}/failed"})
    slow = told.post("/v1/videos", {**ORDER, "prompt": "[slow 30]", "callback_url": f"{heard.url}/canceled"}).json()
    told.post(f"/v1/videos/{slow['id']}/cancel", {})
    assert "video.failed" == only(heard, "/failed").type
    assert "video.canceled" == only(heard, "/canceled").type


def test_the_log_and_the_replay(told: Server, heard: Receiver) -> None:
    """Every try is in the log; a replay is sent at once with the same id; a disabled endpoint must be enabled."""
    heard.script["/log"] = [410, 204]
    made = told.post("/v1/webhook_endpoints", {"name": "l", "url": f"{heard.url}/log", "event_types": ["video.failed"]})
    path = f"/v1/webhook_endpoints/{made.json()['id']}"
    told.post("/v1/videos", {**ORDER, "prompt": "[fail]"})
    eventually(lambda: told.get(path).json()["status"] == "disabled", seconds=20)
    assert "It answered 410 Gone." == told.get(path).json()["disabled_why"]
    (sent,) = told.get(f"{path}/deliveries").json()["data"]
    assert ("failed", [410]) == (sent["state"], [each["status_code"] for each in sent["tries"]])
    replay = f"/v1/webhook_deliveries/{sent['id']}/replay"
    assert 409 == told.post(replay, {}).status_code
    assert "enabled" == told.post(f"{path}/enable", {}).json()["status"]
    assert 200 == told.post(replay, {}).status_code
    eventually(lambda: len(heard.at("/log")) == 2, seconds=20)
    assert 1 == len({each.id for each in heard.at("/log")})
    eventually(lambda: told.get(f"{path}/deliveries").json()["data"][0]["state"] == "delivered")
    httpx.delete(f"{told.url}{path}", trust_env=False)


def test_the_command_line(told: Server, heard: Receiver) -> None:
    """``reelgate webhooks`` lists, logs, replays and enables."""
    heard.script["/cli"] = [410, 204]
    made = told.post("/v1/webhook_endpoints", {"name": "c", "url": f"{heard.url}/cli", "event_types": ["video.failed"]})
    id_ = made.json()["id"]
    told.post("/v1/videos", {**ORDER, "prompt": "[fail]"})
    eventually(lambda: told.get(f"/v1/webhook_endpoints/{id_}").json()["status"] == "disabled", seconds=20)
    assert f"{heard.url}/cli" in told.cli("webhooks", "list").stdout
    log = told.cli("webhooks", "log", id_).stdout
    assert "410" in log
    assert "enabled" in told.cli("webhooks", "enable", id_).stdout
    delivery = next(word for word in log.split() if word.startswith("evt_"))
    told.cli("webhooks", "replay", delivery)
    eventually(lambda: len(heard.at("/cli")) == 2, seconds=20)
    refused = told.cli("webhooks", "enable", "whep_none", check=False)
    assert (2, True) == (refused.returncode, "No webhook endpoint" in refused.stderr)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/", "https://2130706433/", "https://[::1]/",
        "https://user:pw@example.com/", "https://example.com:22/", "https://10.0.0.1/",
    ],
)  # fmt: skip
def test_an_address_inside_is_refused_at_once(told: Server, url: str) -> None:
    """422 ``url_not_allowed``, naming the field, before anything is kept; one wording for all causes."""
    messages = set()
    for path, body, param in (
        ("/v1/videos", {**ORDER, "callback_url": url}, "callback_url"),
        ("/v1/webhook_endpoints", {"name": "x", "url": url, "event_types": ["video.failed"]}, "url"),
    ):
        answer = told.post(path, body)
        error = answer.json()["error"]
        assert (422, "url_not_allowed", param) == (answer.status_code, error["code"], error["param"])
        messages.add(error["message"])
    assert 1 == len(messages)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"event_types": ["batch.completed"]}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"name": ""}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"name": "\x1b[31m"}, "name"),
        ({"url": 5}, "url"),
        ({"secret": "mine"}, "secret"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(told: Server, heard: Receiver, change: dict[str, Any], param: str) -> None:
    """And nothing is made."""
    good = {"name": "x", "url": f"{heard.url}/never", "event_types": ["video.failed"]}
    answer = told.post("/v1/webhook_endpoints", {**good, **change})
    assert (True, param) == (answer.status_code in {400, 422}, answer.json()["error"]["param"])
    assert "/never" not in told.get("/v1/webhook_endpoints").text


def test_plain_http_needs_opening(server: Server) -> None:
    """By default only https is told, and the message says so."""
    answer = server.post("/v1/videos", {**ORDER, "callback_url": "http://example.com/h"})
    assert (422, "callback_url") == (answer.status_code, answer.json()["error"]["param"])
    assert "https address" in answer.json()["error"]["message"]


def test_a_tenant_sees_its_own(tmp_path: Path, heard: Receiver) -> None:
    """Another tenant's endpoint and deliveries are as unknown as none, byte for byte; and it is told nothing."""
    server = telling(tmp_path, heard)
    mine, theirs = server.create_key("--name", "mine"), server.create_key("--name", "theirs")
    server.start()

    def ask(key: str, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "x-request-id": "same"}
        return httpx.request(method, f"{server.api}{path}", json=body, headers=headers, trust_env=False)

    given = {"name": "m", "url": f"{heard.url}/mine", "event_types": ["video.failed"]}
    id_ = ask(mine, "POST", "/webhook_endpoints", given).json()["id"]
    video = ask(mine, "POST", "/videos", {**ORDER, "prompt": "[fail]"}).json()["id"]
    ask(theirs, "POST", "/videos", {**ORDER, "prompt": "[fail]"})
    assert video.encode() in only(heard, "/mine").body
    eventually(lambda: ask(mine, "GET", f"/webhook_endpoints/{id_}/deliveries").json()["data"][0]["state"] != "pending")
    (sent,) = ask(mine, "GET", f"/webhook_endpoints/{id_}/deliveries").json()["data"]
    unknown = f"whep_{'0' * 32}"
    for method, path in (
        ("GET", "/webhook_endpoints/{}"), ("POST", "/webhook_endpoints/{}"), ("DELETE", "/webhook_endpoints/{}"),
        ("POST", "/webhook_endpoints/{}/rotate_secret"), ("POST", "/webhook_endpoints/{}/test"),
        ("POST", "/webhook_endpoints/{}/enable"), ("GET", "/webhook_endpoints/{}/deliveries"),
    ):  # fmt: skip
        body = {} if method == "POST" else None
        found, none = (ask(theirs, method, path.format(each), body) for each in (id_, unknown))
        assert (404, none.content) == (found.status_code, found.content), path
    for path in (f"/webhook_deliveries/{sent['id']}/replay", f"/webhook_deliveries/{sent['id'][:-1]}x/replay"):
        assert 404 == ask(theirs, "POST", path, {}).status_code
    for path in ("deliveries", "events"):
        assert 404 == ask(theirs, "GET", f"/videos/{video}/{path}").status_code
    assert [] == ask(theirs, "GET", "/webhook_endpoints").json()["data"]
    assert 401 == ask("none", "GET", "/webhook_endpoints").status_code
    secret = ask(mine, "POST", f"/webhook_endpoints/{id_}/rotate_secret").json()["signing_secret"]
    server.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("reelgate.db*"))
    assert secret.encode() not in kept
    assert secret not in server.log.read_text()


def test_killed_between_an_answer_and_its_record(tmp_path: Path, heard: Receiver) -> None:
    """The receiver has it, the gateway dies before it can note that: after a restart it comes again, same id."""
    server = telling(tmp_path, heard)

    def die() -> int:
        server.kill()
        return 204

    heard.script["/dies"] = [die, 204]
    server.start()
    video = server.post("/v1/videos", {**ORDER, "callback_url": f"{heard.url}/dies"}).json()
    eventually(lambda: not server.running(), seconds=30)
    assert 1 == len(heard.at("/dies"))
    server.start()
    eventually(lambda: len(heard.at("/dies")) == 2, seconds=20)
    first, second = heard.at("/dies")
    assert (first.id, first.body) == (second.id, second.body)
    path = f"/v1/videos/{video['id']}/deliveries"
    eventually(lambda: server.get(path).json()["data"][0]["state"] == "delivered")
    assert 0 == server.stop()
    assert 2 == len(heard.at("/dies"))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_end_is_lost_whatever_dies(tmp_path: Path, heard: Receiver, seed: int) -> None:
    """Killed at random moments and started again, the gateway tells every end, each by one id."""
    # Twice: a job that three crashes found in hand, as all of them may on a slow machine, is put aside for ten minutes.
    chance = random.Random(seed)
    server = telling(tmp_path, heard)
    path, accepted = f"/kills{seed}", []
    heard.script[path] = [500, 204]
    for _ in range(2):
        server.start()
        until = time.monotonic() + chance.uniform(0.05, 1.0)
        for _ in range(chance.randint(2, 5)):
            prompt = chance.choice(["[fail]", "[reject]", "a kite"])
            order = {**ORDER, "prompt": f"{prompt} {len(accepted)}", "callback_url": heard.url + path}
            accepted.append(server.post("/v1/videos", order).json()["id"])
        eventually(lambda until=until: time.monotonic() > until)
        server.kill()
    server.start()

    def settled() -> bool:
        logs = [server.get(f"/v1/videos/{id_}/deliveries").json()["data"] for id_ in accepted]
        return all(log and log[0]["state"] == "delivered" for log in logs)

    eventually(settled, seconds=120)
    told: dict[str, set[str]] = {}
    for each in heard.at(path):
        told.setdefault(msgspec.json.decode(each.body)["data"]["id"], set()).add(each.id)
    assert sorted(accepted) == sorted(told)
    assert {1} == {len(ids) for ids in told.values()}
    assert 0 == server.stop()
