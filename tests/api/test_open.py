"""Laws of the open gateway: what a newcomer finds on the embedded default."""

import base64
import json
from io import BytesIO

import av
import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from gateway.events.events import TYPES
from gateway.jobs.job import State
from tests.outside import picture
from tests.server import Server, eventually

CLIP = {"model": "sandbox/demo", "prompt": "a paper boat", "seconds": 1, "resolution": "360p", "seed": 3}
THIRTEEN = {
    "id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "seconds",
    "size", "remixed_from_video_id", "error",
}  # fmt: skip


def finished(server: Server, **changes: object) -> dict[str, object]:
    """Order a clip and wait for its end."""
    answer = server.post("/v1/videos", {**CLIP, **changes})
    assert answer.status_code == 200, answer.text
    path = f"/v1/videos/{answer.json()['id']}"
    eventually(lambda: server.get(path).json()["status"] in {"completed", "failed"})
    video: dict[str, object] = server.get(path).json()
    return video


def videos(server: Server) -> list[str]:
    """List the newest videos there are."""
    return [each["id"] for each in server.get("/v1/videos?limit=100").json()["data"]]


@pytest.fixture(scope="module")
def clip(server: Server) -> dict[str, object]:
    """One finished clip."""
    return finished(server)


def test_thirteen_fields_whatever_happens(server: Server, clip: dict[str, object]) -> None:
    """Queued, failed or done, a video has every field of OpenAI's, of the right kind."""
    queued = server.post("/v1/videos", CLIP).json()
    failed = finished(server, prompt="[fail] no")
    for video in (queued, failed, clip):
        assert set(video) >= THIRTEEN
        assert video["status"] in {"queued", "in_progress", "completed", "failed"}
        assert isinstance(video["progress"], int)
        assert isinstance(video["seconds"], str)
        assert isinstance(video["created_at"], int)
    assert failed["error"]["code"] == "generation_failed"  # type: ignore[index]
    assert (clip["error"], clip["progress"], clip["size"]) == (None, 100, "640x360")


def test_a_sandbox_clip_says_so(clip: dict[str, object]) -> None:
    """Nobody takes a test clip for a real one."""
    assert clip["provider"] == "sandbox"
    assert "sandbox" in [warning["type"] for warning in clip["warnings"]]  # type: ignore[attr-defined, index]
    assert clip["usage"]["cost"] == 0  # type: ignore[index]


def test_a_clip_is_measured_when_it_is_kept(clip: dict[str, object]) -> None:
    """What the file really is stands in the answer."""
    video = clip["outputs"][0]  # type: ignore[index]
    assert (video["codec"], video["width"], video["height"], video["fps"]) == ("h264", 640, 360, 24)
    assert (video["has_audio"], video["audio_codec"]) == (True, "aac")
    assert video["duration_seconds"] == pytest.approx(1, abs=0.05)


