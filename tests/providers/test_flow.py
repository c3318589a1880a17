"""What a table of exchanges cannot say of Flow: markers, voices, uploads kept and made anew, rules, sums of a month."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers._flow import PRESETS, decode, marked, owner, voice
from providers._flow_errors import ANOTHER, words
from providers._flow_objections import PARTS_MOST, objections
from providers.base.catalog import Quote, Refusal, fit, quote
from providers.base.errors import Again, Billed, Invalid, ProviderError, Refused, Scope, Throttled, Unauthorized
from providers.base.listing import load
from providers.base.order import Input, Mode, Request, Role, Spec
from providers.base.task import State, Task
from providers.flow import join
from tests.providers.cases import Case, Exchange, Given, Player, open_provider, order_of

LISTING = load("flow")
JUNE = date(2026, 6, 18)
LITE, FAST, QUALITY = "google/veo-3.1-lite", "google/veo-3.1-fast", "google/veo-3.1"
LOW, RELAXED, OMNI = "google/veo-3.1-lite-low-priority", "google/veo-3.1-fast-relaxed", "google/gemini-omni-flash"
PLANS = ["plus", "pro", "ultra-100", "ultra-200"]


def picture(role=Role.REFERENCE, **more):
    return Input(role=role, media_type="image/png", sha256="0" * 64, size=1, **more)


def fitted(model, plan, **wishes):
    """The spec that comes of a wish, or the fields that stand in its way."""
    request = msgspec.convert({"prompt": "-", "model": model, **wishes}, Request)
    spec = fit(LISTING.offer(model), request, plan=plan)
    return spec if isinstance(spec, Spec) else [refusal.field for refusal in spec]


def order(folder, *, model=FAST, **case):
    return order_of(Case(name="-", offer=model, plan="pro", **case), LISTING, folder)


# Words


@pytest.mark.parametrize(
    ("prompt", "became"),
    [
        ("@Tom runs", "@referenceImage_1 runs"),
        ("@TOM, @tom and @Tommy", "@referenceImage_1, @referenceImage_1 and @referenceImage_2"),
        ("@Tomas is nobody, nor is a@tom.example", "@Tomas is nobody, nor is a@tom.example"),
        ("@referenceImage_2 before @CHARACTER_1", "@referenceImage_2 before @CHARACTER_1"),
        ("@user:1-character:2 sings like @Zephyr", "@character_1 sings like @referenceAudio_1"),
        ("@referenceAudio_9 was named by the client", "@referenceAudio_9 was named by the client"),
        ("plain", "plain"),
    ],
)
def test_names_become_markers(prompt, became):
    """A name handed in becomes its marker, whole and whatever its case; a marker written by hand stays."""
    request = Request(
        prompt=prompt, model=OMNI, characters=("user:1-character:2",), voices=({"id": "zephyr"},),
        inputs=(picture(name="Tom"), picture(name="Tommy"), picture(name="referenceAudio_9"), picture()),
    )  # fmt: skip

    assert became == marked(request)


@given(st.text(), st.lists(st.text(max_size=8), max_size=4))
def test_a_prompt_without_at_is_untouched(prompt, names):
    """Whatever things are called, only an at sign is ever replaced."""
    prompt = prompt.replace("@", "")

    assert prompt == marked(Request(prompt=prompt, model=OMNI, inputs=tuple(picture(name=name) for name in names)))


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique_by=str.lower))
def test_every_name_finds_its_marker(names):
    """Names of any letters, one within another, each become the marker of their own place."""
    request = Request(
        prompt=" ".join(f"@{name} |" for name in names), model=OMNI, inputs=tuple(picture(name=name) for name in names)
    )
    markers = [f"@referenceImage_{number}" for number in range(1, len(names) + 1)]

    assert " ".join(f"{marker} |" for marker in markers) == marked(request)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"id": "zephyr"}, "Zephyr"), ({"name": "KORE"}, "Kore"), ({"id": "Kore", "name": "Anna"}, "Kore"),
        ({"id": "user:1-voice:2-mid:3", "name": "Kore"}, "user:1-voice:2-mid:3"), ({"id": "Newcomer"}, "Newcomer"),
        ({"name": "Anna"}, ""), ({"id": 7}, ""), ({"id": None}, ""), ({}, ""),
    ],
)  # fmt: skip
def test_voices(said, named):
    """A preset is known by id or name, a voice made at Flow by its id, and nothing else is one."""
    assert named == voice(said)
    assert 30 == len(PRESETS)


@given(st.emails())
def test_an_id_tells_its_account(email):
    """The account an id is tied to is read back, and nothing is read where it does not say."""
    assert email == owner(f"user:1-email:{email.encode().hex()}-image:2")
    assert not owner(f"user:1-email:{email.encode().hex()}")


@pytest.mark.parametrize(
    "reason",
    [
        "PUBLIC_ERROR_UNSAFE_GENERATION", "PUBLIC_ERROR_PROMINENT_PEOPLE_FILTER_FAILED", "PUBLIC_ERROR_MINOR_UPLOAD",
        "PUBLIC_ERROR_TRUMP_FACE_DETECTED", "PUBLIC_ERROR_AUDIO_FILTERED", "AUDIO_GENERATION_FILTERED",
        "PUBLIC_ERROR_MINOR", "PUBLIC_ERROR_DANGER_FILTER",
    ],
)  # fmt: skip
def test_policy_reads_alike_everywhere(reason):
    """A reason of policy is a refusal in an error, in a failed job and in one clip, and costs nothing."""
    google = {"code": 400, "message": "Request contains an invalid argument.", "details": [{"reason": reason}]}
    status = {"mediaGenerationStatus": "MEDIA_GENERATION_STATUS_FAILED", "failureReasons": [reason]}
    jobs = [
        {"jobid": "1", "status": "failed", "error": google},
        {"jobid": "1", "status": "failed", "error": "API error: 400", "response": {"error": google}},
        {"jobid": "1", "status": "failed", "errorDetails": f"{reason}: no"},
        {"jobid": "1", "status": "completed", "response": {"media": [{"mediaMetadata": {"mediaStatus": status}}]}},
    ]

    assert Refused is words(reason).verdict.kind
    assert {(State.REFUSED, reason, False)} == {
        (update.state, update.fault.code, update.fault.billed) for update in map(decode, jobs)
    }


def test_texts_hide_the_account():
    """What a client may read of an error names neither the operator's e-mail nor the ids that hold it."""
    said = words("no user:1-email:6a6f-image:1 of jo@example.com").message

    assert "no (hidden) of (hidden)" == said


