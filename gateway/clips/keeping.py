"""Bring finished clips into our own store: download, measure, keep; and say of what goes wrong how it did."""

from gateway.clips.fetch import LEAST_RATE, RATE_SECONDS, Terms, fetch_clip
from gateway.clips.folder import LEAST_FREE_BYTES
from gateway.clips.media import Media
from gateway.clips.parts import forget, take
from gateway.clips.shelf import ShelfError
from gateway.jobs.finished import WORTHLESS, ClipError, Missed
from gateway.jobs.wish import Rendition
from gateway.offers.accounts import Account
from providers.base.task import AssetRef


class Keeper:
    """Keep clips in one media store."""

    def __init__(self, media: Media, *, least_rate: float = LEAST_RATE, seconds: float = RATE_SECONDS) -> None:
        self._media = media
        self._least_rate = least_rate
        self._seconds = seconds

    async def keep(self, job: str, asset: AssetRef, account: Account) -> list[Rendition]:
        """
        Download a clip, going on with what an earlier try left of it, and keep it.

        :raises ClipError: naming why it is not kept this time.
        """
        try:
            if self._room() <= 0:
                raise ClipError("there is no room left to keep it", Missed.STORAGE)
            return await self._keep(job, asset, account)
        except OSError as error:
            raise ClipError(f"our own storage takes nothing: {error.strerror}", Missed.STORAGE) from error
        except ShelfError as error:
            raise ClipError(f"our own store of clips takes nothing: {error}", Missed.SHELF) from error

    def forget(self, job: str) -> None:
        """Leave nothing of what came of a job's clips and is not needed any more."""
        forget(self._media.incoming, job)

    def _room(self) -> int:
        """Say how many bytes may still be written."""
        return self._media.free_bytes() - LEAST_FREE_BYTES

    async def _keep(self, job: str, asset: AssetRef, account: Account) -> list[Rendition]:
        """Download a clip and keep it."""
        terms = Terms(
            max_bytes=self._media.max_clip_bytes,
            room=self._room,
            least_rate=self._least_rate,
            seconds=self._seconds,
        )
        part = take(self._media.incoming, f"{job}-{asset.index}")
        worthless = False
        try:
            await fetch_clip(account, asset, part, terms)
            return await self._media.keep_clip(job, asset.index, part.path, media_type=asset.media_type)
        except ClipError as miss:
            worthless = miss.kind in WORTHLESS
            raise
        except OSError:
            # A disk that failed to take bytes is not asked what it has of them; one that is full wants them back.
            worthless = True
            raise
        finally:
            part.close(drop=worthless)
