"""Speak with a running gateway for as long as a clip takes: through its restarts, its limits and lost answers."""

import asyncio
import hashlib
import json
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from errno import EISDIR
from functools import cache
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import httpx

from gateway.cli.common import GoneError, RefusedError, StrangeError, UsageError, reachable, refusal, signed, told
from gateway.events.sse import read_events

LOST_SECONDS = 60.0
"""How long a gateway that does not answer is waited for: a restart takes seconds."""
FIRST_SECONDS = 10.0
"""A stream that has said nothing by then never will: something on the way keeps it back."""
BARREN = 3
"""Streams in a row that told nothing, before a video is asked about instead."""
QUIET_SECONDS = 45.0
"""Longest silence of a stream; the gateway breaks it every 15 s."""
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that say nothing of the call itself: the same call may be answered later."""
PART = ".part"
"""Ends the name of a clip that is not whole yet."""
UNDER_WAY = frozenset({"queued", "in_progress"})

Video = dict[str, Any]


class Gate:
    """
    Hold the connections to one gateway.

    Every call made here may be sent twice: it reads, it carries an Idempotency-Key, or it leaves a spare upload at
    worst. So each is repeated until it is answered, or nobody has answered for :data:`LOST_SECONDS`.
    """

    def __init__(self, url: str, *, patience: float = LOST_SECONDS, most: int = 16) -> None:
        self.url = reachable(url)
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=signed(),
            timeout=60,
            trust_env=False,
            verify=_trust(),
            limits=httpx.Limits(max_connections=2 * most + 4),
        )

    async def __aenter__(self) -> Self:
        """Use the connections."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.__aexit__(kind, error, trace)

    async def call(self, method: str, path: str, *, patient: bool = True, **options: Any) -> Any:
        """
        Call the gateway and read its answer; one that cannot be read says as little as none.

        :raises RefusedError: with the gateway's own words.
        :raises GoneError: when nobody answers; at once where not ``patient`` and there is nobody to connect to.
        :raises StrangeError: when something else answers.
        """
        since, pause, doubtful = time.monotonic(), 0.25, False
        while True:
            try:
                answer = await self._http.request(method, path, **options)
                if answer.is_success:
                    return told(answer, self.url)
            except httpx.ConnectError as error:
                lost = self._lost(error)
                if not (patient or doubtful):
                    raise lost from error
            except (httpx.TransportError, httpx.DecodingError, StrangeError) as error:
                lost, doubtful = self._lost(error), True
            else:
                lost = refusal(answer)
                lost.doubtful = doubtful
                if answer.status_code not in LATER or answer.headers.get("x-should-retry") == "false":
                    raise lost
                doubtful = doubtful or answer.status_code != 429
                pause = max(pause, _seconds(answer.headers.get("retry-after")))
                if answer.status_code == 429:
                    since = time.monotonic()  # It is there, and says when.
            if time.monotonic() - since > self._patience:
                lost.doubtful = doubtful
                raise lost
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)

    async def upload(self, path: Path) -> str:
        """
        Upload a file, and name it.

        :raises UsageError: when it cannot be read.
        """
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        files = {"file": (path.name, data)}
        kept = await self.call("POST", "/v1/files", files=files, data={"purpose": "vision"})
        return str(kept["id"])

    async def video(self, id_: str, *, patient: bool = True) -> Video:
        """Ask how a video stands."""
        found: Video = await self.call("GET", f"/v1/videos/{id_}", patient=patient)
        return found

    async def items(self, path: str = "/v1/videos") -> AsyncIterator[dict[str, Any]]:
        """Go through a list, newest first, to its end."""
        after: dict[str, str] = {}
        while True:
            page = await self.call("GET", path, params={"limit": 100, **after})
            for each in page["data"]:
                yield each
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    async def follow(self, id_: str) -> AsyncIterator[Video]:
        """
        Tell how a video stands whenever that changes, to its end.

        By the gateway's stream, which goes on where it broke; where none comes through, by asking.

        :raises RefusedError: 404 for a video nobody knows.
        :raises GoneError: when nobody answers any more.
        """
        seen, barren, told = "", 0, None
        while barren < BARREN:
            barren += 1
            try:
                async with aclosing(self._events(id_, seen)) as events:
                    async for number, video in _timely(events, None if seen else FIRST_SECONDS):
                        seen, barren = number, 0
                        if _looks(video) != told:
                            yield video
                        if video["status"] not in UNDER_WAY:
                            return
                        told = _looks(video)
            except httpx.ConnectError:
                await self.video(id_)  # Waits out a restart.
            except (httpx.TransportError, httpx.DecodingError, TimeoutError, json.JSONDecodeError):
                await asyncio.sleep(0.25)
        while True:
            video = await self.video(id_)
            if _looks(video) != told:
                yield video
            if video["status"] not in UNDER_WAY:
                return
            told = _looks(video)
            await asyncio.sleep(0.5)

    async def _events(self, id_: str, seen: str) -> AsyncGenerator[tuple[str, Video], None]:
        """Open a video's stream and read its events; none where the answer is no stream."""
        headers = {"accept": "text/event-stream", **({"last-event-id": seen} if seen else {})}
        timeout = httpx.Timeout(60, read=QUIET_SECONDS)
        path = f"/v1/videos/{id_}/events"
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as answer:
            if answer.status_code in {401, 403, 404}:
                await answer.aread()
                raise refusal(answer)
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                async for number, said in read_events(answer.aiter_bytes()):
                    yield number, json.loads(said)

    async def save(self, id_: str, clip: Mapping[str, Any], target: Path) -> None:
        """
        Download one clip of a video; the file appears under its name only when it is whole, and is what was made.

        A download that breaks goes on where it broke, also when that was in an earlier run.

        :raises UsageError: when it cannot be had or written.
        """
        part = part_of(target)
        path = f"/v1/videos/{id_}/content?index={clip['index']}"
        since, most = time.monotonic(), 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            while not await asyncio.to_thread(_whole, part, clip):
                wrong: UsageError = RefusedError(
                    200, "wrong_clip", f"what comes is not the clip that was made: {target}"
                )
                try:
                    await self._more(path, part, clip)
                    if await asyncio.to_thread(_whole, part, clip):
                        break
                except (httpx.TransportError, httpx.DecodingError) as error:
                    wrong = self._lost(error)
                except RefusedError as error:
                    if error.status not in LATER:
                        raise
                    wrong = error
                have = await asyncio.to_thread(_size, part)
                if have > most:
                    most, since = have, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    raise wrong
                await asyncio.sleep(0.25)
            part.replace(target)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error

    async def _more(self, path: str, part: Path, clip: Mapping[str, Any]) -> None:
        """Download what a part lacks; all of it where only that is to be had."""
        have = _size(part)
        if have >= clip["bytes"]:
            have = 0  # It has enough, and is not the clip.
        headers = {"range": f"bytes={have}-", "if-range": f'"{clip["sha256"]}"'} if have else {}
        async with self._http.stream("GET", path, headers=headers, follow_redirects=True) as answer:
            if not answer.is_success:
                await answer.aread()
                raise refusal(answer)
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                async for chunk in answer.aiter_bytes():
                    file.write(chunk)

    def _lost(self, error: Exception) -> UsageError:
        """Say why no answer came through."""
        if isinstance(error, StrangeError):
            return error
        lost = StrangeError(self.url) if isinstance(error, httpx.DecodingError) else GoneError(self.url, error)
        lost.__cause__ = error
        return lost


