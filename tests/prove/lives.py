"""Hypothesis' lives of one gateway, many of them and long ones."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.life import Life
from tests.prove.part import Figures, Part, broken

STEPS = 50


def lives(numbers: range) -> Figures:
    """Live through so many, from a seed of their own."""
    Life.begun, Life.met = 0, Counter()
    chosen = settings(
        max_examples=len(numbers), stateful_step_count=STEPS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(numbers.start)(Life), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever it was, the seed shows it again
        return broken(f"lives from {numbers.start}", error)
    return {"lives": Life.begun, "met": dict(Life.met)}


def _says(seen: Mapping[str, Any]) -> str:
    met = Counter(seen.get("met", {}))
    return (
        f"{Counter(seen)['lives']:,} lives of up to {STEPS} steps: {met['hold']:,} holds, {met['settle']:,} settled, "
        f"{met['release']:,} released, {met['suspend']:,} in doubt"
    )


PARTS = {
    "lives": Part(
        what="Hypothesis' state machine of ledger, keys, jobs and operators", units="lives", most=1_000, stretch=100,
        run=lives, says=_says,
    ),
}  # fmt: skip
