"""
Google's Files API: pictures and clips uploaded once, and the clips made here, by name and by address.

What is uploaded is a file of ``/v1/files``, under the same limits and with the same id. Google's clients send it by
its resumable protocol: a first call says what is to come and is told an address; the bytes go there in one piece or
several, without a key, so that the address itself is the leave, signed by us.
ai.google.dev/api/files; what google-genai 2.34.0 and 3.3.0 send.
"""

import asyncio
import fcntl
import os
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api.calls import job_of, remove_clips
from gateway.api.content import serve
from gateway.api.desk import Incoming, body_of, caller, desk, reply
from gateway.api.files import keep_upload
from gateway.api.forms import Pieces
from gateway.clips.inputs import InputError
from gateway.clips.uploads import Upload, plain_name
from gateway.clock import DAY_MS
from gateway.door.keys import Caller
from gateway.ids import is_id, new_id
from gateway.jobs.job import Job
from gateway.problems import ProblemError, invalid
from gateway.store.registry import File
from gateway.surfaces.common import READ, WRITE, base_url, clip_of, clips_of, headers_of
from gateway.surfaces.google import (
    FILE,
    UPLOADED,
    asked_of,
    clip_uri,
    file_name,
    moment,
    read,
    snake,
)

LASTS_SECONDS = 48 * 3600
"""How long Google keeps a file; apps leave theirs lying and trust in that."""
UPLOAD_MS = 3_600_000
"""How long an upload may take from its first call on."""
PAGE = 100
"""Most files of a page, and how many it has where nothing is said."""
PIECE = 2**20
"""Bytes copied at a time."""
COMMANDS = ({"upload"}, {"upload", "finalize"}, {"finalize"})


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Read what is said of a file before it comes; of all that, only what it is called is believed.

    Google reads names in either case; its SDK for Python writes snake_case, the one for JavaScript camelCase.
    """

    display_name: str | None = None
    name: str | None = None
    mime_type: str | None = None
    size_bytes: int | str | None = None


class _Begin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read the body of an upload's first call."""

    file: _File = _File()


class Session(Struct, frozen=True, array_like=True):
    """Hold what an upload's address says, under our signature."""

    id: str
    """The file's id, once it is one: bytes that come again are no other file."""
    tenant: str
    key: str
    size: int
    filename: str


@post("/upload", operation_id="googleUpload", **WRITE)
async def begin(request: Incoming) -> ASGIApp:
    """Hear what is to be uploaded, and say where to."""
    services, who, headers = desk(request), caller(request), request.headers
    async with body_of(request) as body:
        given = body.fields.get("file")
        named = {"file": {snake(name): each for name, each in given.items()}} if isinstance(given, dict) else {}
        said = read({**body.fields, **named}, _Begin).file
    protocol = headers.get("x-goog-upload-protocol"), headers.get("x-goog-upload-command")
    if protocol != ("resumable", "start"):
        message = (
            "Files are uploaded by X-Goog-Upload-Protocol: resumable, beginning with X-Goog-Upload-Command: start."
        )
        raise invalid("X-Goog-Upload-Protocol", message)
    if said.name is not None:
        raise invalid("file.name", "Files are named here; leave name out, and give displayName.")
    length, most = headers.get("x-goog-upload-header-content-length", ""), services.settings.server.max_body_mb
    if not (length.isascii() and length.isdigit() and 1 <= len(length) <= 18):
        raise invalid("X-Goog-Upload-Header-Content-Length", "Say how many bytes the file has.")
    if int(length) > most * 2**20:
        raise ProblemError(413, "too_large", f"The file is larger than {most} MB.")
    filename = plain_name(said.display_name or headers.get("x-goog-upload-file-name") or "")
    now = services.clock()
    session = Session(new_id("file", now), who.tenant, who.key, int(length), filename)
    token = urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=").decode()
    seal = services.links.seal(_signed(token), now + UPLOAD_MS)
    told = {"x-goog-upload-status": "active", "x-goog-upload-chunk-granularity": "1"}
    told["x-goog-upload-url"] = f"{base_url(request)}/upload/v1beta/files?upload_id={token}&seal={seal}"
    return reply({}, told)


