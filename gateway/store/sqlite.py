"""
Run named queries on SQLite: one writer with group commit, reads on a connection of their own, long ones in a thread.

A write is a few statements that hold together. Writes that arrive while a commit is under way wait
and are committed together, with one fsync; nobody hears of success before that fsync is done.
Statements run on the event loop (microseconds each), only the commit runs in a thread: so a batch
costs one change of threads, whatever its size.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gateway.store.database import (
    BATCH,
    DEFECTS,
    PATIENCE,
    AbsentError,
    Answer,
    ConflictError,
    Database,
    Params,
    Row,
    Statement,
    StoreUnavailableError,
    Turns,
    has_to_make,
    outstanding,
    own_fault,
    queries,
)

Write = tuple[Sequence[Statement], Answer]
Done = tuple[Answer, list[list[Row]] | Exception]

CHECKPOINT_PAGES = 4000
LOCKED_SECONDS = 5.0
"""Seconds another process may write before what waits for it is refused."""
AGAIN = 0.01
"""Seconds between two tries to write."""
STEPS = 1_000_000
"""After how many steps of a survey, some tens of milliseconds, it is asked whether anybody still waits for it."""
WRONG = (*DEFECTS, sqlite3.ProgrammingError)
"""What a write that was put together wrongly raises."""


class Sqlite(Database):
    """
    Speak to one SQLite file, as its only process.

    Another process may read, and add keys; it never checkpoints, so the write-ahead log is reset by
    this one alone (https://sqlite.org/wal.html).
    """

    shared = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[Write] = []
        self._committing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._writer: sqlite3.Connection
        self._cursor: sqlite3.Cursor
        """The writer's: nobody reads on while another statement runs."""
        self._reader: sqlite3.Connection
        self._surveyor: sqlite3.Connection
        """Used in its thread alone."""
        self._surveying = ThreadPoolExecutor(1, thread_name_prefix="survey")
        self._turns = Turns()
        self._given_up = False
        """Whether nobody waits for the survey under way."""
        self._lock: int | None = None
        self._commits = 0
        self._locked_at: float | None = None
        """Since when another process keeps this one from writing."""

    def open(self, *, exclusive: bool = True, makes: bool = False, older: bool = False) -> None:
        """
        Open the file; for a gateway, bring its tables up to date and claim it for this process.

        :raises StoreUnavailableError: when another gateway has it, or it is newer than this program or cannot be used;
            for a visitor also when it is not there, or older.
        """
        self._find(exclusive or makes)
        if exclusive:
            self._claim()
        try:
            self._writer = self._connect()
            if exclusive or has_to_make(version_of(self._writer), str(self.path), makes=makes, older=older):
                self._writer.execute("PRAGMA journal_mode = WAL")
                migrate(self._writer)
            self._writer.execute("PRAGMA busy_timeout = 0")  # From here on it is waited for on the loop.
            self._cursor = self._writer.cursor()
            self._reader = self._connect()
            self._surveyor = self._connect()
            self._surveyor.set_progress_handler(lambda: self._given_up, STEPS)
        except sqlite3.Error as error:
            self._give_up()
            raise StoreUnavailableError(f"{self.path} cannot be used (store.url): {error}") from error
        except StoreUnavailableError:
            self._give_up()
            raise

    def _find(self, makes: bool) -> None:
        """
        Look for the file, or make the folder it is to lie in.

        :raises AbsentError: when there is none.
        :raises StoreUnavailableError: when there can be none.
        """
        if self.path.is_dir():
            raise StoreUnavailableError(f"{self.path} is a folder: store.url must name a file")
        try:
            if makes:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                raise AbsentError(
                    f"{self.path} does not exist: name the gateway's config.toml (--config), or start the gateway once"
                )
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.path.parent}, where store.url lies, cannot be made: {error.strerror}"
            ) from error

    def _claim(self) -> None:
        """
        Keep every other gateway from the file.

        :raises StoreUnavailableError: when one has it.
        """
        try:
            self._lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.path}.lock, beside the store of store.url, cannot be written: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            raise StoreUnavailableError(f"{self.path} is in use by another gateway") from error

    def close(self) -> None:
        """Give the file up; writes still waiting are lost and their callers told."""
        self._given_up = True
        self._surveying.shutdown(wait=True, cancel_futures=True)
        self._thread.shutdown(wait=True)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(StoreUnavailableError("the store is closing"))
        self._waiting.clear()
        self._give_up()

    def _give_up(self) -> None:
        """Close the connections and let other gateways in."""
        for name in ("_surveyor", "_reader", "_writer"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def read(self, query: str, params: Params | None = None) -> list[Row]:
        """Answer a query from what is committed."""
        return self._answer(self._reader, query, params)

    async def survey(self, query: str, params: Params | None = None, *, patience: float = PATIENCE) -> list[Row]:
        """Answer a query that goes through whole tables, from what is committed when its turn comes."""
        async with self._turns.take(patience):
            try:
                work = asyncio.get_running_loop().run_in_executor(
                    self._surveying, self._answer, self._surveyor, query, params
                )
            except RuntimeError as error:  # So says a thread that is closed.
                raise StoreUnavailableError("the store is closing") from error
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.cancelled():  # It had not begun when its thread was closed.
                    raise StoreUnavailableError("the store is closing") from None
                self._given_up = True
                await asyncio.wait([work])
                self._given_up = False
                raise

    @staticmethod
    def _answer(connection: sqlite3.Connection, query: str, params: Params | None) -> list[Row]:
        """
        Answer a query on a connection.

        :raises StoreUnavailableError: when it cannot be read.
        """
        try:
            asked = queries()[query]
            return connection.execute(asked.sql, asked.values(params or {})).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error

    async def write(self, *statements: Statement, wakes: bool = False) -> list[list[Row]]:
        """Run statements that hold together and answer their rows, once they are on disk; nobody else is to be told."""
        del wakes
        future: Answer = asyncio.get_running_loop().create_future()
        self._waiting.append((statements, future))
        if not self._committing:
            self._committing = True
            # Let everything that is ready in this turn of the loop join the batch.
            asyncio.get_running_loop().call_soon(self._flush)
        return await future

    async def prove(self) -> None:
        """Find nothing: whoever may write the file may use every table in it."""

    async def arrive(self, *statements: Statement) -> bool:
        """Run the statements: there is no other process."""
        await self.write(*statements)
        return True

    async def time(self) -> None:
        """Have no other clock than this machine's."""

    def listen(self, hear: Callable[[], None]) -> None:
        """Hear nothing: there is no other process."""

    def _flush(self) -> None:
        """Run the waiting writes in one transaction and commit it in the thread."""
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        batch = [(statements, future) for statements, future in batch if not future.cancelled()]
        if not batch:
            self._next()
            return
        try:
            try:
                done = self._together(batch)
            except (ConflictError, sqlite3.IntegrityError, *WRONG):
                self._writer.execute("ROLLBACK")
                done = self._apart(batch)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY and self._may_wait():
                self._waiting[:0] = batch
                asyncio.get_running_loop().call_later(AGAIN, self._flush)
                return
            self._abandon(error, [future for _, future in batch])
            self._next()
            return
        self._locked_at = None
        self._commits += 1
        commit = asyncio.get_running_loop().run_in_executor(self._thread, self._commit)
        commit.add_done_callback(lambda ended: self._committed(ended, done))

    def _may_wait(self) -> bool:
        """Whether to wait on for another process that is writing; nothing else of this one waits for it."""
        now = asyncio.get_running_loop().time()
        if self._locked_at is None:
            self._locked_at = now
        if now - self._locked_at < LOCKED_SECONDS:
            return True
        self._locked_at = None
        return False

    def _together(self, batch: Sequence[Write]) -> list[Done]:
        """Run a batch as if nothing could go wrong, which is nearly always true."""
        self._writer.execute("BEGIN IMMEDIATE")
        return [(future, self._run(statements)) for statements, future in batch]

    def _apart(self, batch: Sequence[Write]) -> list[Done]:
        """
        Run a batch with a savepoint around each write, so that one can fail alone.

        It hears so with the others: what it came into conflict with is then there to be read.
        """
        done: list[Done] = []
        self._writer.execute("BEGIN IMMEDIATE")
        for statements, future in batch:
            self._writer.execute("SAVEPOINT one")
            try:
                done.append((future, self._run(statements)))
            except (ConflictError, sqlite3.IntegrityError, *WRONG) as error:
                self._writer.execute("ROLLBACK TO one")
                done.append((future, own_fault(error, WRONG, f"{type(error).__name__}: {error}")))
            self._writer.execute("RELEASE one")
        return done

    def _run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run one write's statements and answer their rows."""
        answers: list[list[Row]] = []
        known, cursor = queries(), self._cursor
        for each in statements:
            asked = known[each.query]
            cursor.execute(asked.sql, asked.values(each.params))
            rows = cursor.fetchall() if asked.answers else []
            if each.rows is not None and (len(rows) if asked.answers else cursor.rowcount) != each.rows:
                raise ConflictError(each.query, query=each.query)
            answers.append(rows)
        return answers

    def _commit(self) -> None:
        """Put the batch on disk; now and then fold the log into the file."""
        self._writer.execute("COMMIT")
        # What is on disk stays committed, whatever becomes of this.
        with suppress(sqlite3.Error, MemoryError):
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
                if future.done():
                    continue
                if isinstance(rows, Exception):
                    future.set_exception(rows)
                else:
                    future.set_result(rows)
        self._next()

    def _abandon(self, error: BaseException, futures: Sequence[Answer]) -> None:
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
            self.path, isolation_level=None, check_same_thread=False, timeout=LOCKED_SECONDS, cached_statements=128
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection


def version_of(connection: sqlite3.Connection) -> int:
    """Read at which version the tables are; 0 where there are none."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection) -> None:
    """
    Bring the tables to this program's version, each step in one transaction.

    :raises StoreUnavailableError: when the file is newer than this program.
    """
    for number, text in outstanding(version_of(connection)):
        # One script, one transaction: a crash leaves the step done or not begun.
        connection.executescript(f"BEGIN EXCLUSIVE; {text} PRAGMA user_version = {number}; COMMIT;")
