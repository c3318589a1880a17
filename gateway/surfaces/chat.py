"""
A chat that ends in a clip: ``POST /v1/chat/completions`` as OpenAI's SDKs send it and CometAPI words it.

The prompt is what the user said last, pictures beside it are frames or references, and ``google`` (in ``extra_body``
where a caller writes that out) says what a chat has no words for. What our own API calls ``seconds``, ``size`` or
``max_cost_usd`` may stand in the body too. www.cometapi.com/how-to-use-veo-3-1-api

The answer is a log in CometAPI's words with a link at its end. What is wrong is an HTTP error before the first word
and an error event after it; it is never prose.
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from litestar import post
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api import answers
from gateway.api.create import check_list
from gateway.api.desk import Incoming, body_of, desk, reply
from gateway.clips.uploads import Upload
from gateway.door.answering import understand
from gateway.events.sse import write_event
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Problem
from gateway.problems import ProblemError, invalid
from gateway.surfaces.common import (
    BARE_WRITE,
    ClosingError,
    Models,
    clip_at,
    clips_of,
    create,
    ended,
    fault_of,
    frames,
    is_policy,
    links,
    reach,
    references,
    stream_of,
    told,
    unknown,
    watch,
    wish_of,
)

# CometAPI's word: ours, unless the operator's [aliases] say otherwise. apidoc.cometapi.com/api/video/veo3,
# www.cometapi.com/how-to-use-veo-3-1-api, and callers of its chat
# Where CometAPI sells the same name once more for what its present route cannot, that is the second choice.
MODELS: Models = {
    "veo3": "google/veo-3.1",
    "veo3-fast": "google/veo-3.1-fast",
    "veo3-pro": "google/veo-3.1",
    "veo3-fast-frames": ("google/veo-3.1-fast", "cometapi/veo3-fast-frames"),
    "veo3-pro-frames": ("google/veo-3.1", "cometapi/veo3-pro-frames"),
    "veo3.1": ("google/veo-3.1", "cometapi/veo3.1", "cometapi/veo3.1-legacy"),
    "veo-3.1": ("google/veo-3.1", "cometapi/veo-3.1"),
    "veo3.1-pro": ("google/veo-3.1", "cometapi/veo3.1-pro", "cometapi/veo3.1-pro-references"),
    "veo3.1-fast": "google/veo-3.1-fast",
}
LENGTHS = {"google/veo-3.1": 8, "google/veo-3.1-fast": 8}
"""
Seconds of who names none: a chat has no word for them, and clips were Google's default. The posts above, and
docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text: "default 8".
"""

# What every chat client sends and no clip depends on. platform.openai.com/docs/api-reference/chat/create
IGNORED = frozenset({
    "stream", "stream_options", "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "stop",
    "store", "service_tier", "reasoning_effort", "verbosity", "parallel_tool_calls", "prompt_cache_key",
    "safety_identifier",
    "n", "tools", "functions", "tool_choice", "function_call", "response_format", "modalities",
})  # fmt: skip

# Of those, what would change the answer, and cannot: the values each may have.
ONLY: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"], ["video"], ["text", "video"]),
}

# google.config: ours. The same post; Google's names for what it does not show
CONFIG = {
    "resolution": "resolution",
    "durationSeconds": "seconds",
    "fps": "fps",
    "aspectRatio": "aspect_ratio",
    "generateAudio": "generate_audio",
    "numberOfVideos": "n",
    "seed": "seed",
    "negativePrompt": "negative_prompt",
    "personGeneration": "person_generation",
    "enhancePrompt": "enhance_prompt",
}
GOOGLE = frozenset({"image", "lastFrame", "referenceImages", "video", "config"})
FRAMES = (("image", "first_frame"), ("lastFrame", "last_frame"))
PURPOSES: dict[str, dict[str, str]] = {"asset": {}, "style": {"role": "style"}}


@post("/chat/completions", operation_id="createChatCompletion", **BARE_WRITE)
async def create_chat_completion(request: Incoming) -> ASGIApp:
    """Make a clip in a chat's words: an answer when it is made, or a stream that tells how it comes along."""
    async with body_of(request) as body:
        said = flatten(body.fields)
        streamed, counted = _switches(said)
        fields, names = read(said, clip_at=lambda url: clip_at(request, url))
        extends = "video" in fields and fields.get("task") == "extend"
        operation = "extend" if extends else "create"
        job = await create(request, fields, names, operation=operation, models=MODELS, lengths=LENGTHS)
    chat = Chat(job, str(said.get("model") or wish_of(job).request.model))
    del said, fields  # Pictures are not kept in memory for as long as a clip takes.
    if streamed:
        return stream_of(_events(request, chat, counted=counted), job)
    job = await ended(request, job)
    if job.state is not State.SUCCEEDED or not clips_of(job):
        raise failed(fault_of(job), told(job))
    return reply(chat.whole(job, links(reach(request), job)), told(job))


