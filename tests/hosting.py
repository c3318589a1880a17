"""A host of clips on loopback that answers each request as the next line of its script says."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from msgspec import Struct

PIECE = 16_384


class Asked(Struct, frozen=True):
    """Hold one request as it came."""

    target: str
    headers: dict[str, str]


class Host:
    """Hold a clip and a script; what has no line is a whole answer, from where it is asked for."""

    def __init__(self, clip: bytes) -> None:
        self.clip = clip
        self.script: list[str] = []
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of clips that were handed to a socket."""
        self.known_by = {"ETag": '"one"'}
        self.port = 0
        self.talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ranges(self) -> list[str]:
        """What of the clip each request asked for."""
        return [each.headers.get("range", "whole") for each in self.asked]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and hang up."""
        talk = asyncio.current_task()
        assert talk is not None
        self.talks.add(talk)
        try:
            await self._answer(reader, writer)
        finally:
            self.talks.discard(talk)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer as the next line of the script says."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            self.asked.append(Asked(head[0].split(" ")[1], headers))
            word, _, value = (self.script.pop(0) if self.script else "whole").partition(" ")
            await getattr(self, f"_{word}")(writer, headers, value)
            await writer.drain()

    def _head(self, writer: asyncio.StreamWriter, status: int, **headers: object) -> None:
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} Said\r\nConnection: close\r\n{named}\r\n".encode())

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)

    async def _whole(self, writer: asyncio.StreamWriter, headers: dict[str, str], most: str) -> None:
        """Answer as a good host does; ``most`` bytes come, then it hangs up."""
        total, start, validator = len(self.clip), 0, headers.get("if-range")
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if wanted and validator in {None, *self.known_by.values()}:
            start = int(wanted[1])
        if start >= total:
            self._head(writer, 416, Content_Range=f"bytes */{total}", Content_Length=0)
            return
        span = {"Content_Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
        self._head(writer, 206 if start else 200, Content_Length=total - start, **span, **self.known_by)
        await self._send(writer, self.clip[start : start + int(most or total)])

    async def _plain(self, writer: asyncio.StreamWriter, headers: dict[str, str], most: str) -> None:
        """Answer as a host does that knows no ranges."""
        self._head(writer, 200, Content_Length=len(self.clip))
        await self._send(writer, self.clip[: int(most or len(self.clip))])

    async def _claims(self, writer: asyncio.StreamWriter, headers: dict[str, str], size: str) -> None:
        """Say that it is so many bytes, whatever it is."""
        self._head(writer, 200, Content_Length=size, **self.known_by)
        await self._send(writer, self.clip[: int(size)])

    async def _wrong(self, writer: asyncio.StreamWriter, headers: dict[str, str], span: str) -> None:
        """Answer a part that was not asked for."""
        self._head(writer, 206, Content_Range=f"bytes {span}", Content_Length=10)
        await self._send(writer, b"0123456789")

    async def _drip(self, writer: asyncio.StreamWriter, headers: dict[str, str], seconds: str) -> None:
        """Send a byte now and then until the other side has had enough."""
        self._head(writer, 200, Content_Length=len(self.clip), **self.known_by)
        for at in range(len(self.clip)):
            await self._send(writer, self.clip[at : at + 1])
            await asyncio.sleep(float(seconds))

    async def _endless(self, writer: asyncio.StreamWriter, headers: dict[str, str], value: str) -> None:
        """Never end, and begin like a clip."""
        self._head(writer, 200)
        await self._send(writer, self.clip[:64])
        while True:
            await self._send(writer, bytes(PIECE))

    async def _page(self, writer: asyncio.StreamWriter, headers: dict[str, str], value: str) -> None:
        """Serve a web page that never ends."""
        self._head(writer, 200, Content_Type="text/html")
        while True:
            await self._send(writer, b"<!doctype html><title>Sign in</title>" * 100)

    async def _status(self, writer: asyncio.StreamWriter, headers: dict[str, str], status: str) -> None:
        self._head(writer, int(status), Content_Length=0)

    async def _redirect(self, writer: asyncio.StreamWriter, headers: dict[str, str], where: str) -> None:
        self._head(writer, 302, Location=where, Content_Length=0)


@asynccontextmanager
async def hosting(clip: bytes) -> AsyncIterator[Host]:
    """Run a host."""
    host = Host(clip)
    server = await asyncio.start_server(host.talk, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        await server.wait_closed()
        talks = [*host.talks]
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
