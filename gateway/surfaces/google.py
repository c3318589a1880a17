"""
What Google's video APIs have in common: which addresses are theirs, how clips are named, how errors are said.

Addresses put a verb behind a colon and a model's name, slashes and all, in the middle; they are read here and
answered under :data:`INSIDE`, where the router can tell them apart.
"""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, TypeVar, cast

import msgspec
from litestar.exceptions import NotFoundException
from litestar.types import HTTPScope, Receive, Scope, Send
from msgspec import Struct

from gateway.api.create import explain, holds_file
from gateway.api.desk import Incoming
from gateway.clips.links import TO_CLIP
from gateway.clips.shelf import Shelf
from gateway.clips.uploads import Upload
from gateway.events.letters import Letter
from gateway.jobs.job import Job
from gateway.jobs.wish import Rendition
from gateway.problems import WRITTEN, ProblemError, invalid
from gateway.surfaces.common import base_url, reach, told, wish_of

Said = TypeVar("Said")

INSIDE = "/~google"
ASKED = "reelgate.google"
"""Where a request's scope holds its :class:`Asked`."""

# Google's id of a model: ours. ai.google.dev/gemini-api/docs/models,
# docs.cloud.google.com/gemini-enterprise-agent-platform/models; the model enum of google-genai 3.4.0.
MODELS = {
    "veo-3.1-generate-preview": "google/veo-3.1",
    "veo-3.1-fast-generate-preview": "google/veo-3.1-fast",
    "veo-3.1-lite-generate-preview": "google/veo-3.1-lite",
    "veo-3.1-generate-001": "google/veo-3.1",
    "veo-3.1-fast-generate-001": "google/veo-3.1-fast",
    "veo-3.1-lite-generate-001": "google/veo-3.1-lite",
    "gemini-omni-1.2-flash": "google/gemini-omni-1.2-flash",
    "gemini-omni-1.1-flash": "google/gemini-omni-1.1-flash",
    "gemini-omni-1.1-flash-preview": "google/gemini-omni-1.1-flash",
    "gemini-omni-flash-preview": "google/gemini-omni-flash",
}

# Status: its google.rpc name, and the status it goes by where Google knows none like ours.
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
STATUSES = {
    400: (400, "INVALID_ARGUMENT"),
    401: (401, "UNAUTHENTICATED"),
    402: (402, "FAILED_PRECONDITION"),
    403: (403, "PERMISSION_DENIED"),
    404: (404, "NOT_FOUND"),
    405: (405, "UNIMPLEMENTED"),
    408: (408, "DEADLINE_EXCEEDED"),
    409: (400, "FAILED_PRECONDITION"),  # the SDK would repeat a 409 by itself
    410: (404, "NOT_FOUND"),
    413: (413, "INVALID_ARGUMENT"),
    415: (415, "INVALID_ARGUMENT"),
    422: (400, "INVALID_ARGUMENT"),
    429: (429, "RESOURCE_EXHAUSTED"),
    500: (500, "INTERNAL"),
    503: (503, "UNAVAILABLE"),
}

# Why a job ended badly: the google.rpc code it is told by; 13 (INTERNAL) for the rest.
CODES = {
    "cancelled": 1,
    "submission_unknown": 2,
    "task_lost": 2,
    "provider_invalid": 3,
    "provider_unsupported": 3,
    "deadline_exceeded": 4,
    "task_expired": 4,
    "video_expired": 5,
    "provider_exhausted": 8,
    "provider_throttled": 8,
    "no_offer": 9,
    "provider_unavailable": 14,
    "result_lost": 15,
}
PLACE = re.compile(
    r"(?P<upload>/upload)?/(?P<version>v1|v1alpha|v1beta|v1beta1)/(?P<parent>projects/[^/]+/locations/[^/]+/)?(?P<rest>.+)"
)
SHAPES = {
    "predict": re.compile(r"(?:publishers/google/)?models/(?P<model>.+):predictLongRunning"),
    "fetch": re.compile(r"(?:publishers/google/)?models/(?P<model>.+):fetchPredictOperation"),
    "operation": re.compile(r"(?:(?:publishers/google/)?models/(?P<model>.+)/)?operations/(?P<id>[^/:]+)"),
    "download": re.compile(r"files/(?P<id>[^/]+):download"),
    "file": re.compile(r"files/(?P<id>[^/:]+)"),
    "files": re.compile(r"files"),
    "upload": re.compile(r"/upload/files"),
    "models": re.compile(r"(?:publishers/google/)?models"),
    "model": re.compile(r"(?:publishers/google/)?models/(?P<model>[^:]+)"),
    "interactions": re.compile(r"interactions"),
    "cancel": re.compile(r"interactions/(?P<id>[^/:]+)/cancel"),
    "interaction": re.compile(r"interactions/(?P<id>[^/:]+)"),
    "unserved": re.compile(r"(?:publishers/google/)?models/.+:\w+"),
}
"""What the rest of an address asks for; last what a model is asked elsewhere (``generateContent``), never here."""
OURS_TOO = {"models", "model", "files", "file"}
"""What ``/v1/`` means in our own API as well, so that only Google's headers tell; nothing is posted there at Google."""
HEADERS = {b"x-goog-api-key", b"x-goog-api-client"}
"""What Google's clients send; other ``x-goog-`` headers are those of a proxy of Google's before us."""

UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")
"""How msgspec says that a field is not known."""

FILE = re.compile(r"(?:^|/)files/([0-9a-f]{32})(?:n([1-9]))?(?:[:/?]|$)")
"""A clip of ours in an address: ``https://host/v1beta/files/<digits>:download?alt=media``, ``files/<digits>n1``."""
SDK = "google-genai-sdk"
"""How Google's own SDK calls itself in ``x-goog-api-client``."""
UPLOADED = re.compile(r"(?:^|/)files/u([0-9a-f]{32})(?:[:/?]|$)")
"""A file that was uploaded, in the same places; by its letter no clip."""


class Asked(Struct, frozen=True):
    """Say what an address of Google's asks for."""

    parent: str = ""
    """``projects/p/locations/l/`` on Vertex; empty on the Developer API."""
    publisher: str = ""
    """``publishers/google/``, where the address has it."""
    model: str = ""
    id: str = ""

    @property
    def vertex(self) -> bool:
        """Whether results come inline, as on Vertex, which has no files."""
        return bool(self.parent or self.publisher)


def hear(scope: HTTPScope) -> None:
    """Note a request in Google's words, and lead it to where it is answered."""
    found = PLACE.fullmatch(scope["path"])
    if found is None:
        return
    rest, parent = f"{found['upload']}/{found['rest']}" if found["upload"] else found["rest"], found["parent"] or ""
    name, shape = next(((name, hit) for name, shape in SHAPES.items() if (hit := shape.fullmatch(rest))), ("", None))
    if found["version"] == "v1" and not parent:
        known = scope["method"] != "POST" and any(header in HEADERS for header, _ in scope["headers"])
        # With a colon in it a model may be one of ours by its offer, which is read and never posted to.
        ours = scope["method"] != "POST" if name == "unserved" else name in OURS_TOO and not known
        if not name or ours:
            return
    scope[WRITTEN] = write if parent else write_to_developers  # type: ignore[literal-required]
    if shape is None:
        return
    if name == "upload" and b"upload_id=" in scope["query_string"]:
        name = "piece"
    named = shape.groupdict()
    publisher = "publishers/google/" if rest.startswith("publishers/google/") else ""
    asked = Asked(parent, publisher, model=named.get("model") or "", id=named.get("id") or "")
    scope[ASKED] = asked  # type: ignore[literal-required]
    scope["path"] = f"{INSIDE}/{name}"


def asked_of(request: Incoming) -> Asked:
    """
    Find what was asked.

    :raises NotFoundException: for an address that only we know.
    """
    found = request.scope.get(ASKED)
    if found is None:
        raise NotFoundException
    return cast("Asked", found)


def bare(name: str) -> str:
    """Leave out of a model's name what only says that it is one."""
    return name.removeprefix("publishers/google/models/").removeprefix("models/")


def write_to_developers(
    problem: ProblemError, headers: Mapping[str, str], request_id: str
) -> tuple[int, dict[str, str], bytes]:
    """Put a problem likewise for clients of the Developer API, whose key goes in a header of its own."""
    message = problem.message.replace("Authorization: Bearer", "x-goog-api-key")
    told_so = ProblemError(
        problem.status, problem.code, message, param=problem.param, headers=problem.headers, errors=problem.errors
    )
    return write(told_so, headers, request_id)


