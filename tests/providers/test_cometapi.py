"""CometAPI's chat is understood however it is cut, cannot be hurried into a verdict, and its key stays at home."""

import base64
import contextlib
import json
import re
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import _chat
from providers._asyncdata import decode_source
from providers._chat import Reading, decode_chat, read_log
from providers._newapi import STATES, decode
from providers.base.errors import Exhausted, Indeterminate, Invalid, Malformed, ProviderError
from providers.base.listing import load
from providers.base.order import Mode, Role
from providers.base.task import AssetRef, State, Task
from providers.base.wire import HttpWire, Reply
from providers.cometapi import CometApi
from tests.providers.cases import Case, Given, order_of

HERE = Path(__file__).parent / "cometapi"
LISTING = load("cometapi")
ANSWERS = sorted([*HERE.glob("chat_stream_*"), *HERE.glob("chat_response_*")])
BASE = "https://filesystem.site/cdn/20250822"
FINAL = f"{BASE}/final000000000000000000000.mp4"
TASK = "veo3-fast:00000000-0000-4000-8000-000000000001"


def read(*chunks: bytes, ended: bool = True) -> Reading:
    reading = Reading()
    for chunk in chunks:
        reading.feed(chunk)
    if ended:
        reading.end()
    return reading


def told(text: str, **more: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "choices": [{"delta": {"content": text}, **more}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def make(offer: str, folder: Path, *given: tuple[str, str], **request: object):
    inputs = [Given(role=Role(role), media_type=kind, seconds=8 if role == "source" else 0) for role, kind in given]
    said = {"prompt": "...", **request}
    return order_of(Case(name="", offer=offer, request=said, inputs=inputs), LISTING, folder)


# The answer


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_cuts_make_no_difference(path):
    """An answer means the same in one piece, byte by byte, in two pieces cut anywhere, or with other line ends."""
    body = path.read_bytes()
    whole = decode_chat(read(body))

    assert whole.state.final
    assert whole == decode_chat(read(*(body[at : at + 1] for at in range(len(body)))))
    assert whole == decode_chat(read(body.replace(b"\n", b"\r\n")))
    for at in range(0, len(body), 3):
        assert whole == decode_chat(read(body[:at], body[at:])), at


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_a_break_is_no_verdict(path):
    """Wherever a stream breaks off, no clip is half named, no preview taken for the clip, and no failure made up."""
    body = path.read_bytes()
    whole = decode_chat(read(body))
    for at in range(0, len(body), 2):
        came = decode_chat(read(body[:at], ended=False))
        assert came is None or came == whole or (State.RUNNING, TASK) == (came.state, came.task.id) or (
            came.assets == whole.assets
        ), at  # fmt: skip


@given(st.lists(st.binary(max_size=60)))
def test_nothing_but_malformed_comes_of_noise(chunks):
    """Bytes that mean nothing are refused in our words, and are never a clip."""
    try:
        came = decode_chat(read(*chunks))
    except Malformed:
        return
    assert came is None


@given(
    st.lists(st.sampled_from([*"abc🎉é.`\n", "https://a.test/1.mp4", "❌", "Task ID: `t:1`", " "]), max_size=30),
    st.data(),
)
def test_chunks_make_no_difference(words, data):
    """However a text is spread over deltas and bytes, the same log is read."""
    text = "".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    body = b"".join([*map(told, parts), b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'])
    at = data.draw(st.integers(0, len(body)))

    assert read_log(text) == read(body[:at], body[at:]).log()


HIGH, PREVIEW = "High-quality video generated", "> Preview video generated"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""), ("no link", ""), ("https://asyncdata.net/web/veo3:1 https://asyncdata.net/source/veo3:1", ""),
        ("https://a.test/1.mp4", "https://a.test/1.mp4"),
        ("https://a.test/1.mp4.", "https://a.test/1.mp4"),
        ("see https://a.test/1.MP4?k=v&s=%2B#t, and so on", "https://a.test/1.MP4?k=v&s=%2B#t"),
        ("[x](https://a.test/1.mp4)[y]", "https://a.test/1.mp4"), ("「https://a.test/1.mp4」。", "https://a.test/1.mp4"),
        ("https://a.test/1.mp4，好", "https://a.test/1.mp4"),  # noqa: RUF001 - a comma all the same
        ("https://a.test/1.mp4 https://a.test/2.mp4", "https://a.test/2.mp4"),
        ("![https://a.test/1.webp](https://a.test/1.webp)\n[在线播放▶️](https://a.test/2.mp4)", "https://a.test/2.mp4"),
        ("![thumb](https://a.test/1.png) https://a.test/page", ""), ("https://a.test/1.mp4.jpg", ""),
        ("<video src='https://a.test/v/1?Sig=a%2Bb&amp;e=1' controls></video>", "https://a.test/v/1?Sig=a%2Bb&e=1"),
        ('<video controls><source type="video/mp4" src="https://a.test/1"></video>', "https://a.test/1"),
        ("<img src='https://a.test/v/1'>", ""), ("[▶️ Watch Online](https://a.test/v/1)", "https://a.test/v/1"),
        ("[▶️ Watch Online](https://a.test/1.png)", ""), ("Watch Online or read https://a.test/help", ""),
        (f"{PREVIEW} [📺 Online Preview](https://a.test/1.mp4)", "https://a.test/1.mp4"),
        (f"{PREVIEW} https://a.test/1.mp4 {HIGH} https://a.test/2.mp4", "https://a.test/2.mp4"),
        (f"{HIGH} https://a.test/2.mp4 {PREVIEW} https://a.test/1.mp4", "https://a.test/2.mp4"),
        (f"{HIGH} https://a.test/2.mp4 {HIGH} https://a.test/3.mp4", "https://a.test/3.mp4"),
        ("[📺 Online Preview](https://a.test/1.mp4) https://a.test/2.mp4", "https://a.test/2.mp4"),
        (f"{HIGH} [▶️](https://a.test/cdn/2.mp4) | [⏬](https://a.test/cdn/download/2.mp4)", "https://a.test/cdn/2.mp4"),
        ("[⏬](https://a.test/cdn/download/2.mp4)", "https://a.test/cdn/download/2.mp4"),
        ("ftp://a.test/1.mp4", ""), ("https://", ""), ("https:// a.mp4", ""),
    ],
)  # fmt: skip
def test_the_best_link_wins(text, url):
    """Of all links the last of the best kind is the clip; pages, pictures and copies are not."""
    assert url == read_log(text).best()


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("> Task ID: `veo3:1-a`", "veo3:1-a"), ("> 任务ID: `veo3:1`", "veo3:1"), ("> ID: `task_01k8`", "task_01k8"),
        ("https://asyncdata.net/web/veo3:2 ", "veo3:2"), ("ID: `a` https://asyncdata.net/source/b)", "b"),
        ("Task ID: `veo3", ""), ("Task ID: `../x`", ""), ("Task ID: `a b`", ""), ("ID: ``", ""),
        ("https://asyncdata.net.evil.test/web/a ", ""), ("https://asyncdata.net/web/../a ", ""),
    ],
)  # fmt: skip
def test_a_task_is_named(text, task):
    """The task is what the relay's link or its words say; half a name is none, nor is a path."""
    assert task == read_log(text, whole=False).task


