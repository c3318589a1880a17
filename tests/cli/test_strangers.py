"""Laws of what answers where a gateway should: it is told from one, and an order it may have passed on is not lost."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.common import GoneError, StrangeError, UsageError, call, client
from gateway.cli.gate import Gate
from gateway.cli.generate import make

STRANGE = {
    "a portal": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no object": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "a list": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "half": b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"data":[',
    "bad gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    "bad text": b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":"\xff',
}
CUT = b'HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{"data":['
BUSY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>"
TLS = b"\x16"
"""Begins what is no HTTP."""
VIDEO = b'{"object": "video", "id": "video_1"}'
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(VIDEO), VIDEO)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer one call after the other, the last one for ever; tells the address, and what was asked."""
    asked: list[bytes] = []

    class Stranger(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            said = b""
            while b"\r\n\r\n" not in said and said[:1] != TLS and (more := self.request.recv(65536)):
                said += more
            asked.append(said)
            self.request.sendall(answers[min(len(asked), len(answers)) - 1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stranger) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            serving.join()


def keys_of(asked: list[bytes]) -> list[bytes]:
    """Read the keys calls were sent under."""
    lines = [line for said in asked for line in said.lower().split(b"\r\n")]
    return [line for line in lines if line.startswith(b"idempotency-key:")]


@pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)
async def test_a_stranger_is_told_from_a_gateway(answer: bytes) -> None:
    """By every command, in a line that names the address."""
    with answering(answer) as (url, _):
        with pytest.raises(StrangeError, match=f"what answers at {url} is no Reelgate gateway"), client(url) as http:
            call(http, "GET", "/v1/videos/video_1")
        async with Gate(url, patience=0) as gate:
            with pytest.raises(StrangeError, match=f"what answers at {url} is no Reelgate gateway"):
                await gate.video("video_1")


@pytest.mark.parametrize("answer", [*STRANGE.values(), CUT], ids=[*STRANGE, "cut off"])
async def test_what_cannot_be_read_is_asked_again(answer: bytes) -> None:
    """Under the same key, as where no answer came."""
    with answering(answer, GOOD) as (url, asked):
        async with Gate(url, patience=5) as gate:
            headers = {"idempotency-key": "k"}
            video = await gate.call("POST", "/v1/videos", json={}, headers=headers, patient=False)
    assert ("video_1", [b"idempotency-key: k"] * 2) == (video["id"], keys_of(asked))


@pytest.mark.parametrize("answer", [STRANGE["a portal"], CUT, BUSY], ids=["a portal", "cut off", "busy"])
async def test_an_order_given_up_in_doubt_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """It may have been heard."""
    monkeypatch.setattr("gateway.cli.generate.Gate", partial(Gate, patience=0))
    in_doubt = pytest.raises(UsageError, match="it may have been ordered: see `reelgate jobs list`")
    with answering(answer) as (url, _), in_doubt:
        await make(url, Console(file=StringIO()), {"prompt": "a kite"}, tmp_path / "clip.mp4")


async def test_an_order_nobody_can_have_heard_is_in_no_doubt(tmp_path: Path) -> None:
    """Nobody was connected to."""
    with pytest.raises(GoneError) as caught:
        await make("http://127.0.0.1:9", Console(file=StringIO()), {"prompt": "a kite"}, tmp_path / "clip.mp4")
    assert "may have been" not in str(caught.value)


@pytest.mark.parametrize("ask", ["call", "gate"])
async def test_tls_that_fails_is_said(ask: str) -> None:
    """A gateway of http:// that is asked by https:// is there, and need not be started."""
    no_tls = pytest.raises(GoneError, match=r"TLS fails there: .*http://")
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _), no_tls as caught:
        await _ask(ask, url.replace("http:", "https:"))
    assert "reelgate serve" not in str(caught.value)


async def _ask(ask: str, url: str) -> Any:
    """Ask by either way."""
    if ask == "call":
        with client(url) as http:
            return call(http, "GET", "/v1/videos/video_1")
    async with Gate(url) as gate:
        return await gate.video("video_1", patient=False)