def test_content_is_served_as_files_are(server: Server, clip: dict[str, object]) -> None:
    """HEAD, ranges, validators and renditions, on the real socket."""
    path = f"/v1/videos/{clip['id']}/content"
    whole = server.get(path)
    head = httpx.head(f"{server.url}{path}", trust_env=False)
    assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
    assert int(head.headers["content-length"]) == len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"

    def ask(**headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{server.url}{path}", headers=named, trust_env=False)

    part = ask(range="bytes=4-7")
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    assert ask(range="bytes=-3").content == whole.content[-3:]
    assert ask(range=f"bytes={len(whole.content)}-").status_code == 416
    assert ask(if_none_match=whole.headers["etag"]).status_code == 304
    assert ask(if_modified_since=whole.headers["last-modified"]).status_code == 304
    missed = ask(if_match='"stale"')
    assert (missed.status_code, missed.json()["error"]["code"]) == (412, "precondition_failed")
    assert ask(if_match=whole.headers["etag"]).status_code == 200
    assert ask(range="bytes=0-1", if_range='"stale"').status_code == 200
    joined = b"".join(ask(range=f"bytes={at}-{at + 9999}").content for at in range(0, len(whole.content), 10_000))
    assert joined == whole.content
    assert server.get(f"{path}?variant=thumbnail").content[8:12] == b"WEBP"
    assert server.get(f"{path}?variant=spritesheet").content[:3] == b"\xff\xd8\xff"
    assert server.get(f"{path}?variant=hologram").status_code == 422
    assert server.get(f"{path}?index=1").status_code == 404


def test_head_is_answered_as_get(server: Server, clip: dict[str, object]) -> None:
    """The same head, and no body, wherever there is a GET."""
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        file = http.post("/v1/files", files={"file": ("p.png", picture())}).json()["id"]
        video = f"/v1/videos/{clip['id']}"
        paths = (
            "/v1/videos",
            video,
            f"/videos/{clip['id']}",
            f"{video}/events",
            "/v1/models",
            f"/v1/files/{file}/content",
        )
        for path in (*paths, "/health/live", "/health/ready", "/docs", "/openapi.json"):
            got, head = http.get(path), http.head(path)
            assert (got.status_code, b"") == (head.status_code, head.content), path
            for name in ("content-type", "content-length", "etag", "cache-control"):
                assert got.headers.get(name) == head.headers.get(name), (path, name)
        assert 404 == http.head("/v1/videos/video_1").status_code
        assert 405 == http.head("/v1/quotes").status_code


def test_how_a_video_stands_has_a_name(server: Server, clip: dict[str, object]) -> None:
    """By which a client is told that nothing has changed; whatever does, changes it."""
    path = f"/v1/videos/{clip['id']}"
    etag = server.get(path).headers["etag"]
    assert etag.startswith('W/"')

    def ask(tags: str, path: str = path) -> httpx.Response:
        return httpx.get(f"{server.url}{path}", headers={"if-none-match": tags}, trust_env=False)

    for tags in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        answer = ask(tags)
        assert (304, b"", etag) == (answer.status_code, answer.content, answer.headers["etag"])
        assert "content-length" not in answer.headers
    assert 200 == ask('"other"').status_code
    assert 404 == ask("*", "/v1/videos/video_" + "0" * 32).status_code
    slow = f"/v1/videos/{server.post('/v1/videos', {**CLIP, 'prompt': '[slow 30] named'}).json()['id']}"
    before = server.get(slow).headers["etag"]
    server.post(f"{slow}/cancel", {})
    answer = ask(before, slow)
    assert 200 == answer.status_code
    assert before != answer.headers["etag"]


def test_the_last_picture_is_the_clips_own(server: Server, clip: dict[str, object]) -> None:
    """``variant=last_frame`` is what the clip ends with, pixel for pixel; and what another clip can begin with."""
    path = f"/v1/videos/{clip['id']}/content"
    answer = server.get(f"{path}?variant=last_frame")
    with av.open(BytesIO(server.get(path).content)) as container:
        *_, ending = container.decode(video=0)
    picture = Image.open(BytesIO(answer.content))
    assert ("image/png", "PNG", (640, 360)) == (answer.headers["content-type"], picture.format, picture.size)
    assert ending.to_image().tobytes() == picture.tobytes()

    longer = finished(server, input_reference={"id": clip["id"]})
    (first,) = longer["request"]["inputs"]  # type: ignore[index]
    assert ("completed", "first_frame") == (longer["status"], longer["request"]["mode"])  # type: ignore[index]
    assert ("first_frame", "image/png", len(answer.content)) == (first["role"], first["media_type"], first["bytes"])
    asked = {**CLIP, "input_reference": {"id": clip["id"], "index": 1}}
    assert (404, "video_expired") == _told(server.post("/v1/videos", asked))
    asked["input_reference"] = {"id": "video_" + "0" * 32}
    assert (404, "video_not_found") == _told(server.post("/v1/videos", asked))


def _told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_every_field_is_echoed(server: Server) -> None:
    """What was asked, with every open choice made, stands in ``request``."""
    asked = {
        "negative_prompt": "rain", "seed": 9, "fps": 12, "guidance_scale": 7.5, "enhance_prompt": True,
        "watermark": False, "person_generation": "allow_adult",
    }  # fmt: skip
    body = {
        **CLIP,
        **asked,
        "metadata": {"a": "b"},
        "user": "u",
        "external_id": "x",
        "callback_url": "https://acme.test/h",
    }
    video = server.post("/v1/videos", body).json()

    assert {name: video["request"][name] for name in asked} == asked
    assert (video["request"]["aspect_ratio"], video["request"]["audio"], video["request"]["n"]) == ("16:9", True, 1)
    assert (video["metadata"], video["user"], video["external_id"]) == ({"a": "b"}, "u", "x")
    assert "callback_url" not in [warning["feature"] for warning in video["warnings"]]
    assert "https://acme.test/h" == video["callback_url"]


def test_who_would_rather_pay_twice_says_so(server: Server) -> None:
    """It is echoed, part of what a call is known by, taken and without effect in a quote, and no duplicate as yet."""

    def ask(body: dict[str, object]) -> httpx.Response:
        named = {"idempotency-key": "pay-twice"}
        return httpx.post(f"{server.url}/v1/videos", json=body, headers=named, trust_env=False, timeout=30)

    body = {**CLIP, "prompt": "perhaps two cats", "on_unknown": "resubmit"}
    video = ask(body).json()
    assert (video["request"]["provider"]["on_unknown"], video["possible_duplicate"]) == ("resubmit", False)
    assert ask(body).json()["id"] == video["id"]
    for other in (
        {**body, "on_unknown": "fail"},
        {name: value for name, value in body.items() if name != "on_unknown"},
    ):
        assert ask(other).status_code == 422
    plain = server.post("/v1/videos", {**CLIP, "on_unknown": "fail"}).json()
    assert "on_unknown" not in plain["request"]["provider"]
    quotes = [server.post("/v1/quotes", {**body, "on_unknown": how}).json()["data"] for how in ("resubmit", "fail")]
    assert quotes[0] == quotes[1]
    for each in (video, plain):
        server.post(f"/v1/videos/{each['id']}/cancel", {})


def test_aliases_keep_old_apps_alive(server: Server) -> None:
    """``sora-2`` is served by a model that can; a length only another can make goes there."""
    short = server.post("/v1/videos", {"prompt": "x", "model": "sora-2", "seconds": "4"}).json()
    longer = server.post("/v1/videos", {"prompt": "x", "model": "sora-2", "seconds": "10"}).json()

    assert (short["model"], short["resolved_model"]) == ("sora-2", "google/veo-3.1-fast")
    assert longer["resolved_model"] == "google/gemini-omni-flash"
    for video in (short, longer):
        server.post(f"/v1/videos/{video['id']}/cancel", {})


def test_clips_are_made_from_clips(server: Server, clip: dict[str, object]) -> None:
    """Remix, edit and extend take an earlier clip; an extension is as long as both."""
    remix = server.post(f"/v1/videos/{clip['id']}/remix", {"prompt": "at night"}).json()
    edit = server.post("/v1/videos/edits", {"prompt": "at dusk", "video": {"id": clip["id"]}}).json()
    longer = server.post("/v1/videos/extensions", {"prompt": "on", "video": {"id": clip["id"]}, "seconds": "2"}).json()

    assert (remix["remixed_from_video_id"], remix["operation"]) == (clip["id"], "remix")
    assert (edit["remixed_from_video_id"], edit["parent_video_id"], edit["size"]) == (None, clip["id"], clip["size"])
    assert longer["seconds"] == "3"
    for video in (remix, edit, longer):
        path = f"/v1/videos/{video['id']}"
        eventually(lambda path=path: server.get(path).json()["status"] in {"completed", "failed"})
        done = server.get(path).json()
        assert done["status"] == "completed", done["error"]
        assert done["outputs"][0]["duration_seconds"] == pytest.approx(int(done["seconds"]), abs=0.1)
        assert [warning for warning in done["warnings"] if warning["type"] == "mismatch"] == []


def test_a_clip_of_a_clip_is_quoted_as_it_is_ordered(server: Server) -> None:
    """It is of the earlier clip's model, shape and length where the call leaves them open; of nobody else's clip."""
    before = finished(server, resolution="360p", aspect_ratio="9:16", seconds=2)
    for more in ({"task": "edit"}, {"task": "extend"}, {"task": "upscale"}, {"task": "edit", "model": "sandbox/demo"}):
        wanted = {"prompt": "at night", "video": {"id": before["id"]}, **more}
        quoted = server.post("/v1/quotes", wanted).json()
        video = server.post("/v1/videos", wanted).json()
        server.post(f"/v1/videos/{video['id']}/cancel", {})
        (first,) = quoted["data"]
        assert ("sandbox/demo", "sandbox:sandbox/demo", "9:16") == (
            quoted["model"], first["offer"], first["spec"]["aspect_ratio"],
        )  # fmt: skip
        assert first["spec"].items() <= video["request"].items()
    ghost = {"prompt": "x", "video": {"id": f"video_{'0' * 32}"}}
    assert [404, 404] == [server.post(path, ghost).status_code for path in ("/v1/quotes", "/v1/videos")]


def test_several_clips_are_one_video(server: Server) -> None:
    """``n`` clips come as outputs of one video, each by its index."""
    video = finished(server, n=2)
    first, second = (server.get(f"/v1/videos/{video['id']}/content?index={index}").content for index in (0, 1))

    assert first[4:8] == second[4:8] == b"ftyp"
    assert first != second


def test_a_clip_that_is_not_what_was_ordered_is_marked(server: Server) -> None:
    """The sandbox's ``[short]`` clip is kept, with a warning that names the difference."""
    video = finished(server, seconds=2, prompt="[short] a boat")

    assert video["status"] == "completed"
    assert ("mismatch", "seconds") in [(each["type"], each["feature"]) for each in video["warnings"]]  # type: ignore[attr-defined, index]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("[refuse]", "content_policy_violation"),
        ("[block]", "content_policy_violation"),
        ("[reject]", "provider_invalid"),
        ("[unauthorized]", "provider_unauthorized"),
        ("[exhausted]", "provider_exhausted"),
        ("[vanish]", "task_lost"),
    ],
)
def test_trouble_comes_through_as_what_it_is(server: Server, prompt: str, code: str) -> None:
    """Each way of failing has its own code."""
    video = finished(server, prompt=f"{prompt} trouble")

    assert (video["status"], video["error"]["code"]) == ("failed", code)  # type: ignore[index]