@pytest.mark.parametrize(
    ("chunks", "state"),
    [
        ([told(f"https://a.test/1.mp4 {HIGH} https://a.test/2.mp4 "), b"data: [DONE\n]\n\n"], State.SUCCEEDED),
        ([told("> ❌ Generation failed"), told("https://a.test/1.mp4", finish_reason="stop")], State.SUCCEEDED),
        ([told(f"{PREVIEW} https://a.test/1.mp4 ❌ no", finish_reason="stop")], State.FAILED),
        ([told(f"{PREVIEW} https://a.test/1.mp4", finish_reason="stop")], State.SUCCEEDED),
        ([told(f"ID: `t` {PREVIEW} https://a.test/1.mp4 "), b"data: [DONE]\n"], State.RUNNING),
        ([told("ID: `t` ❌ "), b"data: [DONE]\n"], State.RUNNING),
        ([told("ID: `t` ❌", finish_reason="stop"), b"data: [DONE]\n"], State.FAILED),
        ([told("ID: `t`", finish_reason="length")], State.FAILED),
        ([told("ID: `t` https://a.test/1.mp4 ")], State.RUNNING),
        ([told("https://a.test/1.mp4 ")], State.SUCCEEDED), ([told("https://a.test/1.mp4?k=")], None),
        ([told(f"ID: `t` {HIGH} https://a.test/1.mp4 ")], State.SUCCEEDED),
        ([told(f"ID: `t` {HIGH} https://a.test/1.mp4?k=")], State.RUNNING),
        ([told(f"ID: `t` {HIGH} https://a.test/1.mp4?k="), told("v", finish_reason="stop")], State.SUCCEEDED),
        ([told("ID: `t` "), b"data: {broken\n", told("", finish_reason="stop")], State.RUNNING),
        ([told("❌ Generation failed")], State.FAILED), ([told(".")], None),
        ([b": ping\n\nevent: x\nid: 1\nretry: 5\n", told("", finish_reason="stop")], State.FAILED),
        ([b'{"choices":[],"id":"c"}'], State.FAILED), ([b"data: [DONE]\n"], None), ([], None),
        ([b'data: {"id":"c","choices":null,"usage":{"total_tokens":3}}\n'], None),
        ([told("."), b'{"error":"out of order"}'], State.FAILED),
    ],
)  # fmt: skip
def test_verdicts(chunks, state):
    """An end with a link is a clip, an end without one a failure, and anything short of an end neither."""
    came = decode_chat(read(*chunks))

    assert state == (came and came.state)
    assert came is None or came.fault is None or came.fault.billed is None


