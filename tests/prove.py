"""
Prove it at length: ``make prove`` lives through thousands of seeds and kills, and writes down what it saw.

``python -m tests.prove [--seeds N] [--first N] [--kills N] [--matrix/--no-matrix]`` writes ``docs/reliability.json``
and ``docs/reliability.md``, and ends with 1 where a law was broken.
"""

import json
import multiprocessing
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from timeit import timeit
from typing import Any

from cyclopts import App

from gateway.failpoints import failpoint
from tests.crash.arena import KINDS, arena
from tests.crash.test_points import POINTS, random_kills, survive
from tests.machine.world import blank, simulate
from tests.server import ROOT

app = App()
PAGE = """# What was proven, and how

Written by `make prove` on {date}, commit {commit}, Python {python}, SQLite {sqlite}; all figures are in
`reliability.json`.

| what | how much | seconds | broken laws |
| --- | --- | --- | --- |
{rows}

A simulated world runs the gateway's own acceptor, worker, steps, store and receipts on a real SQLite file, on virtual
time and in an order drawn by lot; the same seed gives the same run. Its providers keep ledgers of their own. The laws
are in `tests/machine/laws.py` and are checked after every commit. The kills end the real server before a provider in a
process of its own (`tests/crash/`). A kill does not test the disk: what the operating system has taken survives it.
"""
CYCLES = 25
"""Random kills of one folder."""


def live(seed: int) -> dict[str, Any]:
    """Live through one seed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        empty = blank(Path(folder, "blank.db"))
        try:
            result = simulate(seed, Path(folder), empty)
        except Exception as error:  # noqa: BLE001 - whatever it was, the seed shows it again
            return {"seed": seed, "broken": f"{type(error).__name__}: {error}"}
    return {"seed": seed, "jobs": result.jobs, "bought": result.bought, "counts": result.counts}


def machine(first: int, seeds: int) -> dict[str, Any]:
    """Live through many seeds, on every core."""
    began, counts, broken = time.monotonic(), Counter[str](), []
    with multiprocessing.get_context("spawn").Pool() as pool:
        for result in pool.imap_unordered(live, range(first, first + seeds), chunksize=20):
            if "broken" in result:
                broken.append(result)
                print(f"seed {result['seed']}: {result['broken']}", flush=True)  # noqa: T201
                continue
            counts.update(result["counts"])
            counts.update({"jobs": result["jobs"], "purchases": result["bought"]})
    return {
        "seeds": [first, first + seeds - 1],
        "seconds": round(time.monotonic() - began),
        "violations": broken,
        "counts": dict(sorted(counts.items())),
    }


def matrix() -> dict[str, Any]:
    """Die at every place, with every class of provider."""
    cases = list(product(POINTS, KINDS))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=30) as here:
        survive(here, cases, one_by_one=True)
        return {
            "points": list(POINTS), "classes": KINDS.upper(), "cases": len(cases), "kills": here.kills,
            "duplicate_purchases": 0, "lost_jobs": 0, "seconds": round(time.monotonic() - began),
        }  # fmt: skip


def kills(most: int) -> dict[str, Any]:
    """Die at any moment, before sellers that break off, lie and lose."""
    began, done, jobs, ends = time.monotonic(), 0, 0, Counter[str]()
    for seed in range(most // CYCLES or 1):
        with (
            tempfile.TemporaryDirectory() as folder,
            arena(Path(folder), deadline=25, seed=seed, trouble=0.2) as here,
        ):
            random_kills(here, random.Random(seed), min(CYCLES, most))
            here.start()
            ended = here.ended(seconds=120)
            here.check(ended)
            done, jobs = done + here.kills, jobs + len(ended)
            ends.update(ended.values())
        print(f"{done} random kills, {jobs} jobs", flush=True)  # noqa: T201
    return {
        "kills": done, "jobs": jobs, "ends": dict(ends), "duplicate_purchases": 0, "lost_jobs": 0,
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip


@app.default
def prove(*, seeds: int = 10_000, first: int = 1, random_kill: int = 2_000, full_matrix: bool = True) -> None:
    """Prove it, and write it down."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    told: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "versions": {
            "reelgate": version("reelgate"), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version,
        },
        "failpoint_nanoseconds": round(timeit(lambda: failpoint("after_intent"), number=1_000_000) * 1000),
    }  # fmt: skip
    if seeds:
        told["machine"] = machine(first, seeds)
    if full_matrix:
        told["matrix"] = matrix()
    if random_kill:
        told["random"] = kills(random_kill)
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "reliability.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (docs / "reliability.md").write_text(summary(told), encoding="utf-8")
    sys.exit(bool(told.get("machine", {}).get("violations")))


def summary(told: dict[str, Any]) -> str:
    """Say it in a page."""
    sim, table, chance = (told.get(name) for name in ("machine", "matrix", "random"))
    rows = []
    if sim:
        count, (first, last) = sim["counts"], sim["seeds"]
        sums = ", ".join(f"{count.get(name, 0)} {name}" for name in ("jobs", "purchases", "kills"))
        rows.append((f"simulated worlds, seeds {first} to {last}", sums, sim["seconds"], len(sim["violations"])))
    if table:
        what = f"`kill -9` at each of {len(table['points'])} places with each of 5 submit classes"
        rows.append((what, f"{table['cases']} cases, {table['kills']} kills", table["seconds"], 0))
    if chance:
        what = "`kill -9` at random, a fifth of all orders answered badly"
        rows.append((what, f"{chance['kills']} kills, {chance['jobs']} jobs", chance["seconds"], 0))
    versions = told["versions"]
    return PAGE.format(
        date=told["date"],
        commit=told["commit"],
        python=versions["python"],
        sqlite=versions["sqlite"],
        rows="\n".join(f"| {' | '.join(map(str, row))} |" for row in rows),
    )


if __name__ == "__main__":
    app()
