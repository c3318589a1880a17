"""Serve what a signed link opens: no key is asked for, the link is the leave to read this one file."""

import re
from email.utils import formatdate
from typing import Any

from litestar import HttpMethod, route
from litestar.types import ASGIApp

from gateway.api.content import choose_bytes, deliver
from gateway.api.desk import Incoming, desk
from gateway.clips.links import MEDIA_TYPES
from gateway.clips.media import clip_folder, input_key
from gateway.ids import is_id
from gateway.problems import ProblemError

CLIP = re.compile(r"[0-9]{1,2}\.(mp4|mov|webm)", re.ASCII)
INPUT = re.compile(r"([0-9a-f]{64})\.(\w{2,4})", re.ASCII)
MOST = 64
"""Longest ``expires`` and ``signature`` looked at."""


async def _open_clip(request: Incoming, video_id: str, name: str) -> ASGIApp:
    """Download a clip by a signed link."""
    _check(request, f"/links/clips/{video_id}/{name}")
    known = is_id("video", video_id) and CLIP.fullmatch(name)
    return await _serve(request, f"{clip_folder(video_id)}/{name}" if known else None, name)


async def _open_input(request: Incoming, name: str) -> ASGIApp:
    """Download an input by a signed link."""
    _check(request, f"/links/inputs/{name}")
    found = INPUT.fullmatch(name)
    # Whoever fetches an input is a provider's own program: nobody says that it follows a redirect.
    return await _serve(request, input_key(found[1]) if found else None, name, redirect=False)


def _check(request: Incoming, path: str) -> None:
    """
    Refuse a link that is not ours, or has run out; both read the same.

    :raises ProblemError: 403.
    """
    if not is_signed(request, path):
        message = "This link is not in force; ask for the video again to get a new one."
        raise ProblemError(403, "invalid_link", message)


def is_signed(request: Incoming, path: str) -> bool:
    """Whether a request's address says that we have signed a path, and that has not run out."""
    query, services = request.query_params, desk(request)
    expires, signature = query.get("expires", ""), query.get("signature", "")
    readable = expires.isascii() and expires.isdigit() and len(expires) <= MOST and len(signature) <= MOST
    return readable and services.links.holds(path, expires, signature, services.clock())


async def _serve(request: Incoming, key: str | None, name: str, *, redirect: bool = True) -> ASGIApp:
    """Send a file whole or in part."""
    found = await desk(request).media.shelf.find(key) if key else None
    if found is None:
        raise ProblemError(410, "link_expired", "What this link opened is no longer kept.")
    described = {
        "etag": f'"{found.size:x}-{found.modified:x}"',
        "last-modified": formatdate(found.modified / 1000, usegmt=True),
        "content-type": MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        "content-disposition": f'attachment; filename="{name}"',
    }
    answer = choose_bytes(described, found.size, request.headers)
    return await deliver(request, found.key, answer, redirect=redirect)


CLIPS = "/links/clips/{video_id:str}/{name:str}"
INPUTS = "/links/inputs/{name:str}"
LINKED: dict[str, Any] = {"http_method": [HttpMethod.GET, HttpMethod.HEAD], "include_in_schema": False}
HANDLERS = (
    route(CLIPS, operation_id="openLinkedClip", **LINKED)(_open_clip),
    route(INPUTS, operation_id="openLinkedInput", **LINKED)(_open_input),
)
