"""Laws of hearing a caller out: for as long as it speaks, and within bounds of time, bytes and callers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.door import hearing
from gateway.door.admission import Admission
from gateway.door.edge import Edge
from gateway.door.hearing import TIMES, Hearing, Said
from gateway.telemetry import Metrics

LARGEST = 1000
ENDLESS: Any = {"type": "http.request", "body": bytes(100), "more_body": True}
END: Any = {"type": "http.request", "body": b"", "more_body": False}


class Caller:
    """Speak as a script says, then say nothing."""

    def __init__(self, *script: Any) -> None:
        self.script = [*script]
        self.heard = 0

    async def receive(self) -> Any:
        if not self.script:
            await asyncio.Event().wait()
        self.heard += 1
        await asyncio.sleep(0)
        return self.script.pop(0)


def said(caller: Caller, *headers: tuple[bytes, bytes]) -> Said:
    return Said(headers or [(b"transfer-encoding", b"chunked")], caller.receive)


def ear(*, seconds: float = 30, most: int = 8) -> Hearing:
    return Hearing(largest=LARGEST, seconds=seconds, most=most)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is quiet for long."""
    monkeypatch.setattr(hearing, "QUIET_SECONDS", 0.01)


async def test_a_body_is_heard_to_its_end() -> None:
    """And not a word further."""
    caller = Caller(ENDLESS, ENDLESS, END, ENDLESS)
    it = said(caller)
    await ear().out(it)

    assert (True, 3) == (it.ended, caller.heard)


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
async def test_who_says_nothing_is_asked_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    """A call without a body costs no look for one."""
    caller = Caller(END)
    await ear().out(Said(headers, caller.receive))

    assert 0 == caller.heard


async def test_bytes_are_bounded() -> None:
    """Who goes on for ever is cut off after so many; who announces more is not waited for."""
    caller = Caller(*[ENDLESS] * 100)
    it = said(caller)
    await ear().out(it)
    announced = Caller(ENDLESS)
    await ear().out(said(announced, (b"content-length", b"%d" % (TIMES * LARGEST + 1))))

    assert (False, TIMES * LARGEST // 100) == (it.ended, caller.heard)
    assert 0 == announced.heard


async def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops is waited for a moment; who dribbles, for as long as a body may take, what it took before included."""
    quiet = said(Caller(ENDLESS))
    await ear().out(quiet)
    monkeypatch.setattr(hearing, "LONGEST_SECONDS", 0.05)
    dribbles = Caller(*[{**ENDLESS, "body": b""}] * 1_000_000)
    await ear().out(said(dribbles))
    late = Caller(END)
    await ear(seconds=1).out(said(late), spent=1)

    assert not quiet.ended
    assert 0 < dribbles.heard < 1_000_000
    assert 0 == late.heard


async def test_callers_are_bounded() -> None:
    """Who comes while as many are heard as may be is answered as they are; then there is room again."""
    ears, slow = ear(most=1), said(Caller())
    hearing_slow = asyncio.create_task(ears.out(slow))
    await asyncio.sleep(0)
    crowd, later = Caller(END), Caller(END)
    await ears.out(said(crowd))
    await hearing_slow
    await ears.out(said(later))

    assert (0, 1) == (crowd.heard, later.heard)


async def test_who_waits_to_be_bidden_is_not() -> None:
    """Unless it has been: then it is in the middle of it."""
    headers = [(b"content-length", b"300"), (b"expect", b"100-continue")]
    caller = Caller(ENDLESS, ENDLESS, END)
    it = said(caller, *headers)
    await ear().out(it)
    unbidden = caller.heard
    await it.receive()
    await ear().out(it)

    assert (0, 3) == (unbidden, caller.heard)


async def answers(
    caller: Caller, say: Callable[..., Any], *, most: int = 1, admission: Admission | None = None
) -> list[Any]:
    """Send a call through the edge."""
    metrics, sent = Metrics(), []
    edge = Edge(say, metrics, admission or Admission(most, metrics.lateness), ear())
    scope: Any = {
        "type": "http", "method": "POST", "path": "/v1/videos", "http_version": "1.1", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")],
    }  # fmt: skip

    async def send(message: Any) -> None:
        sent.append((caller.heard, message))

    await edge(scope, caller.receive, send)
    return sent


async def fails(*_: Any) -> None:
    """Be a handler that raises before it has read a word."""
    raise RuntimeError("a mistake")


@pytest.mark.parametrize(("status", "most"), [(500, 1), (503, 0)])
async def test_every_answer_waits_for_the_end_of_the_body(status: int, most: int) -> None:
    """An error's, and that of who is turned away; who does not end is told that the line does."""
    whole = await answers(Caller(ENDLESS, END), fails, most=most)
    broken = await answers(Caller(ENDLESS), fails, most=most)

    for (heard, start), *_ in (whole, broken):
        assert status == start["status"]
        assert (heard == 1) == ((b"connection", b"close") in start["headers"])
    assert (2, 1) == (whole[0][0], broken[0][0])


async def test_who_is_heard_out_keeps_nobody_out() -> None:
    """What is still to come of a body that is refused is no work: its place is the next one's by then."""
    admission, rooms = Admission(1, Metrics().lateness), []

    class Watched(Caller):
        async def receive(self) -> Any:
            rooms.append(admission.has_room(time.perf_counter()))
            return await super().receive()

    await answers(Watched(ENDLESS, END), fails, admission=admission)

    assert rooms == [True, True]
