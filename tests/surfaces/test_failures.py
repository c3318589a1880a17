"""
Law of errors on the wire: whatever goes wrong, and on whichever layer, a dialect's client reads it in its own shape.

No such answer is one that an SDK would repeat by itself, and none holds a key.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from tests.server import Server

DEAR = "google/veo-3.1"
STRANGER = f"rgk_{'0' * 48}"


class Said(NamedTuple):
    """Hold what a client of some dialect reads of an error."""

    code: Any
    message: str


class Dialect(NamedTuple):
    """Say where a dialect is spoken, what orders a clip in it, and how its clients read an error."""

    prefix: str
    order: str
    body: dict[str, Any]
    read: Callable[[Any], Said]
    """Fails on any shape but the dialect's own."""
    missing: str = ""
    """Names something that is not there."""
    codes: Mapping[int, int] = MappingProxyType({})
    """Status of ours: what the dialect makes of it, where that is another."""


def google(body: Any) -> Said:
    """Read a google.rpc.Status."""
    assert {"error"} == body.keys()
    error = body["error"]
    assert {"code", "message", "status", "details"} == error.keys()
    assert error["status"].isupper()
    assert all(each["@type"].startswith("type.googleapis.com/google.rpc.") for each in error["details"])
    return Said(error["code"], error["message"])


def openrouter(body: Any) -> Said:
    """Read OpenRouter's error."""
    assert {"error"} == body.keys()
    assert {"code", "message", "metadata"} == body["error"].keys()
    return Said(body["error"]["code"], body["error"]["message"])


def kie(body: Any) -> Said:
    """Read kie's envelope."""
    assert {"code", "msg", "data"} == body.keys()
    assert body["data"] is None
    return Said(body["code"], body["msg"])


def useapi(body: Any) -> Said:
    """Read useapi's sentence, or Google's error in it."""
    assert {"error"} == body.keys()
    error = body["error"]
    return Said(None, error if isinstance(error, str) else error["message"])


def newapi(body: Any) -> Said:
    """Read new-api's envelope."""
    assert {"code", "message", "data"} == body.keys()
    assert body["data"] is None
    assert isinstance(body["code"], str)
    return Said(None, body["message"])


def of_openai(body: Any) -> Said:
    """Read what OpenAI's SDKs read."""
    assert {"message", "type", "param", "code"} == body["error"].keys()
    return Said(None, body["error"]["message"])


VEO = "models/veo-3.1-generate-preview"
PREDICT: dict[str, Any] = {"instances": [{"prompt": "a cat"}]}
CHAT: dict[str, Any] = {"model": DEAR, "messages": [{"role": "user", "content": "a cat"}]}
PROJECT = "/v1beta1/projects/p/locations/l"
LESS = {400: 422, 405: 404, 413: 422, 415: 422}
DIALECTS = {
    "gemini": Dialect("/v1beta", f"/v1beta/{VEO}:predictLongRunning", PREDICT, google, "/v1beta/operations/0"),
    "vertex": Dialect(PROJECT, f"{PROJECT}/publishers/google/{VEO}:predictLongRunning", PREDICT, google),
    "interactions": Dialect(
        "/v1beta/interactions/x",
        "/v1beta/interactions",
        {"model": DEAR, "input": "a cat", "background": True},
        google,
        "/v1beta/interactions/v1_0",
    ),
    "openrouter": Dialect(
        "/api/v1", "/api/v1/videos", {"model": DEAR, "prompt": "a cat"}, openrouter, "/api/v1/videos/x"
    ),
    "createTask": Dialect(
        "/api/v1/jobs",
        "/api/v1/jobs/createTask",
        {"model": DEAR, "input": {"prompt": "a cat"}},
        kie,
        "/api/v1/jobs/recordInfo?taskId=x",
        LESS,
    ),
    "veo": Dialect(
        "/api/v1/veo",
        "/api/v1/veo/generate",
        {"model": DEAR, "prompt": "a cat"},
        kie,
        "/api/v1/veo/record-info?taskId=x",
        LESS,
    ),
    "flow": Dialect(
        "/v1/google-flow",
        "/v1/google-flow/videos",
        {"model": "veo-3.1-quality", "prompt": "a cat", "async": True},
        useapi,
        "/v1/google-flow/jobs/x",
        {415: 400},
    ),
    "new-api": Dialect(
        "/veo/v1", "/veo/v1/video/create", {"model": DEAR, "prompt": "a cat"}, newapi, "/veo/v1/video/query/x"
    ),
    "chat": Dialect("/v1/chat/completions", "/v1/chat/completions", CHAT, of_openai),
}

