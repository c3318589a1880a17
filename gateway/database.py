"""
Run named queries on SQLite: one writer with group commit, reads on a connection of their own.

A write is a few statements that hold together. Writes that arrive while a commit is under way wait
and are committed together, with one fsync; nobody hears of success before that fsync is done.
Statements run on the event loop (microseconds each), only the commit runs in a thread: so a batch
costs one change of threads, whatever its size. PostgreSQL takes the same statements.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import resources
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from msgspec import Struct

Row = tuple[Any, ...]
Params = Mapping[str, Any] | Struct
"""Values by name: of a mapping, or of a record."""

BATCH = 256
"""Most writes in one transaction: keeps the loop free and the fsync worth it."""
CHECKPOINT_PAGES = 4000


class Statement(Struct, frozen=True):
    """Name a query and its parameters; ``rows`` is how many rows it must touch, if that matters."""

    query: str
    params: Params
    rows: int | None = None


Write = tuple[Sequence[Statement], "asyncio.Future[list[list[Row]]]"]
Done = tuple["asyncio.Future[list[list[Row]]]", list[list[Row]]]


class ConflictError(Exception):
    """A statement did not touch the rows it had to; nothing of its write was kept."""

    def __init__(self, message: str, *, query: str = "") -> None:
        super().__init__(message)
        self.query = query
        """The statement, where it touched none of the rows it had to; empty where it broke a constraint."""


class StoreUnavailableError(Exception):
    """The database cannot commit; nothing of the write was kept."""


DEFECTS = (LookupError, AttributeError, TypeError, ValueError, OverflowError, sqlite3.ProgrammingError)
"""What a write that was put together wrongly raises: its own fault, and nobody else's in the batch."""


class Database:
    """
    Speak to one SQLite file, as its only process.

    Another process may read, and add keys; it never checkpoints, so the write-ahead log is reset by
    this one alone (https://sqlite.org/wal.html).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Write] = []
        self._committing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._lock: int | None = None
        self._commits = 0

    def open(self, *, exclusive: bool = True) -> None:
        """
        Open the file, bring its tables up to date, and claim it for this process.

        :raises StoreUnavailableError: when another gateway has it, or it is newer than this program.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if exclusive:
            self._lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._lock)
                self._lock = None
                raise StoreUnavailableError(f"{self.path} is in use by another gateway") from error
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode = WAL")
            migrate(self._writer)
            self._reader = self._connect()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Give the file up; writes still waiting are lost and their callers told."""
        self._thread.shutdown(wait=True)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(StoreUnavailableError("the store is closing"))
        self._waiting.clear()
        for name in ("_reader", "_writer"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def read(self, query: str, params: Params | None = None) -> list[Row]:
        """Answer a query from what is committed."""
        try:
            asked = queries()[query]
            return self._reader.execute(asked.sql, asked.values(params or {})).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error

    async def write(self, *statements: Statement) -> list[list[Row]]:
        """
        Run statements that hold together and answer their rows, once they are on disk.

        :raises ConflictError: a statement did not touch the rows it had to, or broke a constraint.
        :raises StoreUnavailableError: nothing could be committed.
        """
        future: asyncio.Future[list[list[Row]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((statements, future))
        if not self._committing:
            self._committing = True
            # Let everything that is ready in this turn of the loop join the batch.
            asyncio.get_running_loop().call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        """Run the waiting writes in one transaction and commit it in the thread."""
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        batch = [(statements, future) for statements, future in batch if not future.cancelled()]
        try:
            try:
                done = self._together(batch)
            except (ConflictError, sqlite3.IntegrityError, *DEFECTS):
                self._writer.execute("ROLLBACK")
                done = self._apart(batch)
        except sqlite3.Error as error:
            self._abandon(error, [future for _, future in batch])
            self._next()
            return
        self._commits += 1
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self._commit)
        commit.add_done_callback(lambda ended: self._committed(ended, done))

    def _together(self, batch: Sequence[Write]) -> list[Done]:
        """Run a batch as if nothing could go wrong, which is nearly always true."""
        self._writer.execute("BEGIN IMMEDIATE")
        return [(future, self._run(statements)) for statements, future in batch]

    def _apart(self, batch: Sequence[Write]) -> list[Done]:
        """Run a batch with a savepoint around each write, so that one can fail alone."""
        done: list[Done] = []
        self._writer.execute("BEGIN IMMEDIATE")
        for statements, future in batch:
            self._writer.execute("SAVEPOINT one")
            try:
                done.append((future, self._run(statements)))
            except (ConflictError, sqlite3.IntegrityError, *DEFECTS) as error:
                self._writer.execute("ROLLBACK TO one")
                future.set_exception(_own_fault(error))
            self._writer.execute("RELEASE one")
        return done

    def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run one write's statements and answer their rows."""
        answers, known = [], queries()
        for each in statements:
            asked = known[each.query]
            cursor = self._writer.execute(asked.sql, asked.values(each.params))
            rows = cursor.fetchall()
            if each.rows is not None and max(cursor.rowcount, len(rows)) != each.rows:
                raise ConflictError(each.query, query=each.query)
            answers.append(rows)
        return answers

    def _commit(self) -> None:
        """Put the batch on disk; now and then fold the log into the file."""
        self._writer.execute("COMMIT")
        if self._commits % 64 == 0 and self._log_pages() > CHECKPOINT_PAGES:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _log_pages(self) -> int:
        """Say how long the write-ahead log is."""
        with suppress(OSError):
            return Path(f"{self.path}-wal").stat().st_size // 4096
        return 0

    def _committed(self, ended: "asyncio.Future[None]", done: Sequence[Done]) -> None:
        """Tell every caller of a batch how it ended."""
        error = ended.exception()
        if error is not None:
            self._abandon(error, [future for future, _ in done])
        else:
            for future, rows in done:
                if not future.done():
                    future.set_result(rows)
        self._next()

    def _abandon(self, error: BaseException, futures: Sequence["asyncio.Future[list[list[Row]]]"]) -> None:
        """Undo a batch that cannot be committed."""
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        for future in futures:
            if not future.done():
                future.set_exception(StoreUnavailableError(str(error)))

    def _next(self) -> None:
        """Go on with what arrived meanwhile."""
        if self._waiting:
            self._flush()
        else:
            self._committing = False

    def _connect(self) -> sqlite3.Connection:
        """Open a connection whose commits survive a power cut."""
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=5, cached_statements=128
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection


