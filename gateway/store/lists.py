"""
Find the jobs a list is asked for by an index, however many there are that it is not asked for.

A tenant's jobs lie together by state and offer. There are few such pairs, and of each that is asked for no more is read
than a page holds.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from gateway.ids import least_id
from gateway.jobs.job import Job, State
from gateway.store.database import Database, Row
from gateway.store.registry import FIRST, LAST


class Page(Struct, frozen=True):
    """Hold one page of a list."""

    jobs: list[Job]
    more: bool


class Wanted(Struct, frozen=True, kw_only=True):
    """Say which jobs a list is of; what is empty leaves nothing out."""

    states: frozenset[State] = frozenset()
    expired: bool = False
    """Whether of those that succeeded only they are wanted whose clips are gone."""
    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    """As they were chosen: ``maker/model``, or an offer."""
    names: frozenset[str] = frozenset()
    """Or as they were asked for."""
    key: str = ""
    since: int | None = None
    """Accepted then or later, in milliseconds."""
    until: int | None = None
    """Accepted before."""

    @property
    def laborious(self) -> bool:
        """Whether jobs must be looked at to know whether they are wanted."""
        return bool(self.expired or self.key or self.names)


EVERY = Wanted()


def kinds_of(found: Iterable[Row], wanted: Wanted) -> list[tuple[str, str, int]]:
    """Choose from pairs of state and offer; the number says whether a job must have been asked for by name, too."""
    kinds: list[tuple[str, str, int]] = []
    for state, offer in found:
        provider, _, model = offer.partition(":")
        named = not (wanted.models or wanted.names) or bool({offer, model} & wanted.models)
        if (
            (not wanted.states or state in wanted.states)
            and (not wanted.providers or provider in wanted.providers)
            and (named or wanted.names)
        ):
            kinds.append((state, offer, int(not named)))
    return kinds


async def rows_of(
    database: Database, tenant: str, wanted: Wanted, *, after: str | None, most: int, newest_first: bool
) -> Sequence[Row]:
    """Read so many rows of the jobs that are wanted, in order."""
    kinds = kinds_of(await database.read("jobs_kinds", {"tenant": tenant}), wanted)
    if not kinds:
        return []
    first = FIRST if wanted.since is None else least_id("video", wanted.since)
    last = LAST if wanted.until is None else least_id("video", wanted.until)
    if after is not None:
        first, last = (first, min(last, after)) if newest_first else (max(first, after), last)
    asked = {
        "tenant": tenant,
        "kinds": msgspec.json.encode(kinds).decode(),
        "first": first,
        "last": last,
        "names": msgspec.json.encode(sorted(wanted.names)).decode(),
        "key": wanted.key,
        "expired": int(wanted.expired),
        "most": most,
    }
    read = database.survey if wanted.laborious else database.read
    return await read("jobs_newest_of" if newest_first else "jobs_oldest_of", asked)
