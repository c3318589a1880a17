"""Laws of links: wherever a clip is said to lie, whoever reads that fetches it there without a key, for a time."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from gateway.clock import wall_ms
from gateway.jobs.wish import read_renditions
from gateway.surfaces import flow
from tests.events.test_webhooks import telling
from tests.outside import gateway, world
from tests.receiver import Receiver, receiver
from tests.server import Server, eventually
from tests.surfaces.conftest import picture

HOUR = 3_600_000
SMALL: dict[str, Any] = {"model": "sandbox/demo", "prompt": "a kite", "resolution": "360p", "duration": 1}
READS = {
    "ours": "/v1/videos/video_{0}",
    "ours, listed": "/v1/videos",
    "ours, streamed": "/v1/videos/video_{0}/events",
    "kie": "/api/v1/jobs/recordInfo?taskId=video_{0}",
    "kie-veo": "/api/v1/veo/record-info?taskId=video_{0}",
    "new-api": "/veo/v1/video/query/video_{0}",
    "openrouter": "/api/v1/videos/video_{0}",
    "flow": "/v1/google-flow/jobs/video_{0}",
    "flow, by name": "/v1/google-flow/assets/user:1-email:6a-video:video_{0}-0",
    "gemini": "/v1beta/models/sandbox/demo/operations/{0}",
    "gemini, by name": "/v1beta/files/{0}",
}
"""Where each dialect says how a video stands, whoever ordered it."""
WHOLE = re.compile(r"http://[^\s\"\\)]+")
BELOW = re.compile(r'"(?:link|download)":"(/[^"]+)"')
"""How an address stands in an answer; ours are below the gateway's."""
NO_CLIP = re.compile(r'"polling_url":"[^"]+"')


class House(NamedTuple):
    """Hold a gateway that asks for a key, a client that has it, one that has none, and who is told."""

    server: Server
    api: httpx.Client
    bare: httpx.Client
    heard: Receiver


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with receiver() as heard:
        server = telling(tmp_path_factory.mktemp("links"), heard)
        server.module = "tests.hasty"
        sent = {"authorization": f"Bearer {server.create_key('--name', 'app')}"}
        server.start()
        with (
            httpx.Client(base_url=server.url, headers=sent, trust_env=False, timeout=50) as api,
            httpx.Client(base_url=server.url, trust_env=False, follow_redirects=True) as bare,
        ):
            yield House(server, api, bare, heard)
        assert server.running(), server.log.read_text()
        server.stop()


@pytest.fixture(scope="module")
def video(house: House) -> dict[str, Any]:
    """One video of two clips."""
    return made(house.api)


def made(api: httpx.Client, **changes: object) -> dict[str, Any]:
    """Order a video, and wait for its end."""
    answer = api.post("/v1/videos", json={**SMALL, "n": 2, **changes}, headers={"prefer": "wait=40"})
    assert "completed" == answer.json()["status"], answer.text
    said: dict[str, Any] = answer.json()
    return said


def addresses(text: str, base: str) -> list[str]:
    """Find every address below ours in an answer that a client would fetch something at."""
    text = NO_CLIP.sub("", text)
    found = {each for each in WHOLE.findall(text) if each.startswith(base)}
    return sorted(found | {f"{base}{each}" for each in BELOW.findall(text)})


def opens(house: House, video_id: str, text: str, *, clips: int) -> list[str]:
    """Hold an answer to the law: all it names opens bare, whole and in part, and among it are so many clips."""
    outputs = house.api.get(f"/v1/videos/{video_id}").json()["outputs"]
    kept = {each["sha256"]: each for each in outputs}
    links, opened = addresses(text, house.server.url), []
    for link in links:
        whole, head = house.bare.get(link), house.bare.head(link)
        assert (200, 200) == (whole.status_code, head.status_code), (link, whole.text)
        said = kept[hashlib.sha256(whole.content).hexdigest()]
        assert (said["content_type"], said["bytes"]) == (head.headers["content-type"], len(whole.content))
        part = house.bare.get(link, headers={"range": "bytes=4-7"})
        assert (206, whole.content[4:8]) == (part.status_code, part.content)
        opened.append(said["kind"])
    assert clips == opened.count("video"), links
    return links


@pytest.mark.parametrize("words", READS)
def test_what_is_read_opens(house: House, video: dict[str, Any], words: str) -> None:
    """Each address in what a dialect says of a video opens without a key."""
    answer = house.api.get(READS[words].format(video["id"].removeprefix("video_")))

    assert 200 == answer.status_code, answer.text
    text = answer.text if words != "ours, listed" else json.dumps(one(answer, video["id"]), separators=(",", ":"))
    assert opens(house, video["id"], text, clips=1 if "by name" in words or words == "new-api" else 2)