@post("/piece", operation_id="googleUploadPiece", **{**WRITE, "opt": {}})
async def piece(request: Incoming) -> ASGIApp:
    """Take a piece of an upload, or its last, at the address its first call was told."""
    try:
        session = await _session(request)
        request.scope["state"]["caller"] = Caller(session.tenant, frozenset({"write"}), session.key)
        file = await _take(request, session)
    except ProblemError as problem:
        if problem.status < 500:  # Else Google's clients send the same again.
            problem.headers["x-goog-upload-status"] = "final"
        raise
    if file is None:
        return reply({}, {"x-goog-upload-status": "active"})
    return reply({"file": _uploaded(request, file)}, {"x-goog-upload-status": "final"})


async def _session(request: Incoming) -> Session:
    """
    Read an upload's address.

    :raises ProblemError: 403 for one that is not ours, has run out, or is of a key no longer in force.
    """
    asked_of(request)
    services, query = desk(request), request.query_params
    token = query.get("upload_id", "")
    if services.links.giver(_signed(token), query.get("seal", ""), services.clock()) is not None:
        session = msgspec.json.decode(urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=Session)
        if await services.gatekeeper.stands(session.key):
            return session
    raise ProblemError(403, "invalid_link", "This upload's address is not in force; begin the upload anew.")


async def _take(request: Incoming, session: Session) -> File | None:
    """
    Take a piece in; the last makes it a file, and what came stays where that fails for no fault of the client's.

    :raises ProblemError: for what is no piece of this upload, or no media.
    """
    services = desk(request)
    path = services.media.incoming / f"google-{session.id}"
    with _alone(path) as held:
        file = await services.store.file(session.id, session.tenant)
        if file is not None:  # It was kept, and that was not heard.
            async for _ in Pieces(request, session.size):
                pass
            path.unlink(missing_ok=True)
            return file
        offset, last = _place(request)
        with _cut(held, offset):
            size = offset + await _write(request, held, session.size - offset)
        if not last:
            return None
        try:
            if size != session.size:
                message = f"{size} bytes came of {session.size}; begin the upload anew."
                raise invalid("X-Goog-Upload-Command", message)
            file = await _keep(request, session, path)
        except ProblemError as problem:
            if problem.status < 500:
                path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)
        return file