@pytest.mark.parametrize("prompt", ["[throttle]", "[unavailable]", "[lost]", "[garbage]", "[strange]", "[slow 0.5]"])
def test_trouble_that_passes_is_got_over(server: Server, prompt: str) -> None:
    """Turned away, lost and found again, or in words nobody knows: the clip comes, bought once."""
    video = finished(server, prompt=f"{prompt} trouble {prompt}")
    attempts = server.get(f"/v1/videos/{video['id']}/attempts").json()["data"]

    assert video["status"] == "completed", video["error"]
    assert [each["outcome"] for each in attempts].count("succeeded") == 1


@pytest.mark.parametrize(("asked", "kept"), [(3600, 3600), (10 * 365 * 86_400, 30 * 86_400)])
def test_a_call_may_have_its_clip_kept_for_less(server: Server, asked: int, kept: int) -> None:
    """As long as it asks for, and no longer than the operator keeps any."""
    video = finished(server, output={"retention_seconds": asked})
    assert kept == video["expires_at"] - video["completed_at"]  # type: ignore[operator]


def test_cancelling_stops_the_work(server: Server) -> None:
    """A cancelled video is failed to the SDKs, with a code of its own; a finished one cannot be cancelled."""
    id_ = server.post("/v1/videos", {**CLIP, "prompt": "[stuck] for ever"}).json()["id"]
    assert httpx.delete(f"{server.api}/videos/{id_}", trust_env=False).status_code == 409
    assert server.post(f"/v1/videos/{id_}/cancel", {}).status_code == 200
    eventually(lambda: server.get(f"/v1/videos/{id_}").json()["status"] == "failed")

    error = server.get(f"/v1/videos/{id_}").json()["error"]
    assert ("cancelled", False, None, None) == (
        error["code"], error["retryable"], error["provider"], error["provider_code"],
    )  # fmt: skip
    again = server.post(f"/v1/videos/{id_}/cancel", {})
    assert (again.status_code, again.headers["x-should-retry"]) == (409, "false")