def one(answer: httpx.Response, video_id: str) -> dict[str, Any]:
    """Find a video in a list."""
    (found,) = [each for each in answer.json()["data"] if each["id"] == video_id]
    return dict(found)


def chat(house: House, *, stream: bool) -> httpx.Response:
    """Order a clip in a chat's words."""
    body = {"messages": [{"role": "user", "content": "a kite"}], "stream": stream, "seconds": 1}
    return house.api.post("/v1/chat/completions", json={"model": "sandbox/demo", "resolution": "360p", **body})


def interaction(house: House) -> httpx.Response:
    """Have a clip made in Omni's words."""
    form = {"type": "video", "duration": "3s", "delivery": "uri"}
    return house.api.post("/v1beta/interactions", json={"model": "sandbox/demo", "input": "x", "response_format": form})


ANSWERS: dict[str, Callable[[House], httpx.Response]] = {
    "ours": lambda house: house.api.post("/v1/videos", json=SMALL, headers={"prefer": "wait=40"}),
    "chat": lambda house: chat(house, stream=False),
    "chat, streamed": lambda house: chat(house, stream=True),
    "flow": lambda house: house.api.post("/v1/google-flow/videos", json=SMALL),
    "interactions": interaction,
}
"""Calls that are answered with the clip."""


@pytest.mark.parametrize("words", ANSWERS)
def test_what_is_answered_opens(house: House, words: str) -> None:
    """So does each in what a call is answered that waits for its clip."""
    answer = ANSWERS[words](house)
    found = re.search(r"video_[0-9a-f]{32}", f"{answer.headers} {answer.text}")

    assert (200, True) == (answer.status_code, found is not None), answer.text
    assert opens(house, found[0], answer.text, clips=1)  # type: ignore[index]


TOLD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "kie": (
        "/api/v1/jobs/createTask",
        "callBackUrl",
        {"model": "sandbox/demo", "input": {name: SMALL[name] for name in ("prompt", "resolution", "duration")}},
    ),
    "kie-veo": ("/api/v1/veo/generate", "callBackUrl", {"model": "sandbox/demo", "prompt": "a kite"}),
    "openrouter": ("/api/v1/videos", "callback_url", SMALL),
    "flow": ("/v1/google-flow/videos", "replyUrl", SMALL),
}
"""Calls whose client is told of the end."""


@pytest.mark.parametrize("words", TOLD)
def test_what_is_told_opens(house: House, words: str) -> None:
    """And each in what a client is told, though that is written while nobody asks."""
    path, field, body = TOLD[words]
    answer = house.api.post(path, json={**body, field: f"{house.heard.url}/{words}"})
    assert answer.is_success, answer.text
    last = lambda: next((each for each in house.heard.at(f"/{words}") if b"/links/" in each.body), None)  # noqa: E731
    eventually(last, seconds=30)
    told = last()

    assert told is not None
    assert opens(house, answer.headers["x-reelgate-video"], told.body.decode(), clips=1)


def test_an_upload_opens(house: House) -> None:
    """What was uploaded in a dialect whose clients send no key is found again without one, until it is deleted."""
    name = house.api.post("/v1/google-flow/assets", content=picture(), headers={"content-type": "image/png"})
    named = name.json()["mediaGenerationId"]["mediaGenerationId"]
    url = house.api.get(f"/v1/google-flow/assets/{named}").json()["url"]

    assert picture() == house.bare.get(url).content
    assert 200 == house.api.delete(f"/v1/files/{named.rpartition(':')[2]}").status_code
    assert 410 == house.bare.get(url).status_code


def test_a_link_opens_nothing_else(house: House, video: dict[str, Any]) -> None:
    """Not another video of the same key, nor another clip of this one, nor for longer, nor by another key's leave."""
    other, link = made(house.api, n=1), video["urls"]["download"]
    _, _, seal, *_ = link.split("/")
    expires, key, signature = seal.split(".")
    changes = (
        (video["id"], other["id"]),
        ("/0.mp4", "/1.mp4"),
        ("/0.mp4", "/0.webp"),
        (expires, str(int(expires) + 3600)),
        (key, f"key_{'0' * 32}"),
        (f".{key}", ""),
        (signature, signature[::-1]),
        (f"{seal}/", ""),
        ("/clips/", "/files/"),
        ("/clips/", "/inputs/"),
    )

    assert 200 == house.bare.get(link).status_code
    for change in changes:
        assert link != link.replace(*change)
        assert house.bare.get(link.replace(*change)).status_code in {403, 404}, change
    assert {"key": other["key"]} == {"key": key}


