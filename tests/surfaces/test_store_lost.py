"""Law of a store that is lost once an order is kept: nobody is told that nothing was bought, whatever the dialect."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from httpx import ASGITransport

from gateway.clips.shelf import ShelfError
from gateway.door.answering import understand
from gateway.problems import ORDERED
from gateway.store.database import Params, Row, Statement, StoreUnavailableError
from gateway.store.sqlite import Sqlite
from tests.outside import gateway, world
from tests.surfaces.test_blind_repeats import MODEL, Call, calls

LOST: ContextVar[bool] = ContextVar("lost", default=False)
"""Whether the call under way has lost the store."""
STREAM_SECONDS = 0.5
"""A stream that goes on for as long as its job is heard so long."""
DENIALS = ("nothing was bought", "nothing was kept", "Try again")


class Heard(NamedTuple):
    """Hold what a caller was answered."""

    status: int
    headers: dict[str, str]
    body: str


def orders() -> dict[str, tuple[Call, dict[str, str]]]:
    """Write every way of ordering a clip from nothing, with its headers: those of the dialects, ours, and streams."""
    borrowed = calls("lost")
    ours = Call("/v1/videos", {"model": MODEL, "prompt": "lost by us"})
    chat, omni = borrowed["chat"], borrowed["omni held"]
    said = [{"role": "user", "content": "lost by a streamed chat"}]
    return {
        **{name: (call, {}) for name, call in borrowed.items()},
        "ours": (ours, {}),
        "ours waited for": (ours._replace(body={**ours.body, "prompt": "lost by who waits"}), {"prefer": "wait=1"}),
        "chat streamed": (chat._replace(body={**chat.body, "messages": said, "stream": True}), {}),
        "omni streamed": (omni._replace(body={**omni.body, "input": "lost by a streamed omni", "stream": True}), {}),
    }


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway whose calls lose the store, for good, with the commit of their order."""
    read, write = Sqlite.read, Sqlite.write

    async def reads(self: Sqlite, query: str, params: Params | None = None) -> list[Row]:
        if LOST.get():
            raise StoreUnavailableError("nobody answers")
        return await read(self, query, params)

    async def writes(self: Sqlite, *statements: Statement, wakes: bool = False) -> list[list[Row]]:
        if LOST.get():
            raise StoreUnavailableError("nobody answers")
        rows = await write(self, *statements, wakes=wakes)
        LOST.set(any(each.query == "job_insert" for each in statements))
        return rows

    monkeypatch.setattr(Sqlite, "read", reads)
    monkeypatch.setattr(Sqlite, "write", writes)
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), server={"hold_seconds": 1}) as made:
            yield made


async def ask(client: httpx.AsyncClient, call: Call, headers: dict[str, str]) -> Heard:
    """Make a call and hear it out; one that streams is left after a while."""
    raw = json.dumps(call.body).encode()
    transport = client._transport
    assert isinstance(transport, ASGITransport)
    given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(raw)), **headers}
    path = call.path
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1), "server": ("localhost", 80), "state": {},
    }  # fmt: skip
    coming: list[dict[str, Any]] = [{"type": "http.request", "body": raw, "more_body": False}]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop()
        if call.body.get("stream") is not True:
            await asyncio.Event().wait()
        await asyncio.sleep(STREAM_SECONDS)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await transport.app(scope, receive, send)
    start, *pieces = said
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Heard(start["status"], found, b"".join(each["body"] for each in pieces).decode())


def names_of(prompts: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Say which video was ordered by each prompt."""
    return {each["prompt"]: each["id"] for each in prompts}


async def test_who_has_ordered_is_told_so_though_the_store_is_lost(client: httpx.AsyncClient) -> None:
    """By the job as it was accepted, or by its name in whatever else is said."""
    asked = orders()
    answers = await asyncio.gather(*(ask(client, *each) for each in asked.values()))
    made = names_of((await client.get("/v1/videos?limit=100")).json()["data"])

    assert len(asked) == len(made)
    for (name, (call, _)), heard in zip(asked.items(), answers, strict=True):
        ((_, id_),) = [each for each in made.items() if f'"{each[0]}"' in json.dumps(call.body)]
        assert not any(word in heard.body for word in DENIALS), (name, heard)
        assert id_.partition("_")[2] in f"{heard.headers} {heard.body}", (name, heard)
        assert heard.status in {200, 201, 202, 408}, (name, heard)


async def test_who_waits_is_answered_the_order_as_it_was_kept(client: httpx.AsyncClient) -> None:
    """In the time that was asked for, and as any order is answered."""
    heard = await ask(client, *orders()["ours waited for"])

    assert (200, "wait=1") == (heard.status, heard.headers["preference-applied"])
    assert "queued" == json.loads(heard.body)["status"]


@pytest.mark.parametrize("error", [StoreUnavailableError("gone"), ShelfError("gone"), RuntimeError("a mistake")])
def test_whatever_goes_wrong_an_order_stands(error: Exception) -> None:
    """The last resort of every layer: an error after the order names it, and before it says what it always said."""
    after, before = (understand(error, scope) for scope in ({ORDERED: "video_1"}, {}))

    assert after.message.startswith("Video 'video_1' was ordered")
    assert not any(word in after.message for word in DENIALS)
    assert "video_1" == after.headers["x-reelgate-video"]
    assert (before.status, before.code) == (after.status, after.code)
    assert "ordered" not in before.message