def test_pictures_may_be_files_data_or_ids(server: Server) -> None:
    """The same picture by three ways is the same input."""
    held = BytesIO()
    Image.new("RGB", (640, 360), "orange").save(held, "PNG")
    data = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    with httpx.Client(base_url=server.api, trust_env=False) as http:
        upload = {"file": ("../../x.png", held.getvalue(), "text/plain")}
        file = http.post("files", files=upload, data={"purpose": "vision"}).json()
        by_id = http.post("videos", json={**CLIP, "input_reference": {"file_id": file["id"]}}).json()
        by_data = http.post("videos", json={**CLIP, "input_reference": {"image_url": data}}).json()
        form = {key: str(value) for key, value in CLIP.items()}
        by_file = http.post("videos", data=form, files={"input_reference": ("a", held.getvalue())}).json()
        assert http.get(f"files/{file['id']}/content").content == held.getvalue()
        assert [each["id"] for each in http.get("files").json()["data"]].count(file["id"]) == 1
        assert http.delete(f"files/{file['id']}").json()["deleted"] is True
        assert http.get(f"files/{file['id']}").status_code == 404

    assert file["filename"] == "x.png"
    inputs = [video["request"]["inputs"] for video in (by_id, by_data, by_file)]
    assert inputs[0] == inputs[1] == inputs[2]
    assert (inputs[0][0]["role"], inputs[0][0]["width"], inputs[0][0]["media_type"]) == (
        "first_frame",
        640,
        "image/png",
    )


