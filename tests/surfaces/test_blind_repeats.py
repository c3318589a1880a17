"""Laws of a wire that loses answers: whatever dialect a call is made in, repeating it buys nothing twice."""

import json
import re
import socket
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.sdk.lossy import lossy
from tests.server import Server, eventually

MODEL = "google/veo-3.1-fast"


class Call(NamedTuple):
    """Name one way of ordering a clip: where, and in which words; held until the clip is there, or answered at once."""

    path: str
    body: dict[str, Any]
    held: bool = False


def calls(prompt: str) -> dict[str, Call]:
    """Write every way there is, each for a clip of its own that is never made."""
    said = {name: f"{prompt} by {name} [stuck]" for name in NAMES}
    veo = "models/veo-3.1-fast-generate-preview:predictLongRunning"
    project = "/v1beta1/projects/p/locations/us-central1"
    omni = {"model": "gemini-omni-1.2-flash", "response_format": {"type": "video", "delivery": "uri"}}
    flow, chat = {"model": "veo-3.1-fast", "prompt": said["flow"]}, {"model": "veo3.1-fast"}
    found = {
        "gemini": Call(f"/v1beta/{veo}", {"instances": [{"prompt": said["gemini"]}]}),
        "vertex": Call(f"{project}/publishers/google/{veo}", {"instances": [{"prompt": said["vertex"]}]}),
        "omni": Call("/v1beta/interactions", {**omni, "input": said["omni"], "background": True}),
        "omni held": Call("/v1beta/interactions", {**omni, "input": said["omni held"]}, held=True),
        "openrouter": Call("/api/v1/videos", {"model": MODEL, "prompt": said["openrouter"]}),
        "chat": Call(
            "/v1/chat/completions", {**chat, "messages": [{"role": "user", "content": said["chat"]}]}, held=True
        ),
        "createTask": Call("/api/v1/jobs/createTask", {"model": MODEL, "input": {"prompt": said["createTask"]}}),
        "veo": Call("/api/v1/veo/generate", {"model": "veo3_fast", "prompt": said["veo"]}),
        "new-api": Call("/veo/v1/video/create", {"model": "veo3.1-fast", "prompt": said["new-api"]}),
        "flow": Call("/v1/google-flow/videos", {**flow, "async": True}),
        "flow held": Call("/v1/google-flow/videos", {**flow, "prompt": said["flow held"]}, held=True),
    }
    assert [*found] == NAMES
    return found


