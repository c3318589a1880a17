"""
Serve kept clips: whole files handed to the server by path, one range at a time, validators that hold.

What lies where clients can fetch it themselves is answered by a redirect there, good for a short while.

https://www.rfc-editor.org/rfc/rfc9110 §13 and §14. A range we cannot read is ignored, as §14.2 allows; of several
only none is served, so that no list of ranges costs anything.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import aclosing
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from litestar import get
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from gateway.api.calls import job_of
from gateway.api.desk import Incoming, Reply, desk
from gateway.clips.shelf import Shelf
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Rendition, read_renditions
from gateway.problems import ProblemError, invalid

VARIANTS = ("video", "thumbnail", "spritesheet", "last_frame")
PRECONDITIONS = ("if-match", "if-range", "if-modified-since", "if-unmodified-since")
"""What a client asks by our validators, and another server would answer by its own."""


@get("/videos/{video_id:str}/content", opt={"scope": "read"}, operation_id="downloadVideo")
async def download_video(request: Incoming, video_id: str) -> ASGIApp:
    """Download the clip, its thumbnail, spritesheet or last picture (``variant``); of several, one (``index``)."""
    job = await job_of(request, video_id)
    variant = request.query_params.get("variant", "video")
    if variant not in VARIANTS:
        raise invalid("variant", f"variant is one of {', '.join(VARIANTS)}.")
    return await serve(request, job, variant, index_of(request))


def index_of(request: Incoming) -> int:
    """
    Read which clip of several is meant.

    :raises ProblemError: 422 when it is no number.
    """
    index = request.query_params.get("index", "0")
    if not (index.isascii() and index.isdigit() and len(index) <= 2):
        raise invalid("index", "index is the number of the clip, from 0.")
    return int(index)


async def serve(request: Incoming, job: Job, variant: str, index: int) -> ASGIApp:
    """
    Answer a request with a kept rendition.

    :raises ProblemError: 404, 409 or 410 where there is none; 416 for a range beyond the end.
    """
    kept = find_rendition(job, variant, index)
    path = desk(request).media.shelf.path(kept.path)
    if path is not None and not path.is_file():
        raise ProblemError(410, "video_expired", f"The {variant} of video '{job.id}' is no longer kept.")
    front = desk(request).settings.server.sendfile.removeprefix("x-accel:")
    if front and path is not None and request.headers.get("x-sendfile-type") == "X-Accel-Redirect":
        return hand_over(kept, job, front)
    return await deliver(request, kept.path, plan(kept, job, request.headers))


class Answer(Struct, frozen=True):
    """Say how a request for a file is answered: which bytes, under which headers."""

    status: int
    headers: dict[str, str]
    start: int = 0
    length: int = 0


class FileAnswer:
    """Send the bytes of an answer: a whole file by path, a range in pieces."""

    def __init__(self, shelf: Shelf, key: str, answer: Answer, *, head: bool) -> None:
        self._shelf = shelf
        self._key = key
        self._answer = answer
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer one request.

        :raises GoneError: before anything was sent, when the file is no longer there.
        """
        del receive
        answer = self._answer
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        start: Any = {"type": "http.response.start", "status": answer.status, "headers": headers}
        path = self._shelf.path(self._key)
        if self._head or not answer.length:
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif path and answer.status == 200 and "http.response.pathsend" in (scope.get("extensions") or {}):
            await send(start)
            await send({"type": "http.response.pathsend", "path": str(path)})  # type: ignore[arg-type]
        else:
            await self._pieces(start, send)

    async def _pieces(self, start: Any, send: Send) -> None:
        """Send a part of the file, never more than one piece in memory, and nothing before the first is here."""
        left = self._answer.length
        async with aclosing(self._shelf.read(self._key, self._answer.start, left)) as pieces:
            async for piece in pieces:
                if left == self._answer.length:
                    await send(start)
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


async def deliver(request: Incoming, key: str, answer: Answer, *, redirect: bool = True) -> ASGIApp:
    """Send what was decided on, or send the client to where it lies."""
    shelf = desk(request).media.shelf
    asks = request.method == "GET" and answer.length and not any(name in request.headers for name in PRECONDITIONS)
    address = await shelf.address(key) if redirect and asks else None
    if address is not None:
        # The method and the range stay; a key of ours does not, as it is for another host.
        return Reply(307, {"location": address, "cache-control": "no-store"}, b"")
    return FileAnswer(shelf, key, answer, head=request.method == "HEAD")


def hand_over(kept: Rendition, job: Job, front: str) -> ASGIApp:
    """
    Name a file to the nginx in front, which sends it, ranges and validators included.

    https://nginx.org/en/docs/http/ngx_http_core_module.html#internal
    """
    place = f"{front}{kept.path.removeprefix('clips/')}"
    return Reply(200, {**SAFE, **describe(kept, job), "x-accel-redirect": place}, b"")


