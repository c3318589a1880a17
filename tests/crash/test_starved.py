"""Laws of a gateway without memory (F44): it refuses or dies, and what it has said yes to is made, once."""

from pathlib import Path

from tests.crash.arena import arena
from tests.crash.starved import MIB, Starved


def test_who_gets_no_memory_dies_or_goes_on(tmp_path: Path) -> None:
    """With enough for most, with a little, and with none; afterwards the laws of any other death hold."""
    with arena(tmp_path, deadline=60) as here:
        starved = Starved(here)
        for spare in (8 * MIB, 0):
            starved.live(spare, "abd", again=False)
        here.start()
        here.check(here.ended(seconds=30))

        assert starved.met["died"] + starved.met["refused"] > 0
        assert len(here.wanted) >= 2
