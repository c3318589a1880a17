"""The server under test: what it holds, what it has said, and what it must never have done."""

import json
from pathlib import Path
from typing import Any

from tests.abuse import wire
from tests.abuse.table import Entry, compose
from tests.abuse.wire import Answer
from tests.server import Server, eventually

FILE = '49\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n\x89PNG\r\n'
"""The first chunk of a form: the head of a file and its first bytes."""
TELLTALES = (b"Traceback", b'File "', b"Error(", b"site-packages", b"codec can't")
"""Words only a crash writes."""


class Target:
    """Hold one guarded server, two tenants' keys, and ids to aim at."""

    def __init__(self, folder: Path, *, tenants: int = 1, **overrides: str) -> None:
        # Whoever sends every row of the table sends more wrong keys than anybody should.
        self.server = Server(folder, **{"REELGATE__SERVER__WRONG_KEYS": "1000000", **overrides})
        self.own = self.server.create_key("--name", "abuse")
        self.other = self.server.create_key("--name", "other") if tenants > 1 else "nobody's key"
        self.server.start()
        self.names: dict[str, str] = {
            "own": self.own,
            "other": self.other,
            "host": f"127.0.0.1:{self.server.port}",
            "ghost": "video_" + "0" * 32,
        }
        start = f"POST <path> HTTP/1.1\r\nHost: {self.names['host']}\r\nAuthorization: Bearer {self.own}\r\n"
        chunked = "Transfer-Encoding: chunked\r\nContent-Type: <kind>\r\n\r\n"
        for name, path, kind, more in (
            ("head", "/v1/videos", "application/json", ""),
            ("formhead", "/v1/videos", "multipart/form-data; boundary=x", ""),
            ("filehead", "/v1/files", "multipart/form-data; boundary=x", FILE),
        ):
            self.names[name] = start.replace("<path>", path) + chunked.replace("<kind>", kind) + more
        self._read = 0

    def send(self, entry: Entry) -> tuple[Answer, bool]:
        """Send one entry; answers what came and whether the connection ended with it."""
        with wire.open_to(self.server.port) as connection:
            answer = wire.exchange(connection, compose(entry, self.names), entry.verb)
            return answer, entry.closes and wire.ended(connection)

    def call(
        self, method: str, path: str, raw: bytes = b"", *, key: str = "own", kind: str = "application/json"
    ) -> Answer:
        """Make an ordinary call."""
        headers = {
            "Host": self.names["host"],
            "Authorization": f"Bearer {self.names[key]}",
            "Content-Type": kind,
            "Content-Length": str(len(raw)),
        }
        with wire.open_to(self.server.port) as connection:
            return wire.exchange(connection, [wire.request(method, path, headers.items()) + raw], method)

    def order(self, prompt: str, *, key: str = "own") -> str:
        """Order the smallest clip there is."""
        body = {"model": "sandbox/demo", "prompt": prompt, "seconds": "1", "resolution": "360p"}
        answer = self.call("POST", "/v1/videos", json.dumps(body).encode(), key=key)
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    def upload(self, content: bytes, *, key: str = "own") -> str:
        """Upload a file."""
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        body = head + content + b"\r\n--x--\r\n"
        answer = self.call("POST", "/v1/files", body, key=key, kind="multipart/form-data; boundary=x")
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    def endpoint(self, *, key: str = "own") -> str:
        """Have a tenant's videos told to an address nobody answers at."""
        body = {"name": "x", "url": "https://hooks.invalid/x", "event_types": ["video.completed"]}
        answer = self.call("POST", "/v1/webhook_endpoints", json.dumps(body).encode(), key=key)
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    def wait(self, id_: str, *, key: str = "own") -> dict[str, Any]:
        """Wait until a video has ended."""
        video: dict[str, Any] = {}

        def ended() -> bool:
            video.update(self.call("GET", f"/v1/videos/{id_}", key=key).json)
            return video["status"] in {"completed", "failed"}

        eventually(ended)
        return video

    def remove(self, id_: str, *, key: str = "own") -> None:
        """Stop a video and remove it."""
        assert self.call("POST", f"/v1/videos/{id_}/cancel", key=key).status in {200, 409}
        self.wait(id_, key=key)
        assert self.call("DELETE", f"/v1/videos/{id_}", key=key).status == 200

    def holdings(self) -> tuple[set[str], set[str], set[str]]:
        """List what is stored: videos, files, and pieces of media nobody ordered."""
        media = self.server.folder / "media"
        loose = {
            str(path.relative_to(media))
            for name in ("incoming", "inputs")
            for path in (media / name).rglob("*")
            if path.is_file() and not path.name.startswith("video_")  # Clips on their way in.
        }
        videos, files = (
            {each["id"] for each in self.call("GET", f"/v1/{name}?limit=100").json["data"]}
            for name in ("videos", "files")
        )
        return videos, files, loose

    def said(self) -> list[str]:
        """Read what the log has gained since it was last read."""
        with self.server.log.open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode().splitlines()

    def check_log(self) -> None:
        """Every line of the log is an event of its own, none of a crash, and none holds a key."""
        for line in self.said():
            assert "event" in json.loads(line), line
            assert "crashed" not in line, line
            assert not any(key in line for key in (self.own, self.other)), line

    def stop(self) -> None:
        """End the server, which must still be there to be ended."""
        assert self.server.running(), self.server.log.read_text()
        assert self.server.stop() == 0


def check_problem(answer: Answer) -> None:
    """An answer of ours that is no success has the one shape every error has."""
    body = answer.json
    said = body["error"]
    assert answer.headers["content-type"] in {"application/problem+json", "application/json"}
    assert sorted(body) == ["detail", "error", "errors", "instance", "request_id", "status", "title", "type"]
    assert sorted(said) == ["code", "message", "param", "type"]
    assert body["type"] == f"urn:reelgate:problem:{said['code']}"
    assert body["status"] == answer.status
    assert body["title"]
    assert body["detail"] == said["message"] != ""
    assert said["param"] is None or isinstance(said["param"], str)
    assert said["type"].endswith("_error")
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["instance"] == f"urn:reelgate:request:{body['request_id']}"


def check_discreet(answer: Answer, *secrets: str) -> None:
    """An answer shows nothing of the inside and no key."""
    whole = answer.body + repr(answer.headers).encode()
    assert answer.status < 500, answer.body
    assert [word for word in TELLTALES if word in answer.body] == []
    assert [secret for secret in secrets if secret.encode() in whole] == []
