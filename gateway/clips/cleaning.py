"""
Remove what nobody has a use for: uploads and Idempotency-Keys that have expired, jobs whose time is over, and media no
row points to.

Litter comes about where a process dies between keeping bytes and keeping the row that names them, where two calls of
one Idempotency-Key bring their pictures, where a job or a file is deleted. It is safe to look for it beside running
gateways. What is pinned:

- what has been put there, or taken up, within the last hour: whoever is about to name bytes does that first, however
  long they had lain there before, and names them within half of it;
- every clip of a job that has not ended, named or not, and what an ended one names;
- inputs that a file has, or a job for as long as its clips, with what they were converted to;
- what somebody is writing at that moment, however old it looks.

What is found is looked at once more as it is removed, and stays if it was put there since it was found. In a folder
nothing comes between that look and the removal. In an object store there are the milliseconds of one call, or the
seconds of one that is tried again, in which an input that was litter for an hour may be put there anew by somebody who
is about to name it: so inputs are set aside there, found by whoever asks for them, and removed for good by a run an
hour later or more, if none names them by then. A clip needs none of that: only the job it is of puts it there, and no
job that has ended, and not in doubt, or was deleted, ever does again.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
import structlog
from msgspec import Struct

from gateway.clips.forgetting import Forgetter
from gateway.clips.media import Media
from gateway.clips.shelf import Item
from gateway.jobs.wish import Wish, read_renditions
from gateway.money.billing import in_doubt
from gateway.rounds import Rounds
from gateway.store.database import Statement, StoreUnavailableError
from gateway.store.registry import FIRST
from gateway.store.store import Store
from gateway.telemetry import Metrics

log = structlog.get_logger()

BATCH = 500
"""Rows taken up at once."""
EVERY_SECONDS = 60.0
CLIP = re.compile(r"clips/[0-9a-f]{2}/(video_[0-9a-f]{32})/[^/]+", re.ASCII)
INPUT = re.compile(r"(?:aside/)?inputs/[0-9a-f]{2}/([0-9a-f]{64})(?:\.[a-z0-9-]+)?(?:/[0-9a-f]{16})?", re.ASCII)


class Litter(Struct, frozen=True):
    """Name one thing nobody has a use for."""

    kind: str
    """clip, input or arrival."""
    name: str
    size: int
    modified: int = 0
    """Since when it lay there when it was found, in milliseconds; nothing of an arrival."""


class Cleaner(Rounds):
    """Find and remove litter."""

    called = "cleaning"
    passing = (StoreUnavailableError, OSError)

    def __init__(
        self,
        media: Media,
        store: Store,
        clock: Callable[[], int],
        metrics: Metrics | None = None,
        *,
        retention_ms: int,
        jobs_ms: int = 0,
    ) -> None:
        """
        Clean up what is kept here.

        :param retention_ms: how long clips are kept at most; 0 is for ever.
        :param jobs_ms: how long after their end jobs are; 0 is for ever.
        """
        super().__init__()
        self._media = media
        self._store = store
        self._clock = clock
        self._retention_ms = retention_ms
        self._forgetter = Forgetter(media, store, clock, metrics)
        self._jobs_ms = jobs_ms

    async def _round(self) -> None:
        """Forget what has had its time, clear away what never arrived whole, look on at every doubt, every minute."""
        await self._rest(EVERY_SECONDS)
        await self.expire("files_sweep")
        await self.expire("idempotency_sweep")
        await self._store.recall()
        await asyncio.to_thread(self._media.clear)
        if self._jobs_ms:
            await self._forgetter.round(self._clock() - self._jobs_ms)

    async def expire(self, sweep: str) -> int:
        """Forget what a sweep finds expired, a batch at a time; says how many."""
        gone = 0
        while True:
            (rows,) = await self._store.database.write(Statement(sweep, {"now": self._clock(), "most": BATCH}))
            gone += len(rows)
            if len(rows) < BATCH:
                return gone

    async def litter(self, *, seconds: float) -> AsyncIterator[Litter]:
        """Find media no row points to, and that nobody has put there for so long."""
        for path in self._media.litter(seconds):
            with contextlib.suppress(FileNotFoundError):
                yield Litter("arrival", path.name, path.stat().st_size)
        before = self._clock() - int(seconds * 1000)
        async for item in self._old("clips", before):
            match = CLIP.fullmatch(item.key)
            if match and not await self._has(match[1], item.key):
                yield Litter("clip", item.key, item.size, item.modified)
        inputs = [item for folder in ("inputs", "aside/inputs") async for item in self._old(folder, before)]
        for item in await self._pointless_inputs(inputs):
            yield Litter("input", item.key, item.size, item.modified)

    async def remove(self, found: Litter, *, seconds: float) -> bool:
        """Remove litter, unless somebody has meanwhile put it there again; says whether it did."""
        if found.kind == "arrival":
            return self._media.discard(found.name, seconds)
        if found.kind == "clip":
            await self._media.shelf.remove([found.name])
            return True
        # A run may take hours, and what was taken up since its look may look old again by now: it has a name.
        before = min(found.modified, self._clock() - int(seconds * 1000))
        return await self._media.shelf.remove_old(found.name, before)

    async def _old(self, folder: str, before: int) -> AsyncIterator[Item]:
        """List what has lain in a folder of the shelf since before a time."""
        async for item in self._media.shelf.walk(folder):
            if item.modified <= before:
                yield item

    async def _has(self, id_: str, key: str) -> bool:
        """Whether a job has a use for what lies under a key of its own: while it is under way, for all there is."""
        job = await self._store.any_job(id_)
        if job is None or job.deleted_at is not None:
            return False
        kept = read_renditions(job.outputs)
        return not job.state.final or in_doubt(job) or any(each.path == key for each in kept)

    async def _pointless_inputs(self, items: Iterable[Item]) -> list[Item]:
        """Tell the inputs no file has and no job has a use for."""
        left: dict[str, list[Item]] = {}
        for item in items:
            if match := INPUT.fullmatch(item.key):
                left.setdefault(match[1], []).append(item)
        for sha256 in list(left):
            if await self._store.database.read("file_with", {"sha256": sha256}):
                del left[sha256]
        if left:
            async for wish in self._wishes():
                for each in wish.request.inputs:
                    left.pop(each.sha256, None)
        return [item for items in left.values() for item in items]

    async def _wishes(self) -> AsyncIterator[Wish]:
        """Read what was asked for in every job that still has a use for its inputs."""
        now, after = self._clock(), FIRST
        since = now - self._retention_ms if self._retention_ms else 0
        while True:
            asked = {"after": after, "now": now, "since": since, "most": BATCH}
            rows = await self._store.database.read("jobs_with_inputs", asked)
            for id_, wish in rows:
                after = id_
                yield msgspec.json.decode(wish, type=Wish)
            if len(rows) < BATCH:
                return
