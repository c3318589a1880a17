"""Laws of the Flow surface: a script written for useapi runs, and reads what it always read."""

import base64
import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.server import Server, eventually
from tests.surfaces.conftest import picture

HERE = Path(__file__).parent
FLOW = "/v1/google-flow"
SMALL: dict[str, Any] = {"model": "sandbox/demo", "duration": 1, "resolution": "360p"}


def upload(api: httpx.Client, data: bytes, kind: str = "image/png", where: str = "/assets/jo%40example.com") -> str:
    """Upload a file and read what it is called."""
    answer = api.post(f"{FLOW}{where}", content=data, headers={"content-type": kind})
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["mediaGenerationId"]["mediaGenerationId"])


def ended(api: httpx.Client, jobid: str) -> dict[str, Any]:
    """Wait for a job's end and read its record."""
    path = f"{FLOW}/jobs/{jobid}"
    eventually(lambda: api.get(path).json()["status"] in {"completed", "failed"})
    found: dict[str, Any] = api.get(path).json()
    return found


def begun(api: httpx.Client, body: dict[str, Any], path: str = "/videos") -> dict[str, Any]:
    """Order without waiting."""
    answer = api.post(f"{FLOW}{path}", json={**body, "async": True})
    assert 201 == answer.status_code, answer.text
    job: dict[str, Any] = answer.json()
    return job


@pytest.fixture(scope="module")
def clip(api: httpx.Client) -> dict[str, Any]:
    """One finished clip, as media."""
    answer = api.post(f"{FLOW}/videos", json={"prompt": "a paper boat", "email": "jo@example.com", **SMALL})
    assert 200 == answer.status_code, answer.text
    assert {"jobId", "media", "operations"} == set(answer.json())
    (media,) = answer.json()["media"]
    found: dict[str, Any] = media
    return found


