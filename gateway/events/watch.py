"""
Let callers wait for a job to move: told by this process where it moves the job, found out where another does.

One task looks for everybody who waits, and only while somebody does. Whoever waits has ordered: a store that cannot be
read for a while only keeps them waiting, as they would for a slow job.
"""

import asyncio
from contextlib import suppress

from gateway.jobs.job import Job
from gateway.store.database import StoreUnavailableError
from gateway.store.store import Store

LOOK_SECONDS = 1.0
"""Between two looks at jobs that another process may have moved."""


class Watch:
    """Wake those who wait for a job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, dict[asyncio.Future[None], int]] = {}
        """By job: who waits, and the newest state each has seen."""
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the gateway is stopping, so that nobody should wait any longer."""
        return self._closed

    def hear(self, job: Job) -> None:
        """Take note that this process has moved a job."""
        self._tell(job.id, job.seq)

    async def change(self, job: Job, seconds: float) -> Job | None:
        """Wait for a state newer than one that was seen; ``None`` when the job is gone, the same when time is up."""
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(job.id, {})
        waiting[moved] = job.seq
        try:
            # Read after it is known that we wait: what moved before is seen here, what moves later is told.
            now = await self._newest(job)
            if now is None or now.seq > job.seq or self._closed:
                return now
            self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await moved
        finally:
            waiting.pop(moved, None)
            if not waiting and self._waiting.get(job.id) is waiting:
                del self._waiting[job.id]
        return await self._newest(job)

    async def end(self, job: Job, seconds: float) -> Job | None:
        """Wait for a job to end, up to so many seconds; ``None`` when it is gone."""
        until = asyncio.get_running_loop().time() + seconds
        found: Job | None = job
        while found is not None and not found.state.final and not self._closed:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            found = await self.change(found, left)
        return found

    def close(self) -> None:
        """Send everybody who waits away."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        for id_ in list(self._waiting):
            self._tell(id_, None)

    async def _newest(self, job: Job) -> Job | None:
        """Read how a job stands; as it was seen where that cannot be read, and whoever looks round will tell."""
        try:
            return await self._store.job(job.id, job.tenant)
        except StoreUnavailableError:
            return job

    def _tell(self, id_: str, seq: int | None) -> None:
        """Wake those who have not seen a state of a job."""
        for moved, seen in self._waiting.get(id_, {}).items():
            if not moved.done() and (seq is None or seq > seen):
                moved.set_result(None)

    def _look(self) -> None:
        """Have one task look for all."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_round())

    async def _look_round(self) -> None:
        """Look at every job somebody waits for, until nobody does."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._waiting:
                return
            with suppress(StoreUnavailableError):
                for id_ in list(self._waiting):
                    self._tell(id_, await self._store.seq(id_))
