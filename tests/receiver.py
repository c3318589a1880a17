"""A receiver of webhooks on a real socket: it notes everything it is told and answers as it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from msgspec import Struct

Script = int | tuple[int, dict[str, str]] | Callable[[], int]


class Heard(Struct, frozen=True):
    """Hold one call as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(msgspec.json.decode(self.body)["type"])


class Receiver:
    """Hold what was heard, and what to answer: a script by path, 204 once it has run out."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.script: dict[str, list[Script]] = {}
        self.hang = threading.Event()
        """Set when those who hang should go on."""
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def allowed(self) -> str:
        """What opens it to a gateway."""
        return f"127.0.0.1:{self.port}"

    def at(self, path: str) -> list[Heard]:
        """Say what was heard at a path."""
        return [each for each in self.heard if each.path == path]

    def wait(self) -> int:
        """Hang until the end."""
        self.hang.wait(60)
        return 204

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up is gone."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.heard.append(Heard(self.path, headers, body))
        script = receiver.script.get(self.path, [])
        said = script.pop(0) if len(script) > 1 else script[0] if script else 204
        status, more = (said() if callable(said) else said), {}
        if isinstance(status, tuple):
            status, more = status
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""
    made = Receiver()
    try:
        yield made
    finally:
        made.close()
