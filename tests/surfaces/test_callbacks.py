"""Laws of callbacks: a call that names an address is told there in the words and with the proof of its own dialect."""

import hmac
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from providers._kie import is_signed
from providers.aigenerate import AiGenerate
from providers.base.hooks import ForgedError, HookCall
from providers.base.listing import listings
from providers.flow import Flow
from providers.gemini import Gemini
from tests.events.test_webhooks import telling
from tests.receiver import Heard, Receiver, receiver
from tests.server import eventually

SMALL = {"resolution": "360p", "duration": 1}


class Told(NamedTuple):
    """Hold a gateway that may tell a receiver, and what that receiver hears."""

    api: httpx.Client
    heard: Receiver
    secret: str
    """What signs this caller's callbacks."""

    def all(self, path: str, count: int) -> list[Heard]:
        """Wait until a path was told so often, and read it."""
        eventually(lambda: len(self.heard.at(path)) >= count, seconds=20)
        return self.heard.at(path)

    def order(self, address: str, body: dict[str, Any]) -> dict[str, Any]:
        """Order something."""
        answer = self.api.post(address, json=body)
        assert answer.is_success, answer.text
        said: dict[str, Any] = answer.json()
        return said


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A gateway with nothing but the sandbox, and a receiver it may tell."""
    with receiver() as heard:
        server = telling(tmp_path_factory.mktemp("told"), heard).start()
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as api:
            secret = api.post("/v1/callback_secret", json={}).json()["signing_secret"]
            yield Told(api, heard, secret)
        assert server.running(), server.log.read_text()
        server.stop()


def task(told: Told, path: str, prompt: str) -> str:
    """Order a clip by createTask."""
    body = {"model": "sandbox/demo", "input": {"prompt": prompt, **SMALL}, "callBackUrl": f"{told.heard.url}{path}"}
    return str(told.order("/api/v1/jobs/createTask", body)["data"]["taskId"])


def unsealed(said: dict[str, Any]) -> str:
    """Write what is said without the seals of its links, which change with the hour."""
    return re.sub(r"/links/[^/]+/", "/links/", str(said))


def read(one: Heard) -> dict[str, Any]:
    """Read what was told."""
    said: dict[str, Any] = msgspec.json.decode(one.body)
    return said


@pytest.mark.parametrize(("prompt", "code", "state"), [("a kite", 200, "success"), ("[fail] a kite", 501, "fail")])
def test_a_task_s_end_is_told_as_kie_tells_it(told: Told, prompt: str, code: int, state: str) -> None:
    """The record under a code that says how it ended, once; its clip can be fetched by the link in it."""
    name = task(told, f"/kie-{code}", prompt)
    (one,) = told.all(f"/kie-{code}", 1)
    said = read(one)

    assert (code, state, name) == (said["code"], said["data"]["state"], said["data"]["taskId"])
    assert (code == 200) is ("resultJson" in said["data"])
    assert name == one.headers["x-reelgate-video"]
    if code == 200:
        (link,) = msgspec.json.decode(said["data"]["resultJson"])["resultUrls"]
        assert b"ftyp" == told.api.get(link).content[4:8]
    polled = told.api.get("/api/v1/jobs/recordInfo", params={"taskId": name}).json()["data"]
    assert polled == {**said["data"], "progress": polled["progress"], "resultJson": polled["resultJson"]}


def test_a_veo_task_s_end_is_told_as_kie_tells_it(told: Told) -> None:
    """What was made stands under ``info``; a policy's refusal is code 400, and says so in kie's sentence."""
    for path, prompt in (("/veo", "a kite"), ("/veo-refused", "[refuse] a kite")):
        body = {"model": "sandbox/demo", "prompt": prompt, "callBackUrl": f"{told.heard.url}{path}"}
        told.order("/api/v1/veo/generate", body)
    made, refused = read(told.all("/veo", 1)[0]), read(told.all("/veo-refused", 1)[0])

    assert (200, False) == (made["code"], made["data"]["fallbackFlag"])
    assert b"ftyp" == told.api.get(made["data"]["info"]["resultUrls"][0]).content[4:8]
    assert "a kite" == msgspec.json.decode(made["data"]["promptJson"])["prompt"]
    assert {"code", "msg", "data"} == refused.keys()
    assert (400, {"taskId", "fallbackFlag"}) == (refused["code"], refused["data"].keys())
    assert refused["msg"].startswith("Your prompt was flagged by Website as violating content policies.")


def test_our_own_adapter_believes_kie_s_signature(told: Told) -> None:
    """Both directions: what is told here is what the adapter of the dialect takes for proof, and no other key is."""
    name = task(told, "/signed", "a kite")
    (one,) = told.all("/signed", 1)
    call = HookCall(headers=one.headers, body=one.body, now=time.time())
    adapters = {
        key: AiGenerate(listings()["aigenerate"], {"AIGENERATE_API_KEY": "k", "AIGENERATE_WEBHOOK_KEY": key})
        for key in (told.secret, "", "another key")
    }
    for key in (told.secret, ""):
        adapters[key].check_hook(call)
    with pytest.raises(ForgedError):
        adapters["another key"].check_hook(call)
    assert [name] == [each.task for each in adapters[told.secret].read_hook(one.headers, one.body)]
    assert not is_signed(one.headers, f"{name}0", told.secret)


def test_a_flow_job_is_told_of_from_its_beginning(told: Told) -> None:
    """created, started and completed, each as the record stood then, the reference in each; the adapter reads all."""
    body = {"model": "sandbox/demo", "prompt": "a kite", "async": True, "duration": 1, "resolution": "360p"}
    made = told.order(
        "/v1/google-flow/videos", {**body, "replyUrl": f"{told.heard.url}/flow", "replyRef": "my-reference"}
    )
    heard = told.all("/flow", 3)
    said = {each["status"]: each for each in map(read, heard)}

    assert {"created", "started", "completed"} == said.keys()
    assert 3 == len({each.id for each in heard})
    assert {"my-reference"} == {each["request"]["replyRef"] for each in said.values()}
    assert "response" not in said["created"]
    assert "updated" not in said["created"]
    (clip,) = said["completed"]["response"]["media"]
    assert b"ftyp" == told.api.get(clip["videoUrl"]).content[4:8]
    polled = told.api.get(f"/v1/google-flow/jobs/{made['jobid']}").json()
    assert unsealed(said["completed"]) == unsealed(polled)
    adapter = Flow(listings()["flow"], {"USEAPI_TOKEN": "t"})
    for each in heard:
        assert [made["jobid"]] == [hint.task for hint in adapter.read_hook(each.headers, each.body)]


def test_a_failed_flow_job_is_told_once(told: Told) -> None:
    """failed, with Google's reason; nothing of it is told twice."""
    body = {"model": "sandbox/demo", "prompt": "[refuse] a kite", "replyUrl": f"{told.heard.url}/flow-refused"}
    told.order("/v1/google-flow/videos", {**body, "async": True})
    said = {each["status"]: each for each in map(read, told.all("/flow-refused", 3))}

    assert {"created", "started", "failed"} == said.keys()
    assert "PUBLIC_ERROR_UNSAFE_GENERATION" in str(said["failed"]["response"]["error"])
    assert 3 == len(told.heard.at("/flow-refused"))