URLS = st.one_of(st.none(), st.sampled_from(["https://flow-content.google/a", "https://storage.googleapis.com/b"]))


@given(st.lists(URLS, max_size=4), st.lists(URLS, max_size=4), st.booleans(), st.booleans())
def test_no_clip_is_counted_twice(media, operations, flat, nested):
    """Clips come from one shape, the newest that has any; the others show the same ones again."""
    shown = {
        "media": [{"mediaGenerationId": "m", "videoUrl": url} for url in media],
        "operations": [
            {"operation": {"metadata": {"video": {"fifeUrl": url}}}} if nested else {"video": {"uri": url}}
            for url in operations
        ],
    }
    want = [url for url in media if url] or [url for url in operations if url]
    body = {"jobId": "1", **shown} if flat else {"jobid": "1", "status": "completed", "response": shown}
    if want:
        update = decode(body)
        assert (want, State.SUCCEEDED) == ([asset.url for asset in update.assets], update.state)
        assert list(range(len(want))) == [asset.index for asset in update.assets]
    if not flat:
        assert () == decode({**body, "status": "created"}).assets


def test_every_part_but_the_first_loses_a_second():
    """Each segment overlaps what it goes on from by a second, so a chain is joined with that cut once each."""
    cuts = [part.get("trimStart", 0) for part in join(["a", "b", "c"])["media"]]

    assert [0, 1, 1] == cuts


# Orders


