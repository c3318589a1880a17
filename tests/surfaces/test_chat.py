"""Laws of the chat: OpenAI's SDK finds a clip at the end of it, and an error where there is none."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from msgspec.structs import replace

from gateway.clips.links import Links
from gateway.events.watch import Watch
from gateway.jobs.job import Job, State
from gateway.surfaces import chat, common
from tests import make
from tests.sdk.test_openai_node import NODE
from tests.server import Server, eventually
from tests.surfaces.conftest import as_url, picture

ORDER: dict[str, Any] = {"model": "sandbox/demo", "extra_body": {"seconds": 1, "resolution": "360p"}}
SPOILT = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
WISH, QUOTE = '{"request": {"prompt": "x", "model": "m"}}', "{}"
LINK = re.compile(r"\[▶️ Watch Online\]\((http[^)\s]+\.mp4)\)")


@pytest.fixture(scope="module")
def client(guarded: tuple[Server, str]) -> Iterator[openai.OpenAI]:
    """The SDK as an app holds it."""
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=guarded[0].api, api_key=guarded[1], http_client=http, max_retries=0) as made:
        yield made


def user(content: Any) -> list[Any]:
    """Say one thing."""
    return [{"role": "user", "content": content}]


def roles(api: httpx.Client, video: str) -> list[str]:
    """Say which inputs a video was made from."""
    return [each["role"] for each in api.get(f"/v1/videos/{video}").json()["request"]["inputs"]]


def test_a_chat_answers_with_a_link_that_opens(client: openai.OpenAI, api: httpx.Client) -> None:
    """The whole answer is a completion whose content links a clip; whoever reads it fetches that, without a key."""
    answer = client.chat.completions.with_raw_response.create(messages=user("a paper boat"), **ORDER)
    whole = answer.parse()

    assert ("chat.completion", "sandbox/demo", "stop") == (whole.object, whole.model, whole.choices[0].finish_reason)
    assert whole.usage is not None
    assert ("sandbox", "0.000000") == (answer.headers["x-reelgate-provider"], answer.headers["x-reelgate-cost-usd"])
    (link,) = LINK.findall(whole.choices[0].message.content or "")
    assert answer.headers["x-reelgate-video"] in link
    assert b"ftyp" == httpx.get(link, trust_env=False).content[4:8]


def test_a_stream_tells_how_it_comes_along(client: openai.OpenAI, api: httpx.Client) -> None:
    """First who speaks, then a log, then the link, then why it stops, then what it cost."""
    stream = client.chat.completions.create(
        messages=[{"role": "system", "content": "be brief"}, *user("a paper boat [slow 2]")],
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.7,
        max_tokens=300,
        **ORDER,
    )
    chunks = list(stream)
    told = [each.choices[0].delta.content or "" for each in chunks if each.choices]

    assert 1 == len({each.id for each in chunks})
    assert "assistant" == chunks[0].choices[0].delta.role
    assert "Task ID: `video_" in told[1]
    assert [line for line in told if re.fullmatch(r"> Progress: \d+%\n", line)]
    assert b"ftyp" == api.get(LINK.findall("".join(told))[0]).content[4:8]
    assert ["stop"] == [
        each.choices[0].finish_reason for each in chunks if each.choices and each.choices[0].finish_reason
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [(1, ["first_frame"]), (2, ["first_frame", "last_frame"]), (3, ["reference"] * 3)],
)
def test_pictures_beside_the_prompt(
    client: openai.OpenAI, api: httpx.Client, pictures: int, expected: list[str]
) -> None:
    """One is where the clip starts, two are its ends, more guide it."""
    parts = [{"type": "image_url", "image_url": {"url": as_url(picture(c))}} for c in ("red", "blue", "green")][
        :pictures
    ]
    answer = client.chat.completions.with_raw_response.create(
        messages=[
            *user("before"),
            {"role": "assistant", "content": "ok"},
            *user([{"type": "text", "text": "move"}, *parts]),
        ],
        **ORDER,
    )
    video = answer.headers["x-reelgate-video"]

    assert expected == roles(api, video)
    assert "move" == api.get(f"/v1/videos/{video}").json()["prompt"]


def test_what_only_google_can_say(client: openai.OpenAI, api: httpx.Client) -> None:
    """Frames, references, a clip to go on from and the config, where an SDK puts them and where curl does."""
    image = {"uri": as_url(picture())}
    config = {"resolution": "360p", "durationSeconds": 1, "fps": 24, "aspectRatio": "16:9", "generateAudio": False}
    frames = client.chat.completions.with_raw_response.create(
        model="sandbox/demo",
        messages=user("morph"),
        extra_body={"google": {"image": image, "lastFrame": image, "config": config}},
    )
    made = api.get(f"/v1/videos/{frames.headers['x-reelgate-video']}").json()
    assert (["first_frame", "last_frame"], "1", False) == (
        [each["role"] for each in made["request"]["inputs"]], made["seconds"], made["request"]["audio"],
    )  # fmt: skip
    (link,) = LINK.findall(frames.parse().choices[0].message.content or "")
    body = {
        "model": "sandbox/demo",
        "messages": user("go on"),
        "extra_body": {"google": {"video": {"uri": link}, "config": config}},
    }
    longer = api.post("/v1/chat/completions", json=body)
    assert 200 == longer.status_code, longer.text
    extended = api.get(f"/v1/videos/{longer.headers['x-reelgate-video']}").json()
    assert ("extend", made["id"], "2") == (extended["operation"], extended["parent_video_id"], extended["seconds"])
    guided = client.chat.completions.with_raw_response.create(
        model="sandbox/demo",
        messages=user("consistent"),
        extra_body={"google": {"referenceImages": [{"image": image, "referenceType": "asset"}] * 2, "config": config}},
    )
    assert ["reference"] * 2 == roles(api, guided.headers["x-reelgate-video"])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, 422, "messages"),
        ({"messages": user("")}, 422, "messages[0].content"),
        ({"messages": user([{"type": "input_audio"}])}, 422, "messages[0].content[0].type"),
        ({"messages": user([SPOILT])}, 422, "messages[0].content.image_url[0]"),
        ({"messages": user("x"), "n": 2}, 422, "n"),
        ({"messages": user("x"), "tools": [{"type": "function"}]}, 422, "tools"),
        ({"messages": user("x"), "colour": "red"}, 400, "colour"),
        ({"messages": user("x"), "stream": "yes"}, 422, "stream"),
        ({"messages": user("x"), "model": "gpt-9"}, 404, "model"),
        ({"messages": user("x"), "google": {"colour": 1}}, 400, "google.colour"),
        ({"messages": user("x"), "google": {"config": {"durationSeconds": 7}}}, 422, "google.config.durationSeconds"),
        (
            {
                "model": "google/gemini-omni-flash", "messages": user("x"),
                "google": {"config": {"generateAudio": False}},
            },
            422, "google.config.generateAudio",
        ),
        ({"messages": user("x"), "google": {"image": 5}}, 422, "google.image"),
        ({"messages": user("x"), "extra_body": {"model": "y"}}, 422, "extra_body.model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_the_chat_s_words(
    api: httpx.Client, body: dict[str, Any], status: int, param: str
) -> None:
    """Before the first word every error is an HTTP error in OpenAI's shape, streamed or not, and nothing is ordered."""
    before = api.get("/v1/videos?limit=1").json()["first_id"]
    for streamed in (False, True):
        answer = api.post("/v1/chat/completions", json={"model": "veo3.1", "stream": streamed, **body})
        error = answer.json()["error"]
        assert (status, param) == (answer.status_code, error["param"])
        assert {"message", "type", "param", "code"} == set(error)
        assert param.split("[", maxsplit=1)[0].split(".", maxsplit=1)[0] in error["message"]
    assert before == api.get("/v1/videos?limit=1").json()["first_id"]


