"""Borrowed dialects by hand: one job whatever it is called, every failure in the client's words, links that end."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.surfaces import google
from tests.scripted import clip
from tests.server import Server, eventually

VEO = "/v1beta/models/veo-3.1-fast-generate-preview:predictLongRunning"
DEAR = "/v1beta/models/veo-3.1-generate-preview:predictLongRunning"
VERTEX = "/v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1-fast-generate-001:predictLongRunning"
OMNI = "gemini-omni-1.2-flash"


def predict(prompt: str = "a cat", **parameters: Any) -> dict[str, Any]:
    """Write the body of an order of Veo."""
    return {"instances": [{"prompt": prompt}], "parameters": {"durationSeconds": 4, **parameters}}


class Asker:
    """Hold one caller of a gateway."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.Client(base_url=url, headers={"x-goog-api-key": key}, trust_env=False, timeout=60)

    def get(self, path: str, **words: Any) -> httpx.Response:
        """Ask something."""
        return self.client.get(path, **words)

    def post(self, path: str, body: Any, **words: Any) -> httpx.Response:
        """Tell something."""
        return self.client.post(path, json=body, **words)

    def made(self) -> str:
        """Make a clip, and answer its digits."""
        name = self.post(VEO, predict()).json()["name"]
        eventually(lambda: self.get(f"/v1beta/{name}").json().get("done"))
        return str(name).rpartition("/")[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Asker, Asker, Asker]]:
    """Start a gateway the world reaches by https: two tenants, and a key that cannot pay for what is dear."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "config.toml").write_text('[offers."sandbox:google/veo-3.1"]\nusd = "1.00"\n')
    server = Server(folder, REELGATE__SERVER__PUBLIC_URL="https://video.example.test")
    server.module = "tests.hasty"
    keys = [
        server.create_key("--name", "mine", "--tenant", "mine"),
        server.create_key("--name", "theirs", "--tenant", "theirs"),
        server.create_key("--name", "poor", "--tenant", "poor", "--budget-usd", "0.50"),
    ]
    server.start()
    mine, theirs, poor = (Asker(server.url, key) for key in keys)
    yield server, mine, theirs, poor
    for each in (mine, theirs, poor):
        each.client.close()
    server.stop()


def google_error(answer: httpx.Response) -> tuple[int, str]:
    """Read an error as google.rpc says it: the status twice, its name, a message, details."""
    error = answer.json()["error"]
    assert answer.status_code == error["code"]
    assert error["message"]
    assert all(each["@type"].startswith("type.googleapis.com/google.rpc.") for each in error["details"])
    return error["code"], error["status"]


def test_one_job_in_every_language(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """What was ordered of Gemini is a video, an interaction and a generation as well."""
    _, mine, *_ = served
    digits = mine.made()
    interaction = mine.get(f"/v1/interactions/v1_{digits}").json()
    headers = mine.get(f"/api/v1/videos/video_{digits}").headers

    assert "completed" == mine.get(f"/v1/videos/video_{digits}").json()["status"]
    assert "completed" == interaction["status"] == mine.get(f"/api/v1/videos/video_{digits}").json()["status"]
    assert ("sandbox", "0.000000") == (headers["x-reelgate-provider"], headers["x-reelgate-cost-usd"])


def test_clips_are_named_so_that_googles_sdk_finds_them(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """An https address whose file name is lowercase letters and digits, asked of any version and either host."""
    _, mine, *_ = served
    digits = mine.made()
    done = mine.get(f"/v1beta/operations/{digits}").json()["response"]["generateVideoResponse"]
    uri = done["generatedSamples"][0]["video"]["uri"]

    assert f"https://video.example.test/v1beta/files/{digits}:download?alt=media" == uri
    assert re.fullmatch("[a-z0-9]+", digits)
    for version in ("v1", "v1beta"):
        assert b"ftyp" == mine.get(f"/{version}/files/{digits}:download?alt=media").content[4:8]


def test_done_is_absent_while_it_runs(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """No false, no progress: clients of either make look for the word alone."""
    _, mine, *_ = served
    name = mine.post(VEO, predict("a cat [slow 60]")).json()["name"]

    assert {"name": name} == mine.get(f"/v1beta/{name}").json()
    mine.post(f"/v1/interactions/v1_{name.rpartition('/')[2]}/cancel", {})
    assert 1 == mine.get(f"/v1beta/{name}").json()["error"]["code"]


def test_a_repeated_call_is_the_same_operation(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """An Idempotency-Key works in every dialect, and with another body is refused."""
    _, mine, *_ = served
    again = {"Idempotency-Key": "once"}
    names = {mine.post(VEO, predict(), headers=again).json()["name"] for _ in range(2)}

    assert 1 == len(names)
    assert (400, "INVALID_ARGUMENT") == google_error(mine.post(VEO, predict("a dog"), headers=again))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/operations/{}", (404, "NOT_FOUND")),
        ("/v1beta/files/{}:download?alt=media", (403, "PERMISSION_DENIED")),
        ("/v1beta/files/{}", (403, "PERMISSION_DENIED")),
        ("/v1/interactions/v1_{}", (404, "NOT_FOUND")),
    ],
)
def test_anothers_reads_like_none(
    served: tuple[Server, Asker, Asker, Asker], path: str, expected: tuple[int, str]
) -> None:
    """Another tenant's id is answered exactly like one nobody has."""
    _, mine, theirs, _ = served
    digits = mine.made()
    foreign, unknown = theirs.get(path.format(digits)), theirs.get(path.format("0" * 32))

    assert expected == google_error(foreign) == google_error(unknown)
    assert foreign.json()["error"]["message"] == unknown.json()["error"]["message"].replace("0" * 32, digits)
    assert 404 == theirs.get(f"/api/v1/videos/video_{digits}").json()["error"]["code"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (VEO, b"{", (400, "INVALID_ARGUMENT")),
        (VEO, b"[]", (400, "INVALID_ARGUMENT")),
        (VEO, b'{"instances": []}', (400, "INVALID_ARGUMENT")),
        (VEO, b'{"instances": [{"prompt": ""}]}', (400, "INVALID_ARGUMENT")),
        (VEO, b'{"instances": [{"prompt": "x", "image": {"gcsUri": "gs://b/a.png"}}]}', (400, "INVALID_ARGUMENT")),
        (VEO, b'{"instances": [{"prompt": "x", "image": {"bytesBase64Encoded": "eA=="}}]}', (400, "INVALID_ARGUMENT")),
        (VEO, b'{"instances": [{"prompt": "x", "lastFrame": {"uri": "files/1"}}]}', (400, "INVALID_ARGUMENT")),
        ("/v1/interactions", b'{"model": "x", "input": 3}', (400, "INVALID_ARGUMENT")),
        ("/v1/interactions", b'{"input": [{"type": "thought"}]}', (400, "INVALID_ARGUMENT")),
        ("/v1/interactions", b'{"input": "x", "store": false, "background": true}', (400, "INVALID_ARGUMENT")),
        ("/v1/interactions", b'{"model": "nobody", "input": "x"}', (404, "NOT_FOUND")),
        ("/v1/interactions", b'{"input": "x", "previous_interaction_id": "v1_x"}', (404, "NOT_FOUND")),
        ("/v1beta/models/x:generateContent", b"{}", (404, "NOT_FOUND")),
        ("/v1/models/x:generateContent", b"{}", (404, "NOT_FOUND")),
        ("/v1/models/x:streamGenerateContent?alt=sse", b"{}", (404, "NOT_FOUND")),
        ("/v1beta/operations/1", b"{}", (405, "UNIMPLEMENTED")),
        ("/v1beta/nothing/here", b"{}", (404, "NOT_FOUND")),
        (VEO + "?x", b"x" * 70_000_000, (413, "INVALID_ARGUMENT")),
    ],
)
def test_every_failure_is_told_as_google_tells_it(
    served: tuple[Server, Asker, Asker, Asker], path: str, body: bytes, expected: tuple[int, str]
) -> None:
    """Whatever is wrong and whoever finds it, the client reads a google.rpc.Status."""
    _, mine, *_ = served
    answer = mine.client.post(path, content=body, headers={"content-type": "application/json"})

    assert expected == google_error(answer)


