"""Laws of looking names up: who asks for what nobody answers keeps only themselves waiting."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from gateway.network.names import REST_SECONDS, Found, Names

HERE = [Found(socket.AF_INET, 6, "192.0.2.1")]
SILENT = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Server:
    """Stand in for name servers: of ``deaf`` names nobody says anything until the end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end = threading.Event()
        self.now = 0.0

    def ask(self, host: str) -> list[Found]:
        self.asked.append(host)
        if host.startswith("deaf"):
            self.end.wait(20)
            raise SILENT
        return HERE

    def names(self, most: int = 8) -> Names:
        return Names(self.ask, most=most, clock=lambda: self.now)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.end.set()


async def found(names: Names, host: str, owner: str, patience: float = 0) -> list[Found]:
    """Look up to the end."""
    return await asyncio.shield(await names.begin(host, owner, patience=patience))


async def test_a_deaf_owner_keeps_no_newcomer_waiting(server: Server) -> None:
    """It has three quarters of the threads and no more; others find what they ask for at once."""
    names = server.names()
    begun = [await names.begin(f"deaf{number}", "alice", patience=0) for number in range(6)]
    with pytest.raises(TimeoutError):
        await names.begin("deaf6", "alice", patience=0)
    assert HERE == await asyncio.wait_for(found(names, "well", "bob"), 1)
    assert not any(each.done() for each in begun)


async def test_who_gave_up_still_has_the_thread(server: Server) -> None:
    """Nobody can call a look-up back, so it counts until it ends, and then no more."""
    names = server.names(most=2)
    waiting = asyncio.create_task(found(names, "deaf", "alice"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        await names.begin("well", "alice", patience=0)
    server.end.set()
    assert HERE == await found(names, "well", "alice", patience=5)


async def test_a_name_is_looked_up_once_for_all(server: Server) -> None:
    """Whoever asks meanwhile, at one owner's expense; one who gives up takes it from nobody."""
    names = server.names(most=2)
    asking = [asyncio.create_task(found(names, "deaf", owner)) for owner in ("alice", "alice", "bob", "carol")]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    server.end.set()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [asyncio.CancelledError, *[socket.gaierror] * 3] == list(map(type, ends))
    assert ["deaf"] == server.asked
    assert HERE == await found(names, "well", "alice") == await found(names, "well", "alice")
    assert ["deaf", "well", "well"] == server.asked  # What was found is not kept: it may be another place by then.


@pytest.mark.parametrize(("took", "rests"), [(10, 10), (100, REST_SECONDS)])
async def test_a_name_that_took_long_to_fail_rests_as_long(server: Server, took: float, rests: float) -> None:
    """It is said to have failed meanwhile, and nobody is asked."""
    names = server.names()
    look_up = await names.begin("deaf", "alice", patience=0)
    server.now = took
    server.end.set()
    with pytest.raises(socket.gaierror):
        await look_up
    for now, times in ((took, 1), (took + rests - 0.1, 1), (took + rests, 2)):
        server.now = now
        with pytest.raises(socket.gaierror) as caught:
            await found(names, "deaf", "bob")
        assert (times, SILENT.args) == (len(server.asked), caught.value.args)


async def test_a_name_that_fails_at_once_may_be_asked_again(server: Server) -> None:
    """That costs nothing."""
    names = server.names()
    server.end.set()
    for times in (1, 2):
        with pytest.raises(socket.gaierror):
            await found(names, "deaf", "alice")
        assert times == len(server.asked)


async def test_what_breaks_a_look_up_is_heard_and_forgotten(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gives no thread breaks the one look-up, and holds no place."""
    names = server.names(most=1)

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError):
            await found(names, "well", "alice")
    assert HERE == await found(names, "well", "alice")
