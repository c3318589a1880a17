"""``/v1/videos/{id}/events`` and ``Prefer: wait``: told as it happens, without asking again and again."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from litestar import get
from litestar.datastructures import Headers
from litestar.types import ASGIApp

from gateway.api import answers
from gateway.api.calls import job_of
from gateway.api.desk import Desk, Incoming, Reply, caller, desk
from gateway.api.outlook import outlook
from gateway.api.streams import Stream
from gateway.events.events import ENDS
from gateway.events.sse import write_event
from gateway.events.watch import Watch
from gateway.jobs.job import Job
from gateway.problems import missing_video

MOST_SECONDS = 60
"""Longest wait a call can ask for."""
SPARE_SECONDS = 5
"""How much sooner than an SDK gives up it is answered."""
HEARTBEAT_SECONDS = 15.0
"""Longest silence of a stream: proxies cut what says nothing."""
RETRY_MS = 2000
"""How soon a client whose stream broke asks again."""
WAIT = re.compile(r"\bwait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:[,;]|$)", re.IGNORECASE)
SECONDS = re.compile(r"([0-9]{1,9})(?:\.[0-9]*)?", re.ASCII)


def wait_of(headers: Headers) -> int:
    """
    Read how many seconds a call would wait for the end (RFC 7240); what cannot be read is no wish.

    An SDK says when it gives up reading: it is answered before.
    """
    found = WAIT.search(",".join(headers.getall("prefer", [])))
    patience = SECONDS.fullmatch(headers.get("x-stainless-read-timeout", ""))
    most = min(MOST_SECONDS, int(patience[1]) - SPARE_SECONDS) if patience else MOST_SECONDS
    return max(0, min(most, int(found[1]))) if found else 0


async def wait(request: Incoming, services: Desk, job: Job) -> tuple[Job, dict[str, str]]:
    """
    Wait for a job's end as long as its call prefers to, and say that it was done.

    :raises ProblemError: 404 when the video is deleted meanwhile.
    """
    seconds = wait_of(request.headers)
    if not seconds:
        return job, {}
    found = await services.telling.watch.end(job, seconds)
    if found is None:
        raise missing_video(job.id)
    return found, {"preference-applied": f"wait={seconds}"}


@get("/videos/{video_id:str}/events", opt={"scope": "read"}, operation_id="streamVideo")
async def stream_video(request: Incoming, video_id: str) -> ASGIApp:
    """Stream a video's progress as server-sent events, to its end; ``Last-Event-ID`` goes on where a stream broke."""
    services = desk(request)
    job = await job_of(request, video_id)
    said = request.headers.get("last-event-id", "")
    seen = int(said) if said.isascii() and said.isdigit() and len(said) <= 18 else -1
    if job.state.final and seen >= job.seq:
        return Reply(204, {"cache-control": "no-store"}, b"")  # By which a browser knows not to ask again.
    # Nobody saw what has not been: it is told all.
    return Stream(events(services, job, seen if seen <= job.seq else -1, caller(request).key))


async def events(services: Desk, job: Job, seen: int, key: str) -> AsyncIterator[bytes]:
    """Write a job's moves as events, for who asks by a key; a move nobody can see from outside is not one."""
    yield b"retry: %d\n\n" % RETRY_MS
    watch: Watch = services.telling.watch
    told: tuple[Any, ...] = ()
    quiet = asyncio.get_running_loop().time()
    while True:
        looks = (job.state, job.progress, job.offer, job.cancel_requested)
        if job.seq > seen and looks != told:
            leave = services.links.leave(key, services.clock())
            yield event(job, answers.video(job, await outlook(services, job), leave))
            told, quiet = looks, asyncio.get_running_loop().time()
        if job.state.final or watch.closed:
            return
        left = quiet + HEARTBEAT_SECONDS - asyncio.get_running_loop().time()
        if left <= 0:
            yield b": still there\n\n"
            quiet = asyncio.get_running_loop().time()
            continue
        found = await watch.change(job, left)
        if found is None:
            return
        job = found


def event(job: Job, shown: dict[str, Any]) -> bytes:
    """Write one event; its id says which state of the job it shows."""
    kind = ENDS.get(job.state, "video.progress")
    return write_event(shown, kind=kind, number=job.seq)


HANDLERS = (stream_video,)
