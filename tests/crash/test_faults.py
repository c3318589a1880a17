"""Laws of a gateway among sick neighbours: who hangs delays nobody else, and a locked database loses nothing."""

import sqlite3
from pathlib import Path

from tests.crash.arena import arena, wait
from tests.server import eventually


def test_a_hung_provider_keeps_nobody_waiting(tmp_path: Path) -> None:
    """While one provider takes orders and never answers, all of another's jobs finish."""
    with arena(tmp_path, deadline=60) as here:
        here.start()
        hung = [here.want("[hang]", "e") for _ in range(8)]
        fine = [here.want("well", kind) for kind in "abcd" * 2]
        eventually(lambda: all(here.video(each)["status"] == "completed" for each in fine), seconds=40)
        assert {here.video(each)["status_detail"] for each in hung} == {"submitted"}
        assert all(here.bought()[each.prompt] == 1 for each in fine)


def test_a_locked_database_loses_nothing(tmp_path: Path) -> None:
    """While another process holds the database, nothing is acknowledged; what was bought then is known afterwards."""
    with arena(tmp_path, deadline=60) as here:
        here.start()
        before = [here.want("before", kind) for kind in "abcde"]
        assert all(each.id for each in before)
        other = sqlite3.connect(tmp_path / "reelgate.db", isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        during = here.want("during", "e")
        assert during.id is None
        wait(2)
        other.execute("ROLLBACK")
        other.close()
        eventually(lambda: here.ask(during) or during.id, seconds=20)
        ends = here.ended(seconds=40)
        here.check(ends)
        assert here.server.stop() == 0
