"""Know whether there is room for the clip of an order that is yet to be made: what cannot be kept is not bought."""

from collections.abc import Callable

import structlog

from gateway.clips.folder import LEAST_FREE_BYTES
from gateway.clips.media import Media

log = structlog.get_logger()

LEAST_TO_ORDER = 2 * LEAST_FREE_BYTES
"""With less room than this nothing is ordered: what is under way must still fit in before nothing can be kept."""
LOOK_MS = 1_000
"""How long a look at the disk is believed: every order asks, and each look is a call of the kernel's."""
NO_ROOM = "there is no room for its clip here"
"""What an order waits for until there is."""


class Room:
    """Look how much is free where clips arrive, which is this machine's also where an object store keeps them."""

    def __init__(self, media: Media, clock: Callable[[], int]) -> None:
        self._media = media
        self._clock = clock
        self._looked: int | None = None
        self._left = True

    def is_left(self) -> bool:
        """Whether a clip could be kept that is ordered now."""
        now = self._clock()
        if self._looked is None or not 0 <= now - self._looked < LOOK_MS:
            self._looked = now
            self._note(self._look())
        return self._left

    def _look(self) -> int:
        """Say how many bytes are free; none where nobody can tell."""
        try:
            return self._media.free_bytes()
        except OSError:
            return 0

    def _note(self, free: int) -> None:
        """Keep what was seen; the log tells when it changes."""
        left = free >= LEAST_TO_ORDER
        if left is not self._left:
            megabytes = free // 2**20
            (log.info if left else log.error)("disk.freed" if left else "disk.filled", free_megabytes=megabytes)
        self._left = left
