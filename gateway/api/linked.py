"""Serve what a signed link opens: no key is asked for, the link is the leave to read this one file."""

import re
from email.utils import formatdate
from pathlib import Path
from typing import Any

from litestar import HttpMethod, route
from litestar.types import ASGIApp

from gateway.api.content import FileAnswer, choose_bytes
from gateway.api.desk import Incoming, desk
from gateway.api.problems import ProblemError
from gateway.ids import is_id
from gateway.links import MEDIA_TYPES
from gateway.media import Media

CLIP = re.compile(r"[0-9]{1,2}\.(mp4|mov|webm)", re.ASCII)
INPUT = re.compile(r"([0-9a-f]{64})\.(\w{2,4})", re.ASCII)
MOST = 64
"""Longest ``expires`` and ``signature`` looked at."""


async def _open_clip(request: Incoming, video_id: str, name: str) -> ASGIApp:
    """Download a clip by a signed link."""
    _check(request, f"/links/clips/{video_id}/{name}")
    media = desk(request).media
    known = is_id("video", video_id) and CLIP.fullmatch(name)
    return _serve(request, media.clip_folder(video_id) / name if known else None, name)


async def _open_input(request: Incoming, name: str) -> ASGIApp:
    """Download an input by a signed link."""
    _check(request, f"/links/inputs/{name}")
    return _serve(request, _input(desk(request).media, name), name)


def _input(media: Media, name: str) -> Path | None:
    """Find an input by the name it is linked by."""
    found = INPUT.fullmatch(name)
    return media.input_path(found[1]) if found else None


def _check(request: Incoming, path: str) -> None:
    """
    Refuse a link that is not ours, or has run out; both read the same.

    :raises ProblemError: 403.
    """
    query, services = request.query_params, desk(request)
    expires, signature = query.get("expires", ""), query.get("signature", "")
    readable = expires.isascii() and expires.isdigit() and len(expires) <= MOST and len(signature) <= MOST
    if not readable or not services.links.holds(path, expires, signature, services.clock()):
        message = "This link is not in force; ask for the video again to get a new one."
        raise ProblemError(403, "invalid_link", message)


def _serve(request: Incoming, path: Path | None, name: str) -> ASGIApp:
    """Send a file whole or in part."""
    if path is None or not path.is_file():
        raise ProblemError(410, "link_expired", "What this link opened is no longer kept.")
    found = path.stat()
    described = {
        "etag": f'"{found.st_size:x}-{found.st_mtime_ns:x}"',
        "last-modified": formatdate(found.st_mtime, usegmt=True),
        "content-type": MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        "content-disposition": f'attachment; filename="{name}"',
    }
    answer = choose_bytes(described, found.st_size, request.headers)
    return FileAnswer(path, answer, head=request.method == "HEAD")


CLIPS = "/links/clips/{video_id:str}/{name:str}"
INPUTS = "/links/inputs/{name:str}"
LINKED: dict[str, Any] = {"http_method": [HttpMethod.GET, HttpMethod.HEAD], "include_in_schema": False}
HANDLERS = (
    route(CLIPS, operation_id="openLinkedClip", **LINKED)(_open_clip),
    route(INPUTS, operation_id="openLinkedInput", **LINKED)(_open_input),
)
