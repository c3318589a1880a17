"""``/v1/files``: pictures and clips uploaded once and named by ``file_id``."""

import asyncio
from typing import Any

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp

from gateway.api.answers import whole_seconds
from gateway.api.content import Answer, deliver
from gateway.api.desk import Incoming, body_of, caller, desk, page_of, reply
from gateway.api.forms import refuse_nul
from gateway.clips.inputs import InputError, Sniffed
from gateway.clips.uploads import Upload
from gateway.clock import DAY_MS
from gateway.ids import is_id, new_id
from gateway.problems import ProblemError, invalid
from gateway.store.registry import File

MAX_PURPOSE = 64
"""Characters of a purpose that are kept."""
MOST_LISTED = 10_000
"""Most files of a page, and how many it has where nothing is said, as OpenAI has it: apps read one page alone."""
AT_ONCE = 500
"""Files that are read and written in one go: some milliseconds, for which everybody else waits."""
EXPIRY = (3_600, 2_592_000)
"""Least and most seconds of ``expires_after``: an hour and 30 days, as OpenAI has it."""


@post("/files", status_code=200, opt={"scope": "write"}, operation_id="createFile")
async def create_file(request: Incoming) -> ASGIApp:
    """Upload a picture, clip or voice to use in later calls."""
    services = desk(request)
    async with body_of(request) as body:
        upload = body.fields.get("file")
        if body.strict or not isinstance(upload, Upload):
            raise invalid("file", "Send the file as multipart/form-data, in the field file.")
        expires = read_expiry(body.fields.get("expires_after"))
        try:
            sniffed, seconds = await services.media.study_input(upload.path, upload.size)
        except InputError as error:
            raise invalid("file", error.message, code=error.code) from error
        purpose = body.fields.get("purpose", "user_data")
        named = purpose[:MAX_PURPOSE] if isinstance(purpose, str) else "user_data"
        file = await keep_upload(
            request, upload, sniffed, seconds=seconds, filename=upload.filename, purpose=named, expires=expires
        )
    return reply(_shown(file))


async def keep_upload(
    request: Incoming,
    upload: Upload,
    sniffed: Sniffed,
    *,
    seconds: float,
    filename: str,
    purpose: str,
    expires: int | None = None,
    id_: str | None = None,
) -> File:
    """
    Keep an upload for later calls of its caller's: its bytes first, then what is known of it.

    :param id_: its id, where that was given it before.
    :param expires: after how many seconds it expires; where nothing is said, as the gateway is set.
    """
    services = desk(request)
    now = services.clock()
    lasts = int(services.settings.media.file_days * DAY_MS) if expires is None else expires * 1000
    file = File(
        id=id_ or new_id("file", now),
        tenant=caller(request).tenant,
        filename=filename,
        purpose=purpose,
        media_type=sniffed.media_type,
        sha256=upload.sha256,
        bytes=upload.size,
        width=sniffed.width,
        height=sniffed.height,
        created_at=now,
        seconds=seconds,
        expires_at=now + lasts if lasts else None,
    )
    await services.media.keep_input(upload.path, upload.sha256, sniffed.media_type)
    await services.store.add_file(file)
    return file


@get("/files", opt={"scope": "read"}, operation_id="listFiles")
async def list_files(request: Incoming) -> ASGIApp:
    """List uploaded files, or those of one ``purpose``, newest first: all of them, up to ten thousand."""
    after, limit, newest_first = page_of(request, "file", "purpose", usual=MOST_LISTED, most=MOST_LISTED)
    purpose = request.query_params.get("purpose")
    refuse_nul(purpose, "purpose")
    shown: list[msgspec.Raw] = []
    first, last, more = None, after, True
    while more and len(shown) < limit:
        found, more = await desk(request).store.files(
            caller(request).tenant,
            after=last,
            limit=min(AT_ONCE, limit - len(shown)),
            newest_first=newest_first,
            purpose=None if purpose is None else purpose[:MAX_PURPOSE],
        )
        shown += [msgspec.Raw(msgspec.json.encode(_shown(each))) for each in found]
        if found:
            first, last = first or found[0].id, found[-1].id
        await asyncio.sleep(0)  # A store that answers at once leaves nobody else a turn.
    last = last if shown else None
    return reply({"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": more})


@get("/files/{file_id:str}", opt={"scope": "read"}, operation_id="retrieveFile")
async def retrieve_file(request: Incoming, file_id: str) -> ASGIApp:
    """Describe an uploaded file."""
    return reply(_shown(await _file(request, file_id)))


@get("/files/{file_id:str}/content", opt={"scope": "read"}, operation_id="downloadFile")
async def download_file(request: Incoming, file_id: str) -> ASGIApp:
    """Download an uploaded file."""
    return await send_file(request, await _file(request, file_id))


async def send_file(request: Incoming, file: File) -> ASGIApp:
    """Answer a request with an upload."""
    headers = {
        "content-type": file.media_type,
        "content-length": str(file.bytes),
        "content-disposition": f'attachment; filename="{file.id}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }
    return await deliver(request, await desk(request).media.place_of(file.sha256), Answer(200, headers, 0, file.bytes))


@delete(
    "/files/{file_id:str}",
    status_code=200,
    opt={"scope": "write"},
    operation_id="deleteFile",
)
async def delete_file(request: Incoming, file_id: str) -> ASGIApp:
    """Forget an uploaded file; videos made from it stay as they are."""
    file = await _file(request, file_id)
    await desk(request).store.delete_file(file.id, file.tenant)
    return reply({"id": file.id, "object": "file", "deleted": True})


async def _file(request: Incoming, file_id: str) -> File:
    """
    Find the caller's file.

    :raises ProblemError: 404, the same for an unknown id and for another tenant's.
    """
    file = await desk(request).store.file(file_id, caller(request).tenant) if is_id("file", file_id) else None
    if file is None:
        shown = file_id[:64] if file_id.isascii() and file_id.isprintable() else "that"
        raise ProblemError(404, "file_not_found", f"No file with id '{shown}'.", param="id")
    return file


def read_expiry(given: object) -> int | None:
    """
    Read ``expires_after`` as seconds from the upload; ``None`` where nothing is said.

    https://platform.openai.com/docs/api-reference/files/create

    :raises ProblemError: 422 when it is none.
    """
    if given is None:
        return None
    least, most = EXPIRY
    if not isinstance(given, dict) or given.get("anchor") != "created_at" or set(given) - {"anchor", "seconds"}:
        raise invalid("expires_after", 'expires_after is {"anchor": "created_at", "seconds": 3600 to 2592000}.')
    said = str(given.get("seconds"))
    if not (said.isascii() and said.isdigit() and len(said) <= 9 and least <= int(said) <= most):
        raise invalid("expires_after[seconds]", f"seconds is a whole number between {least} and {most}.")
    return int(said)


def _shown(file: File) -> dict[str, Any]:
    """Write a file as OpenAI's File object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": whole_seconds(file.expires_at),
        "media_type": file.media_type,
        "sha256": file.sha256,
    }


HANDLERS = (create_file, list_files, retrieve_file, download_file, delete_file)
