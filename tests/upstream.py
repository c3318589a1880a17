"""A seller on loopback: a real HTTPS server that keeps every call and answers as it is told."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from tests.scripted import clip

HOME = "127.0.0.1"


class Seen(Struct, frozen=True):
    """Hold one call as it arrived."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Said(Struct, frozen=True):
    """Hold an answer."""

    body: bytes | dict[str, Any] = b""
    status: int = 200
    headers: dict[str, str] = {}


class Upstream:
    """Hold the server: what it was asked, and who answers."""

    def __init__(self, folder: Path, answer: Callable[["Upstream", Seen], Said]) -> None:
        self.seen: list[Seen] = []
        self.certificate = folder / "upstream.pem"
        """What a gateway must trust to believe it: ``SSL_CERT_FILE``."""
        self._answer = answer
        write_certificate(self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream._handle(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOME, 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://{HOME}:{self._server.server_address[1]}"

    def clip(self, seconds: int = 8, size: tuple[int, int] = (1280, 720), name: str = "0") -> str:
        """Say where it has such a clip ready."""
        return f"{self.url}/clips/{seconds}/{size[0]}x{size[1]}/{name}.mp4"

    def calls(self, path: str, *, saying: str = "") -> list[Seen]:
        """Find the calls to a path whose body holds a text."""
        return [each for each in self.seen if each.path == path and saying.encode() in each.body]

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        """Take one call in and answer it."""
        headers: Message = request.headers
        body = request.rfile.read(int(headers.get("content-length") or 0))
        seen = Seen(request.command, request.path, {name.lower(): value for name, value in headers.items()}, body)
        said = self._file(seen)
        if said is None:
            self.seen.append(seen)
            said = self._answer(self, seen)
        raw = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        request.send_response(said.status)
        kinds = {} if isinstance(said.body, bytes) else {"content-type": "application/json"}
        for name, value in {**kinds, **said.headers, "content-length": str(len(raw))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(raw)

    @staticmethod
    def _file(seen: Seen) -> Said | None:
        """Serve a clip."""
        if not seen.path.startswith("/clips/"):
            return None
        _, _, seconds, size, _ = seen.path.split("/")
        width, height = size.split("x")
        return Said(clip(int(seconds), (int(width), int(height))), headers={"content-type": "video/mp4"})


@contextmanager
def selling(folder: Path, answer: Callable[[Upstream, Seen], Said]) -> Iterator[Upstream]:
    """Run a seller."""
    upstream = Upstream(folder, answer)
    try:
        yield upstream
    finally:
        upstream.close()


def write_certificate(path: Path) -> None:
    """Write a key and a certificate for 127.0.0.1, good for an hour."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOME))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
