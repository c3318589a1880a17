"""
What the gateway asks of a database, whichever it is: named statements that hold together.

Two keep the promise: :class:`~gateway.store.sqlite.Sqlite`, one file and one process, and
:class:`~gateway.store.postgres.Postgres`, one server and any number of processes. Both read the same ``sql/``;
where they cannot, a query there is told apart by name (``-- jobs_claim on postgresql --``).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from operator import attrgetter, itemgetter
from typing import Any, Literal, Protocol, TypeVar

import structlog
from msgspec import Struct

from gateway.clock import JUMP_MS, Clock, running_ms, wall_ms
from gateway.settings import local_path

log = structlog.get_logger()

Row = tuple[Any, ...]
Record = TypeVar("Record", bound=Struct)
Params = Mapping[str, Any] | Struct
"""Values by name: of a mapping, or of a record."""
Kind = Literal["sqlite", "postgresql"]
PLACES: Mapping[Kind, str] = {"sqlite": "?", "postgresql": "$"}
"""How a numbered place begins."""
TOUCHED = "\nRETURNING 1"
"""How a statement ends that is only to say whether it touched a row: to answer that takes SQLite a temporary table."""
BATCH = 256
"""Most writes in one transaction: keeps the loop free and the fsync worth it."""
PATIENCE = 20.0
"""Seconds a survey waits for those before it."""


def known(record: type[Struct], row: Row) -> Row:
    """
    Cut a whole row to what a record knows, by place.

    A newer program beside us may have added columns, always behind those there were: processes on one database are
    replaced one by one.
    """
    return row[: len(record.__struct_fields__)]


def record_of(record: type[Record], row: Row) -> Record:
    """Read a whole row as a record, whose fields are the columns in their order."""
    return record(**dict(zip(record.__struct_fields__, known(record, row), strict=True)))


def first_of(record: type[Record], rows: Sequence[Row]) -> Record | None:
    """Read the first row, if there is one."""
    return record_of(record, rows[0]) if rows else None


def page(record: type[Record], rows: Sequence[Row], limit: int) -> tuple[list[Record], bool]:
    """Read a page of so many rows, and whether another follows: one more was asked for than is wanted."""
    return [record_of(record, row) for row in rows[:limit]], len(rows) > limit


class Statement(Struct, frozen=True):
    """Name a query and its parameters; ``rows`` is how many rows it must touch, if that matters."""

    query: str
    params: Params
    rows: int | None = None


Answer = asyncio.Future[list[list[Row]]]
"""What becomes of a write."""


class ConflictError(Exception):
    """A statement did not touch the rows it had to; nothing of its write was kept."""

    def __init__(self, message: str, *, query: str = "") -> None:
        super().__init__(message)
        self.query = query
        """The statement, where it touched none of the rows it had to; empty where it broke a constraint."""


class StoreUnavailableError(Exception):
    """The database cannot be used, and no caller may build on the write: nothing of it was kept."""


class UnsureError(StoreUnavailableError):
    """The way to the database broke in the middle of a commit: nobody can tell whether the write was kept."""


class BusyError(StoreUnavailableError):
    """Too many surveys were asked for before this one; it was not begun."""


class AbsentError(StoreUnavailableError):
    """There is no store yet: a gateway makes it at its first start."""


class BehindError(StoreUnavailableError):
    """The store is older than this program: a gateway upgrades it when it starts."""


DEFECTS = (LookupError, AttributeError, TypeError, ValueError, OverflowError)
"""What a write that was put together wrongly raises: its own fault, and nobody else's in the batch."""


class Turns:
    """Let one at a time do what takes long."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def take(self, patience: float) -> AsyncIterator[None]:
        """
        Wait for the turn, so many seconds at most, and have it.

        :raises BusyError: it did not come.
        """
        try:
            async with asyncio.timeout(patience):
                await self._turn.acquire()
        except TimeoutError:
            raise BusyError("the store is busy with other reports: try again later") from None
        try:
            yield
        finally:
            self._turn.release()


class Database(Protocol):
    """Remember rows durably; writes are answered once they are on disk."""

    shared: bool
    """Whether other processes may work on it at the same time."""

    def open(self, *, exclusive: bool = True, makes: bool = False, older: bool = False) -> None:
        """
        Make ready for use; ``exclusive`` is for a gateway, not for a visitor that adds a key.

        A gateway brings the tables up to date. A visitor takes them as they are, and ``makes`` only what is not there
        at all: an older gateway may be at work on them. With ``older`` it works on theirs, too.

        :raises StoreUnavailableError: when it cannot be used.
        """

    def close(self) -> None:
        """Give it up; writes still waiting are lost and their callers told."""

    async def read(self, query: str, params: Params | None = None) -> list[Row]:
        """
        Answer a query from what is committed.

        :raises StoreUnavailableError: when nobody answers.
        """

    async def survey(self, query: str, params: Params | None = None, *, patience: float = PATIENCE) -> list[Row]:
        """
        Answer a query that goes through whole tables: one at a time, and no read or write waits for it.

        Who gives up waiting for the answer ends the query.

        :raises BusyError: its turn did not come within ``patience`` seconds.
        :raises StoreUnavailableError: when nobody answers.
        """

    async def write(self, *statements: Statement, wakes: bool = False) -> list[list[Row]]:
        """
        Run statements that hold together and answer their rows, once they are on disk.

        ``wakes`` tells those who :meth:`listen` in other processes that a job may be due.

        :raises ConflictError: a statement did not touch the rows it had to, or broke a constraint.
        :raises StoreUnavailableError: nothing could be committed.
        """

    async def prove(self) -> None:
        """
        Prove that whoever opened it may do with every table what a gateway must.

        :raises StoreUnavailableError: naming what it may not.
        """

    async def arrive(self, *statements: Statement) -> bool:
        """
        Count as a process at work from now on; whoever is the only one runs ``statements`` first, and hears so.

        :raises StoreUnavailableError: nothing could be committed.
        """

    async def time(self) -> int | None:
        """
        Read the clock of the database, in milliseconds since the epoch; it has none of its own on this machine.

        :raises StoreUnavailableError: when nobody answers.
        """

    def listen(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` whenever another process may have made a job due, until closed."""


