"""Simulated worlds, thousands of them, on every core; and sellers that change their answers overnight."""

import asyncio
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.machine.world import blank, simulate
from tests.prove.part import Figures, Part, add, broken
from tests.providers.answers import TOLD, try_answers


def live(seed: int) -> Figures:
    """Live through one seed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        empty = blank(Path(folder, "blank.db"))
        try:
            result = simulate(seed, Path(folder), empty)
        except Exception as error:  # noqa: BLE001 - whatever it was, the seed shows it again
            return broken(f"seed {seed}", error)
    return {"jobs": result.jobs, "purchases": result.bought, "counts": result.counts}


def worlds(seeds: range) -> Figures:
    """Live through many seeds; the first is 1."""
    seen: Figures = {}
    with multiprocessing.get_context("spawn").Pool() as pool:
        for result in pool.imap_unordered(live, (seed + 1 for seed in seeds), chunksize=10):
            seen = add(seen, result)
    return seen


def _says(seen: Mapping[str, Any]) -> str:
    count, met = Counter(seen), Counter(seen.get("counts", {}))
    return (
        f"seeds 1 to {seen['done']:,}: {count['jobs']:,} jobs, {count['purchases']:,} purchases, "
        f"{met['kills']:,} kills, {met['disk']:,} failed disks, {met['jump']:,} set clocks"
    )


def answers(numbers: range) -> Figures:
    """Spoil so many recorded answers and take the steps that hear them."""
    memory = Path("/dev/shm")
    try:
        with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
            return {"met": dict(asyncio.run(try_answers(Path(folder), numbers)))}
    except Exception as error:  # noqa: BLE001 - whatever it was, the number shows it again
        return broken(f"answers from {numbers.start}", error)


def _says_answers(seen: Mapping[str, Any]) -> str:
    met = Counter(seen.get("met", {}))
    unread = met["malformed"] + met["unknown"]
    return f"{met.total():,} spoilt, of {len(TOLD)} recorded ones; {unread:,} of them could not be read any more"


PARTS = {
    "worlds": Part(
        what="simulated worlds", units="worlds", most=10_000, stretch=500, run=worlds, says=_says,
    ),
    "answers": Part(
        what="answers whose types, names and words changed, through adapter and engine: no wrong end, no refund",
        units="answers", most=10_000, stretch=1_000, run=answers, says=_says_answers, beside=True,
    ),
}  # fmt: skip
