"""
Say what happened to a video and to whom it is told: pure, the time is an argument.

An event's outbox rows are statements, so that they hold with the job's end or not at all. Types and shape are
OpenAI's; what travels is thin, and what signs it is Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.job import Job, State
from gateway.store.database import Statement

COMPLETED, FAILED, CANCELED = "video.completed", "video.failed", "video.canceled"
ENDED = (COMPLETED, FAILED, CANCELED)
"""OpenAI has the first two; its word for the third, of other things, is ``canceled``."""
SETTLED = "video.billing_updated"
"""What an end left in doubt is settled, and a clip that came too late is kept."""
TYPES = (*ENDED, SETTLED)
"""What can be subscribed to."""
CREATED, STARTED = "video.created", "video.started"
"""Of these only a ``callback_url`` is told, and only where its dialect has words for them."""
ENDS = {State.SUCCEEDED: COMPLETED, State.FAILED: FAILED, State.CANCELLED: CANCELED}

MINUTE, HOUR = 60.0, 3600.0
GAPS = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds between tries, the schedule Standard Webhooks recommends: ten tries in 75 hours."""
SPREAD = 0.1
"""By how much of itself a gap is stretched at random: endpoints that failed together are not tried together."""
PATIENCE_MS = 5 * 24 * 3_600_000
"""An endpoint that did nothing but fail for this long is disabled."""
ROTATION_MS = 24 * 3_600_000
"""How long an old secret goes on signing beside the new one, where that is asked for."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """Hold where a tenant is told: a row of ``endpoints``, its fields in the order of the columns."""

    id: str
    tenant: str
    name: str
    url: str
    host: str
    """Spelt in one way: what is told one after the other is told by host."""
    event_types: str
    """Space-separated."""
    version: int
    """Which of its secrets signs; grows with every rotation."""
    old_until: int | None
    """Until when the secret before signs too."""
    created_at: int
    updated_at: int
    failing_since: int | None = None
    """When the first of nothing but failures was."""
    disabled_at: int | None = None
    disabled_why: str | None = None

    def moved(self, url: str) -> Self:
        """Lead it to an address; how the one before did says nothing of another."""
        return self if url == self.url else replace(self, url=url, host=host_of(url), failing_since=None)


class Delivery(Struct, frozen=True, kw_only=True):
    """Hold one event on its way to one receiver: a row of ``deliveries``, its fields in the order of the columns."""

    id: str
    event: str
    """What the receiver knows a repeated delivery by."""
    tenant: str
    job: str
    endpoint: str | None
    """Nothing where a call named its own ``callback_url``."""
    url: str
    """That address; an endpoint's is its own."""
    host: str
    type: str
    created_at: int
    due_at: int | None
    lease_until: int | None = None
    state: str = "pending"
    """pending, delivered, failed, held (its endpoint is disabled) or dropped (its endpoint is gone)."""
    tries: int = 0
    step: int = 0
    """How many gaps of the schedule are behind it; a replay begins anew."""
    ended_at: int | None = None


class Try(Struct, frozen=True, kw_only=True):
    """Hold one sending of a delivery: a row of ``tries``."""

    delivery: str
    number: int
    at: int
    took_ms: int
    status: int | None = None
    """What the receiver answered, if it did."""
    error: str | None = None


class _Told(Struct, frozen=True):
    """Read of a wish where its call wants to be told."""

    callback_url: str | None = None
    echo: dict[str, str] = {}


_told = msgspec.json.Decoder(_Told)


def announce(job: Job) -> list[Statement]:
    """Write what goes out with a job's end, to be kept with it."""
    kind, now = ENDS[job.state], job.completed_at or job.updated_at
    event = f"evt_{now:012x}{job.id[-20:]}"
    rows = {"event": event, "tenant": job.tenant, "job": job.id, "now": now}
    out = [Statement("deliveries_insert", {**rows, "type": kind, "unless": ""})]
    if kind == CANCELED:
        # Who knows OpenAI's types alone hears of it as what its status says: failed.
        out.append(Statement("deliveries_insert", {**rows, "type": FAILED, "unless": CANCELED}))
    return out + _call_back(job, event, kind, now)


def tell_settled(job: Job) -> list[Statement]:
    """Write what goes out, once, when what a job's end left in doubt is settled; to be kept with it."""
    event = f"evt_3{job.completed_at or job.created_at:011x}{job.id[-20:]}"
    rows = {"event": event, "tenant": job.tenant, "job": job.id, "now": job.updated_at}
    return [Statement("deliveries_insert", {**rows, "type": SETTLED, "unless": ""})]


def foretell(job: Job) -> list[Statement]:
    """Write what goes out when a job is made or first taken up, once each, to whoever's dialect tells of that."""
    kind = CREATED if job.state is State.QUEUED else STARTED
    if kind not in _told.decode(job.wish).echo.get("told_of", ""):
        return []
    # Known by the job's first moment, so that a second taking up is the same event; no end begins with these digits.
    event = f"evt_{1 if kind == CREATED else 2}{job.created_at:011x}{job.id[-20:]}"
    return _call_back(job, event, kind, job.updated_at)


def _call_back(job: Job, event: str, kind: str, now: int) -> list[Statement]:
    """Write what goes to the address a call named, unless its dialect is silent about this."""
    wish = _told.decode(job.wish)
    if not wish.callback_url or kind not in wish.echo.get("told_of", kind):
        return []
    told = Delivery(
        id=f"{event}_callback", event=event, tenant=job.tenant, job=job.id, endpoint=None, url=wish.callback_url,
        host=host_of(wish.callback_url), type=kind, created_at=now, due_at=now,
    )  # fmt: skip
    return [Statement("delivery_insert", told)]


def payload(event: str, kind: str, created_at: int, job: str) -> dict[str, Any]:
    """Write an event as it travels: the same bytes at every try."""
    return {"id": event, "object": "event", "created_at": created_at // 1000, "type": kind, "data": {"id": job}}


def next_try(step: int, asked: float | None, chance: float) -> float | None:
    """
    Decide how many seconds after a failure the next try is; ``None`` after the last.

    What a receiver asks for (``Retry-After``) is never undercut, up to a day. ``chance`` (0 to 1) spreads.
    """
    if step >= len(GAPS):
        return None
    return max(GAPS[step], min(asked or 0.0, 24 * HOUR)) * (1 + SPREAD * chance)


def host_of(url: str) -> str:
    """Read the host and port of an address that was allowed: whose turn it is, not where anything goes."""
    try:
        return urlsplit(url).netloc.lower() or "-"
    except ValueError:
        return "-"
