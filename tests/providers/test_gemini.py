"""The Gemini adapter signs its own host only, reads what a table cannot say, and keeps its old prices."""

import json
from datetime import date
from decimal import Decimal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import _interactions, _veo
from providers.base.catalog import Quote, Refusal, fit, price_of, quote
from providers.base.errors import Malformed
from providers.base.listing import load
from providers.base.order import Mode, Request, Spec
from providers.base.task import AssetRef, State
from providers.base.wire import Reply
from providers.gemini import Gemini, decode, place

LISTING = load("gemini")
BASE = LISTING.base_url
KEY = "canary-key"


async def signed(url: str, base_url: str = "") -> str | None:
    flow = Gemini(LISTING, {"GEMINI_API_KEY": KEY}, base_url=base_url).auth().async_auth_flow(httpx.Request("GET", url))
    request = await anext(flow)
    await flow.aclose()
    assert KEY not in str(request.url)
    return request.headers.get("x-goog-api-key")


@pytest.mark.parametrize(
    ("url", "base_url", "mine"),
    [
        (f"{BASE}/v1beta/files/a:download?alt=media", "", True),
        ("https://generativelanguage.googleapis.com:443/v1", "", True),
        ("http://generativelanguage.googleapis.com/v1", "", False),
        ("https://generativelanguage.googleapis.com:8443/v1", "", False),
        ("https://generativelanguage.googleapis.com.evil.example/v1", "", False),
        ("https://evil.example/generativelanguage.googleapis.com", "", False),
        ("https://storage.googleapis.com/a.mp4", "", False),
        ("http://127.0.0.1:9/v1/interactions", "http://127.0.0.1:9", True),
        (f"{BASE}/v1", "http://127.0.0.1:9", False),
    ],
)
async def test_the_key_stays_at_home(url, base_url, mine):
    """The key is sent to the account's own scheme, host and port, and nowhere else, wherever a redirect leads."""
    assert (KEY if mine else None) == await signed(url, base_url)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("files/abc", f"{BASE}/v1beta/files/abc:download?alt=media"),
        (f"{BASE}/v1/files/abc:download?alt=media&key=SECRET", f"{BASE}/v1beta/files/abc:download?alt=media"),
        ("http://10.0.0.1/v1beta/files/abc", f"{BASE}/v1beta/files/abc:download?alt=media"),
        ("https://elsewhere.example/clip.mp4", "https://elsewhere.example/clip.mp4"),
        ("https://elsewhere.example/profiles/abc", "https://elsewhere.example/profiles/abc"),
    ],
)
def test_a_file_is_asked_of_the_accounts_own_host(address, url):
    """Whatever host an address names, a file of Google's is asked of the account's own; others stay as they are."""
    assert (url, address) == (place(address, BASE).url, place(address, BASE).handle)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("59s", 59.0),
        ("18.5s", 18.5),
        ("0s", 1.0),
        ("999999s", 86_400.0),
        ("59", 7.0),
        ("-3s", 7.0),
        ("1e9s", 7.0),
        (None, 7.0),
    ],
)
def test_advice_in_the_body_goes_before_the_header(delay, seconds):
    """RetryInfo is read where it is a duration, within a second and a day; else Retry-After is."""
    body = json.dumps({"error": {"code": 429, "details": [{"retryDelay": delay}]}}).encode()
    reply = Reply(status=429, headers={"retry-after": "7"}, body=body)

    assert seconds == _veo.explain(reply, buying=True).retry_after


WORDS = "id status steps name done error response videos usage errors type content code message generateVideoResponse"
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["completed", "model_output"])
)


def nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4)


@given(st.recursive(LEAVES, nested, max_leaves=12))
def test_any_json_is_read_or_refused(body):
    """Whatever JSON comes, it is an update that names a task, or Malformed; success without a clip never."""
    try:
        update = decode(body, BASE)
    except Malformed:
        return
    assert isinstance(update.task.id, str)
    assert update.assets or update.state is not State.SUCCEEDED


@pytest.mark.parametrize(("code", "state"), [("content_policy_violation", State.REFUSED), ("internal", State.FAILED)])
def test_a_relays_refusal_is_a_refusal(code, state):
    """Who speaks Google's dialect without its support codes says by the error's code that a policy forbids it."""
    said = {"id": "v1_a", "status": "failed", "errors": [{"code": code, "message": "no"}]}
    update = _interactions.decode({**said, "usage": {"total_output_tokens": 0}}, lambda url: AssetRef(url=url))

    assert (state, code, False) == (update.state, update.fault.code, update.fault.billed)


