"""
Keep the public keys providers sign their callbacks with: fetched through the guard, believed for an hour.

A key nobody knows yet may be a new one, so the list is asked for again, but not more than once a minute whoever calls.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from msgspec import Struct

from gateway.network.errand import Errand, FetchError
from providers.base.hooks import HookKey

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound

log = structlog.get_logger()

Key = Mapping[str, Any]
FRESH_MS = 3_600_000
"""How long a list is believed without being asked for again."""
AGAIN_MS = 60_000
"""Between two times a list is asked for."""
STALE_MS = 86_400_000
"""How long a list that cannot be had again is still believed."""
MAX_BYTES = 2**18
SECONDS = 5


class _List(Struct, frozen=True):
    """Read a list of keys, as RFC 7517 has it."""

    keys: list[dict[str, Any]]


class Kept(Struct, frozen=True):
    """Hold a list as it was last had."""

    keys: dict[str, Key]
    had_at: int
    asked_at: int


NOTHING = Kept({}, 0, 0)


class Keyring:
    """Find public keys by name."""

    def __init__(self, outbound: Callable[[], "Outbound"], clock: Callable[[], int]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._lists: dict[str, Kept] = {}
        self._asking = asyncio.Lock()

    async def find(self, wanted: HookKey) -> Key | None:
        """
        Find a key; ``None`` where its provider lists none of that name.

        :raises FetchError: when the list cannot be had.
        """
        kept = self._lists.get(wanted.url, NOTHING)
        if wanted.kid not in kept.keys or self._clock() - kept.had_at > FRESH_MS:
            async with self._asking:
                kept = await self._renewed(wanted.url, knows=wanted.kid)
        return kept.keys.get(wanted.kid)

    async def _renewed(self, url: str, *, knows: str) -> Kept:
        """Ask for a list again, if it is time; what was had before stays while nothing comes."""
        now, kept = self._clock(), self._lists.get(url, NOTHING)
        fresh = now - kept.had_at <= FRESH_MS
        if (fresh and knows in kept.keys) or 0 <= now - kept.asked_at < AGAIN_MS:
            return self._believed(kept, now)
        self._lists[url] = kept = msgspec.structs.replace(kept, asked_at=now)
        try:
            keys = await self._fetch(url)
        except FetchError as error:
            log.warning("keys.unreachable", url=url, reason=error.code)
            return self._believed(kept, now)
        self._lists[url] = kept = Kept(keys, now, now)
        return kept

    @staticmethod
    def _believed(kept: Kept, now: int) -> Kept:
        """
        Go on with a list, unless it is too old.

        :raises FetchError: when it is.
        """
        if now - kept.had_at > STALE_MS:
            raise FetchError(
                "keys_unreachable", "The keys this is signed with cannot be had; send it again.", busy=True
            )
        return kept

    async def _fetch(self, url: str) -> dict[str, Key]:
        """
        Have a list.

        :raises FetchError: when it does not come, or is none.
        """
        body = bytearray()
        await self._outbound().fetch(url, body.extend, Errand(max_bytes=MAX_BYTES, seconds=SECONDS), owner="keys")
        try:
            listed = msgspec.json.decode(bytes(body), type=_List)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise FetchError("keys_unreadable", "The list of keys is none.") from error
        return {each["kid"]: each for each in listed.keys if isinstance(each.get("kid"), str)}
