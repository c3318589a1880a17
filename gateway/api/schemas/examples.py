"""Show what calls and answers look like: written by what writes the real ones, and at the prices there are."""

from datetime import date
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from gateway.api import answers
from gateway.api.desk import page
from gateway.api.offers import describe_price
from gateway.clock import DAY_MS
from gateway.door.admission import overloaded
from gateway.jobs.job import Attempt, Job, Outcome, State, as_json, born
from gateway.jobs.wish import Choice, Rendition, Wish
from gateway.money.ledger import Billing, Hold
from gateway.problems import ProblemError, invalid, missing_video
from providers.base.catalog import Quote, fit, quote
from providers.base.listing import listings
from providers.base.order import Request, Spec

Example = dict[str, Any]
AT = 1_795_255_200_000
ID, EARLIER, ATTEMPT = (f"{kind}_{AT - ago:012x}{'5eed' * 5}" for kind, ago in (("video", 0), ("video", 9), ("att", 0)))
FILE, REQUEST_ID = f"file_{AT:012x}{'5eed' * 5}", "req_5eed5eed5eed5eed5eed5eed"
PROMPT = "A calico cat playing a piano on stage"
DAY = date(2026, 11, 21)
SELLER, MODEL = "vertex", "google/veo-3.1-fast"

ORDERED: dict[str, Example] = {
    "From a text": {"model": "sora-2", "prompt": PROMPT, "seconds": "8", "size": "1280x720"},
    "Between two pictures": {
        "model": MODEL,
        "prompt": "The curtain falls",
        "seconds": 8,
        "frame_images": [
            {"type": "image_url", "file_id": FILE, "frame_type": "first_frame"},
            {"type": "image_url", "file_id": FILE, "frame_type": "last_frame"},
        ],
    },
    "Where it is cheapest, up to a price": {
        "model": "auto",
        "prompt": PROMPT,
        "resolution": "1080p",
        "aspect_ratio": "9:16",
        "provider": {"policy": "cheapest", "ignore": ["sandbox"]},
        "max_cost_usd": 1.5,
        "metadata": {"scene": "12"},
    },
}
"""What orders, and calls for quotes, say."""

CALLS: dict[str, dict[str, Example]] = {
    "createVideo": ORDERED,
    "quote": ORDERED,
    "editVideo": {"An earlier video": {"prompt": "Make it night", "video": {"id": ID}}},
    "extendVideo": {"An earlier video": {"prompt": "The cat takes a bow", "seconds": "8", "video": {"id": ID}}},
    "remixVideo": {"Another prompt": {"prompt": "The same with a violin"}},
}
"""What calls carry, by operation."""


@cache
def written() -> dict[tuple[str, str], dict[str, Any]]:
    """Write what is answered, by operation and status."""
    queued, made = _job(State.QUEUED), _job(State.SUCCEEDED)
    shown = {job.state: answers.video(job) for job in (queued, made)}
    unknown = ProblemError(400, "unknown_field", "Unknown field 'colour'.", param="colour")
    unsold = invalid("seconds", "No offer can do this: vertex sells 4, 6, 7, 8 seconds; not 60.", code="no_offer")
    found: dict[tuple[str, str], dict[str, Any]] = {
        ("retrieveVideo", "200"): {"Made": shown[State.SUCCEEDED], "Waiting": shown[State.QUEUED]},
        ("retrieveVideo", "4XX"): {"Nobody knows it": missing_video(EARLIER)},
        ("listVideos", "200"): {"A page": page([shown[State.SUCCEEDED]], more=True)},
        ("listVideos", "4XX"): {"No such order": invalid("order", "order is asc or desc.")},
        ("listAttempts", "200"): {
            "One order": {"object": "list", "data": [answers.attempt(_attempt(made), made)], "has_more": False}
        },
        ("quote", "200"): {"One offer": _quotes()},
        ("quote", "4XX"): {"A field nobody knows": unknown},
    }
    for name in ("createVideo", "editVideo", "extendVideo", "remixVideo"):
        found[name, "200"] = {"Accepted": shown[State.QUEUED]}
        found[name, "4XX"] = {"A field nobody knows": unknown, "A value nobody sells": unsold}
        found[name, "5XX"] = {"Too much at once": overloaded(2)}
    return {place: {name: _plain(value) for name, value in each.items()} for place, each in found.items()}


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Write examples as the document holds them."""
    return {name: {"summary": name, "value": value} for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Write a value as it is sent."""
    body = value.body(REQUEST_ID) if isinstance(value, ProblemError) else value
    return msgspec.json.decode(msgspec.json.encode(body))


