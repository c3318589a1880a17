"""The sandbox takes, keeps, renders and loses orders as its dialect and its magic say."""

import asyncio
import base64
import fcntl
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from datetime import date
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from providers import _studio, _task
from providers.base.catalog import Quote, Refusal, fit, quote
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Refused,
    Throttled,
    Unauthorized,
    Unavailable,
)
from providers.base.listing import load
from providers.base.order import FEATURES, HANDED, Element, Input, Mode, Request, Role, Shot
from providers.base.task import AssetRef, State, Task
from providers.base.wire import HttpWire, Reply
from providers.sandbox import MAGIC, Sandbox, decode, encode, render_pool

LISTING = load("sandbox")
TODAY = date(2026, 11, 21)


def png(colour=(9, 99, 9)) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, "PNG")
    return out.getvalue()


# Words


def test_encode_says_everything(make_order, hand_in):
    """Every choice and every feature set is said, and nothing that was left open."""
    inputs = hand_in((Role.REFERENCE, "image/png", b"\x89PNG"))
    order = make_order(
        "a fox", mode=Mode.REFERENCE, seed=7, shots=(Shot(prompt="one", seconds=1),), watermark=False, **inputs
    )

    assert {
        "id": "att_1", "model": "sandbox/demo", "prompt": "a fox", "mode": "reference", "resolution": "360p",
        "seconds": 1, "aspect_ratio": "16:9", "audio": False, "n": 1, "fps": 12, "container": "mp4", "seed": 7,
        "watermark": False, "shots": ({"prompt": "one", "seconds": 1},),
        "inputs": [{"role": "reference", "media_type": "image/png", "name": "", "data": "iVBORw=="}],
    } == encode(order, {"0" * 64: b"\x89PNG"})  # fmt: skip


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", State.QUEUED),
        ("rendering", State.RUNNING),
        ("done", State.SUCCEEDED),
        ("failed", State.FAILED),
        ("refused", State.REFUSED),
        ("cancelled", State.CANCELLED),
        ("pondering", State.UNKNOWN),
        ("DONE", State.UNKNOWN),
        ("", State.UNKNOWN),
    ],
)
def test_decode_reads_every_word(word, state):
    """A word is what the table says; one never seen is unknown, not final, and kept."""
    update = decode({"id": "t", "state": word})

    assert (state, word, Task("t"), None) == (update.state, update.raw_state, update.task, update.progress)


def test_decode_reads_the_rest():
    """Clips, progress, advice and error come over; what is out of bounds is brought back."""
    update = decode({
        "id": "t", "state": "failed", "progress": 140.5, "poll_after_ms": 1e9, "new": "field",
        "clips": [{"index": 1, "url": "http://h/clips/t/1.mov"}], "error": {"code": "c", "message": "m"},
    })  # fmt: skip

    assert (100, 60.0) == (update.progress, update.poll_after)
    assert (AssetRef(url="http://h/clips/t/1.mov", index=1, media_type="video/quicktime"),) == update.assets
    assert ("c", "m", False) == (update.fault.code, update.fault.message, update.fault.billed)


