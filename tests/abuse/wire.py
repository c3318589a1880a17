"""
Speak HTTP/1.1 byte by byte: a client that refuses nothing.

Every request goes out on a connection of its own exactly as given, however malformed; the answer is read by
the standard library's parser.
"""

import http.client
import select
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

PIECE = 64 * 1024
MOMENT = 0.25
"""Seconds a server may take to end a connection after its answer."""


class Answer(NamedTuple):
    """Hold what came back; status 0 where the connection ended without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)


def request(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Write the head of a request; text is Latin-1, so that any byte can be said."""
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def chunks(body: bytes) -> Iterator[bytes]:
    """Write a body in chunks, well formed."""
    for at in range(0, len(body), PIECE):
        piece = body[at : at + PIECE]
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


def open_to(port: int, *, seconds: float = 20) -> socket.socket:
    """Open a connection to the server under test."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def exchange(connection: socket.socket, pieces: Iterable[bytes], method: str = "GET") -> Answer:
    """Send bytes until all are sent or an answer comes, and read that."""
    started = time.monotonic()
    try:
        for piece in pieces:
            for at in range(0, len(piece), PIECE):
                if is_readable(connection):
                    return read(connection, method, started)
                connection.sendall(piece[at : at + PIECE])
    except (BrokenPipeError, ConnectionResetError):
        pass  # Refused before all of it was sent: the answer may still be there.
    return read(connection, method, started)


def is_readable(connection: socket.socket) -> bool:
    """Whether something has come; by poll, which takes any number of connections."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def read(connection: socket.socket, method: str, started: float) -> Answer:
    """Read one answer."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
    except (http.client.BadStatusLine, ConnectionResetError):
        return Answer(0, {}, b"", time.monotonic() - started)
    finally:
        response.close()
    return Answer(response.status, headers, body, time.monotonic() - started)


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection."""
    connection.settimeout(MOMENT)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
