"""AI Generate is read in either lineage's frames, and told from its callbacks only what they can prove."""

import base64
import hmac
import json
from contextlib import nullcontext
from datetime import date
from decimal import Decimal
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers._kie import decode, decode_created, is_signed
from providers.aigenerate import AiGenerate, charged, encode
from providers.base.catalog import Refusal, fit, quote
from providers.base.errors import Again, Invalid, Malformed, Missing
from providers.base.hooks import ForgedError, HookCall
from providers.base.listing import load
from providers.base.order import Mode, Request, Role, Spec
from providers.base.task import State, Task
from providers.base.wire import Reply
from tests.providers.cases import Given, inputs_of, sample, write

LISTING = load("aigenerate")
KEY = {"AIGENERATE_API_KEY": "sk-aig-1"}
TASK = Task("t", {"route": "jobs"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(
        st.sampled_from(["code", "msg", "data", "taskId", "state", "status", "successFlag", "resultJson", "results"]),
        each, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


class Replies:
    """Answer each call with the next reply, and keep what was asked."""

    def __init__(self, *replies):
        self.left = list(replies)
        self.asked = []

    async def send(self, call):
        self.asked.append(call.url.removeprefix(LISTING.base_url))
        status, body = self.left.pop(0)
        return Reply(status=status, headers={}, body=json.dumps(body).encode())


def wish(*roles, model="google/veo-3.1-fast", folder=None, **fields):
    """Ask for a clip with inputs in these roles."""
    given = [Given(role=role, media_type="image/png") for role in roles]
    inputs, files = inputs_of(given, LISTING, folder) if given else ((), {})
    return Request(prompt="p", model=model, inputs=inputs, **fields), files


def order(folder, *roles, **fields):
    request, files = wish(*roles, folder=folder, **fields)
    offer = LISTING.offer(request.model)
    spec = fit(offer, request)
    assert isinstance(spec, Spec)
    return write(offer, request, spec, files)


# Orders


@pytest.mark.parametrize(
    "options", [["seeds"], "seeds", {"seeds": 1, "duration": 4}, {"enableFallback": True}, {"": 1}]
)
def test_only_known_options_are_passed_on(tmp_path: Path, options):
    """What is not in the table is refused, not dropped."""
    with pytest.raises(Invalid, match=r"options\.aigenerate"):
        encode(order(tmp_path, options={"aigenerate": options}))


def test_options_of_others_are_none_of_its_business(tmp_path: Path):
    """What is meant for another provider is neither sent nor refused."""
    said = encode(order(tmp_path, options={"flow": {"captcha": 1}}))

    assert {"prompt": "p", "model": "veo3_fast", "aspectRatio": "16:9"} == said


def test_a_picture_without_an_address_is_not_ordered(tmp_path: Path):
    """Nothing is sent that the provider could not fetch."""
    whole = order(tmp_path, Role.FIRST_FRAME, mode=Mode.FIRST_FRAME)

    with pytest.raises(Invalid, match="public address"):
        encode(msgspec.structs.replace(whole, links={}))


@pytest.mark.parametrize(
    ("model", "mode", "roles", "fields", "field"),
    [
        ("google/veo-3.1-fast", Mode.FRAMES, [Role.LAST_FRAME], {}, "frame_images"),
        ("google/veo-3.1", Mode.FRAMES, [Role.LAST_FRAME], {}, "frame_images"),
        ("google/veo-3.1", Mode.REFERENCE, [Role.REFERENCE], {}, "mode input_references"),
        ("google/veo-3.1-fast", Mode.REFERENCE, [Role.REFERENCE] * 4, {}, "input_references"),
        ("google/veo-3.1-fast", Mode.REFERENCE, [Role.REFERENCE, Role.FIRST_FRAME], {}, "frame_images"),
        ("google/veo-3.1-fast", Mode.FIRST_FRAME, [Role.REFERENCE, Role.FIRST_FRAME], {}, "input_references"),
        ("google/veo-3.1-fast", Mode.REFERENCE, [Role.REFERENCE], {"aspect_ratio": "9:16"}, "aspect_ratio"),
        ("google/veo-3.1-fast", Mode.TEXT, [], {"seed": 42}, "seed"),
        ("google/veo-3.1-fast", Mode.TEXT, [], {"seconds": 4}, "seconds"),
        ("google/veo-3.1", Mode.TEXT, [], {"resolution": "1080p"}, "resolution"),
        ("aigenerate/veo-3-1", Mode.FIRST_FRAME, [Role.FIRST_FRAME], {}, "mode"),
        ("aigenerate/veo-3-1", Mode.TEXT, [], {"aspect_ratio": "9:16"}, "aspect_ratio"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_not_sold(tmp_path: Path, model, mode, roles, fields, field):
    """A wish the surface has no words for is refused by the listing, naming the field."""
    request, _ = wish(*roles, model=model, folder=tmp_path, mode=mode, **fields)
    refusals = fit(LISTING.offer(model), request)

    assert field.split() == [each.field for each in refusals]


@pytest.mark.parametrize("offer", LISTING.offers, ids=lambda offer: offer.model)
def test_nothing_has_a_price_until_the_operator_says_one(offer):
    """No page names a price, so none is made up: it cannot be ordered."""
    answer = quote(LISTING, offer, fit(offer, Request(prompt="p", model=offer.model)), on=date(2026, 11, 21))

    assert isinstance(answer, Refusal)


# Answers


@pytest.mark.parametrize(
    "body",
    [
        {"taskId": "t"}, {"taskId": "t", "data": None}, {"taskId": "t", "data": ["x"]}, {"data": {"task_id": "t"}},
        {"code": 200, "data": {"taskId": "t"}}, {"data": {"taskId": None}, "taskId": "t"},
        {"data": {"taskId": "t"}, "taskId": "other"},
    ],
)  # fmt: skip
def test_a_task_is_named_in_either_frame(body):
    """The name is read bare or in an envelope; ``data`` is opened only where it is an object."""
    assert "t" == decode_created(body)


@pytest.mark.parametrize(
    "body", [None, [], "t", 7, {}, {"taskId": ""}, {"taskId": 7}, {"data": "t"}, {"code": 200, "data": {}}, {"id": "t"}]
)
def test_what_names_no_task_is_malformed(body):
    """A create without a name is doubt: never repeated."""
    with pytest.raises(Malformed) as caught:
        decode_created(body)

    assert Again.NEVER is caught.value.again


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("waiting", State.QUEUED), ("queuing", State.QUEUED), ("generating", State.RUNNING),
        ("success", State.SUCCEEDED), ("completed", State.SUCCEEDED), ("fail", State.FAILED),
        ("failed", State.FAILED), ("error", State.FAILED), (0, State.RUNNING), (1, State.SUCCEEDED),
        (2, State.FAILED), (3, State.FAILED), (4, State.UNKNOWN), ("SUCCESS", State.UNKNOWN), ("1", State.UNKNOWN),
    ],
)  # fmt: skip
def test_every_word_of_both_lineages(word, state):
    """A word means the same wherever it stands; one never seen is kept and not final."""
    field = "successFlag" if isinstance(word, int) else "state"
    update = decode({"code": 200, "data": {field: word}}, TASK)

    assert (state, str(word), TASK, None) == (update.state, update.raw_state, update.task, update.usage)
    assert (state is State.FAILED) is (update.fault is not None)


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"code": 200, "data": None}, {"code": 200, "data": {}}, {"code": 200, "data": {"state": ""}},
        {"state": "generating"}, {"code": 200, "status": "success", "data": {"taskId": "t"}},
        {"code": 200, "status": "error", "message": "slow down"}, {"code": 401, "taskId": "t", "state": "failed"},
        {"code": 200, "data": {"state": 1}}, {"code": 200, "data": {"successFlag": "1"}}, {"code": 500, "data": {}},
        {"status": 200, "taskId": "t"},
    ],
)  # fmt: skip
def test_what_is_no_record_is_malformed(body):
    """An envelope's own words are no verdict on a task."""
    with pytest.raises(Malformed):
        decode(body, TASK)


A, B = "https://tempfile.aiquickdraw.com/a.mp4", "http://tempfile.aiquickdraw.com/b.mp4"


@pytest.mark.parametrize(
    ("record", "links"),
    [
        ({"resultJson": json.dumps({"resultUrls": [A, B]})}, [A, B]), ({"resultJson": {"resultUrls": [A]}}, [A]),
        ({"resultJson": ""}, []), ({"resultJson": None}, []), ({"resultJson": "null"}, []), ({"resultJson": "{"}, []),
        ({"resultJson": "[" * 9999}, []), ({"resultJson": json.dumps({"resultUrls": json.dumps([A])})}, [A]),
        ({"response": {"resultUrls": [A], "originUrls": [B]}}, [A]), ({"output": ["file:///etc/a"]}, []),
        ({"response": {"resultUrls": json.dumps([A])}}, [A]), ({"response": None, "resultUrls": [A]}, [A]),
        ({"results": [{"url": A}, {"url": A}, {"url": B}]}, [A, B]), ({"output": {"url": A}}, [A]),
        ({"output": A}, [A]), ({"output": [A]}, [A]),
        ({"resultJson": json.dumps({"resultUrls": [A]}), "output": [B]}, [A]), ({"results": {"results": {}}}, []),
        ({"param": json.dumps({"callBackUrl": B, "imageUrls": [B]}), "paramJson": None}, []),
    ],
)  # fmt: skip
def test_clips_are_found_wherever_they_are_kept(record, links):
    """JSON in a string, null, empty, a list or one: a clip is found, once, and what was handed in is none."""
    update = decode({"code": 200, "data": {"state": "success", **record}}, TASK)

    assert (State.SUCCEEDED, links) == (update.state, [asset.url for asset in update.assets])
    assert list(range(len(links))) == [asset.index for asset in update.assets]


@pytest.mark.parametrize(("said", "progress"), [(None, None), (0, 0), (40.7, 40), (-1, 0), (140, 100)])
def test_a_task_under_way_has_progress_and_no_clips(said, progress):
    """What is measured is brought within bounds; a clip counts once its task is done."""
    update = decode({"code": 200, "data": {"state": "generating", "progress": said, "results": [A]}}, TASK)

    assert (progress, ()) == (update.progress, update.assets)


@given(JSON)
def test_any_json_is_an_update_or_malformed(body):
    """Nothing the provider writes becomes anything else."""
    for read in (decode_created, lambda body: decode(body, TASK)):
        try:
            read(body)
        except Malformed:
            continue


@given(st.integers() | st.text(max_size=5), st.booleans())
def test_no_code_makes_a_purchase_free_that_was_not_turned_down(code, buying):
    """Only a code the vendor explains makes an answer definite; every other one of a purchase is doubt."""
    body = json.dumps({"code": code}).encode()
    error = AiGenerate(LISTING, KEY).explain(Reply(status=200, headers={}, body=body), buying=buying)
    definite = {400, 401, 402, 403, 404, 405, 410, 413, 415, 422, 429, 433, 455, 505}

    if buying and not (str(code).isascii() and str(code).isdigit() and int(code) in definite):
        assert Again.NEVER is error.again


# Money


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("60", 60), ("60.0", 60), ("12.5", 12.5), (" 0.01 ", Decimal("0.01")), ("0", 0), ("", None), ("-1", None),
        ("1e9", None),
        ("1,000", None), ("NaN", None), ("٣", None), ("1" * 40, None), (".5", None),
    ],
)  # fmt: skip
def test_a_charge_is_read_or_not_known(said, counted):
    """Credits come as the header says, fractions too; what is no plain number is not known."""
    assert counted == charged({"x-ai-credits-charged": said})