@pytest.mark.parametrize(
    "body", [None, [], "done", {}, {"id": "t"}, {"id": 1, "state": "done"}, {"id": "t", "state": "done", "clips": [{}]}]
)
def test_decode_refuses_what_is_no_task(body):
    """JSON that is no task is malformed, not a verdict."""
    with pytest.raises(Malformed):
        decode(body)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", Invalid), (401, "", Unauthorized), (402, "", Exhausted), (404, "not_found", Missing),
        (422, "content_policy", Refused), (422, "other", Invalid), (429, "", Throttled), (503, "", Unavailable),
        (500, "", Unavailable), (502, "", Unavailable), (418, "", Malformed), (302, "", Malformed), (204,
        "", Malformed),
    ],
)  # fmt: skip
def test_explain(status, code, kind):
    """The status decides, then the code; the message is passed on."""
    body = json.dumps({"error": {"code": code, "message": "why"}}).encode()
    error = Sandbox(LISTING, {}).explain(Reply(status=status, headers={"retry-after": "7"}, body=body))

    assert (kind, "why", code, status, 7.0) == (type(error), error.message, error.code, error.status, error.retry_after)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": null}', b'{"error": "no"}', b"\xff", b"[" * 9999])
def test_explain_needs_no_body(body):
    """An error that says nothing is still the error its status says."""
    assert isinstance(Sandbox(LISTING, {}).explain(Reply(status=429, headers={}, body=body)), Throttled)


# Orders


async def test_order_becomes_a_clip(shop, make_order, facts, tmp_path):
    """What was ordered is taken, rendered, and can be fetched."""
    order = make_order(audio=True, seconds=2, seed=3)
    taken = await shop.submit(order)
    done = await shop.poll(order)

    assert (State.QUEUED, "att_1", 0.2, ()) == (taken.state, taken.task.id, taken.poll_after, taken.assets)
    assert (State.SUCCEEDED, 100, "done", None) == (done.state, done.progress, done.raw_state, done.fault)
    assert (AssetRef(url="sandbox://studio/clips/att_1/0.mp4"),) == done.assets
    reply = await shop.download(done.assets[0])
    (tmp_path / "clip.mp4").write_bytes(reply.body)
    assert (200, "video/mp4") == (reply.status, reply.headers["content-type"])
    assert str(len(reply.body)) == reply.headers["content-length"]
    assert ((640, 360), 24) == (facts(tmp_path / "clip.mp4").size, len(facts(tmp_path / "clip.mp4").pictures))


async def test_several_clips(shop, make_order):
    """Each of several clips has a seed of its own, counted from the order's."""
    several, second = make_order(n=3, seed=10), make_order(attempt="att_2", seed=11)
    for order in (several, second):
        await shop.submit(order)
    clips = [(await shop.download(asset)).body for asset in (await shop.poll(several)).assets]
    alone = (await shop.download((await shop.poll(second)).assets[0])).body

    assert 3 == len(set(clips))
    assert "0 1 2" == " ".join(str(asset.index) for asset in (await shop.poll(several)).assets)
    assert len(alone) == pytest.approx(len(clips[1]), rel=0.05)


async def test_no_seed_is_the_orders_own(shop, make_order):
    """Without a seed two orders differ, and each is drawn the same when it is drawn again."""
    one, other = make_order(), make_order(attempt="att_2")
    bodies = []
    for order in (one, other, one):
        await shop.submit(order)
        bodies.append((await shop.download((await shop.poll(order)).assets[0])).body)
        (shop.folder / f"{order.attempt}-0.mp4").unlink()

    assert bodies[0] == bodies[2] != bodies[1]


@pytest.mark.parametrize("container", ["mov", "webm"])
async def test_containers_are_served_as_what_they_are(shop, make_order, container):
    """A clip's address and type say what it is."""
    order = make_order(container=container)
    await shop.submit(order)
    (asset,) = (await shop.poll(order)).assets

    assert asset.url.endswith(f"/0.{container}")
    assert asset.media_type == (await shop.download(asset)).headers["content-type"]


async def test_same_order_twice_is_one_task(open_shop, held, make_order):
    """An order repeated is the task it already is; nothing is rendered twice."""
    shop = open_shop(held)
    first, again = await shop.submit(make_order()), await shop.submit(make_order())

    assert (first.task, State.QUEUED) == (again.task, again.state)
    assert 1 == len(held.waiting)


async def test_find_proves_absence(shop, make_order):
    """An order never taken is not there; one that was taken is found by our own id."""
    assert await shop.sandbox.find(make_order(), shop.wire) is None
    await shop.submit(make_order())
    found = await shop.sandbox.find(make_order(), shop.wire)
    assert Task("att_1") == found.task


async def test_strange_404_proves_nothing(make_order):
    """A 404 that does not speak the dialect is no proof that an order was never taken."""
    wire = HttpWire(httpx.MockTransport(lambda _: httpx.Response(404, content=b"<h1>Not Found")))
    with pytest.raises(Missing):
        await Sandbox(LISTING, {}, base_url="http://h").find(make_order(), wire)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"", Indeterminate),
        (504, b"<html>", Indeterminate),
        (503, b"", Unavailable),
        (201, b"not json", Malformed),
        (200, b"[]", Malformed),
        (301, b"", Malformed),
    ],
)
async def test_submit_never_guesses(make_order, status, body, kind):
    """Only an answer that says nothing was taken lets an order be sent again."""
    wire = HttpWire(httpx.MockTransport(lambda _: httpx.Response(status, content=body)))
    with pytest.raises(kind):
        await Sandbox(LISTING, {}, base_url="http://h").submit(make_order(), wire)


async def test_task_ids_are_quoted(make_order):
    """A server's id is a name, not a way through our addresses."""
    asked = []

    def answer(request):
        asked.append(request.url.raw_path)
        return httpx.Response(200, content=b'{"id": "t", "state": "done"}')

    await Sandbox(LISTING, {}, base_url="http://h/api/").poll(Task("../x?y#z"), HttpWire(httpx.MockTransport(answer)))
    assert [b"/api/tasks/..%2Fx%3Fy%23z"] == asked


# Cancelling


async def test_cancel_while_queued(open_shop, held, make_order):
    """A cancelled task stays cancelled and is never rendered."""
    shop = open_shop(held)
    taken = await shop.submit(make_order())
    stopped = await shop.sandbox.cancel(taken.task, shop.wire)
    held.run()

    assert State.CANCELLED == stopped.state == (await shop.poll(make_order())).state
    assert [] == list(shop.folder.glob("*.mp4"))


async def test_cancel_while_rendering(open_shop, held, make_order, monkeypatch):
    """A task cancelled while it is rendered stops and leaves nothing behind."""
    shop = open_shop(held)
    await shop.submit(make_order())
    seen = []

    def notes(fd, data, offset):
        seen.append(int(data))
        (shop.folder / "att_1.cancelled").touch()

    monkeypatch.setattr(_studio.os, "pwrite", notes)
    held.run()

    assert [8] == seen
    assert {"att_1.json", "att_1.note", "att_1.cancelled"} == {path.name for path in shop.folder.iterdir()}


