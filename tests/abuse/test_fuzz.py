"""Two thousand bodies nobody thought of, the same ones every time."""

import base64
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tests.abuse import wire
from tests.abuse.table import read
from tests.abuse.target import Target, check_discreet, check_problem

BODIES = 2100
SECONDS = 20
PNG = read().contents["png"].encode("latin-1")
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
FILES = {"input_reference", "frame_images", "input_references", "video", "mask", "file"}
EXPECTED = {200, 400, 404, 413, 415, 422}

ORDER: dict[str, Any] = {
    "model": "sandbox/demo",
    "prompt": "a red fox",
    "seconds": "1",
    "size": "1280x720",
    "input_reference": {"image_url": URL},
    "frame_images": [{"frame_type": "last_frame", "image_url": {"url": URL}}],
    "input_references": [{"image_url": URL, "role": "style", "name": "fox", "weight": 0.5}],
    "characters": [{"id": "fox"}],
    "elements": [{"name": "cub", "description": "red", "images": [{"image_url": URL}], "voice_id": "v"}],
    "voices": [{"id": "v"}],
    "shots": [{"prompt": "a fox", "seconds": 1}],
    "generate_audio": True,
    "negative_prompt": "blur",
    "seed": 7,
    "n": 1,
    "fps": 24,
    "guidance_scale": 3.5,
    "output": {"format": "mp4", "retention_seconds": 3600},
    "metadata": {"a": "b"},
    "user": "u",
    "external_id": "e",
    "provider": {"only": ["sandbox"], "policy": "cheapest", "max_cost": "1"},
    "provider_options": {"sandbox": {"a": 1}},
    "max_cost_usd": 1,
    "on_unsupported": "warn",
    "task": "auto",
    "video": {"id": "video_" + "0" * 32},
    "mask": {"image": URL},
}
NASTY = tuple(
    json.dumps(value)
    for value in (
        None, True, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**64, 10**400, "", " ", "\0", "\u202e", "\ud83e\udd8a", "\ud800",
        "a" * 5000, "NaN", "1e999", "../../etc/passwd", "{{7*7}}", "'; --", "%s%n", "http://127.0.0.1/", URL, "data:,",
        "data:;base64,@", [], [[]], [None], [[[[[[[[[[]]]]]]]]]], {}, {"": ""}, {"id": {}}, {"url": {"url": {}}},
        {"__proto__": 1}, ["x"] * 20,
    )
)  # fmt: skip
"""Values no field expects, as JSON."""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that takes jobs but makes none."""
    target = Target(tmp_path_factory.mktemp("idle"), REELGATE__WORKER__ENABLED="false")
    yield target
    target.stop()


def bent(random: Random) -> dict[str, Any]:
    """Write an order of some of the fields, a few of them bent."""
    order: dict[str, Any] = json.loads(json.dumps(ORDER))
    for name in random.sample(
        sorted(set(order) - {"model", "prompt"}), random.randint(len(order) // 2, len(order) - 2)
    ):
        del order[name]
    for _ in range(random.choice([0, 1, 1, 1, 1, 2])):
        place: Any = order
        while place:
            key = random.choice(sorted(place)) if isinstance(place, dict) else random.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or random.random() < 0.4:
                place[key] = json.loads(random.choice(NASTY))
                if isinstance(place, dict) and random.random() < 0.1:
                    place[random.choice(["x", "", "\0", "a" * 100, "__class__"])] = place.pop(key)
                break
            place = place[key]
    return order


def broken(random: Random, raw: bytes) -> bytes:
    """Break a body in a few places."""
    out = bytearray(raw)
    for _ in range(random.randint(0, 3)):
        at, size = random.randrange(len(out) + 1), random.randint(1, 12)
        move = random.randrange(5)
        if move == 0 and out:
            out[at % len(out)] = random.randrange(256)
        elif move == 1:
            out[at:at] = random.randbytes(size)
        elif move == 2:
            del out[at : at + size]
        elif move == 3:
            out[at:at] = out[at : at + size * 8]
        elif random.random() < 0.3:
            del out[at:]
    return bytes(out)


def as_json(random: Random) -> tuple[str, bytes]:
    """Write a JSON body."""
    raw = json.dumps(bent(random), ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return "application/json", broken(random, raw) if random.random() < 0.3 else raw


def as_form(random: Random) -> tuple[str, bytes]:
    """Write a multipart body: texts, JSON texts, bracketed names, files."""
    parts: list[tuple[str, bytes]] = []
    for name, value in bent(random).items():
        form = random.randrange(8)
        if form == 0 and (name in FILES or random.random() < 0.1):
            parts.append((f'{name}"; filename="../{name}.png', random.choice([PNG, PNG[:20], b"<svg/>", b""])))
        elif form == 1 and isinstance(value, dict):
            parts += [(f"{name}[{key}]", str(each).encode("utf-8", "replace")) for key, each in value.items()]
        elif form == 2 and isinstance(value, list):
            parts += [(random.choice([f"{name}[]", f"{name}.0", name]), json.dumps(each).encode()) for each in value]
        else:
            parts.append(
                (name, value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode())
            )
    random.shuffle(parts)
    raw = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode("utf-8", "replace"), content)
        for name, content in parts
    )
    raw += b"--x--\r\n"
    return "multipart/form-data; boundary=x", broken(random, raw) if random.random() < 0.3 else raw


def listed(target: Target) -> int:
    """Count every video there is."""
    count, after = 0, ""
    while True:
        page = target.call("GET", f"/v1/videos?limit=100{after}").json
        count, after = count + len(page["data"]), f"&after={page['last_id']}"
        if not page["has_more"]:
            return count


@pytest.mark.parametrize("write", [as_json, as_form])
@pytest.mark.parametrize("path", ["/v1/videos", "/v1/quotes", "/v1/videos/edits"])
def test_bodies_nobody_thought_of(idle: Target, path: str, write: Callable[[Random], tuple[str, bytes]]) -> None:
    """Whatever the body, the answer is a good one or a problem in its shape; what was not answered 200 was not kept."""
    random = Random(f"{path} {write.__name__}")
    before, kept, spent = listed(idle), 0, 0.0
    for _ in range(BODIES // 6):
        kind, body = write(random)
        headers = {"Host": idle.names["host"], "Authorization": f"Bearer {idle.own}", "Content-Type": kind}
        raw = wire.request("POST", path, {**headers, "Content-Length": str(len(body))}.items()) + body
        with wire.open_to(idle.server.port) as connection:
            answer = wire.exchange(connection, [raw], "POST")
        spent += answer.seconds
        check_discreet(answer, idle.own)
        assert answer.status in EXPECTED, body
        if answer.status == 200:
            kept += path.startswith("/v1/videos")
        else:
            check_problem(answer)
    assert before + kept == listed(idle)
    assert path != "/v1/videos" or 0 < kept < BODIES // 12
    assert [] == list((idle.server.folder / "media" / "incoming").iterdir())
    assert spent < SECONDS / 2
    idle.check_log()
