"""Laws of the createTask surface: kie's readers and AI Generate's both find what they look for."""

import json
import time
from typing import Any

import httpx
import pytest
import requests

from tests.server import Server, eventually
from tests.surfaces.conftest import as_url, picture

CREATE, RECORD = "/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"
VEO, VEO_RECORD = "/api/v1/veo/generate", "/api/v1/veo/record-info"
INPUT: dict[str, Any] = {"prompt": "mist over a forest", "resolution": "360p", "duration": "1"}


def ended(api: httpx.Client, path: str, task: str) -> dict[str, Any]:
    """Wait for a task's end and read its record."""
    flags = {"success", "fail", 1, 2, 3}
    ask = lambda: api.get(path, params={"taskId": task}).json()  # noqa: E731
    eventually(lambda: {ask()["data"].get("state"), ask()["data"].get("successFlag")} & flags)
    found: dict[str, Any] = ask()
    return found


class Naive:
    """
    A client that reads the top of every answer and nothing below it, as AI Generate's own sample does.

    It believes HTTP's status, takes ``taskId`` from the answer, and waits for success, completed, failed or error.
    """

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {key}"

    def create(self, prompt: str) -> str:
        body = {"model": "google/veo-3-1", "input": {"prompt": prompt, "aspect_ratio": "16:9", "duration": 8}}
        answer = self.session.post(f"{self.base}/jobs/createTask", json=body, timeout=20)
        answer.raise_for_status()
        return str(answer.json()["taskId"])

    def wait(self, task: str) -> dict[str, Any]:
        until = time.monotonic() + 50
        while time.monotonic() < until:
            answer = self.session.get(f"{self.base}/jobs/recordInfo", params={"taskId": task}, timeout=20)
            answer.raise_for_status()
            said: dict[str, Any] = answer.json()
            word = said.get("state") or said.get("status")
            if word in ("success", "completed"):
                return said
            if word in ("failed", "error"):
                raise RuntimeError(said)
            time.sleep(0.3)
        raise TimeoutError(task)


def test_a_client_that_reads_the_top(guarded: tuple[Server, str], api: httpx.Client) -> None:
    """The bare reader gets an id, an end, and a link; a failure ends its loop too."""
    client = Naive(f"{guarded[0].url}/api/v1", guarded[1])
    done = client.wait(client.create("a misty pine forest"))

    assert b"ftyp" == api.get(done["results"][0]).content[4:8]
    assert done["results"] == done["output"]
    with pytest.raises(RuntimeError, match="prompt asks to fail"):
        client.wait(client.create("[fail] a forest"))
    with pytest.raises(requests.HTTPError):
        Naive(f"{guarded[0].url}/api/v1", "sk-aig-x").create("x")


def test_a_client_that_opens_data(api: httpx.Client) -> None:
    """An envelope of kie's: a task, its words on the way, its times in milliseconds, its link in a string of JSON."""
    made = api.post(CREATE, json={"model": "sandbox/demo", "input": INPUT, "callBackUrl": "https://app.example/hook"})
    assert {"code": 200, "msg": "success"} == {name: made.json()[name] for name in ("code", "msg")}
    assert "sandbox" == made.headers["x-reelgate-provider"]
    task = made.json()["data"]["taskId"]
    early = api.get(RECORD, params={"taskId": task}).json()["data"]
    assert early["state"] in {"waiting", "queuing", "generating", "success"}
    record = ended(api, RECORD, task)["data"]

    assert ("success", "", "", 100) == tuple(record[name] for name in ("state", "failCode", "failMsg", "progress"))
    (link,) = json.loads(record["resultJson"])["resultUrls"]
    assert b"ftyp" == api.get(link).content[4:8]
    assert record["createTime"] > 10**12
    assert "https://app.example/hook" == json.loads(record["param"])["callBackUrl"]
    assert "https://app.example/hook" == api.get(f"/v1/videos/{task}").json()["callback_url"]