@pytest.mark.parametrize("script", ["flow_batch.py", "flow_batch.mjs"])
def test_a_batch_script(guarded: tuple[Server, str], tmp_path: Path, script: str) -> None:
    """Health, uploads, orders, looks, downloads, as scripts for useapi do them: all that changed is base and key."""
    runner = sys.executable if script.endswith(".py") else shutil.which("node")
    if runner is None:
        pytest.skip("Node is not here")
    for name in ("first", "last"):
        (tmp_path / f"{name}.png").write_bytes(picture("red" if name == "first" else "blue"))
    first, last = str(tmp_path / "first.png"), str(tmp_path / "last.png")
    plain = {"model": "veo-3.1-fast", "duration": 4}
    prompts = [
        {"prompt": "text", "aspectRatio": "portrait", **plain},
        {"prompt": "start", "startImage": first, **plain},
        {"prompt": "both", "startImage": first, "endImage": last, **plain},
        {"prompt": "two", "count": 2, **SMALL},
        {"prompt": "[fail] never", **plain},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    words = [f"{guarded[0].url}{FLOW}", guarded[1], "jo@example.com", str(tmp_path / "prompts.json"), str(tmp_path)]
    done = subprocess.run([runner, str(HERE / script), *words], capture_output=True, text=True, timeout=58)

    assert 0 == done.returncode, done.stderr
    said = sorted(line.split(" ", 1) for line in done.stdout.strip().splitlines())
    assert [[f"clip{n}", "completed"] for n in range(4)] == [[name, rest.split()[0]] for name, rest in said[:4]]
    assert ["clip4", "failed API error: 500"] == said[4]
    files = sorted(path.name for path in tmp_path.glob("*.mp4"))
    assert ["clip0-0.mp4", "clip1-0.mp4", "clip2-0.mp4", "clip3-0.mp4", "clip3-1.mp4"] == files
    assert {b"ftyp"} == {path.read_bytes()[4:8] for path in tmp_path.glob("*.mp4")}


@pytest.mark.parametrize(("word", "code"), [("[fail]", 500), ("[refuse]", 400)])
def test_a_failure_has_one_code(api: httpx.Client, word: str, code: int) -> None:
    """A call that waits answers what the job's record says: 400 is for what the client must change."""
    answer = api.post(f"{FLOW}/videos", json={"prompt": f"{word} never", **SMALL})
    record = api.get(f"{FLOW}/jobs/{answer.headers['x-reelgate-video']}").json()

    assert (code, code) == (answer.status_code, record["code"])
    assert record["errorDetails"] in answer.text


def test_a_job_tells_its_request_and_its_states(api: httpx.Client) -> None:
    """The record echoes what was asked in its own words, and hides most of the e-mail."""
    asked = {
        "prompt": "boat [slow 1]",
        "email": "john@example.com",
        "replyUrl": "https://app.example/h",
        "replyRef": "r1",
    }
    job = begun(api, {**asked, "aspectRatio": "portrait", "seed": 5, **SMALL})
    echo = job["request"]

    assert ("video", "created") == (job["type"], job["status"])
    assert ("jo***@example.com", "portrait", 5, "r1", 1) == tuple(
        echo[name] for name in ("email", "aspectRatio", "seed", "replyRef", "duration")
    )
    done = ended(api, job["jobid"])
    assert ("completed", job["jobid"]) == (done["status"], done["jobid"])
    (media,) = done["response"]["media"]
    assert f"-email:{b'john@example.com'.hex()}-video:" in media["mediaGenerationId"]
    assert b"ftyp" == api.get(media["videoUrl"]).content[4:8]
    assert b"RIFF" == api.get(media["thumbnailUrl"]).content[:4]
    assert "1s" == media["video"]["dimensions"]["length"]


def test_uploads_are_called_and_found(api: httpx.Client, clip: dict[str, Any]) -> None:
    """An upload's id carries its account; it is found again as an address, or as bytes."""
    data = picture()
    name = upload(api, data)
    assert f"-email:{b'jo@example.com'.hex()}-image:" in name
    assert name != upload(api, data, where="/assets")
    found = api.get(f"{FLOW}/assets/{name}").json()
    assert (name, data) == (found["mediaGenerationId"], api.get(found["url"]).content)
    assert data == api.get(f"{FLOW}/assets/{name}?raw").content
    video = api.get(f"{FLOW}/assets/{clip['mediaGenerationId']}?raw").content
    again = api.post(f"{FLOW}/assets", content=video, headers={"content-type": "video/mp4"}).json()
    assert (1.0, 640) == (again["durationSeconds"], again["width"])


def test_references_characters_and_voices(api: httpx.Client) -> None:
    """Numbered slots become lists, in their order."""
    names = [upload(api, picture(colour)) for colour in ("red", "blue")]
    body = {
        "prompt": "@referenceImage_2 speaks", "referenceImage_1": names[0], "referenceImage_3": names[1],
        "character_1": "user:1-character:x", "referenceAudio_1": "Zephyr", "captchaRetry": 5, **SMALL,
    }  # fmt: skip
    request = api.get(f"/v1/videos/{begun(api, body)['jobid']}").json()["request"]

    assert (["reference"] * 2, ["user:1-character:x"], [{"id": "Zephyr"}], "reference") == (
        [each["role"] for each in request["inputs"]], request["characters"], request["voices"], request["mode"],
    )  # fmt: skip
    assert {"flow": {"captchaRetry": 5}} == request["options"]


def character(api: httpx.Client, *pictures: str, **said: Any) -> httpx.Response:
    """Ask for a character of what was uploaded."""
    body = {f"imageReference_{number}": name for number, name in enumerate(pictures, 1)}
    return api.post(f"{FLOW}/characters", json={"displayName": "Carol", **body, **said})


def test_a_character_is_an_element(api: httpx.Client) -> None:
    """What a character was made of is what a clip is ordered with; its name alone brings it back."""
    names = [upload(api, picture(colour)) for colour in ("red", "blue")]
    made = character(api, *names, personalityNotes="A curious traveler", voice="Umbriel")
    assert 200 == made.status_code, made.text
    said = made.json()
    assert ("Carol", "A curious traveler", "Umbriel", 2) == (
        said["displayName"], said["personalityNotes"], said["voice"], len(said["imageReferences"]),
    )  # fmt: skip
    assert said["character"] == f"user:1-email:{b'jo@example.com'.hex()}-character:{said['entityId']}-imgs:2"
    other = character(api, names[1], personalityNotes=None).json()
    assert {"entityId", "character", "displayName", "imageReferences"} == set(other)
    slots = {"character_1": "user:1-character:x", "character_2": said["character"], "character_4": other["character"]}
    job = begun(api, {"prompt": "@character_2 waves", **slots, **SMALL})
    request = api.get(f"/v1/videos/{job['jobid']}").json()["request"]
    carol = {"name": "Carol", "description": "A curious traveler", "voice_id": "Umbriel"}

    assert (["user:1-character:x"], [carol, {"name": "character_4"}], "reference") == (
        request["characters"], request["elements"], request["mode"],
    )  # fmt: skip
    assert [("element", "Carol")] * 2 + [("element", "character_4")] == [
        (each["role"], each["name"]) for each in request["inputs"]
    ]
    assert "completed" == ended(api, job["jobid"])["status"]


def test_what_no_character_is_made_of(api: httpx.Client, clip: dict[str, Any]) -> None:
    """Each refusal names the client's parameter; a character that was cut is none."""
    name = upload(api, picture())
    stranger = name[:-32] + "0" * 32
    wrong: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
        ((), {}, "imageReference_1"), ((clip["mediaGenerationId"],), {}, "imageReference_1"),
        ((name, "x"), {}, "imageReference_2"), ((name, stranger), {}, "imageReference_2"),
        ((), {"imageReference_2": name}, "imageReference_1"), ((name,), {"displayName": " "}, "displayName"),
        ((name,), {"displayName": 7}, "displayName"), ((name,), {"displayName": "a" * 201}, "displayName"),
        ((name,), {"personalityNotes": "a" * 2001}, "personalityNotes"), ((name,), {"voice": ["Kore"]}, "voice"),
        ((name,), {"email": "jo@example.com"}, "Parameter email not supported"),
    ]  # fmt: skip
    for pictures, said, param in wrong:
        answer = character(api, *pictures, **said)
        assert (400, {"error"}) == (answer.status_code, set(answer.json())), answer.text
        assert param in answer.json()["error"]
    film = api.get(f"{FLOW}/assets/{clip['mediaGenerationId']}?raw").content
    assert 400 == character(api, upload(api, film, "video/mp4")).status_code
    mine = character(api, name).json()["character"]
    spoilt = mine.replace("rg_", "rg_A")
    for slots in ({"character_1": spoilt}, {"character_1": mine, "character_2": "user:1-character:x"}):
        answer = api.post(f"{FLOW}/videos", json={"prompt": "x", **slots, **SMALL})
        assert (400, True) == (answer.status_code, [*slots][-1] in answer.json()["error"]), answer.text
    asked = {"prompt": "x", "model": "veo-3.1-quality", "character_1": mine}
    assert "character_1" in api.post(f"{FLOW}/videos", json=asked).json()["error"]


