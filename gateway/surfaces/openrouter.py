"""
OpenRouter's video API at ``/api/v1/videos``, where its clients look for it.

It reads like ``/v1/videos`` and is not: its SDK takes a 202 for a create and nothing else, and the Vercel AI SDK's
provider no ``null`` anywhere. Clips are fetched without a key, so their addresses are signed and run out.
openrouter.ai/docs/features/multimodal/video-generation; @openrouter/sdk 1.3.19, @openrouter/ai-sdk-provider 2.10.0.
"""

import hmac
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import product
from typing import Any

import msgspec
from litestar import get, post
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api.calls import job_of
from gateway.api.content import index_of, serve
from gateway.api.create import holds_file
from gateway.api.desk import Incoming, body_of, desk, reply
from gateway.events.events import CANCELED, COMPLETED, FAILED
from gateway.events.letters import Letter, Reach
from gateway.jobs.job import Job, State
from gateway.problems import ProblemError, invalid
from gateway.surfaces.common import (
    READ,
    WRITE,
    base_url,
    clips_of,
    create,
    fault_of,
    headers_of,
    links,
    reach,
    told,
    unknown,
    wish_of,
)
from providers.base.catalog import dollars_per_credit
from providers.base.listing import Listing, Offer, Value
from providers.base.order import Mode, frame_size, lines
from providers.base.sold import in_force, sells

PATH = "/api/v1/videos"
FROM_NOTHING = (Mode.TEXT, Mode.FIRST_FRAME, Mode.FRAMES, Mode.REFERENCE)
ORDERED = (*FROM_NOTHING, Mode.EDIT)
"""The modes a call can ask for; a ``previous_job_id`` is edited."""

FIELDS = frozenset(
    {
        "model", "prompt", "duration", "resolution", "aspect_ratio", "size", "seed", "generate_audio", "frame_images",
        "input_references", "previous_job_id", "callback_url", "user",
    }
)  # fmt: skip
"""Fields that mean what ours do."""
OWN = frozenset({"provider", "session_id", "trace", "upscale_factor", "creativity"})
UNDONE = {
    "upscale_factor": "No offer here takes a factor; name the resolution to scale to.",
    "creativity": "No offer here takes it; leave creativity out.",
}
PREFERENCES = frozenset({"options", "only", "order", "ignore", "allow_fallbacks"})

# OpenRouter's slug of a provider: ours. openrouter.ai/docs/features/provider-routing
SLUGS = {"google-vertex": "vertex", "google-ai-studio": "gemini"}

NAMES = {
    "seconds": "duration",
    "audio": "generate_audio",
    "references": "input_references",
    "frames": "frame_images",
    "video": "previous_job_id",
    "previous_video_id": "previous_job_id",
    "provider_options": "provider.options",
    "metadata": "trace",
    "mode": "model",
}
"""Our fields in OpenRouter's words, where they differ."""

# Job state: OpenRouter's word.
STATUS = {
    State.QUEUED: "pending",
    State.SUBMITTING: "pending",
    State.UNKNOWN: "in_progress",
    State.RUNNING: "in_progress",
    State.STORING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}

# What happened: how a callback says that it ended.
ENDED = {COMPLETED: "completed", FAILED: "failed", CANCELED: "cancelled"}