@pytest.mark.parametrize(
    ("mode", "options", "fine"),
    [
        ("text", {}, True), ("text", {"captchaOrder": "EzCaptcha"}, True), ("text", {"captchaRetry": 5}, True),
        ("text", {"captchaRetry": "5"}, False), ("text", {"captchaRetry": True}, False), ("text", {"fps": 24}, False),
        ("text", {"startFrameIndex_1": 0}, False), ("text", ["captchaRetry"], False), ("text", {"async": False}, False),
        ("text", {"replyUrl": "https://evil.example"}, False), ("extend", {"captchaRetry": 1}, True),
        ("text", {"captchaRetry": 0}, False), ("text", {"captchaRetry": 10}, True),
        ("text", {"captchaRetry": 11}, False),
        ("text", {"captchaToken": 20 * "x"}, True), ("text", {"captchaToken": 19 * "x"}, False),
        ("text", {"captchaOrder": ",".join(10 * ["2Captcha"])}, True), ("text", {"captchaOrder": "a,,b"}, False),
        ("text", {"captchaOrder": ",".join(11 * ["2Captcha"])}, False), ("text", {"captchaOrder": ""}, False),
        ("text", {"captchaRetry": 5, "captchaOrder": "EzCaptcha"}, False),
        ("text", {"captchaToken": 20 * "x", "captchaRetry": 5}, False),
        ("edit", {"startFrameIndex_1": 0, "endFrameIndex_1": 240}, True), ("edit", {"startFrameIndex_1": 239}, True),
        ("edit", {"startFrameIndex_1": 240}, False), ("edit", {"startFrameIndex_1": -1}, False),
        ("edit", {"endFrameIndex_1": 1}, True), ("edit", {"endFrameIndex_1": 0}, False),
        ("edit", {"endFrameIndex_1": 241}, False), ("edit", {"startFrameIndex_1": 5, "endFrameIndex_1": 5}, False),
        ("edit", {"startFrameIndex_1": "5"}, False), ("edit", {"startFrameIndex_1": 9, "endFrameIndex_1": 3}, False),
    ],
)  # fmt: skip
def test_only_documented_options_pass(mode, options, fine, tmp_path):
    """What is passed through is documented, within its bounds, and nothing we say ourselves."""
    source = [Given(role=Role.SOURCE, media_type="video/mp4", handle="clip-1")] if mode != "text" else []
    request, model = {"prompt": "-", "mode": mode, "options": {"flow": options}}, OMNI if mode == "edit" else FAST
    made = order(tmp_path, model=model, request=request, inputs=source)
    told = [each.message for each in objections(made, "flow")]
    assert fine is not any("provider_options.flow" in each for each in told)
    assert len(told) == (0 if fine else 1)


@pytest.mark.parametrize(
    ("mode", "handle", "more", "fine"),
    [
        ("extend", "a", {}, True), ("extend", "a b", {}, True), ("extend", "", {}, False),
        ("extend", " ".join("a" * (PARTS_MOST - 1)), {}, True), ("extend", " ".join("a" * PARTS_MOST), {}, False),
        ("upscale", "a", {}, True), ("upscale", "a b", {}, False), ("upscale", "a", {"seed": 1}, False),
        ("reference", "", {"voices": [{"url": "https://example.com/a.wav"}]}, False),
        ("reference", "", {"voices": [{"id": "Kore", "language": "en"}]}, False),
        ("reference", "", {"voices": [{"id": "Kore", "name": "Anna"}]}, True),
    ],
)  # fmt: skip
async def test_what_flow_cannot_be_told_is_refused_before_anything_is_sent(mode, handle, more, fine, tmp_path):
    """An order Flow has no words for is refused, with a reason, at no cost."""
    role, kind = (Role.REFERENCE, "image/png") if mode == "reference" else (Role.SOURCE, "video/mp4")
    handed = [Given(role=role, media_type=kind, handle=handle)]
    made = order(tmp_path, request={"prompt": "-", "mode": mode, **more}, inputs=handed)
    assert fine is not bool([*objections(made, "flow")])
    if not fine:
        provider = open_provider(LISTING)
        with pytest.raises(Invalid):
            await provider.submit(made, Player("flow", provider, []))


def upload(email, at="assets"):
    name = {"mediaGenerationId": {"mediaGenerationId": f"user:1-email:{email.encode().hex()}-image:{at}"}}
    return Exchange(call=f"POST /v1/google-flow/{at}", reply_json=name)


def bought(status=201, body=None):
    reply = body or {"jobid": "1", "status": "created"}
    return Exchange(call="POST /v1/google-flow/videos", buys=True, status=status, reply_json=reply)


