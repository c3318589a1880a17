"""F26: the link to PostgreSQL is cut exactly within COMMIT, once in the life of each job."""

from pathlib import Path

from tests.crash.severed import CASES, severed


async def test_a_commit_nobody_heard_of_buys_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """An order leaves only after its intent was said to be on disk; what else was cut is done again, once."""
    async with severed(tmp_path) as here:
        for case in CASES:
            await here.live(case)
        await here.sure()

        assert here.link.cuts == len(CASES)
        assert here.ends == {"succeeded": 19, "failed": 1}
