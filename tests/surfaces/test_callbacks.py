"""Laws of callbacks: a call that names an address is told there in the words and with the proof of its own dialect."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from providers.aigenerate import AiGenerate, is_signed
from providers.base.hooks import ForgedError, HookCall
from providers.base.listing import listings
from providers.flow import Flow
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
    assert said["completed"] == told.api.get(f"/v1/google-flow/jobs/{made['jobid']}").json()
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


def test_our_own_words_stay_ours(told: Told) -> None:
    """A call to our own API is told of its end alone, thinly; so is a dialect without a callback of its own."""
    body = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}
    told.order("/v1/videos", {**body, "callback_url": f"{told.heard.url}/own"})
    (one,) = told.all("/own", 1)

    assert {"id", "object", "created_at", "type", "data"} == read(one).keys()
    assert "video.completed" == one.type
    assert "x-webhook-signature" not in one.headers