def test_clips_go_on(api: httpx.Client, clip: dict[str, Any]) -> None:
    """Edited, extended, upscaled; and an extension joined to its source is the clip that is both."""
    source = clip["mediaGenerationId"]
    edited = begun(api, {"prompt": "clouds", "referenceVideo_1": source, **SMALL, "duration": None})
    extended = begun(api, {"mediaGenerationId": source, "prompt": "on", "model": "sandbox/demo"}, "/videos/extend")
    larger = begun(api, {"mediaGenerationId": source, "resolution": "720p"}, "/videos/upscale")
    modes = [api.get(f"/v1/videos/{each['jobid']}").json()["request"]["mode"] for each in (edited, extended, larger)]
    assert ["edit", "extend", "upscale"] == modes
    assert "completed" == ended(api, edited["jobid"])["status"]
    (media,) = ended(api, extended["jobid"])["response"]["media"]
    assert {"width": 1280, "height": 720} == {
        name: ended(api, larger["jobid"])["response"]["media"][0]["video"]["dimensions"][name]
        for name in ("width", "height")
    }
    parts = [{"mediaGenerationId": source}, {"mediaGenerationId": media["mediaGenerationId"], "trimStart": 1}]
    joined = api.post(f"{FLOW}/videos/concatenate", json={"media": parts})
    assert (200, 2) == (joined.status_code, joined.json()["inputsCount"])
    assert base64.b64decode(joined.json()["encodedVideo"]) == api.get(media["videoUrl"]).content
    apart = api.post(f"{FLOW}/videos/concatenate", json={"media": parts[::-1]})
    assert (400, True) == (apart.status_code, "media[1]" in apart.json()["error"])


def test_a_clip_becomes_a_gif(api: httpx.Client, clip: dict[str, Any]) -> None:
    """Ten pictures a second, in base64; an upload is no clip of ours."""
    answer = api.post(f"{FLOW}/videos/gif", json={"mediaGenerationId": clip["mediaGenerationId"]})
    with Image.open(BytesIO(base64.b64decode(answer.json()["encodedGif"]))) as drawn:
        assert ("GIF", (320, 180), 10) == (drawn.format, drawn.size, getattr(drawn, "n_frames", 0))
    other = api.post(f"{FLOW}/videos/gif", json={"mediaGenerationId": upload(api, picture())})
    assert (400, True) == (other.status_code, "mediaGenerationId" in other.json()["error"])


def test_the_second_of_two_clips_is_the_second(api: httpx.Client) -> None:
    """What goes on from a clip goes on from that one, not from the first of its job."""
    done = ended(api, begun(api, {"prompt": "two", "count": 2, **SMALL})["jobid"])
    second = done["response"]["media"][1]
    job = begun(api, {"prompt": "clouds", "referenceVideo_1": second["mediaGenerationId"], "model": "sandbox/demo"})
    (source,) = api.get(f"/v1/videos/{job['jobid']}").json()["request"]["inputs"]
    (kept,) = [
        each
        for each in api.get(f"/v1/videos/{done['jobid']}").json()["outputs"]
        if each["kind"] == "video" and each["index"] == 1
    ]

    assert kept["sha256"] == source["sha256"]