def test_a_link_ends_with_the_key_it_was_given_to(house: House) -> None:
    """Once that is revoked; the links of another key of the same tenant go on, and so do its own after a deletion."""
    keys = [house.server.create_key("--name", name, "--tenant", "two") for name in ("leaves", "stays")]
    with_key = [{"authorization": f"Bearer {key}"} for key in keys]
    asked = house.api.build_request("POST", "/v1/videos", json=SMALL, headers={**with_key[0], "prefer": "wait=40"})
    path = f"/v1/videos/{house.api.send(asked).json()['id']}"
    links = [house.api.get(path, headers=each).json()["urls"]["download"] for each in with_key]
    assert [200, 200] == [house.bare.get(each).status_code for each in links]

    (id_,) = re.findall(r"key_[0-9a-f]{32}(?=.*\bleaves\b)", house.server.cli("keys", "list").stdout)
    house.server.cli("keys", "revoke", id_)
    assert [403, 200] == [house.bare.get(each).status_code for each in links]
    assert 200 == house.api.delete(path, headers=with_key[1]).status_code
    assert [403, 410] == [house.bare.get(each).status_code for each in links]


class Hands:
    """A clock that starts ten minutes into an hour, and is put forward by hand."""

    def __init__(self) -> None:
        self.ahead = HOUR // 6 - wall_ms() % HOUR

    def __call__(self) -> int:
        return wall_ms() + self.ahead


@pytest.mark.parametrize("days", [30, 0.1])
async def test_a_link_is_over_in_a_day(tmp_path: Path, days: float) -> None:
    """A day, and what is left of that hour, or as long as the clip is kept; who asks again is given another one."""
    clock, media = Hands(), {"url": f"file:///{tmp_path}/media", "retention_days": days}
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), clock=clock, media=media, worker={"enabled": True}) as client:
            ordered = await client.post("/v1/videos", json=SMALL, headers={"prefer": "wait=40"})
            assert "completed" == ordered.json()["status"]
            (ends,) = {each["link_expires_at"] for each in ordered.json()["outputs"]}
            left = ends * 1000 - clock()
            assert 24 * HOUR < left < 25 * HOUR if days > 1 else days * 24 * HOUR - 60_000 < left < days * 24 * HOUR

            async def given() -> set[str]:
                hex_ = ordered.json()["id"].removeprefix("video_")
                said = [await client.get(READS[each].format(hex_)) for each in READS if each != "ours, streamed"]
                return {link for answer in said for link in addresses(answer.text, "http://localhost")}

            async def statuses(links: set[str]) -> set[int]:
                return {(await client.get(each)).status_code for each in links}

            links = await given()
            assert 4 <= len(links)
            clock.ahead += left - 60_000
            assert {200} == await statuses(links)
            clock.ahead += 60_000
            assert {403} == await statuses(links)
            if days > 1:
                again = await given()
                assert (set(), {200}) == (again & links, await statuses(again))


async def test_what_is_kept_of_an_answer_has_links_that_open(tmp_path: Path) -> None:
    """Who polls an ended video is answered the same, or "not modified", within the hour its links are of, no longer."""
    clock = Hands()
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), clock=clock, worker={"enabled": True}) as client:
            ordered = await client.post("/v1/videos", json=SMALL, headers={"prefer": "wait=40"})
            path = f"/v1/videos/{ordered.json()['id']}"
            first = await client.get(path)
            tag = {"if-none-match": first.headers["etag"]}

            assert (304, first.text) == (
                (await client.get(path, headers=tag)).status_code,
                (await client.get(path)).text,
            )
            clock.ahead += HOUR
            later = await client.get(path, headers=tag)
            assert 200 == later.status_code
            one, other = (each.json() for each in (first, later))
            assert one["urls"]["download"] != other["urls"]["download"]
            assert one["outputs"][0]["sha256"] == other["outputs"][0]["sha256"]


async def test_a_clip_nothing_was_drawn_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be drawn is delivered as well: without a picture, in every generation of useapi's words."""
    drawn = read_renditions
    monkeypatch.setattr(flow, "read_renditions", lambda kept: [each for each in drawn(kept) if each.kind == "video"])
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), worker={"enabled": True}) as client:
            ordered = await client.post("/v1/videos", json=SMALL, headers={"prefer": "wait=40"})
            read = await client.get(READS["flow"].format(ordered.json()["id"].removeprefix("video_")))

    assert 200 == read.status_code, read.text
    (media,), (operation,) = read.json()["response"]["media"], read.json()["response"]["operations"]
    assert media["videoUrl"] == operation["video"]["uri"]
    assert ("thumbnailUrl" in media, "servingBaseUri" in operation["video"]) == (False, False)
