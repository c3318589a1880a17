"""Remember what was bought and no job will collect, until an operator has seen to it."""

import msgspec
import structlog
from msgspec import Struct

from gateway.store.database import Database, Statement, record_of
from gateway.store.receipts import Receipts

log = structlog.get_logger()


class Orphan(Struct, frozen=True, kw_only=True):
    """Hold a task that is nobody's: a row of ``orphans``, its fields in the order of the columns."""

    attempt: str
    """The order that made it."""
    task: str
    """The provider's own id."""
    account: str
    """Where it is; empty where nobody knows."""
    job: str
    """What it was ordered for; empty where the database has lost that."""
    found_at: int
    seen_at: int | None = None


async def note(database: Database, orphan: Orphan) -> None:
    """
    Put a task on the list, unless it is there; one an operator has seen to stays so.

    :raises StoreUnavailableError: when nobody answers.
    """
    await database.write(noted(orphan))


def noted(orphan: Orphan) -> Statement:
    """Write a task on the list together with what else is known of it, and raise the alarm."""
    log.error("task.ownerless", job=orphan.job, attempt=orphan.attempt, account=orphan.account, task=orphan.task)
    return Statement("orphan_note", orphan)


async def unseen(database: Database) -> list[Orphan]:
    """List the tasks nobody has seen to, the first found first."""
    rows = await database.read("orphans_unseen")
    return [record_of(Orphan, row) for row in rows]


async def see_to(database: Database, attempt: str, now: int) -> int:
    """Take an order's tasks off the list, on an operator's word; says how many there were."""
    (rows,) = await database.write(Statement("orphan_seen", {"attempt": attempt, "now": now}))
    return len(rows)


async def report(database: Database, receipts: Receipts, now: int) -> int:
    """
    Put every task on the list that a receipt notes for an attempt the database does not know.

    The database was then restored from a backup that is older than the order: an attempt is on disk before its order
    leaves and is never deleted, so one that is not there was lost with it. Receipts hold the last orders that were
    answered, not all.

    :raises StoreUnavailableError: when nobody answers.
    """
    lost = [each for each in receipts.noted.values() if not await database.read("attempt_known", {"id": each.attempt})]
    for each in lost:
        task = _id(each.task)
        await note(database, Orphan(attempt=each.attempt, task=task, account=each.account, job="", found_at=now))
    return len(lost)


def _id(task: str) -> str:
    """Read the provider's own id in a handle as it is noted."""
    try:
        return str(msgspec.json.decode(task)["id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return task
