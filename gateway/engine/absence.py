"""Weigh a provider's word that it has no such order, which is what buying anew, or nothing to pay, rests on."""

from msgspec.structs import replace

from gateway.engine.ending import Ends
from gateway.engine.findings import DENIED, until_absent
from gateway.engine.tools import Tools
from gateway.jobs.job import Job


class Absence:
    """Know when it is proven that an order never arrived."""

    def __init__(self, tools: Tools, ends: Ends) -> None:
        self._ends = ends
        self._store = tools.store
        self._clock = tools.clock

    async def is_proven(self, job: Job, *, of: str | None = None) -> bool:
        """
        Weigh a provider's word that it has no such order; unless that is final it is asked again.

        :param of: the attempt in question; the job's last where none is named.
        """
        now = self._clock()
        attempt = next(each for each in await self._store.attempts(job.id) if each.id == (of or job.attempt))
        waited = (now - attempt.intent_at) / 1000
        wait, counts = until_absent(waited, job.tries, denied=attempt.error == DENIED)
        if wait is not None:
            await self._ends.later(job, wait, *([replace(attempt, error=DENIED)] if counts else []))
        return wait is None