@pytest.mark.parametrize(
    ("prompt", "status", "code", "finish"),
    [("[fail] a", 422, "generation_failed", []), ("[refuse] a", 400, "content_policy_violation", ["content_filter"])],
)
def test_a_clip_that_is_not_made_is_an_error(
    client: openai.OpenAI, prompt: str, status: int, code: str, finish: list[str]
) -> None:
    """Never prose: an HTTP error, and in a stream an error event, which the SDK raises."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(messages=user(prompt), **ORDER)
    assert (status, code) == (caught.value.status_code, caught.value.code)
    seen: list[Any] = []
    with pytest.raises(openai.APIError) as cut:
        seen.extend(client.chat.completions.create(messages=user(f"{prompt} stream"), stream=True, **ORDER))
    assert code == cut.value.code
    with client.chat.completions.with_streaming_response.create(
        messages=user(f"{prompt} stream"), stream=True, **ORDER
    ) as raw:
        events = [json.loads(line[6:]) for line in raw.iter_lines() if line.startswith("data: {")]
    assert finish == [
        e["choices"][0]["finish_reason"] for e in events if e.get("choices") and e["choices"][0]["finish_reason"]
    ]
    assert code == events[-1]["error"]["code"]


def test_a_stranger_is_told_so(guarded: tuple[Server, str]) -> None:
    """A wrong key is the SDK's own exception."""
    http = openai.DefaultHttpxClient(trust_env=False)
    stranger = openai.OpenAI(base_url=guarded[0].api, api_key="sk-x", http_client=http)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(messages=user("x"), **ORDER)


