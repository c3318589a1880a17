"""Real gateways that get no more memory: a limit a run, each smaller than the last."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crash.arena import KINDS, arena
from tests.crash.starved import LIMITS, MIB, MOST_SPARED, Starved, spared
from tests.prove.part import Figures, Part, broken


def limits(numbers: range) -> Figures:
    """Press gateways against so many limits, and hold them to the laws of any other death."""
    try:
        with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=60) as here:
            starved = Starved(here)
            for number in numbers:
                starved.live(spared(number), KINDS)
            here.start()
            ends = here.ended(seconds=100)
            here.check(ends)
            met, how = dict(starved.met), dict(Counter(ends.values()))
            return {"limits": len(numbers), "jobs": len(ends), "met": met, "ends": how}
    except AssertionError as error:
        return broken(f"limits from {numbers.start}", error)


def _says(seen: Mapping[str, Any]) -> str:
    count, met = Counter(seen), Counter(seen.get("met", {}))
    return (
        f"{count['limits']:,} limits, {count['jobs']:,} jobs, none ordered twice: {met['died']:,} gateways died of it "
        f"({met['started']:,} of as many started again with as little served), {met['lived']:,} lived and went on once "
        f"there was more; {met['refused']:,} calls refused"
    )


PARTS = {
    "starved": Part(
        what=f"RLIMIT_AS at what a gateway has and a little more, from {MOST_SPARED // MIB} MiB to nothing, on SQLite",
        units="limits", most=LIMITS, stretch=10, run=limits, says=_says, beside=True,
    ),
}  # fmt: skip