def test_a_model_by_its_offer_is_read_in_our_own_words(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """``:`` stands in our names of offers, too; nothing is posted to those."""
    _, mine, *_ = served
    asked = mine.get("/v1/models/sandbox:google").json()["error"]

    assert ("model_not_found", "model") == (asked["code"], asked["param"])


def test_a_key_in_the_address_is_refused_with_a_hint(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """Addresses are logged by everybody on the way; the answer says where the key belongs."""
    server, mine, *_ = served
    answer = httpx.post(
        f"{server.url}{VEO}?key={mine.client.headers['x-goog-api-key']}", json=predict(), trust_env=False
    )

    assert (401, "UNAUTHENTICATED") == google_error(answer)
    assert "in a header (x-goog-api-key)" in answer.json()["error"]["message"]
    for path, header in (
        (VEO, "x-goog-api-key"),
        (VERTEX, "Authorization: Bearer"),
        ("/v1/videos", "Authorization: Bearer"),
    ):
        keyless = httpx.post(f"{server.url}{path}", json=predict(), trust_env=False).json()["error"]
        assert f"Send {header} with an API key." == keyless["message"]


def test_a_budget_that_is_spent_is_said_in_each_language(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """402, in the shape each client reads, naming no field: none of theirs is wrong; nothing is bought."""
    *_, poor = served
    chat = {"model": "veo3.1", "messages": [{"role": "user", "content": "x"}]}
    calls: list[tuple[str, dict[str, Any]]] = [
        (DEAR, predict()),
        ("/api/v1/videos", {"model": "google/veo-3.1", "prompt": "x", "duration": 4}),
        ("/v1/google-flow/videos", {"model": "veo-3.1-quality", "prompt": "x", "async": True}),
        ("/api/v1/jobs/createTask", {"model": "google/veo-3-1", "input": {"prompt": "x"}}),
        ("/api/v1/veo/generate", {"model": "veo3", "prompt": "x"}),
        ("/veo/v1/video/create", {"model": "veo3.1", "prompt": "x"}),
        ("/v1/chat/completions", chat),
        ("/v1/videos", {"model": "google/veo-3.1", "prompt": "x"}),
    ]
    answers = [poor.post(*call) for call in calls]

    assert [402] * len(calls) == [each.status_code for each in answers]
    assert [False] * len(calls) == ["max_cost" in each.text or '"param":"' in each.text for each in answers]
    assert [True] * len(calls) == [
        "This video is quoted at $1, and $0.5 is left of the $0.5 this key has in all" in each.text for each in answers
    ]
    assert (402, "FAILED_PRECONDITION") == google_error(answers[0])
    assert (402, 402) == (answers[1].status_code, answers[1].json()["error"]["code"])
    assert [] == poor.get("/v1/videos").json()["data"]


def test_what_is_ours_stays_ours(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """Addresses both APIs have are told apart by Google's headers; without them they are OpenAI's."""
    server, mine, *_ = served
    bearer = {"authorization": f"Bearer {mine.client.headers['x-goog-api-key']}"}
    with httpx.Client(base_url=server.url, headers=bearer, trust_env=False) as plain:
        assert "list" == plain.get("/v1/models").json()["object"]
        assert "file_not_found" == plain.get("/v1/files/file_x").json()["error"]["code"]
    assert "models/veo-3.1-generate-preview" == mine.get("/v1/models").json()["models"][0]["name"]


def test_a_link_needs_no_key_and_serves_like_a_file(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """Whole, in part, by HEAD; not with another signature, and not once the clip is gone."""
    server, mine, *_ = served
    digits = mine.made()
    (url,) = mine.get(f"/api/v1/videos/video_{digits}").json()["unsigned_urls"]
    assert url.startswith("https://video.example.test/links/")
    path = url.removeprefix("https://video.example.test")
    with httpx.Client(base_url=server.url, trust_env=False) as bare:
        whole = bare.get(path)
        assert ("video/mp4", b"ftyp") == (whole.headers["content-type"], whole.content[4:8])
        assert whole.content[4:8] == bare.get(path, headers={"range": "bytes=4-7"}).content
        assert str(len(whole.content)) == bare.head(path).headers["content-length"]
        assert 304 == bare.get(path, headers={"if-none-match": whole.headers["etag"]}).status_code
        seal = path.split("/")[2]
        changes = (("/0.mp4", "/1.mp4"), (seal, f"{seal[:-4]}AAAA"), (seal, "x"), (f"{seal}/", ""))
        assert [403, 403, 403, 404] == [bare.get(path.replace(*each)).status_code for each in changes]
        assert {} == mine.client.delete(f"/v1/interactions/v1_{digits}").json()
        assert 410 == bare.get(path).status_code


class Recorder(BaseHTTPRequestHandler):
    """Take every order, and remember what it said."""

    said: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """Turn an order down, having read it."""
        self.said.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(422)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  The base class calls it so.
        """Say nothing."""


def test_a_provider_that_fetches_its_inputs_is_given_links(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a public address, such a provider is sold to, and the link it is given opens the very picture."""
    upstream = HTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("linking")
    (folder / "config.toml").write_text(
        '[offers."aigenerate:google/veo-3.1-fast"]\nusd = "0.10"\n[accounts.a]\nprovider = "aigenerate"\n'
        f'base_url = "http://127.0.0.1:{upstream.server_port}"\n'
    )
    server = Server(folder, AIGENERATE_API_KEY="k")
    server.environ["REELGATE__SERVER__PUBLIC_URL"] = server.url
    key = server.create_key("--name", "app")
    server.start()
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    try:
        with httpx.Client(base_url=server.url, headers={"x-goog-api-key": key}, trust_env=False) as client:
            body = predict(durationSeconds=8)
            body["instances"][0]["image"] = {"bytesBase64Encoded": picture, "mimeType": "image/png"}
            ordered = client.post(VEO, json=body)
            assert ordered.is_success, ordered.text
            eventually(lambda: Recorder.said)
            found = re.search(rb'(http://[^"]*/links/[^"/]*/inputs/[0-9a-f]{64}\.png)"', Recorder.said[0])
            assert found, Recorder.said[0]
        opened = httpx.get(found[1].decode(), trust_env=False)
        assert (200, "image/png", b"\x89PNG") == (
            opened.status_code, opened.headers["content-type"], opened.content[:4]
        )  # fmt: skip
    finally:
        server.stop()
        upstream.shutdown()
        upstream.server_close()


@given(st.text(alphabet="/v1beta~modelsfiles:projctv.{}%", max_size=60))
def test_nothing_but_googles_addresses_is_led_elsewhere(path: str) -> None:
    """A path is left alone, or becomes one of the few that are answered inside."""
    scope: Any = {"path": f"/{path}", "headers": []}
    google.hear(scope)

    assert scope["path"] == f"/{path}" or scope["path"] in {f"{google.INSIDE}/{name}" for name in google.SHAPES}


@pytest.mark.parametrize(
    "path",
    [VEO, "/v1beta1/projects/p/locations/l/publishers/google/models/veo-3.1-fast-generate-001:predictLongRunning"],
)
def test_an_extension_adds_seven_seconds(served: tuple[Server, Asker, Asker, Asker], path: str) -> None:
    """Google wants 8 said beside a video, and adds 7: 8, 7 and nothing are the same; without a video 8 is 8."""
    _, mine, *_ = served
    film = {"bytesBase64Encoded": base64.b64encode(clip(2)).decode(), "mimeType": "video/mp4"}

    def asked(said: dict[str, int], **more: Any) -> httpx.Response:
        return mine.post(path, {"instances": [{"prompt": "on", **more}], "parameters": said})

    def seconds(answer: httpx.Response) -> int:
        video = mine.get(f"/v1/videos/video_{answer.json()['name'].rpartition('/')[2]}").json()
        mine.post(f"/v1/videos/{video['id']}/cancel", {})
        return int(video["request"]["seconds"])

    assert [7, 7, 7] == [
        seconds(asked(said, video=film)) for said in ({"durationSeconds": 8}, {"durationSeconds": 7}, {})
    ]
    assert (400, "INVALID_ARGUMENT") == google_error(asked({"durationSeconds": 6}, video=film))
    assert 8 == seconds(asked({"durationSeconds": 8}))


def test_several_clips_lie_in_one_answer(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """Two clips come inline, each its own; told by length beforehand, whatever the prompt says."""
    _, mine, *_ = served
    vertex = "/v1beta1/projects/p/locations/l/publishers/google/models/sandbox/demo:"
    name = mine.post(f"{vertex}predictLongRunning", predict("~0~ a cat", sampleCount=2)).json()["name"]
    fetched = f"{vertex}fetchPredictOperation"
    eventually(lambda: mine.post(fetched, {"operationName": name}).json().get("done"))
    videos = mine.post(fetched, {"operationName": name}).json()["response"]["videos"]
    digits = name.rpartition("/")[2]

    kept = [mine.get(f"/v1/videos/video_{digits}/content?index={index}").content for index in (0, 1)]
    assert kept == [base64.b64decode(each["bytesBase64Encoded"]) for each in videos]
    assert kept[0] != kept[1]
    assert kept[1] == mine.get(f"/v1beta/files/{digits}n1:download?alt=media").content


def test_a_stream_tells_every_clip_it_made(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """What is streamed is what is kept."""
    _, mine, *_ = served
    digits = mine.made()
    told = mine.get(f"/v1/interactions/v1_{digits}?stream=true").text
    (delta,) = re.findall(r"^data: (.*step\.delta.*)$", told, re.MULTILINE)

    kept = mine.get(f"/v1beta/files/{digits}:download?alt=media").content
    assert kept == base64.b64decode(json.loads(delta)["delta"]["data"])
    assert told.endswith("event: done\ndata: [DONE]\n\n")


def test_a_stream_goes_on_after_the_event_last_seen(served: tuple[Server, Asker, Asker, Asker]) -> None:
    """Nothing is told twice and nothing left out, wherever it broke off; what was never told is refused."""
    _, mine, *_ = served
    path = f"/v1beta/interactions/v1_{mine.made()}"
    failed = mine.post("/v1beta/interactions", {"model": OMNI, "input": "a cat [fail]", "background": True}).json()[
        "id"
    ]
    eventually(lambda: mine.get(f"/v1beta/interactions/{failed}").json()["status"] == "failed")

    def told(path: str, last: str = "") -> list[str]:
        text = mine.get(path, params={"stream": "true", **({"last_event_id": last} if last else {})}).text
        assert text.endswith("event: done\ndata: [DONE]\n\n")
        return re.findall(r"^data: (\{.*)$", text, re.MULTILINE)

    made, not_made = ["created", "start", "delta", "stop", "completed"], ["created", "error", "completed"]
    for each, kinds in ((path, made), (f"/v1beta/interactions/{failed}", not_made)):
        whole = told(each)
        ids = [json.loads(one)["event_id"] for one in whole]
        assert [f"e{number}" for number in range(1, len(whole) + 1)] == ids
        assert kinds == [json.loads(one)["event_type"].rpartition(".")[2] for one in whole]
        for at, last in enumerate(ids, 1):
            assert whole[at:] == told(each, last)
    for query in ("stream=true&last_event_id=x", "stream=true&last_event_id=e0", "last_event_id=e1"):
        refused = mine.get(f"{path}?{query}")
        assert (400, "INVALID_ARGUMENT") == (refused.status_code, refused.json()["error"]["status"])
        assert "last_event_id" in refused.json()["error"]["message"]
