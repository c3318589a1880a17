"""
Say where a finished clip lies, how a try to fetch it may fail, and when the next is made: pure.

A clip that is made is paid for, so no failure is final while its link may still live, except one that a next try
cannot change. What answers with something else is asked again a few times: a link may be signed anew.
"""

from enum import StrEnum

from gateway.jobs.wish import Rendition
from providers.base.task import AssetRef, Task

DOUBTS = 5
"""How often an address may answer with something that is not the clip."""
LONGEST = 60.0
"""Most seconds between two tries."""


class Missed(StrEnum):
    """Name why a clip was not kept this time."""

    UNREACHABLE = "unreachable"
    """Nobody answers, or only that it is busy or broken."""
    CUT = "cut"
    """The answer ended before the clip did."""
    SLOW = "slow"
    """The bytes come too slowly."""
    STORAGE = "storage"
    """Our own storage takes nothing: it is full, or broken."""
    SHELF = "shelf"
    """It has come, and our own store of clips does not take it."""
    DENIED = "denied"
    """The address answers 401 or 403: it may have expired."""
    GONE = "gone"
    """The address answers 404 or 410."""
    STRANGE = "strange"
    """The address answers something no download does."""
    FOREIGN = "foreign"
    """The address, or where it leads, is not one that is dialled."""
    UNLISTED = "unlisted"
    """The address, or where it leads, is at a host nobody named: it is not dialled until an operator does."""
    NO_ACCOUNT = "no_account"
    """Its account is not configured any more, and nobody can have it without."""
    UNNAMED = "unnamed"
    """The provider names no address."""
    NOT_A_CLIP = "not_a_clip"
    """What came is something else."""
    SHORT = "short"
    """What came says itself that there is more of it."""
    TOO_LARGE = "too_large"
    """It is larger than a clip may be."""


PASSING = frozenset({
    Missed.UNREACHABLE, Missed.CUT, Missed.SLOW, Missed.STORAGE, Missed.SHELF, Missed.NO_ACCOUNT, Missed.UNLISTED,
})  # fmt: skip
"""What says nothing of the clip: it is fetched for as long as its link may live."""
OURS = frozenset({Missed.STORAGE, Missed.SHELF})
"""What our own storage is to blame for."""
GRAVE = OURS | {Missed.UNLISTED}
"""What only an operator can mend."""
DEAD = frozenset({Missed.GONE, Missed.FOREIGN, Missed.UNNAMED})
"""After these nobody else can fetch it either, or should."""
UNASKED = GRAVE | {Missed.FOREIGN, Missed.NO_ACCOUNT, Missed.UNNAMED}
"""What says nothing of who serves the clip."""
WORTHLESS = frozenset({Missed.STORAGE, Missed.NOT_A_CLIP, Missed.SHORT, Missed.TOO_LARGE})
"""After these nothing of what came is kept: it is no part of a clip, or takes up the room that is lacking."""


class ClipError(Exception):
    """A finished clip that could not be kept; it was paid for all the same."""

    def __init__(self, message: str, kind: Missed = Missed.NOT_A_CLIP) -> None:
        super().__init__(message)
        self.kind = kind


class Finished(Task, frozen=True, kw_only=True, omit_defaults=True):
    """Hold a task that is done, in the place of the task: where its clips lie, and what was kept of them."""

    at: int = 0
    """When its provider's verdict came."""
    assets: tuple[AssetRef, ...] = ()
    """Where the provider said they lie, last; a provider that is asked again may name other addresses."""
    doubts: int = 0
    """Times an address answered with something that is not the clip."""
    kept: tuple[Rendition, ...] = ()
    """What of several clips is kept already."""

    def links(self) -> tuple[AssetRef, ...]:
        """List what is still to be fetched."""
        kept = {each.index for each in self.kept}
        return tuple(each for each in self.assets if each.index not in kept)

    def left(self, now: int, link_hours: float) -> float:
        """Say how many seconds its links should still live."""
        return link_hours * 3600 - (now - self.at) / 1000


def may_live(kind: Missed, left: float) -> bool:
    """
    Decide whether a link is worth telling after its clip was given up for ``kind``.

    How long it lives is known as a least only: where nothing was wrong but our own storage, it may be there yet.
    """
    return kind not in DEAD and (left > 0 or kind in OURS)


def next_try(kind: Missed, tries: int, doubts: int, left: float) -> float | None:
    """
    Decide how many seconds to wait before the next try; ``None`` where the clip is lost.

    :param tries: how many there were before this one, of which ``doubts``, this one included, had a wrong answer.
    :param left: how many seconds the link may still live; the last try is made as it ends.
    """
    if left <= 0 or kind is Missed.TOO_LARGE or doubts >= DOUBTS:
        return None
    like = tries - doubts if kind in PASSING else doubts - 1
    return min(LONGEST, 0.25 * 4.0 ** min(max(like, 0), 10), left)


def expiry(now: int, asked_seconds: int | None, most_ms: int) -> int | None:
    """Say until when clips are kept: as long as asked for, and no longer than the operator keeps any; 0 is for ever."""
    bounds = [each for each in ((asked_seconds or 0) * 1000, most_ms) if each]
    return now + min(bounds) if bounds else None
