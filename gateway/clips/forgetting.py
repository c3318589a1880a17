"""
Forget jobs that ended long ago: their clips as whoever deletes them would, then their rows, a few at a time.

What is kept for all the same, and what stays of a job that is not, :mod:`gateway.store.past` says. A process that dies
in between leaves a job deleted, and the next round forgets it. Inputs nobody has a use for any more are litter
(:mod:`gateway.clips.cleaning`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway.clips.media import Media
from gateway.clips.shelf import ShelfError
from gateway.store.database import ConflictError, Statement
from gateway.store.past import Old, Why, forgetting, old_jobs
from gateway.store.registry import FIRST
from gateway.store.store import Store
from gateway.telemetry import Metrics

log = structlog.get_logger()

PAGE = 16
"""Jobs looked at, and forgotten, at once: some milliseconds, on SQLite, in which nothing else is done."""
PAGES = 125
"""Pages of one round."""


class Forgetter:
    """Forget jobs on one store, and their clips on one shelf."""

    def __init__(self, media: Media, store: Store, clock: Callable[[], int], metrics: Metrics | None = None) -> None:
        self._media = media
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._after = FIRST
        """Up to where the last round came."""

    async def round(self, before: int) -> int:
        """Forget some of the jobs that had ended by a time, going on where the last round stopped; says how many."""
        gone = 0
        for _ in range(PAGES):
            page = await self._page(before, self._after)
            gone += await self.forget(page, before)
            self._after = page[-1].id if len(page) == PAGE else FIRST
            if self._after == FIRST:
                break
        if gone:
            log.info("jobs.forgotten", count=gone)
        return gone

    async def all(self, before: int, *, dry_run: bool = False) -> tuple[int, Counter[Why]]:
        """Forget every job that had ended by a time, or only look; says how many, and how many are kept for what."""
        gone, kept, after = 0, Counter[Why](), FIRST
        while True:
            page = await self._page(before, after)
            kept.update(each.kept for each in page if each.kept is not None)
            gone += sum(each.kept is None for each in page) if dry_run else await self.forget(page, before)
            if len(page) < PAGE:
                return gone, kept
            after = page[-1].id

    async def forget(self, page: Iterable[Old], before: int) -> int:
        """Forget those of a page that are kept for nothing; says how many."""
        ready = [each for each in page if each.kept is None]
        bare = await asyncio.gather(*(self._bare(each) for each in ready))
        left = [each.id for each, done in zip(ready, bare, strict=True) if done]
        gone = sum(await asyncio.gather(*(self._drop(each, before) for each in left)))
        if self._metrics is not None:
            self._metrics.forgotten.inc(gone)
        return gone

    async def _page(self, before: int, after: str) -> Sequence[Old]:
        """Look at the next few."""
        return await old_jobs(self._store.database, before=before, now=self._clock(), after=after, most=PAGE)

    async def _bare(self, old: Old) -> bool:
        """Remove a job's clips, as whoever deletes it does; where they cannot be reached, a worker goes on trying."""
        if not old.clips:
            return True
        await self._store.delete(old.id, old.tenant)
        try:
            await self._media.remove_clips(old.id)
        except (ShelfError, OSError) as error:
            log.error("clips.unremoved", job=old.id, reason=str(error))
            retire = Statement("job_retire", {"id": old.id, "now": self._clock()})
            await self._store.database.write(retire, wakes=True)
            return False
        return True

    async def _drop(self, job: str, before: int) -> bool:
        """Forget one job's rows, unless something happened to it meanwhile; says whether it did."""
        try:
            await self._store.database.write(*forgetting(job, before=before, now=self._clock()))
        except ConflictError:
            return False
        return True