def write(problem: ProblemError, headers: Mapping[str, str], request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Put a problem as OpenRouter does: its status again, the field and every reason in the metadata."""
    del headers
    status = 400 if problem.status == 422 else problem.status
    metadata: dict[str, Any] = {"code": problem.code, "request_id": request_id}
    if problem.param:
        metadata["param"] = problem.param
    if problem.errors:
        metadata["reasons"] = problem.errors
    body = {"error": {"code": status, "message": problem.message, "metadata": metadata}}
    out = {"content-type": "application/json", "cache-control": "no-store", **problem.headers}
    return status, out, msgspec.json.encode(body)


def fields_of(said: Mapping[str, Any], sellers: Collection[str]) -> dict[str, Any]:
    """
    Put a call into the fields of ``POST /v1/videos``.

    :param sellers: the providers sold here, by slug.
    :raises ProblemError: 400 for a field nobody knows, 422 for what no field of ours can say.
    """
    given = {name: value for name, value in said.items() if value is not None}
    unknown(given, FIELDS | OWN)
    for name, reason in UNDONE.items():
        if name in given:
            raise invalid(name, reason)
    fields = {name: value for name, value in given.items() if name in FIELDS}
    trace = {"trace": given.get("trace", {}), "session_id": given.get("session_id")}
    if not isinstance(trace["trace"], dict):
        raise invalid("trace", "trace is an object.")
    notes = {f"trace.{name}": each for name, each in trace["trace"].items()}
    if trace["session_id"] is not None:
        notes["session_id"] = trace["session_id"]
    return {**fields, "metadata": {name: _text(each) for name, each in notes.items()}, **_provider(given, sellers)}


def _provider(given: Mapping[str, Any], sellers: Collection[str]) -> dict[str, Any]:
    """Read who may make the clip, and what is passed through to whom."""
    said = given.get("provider", {})
    if not isinstance(said, dict):
        raise invalid("provider", "provider is an object.")
    unknown(said, PREFERENCES, "provider.")
    options = said.get("options", {})
    if not isinstance(options, dict):
        raise invalid("provider.options", "provider.options is an object: what is passed through, by provider.")
    for slug in options:
        if SLUGS.get(slug, slug) not in sellers:
            message = f"Nothing is bought of {slug[:64]!r} here, but of {', '.join(sorted(sellers))}; leave it out."
            raise invalid(f"provider.options.{slug[:64]}", message)
    preferences = {
        name: [SLUGS.get(each, each) if isinstance(each, str) else each for each in value]
        if isinstance(value, list)
        else value
        for name, value in said.items()
        if name != "options"
    }
    passed = {SLUGS.get(slug, slug): each for slug, each in options.items()}
    return {"provider": preferences or None, "provider_options": passed or None}


def _text(value: Any) -> Any:
    """Write a value of a trace as text; a file is for the order to refuse."""
    return value if isinstance(value, str) or holds_file(value) else msgspec.json.encode(value).decode()


@post("/videos", operation_id="openrouterCreateVideo", **{**WRITE, "status_code": 202})
async def create_video(request: Incoming) -> ASGIApp:
    """Order a clip."""
    async with body_of(request) as body:
        sellers = {account.listing.slug for account in desk(request).shop.accounts.values()}
        job = await create(request, fields_of(body.fields, sellers), NAMES, told_in="openrouter")
    return reply(_video(request, job), headers_of(request, job), status=202)


@get("/videos/{video_id:str}", operation_id="openrouterGetVideo", **READ)
async def get_video(request: Incoming, video_id: str) -> ASGIApp:
    """Say how a video stands, and where its clips are fetched once there are some."""
    job = await job_of(request, video_id)
    return reply(_video(request, job), headers_of(request, job))


@get("/videos/{video_id:str}/content", operation_id="openrouterDownload", **READ)
async def download(request: Incoming, video_id: str) -> ASGIApp:
    """Download a clip with a key."""
    index = index_of(request)
    return await serve(request, await job_of(request, video_id), "video", index)


@get("/videos/models", operation_id="openrouterModels", **READ)
async def models(request: Incoming) -> ASGIApp:
    """List every model with what its offers take and charge."""
    shop = desk(request).shop
    real = any(not seller.listing.sandbox for seller in shop.sellers)
    sold: dict[str, list[_Sale]] = {}
    for seller in shop.sellers:
        for offer in seller.listing.offers:
            # Of what has a real seller the sandbox makes nothing, unless it is named.
            named = not (seller.listing.sandbox and real) or offer.model.startswith("sandbox/")
            modes = FROM_NOTHING if seller.links or seller.listing.takes == "bytes" else (Mode.TEXT,)
            sale = _sale(seller.listing, offer, seller.plan, modes, shop.today)
            if sale.modes and named:
                sold.setdefault(offer.model, []).append(sale)
    return reply({"data": [_model(name, sold[name]) for name in sorted(sold)]})


def _video(request: Incoming, job: Job) -> dict[str, Any]:
    """Write a job; what is not there is left out, never null."""
    base = base_url(request)
    said: dict[str, Any] = {
        "id": job.id,
        "generation_id": job.id,
        "polling_url": f"{base}{PATH}/{job.id}",
        "status": STATUS[job.state],
    }
    if not job.state.final:
        return said
    if clips_of(job):
        said["unsigned_urls"] = links(reach(request), job)
    elif job.state is State.SUCCEEDED:
        said["status"] = "expired"
    else:
        said["error"] = fault_of(job).message
    said["usage"] = _usage(job)
    return said


def _usage(job: Job) -> dict[str, Any]:
    """Say what a video cost, and whose key it was that bought it: always the operator's own."""
    return {"cost": float(told(job)["x-reelgate-cost-usd"]), "is_byok": True}


def call_back(job: Job, kind: str, there: Reach) -> Letter:
    """
    Write what a call's ``callback_url`` is told, sealed as OpenRouter does.

    openrouter.ai/docs/guides/overview/multimodal/video-generation, "Webhooks"
    """
    status = ENDED[kind]
    data: dict[str, Any] = {
        "id": job.id,
        "status": status,
        "generation_id": job.id,
        "model": wish_of(job).request.model,
    }
    if kind == COMPLETED:
        data |= {"unsigned_urls": links(there, job), "usage": _usage(job)}
    if kind == FAILED:
        data["error"] = fault_of(job).message
    at = datetime.fromtimestamp((job.completed_at or job.updated_at) / 1000, UTC)
    moment = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = msgspec.json.encode({"type": f"video.generation.{status}", "created_at": moment, "data": data})

    def sign(secret: str, seconds: int) -> dict[str, str]:
        mac = hmac.digest(secret.encode(), b"%d,%b" % (seconds, body), "sha256")
        return {"X-OpenRouter-Signature": f"t={seconds},v1={mac.hex()}"}

    return Letter(body, {**told(job), "X-OpenRouter-Idempotency-Key": f"{job.id}-{status}"}, sign)


class _Sale(Struct, frozen=True, kw_only=True):
    """Hold what an order by this dialect is taken with at one offer of one account."""

    seller: str
    modes: list[Mode]
    durations: list[int]
    resolutions: list[str]
    ratios: list[str]
    sizes: list[tuple[str, str]]
    audio: bool
    seed: bool
    skus: dict[str, str]


@lru_cache(maxsize=1024)
def _sale(listing: Listing, offer: Offer, plan: str, modes: tuple[Mode, ...], today: date) -> _Sale:
    """Ask an offer for every value it lists; what only an extension or an upscale has cannot be ordered here."""

    def taken(**chosen: Value) -> bool:
        return any(sells(listing, offer, mode, on=today, plan=plan, **chosen) for mode in modes)

    return _Sale(
        seller=listing.slug,
        modes=[mode for mode in modes if sells(listing, offer, mode, on=today, plan=plan)],
        durations=[each for each in offer.seconds if each and taken(seconds=each)],
        resolutions=[each for each in offer.resolution if taken(resolution=each)],
        ratios=[each for each in offer.aspect_ratio if taken(aspect_ratio=each)],
        sizes=[
            (resolution, ratio)
            for resolution, ratio in product(offer.resolution, offer.aspect_ratio)
            if taken(resolution=resolution, aspect_ratio=ratio)
        ],
        audio=True in offer.audio and taken(audio=True),
        seed="seed" in offer.features,
        skus=_prices(listing, offer, plan, today),
    )


def _model(name: str, sales: list[_Sale]) -> dict[str, Any]:
    """Describe a model: what any of its offers takes."""
    modes = {mode for each in sales for mode in each.modes}
    resolutions = dict.fromkeys(value for each in sales for value in each.resolutions)
    sizes = dict.fromkeys("x".join(map(str, frame_size(*size))) for each in sales for size in each.sizes)
    frames = [word for mode, word in ((Mode.FIRST_FRAME, "first_frame"), (Mode.FRAMES, "last_frame")) if mode in modes]
    skus: dict[str, str] = {}
    for each in sales:
        skus |= {sku: usd for sku, usd in each.skus.items() if sku not in skus or Decimal(usd) < Decimal(skus[sku])}
    return {
        "id": name,
        "canonical_slug": name,
        "name": name,
        "created": 0,
        "description": f"Offers: {', '.join(sorted({each.seller for each in sales}))}.",
        "supported_resolutions": [
            word.upper() if word in {"2k", "4k"} else word for word in sorted(resolutions, key=lines)
        ],
        "supported_aspect_ratios": [*dict.fromkeys(value for each in sales for value in each.ratios)],
        "supported_sizes": [*sizes],
        "supported_durations": sorted({value for each in sales for value in each.durations}),
        "supported_frame_images": frames,
        "generate_audio": any(each.audio for each in sales),
        "seed": any(each.seed for each in sales),
        "upscale_factor": None,
        "creativity": None,
        "allowed_passthrough_parameters": [],
        "pricing_skus": skus,
    }


def _prices(listing: Listing, offer: Offer, plan: str, today: date) -> dict[str, str]:
    """List what orders by this dialect are charged by: dollars per unit, by provider, unit and condition."""
    skus: dict[str, str] = {}
    for line in in_force(listing, offer, on=today, plan=plan, modes=ORDERED):
        rate = dollars_per_credit(listing, plan, today) if line.credits else Decimal(1)
        usd = Decimal(line.credits or line.usd) * (rate or 0)
        if usd or rate is not None or not Decimal(line.credits):
            held = {name: values for name, values in line.when.items() if name != "plan"}
            words = [
                str(value)
                for _, values in sorted(held.items())
                for value in values
                if value not in {*Mode} - {*ORDERED}
            ]
            skus["_".join([f"{listing.slug}_per_{line.per}", *words])] = f"{usd:f}" if usd else "0"
    return skus


HANDLERS = (create_video, get_video, download, models)


DIALECTS = {"openrouter": call_back}
"""How videos ordered here are told of."""