def test_content_and_thoughts_are_two_logs():
    """A link is whole although thoughts were told between its halves; progress may be told in either."""
    parts = ("content", "https://a.te"), ("reasoning_content", "进度 42..54.."), ("content", "st/1.mp4 ")
    chunks = [f"data: {json.dumps({'choices': [{'delta': {name: text}}]})}\n".encode() for name, text in parts]
    log = read(*chunks).log()

    assert ("https://a.test/1.mp4", 54) == (log.best(), log.progress)


def test_an_answer_has_a_size(monkeypatch):
    """An answer that does not end is given up; so many bytes are no chat's."""
    monkeypatch.setattr(_chat, "MOST", 100)
    with pytest.raises(Malformed):
        read(b"x" * 60, b"x" * 60)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "video_generation_completed", "running": True, "video_url": "https://a.test/1.mp4"}, State.RUNNING),
        ({"status": "video_generation_completed", "video_url": "https://a.test/1.mp4"}, State.SUCCEEDED),
        ({"status": "dreaming", "video_url": "https://a.test/1.mp4"}, State.UNKNOWN),
        ({"status": "error"}, State.FAILED), ({"task": "t:1"}, State.RUNNING),
        ({"task": "t:1", "content": {"url": "https://a.test/1.mp4"}}, State.SUCCEEDED),
        (["t:1", "❌ Generation failed"], State.FAILED), ({"content": {"url": "https://a.test/1.mp4"}}, None),
        ({"status": 7, "id": "t:1"}, State.UNKNOWN), ("t:1", State.RUNNING), ({"status": ""}, None),
    ],
)  # fmt: skip
def test_a_task_kept_elsewhere(body, state):
    """A page that does not speak of the task says nothing; one that does is read by its words, or as a log."""
    try:
        came = decode_source(json.dumps(body).encode(), Task("t:1")).state
    except Malformed:
        came = None

    assert state == came


# The order


@pytest.mark.parametrize(
    ("name", "offer", "given", "request_"),
    [
        ("reference", "veo3.1-pro-references", [("reference", "image/png")], {"seconds": 6, "resolution": "1080p"}),
        ("first_last", "veo-3.1", [("first_frame", "image/png"), ("last_frame", "image/png")], {"resolution": "1080p"}),
        ("extend", "veo-3.1", [("source", "video/mp4")], {"mode": Mode.EXTEND}),
    ],
)  # fmt: skip
async def test_extra_body_is_as_the_vendor_prints_it(tmp_path, name, offer, given, request_):
    """What was printed is sent, but for where the pictures lie: in the address itself."""
    order = make(f"cometapi/{offer}", tmp_path, *given, **request_)
    printed = (HERE / f"chat_request_extra_body_google_{name}.json").read_text()
    uris = [f"data:{kind};base64,{base64.b64encode(f'{role}-0'.encode()).decode()}" for role, kind in given]
    links = re.compile(r'"https://[^"]+"')
    expected = links.sub(lambda _: json.dumps(uris.pop(0)), printed)

    assert json.loads(expected) == json.loads((await sent(order)).content)


