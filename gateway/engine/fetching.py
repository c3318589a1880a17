"""
Fetch a finished task's clips into our own store, and say what is kept, what is tried again and what is lost.

What a failed try means is decided in :mod:`gateway.jobs.finished`, when a provider that serves nobody is tried again
in :mod:`gateway.offers.sources`; what becomes of the job, in :mod:`gateway.engine.collecting`, or after its end in
:mod:`gateway.engine.late`.
"""

from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from gateway.clips.fetch import is_public
from gateway.clips.shelf import ShelfError
from gateway.engine.findings import compare, still_there
from gateway.engine.tools import Tools
from gateway.jobs.finished import GRAVE, OURS, PASSING, UNASKED, ClipError, Finished, Missed, expiry, may_live, next_try
from gateway.jobs.job import VERDICTS, Job, State, as_json, backoff, move
from gateway.jobs.wish import Notice, ResultLink, read_choice, read_notices, read_wish
from gateway.money.billing import unsettled
from gateway.offers.accounts import Account, link_hours
from gateway.telemetry import names
from providers.base.errors import ProviderError
from providers.base.task import Task

log = structlog.get_logger()

Misses = dict[int, ClipError]
"""Why clips were not kept this time, by their index."""


class Fetcher:
    """Know how clips come, are kept, are lost, and go."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._media = tools.media
        self._keeper = tools.keeper
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._health = tools.health
        self._retention_ms = tools.retention_ms

    async def renew(self, job: Job, finished: Finished, account: Account) -> tuple[Finished, Misses]:
        """
        Have fresh addresses of a clip where its provider names some, else the last; says why there are none.

        It was made before; whatever its provider says of the task now is not a verdict.
        """
        try:
            update = await account.provider.poll(Task(finished.id, finished.data), account.wire)
        except ProviderError as error:
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, self._clock())
            return finished, {} if finished.assets else {0: ClipError(error.message, Missed.UNREACHABLE)}
        account.answered(self._clock())
        if VERDICTS[update.state] is State.STORING and update.assets:
            finished = replace(finished, assets=update.assets)
        return finished, {}

    async def keep(self, job: Job, finished: Finished, account: Account) -> tuple[Finished, Misses]:
        """Keep every clip that can be had now; says why the others cannot, by their index."""
        fetches, provider, before = self._metrics.fetches, account.provider.listing.slug, len(finished.kept)
        misses: Misses = {} if finished.assets else {0: ClipError("the provider names no clip", Missed.UNNAMED)}
        for asset in finished.links():
            try:
                clip, *drawn = await self._keeper.keep(job.id, asset, account)
            except ClipError as miss:
                misses[asset.index] = miss
                if miss.kind in OURS:
                    break  # The next would be fetched for nothing.
            else:
                finished = replace(finished, kept=(*finished.kept, replace(clip, handle=asset.handle), *drawn))
                fetches.labels(provider, "kept").inc()
        for each in misses.values():
            fetches.labels(provider, each.kind).inc()
        if len(finished.kept) > before:
            account.source.answered()
        return finished, misses

    def weigh(self, job: Job, finished: Finished, account: Account, misses: Misses) -> tuple[Finished, float | None]:
        """Note a try that failed, and say in how many seconds the next is made; ``None`` where the clip is lost."""
        now, hours = self._clock(), account.provider.listing.link_hours
        kinds = {each.kind for each in misses.values()} - UNASKED
        if kinds == {Missed.UNREACHABLE}:
            account.source.failed(now)
        elif kinds:
            account.source.answered()
        miss = next((each for each in misses.values() if each.kind in PASSING), next(iter(misses.values())))
        finished = replace(finished, at=finished.at or now, doubts=finished.doubts + (miss.kind not in PASSING))
        left = finished.left(now, hours)
        wait = next_try(miss.kind, job.tries, finished.doubts, left)
        if wait is not None:
            # What only we can mend, or soon nobody, is not left among the warnings.
            grave = miss.kind in GRAVE or left < hours * 900
            (log.error if grave else log.warning)("clip.missed", **_told(job, miss), left=int(left))
        return finished, wait

    def lost(self, job: Job, finished: Finished, account: Account | None, misses: Misses, where: str) -> Notice:
        """Give clips up that were paid for, and write, for a field of the job, where they may still lie."""
        hours, miss = link_hours(account), next(iter(misses.values()))
        left, ends = finished.left(self._clock(), hours), int(finished.at / 1000 + hours * 3600)
        log.error("clip.lost", **_told(job, miss), left=int(left))
        self._metrics.fetches.labels(read_choice(job.quote).provider, "lost").inc()
        self._keeper.forget(job.id)
        links = tuple(
            ResultLink(index=each.index, url=each.url, expires_at=ends)
            for each in finished.links()
            if account and may_live(misses.get(each.index, miss).kind, left) and is_public(account, each.url)
        )
        told = f"{'A' if finished.kept else 'The'} clip was made and paid for, but could not be kept: {miss}."
        told += still_there(job.id, ends, where, links)
        return Notice(type="result_lost", feature="n", details=told, result_links=links)

    def kept(self, job: Job, finished: Finished, *notices: Notice) -> dict[str, Any]:
        """Write what a job has of a finished task, and for how long, saying where it differs from what was ordered."""
        choice, wish = read_choice(job.quote), read_wish(job.wish)
        differences = compare(choice, wish, [*finished.kept]) if finished.kept else []
        for each in differences:
            self._metrics.mismatches.labels(choice.provider, each.feature).inc()
        expires = expiry(self._clock(), wish.retention_seconds, self._retention_ms) if finished.kept else None
        return {
            "task": _plain(finished),
            "outputs": as_json(finished.kept),
            "warnings": as_json([*read_notices(job.warnings), *differences, *notices]),
            "expires_at": expires,
            "due_at": expires,
        }

    async def expire(self, job: Job) -> None:
        """Remove the clips of a job whose retention is over, or that was deleted; the row stays."""
        try:
            await self._media.remove_clips(job.id)
        except ShelfError as error:
            log.error("clips.unremoved", **names(job), reason=str(error))
            now = self._clock()
            wait = int(1000 * backoff(job.tries, None, 0.5))
            await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=now + wait))
            return
        now = self._clock()
        due = now if unsettled(job) else None
        await self._store.save(move(job, job.state, now, outputs="[]", due_at=due))


def _told(job: Job, miss: ClipError) -> dict[str, object]:
    """Write what the log says of a clip that was not kept."""
    return {**names(job), "kind": miss.kind, "reason": str(miss), "tries": job.tries + 1}


def noted(finished: Finished) -> str:
    """Write a finished task as its job keeps it; a clip that came inside the answer is asked for again."""
    return as_json(replace(finished, assets=tuple(each for each in finished.assets if each.url)))


def made_of(job: Job) -> Finished | None:
    """Read what is known of a task that is done, and not all kept yet; ``None`` where it is not known to be done."""
    finished = msgspec.json.decode(job.task, type=Finished) if job.task else None
    return finished if finished and finished.at else None


def _plain(finished: Finished) -> str:
    """Write the task alone: nobody needs its addresses any more."""
    return as_json(Task(finished.id, finished.data))
