"""Law of too much load: whoever is turned away reads so in its own dialect, and work already taken goes on."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from gateway.door.keys import new_secret
from tests.server import Server, eventually
from tests.surfaces.test_failures import DIALECTS

SLOW = b"POST /v1/videos HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that takes one call at a time."""
    server = Server(tmp_path_factory.mktemp("busy"), REELGATE__SERVER__MAX_WAITING="1").start()
    yield server
    server.stop()


def turned_away(server: Server, path: str, body: object) -> httpx.Response:
    """Ask beside a call that takes the only place with a body that never comes."""
    seen: list[httpx.Response] = []

    def ask() -> bool:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as slow:
            slow.sendall(SLOW)
            seen.append(server.post(path, body))
            return "overloaded" in seen[-1].text.lower() or "More is asked" in seen[-1].text

    eventually(ask, seconds=30)
    return seen[-1]


@pytest.mark.parametrize("name", DIALECTS)
def test_whoever_is_turned_away_reads_why(busy: Server, name: str) -> None:
    """With when to come back, under an id of its own; and nothing else is refused meanwhile."""
    said = DIALECTS[name]
    answers = [turned_away(busy, said.order, said.body) for _ in range(2)]

    assert {each.status_code for each in answers} == {503}
    assert all(1 <= int(each.headers["retry-after"]) <= 3 for each in answers)
    assert all("Try again in" in said.read(each.json()).message for each in answers)
    assert len({each.headers["x-request-id"] for each in answers}) == 2
    with closing(socket.create_connection(("127.0.0.1", busy.port))) as slow:
        slow.sendall(SLOW)
        for path in ("/health/live", "/v1/videos", "/metrics"):
            assert busy.get(path).status_code == 200


def test_a_refusal_has_an_id_and_is_counted(busy: Server) -> None:
    """The same in the headers and in the body; by a route of its own."""
    answer = turned_away(busy, "/v1/videos", {})
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["error"]["code"] == "overloaded"
    assert 'route="turned_away"' in busy.get("/metrics").text


def test_a_flood_by_one_key_leaves_the_others_room(tmp_path: Path) -> None:
    """Its own next call is turned away, and another key's is answered."""
    flood, other = ({"authorization": f"Bearer {new_secret()}"} for _ in range(2))
    slow = SLOW.replace(b"host:", f"authorization: {flood['authorization']}\r\nhost:".encode())
    server = Server(tmp_path, REELGATE__SERVER__MAX_WAITING="8").start()

    def ask(headers: dict[str, str]) -> int:
        return httpx.post(f"{server.url}/v1/quotes", json={}, headers=headers, trust_env=False).status_code

    def both() -> tuple[int, int]:
        with ExitStack() as lines:
            for _ in range(8):
                line = lines.enter_context(closing(socket.create_connection(("127.0.0.1", server.port))))
                line.sendall(slow)
            return ask(flood), ask(other)

    try:
        seen: list[tuple[int, int]] = []
        eventually(lambda: seen.append(both()) or seen[-1][0] == 503, seconds=30)
        assert seen[-1][1] == 422
    finally:
        server.stop()
