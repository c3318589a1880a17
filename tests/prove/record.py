"""Write down what was seen, a stretch at a time, so that a part that was interrupted goes on where it was."""

import json
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.prove.part import Figures, Part, add
from tests.server import ROOT

PAGE = """# What was proven, and how

Written by `make prove`; all figures are in `reliability.json`. Every line says by which commit it was lived through;
`+` is a commit with changes. A part that is not whole says how much of it there is.

| part | what | how much | broken laws | seconds | when, by what |
| --- | --- | --- | --- | --- | --- |
{rows}

{below}"""
BELOW = Path(__file__).parent / "below.md"


class Record:
    """Hold the record, on disk after every stretch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._json, self._page = folder / "reliability.json", folder / "reliability.md"
        self.parts: dict[str, Figures] = {}
        if self._json.exists():
            self.parts = json.loads(self._json.read_text(encoding="utf-8")).get("parts", {})

    def begin(self, name: str, part: Part, most: int, *, fresh: bool) -> int:
        """Go on with a part that this commit has begun, else begin it; says how many units are done."""
        old = self.parts.get(name, {})
        if fresh or old.get("commit") != commit() or old.get("of") != most or old.get("done", 0) >= most:
            self.parts[name] = {
                "commit": commit(), "versions": versions(), "units": part.units, "of": most, "done": 0, "seconds": 0.0,
                "broken": [],
            }  # fmt: skip
        done: int = self.parts[name]["done"]
        return done

    def keep(self, name: str, figures: Figures, done: int, seconds: float) -> Figures:
        """Add a stretch."""
        sums = add(self.parts[name], {**figures, "done": done, "seconds": round(seconds, 1)})
        sums["date"], sums["seconds"] = datetime.now(UTC).strftime("%Y-%m-%d"), round(sums["seconds"], 1)
        self.parts[name] = sums
        return sums

    def write(self, parts: Mapping[str, Part]) -> None:
        """Put the record and its page on disk."""
        self._folder.mkdir(exist_ok=True)
        told = {"parts": {name: self.parts[name] for name in parts if name in self.parts}}
        self._json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        self._page.write_text(page(told["parts"], parts), encoding="utf-8")


def page(told: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """Say it in a page; what was not lived through is not in it."""
    rows = []
    for name, part in parts.items():
        if name not in told or not told[name]["done"]:
            continue
        seen = told[name]
        whole = "" if seen["done"] == seen["of"] else f"{seen['done']:,} of {seen['of']:,} {part.units}: "
        by = f"{seen['date']}, {seen['commit']}, Python {seen['versions']['python']}"
        cells = (f"`{name}`", part.what, f"{whole}{part.says(seen)}", len(seen["broken"]), round(seen["seconds"]), by)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    tables = [part.table(told[name]) for name, part in parts.items() if part.table and name in told]
    below = "\n".join([BELOW.read_text(encoding="utf-8"), *tables])
    return PAGE.format(rows="\n".join(rows), below=below)


def commit() -> str:
    """Name what is run: the commit, and whether it was changed."""
    name = _git("rev-parse", "--short", "HEAD")
    return name + ("+" if _git("status", "--porcelain", "--", ".", ":!docs") else "")


def versions() -> dict[str, str]:
    """Name what it is run on."""
    return {"reelgate": version("reelgate"), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
