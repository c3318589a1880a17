"""
Write what a receiver is told: our own thin event, or more in the words of the surface a call came by.

Which words those are a job's wish remembers (``echo``), and each dialect is a function; nothing here knows any.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.events.events import CREATED, STARTED, Delivery, payload
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Rendition, read_wish


class Letter(Struct, frozen=True):
    """Hold what is sent: the same words at every try, signed anew each time, and links that still open."""

    body: bytes
    headers: Mapping[str, str] = {}
    sign: Callable[[str, int], Mapping[str, str]] = lambda _secret, _seconds: {}
    """Headers a dialect's clients verify it by, beside those of Standard Webhooks."""


class Reach(Struct, frozen=True):
    """Say how a client reaches what is kept of its jobs."""

    base: str
    """Where it reaches us."""
    path: Callable[[Job, Rendition], str]
    """Of the link that opens something kept, without a key."""

    def link(self, job: Job, kept: Rendition) -> str:
        """Say where anybody fetches something kept of a job."""
        return f"{self.base}{self.path(job, kept)}"


Dialect = Callable[[Job, str, Reach], Letter]
"""How a surface words a job, what happened to it (an event type), and how its client reaches what came of it."""


class Letters:
    """Find the words each delivery is written in."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[Job | None]],
        dialects: Mapping[str, Dialect],
        reach: Callable[[Job, str], Reach],
    ) -> None:
        """Write by ``dialects``; ``reach`` says how a job's client reaches clips, by where it reached us."""
        self._find = find
        self._dialects = dialects
        self._reach = reach

    async def write(self, delivery: Delivery) -> Letter:
        """Write a delivery; an endpoint of a tenant's own is always told in ours."""
        job = await self._find(delivery.job) if delivery.endpoint is None else None
        echo = read_wish(job.wish).echo if job else {}
        dialect = self._dialects.get(echo.get("told_in", ""))
        if job is None or dialect is None:
            ours = payload(delivery.event, delivery.type, delivery.created_at, delivery.job)
            return Letter(msgspec.json.encode(ours))
        return dialect(as_of(job, delivery), delivery.type, self._reach(job, echo.get("base_url", "")))


def as_of(job: Job, delivery: Delivery) -> Job:
    """Take a job back to how it stood when what is told of it happened: pure."""
    begun = {CREATED: State.QUEUED, STARTED: State.RUNNING}.get(delivery.type)
    if begun is None:
        return job
    seq = 0 if begun is State.QUEUED else 1
    at = delivery.created_at
    return replace(job, state=begun, seq=seq, updated_at=at, completed_at=None, progress=0, outputs="[]", error=None)
