"""
Order what several processes on one PostgreSQL wait for: whoever changes rows locks them first, all in the same order.

A batch mixes writes that have nothing to do with each other, and so would the rows they lock.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from asyncpg import Connection
from msgspec import Struct

from gateway.store.database import Statement, queries

LOCKS = {
    "budget_open": "budgets_lock",
    "budget_shift": "budgets_share",
    "buyer_has_room": "buyer_lock",
    "attempt_insert": "places_lock",
}
"""What is locked for a statement that counts, or is counted: in this order."""
ROWS: Mapping[str, Mapping[str, tuple[str, frozenset[str]]]] = {
    "budgets_rows": {
        "owners": ("owner", frozenset({"budget_shift"})),
        "jobs": ("job", frozenset({"budget_shift"})),
    },
    "jobs_rows": {
        "ids": (
            "id",
            frozenset({"job_save", "job_cancel", "job_delete", "job_claim", "job_retire", "job_hasten"})
            | frozenset({"jobs_keep", "job_give_back", "job_put_off", "job_stumbled", "forget_job"}),
        ),
    },
    "endpoints_rows": {
        "ids": ("id", frozenset({"endpoint_save", "endpoint_delete", "endpoint_failed", "endpoint_disable"})),
        "worked": ("id", frozenset({"endpoint_worked"})),
    },
    "deliveries_rows": {
        "ids": ("id", frozenset({"delivery_save", "delivery_replay", "delivery_put_off"})),
        "endpoints": (
            "endpoint",
            frozenset({"deliveries_hold", "deliveries_unhold", "deliveries_drop", "deliveries_move"}),
        ),
        "jobs": ("id", frozenset({"forget_deliveries"})),
    },
}
"""
What locks the rows a batch is going to change and other processes change, too: in this order, and each by its id.

For every list it takes, which value of which statements. Claims name no rows: they pass over what others have locked.
"""


async def lock(writer: Connection, statements: Sequence[Statement]) -> None:
    """
    Keep other processes from what a batch is about to count or to change, until it is committed.

    That is before anything else of it, and in the same order for everybody, however the batch is mixed: so nobody waits
    for somebody who waits for him. What is left to meet by chance, as the same new name in two processes, is repeated.
    """
    known = queries("postgresql")
    for query, held in LOCKS.items():
        named = {known[held].values(each.params) for each in statements if each.query == query}
        if named:
            await writer.executemany(known[held].sql, sorted(named))
    for held, lists in ROWS.items():
        rows = {
            name: [_value(each, value) for each in statements if each.query in of]
            for name, (value, of) in lists.items()
        }
        if any(rows.values()):
            await writer.execute(known[held].sql, *known[held].values(rows))


def _value(statement: Statement, name: str) -> Any:
    """Read one value of a statement."""
    params = statement.params
    return getattr(params, name) if isinstance(params, Struct) else params[name]
