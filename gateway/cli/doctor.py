"""``reelgate doctor``: hold a live database to the laws of the store."""

import sys

from gateway.cli.common import Config, plain, settings_of
from gateway.cli.store import on_store, unattended
from gateway.engine.findings import NO_ACCOUNT
from gateway.store.database import Row, bodies
from gateway.store.orphans import Orphan, unseen
from gateway.store.store import Store

MOST = 20
"""Finds shown of each law."""


def doctor(*, config: Config = None) -> None:
    """
    Look for what must never be: two open orders of a job, money held for ever, jobs forgotten. Reads only.

    Jobs that wait for an account which is not configured any more, and tasks that are nobody's, are named too.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """
    settings = settings_of(config)

    async def look(store: Store) -> tuple[dict[str, list[Row]], dict[str, int], list[Orphan], str | None]:
        found, waiting = await store.ailments(), await unattended(store, settings)
        return found, waiting, await unseen(store.database), await store.halted()

    found, waiting, ownerless, halted = on_store(config, look)
    for name, body in bodies("doctor").items():
        said = " ".join(line.removeprefix("--").strip() for line in body.splitlines() if line.startswith("--"))
        rows = found.get(name, [])
        print(f"{'FOUND' if rows else 'ok':5}  {name:16} {said}")
        for row in rows[:MOST]:
            print(f"       {' '.join(map(str, row))}")
    said = "An open order waits for an account that is not configured, switched off, or lacks its key."
    print(f"{'FOUND' if waiting else 'ok':5}  {NO_ACCOUNT:16} {said}")
    for account, count in waiting.items():
        print(f"       {account} {count}")
    said = "A task was bought and is nobody's; reelgate jobs orphans --seen ATTEMPT once you have seen to it."
    print(f"{'FOUND' if ownerless else 'ok':5}  {'task_ownerless':16} {said}")
    for each in ownerless[:MOST]:
        print(f"       {each.attempt} {each.account} {plain(each.task)}")
    if halted is not None:
        print(f"note   {'halted':16} Nothing is bought until reelgate go-on: {plain(halted)}")
    sys.exit(1 if found or waiting or ownerless else 0)