async def test_cancel_when_done(shop, make_order):
    """What is finished stays finished."""
    taken = await shop.submit(make_order())

    assert State.SUCCEEDED == (await shop.sandbox.cancel(taken.task, shop.wire)).state
    with pytest.raises(Missing):
        await shop.sandbox.cancel(Task("nobody"), shop.wire)


# Magic


@pytest.mark.parametrize(
    ("prompt", "kind", "status"),
    [
        ("a [reject] fox", Invalid, 400),
        ("[block]", Refused, 422),
        ("fox [unauthorized]", Unauthorized, 401),
        ("[exhausted] fox", Exhausted, 402),
        ("[throttle]", Throttled, 429),
        ("[unavailable]", Unavailable, 503),
    ],
)
async def test_magic_turns_an_order_away(shop, make_order, prompt, kind, status):
    """An order turned away is an error of its kind and was never taken."""
    with pytest.raises(kind) as caught:
        await shop.submit(make_order(prompt))

    assert (status, 1.0 if status == 429 else None) == (caught.value.status, caught.value.retry_after)
    assert "content_policy" == caught.value.code or kind is not Refused
    assert await shop.sandbox.find(make_order(), shop.wire) is None


@pytest.mark.parametrize(("prompt", "times"), [("[throttle]", 1), ("[throttle 3]", 3), ("[unavailable 2]", 2)])
async def test_magic_turns_an_order_away_so_many_times(shop, make_order, prompt, times):
    """Each try is a new attempt of the same prompt; after so many one is taken, then it begins anew."""
    told = []
    for index in range(2 * (times + 1)):
        try:
            told.append((await shop.submit(make_order(prompt, attempt=f"att_{index}", resolution="360p"))).state)
        except ProviderError as error:
            told.append(error.kind)

    away = prompt[1:].split()[0].strip("]").replace("throttle", "throttled")
    assert 2 * [*(times * [away]), State.QUEUED] == told


@pytest.mark.parametrize(
    ("prompt", "state", "code"),
    [("[fail]", State.FAILED, "render_failed"), ("[refuse]", State.REFUSED, "content_policy")],
)
async def test_magic_ends_badly(shop, make_order, prompt, state, code):
    """An order taken and then not done says why, and costs nothing."""
    assert State.QUEUED == (await shop.submit(make_order(prompt))).state
    update = await shop.poll(make_order())

    assert (state, code, False, ()) == (update.state, update.fault.code, update.fault.billed, update.assets)


async def test_magic_vanish(shop, make_order):
    """A task that vanished was taken, and every look says it is unknown."""
    taken = await shop.submit(make_order("[vanish]"))

    with pytest.raises(Missing):
        await shop.sandbox.poll(taken.task, shop.wire)
    assert await shop.sandbox.find(make_order(), shop.wire) is None


async def test_magic_slow(shop, make_order, clock):
    """A slow task takes its time, evenly, and says when it is worth looking again."""
    order = make_order("[slow 40]")
    await shop.submit(order)
    seen, start = [], clock.now
    for passed in (0, 10, 20, 30, 39.8, 40):
        clock.now = start + passed
        update = await shop.poll(order)
        seen.append((update.progress, update.state, update.poll_after))

    running = State.RUNNING
    assert [(0, running, 0.2), (25, running, 2.0), (50, running, 2.0), (75, running, 1.0)] == seen[:4]
    assert [(99, running, 0.2), (100, State.SUCCEEDED, 0.2)] == seen[4:]


async def test_magic_slow_and_fail(shop, make_order, clock):
    """Magic adds up: slow, then failed."""
    order = make_order("[slow 5] [fail]")
    await shop.submit(order)

    assert State.RUNNING == (await shop.poll(order)).state
    clock.now += 5
    assert State.FAILED == (await shop.poll(order)).state


async def test_magic_stuck(shop, make_order, clock):
    """A stuck task renders for ever, until it is cancelled."""
    taken = await shop.submit(make_order("[stuck]"))
    clock.now += 80_000

    assert State.RUNNING == (await shop.poll(make_order())).state
    assert State.CANCELLED == (await shop.sandbox.cancel(taken.task, shop.wire)).state


async def test_magic_lost(shop, make_order):
    """An answer lost on the way is indeterminate, and the order is found where it was left."""
    with pytest.raises(Indeterminate):
        await shop.submit(make_order("[lost]"))

    found = await shop.sandbox.find(make_order(), shop.wire)
    assert State.SUCCEEDED == found.state
    assert State.SUCCEEDED == (await shop.submit(make_order("[lost]"))).state


async def test_magic_garbage(shop, make_order):
    """An answer nobody can read is malformed, and the order was taken all the same."""
    with pytest.raises(Malformed):
        await shop.submit(make_order("[garbage]"))

    assert State.SUCCEEDED == (await shop.poll(make_order())).state


