"""F26: the link to PostgreSQL is cut exactly within COMMIT, once in the life of each job."""

from pathlib import Path

import pytest

from gateway.problems import ProblemError
from gateway.store.database import StoreUnavailableError
from tests.crash.severed import CASES, severed


async def test_a_commit_nobody_heard_of_buys_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """An order leaves only after its intent was said to be on disk; what else was cut is done again, once."""
    async with severed(tmp_path) as here:
        for case in CASES:
            await here.live(case)
        await here.sure()

        assert here.link.cuts == len(CASES)
        assert here.ends == {"succeeded": 19, "failed": 1}


async def test_an_order_whose_commit_was_cut_is_never_denied(tmp_path: Path) -> None:
    """Where it is found to be kept it is answered, with no key and no repeat; else that nobody can tell."""
    asked = {"prompt": "a kite", "seconds": 4, "model": "maker/b"}
    async with severed(tmp_path) as here:
        await here.engine.store.ping()
        here.link.cut = "after"
        kept = await here.engine.accept(**asked)
        here.link.cut = "before"
        with pytest.raises(ProblemError) as lost:
            await here.engine.accept(**asked)
        found = await here.engine.store.jobs("tenant", after=None, limit=9, newest_first=True)

    assert [kept.id] == [each.id for each in found.jobs]
    assert (503, "order_unsure") == (lost.value.status, lost.value.code)
    assert lost.value.headers["x-reelgate-video"] in lost.value.message
    assert "cannot tell whether it did" in lost.value.message


async def test_who_cannot_look_is_told_that_nobody_can_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store may well be away for longer than a commit."""

    async def away(*_: str) -> None:
        raise StoreUnavailableError("nobody answers")

    async with severed(tmp_path) as here:
        await here.engine.store.ping()
        monkeypatch.setattr(here.engine.store, "job", away)
        here.link.cut = "after"
        with pytest.raises(ProblemError, match="cannot tell"):
            await here.engine.accept(prompt="a kite", seconds=4, model="maker/b")
        monkeypatch.undo()
        (kept,) = (await here.engine.store.jobs("tenant", after=None, limit=9, newest_first=True)).jobs
        assert "queued" == kept.state
        ids = [(await here.engine.accept(prompt="a kite", seconds=4, model="maker/b")).id for _ in range(2)]
        assert kept.id == ids[0], "whoever repeats what nobody could tell of gets what was kept"
        assert kept.id != ids[1], "and has heard of it then"