def connect(url: str, environ: Mapping[str, str]) -> Database:
    """
    Choose the database a URL names; a password comes from the environment.

    :raises SettingsError: for a URL neither reads.
    """
    if is_postgres(url):
        from gateway.store.postgres import Postgres  # noqa: PLC0415

        return Postgres(url, password=environ.get("REELGATE_STORE_PASSWORD") or environ.get("PGPASSWORD"))
    from gateway.store.sqlite import Sqlite  # noqa: PLC0415

    return Sqlite(local_path(url, "sqlite"))


async def clock_of(
    database: Database, wall: Callable[[], int] = wall_ms, running: Callable[[], int] = running_ms
) -> Clock:
    """
    Make the clock by which a process counts: all on one database count by the same.

    That is the database's, as it was when the process started, wherever it has one; else this machine's.

    :raises StoreUnavailableError: when nobody answers.
    """
    asked = wall()
    said = await database.time()
    off = 0 if said is None else said - (asked + wall()) // 2
    if abs(off) > JUMP_MS:
        log.warning("clock.apart", seconds=off / 1000)
    return Clock(lambda: wall() + off, running)


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL server."""
    return url.startswith(("postgresql://", "postgres://"))


def own_fault(error: Exception, wrong: tuple[type[Exception], ...], said: str) -> Exception:
    """Say what a write that failed alone is told: what it did wrong, or that somebody else was first."""
    if isinstance(error, ConflictError):
        return error
    return StoreUnavailableError(said) if isinstance(error, wrong) else ConflictError(said)


class Query(Struct, frozen=True):
    """Hold one statement with numbered places, and how to read their values off named ones."""

    sql: str
    of_mapping: Callable[[Any], Any]
    of_record: Callable[[Any], Any]
    answers: bool
    """Whether it answers rows, and not only how many it touched."""

    def values(self, params: Params) -> tuple[Any, ...]:
        """Read the values of the places, in order."""
        # Asking for a Struct is an order of magnitude cheaper than asking for a Mapping.
        read: tuple[Any, ...] = (self.of_record if isinstance(params, Struct) else self.of_mapping)(params)
        return read


@cache
def queries(kind: Kind = "sqlite") -> Mapping[str, Query]:
    """
    Read every query there is, by name, as one kind of database takes it.

    Names of values become numbers, which are bound faster and which PostgreSQL takes.
    """
    return {
        name: _number(_plain(body).removesuffix(TOUCHED if kind == "sqlite" else ""), PLACES[kind])
        for file in ("queries", "doctor")
        for name, body in bodies(file, kind).items()
    }


def bodies(file: str, kind: Kind = "sqlite") -> dict[str, str]:
    """Read a file of queries as one kind of database takes them, each with the comments above it, by its name."""
    text = resources.files("gateway.store").joinpath(f"sql/{file}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- (\w+)(?: on (\w+))? --$", text, flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for name, only, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if only == kind or (only is None and name not in found):
            found[name] = body
    return found


def _plain(body: str) -> str:
    """Read a statement without the comments above it."""
    return re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")


def _number(text: str, place: str) -> Query:
    """Turn ``:name`` into ``?1`` or ``$1``, the same name into the same number."""
    names = list(dict.fromkeys(re.findall(r":(\w+)", text)))
    sql = re.sub(r":(\w+)", lambda match: f"{place}{names.index(match[1]) + 1}", text)
    answers = "RETURNING" in sql or sql.startswith("SELECT")
    match names:
        case []:
            return Query(sql, lambda _: (), lambda _: (), answers)
        case [only]:
            return Query(sql, lambda params: (params[only],), lambda record: (getattr(record, only),), answers)
        case _:
            return Query(sql, itemgetter(*names), attrgetter(*names), answers)


def migrations() -> Sequence[tuple[int, str]]:
    """Read ``sql/NNNN_*.sql``, in order."""
    found = sorted(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in resources.files("gateway.store").joinpath("sql").iterdir()
        if entry.name[:4].isdigit()
    )
    return [(int(name[:4]), text) for name, text in found]


def outstanding(version: int) -> list[tuple[int, str]]:
    """
    List the steps a store still needs.

    :raises StoreUnavailableError: when it is newer than this program.
    """
    steps = migrations()
    if version > steps[-1][0]:
        raise StoreUnavailableError(f"the store is at version {version}, this program knows {steps[-1][0]}: upgrade it")
    return [(number, text) for number, text in steps if number > version]


def has_to_make(version: int, place: str, *, makes: bool, older: bool = False) -> bool:
    """
    Whether a visitor has to lay the tables out that it needs; what is there stays as it is, ``older`` or not.

    :raises AbsentError: when there are none and it is not to make them.
    :raises BehindError: when they are older than this program and it is not to work on such.
    :raises StoreUnavailableError: when they are newer.
    """
    wanted = migrations()[-1][0]
    if version == 0 and not makes:
        raise AbsentError(f"{place} holds no store yet: start the gateway once to make it")
    if 0 < version < wanted and older:
        return False
    if 0 < version < wanted:
        raise BehindError(
            f"{place} is at version {version}, this program wants {wanted}; start the gateway once to upgrade"
        )
    return bool(outstanding(version))
