"""Remember what providers said of orders that nobody here could read: for operators, and for nobody else."""

from enum import StrEnum

from msgspec import Struct

from gateway.store.database import Database, Statement, record_of


class Kind(StrEnum):
    """Name what was said."""

    ANSWER = "answer"
    """The beginning of what an order was answered."""
    WORD = "word"
    """How its task stands, in the provider's own word."""


class Evidence(Struct, frozen=True):
    """Hold what was said last of an order: a row of ``evidence``."""

    attempt: str
    kind: str
    at: int
    said: str


def keep(attempt: str, kind: Kind, said: str, now: int) -> Statement:
    """Write what was said, in place of what was before; no text of PostgreSQL's holds a NUL."""
    return Statement("evidence_keep", {"attempt": attempt, "kind": kind, "at": now, "said": said.replace("\0", " ")})


async def of_job(database: Database, job: str) -> list[Evidence]:
    """List what was said of a job's orders, first to last."""
    return [record_of(Evidence, row) for row in await database.read("evidence_of_job", {"job": job})]