def test_a_key_without_bearer(guarded: tuple[Server, str]) -> None:
    """CometAPI's own examples send the bare key; it is as good, and a bare word that is no key is not."""
    url, body = f"{guarded[0].api}/chat/completions", {"messages": user("bare"), "model": "sandbox/demo", "seconds": 1}
    for key, status in ((guarded[1], 200), (guarded[1][:-1] + "!", 401), ("sk-x", 401)):
        answer = httpx.post(url, json=body, headers={"authorization": key}, trust_env=False, timeout=50)
        assert status == answer.status_code


def test_a_retry_of_the_sdk_orders_nothing_again(client: openai.OpenAI, api: httpx.Client) -> None:
    """A call tried again by the SDK finds the job of the first try, and waits for it again."""
    asked = {"messages": user("once, by chat"), **ORDER}
    one, two = (
        client.chat.completions.with_raw_response.create(extra_headers={"x-stainless-retry-count": str(n)}, **asked)
        for n in range(2)
    )
    assert one.headers["x-reelgate-video"] == two.headers["x-reelgate-video"]


def test_a_call_is_not_held_for_ever(tmp_path: Path) -> None:
    """After hold_seconds it is 408, which names the video; the clip is made all the same."""
    server = Server(tmp_path, REELGATE__SERVER__HOLD_SECONDS="1").start()
    try:
        body = {"model": "sandbox/demo", "messages": user("[slow 3]"), "seconds": 1, "resolution": "360p"}
        answer = server.post("/v1/chat/completions", body)
        video = answer.headers["x-reelgate-video"]
        assert (408, "video_not_ready") == (answer.status_code, answer.json()["error"]["code"])
        assert video in answer.json()["error"]["message"]
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json={**body, "stream": True}, trust_env=False
        ) as s:
            assert "Watch Online" in s.read().decode()
        eventually(lambda: server.get(f"/v1/videos/{video}").json()["status"] == "completed")
    finally:
        server.stop()


def test_a_client_that_leaves_takes_nothing_along(guarded: tuple[Server, str], api: httpx.Client) -> None:
    """Its clip is made, and the gateway stops as ever while others still listen."""
    body = {
        "model": "sandbox/demo",
        "messages": user("[slow 2] left"),
        "stream": True,
        "seconds": 1,
        "resolution": "360p",
    }
    with api.stream("POST", "/v1/chat/completions", json=body) as answer:
        video = answer.headers["x-reelgate-video"]
        next(answer.iter_lines())
    eventually(lambda: api.get(f"/v1/videos/{video}").json()["status"] == "completed")


def test_a_gateway_stops_while_it_is_listened_to(tmp_path: Path) -> None:
    """Held calls do not hold it: a stream breaks off without an end, and a call that waits is told where to look."""
    server = Server(tmp_path).start()
    body = {"model": "sandbox/demo", "messages": user("[stuck] x"), "seconds": 1}
    waiting: list[httpx.Response] = []
    asking = Thread(target=lambda: waiting.append(server.post("/v1/chat/completions", body)))
    asking.start()
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json={**body, "stream": True}, trust_env=False) as s:
        lines = s.iter_lines()
        assert "assistant" in next(lines)
        eventually(lambda: len(server.get("/v1/videos").json()["data"]) == 2)
        assert 0 == server.stop()
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    asking.join(10)
    assert [None] * len(told) == [each["choices"][0]["finish_reason"] for each in told]
    assert (503, "gateway_stopping") == (waiting[0].status_code, waiting[0].json()["error"]["code"])


