"""Defects planted on purpose, and what noticed them."""

from collections.abc import Mapping
from typing import Any

from tests.machine.mutants import MUTANTS, catch
from tests.prove.part import Figures, Part


def plant(numbers: range) -> Figures:
    """Plant defects one after the other."""
    caught: Figures = {}
    missed = []
    for name in list(MUTANTS)[numbers.start : numbers.stop]:
        mutant = MUTANTS[name]
        found = catch(mutant)
        told = {"law": mutant.law, "what": mutant.what, "by": mutant.by}
        if found is None:
            missed.append(f"{name} ({mutant.law}) was noticed by nothing")
        else:
            said, after = found
            caught[name] = {**told, "noticed": said, "after": f"{after:,}"}
    return {"caught": caught, "broken": missed}


def _says(seen: Mapping[str, Any]) -> str:
    return f"{len(seen.get('caught', {}))} noticed"


def table(seen: Mapping[str, Any]) -> str:
    """Say what was planted and what noticed it."""
    rows = ""
    for each in seen.get("caught", {}).values():
        cells = each["law"], each["what"], each["noticed"].partition(":")[0], f"{each['by']}, number {each['after']}"
        rows += f"| {' | '.join(cells)} |\n"
    return (
        "## Broken on purpose\n\n"
        "Each defect was planted into the gateway's own code (`tests/machine/mutants.py`), and worlds or Hypothesis'\n"
        "lives were lived through until a law noticed.\n\n"
        f"| breaks | the defect | law that noticed | where |\n| --- | --- | --- | --- |\n{rows}"
    )


PARTS = {
    "mutants": Part(
        what="defects planted on purpose: a law has to notice each", units="defects", most=len(MUTANTS), stretch=1,
        run=plant, says=_says, table=table,
    ),
}  # fmt: skip
