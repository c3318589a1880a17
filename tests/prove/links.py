"""The link to PostgreSQL, cut within COMMIT, over and over."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.job import State
from tests.crash.severed import CASES, severed
from tests.prove.part import Figures, Part, broken


def commits(numbers: range) -> Figures:
    """Cut each commit of a job's life in turn, on either side of the server."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_cut(Path(folder), numbers))
    except AssertionError as error:
        return broken(f"commits from {numbers.start}", error)


async def _cut(folder: Path, numbers: range) -> Figures:
    cases = [CASES[number % len(CASES)] for number in numbers]
    async with severed(folder) as here:
        for case in cases:
            await here.live(case)
        await here.sure()
        intents = sum(case.into is State.SUBMITTING for case in cases)
        return {"cuts": here.link.cuts, "intents": intents, "blind": here.blind, "ends": dict(here.ends)}


def _says(seen: Mapping[str, Any]) -> str:
    count, ends = Counter(seen), Counter(seen.get("ends", {}))
    return (
        f"{count['cuts']:,} commits cut, {count['intents']:,} of them of an intent to buy: {count['blind']} orders "
        f"left before it was said to be on disk; {ends['succeeded']:,} clips, {ends['failed']:,} in doubt"
    )


PARTS = {
    "commits": Part(
        what="the link to PostgreSQL cut within COMMIT: acceptance, intent, answer, verdict, end", units="cuts",
        most=2_500, stretch=250, run=commits, says=_says,
    ),
}  # fmt: skip
