"""Laws of a gateway among sick neighbours: who hangs delays nobody else, and a locked database loses nothing."""

import resource
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


def test_a_job_that_kills_is_put_aside(tmp_path: Path) -> None:
    """F41: after three deaths it is left alone; whoever was near by is made, once, and the gateway lives."""
    with arena(tmp_path, deadline=90, TEST_CALM_MS="900") as here:
        here.start()
        near_by = [here.want("near by", kind) for kind in "abd"]
        poison = here.want("[kill look]", "d")
        for _ in range(3):
            here.died()
            here.start()
        eventually(lambda: all(here.video(each)["status"] == "completed" for each in near_by), seconds=40)
        told = here.server.cli("doctor", check=False).stdout

        assert "FOUND  put_aside " in told
        assert f"       {poison.id} running " in told
        assert here.server.running()
        assert (len(here.bought()), set(here.bought().values())) == (4, {1})


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


def test_what_may_have_been_taken_is_ordered_once(tmp_path: Path) -> None:
    """F4 to F6: reset, a 500, a 502 or nonsense after the order is doubt: one order each, to nobody else, and shown."""
    with arena(tmp_path, deadline=6) as here:
        here.start()
        doubtful = [here.want(f"[{trick}]", kind) for trick in ("reset", "500", "garbage", "lost") for kind in "ce"]
        ends = here.ended(seconds=40)
        here.check(ends)

        assert set(ends.values()) == {"submission_unknown"}
        assert here.oracle["orders"] == len(doubtful)


def test_a_full_disk_buys_nothing(tmp_path: Path) -> None:
    """F22: while nothing can be written calls are refused with 503 and reads go on; afterwards all is made, once."""
    with arena(tmp_path, deadline=60) as here:
        here.start()
        before = here.want("before", "b")
        eventually(lambda: here.video(before)["status"] == "completed", seconds=30)
        most = max(path.stat().st_size for path in tmp_path.glob("reelgate.db*"))
        resource.prlimit(here.server.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        refused = []
        for _ in range(20):
            during = here.want("during", "b")
            refused += [during] if during.id is None else []
        assert refused
        assert here.video(before)["status"] == "completed"
        bought = {each.prompt for each in refused} & here.bought().keys()
        assert not bought
        resource.prlimit(here.server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        eventually(lambda: [here.ask(each) for each in refused] and all(each.id for each in refused), seconds=20)
        here.check(here.ended(seconds=60))
