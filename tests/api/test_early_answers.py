"""Law of answers that need nothing of a body: whoever writes all of it before it reads, as proxies do, hears them."""

import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from tests.server import Server

MB = 2**20
LIMIT = 8
BODY = 12 * MB
"""More than the buffers between a client and a server hold."""
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A gateway that takes bodies of some megabytes, and a key for it."""
    server = Server(tmp_path_factory.mktemp("early"), REELGATE__SERVER__MAX_BODY_MB=str(LIMIT))
    key = server.create_key("--name", "early")
    yield server.start(), key
    assert server.running(), server.log.read_text()
    server.stop()


def head(path: str, **headers: object) -> bytes:
    """Write the head of a call."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{named}\r\n".encode()


def read(line: socket.socket) -> http.client.HTTPResponse:
    """Read one answer."""
    answer = http.client.HTTPResponse(line, method="POST")
    answer.begin()
    return answer


def chunked(size: int) -> Iterator[bytes]:
    """Write a body in chunks."""
    piece = b"%x\r\n%s\r\n" % (MB, bytes(MB))
    yield from [piece] * (size // MB)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("in_chunks", [False, True], ids=["by length", "chunked"])
@pytest.mark.parametrize(
    ("status", "path", "kind", "right"),
    [
        (401, "/v1/files", FORM, False), (401, "/v1/videos", "application/json", False),
        (404, "/v1/no/such/thing", FORM, True), (404, "/v1/videos/video_1/cancel", "application/json", True),
        (413, "/v1/videos", "application/json", True), (413, "/v1beta/interactions", "application/json", True),
        (415, "/v1/videos", "text/xml", True), (400, "/v1/videos?model=x", "application/json", True),
    ],
)  # fmt: skip
def test_who_writes_all_before_it_reads_hears_the_answer(
    gateway: tuple[Server, str], status: int, path: str, kind: str, right: bool, in_chunks: bool
) -> None:
    """And goes on over the same connection: nothing of the body is left in the way."""
    server, key = gateway
    size = BODY if status in {401, 413, 415} else 2 * MB
    length = {"Transfer_Encoding": "chunked"} if in_chunks else {"Content_Length": size}
    who = {"Authorization": f"Bearer {key if right else 'rgk_wrong'}", "Content_Type": kind}
    with socket.create_connection(("127.0.0.1", server.port), 20) as line:
        for _ in range(2):
            line.sendall(head(path, **who, **length))
            for piece in chunked(size) if in_chunks else [bytes(size)]:
                line.sendall(piece)
            answer = read(line)
            assert (status, None) == (answer.status, answer.getheader("connection")), answer.read()
            answer.read()


def test_who_says_far_too_much_is_not_waited_for(gateway: tuple[Server, str]) -> None:
    """It hears at once that the line ends; and so does who waits to be bidden, and was not."""
    server, key = gateway
    for more in ({"Content_Length": 100 * LIMIT * MB}, {"Content_Length": MB, "Expect": "100-continue"}):
        who = {"Authorization": f"Bearer {'rgk_wrong' if 'Expect' in more else key}", "Content_Type": "text/xml"}
        with socket.create_connection(("127.0.0.1", server.port), 20) as line:
            began = time.monotonic()
            line.sendall(head("/v1/videos", **who, **more))
            answer = read(line)
            assert (401 if "Expect" in more else 415, "close") == (answer.status, answer.getheader("connection"))
            answer.read()
            assert b"" == line.recv(1)
            assert time.monotonic() - began < 1
