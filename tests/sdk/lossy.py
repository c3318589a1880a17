"""A wire that loses the answer to every first try: the request arrives, the client hears nothing."""

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RETRY = re.compile(rb"\r\nx-stainless-retry-count: *([0-9]+)\r\n", re.IGNORECASE)
KEY = re.compile(rb"\r\nidempotency-key: *([^\r]+)\r\n", re.IGNORECASE)
QUIET_SECONDS = 30


class _Wire(socketserver.ThreadingTCPServer):
    """Pass connections on to one port of this machine."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.port = port
        self.keys: set[bytes] = set()
        """The Idempotency-Keys of calls whose answers were lost."""

    def loses(self, head: bytes) -> bool:
        """Whether a request is a first try: by its SDK's count, or by its key."""
        tried, key = RETRY.search(head), KEY.search(head)
        if not head.startswith(b"POST ") or (tried is None and key is None):
            return False
        if tried is not None:
            return tried[1] == b"0"
        assert key is not None
        new = key[1] not in self.keys
        self.keys.add(key[1])
        return new


class _Pass(socketserver.BaseRequestHandler):
    """Pass one connection on, both ways, until either end closes."""

    server: _Wire

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(65536)
            if not piece:
                return
            head += piece
        first = self.server.loses(head)
        with socket.create_connection(("127.0.0.1", self.server.port), QUIET_SECONDS) as gateway:
            gateway.sendall(head)
            forth = threading.Thread(target=_pump, args=(self.request, gateway), daemon=True)
            forth.start()
            if first:
                gateway.recv(1)  # It has answered, so what was asked is done; nobody hears of it.
            else:
                _pump(gateway, self.request)
            _hang_up(self.request)
            _hang_up(gateway)
            forth.join(QUIET_SECONDS)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until there are no more, and say so to the other end."""
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    _hang_up(target)


def _hang_up(end: socket.socket) -> None:
    """Close an end, even while the other thread reads from it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def lossy(port: int) -> Iterator[str]:
    """Open such a wire to a gateway's port; answers its base URL."""
    with losing(port) as (root, _):
        yield f"{root}/v1"


@contextmanager
def losing(port: int) -> Iterator[tuple[str, set[bytes]]]:
    """Open such a wire; answers its root, and the set of keys whose first answers are lost."""
    with _Wire(port) as wire:
        serving = threading.Thread(target=wire.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield f"http://127.0.0.1:{wire.server_address[1]}", wire.keys
        finally:
            wire.shutdown()
            serving.join()