async def test_a_create_without_the_header_counts_nothing(tmp_path: Path):
    """No word on the charge is no charge of nought."""
    wire = Replies((200, {"taskId": "t"}))
    update = await AiGenerate(LISTING, KEY).submit(order(tmp_path), wire)

    assert (Task("t", {"route": "veo"}), None) == (update.task, update.usage)


# Looks


@pytest.mark.parametrize("lost", [(200, {"code": 404, "msg": "Task not found"}), (200, {"code": 422})])
async def test_a_task_known_from_its_callback_is_found_on_either_surface(lost):
    """A callback says no surface: where one does not know the task the other is asked, and remembered."""
    wire = Replies(lost, (200, {"code": 200, "data": {"state": "generating"}}))
    update = await AiGenerate(LISTING, KEY).poll(Task("t"), wire)

    assert Task("t", {"route": "jobs"}) == update.task
    assert ["/veo/record-info?taskId=t", "/jobs/recordInfo?taskId=t"] == wire.asked


async def test_a_task_is_asked_for_where_it_was_made():
    """Not being known there is the answer."""
    wire = Replies((200, {"code": 404}))
    with pytest.raises(Missing):
        await AiGenerate(LISTING, KEY).poll(Task("t", {"route": "veo"}), wire)

    assert ["/veo/record-info?taskId=t"] == wire.asked


