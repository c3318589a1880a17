"""
Look at a PostgreSQL before anything is built on it: does it keep sessions, may this role do what it must?

Whatever is in the way is said once, at the start, with the place and what to do about it.
"""

import re
from collections.abc import Iterable, Sequence

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from gateway.ids import chance
from gateway.store.database import StoreUnavailableError, has_to_make, migrations, outstanding, queries

LOOKS = 4
"""How often a session is looked for: one that is shared out by transaction is missed at one of them."""
UPGRADE_SECONDS = 1800
"""Most seconds a step of an upgrade may take, as the chart's startup probes do: a large table is gone through whole."""
UPGRADE_TRIES = 5
"""How often an upgrade is tried that the writes of older processes stood in the way of."""
UNPREPARED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What a statement raises whose session is another by the time it is run."""
OURS = frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(text for _, text in migrations())))


class Look(Struct, frozen=True):
    """Say what whoever opens a database is to do about its tables: a gateway ``upgrades`` them."""

    upgrades: bool = True
    makes: bool = False
    """Whether a visitor makes them where there are none."""
    older: bool = False
    """Whether a visitor works on older ones, too."""


async def prepare(writer: Connection, reader: Connection, place: str, look: Look) -> None:
    """
    Prove that a database can be worked on, and lay out what is wanted of its tables and missing.

    A gateway brings them up to date; a visitor leaves them as they are, or makes the first.

    :raises AbsentError: a visitor is not to make them.
    :raises BehindError: a visitor finds them older than this program, and does not work on such.
    :raises StoreUnavailableError: when they are newer, or something keeps everybody from working here.
    """
    if not await keeps_sessions(writer, reader):
        raise StoreUnavailableError(
            f"{place} (store.url) keeps no sessions: a pooler in between shares them out by transaction; have it keep "
            "them (PgBouncer: pool_mode = session), or name the server itself"
        )
    known = queries("postgresql")
    try:
        version = await version_of(writer)
    except asyncpg.InsufficientPrivilegeError as error:
        ((role, schema, *_),) = await writer.fetch(known["rights"].sql)
        raise _denied(place, role, schema, ["schema_version"]) from error
    wanted = outstanding(version)
    if wanted and not look.older:
        await _prove_making(writer, place)
    elif look.upgrades:
        prove_using(await writer.fetch(known["tables_denied"].sql), place)
    if wanted if look.upgrades else has_to_make(version, place, makes=look.makes, older=look.older):
        await migrate(writer, place)


async def keeps_sessions(one: Connection, other: Connection) -> bool:
    """
    Whether what is set on a connection stays there, and there alone.

    Of a server's sessions a pooler gives each transaction any. Both connections leave a mark: where it gives the one
    used last, the other's is found; where it gives each in its turn, none is found at the next look.
    """
    mark, read = (queries("postgresql")[name].sql for name in ("session_mark", "session_read"))
    mine, others = chance(), chance()
    try:
        await one.fetchval(mark, mine)
        await other.fetchval(mark, others)
        return [await one.fetchval(read) for _ in range(LOOKS)] == [mine] * LOOKS
    except UNPREPARED:
        return False


def prove_using(denied: Iterable[Sequence[str]], place: str) -> None:
    """
    Refuse a role that may not read and write every table of ours; ``denied`` are the tables it may not, as it is told.

    :raises StoreUnavailableError: naming them.
    """
    kept = sorted((name, role, schema) for name, role, schema in denied if name in OURS)
    if kept:
        _, role, schema = kept[0]
        raise _denied(place, role, schema, [name for name, *_ in kept])


def _denied(place: str, role: str, schema: str, tables: Sequence[str]) -> StoreUnavailableError:
    """Say which tables a role may not use."""
    cure = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    return StoreUnavailableError(f"{place} (store.url): role {role} may not use {', '.join(tables)}: {cure}")


async def _prove_making(writer: Connection, place: str) -> None:
    """
    Refuse a role that may not lay out what is missing.

    :raises StoreUnavailableError: saying what it lacks.
    """
    ((role, schema, creates, owns, only_reads),) = await writer.fetch(queries("postgresql")["rights"].sql)
    at = f"{place} (store.url)"
    if only_reads:
        cure = f"name the primary, or ALTER ROLE {role} SET default_transaction_read_only = off"
        raise StoreUnavailableError(f"{at} only reads: {cure}")
    if schema is None:
        cure = f"make one, or ALTER ROLE {role} SET search_path"
        raise StoreUnavailableError(f"{at}: no schema of role {role}'s search_path is there: {cure}")
    if not creates:
        cure = f"GRANT CREATE ON SCHEMA {schema} TO {role}, or start the gateway once as a role that may"
        raise StoreUnavailableError(f"{at}: role {role} may not make tables in schema {schema}: {cure}")
    if not owns:
        cure = "start the gateway once as the role they belong to"
        raise StoreUnavailableError(f"{at} is to be upgraded, and its tables are not role {role}'s: {cure}")


async def version_of(connection: Connection) -> int:
    """Read at which version the tables are; 0 where there are none."""
    known = queries("postgresql")
    if not await connection.fetchval(known["version_there"].sql):
        return 0
    return int(await connection.fetchval(known["version_read"].sql))


async def migrate(connection: Connection, place: str) -> None:
    """
    Bring the tables to this program's version in one transaction, one process at a time.

    :raises StoreUnavailableError: when the database is newer than this program, or somebody holds a table for long.
    """
    for _ in range(UPGRADE_TRIES):
        try:
            await _migrate(connection)
        except asyncpg.DeadlockDetectedError:
            continue  # An older process had begun a write; nothing of ours was kept.
        except asyncpg.LockNotAvailableError:
            break
        return
    raise StoreUnavailableError(
        f"{place} (store.url) is to be upgraded, and somebody holds its tables: wait for what reads or changes them "
        "for long (pg_dump, an open psql) or end it, then start again"
    )


async def _migrate(connection: Connection) -> None:
    """
    Wait for whoever does the same, however long that takes, and take the steps that are left.

    Text is compared byte by byte, as SQLite does and as ids want it, whatever the database's own order is.
    """
    known = queries("postgresql")
    async with connection.transaction():
        await connection.execute(known["limits_lifted"].sql)
        await connection.execute(known["version_lock"].sql, timeout=UPGRADE_SECONDS)
        await connection.execute(known["limits"].sql)  # Whoever waits for a table keeps all others from it.
        await connection.execute(known["version_table"].sql)
        version = await connection.fetchval(known["version_read"].sql)
        for number, text in outstanding(version):
            step = re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', text)
            await connection.execute(step, timeout=UPGRADE_SECONDS)
            await connection.execute(known["version_keep"].sql, number)
