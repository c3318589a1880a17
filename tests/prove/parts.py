"""All parts of the proof by name, and stretches of them lived through, beside each other where that is wanted."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.prove import kills, links, lives, load, mutants, overload, soak, starving, worlds
from tests.prove.part import Figures

PARTS = {
    **worlds.PARTS, **lives.PARTS, **mutants.PARTS, **kills.PARTS, **links.PARTS, **starving.PARTS, **load.PARTS,
    **overload.PARTS, **soak.PARTS,
}  # fmt: skip
GROUPS = {"postgres": ["matrix-postgres", "matrix-split", "kills-postgres", "commits", "freezes"]}
"""Names for several parts."""


def lived(name: str, stretches: Sequence[range], at_once: int) -> Iterator[tuple[Figures, float]]:
    """Live through stretches of a part, and answer in their order what each saw and how many seconds it took."""
    if at_once == 1:
        yield from map(partial(_live, name), stretches)
        return
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(_live, name), stretches)


def _live(name: str, stretch: range) -> tuple[Figures, float]:
    """Live through one stretch."""
    began = time.monotonic()
    return PARTS[name].run(stretch), time.monotonic() - began
