"""
Veo as Google's two APIs sell it: predictLongRunning, operations, the list of models.

The Developer API (v1beta, google-genai up to 2.34) polls an operation by its name and downloads a file; Vertex
(v1beta1) polls by ``fetchPredictOperation`` and hands the clip over inside the answer, as base64.
What it says of a request field comes from docs.cloud.google.com/gemini-enterprise-agent-platform/models/video and
from what google-genai 2.34.0 and 3.4.0 send.
"""

from typing import Annotated, Any, Literal

from litestar import get, post
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from gateway.api.calls import job_of
from gateway.api.desk import Incoming, body_of, desk, reply
from gateway.events.events import COMPLETED
from gateway.events.letters import Letter, Reach
from gateway.ids import is_id
from gateway.jobs.job import Job
from gateway.problems import ProblemError, invalid
from gateway.surfaces.common import (
    READ,
    WRITE,
    clips_of,
    create,
    fault_of,
    headers_of,
    is_policy,
    wish_of,
)
from gateway.surfaces.google import (
    CODES,
    MODELS,
    Asked,
    Bytes,
    Inline,
    address,
    answer,
    asked_of,
    bare,
    clip_uri,
    file_name,
    file_uri,
    hook,
    letter,
    noted,
    notes,
    read,
    refuse,
    snake,
)

OPERATION = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
VERTEX_OPERATION = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"