async def test_uploads_are_kept_until_they_are_in_doubt(tmp_path):
    """A picture goes up once; after an order was found invalid, it goes up again."""
    made = order(tmp_path, request={"prompt": "-"}, inputs=[Given(role=Role.FIRST_FRAME, media_type="image/png")])
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    wrong = {"error": "Unauthorized access to user:1 detected in reference user:1-email:6a-image:1"}
    wire = Player("flow", provider, [upload("a@x.y"), bought(), bought(403, wrong), upload("a@x.y"), bought()])
    await provider.submit(made, wire)
    with pytest.raises(Invalid):
        await provider.submit(made, wire)
    await provider.submit(made, wire)

    assert [] == wire.left


async def test_one_order_uses_one_google_account(tmp_path):
    """A picture that went to another account than the first one is sent to that one too."""
    frames = [Given(role=Role.FIRST_FRAME, media_type="image/png"), Given(role=Role.LAST_FRAME, media_type="image/png")]
    both = order(tmp_path, request={"prompt": "-"}, inputs=frames)
    last = next(each.sha256 for each in both.request.inputs if each.role is Role.LAST_FRAME)
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    provider.uploads.put(last, f"user:1-email:{b'b@x.y'.hex()}-image:old")
    wire = Player("flow", provider, [upload("a@x.y"), upload("a@x.y", "assets/a%40x.y"), bought()])
    await provider.submit(both, wire)
    sent = msgspec.json.decode(wire.calls[-1].body)

    assert {"a@x.y"} == {owner(sent["startImage"]), owner(sent["endImage"])}


async def test_a_joined_clip_is_edited_by_its_bytes(tmp_path):
    """What was joined of several parts has no name Flow could edit, so its bytes go up."""
    source = Given(role=Role.SOURCE, media_type="video/mp4", seconds=8, handle="a b")
    made = order(tmp_path, model=OMNI, request={"prompt": "-"}, inputs=[source])
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    wire = Player("flow", provider, [upload("a@x.y"), bought()])
    await provider.submit(made, wire)

    assert b"source-0" == wire.calls[0].body


def google(reason):
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"reason": f"PUBLIC_ERROR_{reason}"}]}}


NOBODY = {"error": "no_eligible_account", "retryAfter": 1800, "skipReasons": [{"model": "*"}]}
ONE_ACCOUNT = [
    (429, google("PER_MODEL_DAILY_QUOTA_REACHED")), (429, google("USER_QUOTA_REACHED")),
    (429, google("USER_REQUESTS_THROTTLED")), (429, google("SOMETHING_NEW")), (402, {"error": "Not enough credits"}),
    (596, {"error": "Failed to refresh session: 500 Internal Server Error"}), (404, {"error": "Google Flow account x"}),
]  # fmt: skip
EVERY_ACCOUNT = [
    (429, NOBODY), (401, {"error": "Unauthorized"}), (402, {"error": "Account has no subscription or it expired"}),
    (503, {"error": "Captcha service failed: ERROR_ZERO_BALANCE", "code": 503}), (429, {}),
]  # fmt: skip


async def said(folder, status, body, *, email="", characters=()):
    """What an answer means to an order that names a Google account, is tied to one, or may go to any."""
    made = order(folder, request={"prompt": "-", "characters": characters})
    provider = open_provider(LISTING, USEAPI_EMAIL=email)
    with pytest.raises(ProviderError) as raised:
        await provider.submit(made, Player("flow", provider, [bought(status, body)]))
    return raised.value


@pytest.mark.parametrize(("status", "body"), ONE_ACCOUNT)
async def test_one_google_account_speaks_for_itself(status, body, tmp_path):
    """
    Where useapi chooses among several, what one has no more of rests none of the others.

    An order that any could make comes again soon; one tied to that account alone comes again when that has some again,
    and is told as it is where waiting is no help.
    """
    free = await said(tmp_path, status, body)
    tied = await said(tmp_path, status, body, characters=[f"user:1-email:{b'a@x.y'.hex()}-character:2-imgs:1"])
    named = await said(tmp_path, status, body, email="a@x.y")

    assert (Again.HERE, Billed.NO, Scope.ORDER, ANOTHER) == (free.again, free.billed, free.scope, free.retry_after)
    lasts = isinstance(named, Unauthorized)
    assert (named.again if lasts else Again.HERE) is tied.again
    assert (named.code, named.retry_after, Scope.ORDER) == (tied.code, tied.retry_after, tied.scope)
    assert Scope.ORDER is not named.scope