async def test_magic_strange(shop, make_order):
    """A word nobody knows is not final; after two looks the task goes on."""
    taken = await shop.submit(make_order("[strange]"))
    seen = [await shop.sandbox.poll(taken.task, shop.wire) for _ in range(3)]

    assert ["pondering", "pondering", "done"] == [update.raw_state for update in seen]
    assert [State.UNKNOWN, State.UNKNOWN, State.SUCCEEDED] == [update.state for update in seen]
    assert [0, 0, 1] == [len(update.assets) for update in seen]


@pytest.mark.parametrize(
    ("prompt", "status", "kind"), [("[dead]", 404, "application/json"), ("[html]", 200, "text/html")]
)
async def test_magic_spoils_the_clip(shop, make_order, prompt, status, kind):
    """A task can be done and its clip not be there, or not be a clip."""
    await shop.submit(make_order(prompt))
    update = await shop.poll(make_order())
    reply = await shop.download(update.assets[0])

    assert (State.SUCCEEDED, status, kind) == (update.state, reply.status, reply.headers["content-type"])


@pytest.mark.parametrize(("seconds", "frames"), [(3, 24), (1, 6)])
async def test_magic_short(shop, make_order, facts, seconds, frames):
    """A short clip lacks its last second, or the half of its only one."""
    await shop.submit(make_order("[short]", seconds=seconds))
    await shop.poll(make_order())

    assert frames == len(facts(shop.folder / "att_1-0.mp4").pictures)


@pytest.mark.parametrize("prompt", ["fail", "[ fail ]", "[failed]", "[FAIL]", "[fail -1]", "[slow x]", "(fail)"])
def test_only_the_exact_word_is_magic(prompt):
    """A prompt that merely resembles magic is a prompt."""
    assert {} == _task.spells(prompt)


def test_all_magic_is_tested():
    """Every word of the table stands in a test of this file."""
    source = Path(__file__).read_text()

    assert [] == [word for word in MAGIC if f"[{word}" not in source]


# Inputs


async def test_inputs_travel(shop, make_order, hand_in, facts):
    """A picture handed in is the clip's first frame."""
    order = make_order(mode=Mode.FIRST_FRAME, **hand_in((Role.FIRST_FRAME, "image/png", png((200, 30, 30)))))
    await shop.submit(order)

    assert State.SUCCEEDED == (await shop.poll(order)).state
    red, green, blue = facts(shop.folder / "att_1-0.mp4").pictures[0].getpixel((600, 200))
    assert red > 170
    assert max(green, blue) < 60


@pytest.mark.parametrize("data", [b"", b"no picture", png()[:30]])
async def test_bad_input_fails_the_task(shop, make_order, hand_in, data):
    """A picture nobody can read fails the task, and says so."""
    order = make_order(mode=Mode.REFERENCE, **hand_in((Role.REFERENCE, "image/png", data)))
    await shop.submit(order)
    update = await shop.poll(order)

    assert (State.FAILED, "bad_input") == (update.state, update.fault.code)
    assert "a picture" in update.fault.message
    assert State.FAILED == (await shop.poll(order)).state


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode not in {Mode.TEXT, Mode.REFERENCE}])
async def test_modes_need_their_inputs(shop, make_order, mode):
    """A mode whose input is missing is the order's fault."""
    with pytest.raises(Invalid, match="needs"):
        await shop.submit(make_order(mode=mode))


@pytest.mark.parametrize(
    "named", [{"characters": ("fox",)}, {"elements": (Element(name="fox"),)}], ids=["a character", "an element"]
)
async def test_a_clip_is_guided_by_words_alone(shop, make_order, named):
    """A character is known by its id, and an element may be shown by nothing: neither needs an input."""
    order = make_order(mode=Mode.REFERENCE, **named)
    await shop.submit(order)

    assert State.SUCCEEDED == (await shop.poll(order)).state


async def test_unforeseen_trouble_fails_the_task(shop, make_order, monkeypatch):
    """Whatever goes wrong while rendering ends the task; nothing hangs."""
    monkeypatch.setattr("providers._render.render", lambda *_: 1 / 0)
    await shop.submit(make_order())
    update = await shop.poll(make_order())

    assert ("render_failed", "cannot render: ZeroDivisionError") == (update.fault.code, update.fault.message)


# The service, over HTTP


