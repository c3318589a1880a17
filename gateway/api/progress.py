"""``/v1/videos/{id}/events`` and ``Prefer: wait``: told as it happens, without asking again and again."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from litestar import get
from litestar.datastructures import Headers
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.api import answers
from gateway.api.calls import job_of
from gateway.api.desk import Desk, Incoming, Reply, desk
from gateway.api.problems import missing_video
from gateway.events import ENDS
from gateway.job import Job
from gateway.sse import write_event
from gateway.watch import Watch

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
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


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
    return Stream(services, job, seen if seen <= job.seq else -1)  # Nobody saw what has not been: it is told all.


class Stream:
    """Send one video's events until its end, or until nobody listens."""

    def __init__(self, services: Desk, job: Job, seen: int) -> None:
        self._services = services
        self._job = job
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":  # type: ignore[typeddict-item]
            telling = asyncio.create_task(self._tell(send))
            leaving = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    telling.result()
            finally:
                for each in (telling, leaving):
                    each.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await each
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, send: Send) -> None:
        """Send what there is to say, as it comes."""
        async for text in events(self._services, self._job, self._seen):
            await send({"type": "http.response.body", "body": text, "more_body": True})


async def events(services: Desk, job: Job, seen: int) -> AsyncIterator[bytes]:
    """Write a job's moves as events; a move nobody can see from outside is not one."""
    yield b"retry: %d\n\n" % RETRY_MS
    watch: Watch = services.telling.watch
    told: tuple[Any, ...] = ()
    quiet = asyncio.get_running_loop().time()
    while True:
        looks = (job.state, job.progress, job.offer, job.cancel_requested)
        if job.seq > seen and looks != told:
            yield event(job, answers.video(job, services.shop.speeds.get(job.offer or "")))
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


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


HANDLERS = (stream_video,)
