"""
OpenRouter's video API at ``/api/v1/videos``, where its clients look for it.

It reads like ``/v1/videos`` and is not: its SDK takes a 202 for a create and nothing else, and the Vercel AI SDK's
provider no ``null`` anywhere. Clips are fetched without a key, so their addresses are signed and run out.
openrouter.ai/docs/features/multimodal/video-generation; @openrouter/sdk 1.3.19, @openrouter/ai-sdk-provider 2.10.0.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from litestar import get, post
from litestar.types import ASGIApp
from msgspec.structs import replace

from gateway.accounts import Account
from gateway.api.answers import poll_after_ms
from gateway.api.content import serve
from gateway.api.desk import Incoming, body_of, desk, reply
from gateway.api.order import job_of
from gateway.api.problems import ProblemError, invalid
from gateway.job import Job, State
from gateway.surfaces.common import READ, WRITE, base_url, choice_of, clips_of, create, fault_of, told, unknown
from providers.base.catalog import dollars_per_credit, fit
from providers.base.listing import Offer
from providers.base.order import Mode, Request, Spec, frame_size, lines

PATH = "/api/v1/videos"
LINK_MS = 24 * 3_600_000
"""How long an address of a clip opens it."""

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


def fields_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """
    Put a call into the fields of ``POST /v1/videos``.

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
    return {**fields, "metadata": {name: _text(each) for name, each in notes.items()}, **_provider(given)}