async def raw(shop, method, path, **kwargs) -> httpx.Response:
    return await shop.client.request(method, f"sandbox://studio{path}", **kwargs)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../etc/passwd"}, {"id": ""}, {"id": "x" * 65}, {"id": "a b"}, {"id": "a\n"}, {"id": "é"},
        {"id": None},
        {"mode": "dream"}, {"seconds": 0}, {"seconds": 61}, {"seconds": "4"}, {"n": 5}, {"fps": 0}, {"fps": 61},
        {"resolution": "4320p"}, {"resolution": "361p"}, {"resolution": "big"}, {"resolution": "10p"},
        {"aspect_ratio": "0:9"},
        {"aspect_ratio": "99:1"}, {"aspect_ratio": "16:9:4"}, {"container": "exe"}, {"prompt": "x" * 32_001},
        {"inputs": [{"role": "hero", "media_type": "image/png", "data": ""}]}, {"seed": 1.5},
        {"inputs": [{"role": "mask", "media_type": "image/png", "data": "%%%"}]},
    ],
)  # fmt: skip
async def test_wrong_orders_are_refused(shop, make_order, tmp_path, change):
    """An order that is not in order is refused before anything is written."""
    answer = await raw(shop, "POST", "/tasks", json={**encode(make_order()), **change})

    assert (400, "invalid_value") == (answer.status_code, answer.json()["error"]["code"])
    assert [] == list(tmp_path.rglob("*"))


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 5000, b'{"id": "a"'])
async def test_what_is_no_order_is_refused(shop, body):
    """Bytes that are no order are refused too."""
    assert 400 == (await raw(shop, "POST", "/tasks", content=body)).status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/tasks"), ("PUT", "/tasks/a"), ("POST", "/tasks/a"), ("GET", "/tasks/a"),
        ("GET", "/tasks/..%2f..%2fsecret"), ("GET", "/tasks/../secret"), ("DELETE", "/tasks/%2e%2e"), ("GET",
        "/tasks/a%00"),
        ("GET", "/clips/../secret/0.mp4"), ("GET", "/clips/a/0.mp4"), ("GET", "/clips/a/0.json"), ("GET",
        "/clips/a%0a/0.mp4"),
    ],
)  # fmt: skip
async def test_wrong_addresses_lead_nowhere(shop, method, path):
    """There is nothing but tasks and clips, and nothing outside the folder."""
    (shop.folder.parent / "secret.json").write_text('{"taken": 0, "order": {"prompt": ""}}')
    answer = await raw(shop, method, path)

    assert (404, "not_found") == (answer.status_code, answer.json()["error"]["code"])


async def test_no_clip_before_it_is_done(open_shop, held, make_order, clock):
    """A clip is served when its task is done, not when its file happens to be there."""
    shop = open_shop(held)
    await shop.submit(make_order("[slow 5]"))
    held.run()

    assert 404 == (await raw(shop, "GET", "/clips/att_1/0.mp4")).status_code
    clock.now += 5
    assert 200 == (await raw(shop, "GET", "/clips/att_1/0.mp4")).status_code
    assert 404 == (await raw(shop, "GET", "/clips/att_1/1.mp4")).status_code
    assert 404 == (await raw(shop, "GET", "/clips/att_1/0.mov")).status_code


async def test_download_goes_on_where_it_stopped(shop, make_order):
    """An interrupted download is taken up with a Range, to the byte."""
    await shop.submit(make_order())
    whole = await raw(shop, "GET", "/clips/att_1/0.mp4")
    size = len(whole.content)
    rest = await raw(shop, "GET", "/clips/att_1/0.mp4", headers={"range": "bytes=1000-"})
    beyond = await raw(shop, "GET", "/clips/att_1/0.mp4", headers={"range": f"bytes={size}-"})
    odd = await raw(shop, "GET", "/clips/att_1/0.mp4", headers={"range": "lines=1-2"})

    assert (206, f"bytes 1000-{size - 1}/{size}") == (rest.status_code, rest.headers["content-range"])
    assert whole.content[1000:] == rest.content
    assert (416, f"bytes */{size}") == (beyond.status_code, beyond.headers["content-range"])
    assert (200, size, "bytes") == (odd.status_code, len(odd.content), whole.headers["accept-ranges"])


# What lasts


async def test_task_outlives_the_gateway(open_shop, held, make_order, hand_in):
    """An order taken before a crash is rendered when somebody asks after it, inputs and all."""
    picture = hand_in((Role.FIRST_FRAME, "image/png", png()))
    order = make_order(mode=Mode.FIRST_FRAME, n=2, **picture)
    await open_shop(held).submit(order)
    for path in picture["files"].values():
        path.unlink()

    pool = type(held)()
    second = open_shop(pool)
    assert State.QUEUED == (await second.poll(order)).state
    assert 1 == len(pool.waiting)
    pool.run()
    assert 2 == len((await second.poll(order)).assets)


async def test_order_is_on_disk_before_the_answer(open_shop, held, make_order, monkeypatch):
    """When an order cannot be written down, it is not taken."""
    shop = open_shop(held)
    synced = []
    monkeypatch.setattr(
        _studio.os, "fsync", lambda _: synced.append(sorted(path.suffix for path in shop.folder.iterdir()))
    )
    await shop.submit(make_order())

    assert [[".part"]] == synced
    assert ["att_1.json"] == [path.name for path in shop.folder.iterdir()]

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_studio.os, "fsync", full)
    with pytest.raises(ProviderError):
        await shop.submit(make_order(attempt="att_2"))
    assert not (shop.folder / "att_2.json").exists()


