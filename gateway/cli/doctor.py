"""``reelgate doctor``: hold a live database to the laws of the store."""

import sys

from gateway.cli.common import Config
from gateway.cli.store import on_store
from gateway.database import bodies

MOST = 20
"""Finds shown of each law."""


def doctor(*, config: Config = None) -> None:
    """
    Look for what must never be: two open orders of a job, money held for ever, jobs forgotten. Reads only.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """
    found = on_store(config, lambda store: store.ailments())
    for name, body in bodies("doctor").items():
        said = " ".join(line.removeprefix("--").strip() for line in body.splitlines() if line.startswith("--"))
        rows = found.get(name, [])
        print(f"{'FOUND' if rows else 'ok':5}  {name:16} {said}")
        for row in rows[:MOST]:
            print(f"       {' '.join(map(str, row))}")
    sys.exit(1 if found else 0)
