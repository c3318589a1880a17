"""Real gateways that are killed: at every named place with every class of provider, and at random."""

import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from gateway.store.database import Kind
from tests.crash.arena import KINDS, Arena, arena
from tests.crash.test_points import POINTS, random_kills, survive
from tests.databases import PostgreSQL
from tests.prove.part import Figures, Part, add, broken

CASES = [(round_, kind, point) for round_ in range(3) for kind in KINDS for point in POINTS]
"""Each place three times with each class; those of one class lie side by side, for one folder."""
CYCLES = 25
"""Random kills of one folder."""


def _seen(here: Arena, ends: Mapping[str, str]) -> Figures:
    """Sum up what one folder showed; :meth:`Arena.check` held it to the laws before."""
    return {
        "kills": here.kills, "jobs": len(ends), "ends": dict(Counter(ends.values())), "oracle": here.oracle,
        "told": sum(map(len, here.told().values())), "database_crashes": here.database_crashes,
    }  # fmt: skip


def matrix(cases: range, kind: Kind, *, split: bool) -> Figures:
    """Die at every place, with every class of provider."""
    seen: Figures = {}
    for (round_, letter), group in groupby((CASES[at] for at in cases), key=lambda case: case[:2]):
        pairs = [(point, of) for _, of, point in group]
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                arena(Path(folder), deadline=30, kind=kind, split=split) as it,
            ):
                ends = survive(it, pairs, one_by_one=True)
                seen = add(seen, _seen(it, ends))
        except AssertionError as error:
            seen = add(seen, broken(f"round {round_}, class {letter}", error))
    return seen


def at_random(cycles: range, kind: Kind, *, split: bool, mortal: bool) -> Figures:
    """Die at any moment, before sellers that break off, lie and lose; ``mortal``: the database dies too."""
    seed = cycles.start // CYCLES
    server = PostgreSQL(fsync=True).start() if mortal else None
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            arena(
                # Who is tried after 20 seconds of calm, where the database dies too, must have some left.
                Path(folder), deadline=90 if mortal else 25, seed=seed, trouble=0.2, kind=kind, split=split,
                mortal=server,
            ) as here,
        ):  # fmt: skip
            random_kills(here, random.Random(seed), len(cycles))
            here.start()
            ends = here.ended(seconds=240 if mortal else 150)
            here.check(ends)
            return _seen(here, ends)
    except AssertionError as error:
        return broken(f"seed {seed}", error)
    finally:
        if server is not None:
            server.remove()


def _says(seen: Mapping[str, Any]) -> str:
    count, oracle = Counter(seen), Counter(seen.get("oracle", {}))
    known = oracle["orders"] - oracle["unintended"] - oracle["unasked"]
    dead = f", {count['database_crashes']:,} crashes of the database" if count["database_crashes"] else ""
    return (
        f"{count['kills']:,} kills{dead}, {count['jobs']:,} jobs; of {oracle['orders']:,} orders {known:,} were seen "
        f"to be intended, {oracle['unintended']} not to be, {oracle['unasked']} could not be looked up"
    )


def _matrix(kind: Kind, *, split: bool, how: str) -> Part:
    what = f"`kill -9` at each of {len(POINTS)} places with each of 5 submit classes, three times, {how}"
    return Part(
        what=what, units="cases", most=len(CASES), stretch=len(POINTS),
        run=lambda cases: matrix(cases, kind, split=split), says=_says, beside=True,
    )  # fmt: skip


def _random(kind: Kind, most: int, *, split: bool, mortal: bool, how: str) -> Part:
    return Part(
        what=f"`kill -9` at random, a fifth of all orders answered badly, {how}", units="kills", most=most,
        stretch=CYCLES, run=lambda cycles: at_random(cycles, kind, split=split, mortal=mortal), says=_says, beside=True,
    )  # fmt: skip


PARTS = {
    "matrix": _matrix("sqlite", split=False, how="on SQLite"),
    "matrix-postgres": _matrix("postgresql", split=False, how="on PostgreSQL"),
    "matrix-split": _matrix("postgresql", split=True, how="on PostgreSQL, `serve` and `work` apart"),
    "kills": _random("sqlite", 2_000, split=False, mortal=False, how="on SQLite"),
    "kills-postgres": _random(
        "postgresql",
        1_000,
        split=True,
        mortal=True,
        how="on PostgreSQL, `serve` and `work` apart, and the database dies too",
    ),
}