def test_a_dry_run_is_a_quote(server: Server, clip: dict[str, object]) -> None:
    """``dry_run`` says of every way to order what it would cost, in the words of ``/v1/quotes``; nothing is kept."""
    before, source = videos(server), {"prompt": "rain", "video": {"id": clip["id"]}}
    for way in ("true", "1"):
        dry = server.post(f"/v1/videos?dry_run={way}&api-version=preview", CLIP)
        assert (200, server.post("/v1/quotes", CLIP).json()) == (dry.status_code, dry.json())
    for path, body, mode in (
        (f"/v1/videos/{clip['id']}/remix", {"prompt": "rain"}, "edit"),
        ("/v1/videos/edits", source, "edit"),
        ("/v1/videos/extensions", {**source, "model": "sandbox/demo"}, "extend"),
    ):
        dry = server.post(f"{path}?dry_run=true", body)
        assert 200 == dry.status_code, dry.text
        assert {mode} == {each["spec"]["mode"] for each in dry.json()["data"] if each["can"]}
    wrong = server.post("/v1/videos?dry_run=true", {**CLIP, "seconds": 0})
    assert (422, "seconds") == (wrong.status_code, wrong.json()["error"]["param"])
    assert before == videos(server)


def test_a_dry_run_refuses_what_no_offer_mends(server: Server) -> None:
    """In the same words, and so does a quote: whom nobody may tell, and an Idempotency-Key that is none."""
    before = videos(server)
    wrong: list[tuple[dict[str, str], dict[str, str], tuple[int, str, str]]] = [
        ({"callback_url": "http://169.254.169.254/x"}, {}, (422, "url_not_allowed", "callback_url")),
        ({}, {"idempotency-key": "k" * 300}, (400, "invalid_idempotency_key", "Idempotency-Key")),
    ]
    for changes, headers, refusal in wrong:
        said = []
        for path in ("/v1/videos", "/v1/videos?dry_run=true", "/v1/quotes"):
            body = {**CLIP, **changes}
            answer = httpx.post(server.url + path, json=body, headers=headers, trust_env=False, timeout=30)
            error = answer.json()["error"]
            assert refusal == (answer.status_code, error["code"], error["param"])
            said.append(error["message"])
        assert 1 == len(set(said))
    assert before == videos(server)


