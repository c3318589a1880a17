"""``reelgate keys``: create, list and revoke API keys."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from cyclopts import App, Parameter, validators

from gateway.cli.common import Config, UsageError, settings_of
from gateway.database import connect
from gateway.ids import new_id
from gateway.keys import SCOPES, hash_secret, new_secret
from gateway.settings import Policy
from gateway.store import Key, Store

app = App(name="keys", help="Create, list and revoke API keys.")
T = TypeVar("T")


@app.command
def create(
    *,
    name: str,
    tenant: str | None = None,
    scope: Annotated[tuple[str, ...], Parameter(negative="")] = ("read", "write"),
    days: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    policy: Policy | None = None,
    config: Config = None,
) -> None:
    """
    Create a key and show it, once.

    Parameters
    ----------
    name
        What to call it.
    tenant
        Whose videos it sees; keys of one tenant see the same. The key's own name by default.
    scope
        What it may do: read, write, metrics.
    days
        After how many days it ends; never by default.
    policy
        How offers are chosen where its callers leave it open; as config.toml says by default.
    config
        The gateway's config.toml.
    """
    for text in (name, tenant or name):
        if not (1 <= len(text) <= 64 and text.isprintable()):
            raise UsageError("a name has 1 to 64 printable characters")
    strangers = sorted(set(scope) - set(SCOPES))
    if strangers:
        raise UsageError(f"{strangers[0]!r} is no scope; there are {', '.join(SCOPES)}")
    secret, now = new_secret(), _now()
    ends = now + days * 86_400_000 if days else None
    key = Key(new_id("key", now), name, tenant or name, hash_secret(secret), " ".join(scope), now, ends, policy=policy)
    _run(config, lambda store: store.add_key(key))
    print(secret)
    print(f"id {key.id}; shown only now. Clients send it as Authorization: Bearer.")


@app.command(name="list")
def list_(*, config: Config = None) -> None:
    """List every key there ever was; the keys themselves are not kept."""
    for key in _run(config, lambda store: store.keys()):
        ended = key.revoked_at or (key.expires_at if (key.expires_at or _now() + 1) <= _now() else None)
        state = "ended" if ended else "in force"
        print(f"{key.id}  {state:8}  {key.tenant:16}  {key.scopes:20}  {key.name}")


@app.command
def revoke(id_: Annotated[str, Parameter(name="id")], *, config: Config = None) -> None:
    """
    Put a key out of force; the gateway refuses it within a second.

    Parameters
    ----------
    id_
        The key's id, from ``reelgate keys list``.
    config
        The gateway's config.toml.
    """
    if _run(config, lambda store: store.revoke_key(id_)) is None:
        raise UsageError(f"no key {id_} is in force")
    print(f"revoked {id_}")


def _run(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do one thing on the store, beside a running gateway or without one."""

    async def run() -> T:
        store = Store(connect(settings_of(config).store.url, os.environ), _now)
        store.open(exclusive=False)
        try:
            return await work(store)
        finally:
            store.close()

    return asyncio.run(run())


def _now() -> int:
    """Read the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