# Callbacks


VECTOR = json.loads(sample("aigenerate", "webhook_signature_vector.json"))


def test_the_signature_is_kies():
    """The vector of the scheme comes out, whatever the case of the headers' names."""
    headers = {name.lower(): value for name, value in VECTOR["headers"].items()}

    assert is_signed(VECTOR["headers"], VECTOR["taskId"], VECTOR["key"])
    assert is_signed(headers, VECTOR["taskId"], VECTOR["key"])


@pytest.mark.parametrize(
    ("change", "name", "key"),
    [
        ({"X-Webhook-Timestamp": "1782000101"}, VECTOR["taskId"], VECTOR["key"]),
        ({"X-Webhook-Timestamp": ""}, VECTOR["taskId"], VECTOR["key"]),
        ({"X-Webhook-Signature": ""}, VECTOR["taskId"], VECTOR["key"]),
        ({"X-Webhook-Signature": "é" + VECTOR["headers"]["X-Webhook-Signature"]}, VECTOR["taskId"], VECTOR["key"]),
        ({}, "another", VECTOR["key"]), ({}, VECTOR["taskId"], "another"),
    ],
)  # fmt: skip
def test_anything_else_is_not_signed(change, name, key):
    """Another time, task or key does not pass."""
    assert not is_signed({**VECTOR["headers"], **change}, name, key)