def write(problem: ProblemError, headers: Mapping[str, str], request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Put a problem into a google.rpc.Status: the field and every reason among its details."""
    del headers
    status, name = STATUSES.get(problem.status, (problem.status, "UNKNOWN" if problem.status < 500 else "INTERNAL"))
    violations = [{"field": problem.param, "description": problem.message}] if problem.param else []
    violations += [
        {"field": each.get("pointer", "").lstrip("/"), "description": each.get("detail", "")} for each in problem.errors
    ]
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": problem.code.upper(), "domain": "reelgate"},
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id},
    ]
    if violations and status < 500:  # Else nothing of the call is wrong.
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    if wait := problem.headers.get("retry-after"):
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"})
    unnamed = problem.param and problem.param not in problem.message
    message = f"{problem.param}: {problem.message}" if unnamed else problem.message
    body = {"error": {"code": status, "message": message, "status": name, "details": details}}
    out = {"content-type": "application/json; charset=UTF-8", "cache-control": "no-store", **problem.headers}
    return status, out, msgspec.json.encode(body)


# Words in


def read(fields: dict[str, Any], shape: type[Said]) -> Said:
    """
    Read a body in Google's words.

    :raises ProblemError: 400 naming an unknown field, 422 naming a wrong one.
    """
    try:
        return msgspec.convert(fields, shape, dec_hook=_bytes)
    except msgspec.ValidationError as error:
        problem = explain(error)
        found = UNKNOWN.match(str(error))
        if found:
            problem.param = f"{found[2].lstrip('.')}.{found[1]}" if found[2] else found[1]
        problem.param = problem.param and problem.param.replace("[...]", "[]")
        raise problem from error


def snake(camel: str) -> str:
    """Write a camelCase name as Python does."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in camel)


def refuse(said: Any, reasons: Mapping[str, str], where: str = "") -> None:
    """
    Refuse what is said in fields we cannot honour.

    :param reasons: what to do about each, by its name in the record.
    :raises ProblemError: 422 naming the first, by its name on the wire.
    """
    for name, reason in reasons.items():
        if getattr(said, name) is not None:
            wire = next(each.encode_name for each in msgspec.structs.fields(said) if each.name == name)
            raise invalid(f"{where}{wire}", reason)


def hook(addresses: list[str], param: str) -> str | None:
    """
    Read the addresses to be called back at, of which a job has one.

    :raises ProblemError: 422 for more.
    """
    if len(addresses) > 1:
        raise invalid(param, "Name one address.")
    return next(iter(addresses), None)


def notes(said: Mapping[str, Any]) -> dict[str, str]:
    """Read a client's own data; what is no text is kept as the JSON it is, and a file is for the order to refuse."""
    return {
        name: each if isinstance(each, str) or holds_file(each) else msgspec.json.encode(each).decode()
        for name, each in said.items()
    }


def noted(said: Mapping[str, Any]) -> dict[str, str]:
    """Keep what a client wants to be told again with its callback, as it was given."""
    return {"user_metadata": msgspec.json.encode(said).decode()} if said and not holds_file(said) else {}


def letter(job: Job, kind: str, data: Mapping[str, Any]) -> Letter:
    """
    Write a callback as Google does: thin, its client's own data beside it.

    What a call asks for Google signs with keys of its own, which nobody else has; what is registered with it, as
    Standard Webhooks says, and so is this. https://ai.google.dev/gemini-api/docs/webhooks
    """
    said = {"type": kind, "version": "v1", "timestamp": moment(job.completed_at or job.updated_at), "data": data}
    given = wish_of(job).echo.get("user_metadata")
    more = {"user_metadata": msgspec.json.decode(given)} if given else {}
    return Letter(msgspec.json.encode({**said, **more}), told(job))


def moment(milliseconds: int) -> str:
    """Write a time as Google does."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Bytes:
    """Hold bytes that came inside a call: as base64, or as the file they were cut out to."""

    def __init__(self, said: str | Upload) -> None:
        self._said = said

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._said)

    def named(self) -> dict[str, Any]:
        """Name them as media; the type they are said to have is not believed anyway."""
        return {"url": self._said if isinstance(self._said, Upload) else f"data:;base64,{self._said}"}


def _bytes(_: type, said: Any) -> Bytes:
    """Read bytes; of what a body may hold nothing else has a shape of our own."""
    if not isinstance(said, str | Upload):
        raise TypeError("Expected base64 as `str`")
    return Bytes(said)


def address(uri: str, param: str) -> dict[str, Any]:
    """
    Name media by address: a clip made here, a file uploaded here, or anything on the internet.

    :raises ProblemError: 422 for a bucket, which nobody gave us the key to.
    """
    if uploaded := UPLOADED.search(uri):
        return {"file_id": f"file_{uploaded[1]}"}
    if linked := TO_CLIP.search(uri):
        return {"id": linked[1], "index": int(linked[2])}
    found = FILE.search(uri)
    if found:
        return {"id": f"video_{found[1]}", "index": int(found[2] or 0)}
    if not uri.startswith(("https://", "http://")):
        raise invalid(param, "Send bytes, or an https:// address; gs:// buckets cannot be read from here.")
    return {"url": uri}


# Clips out


def file_name(job: Job, clip: Rendition) -> str:
    """Name a clip as Google names a file: lowercase letters and digits, which is all its SDK reads."""
    return f"files/{job.id.removeprefix('video_')}{f'n{clip.index}' if clip.index else ''}"


def clip_uri(request: Incoming, job: Job, clip: Rendition) -> str:
    """
    Say where a clip is downloaded.

    Over plain http Google's own SDK takes a name alone, since it reads https addresses only; others ask for whatever
    address they are given, some of them without the key.
    """
    base = base_url(request)
    by_name = base.startswith("https://") or SDK in request.headers.get("x-goog-api-client", "")
    return file_uri(base, job, clip) if by_name else reach(request).link(job, clip)


def file_uri(base: str, job: Job, clip: Rendition) -> str:
    """Say where a clip is downloaded with a key: by a whole address, over plain http by name alone."""
    name = file_name(job, clip)
    return f"{base}/v1beta/{name}:download?alt=media" if base.startswith("https://") else name


class Inline:
    """Hold a clip's place in a JSON answer until its bytes are read, piece by piece, as base64."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._clips: list[Rendition] = []
        self._written = 0
        # By chance, so that no prompt that is echoed can hold one.
        self._mark = f"~{token_hex(16)}~"

    def put(self, clip: Rendition) -> str:
        """Keep a place for a clip; places are filled in the order they were kept."""
        self._clips.append(clip)
        return self._mark

    def length(self, body: bytes) -> int:
        """Say how long a body is with its clips in place."""
        texts = body.split(self._mark.encode())
        return sum(map(len, texts)) + sum(-(-clip.bytes // 3) * 4 for clip in self._clips)

    async def pieces(self, body: bytes) -> AsyncIterator[bytes]:
        """Write the next of the clips into a body, as many as it has places for."""
        first, *rest = body.split(self._mark.encode())
        yield first
        for text in rest:
            clip, over = self._clips[self._written], b""
            async for piece in self._shelf.read(clip.path, 0, clip.bytes):
                # Three bytes are four letters; what is over waits for the next piece.
                whole = over + piece
                end = len(whole) - len(whole) % 3
                yield base64.b64encode(whole[:end])
                over = whole[end:]
            yield base64.b64encode(over)
            self._written += 1
            yield text


class InlineReply:
    """Send JSON with files in it, never more than one piece in memory; an ASGI application."""

    def __init__(self, headers: Mapping[str, str], body: bytes, inline: Inline) -> None:
        self._headers = headers
        self._body = body
        self._inline = inline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope, receive
        out = {**self._headers, "content-length": str(self._inline.length(self._body))}
        headers = [(name.encode(), value.encode()) for name, value in out.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self._inline.pieces(self._body):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def answer(body: Mapping[str, Any], inline: Inline, headers: Mapping[str, str]) -> InlineReply:
    """Answer in JSON, clips in it where places were kept for them."""
    out = {"content-type": "application/json; charset=UTF-8", "cache-control": "no-store", **headers}
    return InlineReply(out, msgspec.json.encode(body), inline)