def test_no_order_is_read_from_an_address(server: Server) -> None:
    """A field that stands in the query is refused by name, not ordered without; what other clients send is let be."""
    before = videos(server)
    for query, param in (
        ("max_cost_usd=0", "max_cost_usd"),
        ("seconds=4", "seconds"),
        ("DRY_RUN=true", "DRY_RUN"),
        ("dryrun", "dryrun"),
    ):
        for path in ("/v1/videos", "/videos", "/v1/quotes", "/v1/videos/edits", "/v1/videos/extensions"):
            error = server.post(f"{path}?{query}", CLIP)
            said = error.json()["error"]
            assert (400, "unknown_parameter", param) == (error.status_code, said["code"], said["param"])
    for said in ("dry_run", "dry_run=yes", "dry_run=true&dry_run=false"):
        unclear = server.post(f"/v1/videos?{said}", CLIP)
        assert (422, "dry_run") == (unclear.status_code, unclear.json()["error"]["param"])
    assert before == videos(server)
    theirs = "custom_llm_provider=azure&api-version=preview"
    ordered = server.post(f"/v1/videos?dry_run=false&{theirs}", CLIP)
    assert "video" == ordered.json()["object"]
    for path in ("videos", "files", "webhook_endpoints", "offers", "spend", "comparison"):
        assert 200 == server.get(f"/v1/{path}?{theirs}").status_code


def test_quotes_cost_nothing(server: Server) -> None:
    """Every offer answers with a price or its reasons, and no job comes of it."""
    before = server.get("/v1/videos?limit=1").json()["first_id"]
    quotes = server.post("/v1/quotes", {"prompt": "x", "model": "auto", "seconds": 8}).json()["data"]

    assert {quote["offer"] for quote in quotes} >= {"sandbox:google/veo-3.1", "sandbox:sandbox/demo"}
    for quote in quotes:
        assert quote["can"] == (quote["usd"] is not None) == (not quote["reasons"])
    assert next(quote for quote in quotes if quote["model"] == "sandbox/unpriced")["can"] is False
    assert server.get("/v1/videos?limit=1").json()["first_id"] == before


def test_models_are_listed_with_what_they_take(server: Server) -> None:
    """The list a chat UI probes, and one model by its name, slash and all."""
    listed = server.get("/v1/models").json()
    names = [model["id"] for model in listed["data"]]

    assert listed["object"] == "list"
    assert {"sora-2", "google/veo-3.1-fast", "google/gemini-omni-flash", "sandbox/demo"} <= set(names)
    one = server.get("/v1/models/google/veo-3.1-fast").json()
    assert (one["object"], one["owned_by"], one["offers"][0]["provider"]) == ("model", "google", "sandbox")
    assert server.get("/v1/models/sora-2").json()["alias_of"][0] == "google/veo-3.1-fast"
    assert server.get("/v1/models/nobody").status_code == 404


def test_the_version_may_be_left_out(server: Server, clip: dict[str, object]) -> None:
    """Clients whose base URL lacks /v1 are served the same."""
    assert server.get(f"/videos/{clip['id']}").json() == server.get(f"/v1/videos/{clip['id']}").json()


def test_health_and_metrics(server: Server, clip: dict[str, object]) -> None:
    """Probes answer, and the figures are Prometheus' own format with our counts in them."""
    assert server.get("/health/live").json() == {"status": "live"}
    assert server.get("/health/ready").json() == {"status": "ready"}
    families = {family.name: family for family in text_string_to_metric_families(server.get("/metrics").text)}
    ended = {tuple(sorted(sample.labels.items())): sample.value for sample in families["reelgate_jobs"].samples}

    assert ended[("model", "sandbox/demo"), ("provider", "sandbox"), ("state", "succeeded")] >= 1
    assert {sample.labels["state"] for sample in families["reelgate_jobs_now"].samples} == set(State)
    assert all("video_" not in str(sample.labels) for family in families.values() for sample in family.samples)