@pytest.mark.parametrize(("status", "body"), EVERY_ACCOUNT)
async def test_what_is_said_of_all_holds_for_all(status, body, tmp_path):
    """What useapi says of its key, its subscription and all its Google accounts rests the whole account."""
    free, named = await said(tmp_path, status, body), await said(tmp_path, status, body, email="a@x.y")

    assert Scope.ACCOUNT is free.scope
    assert (type(named), named.scope, named.retry_after) == (type(free), free.scope, free.retry_after)


async def test_pictures_follow_to_another_google_account(tmp_path):
    """What lies at an account that serves nobody now goes up anew; after a poor captcha it is still good."""
    made = order(tmp_path, request={"prompt": "-"}, inputs=[Given(role=Role.FIRST_FRAME, media_type="image/png")])
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    poor = bought(403, {"error": "captcha_quality: too low"})
    script = [upload("a@x.y"), poor, bought(*ONE_ACCOUNT[0]), upload("b@x.y"), bought()]
    wire = Player("flow", provider, script)
    for _ in range(2):
        with pytest.raises(Throttled):
            await provider.submit(made, wire)
    await provider.submit(made, wire)

    assert "b@x.y" == owner(msgspec.json.decode(wire.calls[-1].body)["startImage"])
    assert [] == wire.left


@pytest.mark.parametrize(("email", "left"), [("a@x.y", 7), ("", None)])
async def test_credits_are_one_google_accounts(email, left):
    """What is left is the account's only where it has one Google account: useapi may choose a fuller one."""
    clip = {"mediaGenerationId": "m", "videoUrl": "https://flow-content.google/a"}
    job = {"jobid": "1", "status": "completed", "response": {"media": [clip], "remainingCredits": 7}}
    provider = open_provider(LISTING, USEAPI_EMAIL=email)
    script = [Exchange(call="GET /v1/google-flow/jobs/1", reply_json=job)]
    update = await provider.poll(Task("1"), Player("flow", provider, script))

    assert left == (update.usage and update.usage.remaining_credits)


# The listing


REF = [{"role": "reference", "media_type": "image/png", "sha256": "0", "size": 1}]
FIRST = [{"role": "first_frame", "media_type": "image/png", "sha256": "0", "size": 1}]
GIF = [{**FIRST[0], "media_type": "image/gif"}]
KORE = [{"id": "Kore"}]