async def test_half_a_clip_is_no_clip(open_shop, held, make_order):
    """What a killed renderer left behind is not mistaken for a clip."""
    shop = open_shop(held)
    await shop.submit(make_order())
    (shop.folder / "att_1-0.mp4.0123abcd.part").write_bytes(b"half")
    (shop.folder / "att_1.note").write_bytes(b" 63")

    update = await shop.poll(make_order())
    assert (State.RUNNING, 63) == (update.state, update.progress)
    held.run()
    assert State.SUCCEEDED == (await shop.poll(make_order())).state


async def test_progress_moves_while_rendering(open_shop, held, make_order, monkeypatch):
    """Progress is seen from outside while the renderer is at work, and never goes back."""
    shop = open_shop(held)
    await shop.submit(make_order(n=2))
    seen = []
    write = os.pwrite

    def spy(fd, data, offset):
        write(fd, data, offset)
        seen.append(_task.Task.read(shop.folder, "att_1").state(shop.clock())[:2])

    monkeypatch.setattr(_studio.os, "pwrite", spy)
    held.run()

    assert {"rendering"} == {state for state, _ in seen}
    assert sorted(progress for _, progress in seen) == [progress for _, progress in seen]
    assert 24 == len(seen)


async def test_two_gateways_render_once(open_shop, held, make_order):
    """While one gateway renders a task, another on the same folder leaves it alone."""
    shop = open_shop(held)
    await shop.submit(make_order())
    with (shop.folder / "att_1.note").open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        held.run()
        assert not (shop.folder / "att_1-0.mp4").exists()
    await shop.poll(make_order())
    held.run()
    assert (shop.folder / "att_1-0.mp4").exists()


async def test_old_files_go(open_shop, held, make_order, clock):
    """After a day a task is forgotten; files that are not ours are left alone."""
    shop = open_shop(held)
    await shop.submit(make_order())
    ours = ["old.json", "old.note", "old.in0", "old-0.mp4", "old.failed", "old-1.webm.0123abcd.part"]
    theirs = ["notes.txt", "old.db", "old-0.mp4.bak", ".keep"]
    for name in (*ours, *theirs):
        (shop.folder / name).touch()
        os.utime(shop.folder / name, (clock.now - 86_401,) * 2)
    os.utime(shop.folder / "att_1.json", (clock.now - 86_399,) * 2)

    clock.now += 3_500
    await shop.submit(make_order(attempt="att_2"))
    assert (shop.folder / "old.json").exists(), "swept once an hour"
    clock.now -= 3_500
    await open_shop(held).submit(make_order(attempt="att_3"))
    left = {path.name for path in shop.folder.iterdir()}
    assert {"att_1.json", "att_2.json", "att_3.json", *theirs} == left


async def test_closing_forgets_what_has_not_begun(open_shop, held, make_order):
    """Closing takes waiting orders out of the queue; they stay on disk."""
    shop = open_shop(held)
    await shop.submit(make_order())
    await shop.client.aclose()

    assert held.waiting[0][0].cancelled()
    assert (shop.folder / "att_1.json").exists()


# The pool


class Dying:
    """A pool whose processes die over everything."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, *args):
        (_, name) = args
        (pool := self.pool).waiting.clear()
        future = pool.submit(fn, *args)
        future.set_exception(BrokenExecutor(name))
        return future


async def test_killer_is_given_up(open_shop, held, make_order):
    """A task that keeps killing its renderer fails; one that merely waited behind it does not."""
    shop = open_shop(Dying(held))
    killer, bystander = make_order(), make_order(attempt="att_2")
    await shop.submit(killer)
    (shop.folder / "att_1.note").touch()
    states = [(await shop.poll(killer)).state for _ in range(4)]
    await shop.submit(bystander)
    waiting = [(await shop.poll(bystander)).state for _ in range(6)]

    assert State.FAILED == states[-1] != states[0]
    assert {State.QUEUED} == set(waiting)


def ended(pidfd: int) -> bool:
    """Wait for a process to end."""
    ready, _, _ = select.select([pidfd], [], [], 30)
    os.close(pidfd)
    return bool(ready)


async def test_real_pool_renders(open_shop, make_order, facts, tmp_path):
    """A clip rendered in a process of its own is the same clip; the gateway never loads ffmpeg for it."""
    others = {*multiprocessing.active_children()}  # gateways other tests share
    pool = render_pool(1)
    assert others == {*multiprocessing.active_children()}
    shop = open_shop(pool)
    try:
        await shop.submit(make_order(audio=True))
        await asyncio.wrap_future(shop.studio._rendering["att_1"])
        assert 1 == len({*multiprocessing.active_children()} - others)
        assert State.SUCCEEDED == (await shop.poll(make_order())).state
        assert 12 == len(facts(shop.folder / "att_1-0.mp4").pictures)
        assert pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result() > os.getpriority(os.PRIO_PROCESS, 0)
        assert signal.SIG_IGN == pool.submit(signal.getsignal, signal.SIGINT).result()
        with pytest.raises(BrokenExecutor):
            pool.submit(os._exit, 1).result()
        assert os.getpid() != pool.submit(os.getpid).result()
        renderer = os.pidfd_open(pool.submit(os.getpid).result())
        os.mkfifo(tmp_path / "fifo")
        stuck = pool.submit((tmp_path / "fifo").read_bytes)
        writer = os.open(tmp_path / "fifo", os.O_WRONLY)  # opens when the renderer has begun to read
    finally:
        pool.shutdown(cancel_futures=True)
    assert ended(renderer)
    os.close(writer)
    with pytest.raises(BrokenExecutor):
        stuck.result(30)
    with pytest.raises(RuntimeError):
        pool.submit(os.getpid)


QUIET = """
import sys, multiprocessing.resource_tracker as tracker
from pathlib import Path
from providers.sandbox import Studio, render_pool
pool = render_pool(2)
studio = Studio(Path(sys.argv[1]), pool)
assert not {"av", "PIL", "numpy", "providers._render"} & set(sys.modules), sys.modules
assert tracker._resource_tracker._pid is None
pool.shutdown()
assert not Path(sys.argv[1]).exists()
"""


def test_nothing_starts_before_it_is_needed(tmp_path):
    """A gateway that renders nothing loads no ffmpeg, starts no process and makes no folder."""
    subprocess.run([sys.executable, "-c", QUIET, str(tmp_path / "studio")], check=True, timeout=60)


GATEWAY = """
import os, signal
from providers.sandbox import render_pool
if __name__ == "__main__":
    pool = render_pool(2)
    print(*{pool.submit(os.getpid).result() for _ in range(4)}, flush=True)
    for _ in range(2):
        pool.submit(signal.pause)
    signal.pause()
