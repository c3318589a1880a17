"""Laws of the guarded gateway: keys, tenants, and who may listen where."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Request

from gateway.door.guesses import Guesses
from gateway.door.keys import FRESH_MS, LOCAL, Gatekeeper, hash_secret, new_secret, well_formed
from gateway.ids import new_id
from gateway.problems import ProblemError
from gateway.store.database import Kind
from gateway.store.registry import Key
from tests.scripted import Engine
from tests.server import Server, eventually

CLIP = {"model": "sandbox/demo", "prompt": "a kite", "seconds": 1, "resolution": "360p"}


@pytest.fixture(scope="module")
def guarded(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    built = Server(tmp_path_factory.mktemp(f"guarded-{kind}"))
    built.create_key("--name", "first")
    yield built.start()
    built.stop()


def client(server: Server, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30)


def test_keys_check_themselves() -> None:
    """A made key is well formed, any change of a letter is not, and only its hash is kept."""
    secret = new_secret()

    assert well_formed(secret)
    for at in range(len(secret)):
        assert not well_formed(secret[:at] + ("x" if secret[at] != "x" else "y") + secret[at + 1 :])
    assert secret not in hash_secret(secret)
    assert len({new_secret() for _ in range(1000)}) == 1000


def test_a_key_is_needed_once_there_is_one(guarded: Server) -> None:
    """Without it 401; health and docs stay open; metrics want their own scope."""
    for path in ("/v1/videos", "/v1/models", "/metrics", "/v1/files"):
        answer = guarded.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    reader = guarded.create_key("--name", "prometheus", "--scope", "metrics")
    with client(guarded, reader) as http:
        assert http.get("/metrics").status_code == 200
        refused = http.get("/v1/videos")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(tmp_path: Path) -> None:
    """After so many from one peer 429 and when to come back, whoever it says it is; a right key still passes."""
    server = Server(tmp_path, REELGATE__SERVER__WRONG_KEYS="3")
    key = server.create_key("--name", "right")
    server.start()
    seen = []
    for number in range(5):
        with client(server, "nonsense" if number % 2 else new_secret()) as http:
            answer = http.get("/v1/videos", headers={"x-forwarded-for": f"203.0.113.{number}"})
            seen.append((answer.status_code, answer.json()["error"]["code"]))
    with client(server, key) as http:
        assert http.get("/v1/videos").status_code == 200

    assert seen == [(401, "invalid_api_key")] * 3 + [(429, "too_many_wrong_keys")] * 2
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert server.get("/v1/videos").status_code == 401
    server.stop()


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_other_clients_headers_do(guarded: Server, header: str) -> None:
    """Keys come in the header each client sends."""
    key = guarded.create_key("--name", header)
    answer = httpx.get(f"{guarded.url}/v1/models", headers={header: key}, trust_env=False)

    assert answer.status_code == 200


def test_a_revoked_key_is_refused_within_a_second(guarded: Server) -> None:
    """Created and revoked beside a running gateway, by another process."""
    key = guarded.cli("keys", "create", "--name", "brief").stdout.splitlines()[0]
    with client(guarded, key) as http:
        assert http.get("/v1/videos").status_code == 200
        (line,) = [line for line in guarded.cli("keys", "list").stdout.splitlines() if line.endswith("brief")]
        guarded.cli("keys", "revoke", line.split()[0])
        eventually(lambda: http.get("/v1/videos").status_code == 401, seconds=5)
    assert FRESH_MS < 1000
    assert "ended" in next(line for line in guarded.cli("keys", "list").stdout.splitlines() if line.endswith("brief"))
    assert guarded.cli("keys", "revoke", line.split()[0], check=False).returncode == 2


def test_nobody_sees_another_tenants_videos(guarded: Server) -> None:
    """Every route answers another's id byte for byte as it answers one that never was."""
    mine, theirs = (client(guarded, guarded.create_key("--name", name)) for name in ("mine", "theirs"))
    with mine, theirs:
        id_ = mine.post("/v1/videos", json=CLIP).json()["id"]
        file = mine.post("/v1/files", files={"file": ("a.wav", b"RIFF\0\0\0\0WAVE")})
        assert file.status_code == 422
        eventually(lambda: mine.get(f"/v1/videos/{id_}").json()["status"] == "completed")
        absent = f"video_{'0' * 32}"
        routes = [
            ("GET", "/v1/videos/{}", None), ("DELETE", "/v1/videos/{}", None), ("GET", "/v1/videos/{}/content", None),
            ("GET", "/v1/videos/{}/content?variant=thumbnail", None), ("GET", "/v1/videos/{}/attempts", None),
            ("POST", "/v1/videos/{}/cancel", None), ("POST", "/v1/videos/{}/remix", {"prompt": "x"}),
        ]  # fmt: skip
        for method, path, body in routes:
            there, never = (theirs.request(method, path.format(name), json=body) for name in (id_, absent))
            assert (there.status_code, never.status_code) == (404, 404), (method, path)
            same = [
                re.sub(r"req_\w+", "", each.text.replace(name, "ID")) for each, name in ((there, id_), (never, absent))
            ]
            assert same[0] == same[1]
        for path in ("/v1/videos/edits", "/v1/videos/extensions", "/v1/videos"):
            body = {"prompt": "x", "seconds": "4", "video": {"id": id_}}
            assert theirs.post(path, json=body).status_code == 404
        assert theirs.get("/v1/videos").json()["data"] == []
        assert theirs.get(f"/v1/videos?after={id_}").status_code == 400
        assert mine.get(f"/v1/videos/{id_}").status_code == 200


