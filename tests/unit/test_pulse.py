"""Laws of asking oneself from outside: only an answer of the server's own says that nobody is reached."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.cli import pulse

NOBODY = b"HTTP/1.1 500 Internal Server Error\r\nserver: granian\r\ncontent-length: 21\r\n\r\nInternal server error"
SOMEBODY = (
    b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nX-Request-Id: req_1\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
    b"HTTP/1.1 500",
    b"",
)


@pytest.fixture
async def heard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["asyncio.Queue[bytes]"]:
    """Answer whoever asks with what is in the queue; who asks oneself asks here, without a rest."""
    monkeypatch.setattr(pulse, "EVERY_SECONDS", 0)
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\r\n\r\n") == pulse.ASK
        writer.write(await answers.get())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        monkeypatch.setattr(pulse, "ANYWHERE", {"somewhere": "127.0.0.1"})
        answers.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        yield answers


async def test_it_is_over_where_the_server_answers_by_itself(heard: "asyncio.Queue[bytes]") -> None:
    """And nowhere else: whatever the gateway says, and where nobody says anything, it goes on."""
    over = asyncio.Event()
    for each in SOMEBODY:
        heard.put_nowait(each)
    asking = asyncio.create_task(pulse.keep_asking("somewhere", heard.port, give_up=over.set))  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while not heard.empty():  # noqa: ASYNC110 - whoever asks tells nobody
            await asyncio.sleep(0)
        assert not over.is_set()
        heard.put_nowait(NOBODY)
        await over.wait()
    asking.cancel()
