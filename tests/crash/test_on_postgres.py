"""Laws of a power cut where the gateway is two processes on PostgreSQL; at length they are `make prove`'s business."""

from pathlib import Path

from tests.crash.arena import arena
from tests.crash.test_points import survive

CASES = [("after_accept", "a"), ("after_intent", "b"), ("after_receipt", "e"), ("after_end", "d")]


def test_whoever_dies_of_the_two(tmp_path: Path) -> None:
    """Who takes jobs dies once, who buys at three places: nothing is bought twice, lost or kept back."""
    with arena(tmp_path, deadline=20, kind="postgresql", split=True) as here:
        survive(here, CASES, one_by_one=False)

        assert here.kills >= len(CASES)
        assert here.server.stop() == 0
        assert here.worker is not None
        assert here.worker.stop() == 0
