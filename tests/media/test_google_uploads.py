"""Laws of an upload in Google's words whose last step fails here: what came stays, what is kept is whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.clips.media import Media
from gateway.problems import ProblemError
from gateway.store.database import StoreUnavailableError
from gateway.store.registry import Registry
from gateway.surfaces import files
from tests import objects
from tests.outside import gateway, world
from tests.surfaces.conftest import picture
from tests.surfaces.test_google_files import LAST, opened, sent

CUTS = (0, 700)
"""Where the last piece begins: of one, and of two."""


@pytest.fixture
async def client(
    tmp_path: Path, shelf_kind: objects.Kind, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway in this process, on either shelf; afterwards nothing lies around where bytes arrive."""
    media: dict[str, Any] = {"url": f"file:///{tmp_path}/media"}
    if shelf_kind == "bucket":
        store = objects.store()
        media = {"url": store.url_of(str(tmp_path)), "local": f"{tmp_path}/media", "endpoint": store.endpoint}
        media["redirect_seconds"] = 0
        for name, value in objects.KEYS.items():
            monkeypatch.setenv(name, value)
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), media=media) as client:
            yield client
    assert [] == list((tmp_path / "media" / "incoming").iterdir())


class Once:
    """Stand in the way of a method's next call alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
        self._real: Callable[..., Awaitable[Any]] = getattr(kind, name)
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], Awaitable[None]] | None = None
        once = self

        async def called(self: Any, *args: Any) -> Any:
            before, after, once.before, once.after = once.before, once.after, None, None
            if before:
                await before()
            answer = await once._real(self, *args)
            if after:
                await after()
            return answer

        monkeypatch.setattr(kind, name, called)


async def fail() -> None:
    raise StoreUnavailableError("the disk is full")


class Halt:
    """Hold a call until it is let go."""

    def __init__(self) -> None:
        self._reached, self.free = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self._reached.set()
        await self.free.wait()

    async def met(self, call: asyncio.Task[httpx.Response]) -> None:
        """Wait until a call is held here."""
        reaching = asyncio.create_task(self._reached.wait())
        await asyncio.wait([call, reaching], return_when=asyncio.FIRST_COMPLETED)
        assert reaching.done(), call.result().text


async def content(client: httpx.AsyncClient, file: str) -> bytes:
    """Read a file by its id, in either dialect."""
    return (await client.get(f"/v1/files/{file.replace('files/u', 'file_')}/content")).content


async def begun(client: httpx.AsyncClient, data: bytes, cut: int) -> str:
    """Send all of an upload but its last piece, and answer where that goes."""
    url = await opened(client, len(data))
    if cut:
        assert 200 == (await sent(client, url, data[:cut], 0, "upload")).status_code
    return url


async def finished(client: httpx.AsyncClient, url: str, data: bytes, cut: int) -> None:
    """Send the last piece, and see that all came."""
    done = await sent(client, url, data[cut:], cut)
    assert (200, "final") == (done.status_code, done.headers["x-goog-upload-status"]), done.text
    assert data == await content(client, done.json()["file"]["name"])


async def posted(client: httpx.AsyncClient, data: bytes) -> str:
    """Bring the same bytes by OpenAI's API."""
    answer = await client.post("/v1/files", files={"file": ("a.png", data)})
    return str(answer.json()["id"])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_last_piece_our_store_refused_comes_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """It is told so as a fault of ours; what others kept of the same bytes is whole all the while, and so is theirs."""
    adding = Once(monkeypatch, Registry, "add_file")
    for cut in CUTS:
        for known in (False, True):
            data = picture(f"#{cut:06d}") + bytes([known])
            others = await posted(client, data) if known else ""
            url = await begun(client, data, cut)
            setattr(adding, when, fail)
            failed = await sent(client, url, data[cut:], cut)
            assert (503, "5") == (failed.status_code, failed.headers["retry-after"])
            assert "x-goog-upload-status" not in failed.headers
            others = others or await posted(client, data)
            assert data == await content(client, others)
            if when == "before" and known:  # What comes instead is the upload's alone.
                assert 200 == (await sent(client, url, b"x" * len(data), 0, "upload")).status_code
                assert 200 == (await sent(client, url, data[:cut], 0, "upload")).status_code
            await finished(client, url, data, cut)
            assert data == await content(client, others)


@pytest.mark.parametrize(("kind", "name"), [(Registry, "add_file"), (Media, "keep_input")])
async def test_a_last_piece_whose_client_left_comes_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: type, name: str
) -> None:
    """Given up while it is kept, at either end of that, it takes nothing from anybody."""
    keeping = Once(monkeypatch, kind, name)
    for cut in CUTS:
        data = picture(f"#{cut:06d}")
        url = await begun(client, data, cut)
        for when in ("before", "after"):
            halt = Halt()
            setattr(keeping, when, halt)
            first = asyncio.create_task(sent(client, url, data[cut:], cut))
            await halt.met(first)
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
        await finished(client, url, data, cut)
        assert data == await content(client, await posted(client, data))


async def test_a_last_piece_that_meets_itself_is_told_to_wait(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first call is still being kept, the same once more is nobody's mistake; after it, it is the same."""
    keeping = Once(monkeypatch, Registry, "add_file")
    for cut in CUTS:
        data = picture(f"#{cut:06d}")
        url = await begun(client, data, cut)
        keeping.before = halt = Halt()
        first = asyncio.create_task(sent(client, url, data[cut:], cut))
        await halt.met(first)
        for command, offset in ((LAST, cut), ("upload", 0)):
            busy = await sent(client, url, data[offset:], offset, command)
            assert (503, "1") == (busy.status_code, busy.headers["retry-after"])
            assert "UNAVAILABLE" == busy.json()["error"]["status"]
            assert "x-goog-upload-status" not in busy.headers
        halt.free.set()
        done = await first
        assert (200, "final") == (done.status_code, done.headers["x-goog-upload-status"])
        await finished(client, url, data, cut)
        assert 1 + CUTS.index(cut) == len((await client.get("/v1/files")).json()["data"])


def test_an_upload_another_has_just_ended_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a call's look for the file and its grip another process may end the upload, and take the file away."""
    path = tmp_path / "google-file_1"
    monkeypatch.setattr(files.fcntl, "flock", lambda _held, _how: path.unlink())
    with pytest.raises(ProblemError) as refused, files._alone(path):
        pass

    assert (503, "upload_busy") == (refused.value.status, refused.value.code)