def _request() -> Request:
    """Write what the first of the orders asks for."""
    return Request(prompt=PROMPT, model="sora-2", seconds=8, resolution="720p", aspect_ratio="16:9")


def _quote() -> tuple[Spec, Quote]:
    """Decide it, at the price of its seller's listing."""
    listing = listings()[SELLER]
    offer = listing.offer(MODEL)
    assert offer is not None
    spec = fit(offer, _request())
    assert isinstance(spec, Spec)
    found = quote(listing, offer, spec, on=DAY)
    assert isinstance(found, Quote)
    return spec, found


def _job(state: State) -> Job:
    """Write a job as the store has it."""
    spec, price = _quote()
    choice = Choice(
        account=SELLER,
        provider=SELLER,
        model=MODEL,
        spec=spec,
        usd_micros=price.usd_micros,
        source=price.price.source,
        why="the cheapest of 2 offers of google/veo-3.1-fast, the alias's first model that can",
        others=(("flow:google/veo-3.1-fast", price.usd_micros + 10_000),),
    )
    job = born(
        ID,
        "local",
        AT,
        lease_until=None,
        deadline_at=AT + DAY_MS,
        operation="create",
        parent=None,
        wish=as_json(Wish(request=_request())),
        offer=choice.offer,
        quote=as_json(choice),
        warnings="[]",
        buyer="local",
        hold=as_json(Hold(usd_micros=price.usd_micros, owner="local")),
    )
    if state is State.QUEUED:
        return job
    clip = Rendition(
        index=0,
        kind="video",
        path="",
        content_type="video/mp4",
        bytes=4_194_304,
        sha256="5eed" * 16,
        width=1280,
        height=720,
        duration_seconds=8.0,
        fps=24.0,
        has_audio=True,
        codec="h264",
        audio_codec="aac",
    )
    paid = Hold(usd_micros=price.usd_micros, owner="local", billing=Billing.BILLED, charged=price.usd_micros)
    return replace(
        job,
        state=state,
        updated_at=AT + 61_000,
        started_at=AT + 1_000,
        completed_at=AT + 61_000,
        expires_at=AT + 61_000 + 30 * DAY_MS,
        progress=100,
        attempt=ATTEMPT,
        attempts=1,
        outputs=as_json([clip]),
        hold=as_json(paid),
    )


def _attempt(job: Job) -> Attempt:
    """Write the order that made it."""
    return Attempt(
        id=ATTEMPT,
        job=job.id,
        number=1,
        offer=job.offer or "",
        account=SELLER,
        submit_class="E",
        outcome=Outcome.SUCCEEDED,
        usd_micros=_quote()[1].usd_micros,
        intent_at=AT + 1_000,
        answered_at=AT + 2_000,
        ended_at=AT + 61_000,
    )


def _quotes() -> dict[str, Any]:
    """Write what one offer would charge."""
    spec, price = _quote()
    listing = listings()[SELLER]
    one = {
        "object": "quote",
        "offer": f"{SELLER}:{MODEL}",
        "provider": SELLER,
        "account": SELLER,
        "model": MODEL,
        "sandbox": False,
        "can": True,
        "place": 1,
        "usd": answers.usd(price.usd_micros),
        "credits": None,
        "price": describe_price(price.price),
        "price_source": price.price.source,
        "fees": msgspec.to_builtins(listing.fees),
        "expected_seconds": 60.0,
        "spec": asdict(spec),
        "warnings": [],
        "reasons": [],
    }
    why = "the only offer that can"
    return {"object": "list", "model": "sora-2", "policy": "cheapest", "why": why, "data": [one], "warnings": []}