def test_answers_carry_an_id(server: Server) -> None:
    """A sane request id is kept, any other replaced; what was asked twice can be found in the log."""
    own = httpx.get(f"{server.url}/health/live", headers={"x-request-id": "mine-1"}, trust_env=False)
    most, longer = (
        httpx.get(f"{server.url}/health/live", headers={"x-request-id": "a" * size}, trust_env=False)
        for size in (128, 129)
    )
    odd = httpx.get(f"{server.url}/health/live", headers={"x-request-id": "a b;c" * 50}, trust_env=False)

    assert own.headers["x-request-id"] == "mine-1"
    assert odd.headers["x-request-id"].startswith("req_")
    assert (most.headers["x-request-id"], longer.headers["x-request-id"][:4]) == ("a" * 128, "req_")
    assert own.headers["openai-processing-ms"].isdigit()


@pytest.mark.parametrize(("model", "since"), [("sora-2", "@1774310400"), ("google/veo-3.1-fast", None)])
def test_a_name_its_maker_has_deprecated_says_so(server: Server, model: str, since: str | None) -> None:
    """At the order and ever after, and goes on being served."""
    ordered = server.post("/v1/videos", {"model": model, "prompt": "a kite", "seconds": "4"})
    seen = server.get(f"/v1/videos/{ordered.json()['id']}")
    assert [(200, since)] * 2 == [(each.status_code, each.headers.get("deprecation")) for each in (ordered, seen)]
    assert "sunset" not in seen.headers


