"""Remember who may call, and what they have uploaded: every query about keys and files, as one verb each."""

from collections.abc import Callable

from msgspec import Struct

from gateway.money.ledger import Budget
from gateway.store.database import Database, Statement, first_of, page, record_of

FIRST = ""
LAST = "~"
"""Sorts after every id."""


class Key(Struct, frozen=True):
    """Hold one API key as kept: its hash, never itself."""

    id: str
    name: str
    tenant: str
    hash: str
    scopes: str
    """Space-separated."""
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    policy: str | None = None
    """How offers are chosen where its callers leave it open."""
    limits: str | None = None
    """What it may spend and do: :class:`~gateway.money.ledger.Limits` as JSON."""


class File(Struct, frozen=True):
    """Hold one uploaded input; its bytes lie in the media store under their hash."""

    id: str
    tenant: str
    filename: str
    purpose: str
    media_type: str
    sha256: str
    bytes: int
    width: int
    height: int
    created_at: int
    seconds: float | None = None
    """How long a clip or voice lasts; none where nobody measured."""
    expires_at: int | None = None


class Registry:
    """Remember keys and files on one database."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    async def add_key(self, key: Key) -> None:
        """Keep a key's hash."""
        await self._database.write(Statement("key_insert", key, 1))

    async def key(self, hash_: str) -> Key | None:
        """Find a key by its hash, revoked or not."""
        return first_of(Key, await self._database.read("key_by_hash", {"hash": hash_}))

    async def key_named(self, id_: str) -> Key | None:
        """Find a key by its id, revoked or not."""
        return first_of(Key, await self._database.read("key_by_id", {"id": id_}))

    async def keys(self) -> list[Key]:
        """List every key there ever was."""
        return [record_of(Key, row) for row in await self._database.read("keys_all")]

    async def has_keys(self) -> bool:
        """Whether there ever was a key: who revokes the last one shuts the door, and does not take it off."""
        ((count,),) = await self._database.read("keys_count")
        return bool(count)

    async def revoke_key(self, id_: str) -> Key | None:
        """Put a key out of force; ``None`` where it is unknown or already is."""
        (rows,) = await self._database.write(Statement("key_revoke", {"id": id_, "now": self._clock()}))
        return first_of(Key, rows)

    async def limit_key(self, key: Key, limits: str) -> Key | None:
        """Change what a key may spend and do, from now on; ``None`` where it moved meanwhile or is not in force."""
        asked = {"id": key.id, "limits": limits, "before": key.limits or "", "now": self._clock()}
        (rows,) = await self._database.write(Statement("key_limit", asked))
        return first_of(Key, rows)

    async def used(self, budget: Budget) -> int:
        """Say how many micro-dollars count against a budget: set aside, spent, or in doubt."""
        ((used,),) = await self._database.read("budget_used", budget)
        return int(used)

    async def under_way(self, buyer: str) -> int:
        """Count the jobs of a key that have not ended."""
        ((count,),) = await self._database.read("jobs_of_buyer", {"buyer": buyer})
        return int(count)

    async def add_file(self, file: File) -> None:
        """Keep what is known of an uploaded input."""
        await self._database.write(Statement("file_insert", file, 1))

    async def file(self, id_: str, tenant: str) -> File | None:
        """Find a tenant's file."""
        return first_of(
            File, await self._database.read("file_of_tenant", {"id": id_, "tenant": tenant, "now": self._clock()})
        )

    async def files(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None = None
    ) -> tuple[list[File], bool]:
        """List a tenant's files, or those of one purpose, a page at a time."""
        query, start = ("files_newest", LAST) if newest_first else ("files_oldest", FIRST)
        now = self._clock()
        asked = {"tenant": tenant, "after": after or start, "most": limit + 1, "now": now, "purpose": purpose}
        rows = await self._database.read(query, asked)
        return page(File, rows, limit)

    async def delete_file(self, id_: str, tenant: str) -> File | None:
        """Forget a tenant's file; jobs made from it keep its bytes."""
        (rows,) = await self._database.write(Statement("file_delete", {"id": id_, "tenant": tenant}))
        return first_of(File, rows)
