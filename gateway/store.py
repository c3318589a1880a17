"""
Remember: every query the gateway makes, as one verb each.

Callers know jobs, attempts, keys and files; only this module and ``sql/`` know tables. Each verb that
writes is one transaction, and returns once that transaction is on disk.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from gateway.database import ConflictError, Database, Row, Statement
from gateway.job import Attempt, Job, Outcome, State

FIRST = ""
LAST = "~"
"""Sorts after every id."""
LONGEST_MS = 1_200_000
"""No job is left alone for longer than this."""


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


class Idempotency(Struct, frozen=True, kw_only=True):
    """Say how a repeated create is recognised."""

    name: str
    fingerprint: str
    """Hash of what was asked, files included."""
    fresh: bool
    """Whether an older job of the same name gives way (a first try without an Idempotency-Key)."""
    expires_at: int


class MismatchError(Exception):
    """The same Idempotency-Key came with another body."""


class Page(Struct, frozen=True):
    """Hold one page of a list."""

    jobs: list[Job]
    more: bool


Record = TypeVar("Record")


class Store:
    """Remember jobs, attempts, keys and files on one database."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def open(self, *, exclusive: bool = True) -> None:
        """Open the database and bring its tables up to date."""
        self._database.open(exclusive=exclusive)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    async def ping(self) -> None:
        """
        Prove that a commit can be made.

        :raises StoreUnavailableError: when it cannot.
        """
        await self._database.write(Statement("idempotency_sweep", {"now": self._clock()}))

    # Jobs

    async def accept(self, job: Job, idempotency: Idempotency, also: Sequence[Statement] = ()) -> tuple[Job, bool]:
        """
        Keep a new job, or find the one this create already made; the flag says which.

        ``also`` holds with the job or not at all.

        :raises MismatchError: the same key was used for something else.
        """
        named = {"tenant": job.tenant, "name": idempotency.name}
        take = {
            **named,
            "fingerprint": idempotency.fingerprint,
            "job": job.id,
            "expires_at": idempotency.expires_at,
            "fresh": int(idempotency.fresh),
            "now": self._clock(),
        }
        try:
            await self._database.write(Statement("idempotency_take", take, 1), Statement("job_insert", job), *also)
        except ConflictError:
            rows = await self._database.read("idempotency_read", named)
            if not rows:
                raise
            ((fingerprint, kept),) = rows
            if fingerprint != idempotency.fingerprint:
                raise MismatchError(idempotency.name) from None
            found = await self._database.read("job_read", {"id": kept})
            return _job(found[0]), False
        return job, True

    async def job(self, id_: str, tenant: str) -> Job | None:
        """Find a tenant's job; another tenant's is as unknown as none."""
        rows = await self._database.read("job_of_tenant", {"id": id_, "tenant": tenant})
        return _job(rows[0]) if rows else None

    async def version(self, id_: str, tenant: str) -> tuple[int, int] | None:
        """Say which state of a tenant's job is the newest: two equal answers mean that nothing changed."""
        rows = await self._database.read("job_version", {"id": id_, "tenant": tenant})
        return (rows[0][0], rows[0][1]) if rows else None

    async def owns(self, id_: str, tenant: str) -> bool:
        """Whether a job is or was a tenant's, deleted ones included."""
        rows = await self._database.read("job_read", {"id": id_})
        return bool(rows) and _job(rows[0]).tenant == tenant

    async def jobs(self, tenant: str, *, after: str | None, limit: int, newest_first: bool) -> Page:
        """List a tenant's jobs, a page at a time."""
        query, start = ("jobs_newest", LAST) if newest_first else ("jobs_oldest", FIRST)
        rows = await self._database.read(query, {"tenant": tenant, "after": after or start, "most": limit + 1})
        return Page([_job(row) for row in rows[:limit]], len(rows) > limit)

    async def claim(self, *, lease: int, most: int) -> list[Job]:
        """Take jobs that are due, for ``lease`` milliseconds."""
        now = self._clock()
        (rows,) = await self._database.write(Statement("jobs_claim", {"now": now, "until": now + lease, "most": most}))
        return [_job(row) for row in rows]

    async def next_due(self) -> int | None:
        """Say when the next job is due."""
        ((due,),) = await self._database.read("jobs_next_due")
        return due if isinstance(due, int) else None

    async def keep(self, jobs: Sequence[Job], *, lease: int) -> None:
        """Keep the leases of steps that take long."""
        until = self._clock() + lease
        await self._database.write(
            *(Statement("jobs_keep", {"id": job.id, "epoch": job.lease_epoch, "until": until}) for job in jobs)
        )

    async def give_back(self) -> None:
        """Make every leased job due at once, whatever the clock says: for the start of a database's only process."""
        now = self._clock()
        await self._database.write(
            Statement("jobs_give_back", {"now": now, "longest": now + LONGEST_MS}),
            Statement("jobs_reckon", {"now": now}),
        )

    async def save(self, job: Job, *attempts: Attempt, also: Sequence[Statement] = ()) -> None:
        """
        Keep a job's move and what it means for its attempts, together with what ``also`` holds.

        An attempt in ``intent`` is new, any other is a later state of one already kept.

        :raises ConflictError: the job moved meanwhile, its lease was taken over, or another attempt is open.
        """
        kept = (
            Statement("attempt_insert" if each.outcome is Outcome.INTENT else "attempt_save", each, 1)
            for each in attempts
        )
        await self._database.write(Statement("job_save", job, 1), *kept, *also)

    async def cancel(self, id_: str, tenant: str) -> Job | None:
        """Ask for a job to be stopped; ``None`` where it has ended or is unknown."""
        (rows,) = await self._database.write(
            Statement("job_cancel", {"id": id_, "tenant": tenant, "now": self._clock()})
        )
        return _job(rows[0]) if rows else None

    async def delete(self, id_: str, tenant: str) -> Job | None:
        """Forget an ended job as far as its tenant can see; ``None`` where it goes on or is unknown."""
        (rows,) = await self._database.write(
            Statement("job_delete", {"id": id_, "tenant": tenant, "now": self._clock()})
        )
        return _job(rows[0]) if rows else None

    async def attempts(self, job: str) -> list[Attempt]:
        """List a job's attempts, first to last."""
        rows = await self._database.read("attempts_of_job", {"job": job})
        return [_attempt(row) for row in rows]

    async def running(self) -> dict[str, int]:
        """Count the open attempts of each account."""
        return dict(await self._database.read("attempts_running"))

    async def census(self) -> dict[str, int]:
        """Count jobs by state."""
        return dict(await self._database.read("jobs_by_state"))

    # Keys

    async def add_key(self, key: Key) -> None:
        """Keep a key's hash."""
        await self._database.write(Statement("key_insert", key, 1))

    async def key(self, hash_: str) -> Key | None:
        """Find a key by its hash, revoked or not."""
        return _first(Key, await self._database.read("key_by_hash", {"hash": hash_}))

    async def keys(self) -> list[Key]:
        """List every key there ever was."""
        return [Key(*row) for row in await self._database.read("keys_all")]

    async def has_keys(self) -> bool:
        """Whether any key is in force."""
        ((count,),) = await self._database.read("keys_live", {"now": self._clock()})
        return bool(count)

    async def revoke_key(self, id_: str) -> Key | None:
        """Put a key out of force; ``None`` where it is unknown or already is."""
        (rows,) = await self._database.write(Statement("key_revoke", {"id": id_, "now": self._clock()}))
        return _first(Key, rows)

    # Files

    async def add_file(self, file: File) -> None:
        """Keep what is known of an uploaded input."""
        await self._database.write(Statement("file_insert", file, 1))

    async def file(self, id_: str, tenant: str) -> File | None:
        """Find a tenant's file."""
        return _first(File, await self._database.read("file_of_tenant", {"id": id_, "tenant": tenant}))

    async def files(self, tenant: str, *, after: str | None, limit: int, newest_first: bool) -> tuple[list[File], bool]:
        """List a tenant's files, a page at a time."""
        query, start = ("files_newest", LAST) if newest_first else ("files_oldest", FIRST)
        rows = await self._database.read(query, {"tenant": tenant, "after": after or start, "most": limit + 1})
        return [File(*row) for row in rows[:limit]], len(rows) > limit

    async def delete_file(self, id_: str, tenant: str) -> File | None:
        """Forget a tenant's file; jobs made from it keep its bytes."""
        (rows,) = await self._database.write(Statement("file_delete", {"id": id_, "tenant": tenant}))
        return _first(File, rows)


def _job(row: Row) -> Job:
    """Read a row of ``jobs``."""
    return Job(row[0], row[1], State(row[2]), *row[3:])


def _attempt(row: Row) -> Attempt:
    """Read a row of ``attempts``."""
    id_, job, number, offer, account, submit_class, outcome, *rest = row
    return Attempt(id_, job, number, offer, account, submit_class, Outcome(outcome), *rest)


def _first(record: Callable[..., Record], rows: Sequence[Row]) -> Record | None:
    """Read the first row, if there is one."""
    return record(*rows[0]) if rows else None


__all__ = ["ConflictError", "File", "Idempotency", "Key", "MismatchError", "Page", "Store"]
