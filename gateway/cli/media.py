"""``reelgate media``: look after what is kept."""

import asyncio
import os
from typing import Annotated

from cyclopts import App, Parameter, validators

from gateway.cli.common import Config, UsageError, settings_of
from gateway.cli.store import now
from gateway.clips.cleaning import Cleaner
from gateway.clips.media import LITTER_SECONDS, open_media
from gateway.clips.shelf import ShelfError
from gateway.settings import Settings
from gateway.store.database import connect
from gateway.store.store import Store

app = App(name="media", help="Look after what is kept.")

KINDS = {"clip": "clips no job has", "input": "inputs no job and no file has", "arrival": "never arrived whole"}


@app.command
def gc(
    *,
    dry_run: bool = False,
    hours: Annotated[float, Parameter(validator=validators.Number(gte=0))] = LITTER_SECONDS / 3600,
    config: Config = None,
) -> None:
    """
    Remove media no row points to: inputs nobody has, clips of deleted jobs, what never arrived whole.

    It is safe beside running gateways, as what is young is let be.

    Parameters
    ----------
    dry_run
        Say what would go, and let it be.
    hours
        How long it must have lain there; less than an hour only while no gateway runs.
    config
        The gateway's config.toml.
    """
    try:
        asyncio.run(_collect(settings_of(config), dry_run=dry_run, seconds=hours * 3600))
    except ShelfError as error:
        raise UsageError(f"the media cannot be reached: {error}") from error


async def _collect(settings: Settings, *, dry_run: bool, seconds: float) -> None:
    """Find litter, remove it, and say what went."""
    store = Store(connect(settings.store.url, os.environ), now)
    store.open(exclusive=False)
    try:
        media = open_media(settings.media)
        cleaner = Cleaner(media, store, now, retention_ms=settings.clips_ms)
        sums = {kind: [0, 0] for kind in KINDS}
        async for found in cleaner.litter(seconds=seconds):
            if dry_run or await cleaner.remove(found, seconds=seconds):
                sums[found.kind][0] += 1
                sums[found.kind][1] += found.size
                print(f"{'would remove' if dry_run else 'removed'}  {found.name}  {found.size}")
    finally:
        store.close()
    for kind, (count, size) in sums.items():
        print(f"{count} {KINDS[kind]}, {size / 2**20:.1f} MB")
