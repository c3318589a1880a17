"""Law of what is left open: who names no length gets the one the dialect documents, whatever is listed first."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.server import Server, eventually

# Nothing listens there, and nothing is bought: who would make the clip is told as it is ordered.
SELLERS = """
[aliases]
"veo3.1-fast" = ["cometapi/omni-fast"] # sells 4 seconds alone
"veo3" = "google/veo-3.1"

[offers."cometapi:cometapi/omni-fast"]
usd = "0.40"
per = "video"

[accounts.sandbox]
provider = "sandbox"
enabled = false

[accounts.comet] # lists 4 seconds first
provider = "cometapi"
base_url = "http://127.0.0.1:9"
"""

FLOW = "/v1/google-flow"
GOOGLE = "/v1beta/models/{}:predictLongRunning"
VERTEX = "/v1beta1/projects/p/locations/l/publishers/google/models/{}:predictLongRunning"


def chat(model: str, **more: Any) -> dict[str, Any]:
    """Write a chat's body; streamed, so that it is answered before the clip is made."""
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": "a cat"}], **more}


def predict(**parameters: Any) -> dict[str, Any]:
    """Write a body of Google's."""
    return {"instances": [{"prompt": "a cat"}], "parameters": parameters}


CALLS: dict[str, tuple[str, dict[str, Any], int]] = {
    "flow": (f"{FLOW}/videos", {"model": "veo-3.1-quality", "prompt": "a cat", "async": True}, 8),
    "gemini": (GOOGLE.format("veo-3.1-generate-preview"), predict(), 8),
    "gemini, in our words": (GOOGLE.format("models/google/veo-3.1"), predict(), 8),
    "vertex": (VERTEX.format("veo-3.1-generate-001"), predict(), 8),
    "createTask": ("/api/v1/jobs/createTask", {"model": "google/veo-3-1", "input": {"prompt": "a cat"}}, 8),
    "veo": ("/api/v1/veo/generate", {"model": "veo3", "prompt": "a cat"}, 8),
    "veo/v1": ("/veo/v1/video/create", {"model": "veo3.1", "prompt": "a cat"}, 8),
    "chat": ("/v1/chat/completions", chat("veo3.1"), 8),
    "chat, of several": ("/v1/chat/completions", chat("veo3.1-pro"), 8),
    # What the operator calls so is as long as that is made: a chat could not even say another length.
    "chat, by alias": ("/v1/chat/completions", chat("veo3.1-fast"), 4),
    "veo/v1, by alias": ("/veo/v1/video/create", {"model": "veo3.1-fast", "prompt": "a cat"}, 4),
    # What is said stays said, whichever of the names is used for it.
    "gemini, said": (GOOGLE.format("veo-3.1-generate-preview"), predict(durationSeconds=4), 4),
    "createTask, said": (
        "/api/v1/jobs/createTask", {"model": "google/veo-3-1", "input": {"prompt": "a cat", "duration": "6"}}, 6,
    ),
    "chat, said": ("/v1/chat/completions", chat("veo3.1", duration=4), 4),
    # These document none: it is the offer's own.
    "openrouter": ("/api/v1/videos", {"model": "google/veo-3.1", "prompt": "a cat"}, 4),
    "ours": ("/v1/videos", {"model": "google/veo-3.1", "prompt": "a cat"}, 4),
}  # fmt: skip


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway with a seller, that buys nothing, and a client of it."""
    server = Server(tmp_path_factory.mktemp("lengths"), COMETAPI_KEY="k")
    (server.folder / "config.toml").write_text(SELLERS)
    key = server.create_key("--name", "app")
    server.cli("halt", "--why", "a test")
    with ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        headers = {"authorization": f"Bearer {key}"}
        client = httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30)
        yield stack.enter_context(client)


def ordered(halted: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Order a clip, and read it in our own words."""
    with halted.stream("POST", path, json=body) as answer:
        said = answer.headers.get("x-reelgate-video") or (answer.read() and answer.json().get("id"))
        assert said, answer.read()
    video: dict[str, Any] = halted.get(f"/v1/videos/{said}").json()
    return video


@pytest.mark.parametrize("name", CALLS)
def test_a_length_left_open_is_the_dialect_s_own(halted: httpx.Client, name: str) -> None:
    """The seller's first value is no answer to a client whose documentation promises another."""
    path, body, seconds = CALLS[name]
    video = ordered(halted, path, body)

    assert (str(seconds), seconds) == (video["seconds"], video["request"]["seconds"]), video


def test_what_is_made_of_a_clip_is_as_long_as_that_makes_it(api: httpx.Client) -> None:
    """No length is put into an edit or an extension: there it would be a choice nobody made."""
    order = {"model": "omni-flash", "prompt": "a cat", "duration": 4, "async": True}
    made = ordered(api, f"{FLOW}/videos", order)["id"]
    eventually(lambda: api.get(f"/v1/videos/{made}").json()["status"] == "completed")
    name = f"video:{made}-0"
    calls = {
        "edit": (
            f"{FLOW}/videos",
            {"model": "omni-flash", "prompt": "in snow", "referenceVideo_1": name, "async": True},
        ),
        "flow": (f"{FLOW}/videos/extend", {"prompt": "on", "mediaGenerationId": name, "async": True}),
        "kie": ("/api/v1/veo/extend", {"prompt": "on", "taskId": made, "model": "veo3"}),
    }

    seconds = {each: ordered(api, *call)["request"]["seconds"] for each, call in calls.items()}
    assert {"edit": 0, "flow": 7, "kie": 7} == seconds
