"""
Remove what nobody has a use for: uploads that have expired, and media no row points to.

Litter comes about where a process dies between keeping bytes and keeping the row that names them, where two calls of
one Idempotency-Key bring their pictures, where a job or a file is deleted. It is safe to look for it beside running
gateways: whoever is about to name bytes has just put them there, however long they had lain there before, so what is
young is let be.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
import structlog
from msgspec import Struct

from gateway.database import Statement, StoreUnavailableError
from gateway.media import Media
from gateway.registry import FIRST
from gateway.shelf import Item
from gateway.store import Store
from gateway.wish import Rendition, Wish

log = structlog.get_logger()

BATCH = 500
"""Rows taken up at once."""
EVERY_SECONDS = 60.0
CLIP = re.compile(r"clips/[0-9a-f]{2}/(video_[0-9a-f]{32})/[^/]+", re.ASCII)
INPUT = re.compile(r"inputs/[0-9a-f]{2}/([0-9a-f]{64})", re.ASCII)


class Litter(Struct, frozen=True):
    """Name one thing nobody has a use for."""

    kind: str
    """clip, input or arrival."""
    name: str
    size: int


class Cleaner:
    """Find and remove litter."""

    def __init__(self, media: Media, store: Store, clock: Callable[[], int], *, retention_ms: int) -> None:
        self._media = media
        self._store = store
        self._clock = clock
        self._retention_ms = retention_ms

    async def run(self) -> None:
        """Forget expired uploads, and clear away what never arrived whole, every minute until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.expire_files()
                await asyncio.to_thread(self._media.clear)
            except (StoreUnavailableError, OSError) as error:
                log.error("cleaning.stalled", reason=str(error))

    async def expire_files(self) -> int:
        """Forget the uploads whose time is over, a batch at a time; says how many."""
        gone = 0
        while True:
            (rows,) = await self._store.database.write(Statement("files_sweep", {"now": self._clock(), "most": BATCH}))
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
                yield Litter("clip", item.key, item.size)
        inputs = {item.key: item async for item in self._old("inputs", before)}
        for item in await self._pointless_inputs(inputs.values()):
            yield Litter("input", item.key, item.size)

    async def remove(self, found: Litter, *, seconds: float) -> bool:
        """Remove litter, unless somebody has meanwhile put it there again; says whether it did."""
        if found.kind == "arrival":
            (self._media.incoming / found.name).unlink(missing_ok=True)
            return True
        item = await self._media.shelf.find(found.name)
        if item is None or item.modified > self._clock() - int(seconds * 1000):
            return False
        await self._media.shelf.remove([found.name])
        return True

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
        kept = msgspec.json.decode(job.outputs, type=list[Rendition])
        return not job.state.final or any(each.path == key for each in kept)

    async def _pointless_inputs(self, items: Iterable[Item]) -> list[Item]:
        """Tell the inputs no file has and no job has a use for."""
        left = {match[1]: item for item in items if (match := INPUT.fullmatch(item.key))}
        for sha256 in list(left):
            if await self._store.database.read("file_with", {"sha256": sha256}):
                del left[sha256]
        if left:
            async for wish in self._wishes():
                for each in wish.request.inputs:
                    left.pop(each.sha256, None)
        return list(left.values())

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