def test_a_trace_is_found_in_the_log(server: Server) -> None:
    """By its id, beside the job that was ordered in it; what is no trace is not written."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    for parent in (f"00-{trace}-b7ad6b7169203331-01", f"00-{trace}-zz-01", f"00-{'0' * 32}-b7ad6b7169203331-01"):
        body = {**CLIP, "prompt": parent}
        answer = httpx.post(f"{server.api}/videos", json=body, headers={"traceparent": parent}, trust_env=False)
        assert answer.status_code == 200
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if '"trace"' in line]

    assert [("job.traced", trace)] == [(line["event"], line["trace"]) for line in lines]
    assert f"00-{trace}-b7ad6b7169203331-01" == server.get(f"/v1/videos/{lines[0]['job']}").json()["prompt"]


def test_events_are_json(server: Server, clip: dict[str, object]) -> None:
    """Every event is one JSON object named noun.past-participle; no prompt is in the log."""
    events = [json.loads(line) for line in server.log.read_text().splitlines()]

    assert {"gateway.started", "job.ended"} <= {event["event"] for event in events}
    assert all(event["event"].count(".") == 1 for event in events)
    assert "paper boat" not in server.log.read_text()


def test_the_document_describes_what_is_there(server: Server) -> None:
    """OpenAPI 3.1: every route, both bodies, the thirteen fields, the one shape of errors."""
    document = server.get("/openapi.json").json()
    create = document["paths"]["/v1/videos"]["post"]

    assert document["openapi"].startswith("3.1")
    assert set(create["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert THIRTEEN <= set(document["components"]["schemas"]["Video"]["required"])
    assert {"/v1/videos/{video_id}/content", "/v1/videos/edits", "/v1/quotes", "/v1/files"} <= set(document["paths"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("summary") or operation.get("description"), path
            assert "4XX" in operation["responses"]
    assert set(TYPES) == set(document["webhooks"])
    endpoint = document["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert {"$ref": "#/components/schemas/EndpointCreate"} == endpoint
    references = {part for part in json.dumps(document).split('"') if part.startswith("#/components/schemas/")}
    assert {part.rpartition("/")[2] for part in references} <= set(document["components"]["schemas"])


def test_the_docs_page_needs_no_network(server: Server) -> None:
    """The page and its script come from here, and may load nothing from elsewhere."""
    page = server.get("/docs")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert server.get("/docs/rapidoc-min.js").content.startswith(b"/*! RapiDoc")


def test_files_are_listed_by_purpose(server: Server) -> None:
    """Page by page, in either order; a clean-up that lists one purpose deletes nothing else."""
    with httpx.Client(base_url=f"{server.api}/", trust_env=False) as http:

        def upload(purpose: str, n: int) -> str:
            image = picture((8, 8 + n))
            kept = http.post("files", files={"file": ("p.png", image)}, data={"purpose": purpose})
            return str(kept.json()["id"])

        ours = [upload(("batch", "keep")[n % 2], n) for n in range(6)]
        batch, kept = ours[::2], ours[1::2]
        for order, expected in (("asc", batch), ("desc", batch[::-1])):
            query: dict[str, str | int] = {"purpose": "batch", "limit": 2, "order": order}
            first = http.get("files", params=query).json()
            second = http.get("files", params={**query, "after": first["last_id"]}).json()
            assert [True, False] == [first["has_more"], second["has_more"]]
            assert expected == [each["id"] for page in (first, second) for each in page["data"]]
        for each in http.get("files", params={"purpose": "batch"}).json()["data"]:
            http.delete(f"files/{each['id']}")
        assert [] == http.get("files", params={"purpose": "batch"}).json()["data"]
        assert [200] * 3 == [http.get(f"files/{each}").status_code for each in kept]
        assert [] == http.get("files", params={"purpose": ""}).json()["data"]
        assert 422 == http.get("files", params={"purpose": "a\0"}).status_code
        assert 422 == http.get("videos", params={"purpose": "batch"}).status_code


def as_form(fields: dict[str, str]) -> dict[str, tuple[None, str]]:
    """Write the parts of a form."""
    return {name: (None, value) for name, value in fields.items()}


def test_a_form_says_numbers_as_json_does(server: Server) -> None:
    """Within what names media too: an index, a weight. Keys that are digits name no place in a list."""
    made = finished(server, n=2)
    image = data_url(picture())
    calls: list[tuple[str, dict[str, object], dict[str, str]]] = [
        ("/edits", {"video": {"id": made["id"], "index": 1}}, {"video[id]": str(made["id"]), "video[index]": "1"}),
        (
            "",
            {"input_references": [{"image_url": image, "weight": 0.5}]},
            {"input_references[][image_url]": image, "input_references[][weight]": "0.5"},
        ),
        ("", {"metadata": {"42": "a"}}, {"metadata[42]": "a"}),
    ]
    plain = {"prompt": "[fail] said twice", "model": "sandbox/demo", "seconds": "1", "resolution": "360p"}
    for path, said, form in calls:
        both = [
            httpx.post(f"{server.api}/videos{path}", **body, trust_env=False)  # type: ignore[arg-type]
            for body in ({"json": {**plain, **said}}, {"files": as_form({**plain, **form})})
        ]
        assert [200, 200] == [each.status_code for each in both], [each.text for each in both]
        one, other = (each.json() for each in both)
        assert (one["request"], one["metadata"]) == (other["request"], other["metadata"])
    for index in ("one", "-1"):
        wrong = as_form({**plain, "video[id]": str(made["id"]), "video[index]": index})
        answer = httpx.post(f"{server.api}/videos/edits", files=wrong, trust_env=False)
        assert (422, "video.index") == (answer.status_code, answer.json()["error"]["param"])


def test_a_form_holds_a_data_url_as_long_as_json_does(server: Server) -> None:
    """Up to the largest picture there may be; any other text is short."""
    plain = {"prompt": "a long address", "model": "sandbox/demo", "seconds": "1", "resolution": "360p"}
    for size, status in ((5 * 2**20, 200), (21 * 2**20, 413)):
        image = data_url(picture().ljust(size, b"\0"))
        said = {**plain, "input_reference": {"image_url": image}}
        assert status == httpx.post(f"{server.api}/quotes", json=said, trust_env=False, timeout=30).status_code
        form = as_form({**plain, "input_reference[image_url]": image})
        assert status == httpx.post(f"{server.api}/quotes", files=form, trust_env=False, timeout=30).status_code
    form = as_form({**plain, "negative_prompt": "a" * (4 * 2**20 + 1)})
    assert 413 == httpx.post(f"{server.api}/quotes", files=form, trust_env=False).status_code


def data_url(data: bytes) -> str:
    """Write a picture as an address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