def _own_fault(error: Exception) -> Exception:
    """Say what a write that failed alone is told."""
    if isinstance(error, ConflictError):
        return error
    if isinstance(error, DEFECTS):
        return StoreUnavailableError(f"{type(error).__name__}: {error}")
    return ConflictError(str(error))


class Query(Struct, frozen=True):
    """Hold one statement with numbered places, and how to read their values off named ones."""

    sql: str
    of_mapping: Callable[[Any], Any]
    of_record: Callable[[Any], Any]

    def values(self, params: Params) -> tuple[Any, ...]:
        """Read the values of the places, in order."""
        read: tuple[Any, ...] = (self.of_mapping if isinstance(params, Mapping) else self.of_record)(params)
        return read


@cache
def queries() -> Mapping[str, Query]:
    """Read every query there is, by name; names become numbers, which are bound faster and which PostgreSQL takes."""
    return {
        name: _number(re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";"))
        for file in ("queries", "doctor")
        for name, body in bodies(file).items()
    }


def bodies(file: str) -> dict[str, str]:
    """Read a file of queries, each with the comments above it, by its name."""
    text = resources.files("gateway").joinpath(f"sql/{file}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _number(text: str) -> Query:
    """Turn ``:name`` into ``?1``, the same name into the same number."""
    names = list(dict.fromkeys(re.findall(r":(\w+)", text)))
    sql = re.sub(r":(\w+)", lambda match: f"?{names.index(match[1]) + 1}", text)
    match names:
        case []:
            return Query(sql, lambda _: (), lambda _: ())
        case [only]:
            return Query(sql, lambda params: (params[only],), lambda record: (getattr(record, only),))
        case _:
            return Query(sql, itemgetter(*names), attrgetter(*names))


def migrations() -> list[tuple[int, str]]:
    """Read ``sql/NNNN_*.sql``, in order."""
    found = sorted(
        entry.name for entry in resources.files("gateway").joinpath("sql").iterdir() if entry.name[:4].isdigit()
    )
    return [
        (int(name[:4]), resources.files("gateway").joinpath(f"sql/{name}").read_text(encoding="utf-8"))
        for name in found
    ]


def migrate(connection: sqlite3.Connection) -> None:
    """
    Bring the tables to this program's version, each step in one transaction.

    :raises StoreUnavailableError: when the file is newer than this program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = migrations()
    if version > steps[-1][0]:
        raise StoreUnavailableError(f"the store is at version {version}, this program knows {steps[-1][0]}: upgrade it")
    for number, text in steps:
        if number <= version:
            continue
        # One script, one transaction: a crash leaves the step done or not begun.
        connection.executescript(f"BEGIN EXCLUSIVE; {text} PRAGMA user_version = {number}; COMMIT;")
