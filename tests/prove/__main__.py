"""
Prove it at length: ``make prove`` lives through thousands of worlds and kills, and writes down what it saw.

``python -m tests.prove [PART ...] [--share 0.01] [--fresh] [--at-once 3]`` merges into ``docs/reliability.json`` after
every stretch and writes ``docs/reliability.md`` from it. A part interrupted goes on where it was, as long as the commit
is the same. It ends with 1 where a law was broken.
"""

import sys
from pathlib import Path

from cyclopts import App

from tests.prove.parts import GROUPS, PARTS, lived
from tests.prove.record import Record
from tests.server import ROOT

app = App()


@app.default
def prove(*names: str, share: float = 1.0, fresh: bool = False, at_once: int = 1, to: Path = ROOT / "docs") -> None:
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
    at_once
        How many stretches are lived through beside each other, of a part that measures nothing.
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
        stretches = [range(at, min(at + part.stretch, most)) for at in range(done, most, part.stretch)]
        for stretch, (figures, seconds) in zip(
            stretches, lived(name, stretches, at_once if part.beside else 1), strict=True
        ):
            seen = record.keep(name, figures, len(stretch), seconds)
            record.write(PARTS)
            far = f"{stretch.stop:,} of {most:,} {part.units}, {seen['seconds']:.0f} s"
            print(f"{name}: {far}, {len(seen['broken'])} broken laws", flush=True)
    for name in chosen:
        for each in record.parts[name]["broken"]:
            print(f"{name}: {each}", file=sys.stderr)
    sys.exit(any(record.parts[name]["broken"] for name in chosen))


if __name__ == "__main__":
    app()
