"""Rows 82 and 98: clients that dribble, stop, or go away lose their connection and leave nothing."""

import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.abuse import wire
from tests.abuse.target import Target, check_problem
from tests.server import eventually

BODY_SECONDS = 1
HEAD_SECONDS = 35
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n\x89PNG\r\n'
BODIES = {
    "JSON": ("/v1/videos", "application/json", b'{"prompt": "a fox", "model"'),
    "form": (
        "/v1/videos",
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="user"\r\n',
    ),
    "file": ("/v1/files", "multipart/form-data; boundary=x", FILE),
}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that waits for a body one second."""
    target = Target(tmp_path_factory.mktemp("hasty"), REELGATE__SERVER__BODY_SECONDS=str(BODY_SECONDS))
    yield target
    target.check_log()
    target.stop()


def head(target: Target, path: str, kind: str, length: tuple[str, str]) -> bytes:
    """Write the head of a call."""
    headers = [("Host", target.names["host"]), ("Authorization", f"Bearer {target.own}"), ("Content-Type", kind)]
    return wire.request("POST", path, [*headers, length])


def dribble(connection: socket.socket, piece: bytes) -> None:
    """Send a little, again and again, until an answer comes."""
    while not select.select([connection], [], [], 0.1)[0]:
        connection.sendall(piece)


@pytest.mark.parametrize(("chunked", "more"), [(False, b""), (True, b" ")], ids=["stops", "dribbles-chunks"])
@pytest.mark.parametrize("kind", BODIES)
def test_slow_body_is_closed(hasty: Target, kind: str, chunked: bool, more: bytes) -> None:
    """A body that has not come within the time set is answered 408, the connection ends, and nothing is kept."""
    path, media_type, begun = BODIES[kind]
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "100000")
    wrap = (lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece)) if chunked else bytes
    with wire.open_to(hasty.server.port) as connection:
        started = time.monotonic()
        connection.sendall(head(hasty, path, media_type, length) + wrap(begun))
        if more:
            dribble(connection, wrap(more))
        answer = wire.read(connection, "POST", started)
        assert wire.ended(connection)
    assert 408 == answer.status
    check_problem(answer)
    assert "body_timeout" == answer.json["error"]["code"]
    assert BODY_SECONDS <= answer.seconds < BODY_SECONDS + 3
    assert (set(), set(), set()) == hasty.holdings()


def test_slow_head_is_closed(slow_head: tuple[socket.socket, float]) -> None:
    """A head that does not end costs nobody more than half a minute; the server below us sees to it."""
    connection, since = slow_head
    connection.settimeout(max(1, since + HEAD_SECONDS - time.monotonic()))
    assert wire.read(connection, "GET", since).status in {0, 408}


def test_others_are_served_meanwhile(hasty: Target) -> None:
    """Forty slow clients keep nobody waiting."""
    path, media_type, begun = BODIES["file"]
    slow = [wire.open_to(hasty.server.port) for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(head(hasty, path, media_type, ("Content-Length", "100000")) + begun)
        assert 1 > hasty.call("GET", "/v1/videos").seconds
        assert [408] * 40 == [wire.read(connection, "POST", time.monotonic()).status for connection in slow]
    finally:
        for connection in slow:
            connection.close()
    assert (set(), set(), set()) == hasty.holdings()


@pytest.mark.parametrize("kind", BODIES)
def test_client_goes_away(hasty: Target, kind: str) -> None:
    """A client that leaves within its body leaves nothing behind, and nobody calls it a crash."""
    path, media_type, begun = BODIES[kind]
    with wire.open_to(hasty.server.port) as connection:
        connection.sendall(head(hasty, path, media_type, ("Content-Length", "100000")) + begun)
    eventually(lambda: (set(), set(), set()) == hasty.holdings(), seconds=5)
    hasty.check_log()
