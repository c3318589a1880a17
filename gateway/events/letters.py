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
from gateway.jobs.wish import read_wish


class Letter(Struct, frozen=True):
    """Hold what is sent: the same bytes at every try, signed anew each time."""

    body: bytes
    headers: Mapping[str, str] = {}
    sign: Callable[[str, int], Mapping[str, str]] = lambda _secret, _seconds: {}
    """Headers a dialect's clients verify it by, beside those of Standard Webhooks."""


Dialect = Callable[[Job, str, str], Letter]
"""How a surface words a job, what happened to it (an event type), and where its client reached us."""


class Letters:
    """Find the words each delivery is written in."""

    def __init__(self, find: Callable[[str], Awaitable[Job | None]], dialects: Mapping[str, Dialect]) -> None:
        self._find = find
        self._dialects = dialects

    async def write(self, delivery: Delivery) -> Letter:
        """Write a delivery; an endpoint of a tenant's own is always told in ours."""
        job = await self._find(delivery.job) if delivery.endpoint is None else None
        echo = read_wish(job.wish).echo if job else {}
        dialect = self._dialects.get(echo.get("told_in", ""))
        if job is None or dialect is None:
            ours = payload(delivery.event, delivery.type, delivery.created_at, delivery.job)
            return Letter(msgspec.json.encode(ours))
        return dialect(as_of(job, delivery), delivery.type, echo.get("base_url", ""))


def as_of(job: Job, delivery: Delivery) -> Job:
    """Take a job back to how it stood when what is told of it happened: pure."""
    begun = {CREATED: State.QUEUED, STARTED: State.RUNNING}.get(delivery.type)
    if begun is None:
        return job
    seq = 0 if begun is State.QUEUED else 1
    at = delivery.created_at
    return replace(job, state=begun, seq=seq, updated_at=at, completed_at=None, progress=0, outputs="[]", error=None)