"""


def test_no_orphans(tmp_path):
    """When the gateway is killed outright, its renderers end too, busy or not."""
    script = tmp_path / "gateway.py"
    script.write_text(GATEWAY)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    gateway = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, text=True)
    with gateway.stdout:
        renderers = [int(pid) for pid in gateway.stdout.readline().split()]
    watch = {os.pidfd_open(pid) for pid in renderers}
    gateway.kill()
    gateway.wait(30)

    assert [True] * len(renderers) == [ended(fd) for fd in watch]
    assert renderers


# The listing


def request(model="sandbox/demo", **wishes) -> Request:
    return Request(prompt="a fox", model=model, **wishes)


def offer(model="sandbox/demo"):
    found = LISTING.offer(model)
    assert found is not None
    return found


def fitted(model="sandbox/demo", **wishes):
    spec = fit(offer(model), request(model, **wishes))
    if isinstance(spec, list):
        return [refusal.field for refusal in spec]
    return (spec.resolution, spec.aspect_ratio, spec.seconds, spec.audio, spec.n, spec.fps, spec.container)


def test_listing_needs_nothing():
    """The sandbox needs no secret and no server, and says what it is."""
    assert ([], True, "A", "sandbox://studio") == (
        LISTING.secrets,
        LISTING.sandbox,
        LISTING.submit_class,
        LISTING.base_url,
    )
    assert "sandbox" == LISTING.slug == LISTING.dialect


@pytest.mark.parametrize("model", [each.model for each in LISTING.offers if each.model != "sandbox/unpriced"])
def test_everything_costs_nothing(model):
    """Every offer has a price, and it is nothing."""
    spec = fit(offer(model), request(model, mode=offer(model).mode[0]))
    priced = quote(LISTING, offer(model), spec, on=TODAY)

    assert isinstance(priced, Quote)
    assert (0, "rendered on your own machine") == (priced.usd_micros, priced.price.source)


def test_what_has_no_price_cannot_be_ordered():
    """The unpriced offer fits, and is refused for want of a price."""
    spec = fit(offer("sandbox/unpriced"), request("sandbox/unpriced"))

    assert isinstance(quote(LISTING, offer("sandbox/unpriced"), spec, on=TODAY), Refusal)


def test_demo_defaults():
    """Who does not choose gets four seconds of 720p with sound."""
    assert ("720p", "16:9", 4, True, 1, 24, "mp4") == fitted()


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"resolution": "1024p"}, ("1024p", "4:7", 4, True, 1, 24, "mp4")),
        ({"aspect_ratio": "7:4"}, ("1024p", "7:4", 4, True, 1, 24, "mp4")),
        ({"resolution": "1024p", "aspect_ratio": "7:4", "seconds": 20}, ("1024p", "7:4", 20, True, 1, 24, "mp4")),
        ({"resolution": "1024p", "aspect_ratio": "16:9"}, ["aspect_ratio"]),
        ({"resolution": "720p", "aspect_ratio": "4:7"}, ["resolution"]),
        ({"resolution": "4k"}, ["resolution"]),
        ({"seconds": 21}, ["seconds"]),
        ({"n": 5}, ["n"]),
        ({"fps": 12, "audio": False, "container": "webm"}, ("720p", "16:9", 4, False, 1, 12, "webm")),
    ],
)
def test_demo_choices(wishes, expected):
    """A choice made is kept or refused by name; OpenAI's large sizes come in their own shape."""
    assert expected == (fitted(**wishes) if isinstance(expected, tuple) else fitted(**wishes)[:1])