@pytest.mark.parametrize(
    ("model", "plan", "wishes", "wrong"),
    [
        (FAST, "pro", {}, None), (FAST, "pro", {"seconds": 4}, "seconds"), (FAST, "ultra-100", {"seconds": 4}, None),
        (FAST, "", {"seconds": 6}, "seconds"), (FAST, "ultra-special-2025", {"seconds": 6}, None),
        (FAST, "pro", {"seconds": 10}, "seconds"), (FAST, "ultra-100", {"seconds": 0}, "seconds"),
        (FAST, "pro", {"resolution": "1080p"}, "resolution"), (FAST, "pro", {"resolution": "360p"}, "resolution"),
        (FAST, "pro", {"mode": "upscale"}, None), (FAST, "pro", {"mode": "upscale", "n": 2}, "n"),
        (FAST, "pro", {"mode": "upscale", "resolution": "4k"}, "resolution"),
        (FAST, "ultra-100", {"mode": "upscale", "resolution": "4k"}, None),
        (FAST, "pro", {"mode": "extend", "n": 2}, "n"), (FAST, "pro", {"mode": "edit"}, "mode"),
        (FAST, "pro", {"mode": "reference", "inputs": 3 * REF}, None),
        (FAST, "pro", {"mode": "reference", "inputs": 4 * REF}, "input_references"),
        (FAST, "pro", {"mode": "reference", "inputs": 2 * REF, "characters": ["a"]}, None),
        (FAST, "pro", {"mode": "reference", "inputs": 2 * REF, "characters": ["a", "b"]}, "input_references"),
        (FAST, "ultra-100", {"mode": "reference", "inputs": REF, "seconds": 4}, "seconds"),
        (FAST, "ultra-100", {"mode": "reference", "characters": ["a"], "seconds": 4}, "seconds"),
        (FAST, "pro", {"mode": "reference", "characters": ["a"], "voices": KORE}, None),
        (FAST, "pro", {"mode": "reference", "inputs": REF, "voices": KORE}, None),
        (FAST, "pro", {"mode": "reference", "inputs": REF, "voices": 2 * KORE}, "voices"),
        (FAST, "pro", {"voices": KORE}, "voices"),
        (FAST, "pro", {"mode": "first_frame", "inputs": FIRST, "characters": ["a"]}, "input_references"),
        (FAST, "pro", {"mode": "first_frame", "inputs": FIRST + REF}, "input_references"),
        (FAST, "pro", {"mode": "reference", "inputs": FIRST + REF}, "frame_images"),
        (FAST, "pro", {"mode": "first_frame", "inputs": GIF}, None),
        (FAST, "pro", {"negative_prompt": "x"}, "negative_prompt"), (FAST, "pro", {"audio": False}, "audio"),
        (QUALITY, "pro", {}, None), (QUALITY, "ultra-100", {"seconds": 4}, "seconds"),
        (QUALITY, "pro", {"mode": "reference", "inputs": REF}, "mode"),
        (QUALITY, "pro", {"characters": ["a"]}, "characters"),
        (LOW, "ultra-200", {"seconds": 4}, None), (LOW, "ultra-100", {}, "provider"), (LOW, "pro", {}, "provider"),
        (RELAXED, "pro", {}, "provider"), (RELAXED, "ultra-special-2025", {}, None),
        (OMNI, "plus", {"seconds": 10, "resolution": "360p"}, None), (OMNI, "plus", {"seconds": 5}, "seconds"),
        (OMNI, "pro", {"aspect_ratio": "1:1"}, "aspect_ratio"), (OMNI, "pro", {"resolution": "1080p"}, "resolution"),
        (OMNI, "pro", {"mode": "edit", "seconds": 8}, "seconds"), (OMNI, "pro", {"mode": "extend"}, "mode"),
        (OMNI, "pro", {"mode": "reference", "inputs": 7 * REF, "voices": 5 * KORE}, None),
        (OMNI, "pro", {"mode": "reference", "inputs": 4 * REF, "characters": 4 * ["a"]}, "input_references"),
        (OMNI, "pro", {"mode": "reference", "inputs": REF, "voices": 6 * KORE}, "voices"),
        (OMNI, "pro", {"mode": "edit", "inputs": 3 * REF, "characters": 2 * ["a"], "voices": 3 * KORE}, None),
        (OMNI, "pro", {"mode": "edit", "inputs": 3 * REF, "characters": 3 * ["a"]}, "input_references"),
        (OMNI, "pro", {"mode": "edit", "inputs": 6 * REF}, "input_references"),
        (OMNI, "pro", {"mode": "edit", "voices": 4 * KORE}, "voices"), (OMNI, "pro", {"voices": KORE}, None),
        (OMNI, "pro", {"mode": "first_frame", "inputs": FIRST, "voices": KORE}, None),
        (OMNI, "pro", {"mode": "frames", "inputs": FIRST, "voices": KORE}, "voices"),
        (OMNI, "pro", {"mode": "upscale", "voices": KORE}, "voices"),
        (FAST, "pro", {"mode": "upscale", "voices": KORE}, "voices"),
    ],
)  # fmt: skip
def test_what_goes_together(model, plan, wishes, wrong):
    """Plans, lengths, references, voices and frames go together as the pages say, and a refusal names the field."""
    came = fitted(model, plan, **wishes)

    assert isinstance(came, Spec) if wrong is None else wrong in came, came


@pytest.mark.parametrize("host", ["flow-content.google", "storage.googleapis.com", "flow.google.com"])
def test_where_clips_lie(host):
    """In the shapes of 2025 and 2026, and where Flow moved in autumn."""
    assert LISTING.fetches(host)