class _Strict(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Read an object in which every field counts."""


class _Inline(_Strict, frozen=True, kw_only=True):
    """Read bytes as Google's REST samples write them."""

    data: Bytes
    mime_type: str = ""


class _Media(_Strict, frozen=True, kw_only=True):
    """Read a picture or a clip, in the words of either API."""

    bytes_base64_encoded: Bytes | None = None
    encoded_video: Bytes | None = None
    inline_data: _Inline | None = None
    uri: str | None = None
    gcs_uri: str | None = None
    mime_type: str | None = None
    encoding: str | None = None
    mask_mode: str | None = None

    def named(self, param: str) -> dict[str, Any]:
        """
        Name it as ``POST /v1/videos`` does.

        :raises ProblemError: 422 where it is given twice or not at all.
        """
        if self.mask_mode is not None:
            raise invalid(f"{param}.maskMode", "No offer here tells kinds of masks apart; leave maskMode out.")
        given = [
            *(each.named() for each in (self.bytes_base64_encoded, self.encoded_video) if each),
            *([self.inline_data.data.named()] if self.inline_data else []),
            *(address(each, param) for each in (self.uri, self.gcs_uri) if each),
        ]
        if len(given) != 1:
            raise invalid(param, "Give bytesBase64Encoded, or an address in uri (on Vertex: gcsUri).")
        return given[0]


class _Reference(_Strict, frozen=True, kw_only=True):
    """Read a picture that guides the clip."""

    image: _Media
    reference_type: str = "ASSET"


class _Instance(_Strict, frozen=True, kw_only=True):
    """Read what the clip is made from."""

    prompt: str | None = None
    image: _Media | None = None
    last_frame: _Media | None = None
    video: _Media | None = None
    mask: _Media | None = None
    reference_images: Annotated[list[_Reference], Meta(max_length=16)] = []


class _Parameters(_Strict, frozen=True, kw_only=True):
    """Read how the clip is to be."""

    sample_count: int | None = None
    duration_seconds: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    fps: int | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    person_generation: str | None = None
    enhance_prompt: bool | None = None
    generate_audio: bool | None = None
    compression_quality: Literal["OPTIMIZED", "optimized", "LOSSLESS", "lossless"] | None = None
    resize_mode: str | None = None
    storage_uri: str | None = None
    pubsub_topic: str | None = None


class _Hook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read where to call back; snake_case, as google-genai 2.34.0 sends it."""

    uris: list[str] = []
    user_metadata: dict[str, Any] = {}


class _Predict(_Strict, frozen=True, kw_only=True):
    """Read the body of ``predictLongRunning``."""

    instances: Annotated[list[_Instance], Meta(min_length=1, max_length=1)]
    parameters: _Parameters = _Parameters()
    labels: dict[str, str] = {}
    webhook_config: _Hook | None = None


# Google's word for a parameter: our field.
PARAMETERS = {
    "sampleCount": "n",
    "durationSeconds": "seconds",
    "aspectRatio": "aspect_ratio",
    "resolution": "resolution",
    "fps": "fps",
    "seed": "seed",
    "negativePrompt": "negative_prompt",
    "personGeneration": "person_generation",
    "enhancePrompt": "enhance_prompt",
    "generateAudio": "generate_audio",
}
NAMES = {
    **{ours: f"parameters.{google}" for google, ours in PARAMETERS.items()},
    "audio": "parameters.generateAudio",
    "prompt": "instances[0].prompt",
    "input_reference": "instances[0].image",
    "frame_images": "instances[0].lastFrame",
    "frames": "instances[0].lastFrame",
    "input_references": "instances[0].referenceImages",
    "references": "instances[0].referenceImages",
    "mode": "instances[0]",
    "task": "instances[0]",
    "video": "instances[0].video",
    "mask": "instances[0].mask",
    "metadata": "labels",
    "callback_url": "webhookConfig.uris[0]",
}
"""Our fields in Google's words."""

UNDONE = {
    "storage_uri": "No clip is written to a bucket from here; leave storageUri out and take it from the answer.",
    "pubsub_topic": "Nothing is published from here; leave pubsubTopic out and poll the operation.",
    "resize_mode": "Pictures are handed on as they are; leave resizeMode out.",
}
"""Parameters that mean something only inside Google's cloud."""

LENGTHS = dict.fromkeys(("google/veo-3.1", "google/veo-3.1-fast", "google/veo-3.1-lite"), 8)
"""
Seconds of who says none. docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text:
``durationSeconds`` is 4, 6 or 8, "default 8".
"""

EXTENDING = 8
"""The ``durationSeconds`` Google wants beside a video, though what it adds are 7: it says nothing of the length."""

# Ours: what a reference is for. STYLE was Veo 2's.
PURPOSES = {"ASSET": "subject", "STYLE": "style"}


def fields_of(said: _Predict, model: str) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Put a call into the fields of ``POST /v1/videos``, and say what its client calls each.

    :raises ProblemError: 422 for what no field of ours can say.
    """
    (instance,), parameters = said.instances, said.parameters
    refuse(parameters, UNDONE, "parameters.")
    if (parameters.compression_quality or "optimized").lower() != "optimized":
        raise invalid("parameters.compressionQuality", "Clips come as the provider made them; leave it out.")
    names = dict(NAMES)
    frames: list[dict[str, Any]] = []
    for kind, name, media in (
        ("first_frame", "image", instance.image),
        ("last_frame", "lastFrame", instance.last_frame),
    ):
        if media is not None:
            where = names[f"frame_images[{len(frames)}]"] = f"instances[0].{name}"
            frames.append({**media.named(where), "frame_type": kind})
    references: list[dict[str, Any]] = []
    for at, each in enumerate(instance.reference_images):
        where = names[f"input_references[{at}]"] = f"instances[0].referenceImages[{at}]"
        purpose = PURPOSES.get(each.reference_type.upper())
        if purpose is None:
            raise invalid(f"{where}.referenceType", "referenceType is ASSET or STYLE.")
        references.append({**each.image.named(f"{where}.image"), "role": purpose})
    video = instance.video and instance.video.named("instances[0].video")
    extending = video is not None and instance.mask is None
    notes_ = {**said.labels, **(notes(said.webhook_config.user_metadata) if said.webhook_config else {})}
    wanted = {ours: getattr(parameters, snake(google)) for google, ours in PARAMETERS.items()}
    if extending and parameters.duration_seconds == EXTENDING:
        wanted["seconds"] = None
    return {
        **wanted,
        "model": model,
        "prompt": instance.prompt,
        "frame_images": frames,
        "input_references": references,
        "video": video,
        "task": "extend" if extending else None,
        "mask": instance.mask and instance.mask.named("instances[0].mask"),
        "metadata": notes_,
        "callback_url": hook(said.webhook_config.uris, "webhookConfig.uris") if said.webhook_config else None,
    }, names


@post("/predict", operation_id="googlePredict", **WRITE)
async def predict(request: Incoming) -> ASGIApp:
    """Order a clip; answers the name of an operation."""
    asked = asked_of(request)
    async with body_of(request) as body:
        said = read(body.fields, _Predict)
        if asked.vertex and said.webhook_config:
            raise invalid(
                "webhookConfig", "Vertex AI calls nobody back; leave webhookConfig out and poll the operation."
            )
        fields, names = fields_of(said, bare(asked.model))
        echo = {"model": asked.model, **noted(said.webhook_config.user_metadata)} if said.webhook_config else {}
        job = await create(
            request,
            fields,
            names,
            echo=echo,
            told_in="gemini",
            told_of=(COMPLETED,),
            models=MODELS,
            lengths=LENGTHS,
        )
    return reply({"name": _name(asked, job)}, headers_of(request, job))


@get("/operation", operation_id="googleOperation", **READ)
async def operation(request: Incoming) -> ASGIApp:
    """Say how an operation stands."""
    asked = asked_of(request)
    job = await _find(request, asked.id)
    return _operation(request, asked, job)


class _Fetch(_Strict, frozen=True, kw_only=True):
    """Read the body of ``fetchPredictOperation``."""

    operation_name: str


@post("/fetch", operation_id="googleFetchOperation", **{**WRITE, **READ})
async def fetch(request: Incoming) -> ASGIApp:
    """Say how an operation of Vertex stands; a finished clip comes inside the answer."""
    asked = asked_of(request)
    async with body_of(request) as body:
        name = read(body.fields, _Fetch).operation_name
    job = await _find(request, name.rpartition("/operations/")[2], param="operationName")
    return _operation(request, Asked(asked.parent, asked.publisher or "publishers/google/", asked.model), job)


@get("/models", operation_id="googleModels", **READ)
async def models(request: Incoming) -> ASGIApp:
    """List what is sold by the names Google's clients know, then by ours."""
    shown = [_model(name, means) for name, means in _sold(request).items()]
    vertex = asked_of(request).vertex
    return reply({"publisherModels": shown} if vertex else {"models": shown})


@get("/model", operation_id="googleModel", **READ)
async def model(request: Incoming) -> ASGIApp:
    """Describe one model."""
    name, sold = asked_of(request).model, _sold(request)
    if name not in sold:
        raise ProblemError(404, "model_not_found", f"models/{name[:64]} is not sold here.", param="model")
    return reply(_model(name, sold[name]))


def _sold(request: Incoming) -> dict[str, str]:
    """Name every model that is sold, by each name it goes by."""
    shop = desk(request).shop
    sold = {
        offer.model
        for seller in shop.sellers
        for offer in seller.listing.offers
        if not (offer.ended and shop.today >= offer.ended)
    }
    return {**{name: means for name, means in MODELS.items() if means in sold}, **{each: each for each in sorted(sold)}}


def _model(name: str, means: str) -> dict[str, Any]:
    """Describe a model in Google's words; either way of ordering takes any."""
    return {
        "name": f"models/{name}",
        "version": name.rpartition("-")[2],
        "displayName": means,
        "description": f"{means}, made by the best offer here: GET /v1/models says what each takes and charges.",
        "supportedGenerationMethods": ["predictLongRunning", "interactions"],
    }


def _name(asked: Asked, job: Job) -> str:
    """Name the operation of a job."""
    id_ = job.id.removeprefix("video_")
    return f"{asked.parent}{asked.publisher}models/{asked.model}/operations/{id_}"


def _operation(request: Incoming, asked: Asked, job: Job) -> ASGIApp:
    """Write a job as an operation: ``done`` is absent while it runs, and what the filter took is no error."""
    inline = Inline(desk(request).media.shelf)
    name = _name(asked, job) if asked.model else f"operations/{asked.id}"
    said: dict[str, Any] = {"name": name}
    clips = clips_of(job)
    if not job.state.final:
        pass
    elif clips and asked.vertex:
        videos = [{"bytesBase64Encoded": inline.put(each), "mimeType": each.content_type} for each in clips]
        response = {"@type": VERTEX_OPERATION, "raiMediaFilteredCount": 0, "videos": videos}
        said |= {"done": True, "response": response}
    elif clips:
        samples = [{"video": {"uri": clip_uri(request, job, each)}} for each in clips]
        results: dict[str, Any] = {"generatedSamples": samples}
        said |= {"done": True, "response": {"@type": OPERATION, "generateVideoResponse": results}}
    elif is_policy(fault := fault_of(job)):
        taken = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [fault.message]}
        response = (
            {"@type": VERTEX_OPERATION, **taken}
            if asked.vertex
            else {"@type": OPERATION, "generateVideoResponse": taken}
        )
        said |= {"done": True, "response": response}
    else:
        said |= {"done": True, "error": {"code": CODES.get(fault.code, 13), "message": fault.message}}
    return answer(said, inline, headers_of(request, job))


def call_back(job: Job, _: str, there: Reach) -> Letter:
    """Write what a call's ``webhookConfig`` is told: that its operation is done; of one that failed, nothing is."""
    asked = Asked(model=wish_of(job).echo["model"])
    clip = next(iter(clips_of(job)), None)
    where = {"output_file_uri": file_uri(there.base, job, clip), "file_name": file_name(job, clip)} if clip else {}
    return letter(job, "video.generated", {"id": _name(asked, job), **where})


async def _find(request: Incoming, id_: str, param: str = "name") -> Job:
    """
    Find the job of an operation.

    :raises ProblemError: 404.
    """
    video = f"video_{id_}"
    if not is_id("video", video):
        raise ProblemError(404, "operation_not_found", "There is no operation by that name.", param=param)
    try:
        return await job_of(request, video)
    except ProblemError as problem:
        message = "There is no operation by that name."
        raise ProblemError(problem.status, "operation_not_found", message, param=param) from problem


HANDLERS = (predict, operation, fetch, models, model)


DIALECTS = {"gemini": call_back}
"""How operations ordered here are told of."""