def flatten(body: Mapping[str, Any]) -> dict[str, Any]:
    """
    Put what stands in ``extra_body`` beside the rest, where an SDK would have put it.

    :raises ProblemError: when it is no object, or says again what is said already.
    """
    said = dict(body)
    more = said.pop("extra_body", None) or {}
    if not isinstance(more, dict):
        raise invalid("extra_body", "extra_body is an object.")
    for name, value in more.items():
        if name in said:
            raise invalid(f"extra_body.{name}"[:64], f"{name[:64]} stands in the body and in extra_body; give it once.")
        said[name] = value
    return said


def read(said: Mapping[str, Any], *, clip_at: Callable[[str], Any] = str) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn a chat's words into ours, and say what the chat calls each field.

    :param clip_at: how a clip's address is read.
    :raises ProblemError: naming what a chat cannot say.
    """
    said = {name: value for name, value in said.items() if value is not None}
    for name, values in ONLY.items():
        if name in said and said[name] not in values:
            raise invalid(name, f"{name} cannot be had with a video model; leave it out.")
    google = said.pop("google", {})
    at, text, pictures = _last_words(said.pop("messages", None))
    names = {"prompt": f"{at}.content"}
    fields: dict[str, Any] = {name: value for name, value in said.items() if name not in IGNORED}
    fields["prompt"] = text
    if pictures:
        fields |= frames(pictures, f"{at}.content.image_url", names)
    if google:
        more = _google(google, names, clip_at)
        for name in more.keys() & fields.keys():
            raise invalid(names.get(name, name), f"{names.get(name, name)} is given twice.")
        fields |= more
    return fields, names


def _switches(said: Mapping[str, Any]) -> tuple[bool, bool]:
    """Read whether the answer is streamed, and whether usage comes with it."""
    streamed, options = said.get("stream") or False, said.get("stream_options") or {}
    if not isinstance(streamed, bool):
        raise invalid("stream", "stream is true or false.")
    if not isinstance(options, dict):
        raise invalid("stream_options", "stream_options is an object.")
    return streamed, bool(options.get("include_usage"))


def _last_words(messages: Any) -> tuple[str, str, list[Any]]:
    """Find the last thing the user said: where it stands, its text, its pictures."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "messages is a list; what the user says last is the prompt.")
    at = next((n for n, each in reversed([*enumerate(messages)]) if _role(each) == "user"), None)
    if at is None:
        raise invalid("messages", "messages holds nothing of the role user; what the user says last is the prompt.")
    where, content = f"messages[{at}]", messages[at].get("content")
    if isinstance(content, str):
        return where, content, []
    if not isinstance(content, list):
        raise invalid(f"{where}.content", f"{where}.content is a text, or a list of parts.")
    texts: list[str] = []
    pictures: list[Any] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            url = part.get("image_url")
            pictures.append(url.get("url") if isinstance(url, dict) else url)
        else:
            name = f"{where}.content[{number}].type"
            raise invalid(name, f"{name} is text or image_url; a clip to go on from is named in google.video.")
    return where, "\n".join(texts), pictures


def _role(message: Any) -> Any:
    """Say who said something."""
    return message.get("role") if isinstance(message, dict) else None


def _google(google: Any, names: dict[str, str], clip_at: Callable[[str], Any]) -> dict[str, Any]:
    """Read what only ``google`` can say."""
    if not isinstance(google, dict):
        raise invalid("google", "google is an object.")
    unknown(google, GOOGLE, "google.")
    config = google.get("config") or {}
    if not isinstance(config, dict):
        raise invalid("google.config", "google.config is an object.")
    unknown(config, CONFIG, "google.config.")
    names |= {ours: f"google.config.{theirs}" for theirs, ours in CONFIG.items() if theirs in config}
    names |= {"audio": "google.config.generateAudio", "mode": "google"}
    fields = {CONFIG[name]: value for name, value in config.items()}
    framed = [(name, kind) for name, kind in FRAMES if google.get(name) is not None]
    if framed:
        names |= {f"frame_images[{at}]": f"google.{name}" for at, (name, _) in enumerate(framed)}
        names["frame_images"] = f"google.{framed[-1][0]}"
        fields["frame_images"] = [
            {"type": "image_url", "image_url": _uri(google[name], f"google.{name}"), "frame_type": kind}
            for name, kind in framed
        ]
    if google.get("referenceImages"):
        fields |= _references(google["referenceImages"], names)
    if google.get("video") is not None:
        names |= {"video": "google.video", "task": "google.video"}
        video = _uri(google["video"], "google.video")
        fields |= {"video": clip_at(video) if isinstance(video, str) else video, "task": "extend"}
    return fields


