"""
Read what became of a chat at asyncdata.net, where a relay keeps its tasks for whoever knows their id.

No page documents it: its words, and that a log stands in its strings, are what callers of such relays look for.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from providers._chat import Grade, Log, read_log
from providers._newapi import asset_at
from providers.base.errors import Malformed
from providers.base.reading import UNREADABLE
from providers.base.task import Fault, State, Task, Update

# The words are those a caller of a sibling relay (apicore.ai) looks for.
STATES = {
    "pending": State.QUEUED,
    "processing": State.RUNNING,
    "video_generating": State.RUNNING,
    "video_generation_running": State.RUNNING,
    "video_upsampling": State.RUNNING,
    "upsampling": State.RUNNING,
    "video_generation_completed": State.SUCCEEDED,
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
    "error": State.FAILED,
}


class Source(Struct, frozen=True):
    """Read a task as asyncdata.net keeps it, as far as callers of such relays do."""

    status: str = ""
    running: bool | None = None
    video_url: str | None = None
    upsample_video_url: str | None = None
    error: Any = None


def read_source(body: bytes, task: str) -> tuple[Source, Log]:
    """
    Read a task kept at asyncdata.net: its fields, and whatever log its strings are.

    No page says what it answers; callers look for fields, or for anything that ends in ``.mp4``.

    :raises Malformed: when it does not speak of the task.
    """
    source = Source()
    try:
        found = msgspec.json.decode(body)
        text = "\n".join(_strings(found))
        source = msgspec.convert(found, Source)
    except msgspec.ValidationError:
        # JSON, but not of the kind that was seen; where it has a status, nobody knows that word.
        if isinstance(found, dict) and found.get("status") is not None:
            source = Source(status=str(found["status"])[:40])
    except UNREADABLE:
        text = body.decode(errors="replace")
    if not source.status and task not in text:
        raise Malformed("the answer does not speak of the task", status=200)
    return source, read_log(text)


def _strings(value: Any) -> Iterator[str]:
    """List every string in a JSON value, in order, without going deep."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                yield text
            case list(items):
                waiting += reversed(items)
            case dict(fields):
                waiting += reversed(fields.values())


def decode_source(body: bytes, task: Task) -> Update:
    """
    Read a task as asyncdata.net keeps it.

    :raises Malformed: when it is none.
    """
    source, log = read_source(body, task.id)
    if source.status:
        url = source.upsample_video_url or source.video_url or log.best()
        state = STATES.get(source.status, State.UNKNOWN)
        if state is State.SUCCEEDED and (source.running or not url):
            state = State.RUNNING if source.running else State.UNKNOWN
    else:
        url = log.best(Grade.PLAIN)
        ended = State.SUCCEEDED if url else State.FAILED if log.failed else State.RUNNING
        state = State.RUNNING if source.running else ended
    why = source.error if isinstance(source.error, str) else log.reason
    return Update(
        state=state,
        task=task,
        progress=log.progress,
        assets=(asset_at(url),) if state is State.SUCCEEDED else (),
        fault=Fault(code=source.status, message=why) if state is State.FAILED else None,
        raw_state=source.status,
    )