async def test_a_form_is_the_same_each_time(tmp_path):
    """One order makes one form: named parts, the picture with its type, and no chance in it."""
    order = make("google/veo-3.1", tmp_path, ("first_frame", "image/webp"))
    first, again = await sent(order), await sent(order)

    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert (
        b'name="input_reference"; filename="first.webp"\r\nContent-Type: image/webp\r\n\r\nfirst_frame-0'
        in first.content
    )


async def test_a_refusal_after_the_first_word_is_no_refusal(tmp_path):
    """A known code turns an order down only where nothing was said before it; else the task has failed."""
    wrong = b'data: {"error":{"code":"insufficient_user_quota","message":"no"}}\n\n'
    provider, wire, _ = open_line(told("."), wrong)
    with pytest.raises(Exhausted):
        await provider.submit(make("cometapi/veo3.1", tmp_path), wire)
    provider, wire, _ = open_line(told("Start generating video"), wrong)
    came = await provider.submit(make("cometapi/veo3.1", tmp_path), wire)

    assert (State.FAILED, "insufficient_user_quota", None) == (came.state, came.fault.code, came.fault.billed)


@pytest.mark.parametrize("options", [{"cometapi": ["max_tokens"]}, {"cometapi": {"max_tokens": 1, "stream": False}}])
async def test_what_is_not_documented_is_not_passed_on(tmp_path, options):
    """An option the vendor does not document is refused before anything leaves."""
    with pytest.raises(Invalid):
        await sent(make("cometapi/veo3.1", tmp_path, options=options))


# The wire


class Line(httpx.AsyncBaseTransport):
    """Answer every call with the same pieces, and break off where one is an error."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200):
        self.pieces, self.status, self.requests = pieces, status, []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status, stream=Pieces(self.pieces))


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces):
        self.pieces = pieces

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def open_line(*pieces: bytes | Exception, status: int = 200) -> tuple[CometApi, HttpWire, Line]:
    provider = CometApi(LISTING, {"COMETAPI_KEY": "sk-secret"})
    line = Line(*pieces, status=status)
    return provider, HttpWire(line, provider.auth()), line


async def sent(order) -> httpx.Request:
    provider, wire, line = open_line(told("https://a.test/1.mp4", finish_reason="stop"))
    with contextlib.suppress(Malformed):  # The answer is a chat's, whatever was asked.
        await provider.submit(order, wire)
    return line.requests[0]


async def test_a_broken_stream_is_followed_without_the_key(tmp_path):
    """The purchase is signed; the look at the third party that keeps its task is not."""
    broken = httpx.ReadError("reset")
    provider, wire, line = open_line(told(f"Task ID: `{TASK}` "), b'data: {"cho', broken)
    running = await provider.submit(make("cometapi/veo3.1", tmp_path), wire)
    provider, wire, look = open_line(json.dumps({"status": "completed", "video_url": FINAL}).encode())
    done = await provider.poll(running.task, wire)

    assert (State.RUNNING, Task(TASK, {"route": "chat"})) == (running.state, running.task)
    assert ["Bearer sk-secret"] == [each.headers["authorization"] for each in line.requests]
    assert [f"https://asyncdata.net/source/{TASK}"] == [str(each.url) for each in look.requests]
    assert "sk-secret" not in str(look.requests[0].headers.raw)
    assert (State.SUCCEEDED, (AssetRef(url=FINAL, handle=FINAL),)) == (done.state, done.assets)


@pytest.mark.parametrize("pieces", [[], [told(".")], [told("Task ID: `veo3")], [b"data: {"], [b"<html>"]])
async def test_a_break_before_a_task_is_doubt(tmp_path, pieces):
    """A stream that breaks off before its task is named may have been bought, and is not bought again."""
    provider, wire, line = open_line(*pieces, httpx.ReadError("reset"))
    with pytest.raises(Indeterminate):
        await provider.submit(make("cometapi/veo3.1", tmp_path), wire)
    assert 1 == len(line.requests)


async def test_a_status_counts_although_its_body_is_lost(tmp_path):
    """An order turned down is turned down, even where its reason broke off."""
    provider, wire, _ = open_line(b'{"error"', httpx.ReadError("reset"), status=400)
    with pytest.raises(Invalid):
        await provider.submit(make("cometapi/veo3.1", tmp_path), wire)


async def test_a_finished_chat_is_remembered():
    """A link the stream told once goes with the task: looking again asks nobody."""
    provider, wire, line = open_line()
    done = await provider.poll(Task(TASK, {"route": "chat", "url": FINAL}), wire)

    assert (State.SUCCEEDED, (AssetRef(url=FINAL, handle=FINAL),), []) == (done.state, done.assets, line.requests)


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://api.cometapi.com/v1/videos/t/content", True), ("https://API.cometapi.com:443/x", True),
        ("http://api.cometapi.com/x", False), ("https://api.cometapi.com:8443/x", False),
        ("https://asyncdata.net/source/t", False), ("https://api.cometapi.com.evil.test/x", False),
        ("https://api.cometapi.com@evil.test/x", False), ("https://filesystem.site/cdn/1.mp4", False),
    ],
)  # fmt: skip
async def test_the_key_stays_at_home(url, signed):
    """Calls to the account's own address are signed, in the clear or elsewhere none."""
    provider, wire, line = open_line()
    await wire.send(provider.fetch(AssetRef(url=url)))

    assert signed is ("authorization" in line.requests[0].headers)
    assert "sk-secret" not in repr(provider.auth())


