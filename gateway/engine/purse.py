"""Know what a job's buyer may spend now: a key's limits may have changed since the job was accepted."""

import msgspec

from gateway.ids import is_id
from gateway.jobs.job import Job
from gateway.money.billing import hold_of
from gateway.money.ledger import NONE, Budget, Limits, budgets_of
from gateway.store.store import Store


class Purse:
    """Read the budgets that more money for a job has to fit in."""

    def __init__(self, store: Store, limits: Limits) -> None:
        """Ask a store for keys' limits; ``limits`` are the instance's."""
        self._store = store
        self._limits = limits

    async def budgets(self, job: Job) -> tuple[Budget, ...]:
        """
        List the budgets a job counts against, with the limits of this moment.

        They are those of the time it was accepted in, as all that becomes of its money counts there.
        """
        held = hold_of(job)
        if held is None:
            return ()
        key = await self._store.key_named(held.owner) if is_id("key", held.owner) else None
        own = msgspec.json.decode(key.limits, type=Limits) if key and key.limits else NONE
        return budgets_of(held.owner, own, self._limits, job.created_at)
