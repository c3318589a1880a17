"""F46: recorded answers, spoilt as by a provider that changes its API overnight, end no job and refund nothing."""

import os
import tempfile
from pathlib import Path

from tests.providers.answers import TOLD, try_answers
from tests.providers.cases import tried


async def test_a_spoilt_answer_is_no_verdict_and_no_refund() -> None:
    """Through the adapter and a whole step of the engine: never a crash, a wrong end, a second order, a refund."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        met = await try_answers(Path(folder), range(1000))

    assert {told.dialect for told in TOLD} == set(tried())
    assert {"unknown", "malformed", "running", "succeeded", "failed", "refused"} <= met.keys()
    assert sum(met.values()) == 1000
