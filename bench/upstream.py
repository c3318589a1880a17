"""
Play the provider: a stub that answers faster than any gateway asks, so that the gateway is what gets measured.

It speaks OpenAI's ``/v1/videos`` for LiteLLM and the sandbox dialect (``/tasks``) for us, counts the jobs handed
over, and serves padded clips. One asyncio protocol parses HTTP by hand: this is a ruler, not a web server.

``python -m bench.upstream PORT [CLIPS]``
"""

import asyncio
import json
import re
import sys
import time
from functools import cache
from pathlib import Path
from typing import cast

import uvloop

from bench.looks import Looks

_LARGE = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLIP = re.compile(rb"\[(\d+mb)\]")
_VIDEO = (
    b'{"id":"%s","object":"video","model":"sora-2","status":"queued","progress":0,"created_at":1795000000,'
    b'"completed_at":null,"expires_at":null,"prompt":"a clip","seconds":"8","size":"1280x720",'
    b'"remixed_from_video_id":null,"error":null}'
)
_FLYING = b'{"id":"%s","state":"rendering","progress":1,"clips":[],"error":null}'
_TASK = b'{"id":"%s","state":"%s","progress":%d,"poll_after_ms":%d,"clips":[%s],"error":null}'


@cache
def _read(path: Path) -> bytes:
    """Read a clip once."""
    return path.read_bytes()


class Upstream:
    """What the stub remembers: how many jobs reached it, when, and which of them asked for a clip."""

    def __init__(self, port: int, clips: Path | None) -> None:
        """Take the port the clip links name, and the directory the clips lie in."""
        self.port = port
        self.clips = clips
        self.posts = 0
        self.first = 0.0
        self.last = 0.0
        self.looks = Looks()
        self._ordered: dict[bytes, bytes] = {}

    def answer(self, method: bytes, path: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
        """Answer one request with a status line, a content type and a body."""
        path = path.partition(b"?")[0]
        if path.startswith(b"/tasks/flight-") and method == b"GET":
            name = path.removeprefix(b"/tasks/")
            self.looks.note(name)
            return b"200 OK", b"application/json", _FLYING % name
        if path.startswith(b"/looks"):
            if path == b"/looks/begin":
                self.looks.begin()
            return b"200 OK", b"application/json", json.dumps(self.looks.told()).encode()
        if path.startswith(b"/tasks"):
            return self._task(method, path.removeprefix(b"/tasks").strip(b"/"), body)
        if path.startswith(b"/v1/videos"):
            return self._video(method, path.removeprefix(b"/v1/videos").strip(b"/"))
        if path == b"/count":
            told = {"posts": self.posts, "first": self.first, "last": self.last}
            return b"200 OK", b"application/json", json.dumps(told).encode()
        if path.startswith(b"/clips/") and self.clips:
            return self._clip(path.removeprefix(b"/clips/").decode())
        return b"404 Not Found", b"application/json", b'{"error":"the stub does not know this path"}'

    def _reached(self) -> None:
        """Count a job handed over; the clock is the machine's, so the bench may compare it with its own."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.posts += 1

    def _task(self, method: bytes, name: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
        """Speak the sandbox dialect: a task renders for ever, unless its prompt names a clip."""
        status = b"200 OK"
        if method == b"POST" and not name:
            self._reached()
            name = json.loads(body)["id"].encode()
            wanted = _CLIP.search(body)
            if wanted:
                self._ordered[name] = wanted[1]
                return b"201 Created", b"application/json", _TASK % (name, b"rendering", 1, 50, b"")
            status = b"201 Created"
        size = self._ordered.get(name)
        if size is None:
            return status, b"application/json", _TASK % (name, b"rendering", 1, 600_000, b"")
        link = b'{"index":0,"url":"http://127.0.0.1:%d/clips/%s.mp4"}' % (self.port, size)
        return status, b"application/json", _TASK % (name, b"done", 100, 0, link)

    def _video(self, method: bytes, name: bytes) -> tuple[bytes, bytes, bytes]:
        """Speak OpenAI's dialect: every video is queued for ever."""
        if method == b"POST":
            self._reached()
            name = b"video_%024x" % self.posts
        elif name.endswith(b"/content"):
            return self._clip("10mb.mp4")
        return b"200 OK", b"application/json", _VIDEO % name

    def _clip(self, name: str) -> tuple[bytes, bytes, bytes]:
        """Serve a clip whole."""
        try:
            return b"200 OK", b"video/mp4", _read((self.clips or Path()) / Path(name).name)
        except OSError:
            return b"404 Not Found", b"application/json", b'{"error":"no such clip"}'


class Connection(asyncio.Protocol):
    """Parse requests off one kept-alive connection, pipelined or not, and answer them in order."""

    def __init__(self, upstream: Upstream) -> None:
        """Answer from one shared memory."""
        self._upstream = upstream
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that has arrived whole."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n") + 4) > 3:
            head = buffer[:end]
            length = _LENGTH.search(head)
            if length:
                stop = end + int(length[1])
            elif _CHUNKED.search(head):
                stop = buffer.find(b"\r\n0\r\n\r\n", end - 2) + 7
                if stop < 7:
                    return
            else:
                stop = end
            if len(buffer) < stop:
                return
            method, path, _ = head.split(b" ", 2)
            status, kind, body = self._upstream.answer(method, path, buffer[end:stop])
            head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
            if len(body) > _LARGE:
                self._transport.write(head)
                self._transport.write(body)  # The one copy there is: uvloop makes none.
            else:
                self._transport.write(head + body)
            self._buffer = buffer = buffer[stop:]


async def serve(port: int, clips: Path | None) -> None:
    """Listen on loopback until stopped."""
    upstream = Upstream(port, clips)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
