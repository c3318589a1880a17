"""
Run named queries on PostgreSQL: one writer with group commit, reads on a small pool, any number of processes.

As on SQLite, writes that arrive while a commit is under way are committed together; here the ones that are
alike go over the wire together, too, a statement of each at a time. Surveys have a connection of their own.
One that breaks is made anew by whoever needs it next, so being connected is nowhere a state to keep.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import structlog
from asyncpg import Connection
from msgspec import Struct

from gateway.memory import vital
from gateway.store.database import (
    BATCH,
    DEFECTS,
    PATIENCE,
    Answer,
    ConflictError,
    Database,
    Params,
    Row,
    Statement,
    StoreUnavailableError,
    Turns,
    UnsureError,
    own_fault,
    queries,
)
from gateway.store.ground import Look, prepare, prove_using
from gateway.store.locks import lock
from gateway.store.readers import Readers

log = structlog.get_logger()

READERS = 4
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
"""A server that has not answered a statement by then is not there."""
SURVEY_SECONDS = 600
"""The same for one that goes through whole tables."""
AGAIN = 5
"""How often a transaction is tried that another process stood in the way of."""
EARS_SECONDS = 1.0
"""Pause before listening again to a server that hung up."""

WRONG = (*DEFECTS, asyncpg.DataError, asyncpg.exceptions.SyntaxOrAccessError)
"""What a write that was put together wrongly raises."""
ALONE = (ConflictError, asyncpg.IntegrityConstraintViolationError, *WRONG)
"""What one write of a batch may fail of while the others stand."""
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a server that cannot be used raises."""


Shape = tuple[tuple[str, int | None], ...]


class Write(Struct):
    """Hold statements that wait, and who waits for them."""

    statements: Sequence[Statement]
    future: Answer
    wakes: bool

    @property
    def shape(self) -> Shape:
        """Say what it does, whatever the values."""
        return tuple([(each.query, each.rows) for each in self.statements])

    def fail(self, error: Exception) -> None:
        """Tell its caller that nothing was kept."""
        if not self.future.done():
            self.future.set_exception(error)


Done = tuple[Write, list[list[Row]] | Exception]