def adapter_of(secret: str) -> Gemini:
    """Speak for a Gemini account whose callbacks a secret signs."""
    return Gemini(listings()["gemini"], {"GEMINI_API_KEY": "k", "GEMINI_WEBHOOK_SECRET": secret})


def google(told: Told, path: str, prompt: str) -> tuple[str, str]:
    """Order a clip of Veo and an interaction; answers both names."""
    hook = {"uris": [f"{told.heard.url}{path}"], "user_metadata": {"job_id": "1", "part": {"of": 2}}}
    veo = {"instances": [{"prompt": prompt}], "parameters": {"durationSeconds": 4}, "webhookConfig": hook}
    omni = {"model": "gemini-omni-1.2-flash", "input": prompt, "background": True, "webhook_config": hook}
    made = {**omni, "response_format": {"type": "video", "duration": "3s", "resolution": "360p"}}
    name = told.order("/v1beta/models/veo-3.1-fast-generate-preview:predictLongRunning", veo)["name"]
    return name, told.order("/v1beta/interactions", made)["id"]


def test_google_s_clients_are_told_as_google_tells_them(told: Told) -> None:
    """The name they ordered under, a pointer to the clip and what they gave back; our own adapter believes it."""
    name, interaction = google(told, "/google", "a kite")
    heard = {read(each)["type"]: each for each in told.all("/google", 2)}
    veo, omni = read(heard["video.generated"]), read(heard["interaction.completed"])

    assert {"type", "version", "timestamp", "data", "user_metadata"} == veo.keys() == omni.keys()
    assert {"job_id": "1", "part": {"of": 2}} == veo["user_metadata"] == omni["user_metadata"]
    assert (name, {"id": interaction}) == (veo["data"]["id"], omni["data"])
    assert told.api.get(f"/v1beta/{veo['data']['id']}").json()["done"]
    assert b"ftyp" == told.api.get(f"/v1beta/{veo['data']['file_name']}:download").content[4:8]
    for one, task_ in ((heard["video.generated"], name), (heard["interaction.completed"], interaction)):
        call = HookCall(headers=one.headers, body=one.body, now=time.time())
        adapter_of(told.secret).check_hook(call)
        with pytest.raises(ForgedError):
            adapter_of("whsec_" + "A" * 32).check_hook(call)
        assert [task_] == [each.task for each in adapter_of(told.secret).read_hook(one.headers, one.body)]


