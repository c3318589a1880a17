"""Rows that laws of the store write: the plainest there are."""

from gateway.store.database import Statement


def key(number: int, *, rows: int | None = 1) -> Statement:
    blank = {"name": "n", "tenant": "t", "scopes": "", "created_at": number, "expires_at": None, "revoked_at": None}
    blank |= {"policy": None, "limits": None}
    return Statement("key_insert", {"id": f"k{number}", "hash": f"h{number}", **blank}, rows)