def test_keys_of_one_tenant_share(guarded: Server) -> None:
    """A rotated key sees what the old one made."""
    old, new = (client(guarded, guarded.create_key("--name", name, "--tenant", "team")) for name in ("old", "new"))
    with old, new:
        id_ = old.post("/v1/videos", json=CLIP).json()["id"]
        assert new.get(f"/v1/videos/{id_}").status_code == 200


def test_the_key_is_nowhere(guarded: Server) -> None:
    """Neither the log nor the database holds a key."""
    key = guarded.create_key("--name", "canary")
    with client(guarded, key) as http:
        http.post("/v1/videos", json=CLIP)
        http.get(f"/v1/videos?api_key={key}")
    held = b"".join(path.read_bytes() for path in guarded.folder.glob("reelgate.db*"))

    assert key.encode() not in held
    assert key not in guarded.log.read_text()


def test_it_refuses_to_listen_wider_without_a_key(tmp_path: Path) -> None:
    """Open to the world is an error that says what to do, not a warning."""
    server = Server(tmp_path, REELGATE__SERVER__HOST="0.0.0.0")
    done = server.cli("serve", check=False)

    assert done.returncode == 2
    assert "reelgate keys create" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_says_what_it_serves_without_a_key(server: Server) -> None:
    """The start says: this machine only, the sandbox only."""
    assert "only this machine is served, and only the sandbox" in server.log.read_text()


PAGES = (
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example:8080", "origin": "http://evil.example:8080", "sec-fetch-site": "same-origin"},
)


@pytest.mark.parametrize("says", PAGES)
def test_no_web_page_is_obeyed_without_a_key(server: Server, guarded: Server, says: dict[str, str]) -> None:
    """Neither orders nor settings are a page's business that is open on this machine; a key is leave."""
    form = {name: (None, str(value)) for name, value in CLIP.items()}
    with httpx.Client(base_url=server.url, headers=says, trust_env=False) as http:
        refused = [
            http.post("/v1/videos", files=form), http.post("/v1/callback_secret"), http.delete("/v1/videos/x"),
            http.post("/v1/google-flow/videos", json={"prompt": "x"}),
        ]  # fmt: skip
        reads = {http.get(path).status_code for path in ("/v1/videos", "/models", "/metrics")}
    # A browser keeps what it reads from a page of another origin, and cannot where a name leads here.
    assert reads == ({403} if "host" in says else {200})
    assert {403} == {each.status_code for each in refused}
    assert "foreign_origin" == refused[0].json()["error"]["code"]
    assert "reelgate keys create" in refused[0].json()["error"]["message"]
    with client(guarded, guarded.create_key("--name", "page")) as http:
        assert 200 == http.get("/v1/videos", headers=says).status_code


def test_our_own_page_is_obeyed_without_a_key(server: Server) -> None:
    """What is tried at /docs works, by each name this machine has for itself and through a tunnel's port."""
    for host in ("localhost:9000", f"127.0.0.1:{server.port}", "[::1]"):
        says = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        with httpx.Client(base_url=server.url, headers=says, trust_env=False) as http:
            assert 200 == http.post("/v1/quotes", json=CLIP).status_code


def test_gateways_share_a_server_and_not_a_file(server: Server, kind: Kind) -> None:
    """A second one on the same file is told so and ends; on the same PostgreSQL it shows the same videos."""
    second = Server(server.folder)
    if kind == "sqlite":
        done = second.cli("serve", check=False)
        assert done.returncode == 2
        assert "in use by another gateway" in done.stderr
        return
    second.start()
    video = server.post("/v1/videos", CLIP).json()
    assert second.get(f"/v1/videos/{video['id']}").json()["prompt"] == CLIP["prompt"]
    assert second.stop() == 0


def test_a_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    """An unknown word stops the start with the word, without a traceback."""
    (tmp_path / "config.toml").write_text("[server]\nprot = 1\n")
    done = Server(tmp_path).cli("serve", check=False)

    assert (done.returncode, "prot" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_check_says_what_would_happen(tmp_path: Path) -> None:
    """``reelgate check`` names every account and where things are kept."""
    done = Server(tmp_path).cli("check", check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "sandbox" in done.stdout
    assert "ready" in done.stdout


def test_generate_says_when_nobody_answers(tmp_path: Path) -> None:
    """The command line says what to start."""
    done = Server(tmp_path).cli("generate", "a cat", check=False)

    assert done.returncode == 2
    assert "reelgate serve" in done.stderr


def test_demo_leaves_a_clip(tmp_path: Path) -> None:
    """The main job: start, quote, make, leave a playable file and its facts, stop."""
    words = [sys.executable, "-m", "gateway.cli", "demo", "--out", str(tmp_path / "clip.mp4")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clip.mp4").read_bytes()[4:8] == b"ftyp"
    for fact in ("h264 1280x720", "4 s at 24 fps", "aac sound", "sandbox:google/veo-3.1-fast", "100%"):
        assert fact in done.stdout, done.stdout


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_the_last_key_does_not_take_the_door_with_it(tmp_path: Path, how: str) -> None:
    """Once there was a key nobody passes without one: else the real accounts would be open to whoever asks."""
    engine = Engine(tmp_path)
    gate = Gatekeeper(engine.store, engine.clock, Guesses(50))
    stranger = Request[Any, Any, Any]({"type": "http", "headers": [], "query_string": b"", "client": None})  # type: ignore[typeddict-item]
    assert await gate.admit(stranger, "write") == LOCAL

    ends = engine.now + 60_000 if how == "expired" else None
    key = Key(new_id("key", 1), "only", "mine", hash_secret(new_secret()), "read write", engine.now, ends)
    await engine.store.add_key(key)
    if how == "revoked":
        await engine.store.revoke_key(key.id)
    engine.now += 120_000
    with pytest.raises(ProblemError) as refused:
        await gate.admit(stranger, "write")
    assert refused.value.status == 401
    engine.close()