@pytest.mark.parametrize(
    ("counted", "tokens"),
    [
        ({"total_output_tokens": 9, "output_tokens_by_modality": [{"modality": "video", "tokens": 7}]}, 7),
        ({"total_output_tokens": 9, "output_tokens_by_modality": [{"modality": "text", "tokens": 2}]}, 9),
        ({"total_output_tokens": 9, "output_tokens_by_modality": []}, 9),
        ({"total_output_tokens": 9}, 9),
        ({"total_output_tokens": 0}, None),
        ({"total_output_tokens": -9}, None),
        ({"total_output_tokens": 10**30}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_clips_bill_is_its_video_tokens(counted, tokens):
    """What counts the video goes before the total; a count that cannot be one is none, and the quote stands."""
    content = [{"type": "video", "uri": "files/a"}]
    said = {"id": "v1_a", "status": "completed", "steps": [{"type": "model_output", "content": content}]}
    update = decode({**said, "usage": counted}, BASE)

    assert (State.SUCCEEDED, tokens) == (update.state, update.usage and update.usage.tokens)


@pytest.mark.parametrize("word", _interactions.STATES)
def test_every_word_of_an_interaction_without_a_clip(word):
    """Without a clip no word is a success, and each that ends badly says why in the provider's word."""
    update = _interactions.decode({"id": "v1_a", "status": word}, lambda url: AssetRef(url=url))

    assert (word, "v1_a") == (update.raw_state, update.task.id)
    assert update.state is not State.SUCCEEDED
    assert (update.state is State.FAILED) is (update.fault is not None)


def test_the_last_output_counts():
    """Of several outputs the last that holds a clip is the clip; pictures and words are none."""

    def step(*content):
        return {"type": "model_output", "content": list(content)}

    clip = {"type": "video", "uri": "files/b"}
    first, last = {"type": "video", "uri": "files/a"}, {"type": "image", "uri": "files/c"}
    steps = [step(first), step({"type": "text"}, clip), step(last)]
    given = {"type": "user_input", "content": [clip, clip]}
    update = decode({"id": "v1_a", "status": "completed", "steps": [given, *steps]}, BASE)

    assert [f"{BASE}/v1beta/files/b:download?alt=media"] == [asset.url for asset in update.assets]


def spec_of(model: str, **choices) -> Spec:
    offer = LISTING.offer(model)
    assert offer is not None
    spec = fit(offer, Request(prompt="-", model=model, **choices))
    assert isinstance(spec, Spec), spec
    return spec


@pytest.mark.parametrize(
    ("model", "resolution", "on", "usd"),
    [
        ("google/veo-3.1", "720p", date(2025, 10, 15), "0.40"),
        ("google/veo-3.1", "1080p", date(2026, 10, 21), "0.40"),
        ("google/veo-3.1", "4k", date(2026, 1, 13), "0.60"),
        ("google/veo-3.1-fast", "720p", date(2026, 4, 6), "0.15"),  # cometapi.com's guide: $0.40 and $0.15
        ("google/veo-3.1-fast", "1080p", date(2026, 4, 6), "0.15"),
        ("google/veo-3.1-fast", "4k", date(2026, 4, 6), "0.35"),
        ("google/veo-3.1-fast", "720p", date(2026, 4, 7), "0.10"),
        ("google/veo-3.1-fast", "1080p", date(2026, 4, 7), "0.12"),
        ("google/veo-3.1-fast", "4k", date(2026, 4, 7), "0.30"),
        ("google/veo-3.1-lite", "720p", date(2026, 3, 31), "0.05"),
        ("google/veo-3.1-lite", "1080p", date(2026, 3, 31), "0.08"),
    ],
)
def test_yesterdays_clip_keeps_yesterdays_price(model, resolution, on, usd):
    """Every line of Google's price list is in force on its days."""
    line = price_of(LISTING, LISTING.offer(model), spec_of(model, resolution=resolution), on=on)

    assert (usd, "second") == (line.usd, line.per)


@pytest.mark.parametrize("model", ["google/veo-3.1", "google/veo-3.1-fast", "google/veo-3.1-lite"])
def test_veo_is_over(model):
    """From the day Google ended it Veo is refused in words, the day before it had a price."""
    offer, spec = LISTING.offer(model), spec_of(model)

    assert isinstance(quote(LISTING, offer, spec, on=date(2026, 10, 21)), Quote)
    assert quote(LISTING, offer, spec, on=date(2026, 10, 22)) == Refusal("model", offer.ended_why)


@pytest.mark.parametrize(
    ("resolution", "a_second"), [("360p", "0.034"), ("720p", "0.101"), ("1080p", "0.152"), ("4k", "0.304")]
)
@pytest.mark.parametrize("model", [each.model for each in LISTING.offers if each.route == "interactions"])
def test_a_second_of_omni(model, resolution, a_second):
    """Tokens a second at $17.50 a million make the dollars a second that are printed."""
    line = price_of(LISTING, LISTING.offer(model), spec_of(model, resolution=resolution), on=date(2026, 11, 21))

    assert Decimal(a_second) == (Decimal(line.usd) * line.tokens).quantize(Decimal("0.001"))


@pytest.mark.parametrize(("resolution", "tokens"), [("720p", 2896), ("1080p", 5792), ("4k", 11584)])
def test_an_upscale_has_tokens_of_its_own(resolution, tokens):
    """An upscale is counted by what it is raised to, not like a clip of that size."""
    model = "google/gemini-omni-1.2-flash"
    spec = spec_of(model, mode=Mode.UPSCALE, resolution=resolution)
    line = price_of(LISTING, LISTING.offer(model), spec, on=date(2026, 11, 21))

    assert tokens == line.tokens


@pytest.mark.parametrize(
    ("model", "choices", "field"),
    [
        ("google/veo-3.1", {"seconds": 7}, "seconds"),
        ("google/veo-3.1", {"seconds": 4, "resolution": "1080p"}, "seconds"),
        ("google/veo-3.1", {"mode": Mode.EXTEND, "seconds": 8}, "seconds"),
        ("google/veo-3.1", {"mode": Mode.EXTEND, "resolution": "1080p"}, "resolution"),
        ("google/veo-3.1", {"audio": False}, "audio"),
        ("google/veo-3.1", {"n": 2}, "n"),
        ("google/veo-3.1", {"mode": Mode.FRAMES}, "frame_images"),
        ("google/veo-3.1-lite", {"resolution": "4k"}, "resolution"),
        ("google/veo-3.1-lite", {"mode": Mode.EXTEND}, "mode"),
        ("google/gemini-omni-1.1-flash", {"seconds": 11}, "seconds"),
        ("google/gemini-omni-1.1-flash", {"mode": Mode.UPSCALE}, "mode"),
        ("google/gemini-omni-1.2-flash", {"mode": Mode.UPSCALE, "resolution": "360p"}, "resolution"),
        ("google/gemini-omni-1.2-flash", {"mode": Mode.EXTEND, "seconds": 11}, "seconds"),
        ("google/gemini-omni-1.2-flash", {"negative_prompt": "x"}, "negative_prompt"),
    ],
)
def test_what_is_not_sold_is_refused_by_name(model, choices, field):
    """A choice Google does not sell is refused before anything is sent, naming the field to change."""
    answer = fit(LISTING.offer(model), Request(prompt="-", model=model, **choices))

    assert [field] == [refusal.field for refusal in answer][:1]


def test_omni_goes_to_fifteen_seconds():
    """1.2 makes 15 seconds from text; who does not choose gets 8 seconds of 720p."""
    assert 15 == spec_of("google/gemini-omni-1.2-flash", seconds=15).seconds
    spec = spec_of("google/gemini-omni-flash")

    assert ("720p", 8, "16:9") == (spec.resolution, spec.seconds, spec.aspect_ratio)


def test_a_callback_of_another_kind_is_no_hint():
    """Only callbacks about clips name a task."""
    assert not _interactions.read_hook(b'{"type": "batch.succeeded", "data": {"id": "batches/1"}}')
    assert not _interactions.read_hook(b'{"type": "interaction.completed", "data": {"id": ""}}')
    (hint,) = _interactions.read_hook(b'{"type": "interaction.completed", "data": {"id": "v1_a"}}')
    assert "v1_a" == hint.task