def test_who_does_not_choose():
    """Nobody has to know Flow: the vendor's defaults are ours, an upscale's too."""
    omni = fitted(OMNI, "pro")

    assert ("720p", 8, "16:9", 1) == (omni.resolution, omni.seconds, omni.aspect_ratio, omni.n)
    assert ("720p", 0) == ((edit := fitted(OMNI, "pro", mode="edit")).resolution, edit.seconds)
    for model in (FAST, QUALITY, LITE, OMNI):
        assert ("1080p", 0) == ((large := fitted(model, "pro", mode="upscale")).resolution, large.seconds)
    assert {Mode.EXTEND, Mode.UPSCALE} == set(LISTING.offer(FAST).own)


@pytest.mark.parametrize(
    ("model", "wishes", "months"),
    [
        (LITE, {}, [20, 100, 2000, 5000]), (FAST, {}, [10, 50, 1000, 2500]), (QUALITY, {}, [2, 10, 100, 250]),
        (OMNI, {"seconds": 4}, [13, 66, 666, 1666]), (OMNI, {"seconds": 6}, [10, 50, 500, 1250]),
        (OMNI, {"seconds": 8}, [8, 40, 400, 1000]), (OMNI, {"seconds": 10}, [6, 33, 333, 833]),
        (OMNI, {"mode": "edit"}, [5, 25, 250, 625]),
    ],
)  # fmt: skip
def test_generations_a_month(model, wishes, months):
    """A plan's credits make as many clips a month as the overview of June 2026 says, every cell of it."""
    plans = [next(each for each in LISTING.plans if each.name == name) for name in PLANS]
    spent = [
        quote(LISTING, LISTING.offer(model), fitted(model, plan.name, **wishes), on=JUNE, plan=plan.name).credits
        for plan in plans
    ]

    assert months == [int(plan.credits_month / each) for plan, each in zip(plans, spent, strict=True)]


@pytest.mark.parametrize(("name", "printed"), [*zip(PLANS, ["0.040", "0.020", "0.010", "0.008"], strict=True)])
def test_a_credit_costs_what_the_overview_says(name, printed):
    """A month's price over a month's credits is the table's price of a credit."""
    plan = next(each for each in LISTING.plans if each.name == name)

    assert Decimal(printed) == round(Decimal(plan.usd_month) / plan.credits_month, 3)


@pytest.mark.parametrize(
    ("wishes", "spent"),
    [
        ({"seconds": 4}, (15, 7)), ({"seconds": 6}, (20, 10)), ({"seconds": 8}, (25, 12)), ({"seconds": 10}, (30, 15)),
        ({"mode": "edit"}, (40, 20)), ({"mode": "upscale", "resolution": "4k"}, (50, 50)),
        ({"mode": "upscale"}, (0, 0)), ({"seconds": 10, "n": 4}, (120, 60)),
    ],
)  # fmt: skip
def test_omni_became_cheaper(wishes, spent):
    """June's prices hold until September's table, which names every length anew."""
    spec = fitted(OMNI, "ultra-100", **wishes)
    days = (JUNE, date(2026, 9, 4))

    assert spent == tuple(
        int(quote(LISTING, LISTING.offer(OMNI), spec, on=day, plan="ultra-100").credits) for day in days
    )


def test_360p_is_about_half():
    """Small clips have prices of their own, from the same table."""
    wishes = [{"seconds": 4}, {"seconds": 6}, {"seconds": 8}, {"seconds": 10}, {"mode": "edit"}]
    specs = [fitted(OMNI, "pro", resolution="360p", **each) for each in wishes]
    quotes = [quote(LISTING, LISTING.offer(OMNI), spec, on=date(2026, 11, 21), plan="pro") for spec in specs]

    assert [4, 5, 6, 7, 10] == [int(each.credits) for each in quotes]


def test_relaxed_is_over():
    """What is sold no more says so, and keeps the price it had."""
    offer, plan = LISTING.offer(RELAXED), "ultra-special-2025"
    spec = fitted(RELAXED, plan)

    assert isinstance(quote(LISTING, offer, spec, on=date(2026, 5, 10), plan=plan), Quote)
    assert isinstance(over := quote(LISTING, offer, spec, on=date(2026, 5, 11), plan=plan), Refusal)
    assert "2026-05-11" in over.message