def test_an_empty_key_signs_nothing():
    """Whoever knows that there is no key cannot make a signature of it."""
    forged = base64.b64encode(hmac.digest(b"", b"t.1", "sha256")).decode()

    assert not is_signed({"X-Webhook-Timestamp": "1", "X-Webhook-Signature": forged}, "t", "")


@pytest.mark.parametrize(
    ("key", "headers", "told"),
    [
        ("", {}, True), ("", {"X-Webhook-Timestamp": "1", "X-Webhook-Signature": "x"}, True),
        (VECTOR["key"], VECTOR["headers"], True), (VECTOR["key"], {}, False), ("another", VECTOR["headers"], False),
    ],
)  # fmt: skip
def test_a_callback_is_believed_as_far_as_the_account_can_tell(key, headers, told):
    """Without a key for callbacks each is a hint; with one, only what it signed."""
    provider = AiGenerate(LISTING, KEY | ({"AIGENERATE_WEBHOOK_KEY": key} if key else {}))
    body = json.dumps({"code": 501, "data": {"taskId": VECTOR["taskId"]}}).encode()
    now = float(VECTOR["headers"]["X-Webhook-Timestamp"])
    with nullcontext() if told else pytest.raises(ForgedError):
        provider.check_hook(HookCall(headers=headers, body=body, now=now))


# The key


@pytest.mark.parametrize(
    ("url", "mine"),
    [
        ("https://aimarcusimage.eu/api/v1/veo/generate", True), ("https://tempfile.aiquickdraw.com/v/1.mp4", False),
        ("https://files.aimarcusimage.eu/1.mp4", False), ("https://aimarcusimage.eu.example/1.mp4", False),
    ],
)  # fmt: skip
def test_the_key_goes_to_its_own_host_alone(url, mine):
    """Clips lie elsewhere, and are fetched without it."""
    request = next(AiGenerate(LISTING, KEY).auth().auth_flow(httpx.Request("GET", url)))

    assert ("Bearer sk-aig-1" if mine else None) == request.headers.get("authorization")
