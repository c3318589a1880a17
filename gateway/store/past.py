"""
Forget jobs whose time is over, with all that hangs on them.

What the sums need stays: the ledger, which names jobs by their ids alone, and of each order what reports add up
(``past_orders``). So does whose each task was (``past_tasks``), lest an old clip is ever taken for another's. Nothing
of that says what was asked for.
"""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from gateway.ids import least_id
from gateway.store.database import Database, Statement
from gateway.store.registry import LAST


class Why(StrEnum):
    """Name what an old job is kept for all the same: the first of these that holds."""

    MONEY = "money"
    """Nobody can tell yet what it cost, or something is still set aside for it."""
    ORDER = "order"
    """An order of it is open, which breaks a law of the store."""
    WEBHOOK = "webhook"
    """Somebody is still to be told of it."""
    REPEAT = "repeat"
    """Its create may still be repeated, and would be bought twice."""
    ORPHAN = "orphan"
    """It made a task that is nobody's, and that no operator has seen to."""
    STEP = "step"
    """A worker has it in hand."""


class Old(Struct, frozen=True):
    """Hold a job that ended long enough ago."""

    id: str
    tenant: str
    clips: bool
    """Whether it has clips."""
    kept: Why | None
    """What it is kept for; ``None`` where it is to be forgotten."""


async def old_jobs(database: Database, *, before: int, now: int, after: str, most: int) -> list[Old]:
    """List jobs behind one, in order, that had ended by a time, at most so many."""
    last = least_id("video", before + 1)
    asked = {"first": f"{after}{LAST}" if after else "", "last": last, "before": before, "now": now, "most": most}
    rows = await database.read("jobs_old", {**asked, "everybody": 1})
    return [Old(id_, tenant, bool(clips), Why(kept) if kept else None) for id_, tenant, clips, kept in rows]


def forgetting(job: str, *, before: int, now: int) -> Sequence[Statement]:
    """
    Write that a job is forgotten: all of it or nothing, where it still may be.

    :raises ConflictError: (whoever writes them) it moved, is kept for something by now, or is gone.
    """
    asked = {"id": job, "first": job, "last": f"{job}{LAST}", "before": before, "now": now, "everybody": 0, "most": 1}
    return [
        Statement("jobs_old", asked, 1),
        *(Statement(query, asked) for query in HANGING),
        Statement("forget_job", asked, 1),
        Statement("forgotten_note", asked),
    ]


HANGING = (
    "past_orders_keep",
    "past_tasks_keep",
    "forget_tasks",
    "forget_hooks",
    "forget_evidence",
    "forget_orphans",
    "forget_attempts",
    "forget_tries",
    "forget_deliveries",
    "forget_repeats",
)
"""What is done about what hangs on a job, before it can go."""


async def may_be_forgotten(database: Database, job: str) -> bool:
    """Whether an id that no job has may be a forgotten one's: then it was made before the last of them had ended."""
    rows = await database.read("forgotten_read")
    return bool(rows) and job < least_id("video", rows[0][0] + 1)