class Postgres(Database):
    """Speak to one PostgreSQL database, beside any number of other processes."""

    shared = True

    def __init__(self, url: str, *, password: str | None = None) -> None:
        self._options: dict[str, Any] = {
            "dsn": url,
            "password": password,
            "timeout": CONNECT_SECONDS,
            "command_timeout": ANSWER_SECONDS,
            "statement_cache_size": 256,
            "server_settings": {"application_name": "reelgate"},
        }
        self._place = place_of(url)
        self._look = Look()
        self._waiting: list[Write] = []
        self._opening = asyncio.Lock()
        self._ready = False
        """Whether the tables are up to date."""
        self._writer: Connection | None = None
        self._readers = Readers(self._dial, READERS)
        self._surveyor: Connection | None = None
        self._turns = Turns()
        self._draining: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._commits = 0
        self._arrived = False
        """Whether it counts as a process at work."""

    def open(self, *, exclusive: bool = True, makes: bool = False, older: bool = False) -> None:
        """Do nothing yet: the first who reads or writes connects, and brings the tables up to date or looks at them."""
        self._look = Look(upgrades=exclusive, makes=makes, older=older)

    def close(self) -> None:
        """Hang up; writes still waiting are lost and their callers told."""
        for task in (self._draining, self._hearing):
            if task is not None:
                task.cancel()
        for write in self._waiting:
            write.fail(StoreUnavailableError("the store is closing"))
        self._waiting.clear()
        self._hang_up()
        if self._surveyor is not None:
            self._surveyor.terminate()
            self._surveyor = None
        self._readers.close()

    async def read(self, query: str, params: Params | None = None) -> list[Row]:
        """Answer a query from what is committed."""
        return await self._answer(self._read, query, params, ANSWER_SECONDS)

    async def survey(self, query: str, params: Params | None = None, *, patience: float = PATIENCE) -> list[Row]:
        """Answer a query that goes through whole tables, on a connection of its own."""
        async with self._turns.take(patience):
            return await self._answer(self._beside, query, params, SURVEY_SECONDS)

    async def prove(self) -> None:
        """
        Prove that a gateway may use every table.

        :raises StoreUnavailableError: naming what it may not.
        """
        prove_using(await self.read("tables_denied"), self._place)

    async def _answer(
        self,
        door: Callable[[], AbstractAsyncContextManager[Connection]],
        query: str,
        params: Params | None,
        seconds: float,
    ) -> list[Row]:
        """
        Answer a query at one of the doors to the server.

        :raises StoreUnavailableError: when nobody answers, or the query has no room for a number.
        """
        asked = queries("postgresql")[query]
        values = asked.values(params or {})
        try:
            async with door() as connection:
                try:
                    return [tuple(row) for row in await connection.fetch(asked.sql, *values, timeout=seconds)]
                except AttributeError as error:  # asyncpg, of one that was broken off between two of its messages
                    if connection.is_closed():
                        raise StoreUnavailableError("the store is closing") from error
                    raise
        except asyncpg.DataError as error:
            if any(isinstance(value, str) and not _is_text(value) for value in values):
                return []  # What no column can hold is in no row.
            raise StoreUnavailableError(f"{query}: {_said(error)}") from error
        except AWAY as error:
            raise _unavailable(error) from error

    async def write(self, *statements: Statement, wakes: bool = False) -> list[list[Row]]:
        """Run statements that hold together and answer their rows, once they are on disk."""
        loop = asyncio.get_running_loop()
        write = Write(statements, loop.create_future(), wakes)
        self._waiting.append(write)
        if self._draining is None:
            # Everything that is ready in this turn of the loop joins the batch.
            self._draining = loop.create_task(self._drain())
        return await write.future

    async def arrive(self, *statements: Statement) -> bool:
        """
        Count as a process at work for as long as the writer is connected, and run statements where no other does.

        A process whose connection is made anew is missed for that moment, and one whose machine went dark stays until
        the server gives its connection up: so nothing is done here that would harm the living.
        """
        lock, here = Statement("arrival_lock", {}), Statement("arrival", {})
        try:
            await self.write(lock, Statement("arrival_first", {}, 1), *statements, here)
        except ConflictError as error:
            if error.query != "arrival_first":
                raise
            first = False
            await self.write(lock, here)
        else:
            first = True
        self._arrived = True
        return first

    async def time(self) -> int:
        """Read the server's clock."""
        ((now,),) = await self.read("clock_read")
        return int(now)

    def listen(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` whenever another process may have made a job due, until closed."""
        self._hearing = vital(asyncio.get_running_loop().create_task(self._hear(hear)))

    async def _drain(self) -> None:
        """Commit what waits, batch after batch."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._keep(batch)
        finally:
            self._draining = None

    async def _keep(self, batch: Sequence[Write]) -> None:
        """Put a batch on disk and tell every caller how it ended."""
        try:
            done = await self._commit(batch)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError):
                self._hang_up()  # Nobody knows what is still on its way over this connection.
            for write in batch:
                write.fail(_unavailable(error))
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, (*AWAY, StoreUnavailableError)):
                log.exception("store.crashed", exc_info=error)
            return
        self._commits += 1
        for write, rows in done:
            if isinstance(rows, Exception):
                write.fail(rows)
            elif not write.future.done():
                write.future.set_result(rows)

    async def _commit(self, batch: Sequence[Write]) -> list[Done]:
        """Run a batch in one transaction: together, which is nearly always possible, else each by itself."""
        how = self._together
        for again in range(1 + AGAIN):
            writer = self._writer if self._writer and not self._writer.is_closed() else await self._connected()
            left = [write for write in batch if not write.future.done()]
            done: list[Done] | None = None
            try:
                async with writer.transaction():
                    await lock(writer, [each for write in left for each in write.statements])
                    ended = await how(writer, left)
                    if any(write.wakes for write in left):
                        await writer.execute(queries("postgresql")["notify"].sql)
                    done = ended
            except ALONE:
                how = self._apart
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if again == AGAIN:
                    raise
                log.warning("store.repeated", reason=_said(error))
            except AWAY as error:
                if done is None:
                    raise
                raise UnsureError(_said(error)) from error  # The server may have heard that it was to commit.
            else:
                return done
        raise AssertionError("a write by itself fails by itself")

    async def _together(self, writer: Connection, batch: Sequence[Write]) -> list[Done]:
        """
        Run a batch as if nothing could go wrong.

        Writes of one shape are run a column at a time: the first statement of each, then the second. Nobody has been
        answered yet who could mind which write of a batch comes first, so any order is as good; and what asks for room
        after its own write has taken some counts the others', too, at worst too many: then each is asked by itself.
        """
        done: list[Done] = []
        shapes: dict[Shape, list[Write]] = {}
        for write in batch:
            shapes.setdefault(write.shape, []).append(write)
        for writes in shapes.values():
            columns = [await _run(writer, column) for column in zip(*(w.statements for w in writes), strict=True)]
            done += [(write, [column[at] for column in columns]) for at, write in enumerate(writes)]
        return done

    async def _apart(self, writer: Connection, batch: Sequence[Write]) -> list[Done]:
        """
        Run a batch with a savepoint around each write, so that one can fail alone.

        It hears so with the others: what it came into conflict with is then there to be read.
        """
        done: list[Done] = []
        for write in batch:
            try:
                async with writer.transaction():
                    done += await self._together(writer, [write])
            except ALONE as error:
                done.append((write, own_fault(error, WRONG, _said(error))))
        return done

    async def _connected(self) -> Connection:
        """Find the writer, or make it; the first time the tables are brought up to date."""
        async with self._opening:
            if self._writer is None or self._writer.is_closed():
                writer = await self._dial()
                try:
                    await writer.execute(queries("postgresql")["durable"].sql)
                    if not self._ready:
                        async with self._readers.one() as reader:
                            await prepare(writer, reader, self._place, self._look)
                        self._ready = True
                    if self._arrived:
                        await writer.execute(queries("postgresql")["arrival"].sql)
                except BaseException:
                    writer.terminate()
                    raise
                self._writer = writer
            return self._writer

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[Connection]:
        """Find a reader, once the tables are there."""
        if not self._ready:
            await self._connected()
        async with self._readers.one() as reader:
            yield reader

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[Connection]:
        """Find the connection for surveys, or make it; only whose turn it is asks."""
        if not self._ready:
            await self._connected()
        if self._surveyor is None or self._surveyor.is_closed():
            self._surveyor = await self._dial()
        yield self._surveyor

    async def _dial(self) -> Connection:
        """
        Open one connection.

        :raises StoreUnavailableError: naming the server, as whoever reads it has to look there.
        """
        dialled: Connection | None = None
        try:
            async with asyncio.timeout(
                CONNECT_SECONDS
            ):  # A full pooler takes the login, and only then keeps us waiting.
                dialled = await asyncpg.connect(**self._options)
                await dialled.execute(queries("postgresql")["limits"].sql)
        except BaseException as error:
            if dialled is not None:
                dialled.terminate()
            if isinstance(error, AWAY):
                message = f"{self._place} (store.url) cannot be reached: {_said(error)}"
                raise StoreUnavailableError(message) from error
            raise
        return dialled

    def _hang_up(self) -> None:
        """Drop the writer, whatever it is at."""
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None

    async def _hear(self, hear: Callable[[], None]) -> None:
        """Listen on a connection of its own; what was said while nobody listened is made up for."""
        while True:
            try:
                ears = await self._dial()
            except StoreUnavailableError as error:
                log.warning("store.deaf", reason=str(error))
                await asyncio.sleep(EARS_SECONDS)
                continue
            gone = asyncio.Event()
            try:
                ears.add_termination_listener(lambda _, gone=gone: gone.set())
                await ears.add_listener("reelgate_due", lambda *_: hear())
                hear()
                await gone.wait()
            except AWAY as error:
                log.warning("store.deaf", reason=_said(error))
            finally:
                ears.terminate()
            await asyncio.sleep(EARS_SECONDS)


def place_of(url: str) -> str:
    """
    Name a server and its database, and nothing else an address may hold.

    >>> place_of("postgresql://reelgate:secret@db.internal:5432/reelgate?sslmode=require")
    'PostgreSQL at db.internal:5432/reelgate'
    >>> place_of("postgresql://reelgate:se/cret@db")
    'PostgreSQL'
    """
    found = re.match(r"[a-z]+://(?:[^/?#@]*@)?([\w.\[\]:,-]+(?:/[\w-]*)?)(?:\?|$)", url, re.ASCII)
    return f"PostgreSQL at {found[1]}" if found else "PostgreSQL"


async def _run(writer: Connection, column: Sequence[Statement]) -> list[list[Row]]:
    """
    Run one query with the values of each statement, and answer the rows of each.

    :raises ConflictError: one did not touch the rows it had to.
    """
    first = column[0]
    asked = queries("postgresql")[first.query]
    values = [asked.values(each.params) for each in column]
    if len(column) > 1 and asked.answers and first.rows == 1:
        # None touches more than one row, so as many rows as statements are one each.
        found = await writer.fetchmany(asked.sql, values)
        if len(found) != len(column):
            raise ConflictError(first.query, query=first.query)
        return [[tuple(row)] for row in found]
    if len(column) > 1 and not asked.answers and first.rows is None:
        await writer.executemany(asked.sql, values)
        return [[] for _ in column]
    return [await _run_one(writer, asked.sql, each, of) for each, of in zip(column, values, strict=True)]


async def _run_one(writer: Connection, sql: str, statement: Statement, values: Sequence[Any]) -> list[Row]:
    """
    Run one statement and answer its rows.

    :raises ConflictError: it did not touch the rows it had to.
    """
    rows: list[Row] = []
    if queries("postgresql")[statement.query].answers:
        rows = [tuple(row) for row in await writer.fetch(sql, *values)]
        touched = len(rows)
    else:
        touched = int((await writer.execute(sql, *values)).rpartition(" ")[2])
    if statement.rows is not None and touched != statement.rows:
        raise ConflictError(statement.query, query=statement.query)
    return rows


def _is_text(value: str) -> bool:
    """Whether a column can hold it: no NUL, no half of a surrogate pair."""
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def _unavailable(error: BaseException) -> StoreUnavailableError:
    """Say why the server cannot be used."""
    return error if isinstance(error, StoreUnavailableError) else StoreUnavailableError(_said(error))


def _said(error: BaseException) -> str:
    """Put an error into words, without the values a server repeats below its first line, or a client in it."""
    words = "" if isinstance(error, asyncpg.DataError) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