def test_a_form_does_as_well(api: httpx.Client) -> None:
    """Multipart carries the same names, all of them texts."""
    fields = {
        "prompt": "form",
        "async": "true",
        "seed": "9",
        "duration": "1",
        "model": "sandbox/demo",
        "resolution": "360p",
    }
    answer = api.post(f"{FLOW}/videos", files={name: (None, value) for name, value in fields.items()})

    assert 201 == answer.status_code, answer.text
    assert (9, 1) == tuple(answer.json()["request"][name] for name in ("seed", "duration"))


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/videos", {}, "prompt"),
        ("/videos", {"prompt": "x", "generateAudio": True}, "Parameter generateAudio not supported"),
        ("/videos", {"prompt": "x", "duration": 7}, "duration"),
        ("/videos", {"prompt": "x", "model": "veo-9"}, "model"),
        ("/videos", {"prompt": "x", "aspectRatio": "16:9"}, "aspectRatio is landscape"),
        ("/videos", {"prompt": "x", "aspectRatio": "1:1", "model": "omni-flash"}, "aspectRatio"),
        ("/videos", {"prompt": "x", "count": 9}, "count"),
        ("/videos", {"prompt": "x", "async": "soon"}, "async"),
        ("/videos", {"prompt": "x", "email": "nobody"}, "email"),
        ("/videos", {"prompt": "x", "endImage": "y"}, "endImage requires startImage"),
        ("/videos", {"prompt": "x", "startImage": "y"}, "startImage"),
        ("/videos", {"prompt": "x", "startImage": f"user:1-email:6a-image:file_{'0' * 32}"}, "startImage"),
        ("/videos", {"prompt": "x", "referenceAudio_1": "Zephyr"}, "referenceAudio_1"),
        ("/videos", {"prompt": "x", "startFrameIndex_1": 0}, "startFrameIndex_1"),
        ("/videos", {"prompt": "x", "replyUrl": "nowhere"}, "replyUrl"),
        ("/videos", {"prompt": "x", "captchaToken": "x" * 17_000}, "captchaToken takes at most 16 kB"),
        ("/videos/extend", {"prompt": "x"}, "mediaGenerationId"),
        ("/videos/extend", {"prompt": "x", "duration": 8}, "Parameter duration not supported"),
        ("/videos/upscale", {"mediaGenerationId": f"user:1-email:6a-video:video_{'0' * 32}-0"}, "mediaGenerationId"),
        ("/videos/concatenate", {"media": []}, "media"),
    ],
)  # fmt: skip
def test_errors_are_useapi_s(api: httpx.Client, path: str, body: dict[str, Any], error: str) -> None:
    """A 400 with a text that names the client's own parameter."""
    answer = api.post(f"{FLOW}{path}", json=body)

    assert (400, {"error"}) == (answer.status_code, set(answer.json())), answer.text
    assert error in answer.json()["error"]


def test_why_there_is_no_clip(api: httpx.Client) -> None:
    """Policy is Google's object with a reason, in a record and in an answer that was waited for."""
    failed = ended(api, begun(api, {"prompt": "[refuse] x", **SMALL})["jobid"])
    error = failed["response"]["error"]
    assert ("failed", 400, "API error: 400") == (failed["status"], failed["code"], failed["error"])
    assert "PUBLIC_ERROR_UNSAFE_GENERATION" == error["details"][0]["reason"]
    waited = api.post(f"{FLOW}/videos", json={"prompt": "[refuse] y", **SMALL})
    assert (400, error["details"]) == (waited.status_code, waited.json()["error"]["details"])
    other = api.post(f"{FLOW}/videos", json={"prompt": "[fail] y", **SMALL})
    assert (500, "the prompt asks to fail") == (other.status_code, other.json()["error"])


def test_who_and_which(guarded: tuple[Server, str], api: httpx.Client) -> None:
    """401, 404, and uploads that are none, in useapi's words."""
    stranger = guarded[0].get(f"{FLOW}/accounts")
    assert (401, {"error": "Unauthorized"}) == (stranger.status_code, stranger.json())
    missing = api.get(f"{FLOW}/jobs/j17-u1-email:jo***@x.y-bot:google-flow")
    assert (404, {"error": "Job not found"}) == (missing.status_code, missing.json())
    for data, kind in ((b"no picture", "image/png"), (b"", "image/png")):
        answer = api.post(f"{FLOW}/assets", content=data, headers={"content-type": kind})
        assert (400, {"error"}) == (answer.status_code, set(answer.json()))
    assert ["OK"] == [each["health"] for each in api.get(f"{FLOW}/accounts").json().values()]
    models = api.get(f"{FLOW}/accounts/jo@example.com").json()["models"]["videoModels"]
    assert "veo-3.1-fast" in [each["key"] for each in models]
