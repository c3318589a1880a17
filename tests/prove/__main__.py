"""
Prove it at length: ``make prove`` lives through thousands of worlds and kills, and writes down what it saw.

``python -m tests.prove [PART ...] [--share 0.01] [--fresh]`` merges into ``docs/reliability.json`` after every stretch
and writes ``docs/reliability.md`` from it. A part interrupted goes on where it was, as long as the commit is the same.
It ends with 1 where a law was broken.
"""

import sys
import time
from pathlib import Path

from cyclopts import App

from tests.prove import kills, links, lives, load, mutants, overload, worlds
from tests.prove.record import Record
from tests.server import ROOT

PARTS = {**worlds.PARTS, **lives.PARTS, **mutants.PARTS, **kills.PARTS, **links.PARTS, **load.PARTS, **overload.PARTS}
GROUPS = {"postgres": ["matrix-postgres", "matrix-split", "kills-postgres", "commits", "freezes"]}
"""Names for several parts."""

app = App()


@app.default
def prove(*names: str, share: float = 1.0, fresh: bool = False, to: Path = ROOT / "docs") -> None:
    """
    Prove it, and write it down.

    Parameters
    ----------
    names
        The parts to live through; all of them where none is named.
    share
        How much of each part: 0.01 is a hundredth of it.
    fresh
        Begin anew, whatever of it is done.
    to
        The folder of the record.
    """
    chosen = [each for name in names or PARTS for each in GROUPS.get(name, [name])]
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}. There are {', '.join([*PARTS, *GROUPS])}")
    record = Record(to)
    for name in chosen:
        part = PARTS[name]
        most = max(1, round(part.most * share))
        done = record.begin(name, part, most, fresh=fresh)
        while done < most:
            stretch = range(done, min(done + part.stretch, most))
            began = time.monotonic()
            seen = record.keep(name, part.run(stretch), len(stretch), time.monotonic() - began)
            record.write(PARTS)
            done = stretch.stop
            far = f"{done:,} of {most:,} {part.units}, {seen['seconds']:.0f} s"
            print(f"{name}: {far}, {len(seen['broken'])} broken laws", flush=True)
    for name in chosen:
        for each in record.parts[name]["broken"]:
            print(f"{name}: {each}", file=sys.stderr)
    sys.exit(any(record.parts[name]["broken"] for name in chosen))


if __name__ == "__main__":
    app()
