"""Laws of ``GET /v1/videos``: a list says where it goes on, both ways, and leaves out what it was not asked for."""

import re
import time
from typing import Any

import httpx
import pytest

from tests.server import Server, eventually

SMALL = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p"}
LINK = re.compile(r'<(/v1/videos\?[^>]*)>; rel="(next|prev)"')


@pytest.fixture(scope="module")
def since(server: Server) -> int:
    """From when on there are five videos: four made, of which one was asked for by an alias, and one stopped."""
    eventually(lambda: time.time() % 1 < 0.2)  # They fall into one second, before which nobody ordered.
    begun = int(time.time())
    eventually(lambda: time.time() >= begun + 1)
    ids = [server.post("/v1/videos", {**SMALL, "prompt": f"kite {number}"}).json()["id"] for number in range(3)]
    ids.append(server.post("/v1/videos", {"model": "sora-2", "prompt": "a kite", "seconds": "4"}).json()["id"])
    stopped = server.post("/v1/videos", {**SMALL, "prompt": "[stuck] kite"}).json()["id"]
    server.post(f"/v1/videos/{stopped}/cancel", {})
    eventually(lambda: all(server.get(f"/v1/videos/{id_}").json()["completed_at"] for id_ in [*ids, stopped]))
    return begun + 1


def listed(server: Server, **asked: Any) -> httpx.Response:
    return httpx.get(f"{server.api}/videos", params=asked, trust_env=False)


def prompts(answer: httpx.Response) -> list[str]:
    return [each["prompt"] for each in answer.json()["data"]]


def test_a_list_says_where_it_goes_on(server: Server, since: int) -> None:
    """The link leads through all that was asked for, and back; each page looks like the whole cut there."""
    asked: dict[str, Any] = {"model": "sandbox/demo", "since": since, "limit": 2}
    whole = prompts(listed(server, **{**asked, "limit": 100}))
    page, pages = listed(server, **asked), []
    while True:
        pages.append(prompts(page))
        found = LINK.fullmatch(page.headers.get("link", ""))
        assert bool(found) is page.json()["has_more"]
        if found is None:
            break
        assert "next" == found[2]
        page = server.get(found[1])
    assert (["[stuck] kite", "kite 2", "kite 1", "kite 0"], [2, 2]) == (whole, [*map(len, pages)])
    assert whole == [prompt for each in pages for prompt in each]

    back = listed(server, **asked, before=page.json()["data"][-1]["id"])
    assert (whole[1:3], True) == (prompts(back), back.json()["has_more"])
    found = LINK.fullmatch(back.headers["link"])
    assert found is not None
    first = server.get(found[1])
    assert ("prev", whole[:1], None) == (found[2], prompts(first), first.headers.get("link"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"status": "failed"}, ["[stuck] kite"]),
        ({"status": "cancelled"}, ["[stuck] kite"]),
        ({"status": ["completed", "queued"]}, ["a kite", "kite 2", "kite 1", "kite 0"]),
        ({"status": "in_progress"}, []),
        ({"model": "sora-2"}, ["a kite"]),
        ({"model": ["sora-2", "sandbox/demo"], "status": "completed"}, ["a kite", "kite 2", "kite 1", "kite 0"]),
        ({"model": "sandbox:sandbox/demo", "order": "asc"}, ["kite 0", "kite 1", "kite 2", "[stuck] kite"]),
        ({"provider": "sandbox", "limit": 2}, ["[stuck] kite", "a kite"]),
        ({"provider": "flow"}, []),
        ({"provider": "no\0body", "model": "no\0thing"}, []),
        ({"key": "local", "status": "cancelled"}, ["[stuck] kite"]),
        ({"key": "key_nobody"}, []),
    ],
)
def test_only_what_was_asked_for_is_listed(server: Server, since: int, asked: dict[str, Any], found: list[str]) -> None:
    """How it stands, who makes it, its model by either name, and whose it is; several of one word are any of them."""
    assert found == prompts(listed(server, since=since, **asked))


def test_a_list_is_of_a_stretch_of_time(server: Server, since: int) -> None:
    """By seconds, or by whole days."""
    today = time.strftime("%Y-%m-%d", time.gmtime(since))
    day = {"since": today, "until": today, "limit": 5}
    assert 5 == len(prompts(listed(server, **day)))
    assert [] == prompts(listed(server, since=since, until=since))
    assert [] == prompts(listed(server, until="1970-01-01"))
    assert [] == prompts(listed(server, since=99_999_999_999))


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"status": "done"}, 422, "status"),
        ({"status": ""}, 422, "status"),
        ({"since": "yesterday"}, 422, "since"),
        ({"until": "2026-13-01"}, 422, "until"),
        ({"since": ["1", "2"]}, 422, "since"),
        ({"key": ""}, 422, "key"),
        ({"key": "a\0b"}, 422, "key"),
        ({"tenant": "x"}, 422, "tenant"),
        ({"before": "video_1"}, 400, "before"),
        ({"before": f"video_{0:032x}"}, 400, "before"),
        ({"after": f"video_{0:032x}", "before": f"video_{0:032x}"}, 400, "before"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(server: Server, asked: dict[str, Any], status: int, param: str) -> None:
    """By name, whatever it is."""
    answer = listed(server, **asked)
    assert (status, param) == (answer.status_code, answer.json()["error"]["param"])