def _references(given: Any, names: dict[str, str]) -> dict[str, Any]:
    """Read reference pictures, each with what it is for."""
    where = "google.referenceImages"
    check_list(where, given)
    pictures = []
    for at, each in enumerate(given):
        kind = str(each.get("referenceType", "asset")).lower() if isinstance(each, dict) else ""
        if kind not in PURPOSES:
            raise invalid(f"{where}[{at}].referenceType", f"{where}[{at}].referenceType is asset or style.")
        image = {"type": "image_url", "image_url": _uri(each.get("image"), f"{where}[{at}].image")}
        pictures.append({**image, **PURPOSES[kind]})
    return references(pictures, where, names, ".image")


def _uri(given: Any, where: str) -> str | Upload:
    """Read where a picture or a clip lies, or the bytes it is, as an address; or as the file they were cut out to."""
    if isinstance(given, str | Upload):
        return given
    if isinstance(given, dict):
        data = given.get("bytesBase64Encoded") or given.get("imageBytes") or given.get("videoBytes")
        inline = data if isinstance(data, Upload) else data and f"data:{given.get('mimeType', '')};base64,{data}"
        found = given.get("uri") or given.get("url") or inline
        if isinstance(found, str | Upload):
            return found
    raise invalid(where, f'{where} is {{"uri": "https://..."}}.')


class Chat(Struct, frozen=True):
    """Hold one chat about one job, and write its answers: pure."""

    job: Job
    model: str
    """As the client called it."""

    def whole(self, job: Job, urls: Sequence[str]) -> dict[str, Any]:
        """Write the answer that is not streamed."""
        message = {"role": "assistant", "content": ending(urls), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": usage(job)}

    def chunk(self, finish: str | None = None, **delta: str) -> bytes:
        """Write one event of the stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return write_event({**self._frame("chat.completion.chunk"), "choices": [choice]})

    def count(self, job: Job) -> bytes:
        """Write the event that tells what it cost."""
        return write_event({**self._frame("chat.completion.chunk"), "choices": [], "usage": usage(job)})

    def _frame(self, kind: str) -> dict[str, Any]:
        """Write what every answer begins with."""
        name = f"chatcmpl-{self.job.id.partition('_')[2]}"
        return {"id": name, "object": kind, "created": self.job.created_at // 1000, "model": self.model}


async def _events(request: Incoming, chat: Chat, *, counted: bool) -> AsyncIterator[bytes]:
    """Tell how a clip comes along, until it is there; a comment now and then keeps the line open."""
    job, shown = chat.job, None
    yield chat.chunk(role="assistant", content="")
    yield chat.chunk(content=f"> Video generation task created\n> Task ID: `{job.id}`\n")
    try:
        # The line is never silent, so it is held as long as the job takes; every job ends by its deadline.
        async for job in watch(desk(request), chat.job, math.inf):
            if shown is not None and not job.state.final:
                if job.progress != shown.progress:
                    yield chat.chunk(content=f"> Progress: {job.progress}%\n")
                elif job.seq == shown.seq:
                    yield b": still being made\n\n"
            shown = job
        urls = links(reach(request), job)
        if not urls:
            fault = fault_of(job)
            if is_policy(fault):
                yield chat.chunk(finish="content_filter")
            raise failed(fault, {})
        yield chat.chunk(content=ending(urls))
        yield chat.chunk(finish="stop")
        if counted:
            yield chat.count(job)
    except ClosingError:
        return  # Broken off without an end: an error would say that there will be no clip.
    except Exception as error:  # noqa: BLE001 - whatever it is, the client must not take the log for a clip
        yield write_event(
            {"error": understand(error, request.scope).body(str(request.scope.get("request_id", "")))["error"]}
        )
    yield b"data: [DONE]\n\n"


def ending(urls: Sequence[str]) -> str:
    """Write the end of the log: each clip's link, under the words callers look for."""
    clips = "\n".join(f"[▶️ Watch Online]({url}) | [⏬ Download Video]({url})" for url in urls)
    return f"\n> ✅ High-quality video generated\n\n{clips}\n"


def usage(job: Job) -> dict[str, Any]:
    """Say what a clip cost; a clip has no tokens."""
    cost = answers.video(job)["usage"]["cost"]
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": cost}


def failed(fault: Problem, headers: Mapping[str, str]) -> ProblemError:
    """Say as an error why there is no clip; asking again would be told the same."""
    status = 400 if fault.type == "invalid_request_error" else 422
    return ProblemError(status, fault.code, fault.message, headers={**headers, "x-should-retry": "false"})


HANDLERS = (create_chat_completion,)