def _looks(video: Video) -> tuple[object, ...]:
    """Say what of a video changes while it is made."""
    return video["status_detail"], video["progress"], video["provider"]


@cache
def _trust() -> ssl.SSLContext:
    """Read whom to trust, once: it takes longer than most calls."""
    return httpx.create_ssl_context(trust_env=False)


def files_of(file: str, count: int) -> list[str]:
    """
    Name the clips of one video, of which there may be several.

    >>> files_of("kite.mp4", 2)
    ['kite-1.mp4', 'kite-2.mp4']
    """
    if count == 1:
        return [file]
    path = PurePosixPath(file)
    return [str(path.with_name(f"{path.stem}-{number}{path.suffix}")) for number in range(1, count + 1)]


def part_of(target: Path) -> Path:
    """Say where a clip lies until it is whole."""
    return target.with_name(f"{target.name}{PART}")


def try_places(targets: Iterable[Path]) -> None:
    """
    Try whether clips can be written where they are wanted; of the tries nothing stays but folders.

    :raises UsageError: naming one that cannot.
    """
    for target in targets:
        part = part_of(target)
        try:
            if target.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            target.parent.mkdir(parents=True, exist_ok=True)
            new = not part.exists()
            with part.open("ab"):
                pass
            if new:
                part.unlink()
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}; nothing was bought") from error


async def _timely(events: AsyncIterator[tuple[str, Video]], seconds: float | None) -> AsyncIterator[tuple[str, Video]]:
    """
    Pass events on; the first must come soon.

    :raises TimeoutError: when it does not.
    """
    try:
        async with asyncio.timeout(seconds):
            first = await anext(events)
    except StopAsyncIteration:
        return
    yield first
    async for each in events:
        yield each


def _whole(part: Path, clip: Mapping[str, Any]) -> bool:
    """Whether a file is the clip, by its size and its sum."""
    return bool(_size(part) == clip["bytes"] and sum_of(part) == clip["sha256"])


def _size(path: Path) -> int:
    """Say how large a file is; what is not there is empty."""
    return path.stat().st_size if path.exists() else 0


def sum_of(path: Path) -> str:
    """Add a file up: its SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seconds(text: str | None) -> float:
    """Read ``Retry-After`` where it is a number of seconds."""
    return float(min(60, int(text))) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0.0