def test_the_veo_surface(api: httpx.Client) -> None:
    """Pictures become frames or references as generationType says, or as many as there are."""
    one = as_url(picture())
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"imageUrls": [one]}, ["first_frame"]),
        ({"imageUrls": [one, one], "generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO"}, ["first_frame", "last_frame"]),
        ({"imageUrls": [one, one], "generationType": "REFERENCE_2_VIDEO"}, ["reference"] * 2),
        ({"imageUrls": [one] * 3}, ["reference"] * 3),
    ]
    for more, roles in cases:
        body = {"prompt": "a dog", "model": "sandbox/demo", "aspectRatio": "9:16", "seeds": 12345, **more}
        made = api.post(VEO, json=body)
        assert 200 == made.status_code, made.text
        task = made.json()["data"]["taskId"]
        request = api.get(f"/v1/videos/{task}").json()["request"]
        assert (roles, "9:16", 12345) == (
            [each["role"] for each in request["inputs"]], request["aspect_ratio"], request["seed"],
        )  # fmt: skip
        api.post(f"/v1/videos/{task}/cancel")
    default = api.post(VEO, json={"prompt": "a dog [slow 60]", "aspect_ratio": "Auto", "enableTranslation": True})
    video = api.get(f"/v1/videos/{default.json()['taskId']}").json()
    assert "google/veo-3.1-fast" == video["resolved_model"]
    api.post(f"/v1/videos/{video['id']}/cancel")


def test_a_veo_record_and_what_goes_on_from_it(api: httpx.Client) -> None:
    """successFlag, response and times without a zone; the extension knows its model from its source."""
    body = {"model": "sandbox/demo", "input": INPUT}
    task = api.post(CREATE, json=body).json()["taskId"]
    record = ended(api, VEO_RECORD, task)["data"]
    assert (1, None, "") == (record["successFlag"], record["errorCode"], record["errorMessage"])
    assert b"ftyp" == api.get(record["response"]["resultUrls"][0]).content[4:8]
    assert ("360p", len("2026-11-21 10:00:00")) == (record["response"]["resolution"], len(record["createTime"]))
    longer = api.post("/api/v1/veo/extend", json={"taskId": task, "prompt": "go on"}).json()["taskId"]
    assert ("extend", task) == tuple(
        api.get(f"/v1/videos/{longer}").json()[name] for name in ("operation", "parent_video_id")
    )
    api.post(f"/v1/videos/{longer}/cancel")
    assert 422 == api.post("/api/v1/veo/extend", json={"taskId": longer, "prompt": "x"}).json()["code"]


@pytest.mark.parametrize(("magic", "code"), [("[refuse]", "400"), ("[block]", "400"), ("[fail]", "501")])
def test_why_there_is_no_clip(api: httpx.Client, magic: str, code: str) -> None:
    """A failed task comes in an answer whose own code is 200; policy begins with kie's sentence."""
    task = api.post(CREATE, json={"model": "sandbox/demo", "input": {**INPUT, "prompt": f"{magic} x"}}).json()["taskId"]
    answer = ended(api, RECORD, task)

    assert (200, "fail", "failed", code) == (
        answer["code"], answer["data"]["state"], answer["state"], answer["data"]["failCode"],
    )  # fmt: skip
    assert (code == "400") is answer["data"]["failMsg"].startswith("Your prompt was flagged by Website")
    assert "" == answer["data"]["resultJson"]
    veo = api.get(VEO_RECORD, params={"taskId": task}).json()["data"]
    assert (veo["successFlag"] in {2, 3}, int(code), None) == (True, veo["errorCode"], veo["response"])