# The task


@pytest.mark.parametrize(
    ("word", "state"), [*STATES.items(), ("IN_PROGRESS", State.RUNNING), ("upscaling", State.UNKNOWN)]
)
def test_words(word, state):
    """A word is what the table says in either case, bare or wrapped; one never seen is unknown, and kept."""
    for body in ({"status": word}, {"code": "success", "data": {"status": word.upper(), "data": None}}):
        update = decode(body, Task("t"))
        assert (state, word.upper(), Task("t")) == (update.state, update.raw_state.upper(), update.task)


@pytest.mark.parametrize(
    ("outer", "inner", "state"),
    [
        ("IN_PROGRESS", "completed", State.SUCCEEDED), ("IN_PROGRESS", "failed", State.RUNNING),
        ("FAILURE", "completed", State.FAILED), ("SUCCESS", "video_upsampling", State.SUCCEEDED),
        ("dreaming", "completed", State.SUCCEEDED), (None, "failed", State.FAILED),
    ],
)  # fmt: skip
def test_a_task_inside_a_task(outer, inner, state):
    """The outer task decides, unless the inner one is done already."""
    body = {"data": {"status": outer, "data": {"status": inner, "video_url": "https://a.test/1.mp4"}}}

    assert state is decode(body, Task("t")).state


def test_what_lies_inside_may_be_anything():
    """What an upstream says inside a task does not spoil what the vendor says of it."""
    body = {"data": {"status": "SUCCESS", "video_url": "https://a.test/1.mp4", "data": {"id": 7, "status": []}}}

    assert (AssetRef(url="https://a.test/1.mp4", handle="https://a.test/1.mp4"),) == decode(body, Task("t")).assets


@pytest.mark.parametrize(
    "body",
    [None, [], "t", 7, {}, {"id": "t", "status": 3}, {"status": "queued"}, {"id": ""}, {"data": {}}],
)  # fmt: skip
def test_decode_refuses_what_is_no_task(body):
    """JSON that names no task is malformed, not a purchase."""
    with pytest.raises(Malformed):
        decode(body)


@pytest.mark.parametrize(
    ("said", "percent"), [(30, 30), (140.5, 100), (-1, 0), ("30%", 30), ("100", 100), ("soon", None), ("", None)]
)
def test_progress(said, percent):
    """Progress is a number or a percentage, kept between 0 and 100; words are none."""
    assert percent == decode({"id": "t", "status": "queued", "progress": said}).progress


@given(st.binary(max_size=200), st.integers(200, 599), st.booleans())
def test_any_error_answer_is_explained(body, status, buying):
    """Whatever an error answer holds, it becomes one of our errors."""
    error = CometApi(LISTING, {}).explain(Reply(status=status, headers={}, body=body), buying=buying)

    assert isinstance(error, ProviderError)
    assert "provider_error" != error.kind
