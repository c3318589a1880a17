"""
Collect a finished task's clips into our own store, for as long as their links may live, and deliver them.

What a failed try means is decided in :mod:`gateway.finished`, when a provider that serves nobody is tried again in
:mod:`gateway.sources`; what happens next, here.
"""

import msgspec
import structlog
from msgspec.structs import replace

from gateway.accounts import Account, link_hours
from gateway.billing import Bill
from gateway.database import ConflictError
from gateway.ending import Ending, as_json
from gateway.failpoints import failpoint
from gateway.fetch import is_public
from gateway.findings import compare, still_there
from gateway.finished import OURS, PASSING, UNASKED, ClipError, Finished, Missed, expiry, may_live, next_try
from gateway.job import VERDICTS, Job, Outcome, State, backoff, move, standing
from gateway.shelf import ShelfError
from gateway.telemetry import names
from gateway.wish import Notice, Problem, ResultLink, read_choice, read_wish
from providers.base.errors import ProviderError
from providers.base.task import Task

log = structlog.get_logger()

Misses = dict[int, ClipError]
"""Why clips were not kept this time, by their index."""


class Collecting(Ending):
    """Know how a job goes on whose task is done."""

    def _turn(self, job: Job, account: Account, now: int) -> int:
        """Say when a clip may be tried again: now, unless its provider serves nobody and another is tried first."""
        finished = msgspec.json.decode(job.task or "", type=Finished)
        left = 1000 * finished.left(now, account.provider.listing.link_hours)
        return account.source.take(int(left), now)

    async def _collect(self, job: Job, account: Account) -> None:
        """
        Go on with a clip that is not kept yet: from fresh addresses where its provider names some, else the last.

        It was made before; whatever its provider says of the task now is not a verdict.
        """
        finished = msgspec.json.decode(job.task or "", type=Finished)
        try:
            update = await account.provider.poll(Task(finished.id, finished.data), account.wire)
        except ProviderError as error:
            log.info("poll.failed", **names(job), kind=error.kind)
            self._health.heard(account, error, self._clock())
            if not finished.assets:
                await self._missed(job, finished, account, {0: ClipError(error.message, Missed.UNREACHABLE)})
                return
        else:
            account.answered(self._clock())
            if VERDICTS[update.state] is State.STORING and update.assets:
                finished = replace(finished, assets=update.assets)
        await self._fetch(job, finished, account)

    async def _fetch(self, job: Job, finished: Finished, account: Account) -> None:
        """Copy what is not kept yet of a finished task into our own store, and end the job."""
        before = len(finished.kept)
        finished, misses = await self._keep(job, finished, account)
        if len(finished.kept) > before:
            account.source.answered()
        if misses:
            await self._missed(job, finished, account, misses)
            return
        failpoint("after_file")
        await self._deliver(job, finished)

    async def _keep(self, job: Job, finished: Finished, account: Account) -> tuple[Finished, Misses]:
        """Keep every clip that can be had now; says why the others cannot, by their index."""
        fetches, provider = self._metrics.fetches, account.provider.listing.slug
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
        return finished, misses

    async def _missed(self, job: Job, finished: Finished, account: Account, misses: Misses) -> None:
        """Try again while that may help one of the clips; then make do with those that are kept, or say it is lost."""
        now, listing = self._clock(), account.provider.listing
        kinds = {each.kind for each in misses.values()} - UNASKED
        if kinds == {Missed.UNREACHABLE}:
            account.source.failed(now)
        elif kinds:
            account.source.answered()
        miss = next((each for each in misses.values() if each.kind in PASSING), next(iter(misses.values())))
        finished = replace(finished, at=finished.at or now, doubts=finished.doubts + (miss.kind not in PASSING))
        left = finished.left(now, listing.link_hours)
        wait = next_try(miss.kind, job.tries, finished.doubts, left)
        if wait is None:
            await self._lose(job, finished, account, misses)
            return
        # What only we can mend, or soon nobody, is not left among the warnings.
        grave = miss.kind in OURS or left < listing.link_hours * 900
        (log.error if grave else log.warning)("clip.missed", **_told(job, miss), left=int(left))
        try:
            await self._later(job, wait, task=noted(finished))
        except ConflictError:
            self._keeper.forget(job.id)  # Whoever has overtaken us may have ended it, and left this to us.
            raise

    async def _lose(self, job: Job, finished: Finished, account: Account | None, misses: Misses) -> None:
        """End a job of which a clip is lost that was paid for: tell where it may still lie, deliver the others."""
        now, provider, hours = self._clock(), read_choice(job.quote).provider, link_hours(account)
        left, miss = finished.left(now, hours), next(iter(misses.values()))
        log.error("clip.lost", **_told(job, miss), left=int(left))
        self._metrics.fetches.labels(provider, "lost").inc()
        self._keeper.forget(job.id)
        ends = int(finished.at / 1000 + hours * 3600)
        links = tuple(
            ResultLink(index=each.index, url=each.url, expires_at=ends)
            for each in finished.links()
            if account and may_live(misses.get(each.index, miss).kind, left) and is_public(account, each.url)
        )
        if finished.kept:
            told = f"A clip was made and paid for, but lost: {miss}.{still_there(job.id, ends, 'warnings', links)}"
            lost = Notice(type="result_lost", feature="n", details=told, result_links=links)
            await self._deliver(job, finished, lost)
            return
        told = f"The clip was made and paid for, but could not be kept: {miss}."
        told += still_there(job.id, ends, "error", links)
        problem = Problem(code="result_lost", message=told, provider=provider, result_links=links)
        ended = standing(job, Outcome.SUCCEEDED, now, str(miss))
        await self._fail(job, problem, ended, bill=Bill.PRICE)

    async def _deliver(self, job: Job, finished: Finished, *notices: Notice) -> None:
        """End a job whose clips are kept, saying where they differ from what was ordered."""
        now = self._clock()
        choice = read_choice(job.quote)
        wish = read_wish(job.wish)
        differences = compare(choice, wish, [*finished.kept])
        for each in differences:
            self._metrics.mismatches.labels(choice.provider, each.feature).inc()
        expires = expiry(now, wish.retention_seconds, self._retention_ms)
        done = move(
            job,
            State.SUCCEEDED,
            now,
            task=_plain(finished),
            outputs=as_json(finished.kept),
            warnings=as_json([*msgspec.json.decode(job.warnings, type=list[Notice]), *differences, *notices]),
            expires_at=expires,
            due_at=expires,
        )
        if job.started_at is not None:
            self._shop.observe(choice.offer, (now - job.started_at) / 1000)
        await self._end(done, standing(job, Outcome.SUCCEEDED, now, None), bill=Bill.PRICE)

    async def _expire(self, job: Job) -> None:
        """Remove the clips of a job whose retention is over, or that was deleted; the row stays."""
        try:
            await self._media.remove_clips(job.id)
        except ShelfError as error:
            log.error("clips.unremoved", **names(job), reason=str(error))
            now = self._clock()
            wait = int(1000 * backoff(job.tries, None, 0.5))
            await self._store.save(move(job, job.state, now, tries=job.tries + 1, due_at=now + wait))
            return
        await self._store.save(move(job, job.state, self._clock(), outputs="[]", due_at=None))


def _told(job: Job, miss: ClipError) -> dict[str, object]:
    """Write what the log says of a clip that was not kept."""
    return {**names(job), "kind": miss.kind, "reason": str(miss), "tries": job.tries + 1}


def noted(finished: Finished) -> str:
    """Write a finished task as its job keeps it; a clip that came inside the answer is asked for again."""
    return as_json(replace(finished, assets=tuple(each for each in finished.assets if each.url)))


def _plain(finished: Finished) -> str:
    """Write the task alone: nobody needs its addresses any more."""
    return as_json(Task(finished.id, finished.data))