def _place(request: Incoming) -> tuple[int, bool]:
    """
    Read where a piece begins, and whether it is the last.

    :raises ProblemError: for what is no piece.
    """
    headers = request.headers
    commands = {each.strip().lower() for each in headers.get("x-goog-upload-command", "").split(",")}
    if commands not in COMMANDS:
        raise invalid("X-Goog-Upload-Command", "X-Goog-Upload-Command is upload, finalize, or both: upload, finalize.")
    offset = headers.get("x-goog-upload-offset", "0")
    if not (offset.isascii() and offset.isdigit() and len(offset) <= 18):
        raise invalid("X-Goog-Upload-Offset", "X-Goog-Upload-Offset is how many bytes came before.")
    return int(offset), "finalize" in commands


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """
    Have alone what came of an upload; where nothing did, nothing is left.

    :raises ProblemError: 503 where another call is at it, which may still fail: so this one is to be sent again.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = os.fstat(held.fileno()).st_nlink > 0  # Else the other has just ended.
        except BlockingIOError:
            free = False
        if not free:
            message = "Another call of this upload is under way. Try again."
            raise ProblemError(503, "upload_busy", message, headers={"retry-after": "1"})
        try:
            yield held
        finally:
            if not os.fstat(held.fileno()).st_size:
                path.unlink(missing_ok=True)


@contextmanager
def _cut(held: IO[bytes], offset: int) -> Iterator[None]:
    """
    Cut what came of an upload to where a piece begins, and cut it there again where the piece breaks off.

    :raises ProblemError: where what came before is not here.
    """
    come = os.fstat(held.fileno()).st_size
    if offset > come:
        message = f"{come} bytes came of this upload; go on from there, or begin anew."
        raise invalid("X-Goog-Upload-Offset", message)
    held.seek(offset)
    held.truncate()
    try:
        yield
    except BaseException:
        held.seek(offset)
        held.truncate()
        raise


async def _write(request: Incoming, held: IO[bytes], most: int) -> int:
    """
    Write a piece to disk as it comes, and say how long it was.

    :raises ProblemError: 400 for more than was said to come, 408 where it comes too slowly.
    """
    limits, size = desk(request).settings.server, 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for each in Pieces(request, limits.max_body_mb * 2**20):
                size += len(each)
                if size <= most:
                    held.write(each)
    except TimeoutError as error:
        message = f"The piece did not arrive within {limits.body_seconds:g} s."
        raise ProblemError(408, "body_timeout", message) from error
    if size > most:
        raise invalid("X-Goog-Upload-Header-Content-Length", "More bytes came than that said; begin the upload anew.")
    held.flush()
    return size


async def _keep(request: Incoming, session: Session, path: Path) -> File:
    """
    Make a file of an upload that is whole.

    What is kept is a copy: the bytes on the shelf are everybody's who brought them, and a piece that comes again must
    not write where they lie.

    :raises ProblemError: 422 for what is no media.
    """
    services = desk(request)
    try:
        sniffed, seconds = await services.media.study_input(path, session.size)
    except InputError as error:
        raise invalid("file", error.message, code=error.code) from error
    days = services.settings.media.file_days
    sooner = days and days * DAY_MS < LASTS_SECONDS * 1000
    upload = Upload(services.media.incoming, session.filename)
    try:
        await asyncio.to_thread(_copy, path, upload)
        return await keep_upload(
            request, upload, sniffed, seconds=seconds, filename=session.filename, purpose="user_data", id_=session.id,
            expires=None if sooner else LASTS_SECONDS,
        )  # fmt: skip
    finally:
        upload.drop()


def _copy(path: Path, upload: Upload) -> None:
    """Copy a file into an upload, which hashes it, and end that."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            upload.write(piece)
    upload.close()


def _signed(token: str) -> str:
    """Write what is signed of an upload's address."""
    return f"/upload/{token}"


@get("/files", operation_id="googleFiles", **READ)
async def listed(request: Incoming) -> ASGIApp:
    """List what was uploaded, newest first."""
    asked_of(request)
    query = request.query_params
    size, token = query.get("pageSize", str(PAGE)), query.get("pageToken", "")
    if not (size.isascii() and size.isdigit() and len(size) <= 4 and int(size)):
        raise invalid("pageSize", f"pageSize is a whole number from 1 to {PAGE}.")
    after = f"file_{token}" if token else None
    if after is not None and not is_id("file", after):
        raise invalid("pageToken", "pageToken is the nextPageToken of the page before.")
    found, more = await desk(request).store.files(
        caller(request).tenant, after=after, limit=min(int(size), PAGE), newest_first=True
    )
    shown: dict[str, Any] = {"files": [_uploaded(request, each) for each in found]} if found else {}
    return reply({**shown, "nextPageToken": found[-1].id.removeprefix("file_")} if more else shown)


@get("/file", operation_id="googleFile", **READ)
async def file(request: Incoming) -> ASGIApp:
    """Describe a file: one that was uploaded, or a clip."""
    name = asked_of(request).id
    if UPLOADED.fullmatch(f"files/{name}"):
        return reply(_uploaded(request, await _upload(request, name)))
    job, index = await _clip(request, name)
    clip = clip_of(job, index)
    if clip is None:
        raise _unreadable(name)
    uri = clip_uri(request, job, clip)
    shown = {
        "name": file_name(job, clip),
        "mimeType": clip.content_type,
        "sizeBytes": str(clip.bytes),
        "state": "ACTIVE",
        "source": "GENERATED",
        "uri": uri.partition(":download")[0],
        "downloadUri": uri,
        "videoMetadata": {"videoDuration": f"{clip.duration_seconds or 0:g}s"},
    }
    return reply(shown, headers_of(request, job))


