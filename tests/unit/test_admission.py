"""Laws of admission: what is too much is turned away at once, and nothing that brings work to its end."""

import asyncio
import time

import pytest

from gateway.admission import LATE_SECONDS, SPREAD, TICK_SECONDS, YOUNG_SECONDS, Admission
from gateway.telemetry import Metrics


def admission(most: int) -> Admission:
    return Admission(most, Metrics().lateness)


def refused(gate: Admission, now: float) -> int | None:
    """Ask once more; whoever is let in stays."""
    wait = gate.refuses(now)
    if wait is None:
        gate.enter(now)
    return wait


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/videos"), ("GET", "/v1/videos/video_1"), ("DELETE", "/v1/videos/video_1"), ("HEAD", "/v1/videos"),
        ("GET", "/health/ready"), ("GET", "/metrics"), ("OPTIONS", "/v1/videos"), ("POST", "/v1/videos/video_1/cancel"),
        ("POST", "/videos/video_1/cancel"), ("POST", "/hooks/gemini/token"), ("POST", "/google/fetch"),
    ],
)  # fmt: skip
def test_work_already_taken_comes_to_its_end(method: str, path: str) -> None:
    """Looks, clips, cancels and callbacks are nobody's new work."""
    assert not Admission.concerns(method, path)


@pytest.mark.parametrize(
    "path", ["/v1/videos", "/videos", "/v1/videos/edits", "/v1/quotes", "/v1/files", "/google/predict"]
)
def test_new_work_is(path: str) -> None:
    """In whatever words it is asked for."""
    assert Admission.concerns("POST", path)


def test_so_many_at_a_time() -> None:
    """One more is refused; one that is answered makes room; they are told to come back at different times."""
    gate = admission(3)
    numbers = [gate.enter(10.0) for _ in range(3)]

    assert [refused(gate, 10.0) for _ in range(2 * SPREAD)] == 2 * [*range(1, SPREAD + 1)]
    gate.leave(numbers[1])
    assert refused(gate, 10.0) is None
    assert refused(gate, 10.0) is not None


def test_who_is_slow_for_reasons_of_its_own_keeps_nobody_out() -> None:
    """A body that trickles in, pictures to fetch, a clip to be held for: after a second they count no more."""
    gate = admission(3)
    slow = [gate.enter(10.0) for _ in range(3)]

    assert refused(gate, 10.0 + YOUNG_SECONDS) is not None
    assert refused(gate, 10.1 + YOUNG_SECONDS) is None
    for each in slow:
        gate.leave(each)
    assert len(gate._begun) == 1


async def test_a_loop_that_is_late_takes_less() -> None:
    """A quarter of the usual is enough then; as soon as it has caught up it takes the rest."""
    gate = admission(8)
    timing = asyncio.create_task(gate.keep_time())
    for _ in range(2):
        assert refused(gate, 0.0) is None
    await asyncio.sleep(0)
    time.sleep(TICK_SECONDS + LATE_SECONDS + 0.05)  # noqa: ASYNC251 - this is what keeps it busy
    await asyncio.sleep(0.001)
    assert refused(gate, 0.0) is None
    assert refused(gate, 0.0) is not None
    async with asyncio.timeout(20):
        while refused(gate, 0.0) is not None:  # noqa: ASYNC110 - time has to pass
            await asyncio.sleep(TICK_SECONDS)
    timing.cancel()