NAMES = [
    "gemini", "vertex", "omni", "omni held", "openrouter", "chat", "createTask", "veo", "new-api", "flow", "flow held",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway with nothing but the sandbox."""
    folder = tmp_path_factory.mktemp("repeats")
    store = {"REELGATE__STORE__URL": f"sqlite:///{folder}/held.db"}
    made = Server(folder, REELGATE__SERVER__HOLD_SECONDS="3", **store).start()
    yield made
    assert made.running(), made.log.read_text()
    made.stop()


def ordered(server: Server, prompt: str) -> dict[str, int]:
    """Count the jobs there are of each way of ordering, and stop them."""
    jobs = server.get("/v1/videos?limit=100").json()["data"]
    counts = dict.fromkeys(NAMES, 0)
    for each in jobs:
        words, _, name = each["prompt"].removesuffix(" [stuck]").partition(" by ")
        if words == prompt:
            counts[name] += 1
            server.post(f"/v1/videos/{each['id']}/cancel", {})
    return counts


def unheard(server: Server) -> set[str]:
    """Read whose orders were taken while nobody was there any more to be told."""
    return set(re.findall(r'"job":"(video_[0-9a-f]+)","event":"answer.unheard"', server.log.read_text()))


def raw(call: Call) -> bytes:
    """Write a call as it goes over the wire."""
    body = json.dumps(call.body).encode()
    head = f"POST {call.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    """Make a call on a connection of its own."""
    return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)


def at_once(do: Callable[[Call], httpx.Response], asked: Iterable[Call]) -> list[httpx.Response]:
    """Do something with every call at the same time: some are held."""
    with ThreadPoolExecutor(len(NAMES)) as hands:
        return list(hands.map(do, asked))


def test_a_marked_repeat_is_the_same_job_in_every_dialect(server: Server) -> None:
    """The answer to the first try is lost; the second, which says it is one, finds the job of the first."""
    with lossy(server.port) as wire:

        def repeat(call: Call) -> httpx.Response:
            url = f"{wire.removesuffix('/v1')}{call.path}"
            with pytest.raises(httpx.TransportError):
                post(url, call.body, {"x-stainless-retry-count": "0"})
            return post(url, call.body, {"x-stainless-retry-count": "1"})

        answers = at_once(repeat, calls("marked").values())

    assert {200, 201, 202, 408} >= {each.status_code for each in answers}
    assert dict.fromkeys(NAMES, 1) == ordered(server, "marked")


def hang_up(server: Server, asked: Iterable[Call]) -> None:
    """Make calls, and be gone before any can be answered: the store is held up until the gateway has noticed."""
    with closing(sqlite3.connect(server.folder / "held.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        lines = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in asked]
        for line, call in zip(lines, asked, strict=True):
            line.sendall(raw(call))
        mine = {line.getsockname()[1] for line in lines}
        eventually(lambda: {(port, 0) for port in mine} == unread(server.port, mine))
        for line in lines:
            line.close()
        eventually(lambda: not unread(server.port, mine))
        server.get("/health/live")  # That the sockets are closed is one thing, that the loop has been told another.
        store.execute("ROLLBACK")


def unread(port: int, peers: Collection[int]) -> set[tuple[int, int]]:
    """Say, of a server's connections with these ports, how many bytes each has not read yet."""
    found = set()
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, _, queues, *_ = row.split()
        local, peer = (int(each.rpartition(":")[2], 16) for each in (here, there))
        if local == port and peer in peers:
            found.add((peer, int(queues.rpartition(":")[2], 16)))
    return found


def test_who_hangs_up_unanswered_and_asks_again_gets_the_same_job(server: Server) -> None:
    """
    A proxy loses patience, or a line breaks: Google's and OpenRouter's SDKs send the same again, and mark nothing.

    Once such a repeat is answered, the same call again is an order of its own.
    """
    asked, before = calls("hung up"), unheard(server)
    hang_up(server, asked.values())
    eventually(lambda: len(NAMES) == len(unheard(server) - before))
    for _ in range(2):
        at_once(lambda call: post(f"{server.url}{call.path}", call.body), asked.values())

    assert dict.fromkeys(NAMES, 2) == ordered(server, "hung up")


def test_a_held_call_whose_caller_leaves_is_let_go(server: Server) -> None:
    """As a proxy's 504 leaves it: answered long ago by somebody else, while the clip is being made."""
    asked = {name: call for name, call in calls("let go").items() if call.held}
    before = unheard(server)
    for name, call in asked.items():
        with socket.create_connection(("127.0.0.1", server.port), 30) as line:
            line.sendall(raw(call))
            eventually(lambda prompt=f"let go by {name} [": prompt in server.get("/v1/videos").text)  # type: ignore[misc]
    eventually(lambda: len(asked) == len(unheard(server) - before))
    at_once(lambda call: post(f"{server.url}{call.path}", call.body), asked.values())

    assert {name: int(name in asked) for name in NAMES} == ordered(server, "let go")


def test_a_call_is_known_by_what_its_client_said(server: Server) -> None:
    """Not by how a dialect closes what was left open, nor by all that a name stands for: a newer one knows it, too."""
    path, left_open = "/v1/google-flow/videos", {"model": "veo-3.1-fast", "prompt": "said [stuck]", "async": True}
    first, again, other = (
        post(f"{server.url}{path}", {**left_open, **said}, {"idempotency-key": "open"})
        for said in ({}, {}, {"duration": 8})
    )
    assert (201, first.json()["jobid"], 400) == (again.status_code, again.json()["jobid"], other.status_code)

    by_name, by_ours = (
        post(f"{server.url}/veo/v1/video/create", {"model": model, "prompt": "meant [stuck]"}, {"idempotency-key": "m"})
        for model in ("veo3.1-pro", MODEL.removesuffix("-fast"))
    )
    assert by_name.json() == by_ours.json()
    for made in (first.json()["jobid"], by_name.json()["id"]):
        server.post(f"/v1/videos/{made}/cancel", {})