def test_demo_takes_everything():
    """The demo takes every mode and every feature, and so many references of every kind."""
    reference = [Input(role=Role.REFERENCE, media_type=kind, sha256="0", size=1) for kind in ("image/png", "audio/wav")]

    assert {*FEATURES, *HANDED} == set(offer().features)
    assert set(Mode) == set(offer().mode)
    assert isinstance(fitted(mode=Mode.REFERENCE, inputs=tuple(3 * reference)), tuple)
    assert ["input_references"] == fitted(mode=Mode.REFERENCE, inputs=tuple(4 * reference))


@pytest.mark.parametrize("each", LISTING.offers, ids=lambda each: each.model)
def test_everything_sold_can_be_rendered(each):
    """Whatever an offer sells, the studio takes."""
    for resolution in each.resolution:
        for ratio in each.aspect_ratio:
            spec = fit(each, request(each.model, resolution=resolution, aspect_ratio=ratio))
            if not isinstance(spec, list):
                width, height = spec.frame
                assert (0, 0) == (width % 2, height % 2)
                assert 360 <= min(width, height) <= 1080
    assert max(each.seconds) <= 20
    assert set(each.container) <= {"mp4", "mov", "webm"}


VEO = ["google/veo-3.1", "google/veo-3.1-fast", "google/veo-3.1-lite"]


@pytest.mark.parametrize("model", VEO)
def test_veo(model):
    """Veo makes 8 seconds of 720p with sound unless told otherwise, and other shapes at 720p only."""
    assert ("720p", "16:9", 8, True, 1, 24, "mp4") == fitted(model)
    assert ("720p", "9:16", 4, True, 1, 24, "mp4") == fitted(model, seconds=4, aspect_ratio="9:16")
    assert ("1080p", "16:9", 8, True, 1, 24, "mp4") == fitted(model, resolution="1080p", seed=1, negative_prompt="x")
    assert ("1080p", "16:9", 4, False, 4, 24, "mp4") == fitted(model, resolution="1080p", seconds=4, audio=False, n=4)
    assert ["seconds"] == fitted(model, seconds=5)
    assert ["resolution"] == fitted(model, resolution="1080p", aspect_ratio="1:1")
    assert ("1080p", "16:9", 0, True, 1, 24, "mp4") == fitted(model, mode=Mode.UPSCALE)


@pytest.mark.parametrize("model", ["google/veo-3.1", "google/veo-3.1-fast", "google/veo-3.1-lite-low-priority"])
def test_veo_goes_on_for_seven_seconds(model):
    """As at every seller of it, also where none is asked; a clip of its own is never that long."""
    assert (
        ("720p", "16:9", 7, True, 1, 24, "mp4")
        == fitted(model, mode=Mode.EXTEND)
        == fitted(model, mode=Mode.EXTEND, seconds=7)
    )
    assert ["seconds"] == fitted(model, mode=Mode.EXTEND, seconds=8) == fitted(model, seconds=7)


def test_references_where_they_are_sold():
    """Three references at 8 seconds on Veo, ten on Omni."""
    three = tuple(Input(role=Role.REFERENCE, media_type="image/png", sha256="0", size=1) for _ in range(3))
    wish = {"mode": Mode.REFERENCE, "inputs": three}

    for model in VEO:
        assert isinstance(fitted(model, **wish), tuple)
        assert ["seconds"] == fitted(model, seconds=4, **wish)
        assert ["input_references"] == fitted(model, mode=Mode.REFERENCE, inputs=three + three[:1])
    assert isinstance(fitted("google/gemini-omni-flash", mode=Mode.REFERENCE, inputs=3 * three + three[:1]), tuple)


def test_omni():
    """Omni goes to fifteen seconds, edits, and knows no negative prompt."""
    omni = "google/gemini-omni-flash"

    assert ("720p", "16:9", 8, True, 1, 24, "mp4") == fitted(omni)
    assert ("360p", "16:9", 0, True, 1, 24, "mp4") == fitted(omni, resolution="360p", mode=Mode.EDIT)
    assert "seconds" in fitted(omni, seconds=10, mode=Mode.EDIT)
    assert ["negative_prompt"] == fitted(omni, negative_prompt="x")
    assert ["negative_prompt"] == fitted("google/veo-3.1-lite-low-priority", negative_prompt="x")


def test_base64_is_plain(make_order, hand_in):
    """Input bytes travel unchanged, every value of them."""
    every = bytes(range(256))
    body = encode(make_order(**hand_in((Role.MASK, "image/png", every))), {"0" * 64: every})

    assert every == base64.b64decode(body["inputs"][0]["data"])