def test_of_a_failed_operation_google_s_clients_hear_nothing(told: Told) -> None:
    """There is no such event; a failed interaction has one, which says why."""
    name, interaction = google(told, "/google-failed", "[fail] a kite")
    eventually(lambda: told.api.get(f"/v1beta/{name}").json().get("done"), seconds=20)
    (one,) = told.all("/google-failed", 1)
    said = read(one)

    assert [] == told.api.get(f"/v1/videos/video_{name.rpartition('/')[2]}/deliveries").json()["data"]
    assert ("interaction.failed", interaction) == (said["type"], said["data"]["id"])
    assert {"id", "error_code", "error_message"} == said["data"].keys()


def test_vertex_calls_nobody_back(told: Told) -> None:
    """Google's SDK refuses to ask it to, and so do we, by name."""
    place = "/v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1-fast-generate-001:predictLongRunning"
    body = {"instances": [{"prompt": "a kite"}], "webhookConfig": {"uris": [f"{told.heard.url}/vertex"]}}
    answer = told.api.post(place, json=body)

    assert (400, True) == (answer.status_code, "webhookConfig" in answer.json()["error"]["message"])


@pytest.mark.parametrize(("prompt", "status"), [("a kite", "completed"), ("[fail] a kite", "failed")])
def test_openrouter_s_clients_are_told_as_it_tells_them(told: Told, prompt: str, status: str) -> None:
    """The event with its data, sealed over the time and the raw body; the same end has always the same key."""
    body = {"model": "sandbox/demo", "prompt": prompt, "duration": 1, "resolution": "360p"}
    made = told.order("/api/v1/videos", {**body, "callback_url": f"{told.heard.url}/openrouter-{status}"})
    (one,) = told.all(f"/openrouter-{status}", 1)
    said, polled = read(one), told.api.get(f"/api/v1/videos/{made['id']}").json()
    at, seal = (each.partition("=")[2] for each in one.headers["x-openrouter-signature"].split(","))

    assert (f"video.generation.{status}", made["id"], status) == (
        said["type"], said["data"]["id"], said["data"]["status"],
    )  # fmt: skip
    assert f"{made['id']}-{status}" == one.headers["x-openrouter-idempotency-key"]
    assert hmac.digest(told.secret.encode(), f"{at},".encode() + one.body, "sha256").hex() == seal
    assert abs(int(at) - time.time()) < 60
    if status == "failed":
        assert polled["error"] == said["data"]["error"]
        assert "unsigned_urls" not in said["data"]
    else:
        assert polled["usage"] == said["data"]["usage"]
        assert b"ftyp" == told.api.get(said["data"]["unsigned_urls"][0]).content[4:8]


def test_our_own_words_stay_ours(told: Told) -> None:
    """A call to our own API is told of its end alone, thinly; so is a dialect without a callback of its own."""
    body = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}
    told.order("/v1/videos", {**body, "callback_url": f"{told.heard.url}/own"})
    (one,) = told.all("/own", 1)

    assert {"id", "object", "created_at", "type", "data"} == read(one).keys()
    assert "video.completed" == one.type
    assert "x-webhook-signature" not in one.headers