def _provider(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read who may make the clip, and what is passed through to whom."""
    said = given.get("provider", {})
    if not isinstance(said, dict):
        raise invalid("provider", "provider is an object.")
    unknown(said, PREFERENCES, "provider.")
    options = said.get("options", {})
    if not isinstance(options, dict):
        raise invalid("provider.options", "provider.options is an object: what is passed through, by provider.")
    preferences = {
        name: [SLUGS.get(each, each) if isinstance(each, str) else each for each in value]
        if isinstance(value, list)
        else value
        for name, value in said.items()
        if name != "options"
    }
    passed = {SLUGS.get(slug, slug): each for slug, each in options.items()}
    return {"provider": preferences or None, "provider_options": passed or None}


def _text(value: Any) -> str:
    """Write a value of a trace as text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@post("/videos", operation_id="openrouterCreateVideo", **{**WRITE, "status_code": 202})
async def create_video(request: Incoming) -> ASGIApp:
    """Order a clip."""
    body = await body_of(request)
    try:
        sized = {"resolution": "size", "aspect_ratio": "size"} if body.fields.get("size") else {}
        job = await create(request, fields_of(body.fields), {**NAMES, **sized})
    finally:
        body.drop()
    return reply(_video(request, job), _headers(request, job), status=202)


@get("/videos/{video_id:str}", operation_id="openrouterGetVideo", **READ)
async def get_video(request: Incoming, video_id: str) -> ASGIApp:
    """Say how a video stands, and where its clips are fetched once there are some."""
    job = await job_of(request, video_id)
    return reply(_video(request, job), _headers(request, job))


@get("/videos/{video_id:str}/content", operation_id="openrouterDownload", **READ)
async def download(request: Incoming, video_id: str) -> ASGIApp:
    """Download a clip with a key."""
    index = request.query_params.get("index", "0")
    if not (index.isascii() and index.isdigit() and len(index) <= 2):
        raise invalid("index", "index is the number of the clip, from 0.")
    return await serve(request, await job_of(request, video_id), "video", int(index))


@get("/videos/models", operation_id="openrouterModels", **READ)
async def models(request: Incoming) -> ASGIApp:
    """List every model with what its offers take and charge."""
    services = desk(request)
    sold: dict[str, list[tuple[Account, Offer]]] = {}
    for account in services.shop.accounts.values():
        for offer in account.listing.offers:
            if not (offer.ended and services.shop.today >= offer.ended):
                sold.setdefault(offer.model, []).append((account, offer))
    return reply({"data": [_model(name, sold[name], services.shop.today) for name in sorted(sold)]})


def _video(request: Incoming, job: Job) -> dict[str, Any]:
    """Write a job; what is not there is left out, never null."""
    services = desk(request)
    base = base_url(request)
    said: dict[str, Any] = {
        "id": job.id,
        "generation_id": job.id,
        "polling_url": f"{base}{PATH}/{job.id}",
        "status": STATUS[job.state],
    }
    if not job.state.final:
        return said
    clips = clips_of(job)
    if clips:
        until = services.clock() + LINK_MS
        said["unsigned_urls"] = [base + services.links.to_clip(job.id, each, until) for each in clips]
    elif job.state is State.SUCCEEDED:
        said["status"] = "expired"
    else:
        said["error"] = fault_of(job).message
    # Whose key it was that bought the clip: always the operator's own.
    said["usage"] = {"cost": float(told(job)["x-reelgate-cost-usd"]), "is_byok": True}
    return said


def _headers(request: Incoming, job: Job) -> dict[str, str]:
    """Say in headers what the dialect has no words for."""
    if job.state.final:
        return told(job)
    wait = poll_after_ms(desk(request).shop.typical_seconds(choice_of(job).offer))
    return {**told(job), "retry-after": str(max(1, wait // 1000))}


def _model(name: str, offers: list[tuple[Account, Offer]], today: date) -> dict[str, Any]:
    """Describe a model: what any of its offers takes."""
    each = [offer for _, offer in offers]
    modes = {mode for offer in each for mode in offer.mode}
    resolutions = list(dict.fromkeys(value for offer in each for value in offer.resolution))
    ratios = list(dict.fromkeys(value for offer in each for value in offer.aspect_ratio))
    frames = [word for mode, word in ((Mode.FIRST_FRAME, "first_frame"), (Mode.FRAMES, "last_frame")) if mode in modes]
    shown = [word.upper() if word in {"2k", "4k"} else word for word in sorted(resolutions, key=lines)]
    return {
        "id": name,
        "canonical_slug": name,
        "name": name,
        "created": 0,
        "description": f"Offers: {', '.join(sorted({account.listing.slug for account, _ in offers}))}.",
        "supported_resolutions": shown,
        "supported_aspect_ratios": ratios,
        "supported_sizes": [
            "x".join(map(str, frame_size(resolution, ratio))) for resolution in resolutions for ratio in ratios
        ],
        "supported_durations": sorted({value for one in offers for value in one[1].seconds if _is_length(*one, value)}),
        "supported_frame_images": frames,
        "generate_audio": any(True in offer.audio for offer in each),
        "seed": any("seed" in offer.features for offer in each),
        "upscale_factor": None,
        "creativity": None,
        "allowed_passthrough_parameters": [],
        "pricing_skus": _prices(name, offers, today),
    }


def _is_length(account: Account, offer: Offer, seconds: int) -> bool:
    """Whether an offer makes clips of a length: 0 is a source's, and some are only what an extension adds."""
    wanted = Request(prompt="-", model=offer.model, seconds=seconds)
    modes = [mode for mode in offer.mode if mode is not Mode.EXTEND]
    return seconds > 0 and any(
        isinstance(fit(offer, replace(wanted, mode=mode), plan=account.plan), Spec) for mode in modes
    )


def _prices(name: str, offers: list[tuple[Account, Offer]], today: date) -> dict[str, str]:
    """List the newest price lines of each offer: dollars per unit, by provider, unit and condition."""
    skus: dict[str, str] = {}
    for account, _ in offers:
        listing = account.listing
        for line in sorted(listing.prices, key=lambda line: line.since):
            usd = Decimal(line.usd or 0)
            if line.credits:
                usd = Decimal(line.credits) * (dollars_per_credit(listing, account.plan, today) or 0)
            if line.since > today or not {name, "*"} & {*line.models} or (line.credits and not usd):
                continue
            when = "_".join(str(value) for _, values in sorted(line.when.items()) for value in values)
            sku = f"{listing.slug}_per_{line.per}"
            skus[f"{sku}_{when}" if when else sku] = f"{usd:f}"
    return skus


HANDLERS = (create_video, get_video, download, models)
