"""
Serve what a signed link opens: no key is asked for, the link is the leave to read this one file.

One that a client was given opens what the client's own key would: nothing of what was deleted, and nothing at all once
that key is revoked. One to an input is for the provider that makes the clip, and outlives the key that ordered it.
"""

import re
from email.utils import formatdate
from typing import Any

from litestar import HttpMethod, route
from litestar.types import ASGIApp

from gateway.api.content import choose_bytes, deliver, serve
from gateway.api.desk import Incoming, desk
from gateway.api.files import send_file
from gateway.clips.links import MEDIA_TYPES
from gateway.clips.media import input_key
from gateway.door.keys import Caller
from gateway.ids import is_id
from gateway.jobs.wish import read_renditions
from gateway.problems import ProblemError

INPUT = re.compile(r"([0-9a-f]{64}(?:\.[a-z0-9-]+)?)\.(\w{2,4})", re.ASCII)


async def _open_clip(request: Incoming, seal: str, video_id: str, name: str) -> ASGIApp:
    """Download a clip, or what was drawn of it."""
    who = await _admit(request, seal, f"/clips/{video_id}/{name}")
    job = await desk(request).store.job(video_id, who.tenant) if is_id("video", video_id) else None
    kept = read_renditions(job.outputs) if job else []
    found = next((each for each in kept if each.path.rpartition("/")[2] == name), None)
    if job is None or found is None:
        raise _gone()
    return await serve(request, job, found.kind, found.index)


async def _open_file(request: Incoming, seal: str, file_id: str, name: str) -> ASGIApp:
    """Download an upload."""
    who = await _admit(request, seal, f"/files/{file_id}/{name}")
    file = await desk(request).store.file(file_id, who.tenant) if is_id("file", file_id) else None
    if file is None:
        raise _gone()
    return await send_file(request, file)


async def _open_input(request: Incoming, seal: str, name: str) -> ASGIApp:
    """Download an input."""
    services, found = desk(request), INPUT.fullmatch(name)
    if services.links.giver(f"/inputs/{name}", seal, services.clock()) is None:
        raise _refused()
    kept = await services.media.shelf.find(input_key(found[1])) if found else None
    if kept is None:
        raise _gone()
    described = {
        "etag": f'"{kept.size:x}-{kept.modified:x}"',
        "last-modified": formatdate(kept.modified / 1000, usegmt=True),
        "content-type": MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        "content-disposition": f'attachment; filename="{name}"',
    }
    answer = choose_bytes(described, kept.size, request.headers)
    # Whoever fetches an input is a provider's own program: nobody says that it follows a redirect.
    return await deliver(request, kept.key, answer, redirect=False)


async def _admit(request: Incoming, seal: str, what: str) -> Caller:
    """
    Say in whose name a link opens what it names.

    :raises ProblemError: 403 for one that is not ours, has run out, or is of a key no longer in force; all alike.
    """
    services = desk(request)
    key = services.links.giver(what, seal, services.clock())
    who = None if key is None else await services.gatekeeper.stands(key)
    if who is None:
        raise _refused()
    return who


def _refused() -> ProblemError:
    """Describe a link that opens nothing."""
    return ProblemError(403, "invalid_link", "This link is not in force; ask for the video again to get a new one.")


def _gone() -> ProblemError:
    """Describe a link whose file is no longer kept."""
    return ProblemError(410, "link_expired", "What this link opened is no longer kept.")


LINKED: dict[str, Any] = {"http_method": [HttpMethod.GET, HttpMethod.HEAD], "include_in_schema": False}
HANDLERS = (
    route("/links/{seal:str}/clips/{video_id:str}/{name:str}", operation_id="openLinkedClip", **LINKED)(_open_clip),
    route("/links/{seal:str}/files/{file_id:str}/{name:str}", operation_id="openLinkedFile", **LINKED)(_open_file),
    route("/links/{seal:str}/inputs/{name:str}", operation_id="openLinkedInput", **LINKED)(_open_input),
)