class Rows:
    """A store with one job, that tells each time how it stands by then; and counts how often it was asked."""

    def __init__(self, *rows: Job) -> None:
        self.rows = [*rows]
        self.asked = 0

    async def job(self, id_: str, tenant: str) -> Job:
        self.asked += 1
        return self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]

    async def seq(self, id_: str) -> int:
        return self.rows[0].seq


async def test_a_held_call_asks_for_no_row_until_it_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls wait, the store is asked by each when it began to and when it was told, and not between."""
    standing = make.job(State.RUNNING, quote=QUOTE, wish=WISH)
    rows = Rows(standing)
    watch = Watch(rows)  # type: ignore[arg-type]
    services: Any = SimpleNamespace(telling=SimpleNamespace(watch=watch))

    async def wait() -> list[Job]:
        return [seen async for seen in common.watch(services, standing, 60)]

    waiting = [asyncio.create_task(wait()) for _ in range(100)]
    while rows.asked < 100:  # noqa: ASYNC110  A turn of the loop at a time.
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    ended = replace(standing, state=State.FAILED, seq=4)
    rows.rows = [ended]
    watch.hear(ended)

    assert [[standing, ended]] * 100 == await asyncio.gather(*waiting)
    assert 200 == rows.asked
    watch.close()


async def test_a_long_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing moves a comment goes out now and then, which no client reads; then the end, whatever it is."""
    standing = make.job(State.RUNNING, quote=QUOTE, wish=WISH)
    why = '{"code": "generation_failed", "message": "no"}'
    rows = Rows(*[standing] * 4, replace(standing, state=State.FAILED, seq=4, error=why))
    settings = SimpleNamespace(server=SimpleNamespace(public_url="https://reel.example"))
    services = SimpleNamespace(telling=SimpleNamespace(watch=Watch(rows)), settings=settings)  # type: ignore[arg-type]
    for module in (chat, common):
        monkeypatch.setattr(module, "desk", lambda _: services)
    monkeypatch.setattr(common, "leave_of", lambda _: Links(b"").leave("", 0))
    monkeypatch.setattr(common, "BEAT", 0)
    request: Any = SimpleNamespace(scope={})
    told = [each async for each in chat._events(request, chat.Chat(standing, "m"), counted=False)][2:]

    assert [b": still being made\n\n"] * 2 == told[:2]
    assert "generation_failed" == json.loads(told[2][6:])["error"]["code"]
    assert [b"data: [DONE]\n\n"] == told[3:]


def test_the_sdk_for_node(guarded: tuple[Server, str], tmp_path: Path) -> None:
    """Streamed and not, with the SDK for Node."""
    if not (NODE / "node_modules" / "openai").exists():
        pytest.skip("the SDK for Node is not here: make test")
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    program = tmp_path / "chat.mjs"
    program.write_text("""
import OpenAI from 'openai';
const client = new OpenAI({ baseURL: process.argv[2], apiKey: process.argv[3], maxRetries: 0 });
const ask = { model: 'sandbox/demo', seconds: 1, resolution: '360p' };
const say = (content) => [{ role: 'user', content }];
const whole = await client.chat.completions.create({ ...ask, messages: say('boat') });
let log = '';
const stream = await client.chat.completions.create({ ...ask, messages: say('boat, streamed'), stream: true });
for await (const chunk of stream) log += chunk.choices[0]?.delta?.content ?? '';
let code = '';
try {
  const bad = await client.chat.completions.create({ ...ask, messages: say('[fail] node'), stream: true });
  for await (const _ of bad) {}
} catch (error) { code = error.code; }
console.log(JSON.stringify([whole.choices[0].message.content, log, code]));
""")
    done = subprocess.run(
        ["node", str(program), guarded[0].api, guarded[1]], capture_output=True, text=True, timeout=50
    )
    assert 0 == done.returncode, done.stderr
    whole, log, code = json.loads(done.stdout)
    assert (1, 1, "generation_failed") == (len(LINK.findall(whole)), len(LINK.findall(log)), code)