@pytest.mark.parametrize(
    ("path", "body", "code", "named"),
    [
        (CREATE, {}, 422, "input"),
        (CREATE, {"input": {"duration": 4}}, 422, "input.prompt"),
        (CREATE, {"input": {"prompt": "x", "duration": 7}}, 422, "input.duration"),
        (CREATE, {"input": {"prompt": "x", "duration": "soon"}}, 422, "input.duration"),
        (CREATE, {"input": {"prompt": "x", "colour": 1}}, 422, "input.colour"),
        (CREATE, {"input": {"prompt": "x", "sound": False}, "model": "google/gemini-omni-flash"}, 422, "input.sound"),
        (CREATE, {"input": {"prompt": "x", "image_urls": ["ftp://x"]}}, 422, "input.image_urls[0]"),
        (CREATE, {"input": {"prompt": "x"}, "callbackUrl": "https://x"}, 422, "callbackUrl"),
        (CREATE, {"input": {"prompt": "x"}, "callBackUrl": "x"}, 422, "callBackUrl"),
        (CREATE, {"input": {"prompt": "x"}, "model": "kling-3.0/video"}, 422, "model"),
        (VEO, {"prompt": "x", "watermark": "Mine"}, 422, "watermark"),
        (VEO, {"prompt": "x", "generationType": "REFERENCE_2_VIDEO"}, 422, "imageUrls"),
        (VEO, {"prompt": "x", "generationType": "X"}, 422, "generationType"),
        (VEO, {"prompt": "x", "aspectRatio": "21:9"}, 422, "aspectRatio"),
        (VEO, {"prompt": "x", "seeds": "many"}, 422, "seeds"),
    ],
)  # fmt: skip
def test_errors_are_kie_s(api: httpx.Client, path: str, body: dict[str, Any], code: int, named: str) -> None:
    """A code and a text, which names the client's own field; HTTP says the same code."""
    answer = api.post(path, json={"model": "google/veo-3-1", **body} if path == CREATE else body)

    assert (code, code, None) == (answer.status_code, answer.json()["code"], answer.json()["data"])
    assert named in answer.json()["msg"]


@pytest.mark.parametrize("path", [CREATE, VEO])
def test_an_empty_callback_is_none(api: httpx.Client, path: str) -> None:
    """Clients that fill a form in send what was left empty; either call takes that for nothing."""
    prompt = {"input": {"prompt": "x", "duration": 4}} if path == CREATE else {"prompt": "x"}
    task = api.post(path, json={"model": "veo3_fast", "callBackUrl": "", **prompt}).json()["taskId"]

    assert api.get(f"/v1/videos/{task}").json().get("callback_url") is None


def test_1080p_is_a_resolution(api: httpx.Client) -> None:
    """The veo surface has calls of their own for what is larger; here a clip is ordered so, or refused by that name."""
    task = api.post(VEO, json={"prompt": "x", "model": "veo3_fast", "resolution": "1080p"}).json()["taskId"]
    wrong = api.post(VEO, json={"prompt": "x", "model": "veo3_fast", "resolution": "9000p"})

    assert "1920x1080" == api.get(f"/v1/videos/{task}").json()["size"]
    assert (422, True) == (wrong.status_code, "resolution" in wrong.json()["msg"])


def test_errors_about_who_and_which(guarded: tuple[Server, str], api: httpx.Client) -> None:
    """401 without a key, 404 for a task nobody knows or another tenant has."""
    stranger = requests.get(f"{guarded[0].url}{RECORD}?taskId=x", timeout=10)
    assert (401, 401) == (stranger.status_code, stranger.json()["code"])
    assert stranger.json()["msg"].startswith("You do not have access permissions")
    other = guarded[0].create_key("--name", "other-tenant")
    task = api.post(CREATE, json={"model": "sandbox/demo", "input": INPUT}).json()["taskId"]
    for key, name in ((guarded[1], "x"), (guarded[1], f"video_{'0' * 32}"), (other, task)):
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx.get(f"{guarded[0].url}{RECORD}", params={"taskId": name}, headers=headers, trust_env=False)
        assert (404, {"code": 404, "msg": "Task not found", "data": None}) == (answer.status_code, answer.json())
    assert 422 == api.get(RECORD).json()["code"]