@get("/download", operation_id="googleDownload", **READ)
async def download(request: Incoming) -> ASGIApp:
    """Download a clip."""
    name = asked_of(request).id
    if UPLOADED.fullmatch(f"files/{name}"):
        id_ = (await _upload(request, name)).id
        message = f"Only clips are downloaded by this address, as at Google; take it from /v1/files/{id_}/content."
        raise invalid("name", message)
    job, index = await _clip(request, name)
    return await serve(request, job, "video", index)


@delete("/file", operation_id="googleDeleteFile", **WRITE)
async def delete_file(request: Incoming) -> ASGIApp:
    """Forget a file; a clip goes with all that is known of its video."""
    services, name = desk(request), asked_of(request).id
    if UPLOADED.fullmatch(f"files/{name}"):
        uploaded = await _upload(request, name)
        await services.store.delete_file(uploaded.id, uploaded.tenant)
        return reply({})
    job, _ = await _clip(request, name)
    clips = clips_of(job)
    if not job.state.final:
        raise ProblemError(409, "video_not_finished", "It is still being made; cancel it first.")
    if not clips:
        raise _unreadable(name)
    if len(clips) > 1:
        message = f"It is one of {len(clips)} clips, which go together: DELETE /v1/videos/{job.id}."
        raise ProblemError(409, "several_clips", message)
    await services.store.delete(job.id, job.tenant)
    await remove_clips(services, job.id)
    return reply({})


def _uploaded(request: Incoming, file: File) -> dict[str, Any]:
    """Write an uploaded file as Google's; its address is an address over https only, as its SDK reads no other."""
    name, base = f"files/u{file.id.removeprefix('file_')}", base_url(request)
    over = {} if file.expires_at is None else {"expirationTime": moment(file.expires_at)}
    length = {"videoMetadata": {"videoDuration": f"{file.seconds:g}s"}} if file.media_type.startswith("video/") else {}
    return {
        "name": name,
        "displayName": file.filename,
        "mimeType": file.media_type,
        "sizeBytes": str(file.bytes),
        "createTime": moment(file.created_at),
        "updateTime": moment(file.created_at),
        **over,
        "sha256Hash": b64encode(bytes.fromhex(file.sha256)).decode(),
        "uri": f"{base}/v1beta/{name}" if base.startswith("https://") else name,
        "state": "ACTIVE",
        "source": "UPLOADED",
        **length,
    }


async def _upload(request: Incoming, name: str) -> File:
    """
    Find the caller's upload.

    :raises ProblemError: 403, as Google answers for a file it does not know.
    """
    found = await desk(request).store.file(f"file_{name[1:]}", caller(request).tenant)
    if found is None:
        raise _unreadable(name)
    return found


async def _clip(request: Incoming, name: str) -> tuple[Job, int]:
    """
    Find the job and the index of a clip named as a file.

    :raises ProblemError: 403, as Google answers for a file it does not know.
    """
    found = FILE.fullmatch(f"files/{name}")
    if found is None:
        raise _unreadable(name)
    try:
        return await job_of(request, f"video_{found[1]}"), int(found[2] or 0)
    except ProblemError as problem:
        raise _unreadable(name) from problem


def _unreadable(name: str) -> ProblemError:
    """Say in Google's words that there is no such file, or that it is somebody else's."""
    shown = name[:40] if name.isascii() and name.isprintable() else "named"
    message = f"You do not have permission to access the File {shown} or it may not exist."
    return ProblemError(403, "file_not_found", message)


HANDLERS = (begin, listed, file, download, delete_file)
OPEN = (piece,)
"""What needs no key: its address is signed."""
