"""The link to PostgreSQL, cut within COMMIT; and workers that stand still beside others that do not."""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.jobs.job import State
from tests.crash.frozen import LEASE, PLACES, pair
from tests.crash.severed import CASES, severed
from tests.prove.part import Figures, Part, broken

FREEZES = 10
"""How often at one place before the next."""


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


def freezes(numbers: range) -> Figures:
    """Let one of two workers stand still for longer than its lease, at one place, again and again."""
    place, chance = PLACES[numbers.start // FREEZES % len(PLACES)], random.Random(numbers.start)
    try:
        with tempfile.TemporaryDirectory() as folder, pair(Path(folder), place, deadline=30) as two:
            for number in numbers:
                two.freeze(number, LEASE + chance.uniform(0.5, 6))
            ends = two.ended()
            two.here.check(ends)
            said = two.said("answer.late", "answer.overtaken", "job.overtaken", "task.ownerless")
    except AssertionError as error:
        return broken(f"{place}, freezes from {numbers.start}", error)
    return {"freezes": two.freezes, "jobs": len(ends), "ends": dict(Counter(ends.values())), "said": said}


def _says_freezes(seen: Mapping[str, Any]) -> str:
    count, said = Counter(seen), Counter(seen.get("said", {}))
    return (
        f"{count['freezes']:,} times, {count['jobs']:,} jobs, none ordered twice; {said['job.overtaken']:,} moves "
        f"of who stood still refused, {said['answer.late']:,} late answers adopted, {said['task.ownerless']} nobody's"
    )


PARTS = {
    "commits": Part(
        what="the link to PostgreSQL cut within COMMIT: acceptance, intent, answer, verdict, end", units="cuts",
        most=2_500, stretch=250, run=commits, says=_says, beside=True,
    ),
    "freezes": Part(
        what="one of two workers on PostgreSQL stopped (SIGSTOP) past its lease, at each failpoint and anywhere",
        units="freezes", most=FREEZES * 2 * len(PLACES), stretch=FREEZES, run=freezes, says=_says_freezes, beside=True,
    ),
}  # fmt: skip