Way = Callable[[httpx.Client, Dialect], httpx.Response]
JSON = {"content-type": "application/json"}
WAYS: dict[str, tuple[int, Way]] = {
    "unknown address": (404, lambda api, said: api.get(f"{said.prefix}/no/such/thing")),
    "unknown address, posted to": (404, lambda api, said: api.post(f"{said.prefix}/no/such/thing", json={})),
    "wrong method": (405, lambda api, said: api.put(said.order, json=said.body)),
    "method nobody knows": (405, lambda api, said: api.request("BREW", said.order)),
    "empty step": (404, lambda api, said: api.get(f"{said.prefix}//x")),
    "too large": (413, lambda api, said: api.post(said.order, content=b" " * 1_100_000, headers=JSON)),
    "another kind": (415, lambda api, said: api.post(said.order, content=b"x", headers={"content-type": "text/xml"})),
    "not JSON": (400, lambda api, said: api.post(said.order, content=b"{", headers=JSON)),
    "no key": (401, lambda api, said: api.post(said.order, json=said.body, headers={"authorization": ""})),
    "a key nobody has": (
        401,
        lambda api, said: api.post(said.order, json=said.body, headers={"authorization": f"Bearer {STRANGER}"}),
    ),
    "a key in the address": (
        401,
        lambda api, said: api.post(f"{said.order}?key={STRANGER}", json=said.body, headers={"authorization": ""}),
    ),
    "no budget": (402, lambda api, said: api.post(said.order, json=said.body)),
    "unknown field": (400, lambda api, said: api.post(said.order, json={**said.body, "no_such": 1})),
    "unknown id": (404, lambda api, said: api.get(said.missing)),
}
"""What goes wrong, and the status it has where a dialect knows no better."""


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A caller who cannot pay for what is dear, and may send a megabyte."""
    folder = tmp_path_factory.mktemp("failures")
    (folder / "config.toml").write_text(f'[offers."sandbox:{DEAR}"]\nusd = "1.00"\n')
    server = Server(folder, REELGATE__SERVER__MAX_BODY_MB="1")
    key = server.create_key("--name", "poor", "--budget-usd", "0.50")
    server.start()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    ) as api:
        yield api
    assert server.running(), server.log.read_text()
    server.stop()


@pytest.mark.parametrize("way", WAYS)
def test_every_failure_is_told_in_the_client_s_shape(poor: httpx.Client, way: str) -> None:
    """On every layer: the address, the method, the body, the key, the money, the words, the id."""
    status, do = WAYS[way]
    for name, said in DIALECTS.items():
        if way == "unknown id" and not said.missing:
            continue
        answer = do(poor, said)
        assert said.codes.get(status, status) == answer.status_code, (name, answer.text)
        assert answer.headers["content-type"].startswith("application/")
        assert "json" in answer.headers["content-type"]
        told = said.read(answer.json())
        assert told.message, name
        assert told.code in (None, answer.status_code), (name, answer.text)
        assert STRANGER not in answer.text
        assert answer.headers["x-request-id"]
        assert answer.status_code < 500
        assert answer.status_code not in {408, 409, 429}


def test_a_key_in_the_address_is_refused_with_a_hint(poor: httpx.Client) -> None:
    """Where the dialect lets a sentence stand beside a 401, it says where the key belongs."""
    for name in ("gemini", "vertex", "interactions", "openrouter", "createTask", "new-api", "chat"):
        said = DIALECTS[name]
        answer = WAYS["a key in the address"][1](poor, said)
        assert "header" in said.read(answer.json()).message.lower(), answer.text


@pytest.mark.filterwarnings("ignore:The Sora API is scheduled to permanently shut down:DeprecationWarning")
def test_a_character_is_refused_in_words(guarded: tuple[Server, str]) -> None:
    """OpenAI's SDK reads why none is made of a clip, and what to do instead, without asking again."""
    with openai.OpenAI(base_url=guarded[0].api, api_key=guarded[1], max_retries=0) as client:
        with pytest.raises(openai.UnprocessableEntityError, match="input_references") as refused:
            client.videos.create_character(name="Ada", video=("ada.mp4", b"clip", "video/mp4"))
        with pytest.raises(openai.NotFoundError, match="No character"):
            client.videos.get_character("char_1")

    assert ("not_sold", "video") == (refused.value.code, refused.value.param)
