"""Find what was bought and no row knows of: the database was restored from a backup that is older than the order."""

import structlog

from gateway.store.database import Database
from gateway.store.receipts import Receipts

log = structlog.get_logger()


async def report(database: Database, receipts: Receipts) -> int:
    """
    Say of every task noted in a receipt whose attempt the database does not know that it is nobody's.

    An attempt is on disk before its order leaves and is never deleted, so one that is not there was lost with it.
    Receipts hold the last orders that were answered, not all.

    :raises StoreUnavailableError: when nobody answers.
    """
    lost = {
        attempt: task
        for attempt, task in receipts.noted.items()
        if not await database.read("attempt_known", {"id": attempt})
    }
    for attempt, task in lost.items():
        log.error("task.ownerless", attempt=attempt, task=task)
    return len(lost)