def plan(kept: Rendition, job: Job, headers: Mapping[str, str]) -> Answer:
    """
    Decide which bytes answer a request; pure.

    :raises ProblemError: 416 for a range beyond the end.
    """
    return choose_bytes(describe(kept, job), kept.bytes, headers)


SAFE = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
}
"""What is said of every file: it never changes, and no browser may run it."""


def choose_bytes(described: Mapping[str, str], size: int, headers: Mapping[str, str]) -> Answer:
    """
    Decide which bytes of a file that never changes answer a request; pure.

    :param described: headers that say what the file is, ``etag`` and ``last-modified`` among them.
    :raises ProblemError: 412 where it is not the file meant, 416 for a range beyond the end.
    """
    out = {**SAFE, **described, "accept-ranges": "bytes"}
    verdict = judge(out["etag"], out["last-modified"], headers)
    if verdict == 412:
        raise ProblemError(412, "precondition_failed", f"The file is {out['etag']} of {out['last-modified']}.")
    if verdict == 304:
        return Answer(304, {name: out[name] for name in ("etag", "last-modified", "cache-control")})
    part = None
    if headers.get("if-range", out["etag"]) in {out["etag"], out["last-modified"]}:
        part = read_range(headers.get("range", ""), size)
    if part is None:
        return Answer(200, {**out, "content-length": str(size)}, 0, size)
    start, end = part
    if start >= size or end < start:
        raise ProblemError(
            416,
            "range_not_satisfiable",
            f"The file has {size} bytes.",
            headers={"content-range": f"bytes */{size}", "accept-ranges": "bytes"},
        )
    length = end - start + 1
    ranged = {"content-range": f"bytes {start}-{end}/{size}", "content-length": str(length)}
    return Answer(206, {**out, **ranged}, start, length)


def judge(etag: str, modified: str, headers: Mapping[str, str]) -> int:
    """
    Weigh the preconditions of a request: 412, 304, or 200 where they hold; pure.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2

    >>> judge('"a"', "Sat, 21 Nov 2026 19:00:00 GMT", {"if-none-match": 'W/"a"'})
    304
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    unmodified, since = _time(headers.get("if-unmodified-since")), _time(headers.get("if-modified-since"))
    at = _time(modified) or 0
    if match is not None:
        if not lists(match, etag, strong=True):
            return 412
    elif unmodified is not None and at > unmodified:
        return 412
    if none_match is not None:
        return 304 if lists(none_match, etag) else 200
    return 304 if since is not None and at <= since else 200


def lists(tags: str, etag: str, *, strong: bool = False) -> bool:
    """Whether validators, between commas, list one; ``strong`` takes weak ones for none."""
    listed = [each.strip() for each in tags.split(",")]
    if strong:
        return "*" in listed or (etag in listed and not etag.startswith("W/"))
    return "*" in listed or etag.removeprefix("W/") in [each.removeprefix("W/") for each in listed]


def _time(text: str | None) -> float | None:
    """Read a date as HTTP writes it; what is none says nothing."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def describe(kept: Rendition, job: Job) -> dict[str, str]:
    """Write what the headers say of a file, whatever part of it is sent."""
    ended = (job.completed_at or job.updated_at) / 1000
    suffix = kept.path.rpartition(".")[2]
    return {
        "etag": f'"{kept.sha256}"',
        "last-modified": formatdate(ended, usegmt=True),
        "content-type": kept.content_type,
        "content-disposition": f'attachment; filename="{job.id}-{kept.index}.{suffix}"',
        "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(kept.sha256)).decode()}:",
    }


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """
    Read one byte range as first and last byte; ``None`` where there is none that counts.

    >>> read_range("bytes=-5", 100)
    (95, 99)
    """
    match = re.fullmatch(r"bytes=([0-9]{0,20})-([0-9]{0,20})", text.strip(), re.IGNORECASE)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        count = int(last)
        return (max(0, size - count), size - 1) if count else (size, size - 1)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last), size - 1) if last else size - 1


def find_rendition(job: Job, variant: str, index: int) -> Rendition:
    """
    Find a kept rendition of a finished job.

    :raises ProblemError: 409 not yet, 404 never, 410 no longer.
    """
    if not job.state.final:
        # A plain 409 is retried by the SDKs on their own; polling is the way to wait.
        raise ProblemError(
            409, "video_not_ready", f"Video '{job.id}' is not ready yet.", headers={"x-should-retry": "false"}
        )
    kept = read_renditions(job.outputs)
    if not kept and job.state is not State.SUCCEEDED:  # Else it came late.
        raise ProblemError(404, "video_has_no_content", f"Video '{job.id}' was not made.")
    if not kept:
        raise ProblemError(410, "video_expired", f"Video '{job.id}' is no longer kept.")
    found = next((each for each in kept if each.kind == variant and each.index == index), None)
    if found is None:
        raise ProblemError(404, "no_such_rendition", f"Video '{job.id}' has no {variant} {index}.", param="index")
    return found


HANDLERS = (download_video,)
