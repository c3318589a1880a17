"""Laws of Google's Files API here: what comes in pieces is one file of ``/v1/files``, or nothing at all."""

import re
import socket
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.outside import gateway, world
from tests.server import Server, eventually
from tests.surfaces.conftest import picture

START = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
GOOGLE = {"x-goog-api-client": "google-genai-sdk/3.3.0"}
LAST = "upload, finalize"


def begin(size: int, **changes: str) -> dict[str, str]:
    """Write the headers of an upload's first call."""
    return START | GOOGLE | {"x-goog-upload-header-content-length": str(size)} | changes


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway in this process; whatever came of an upload that did not end well is gone."""
    with world() as outside:
        async with gateway(tmp_path, outside.outbound()) as client:
            yield client
    assert [] == list((tmp_path / "media" / "incoming").iterdir())


async def opened(client: httpx.AsyncClient, size: int, said: object = None) -> str:
    """Begin an upload, and answer where its bytes go."""
    begun = await client.post("/upload/v1beta/files", headers=begin(size), json={"file": said or {}})
    assert (200, "active", {}) == (begun.status_code, begun.headers["x-goog-upload-status"], begun.json())
    return begun.headers["x-goog-upload-url"]


async def sent(
    client: httpx.AsyncClient, url: str, data: bytes, offset: int = 0, command: str = LAST
) -> httpx.Response:
    """Send a piece, as Google's SDK does: with no key."""
    headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
    return await client.post(url, content=data, headers=headers)


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Read a refusal in Google's words: the status, its name, and the field."""
    error = answer.json()["error"]
    fields = [each["field"] for detail in error["details"] for each in detail.get("fieldViolations", [])]
    return answer.status_code, error["status"], next(iter(fields), "")


async def test_however_it_is_cut_it_is_the_same_file(client: httpx.AsyncClient) -> None:
    """Pieces that come again count once, also the last, whose answer was lost; OpenAI's API has the file as well."""
    data = picture()
    for cuts in ([], [1], [700, 900], [500, 500], [3, 200, 201]):
        url = await opened(client, len(data), {"displayName": "A hat.png", "mime_type": "text/html"})
        for start, end in pairwise([0, *cuts]):
            for _ in range(2):
                piece = await sent(client, url, data[start:end], start, "upload")
                assert (200, "active") == (piece.status_code, piece.headers["x-goog-upload-status"])
        done, again = [await sent(client, url, data[[0, *cuts][-1] :], [0, *cuts][-1]) for _ in range(2)]
        assert (200, "final") == (done.status_code, done.headers["x-goog-upload-status"])
        assert done.json() == again.json()
        made = done.json()["file"]
        assert ("A hat.png", "image/png", str(len(data))) == (made["displayName"], made["mimeType"], made["sizeBytes"])
        (file,) = (await client.get("/v1/files")).json()["data"]
        assert made["name"] == f"files/u{file['id'].removeprefix('file_')}"
        assert data == (await client.get(f"/v1/files/{file['id']}/content")).content
        assert {"files": [made]} == (await client.get("/v1/files", headers=GOOGLE)).json()
        assert {} == (await client.delete(f"/v1beta/{made['name']}")).json()
        assert {} == (await client.get("/v1beta/files")).json()


async def test_what_is_no_upload_is_refused(client: httpx.AsyncClient) -> None:
    """In Google's words, naming the header to change; and its client is told that sending it again is of no use."""
    size = "X-Goog-Upload-Header-Content-Length"
    wrong: list[tuple[dict[str, str], object, tuple[int, str, str]]] = [
        (GOOGLE, {}, (400, "INVALID_ARGUMENT", "X-Goog-Upload-Protocol")),
        (begin(5, **{"x-goog-upload-protocol": "raw"}), {}, (400, "INVALID_ARGUMENT", "X-Goog-Upload-Protocol")),
        (START, {}, (400, "INVALID_ARGUMENT", size)),
        (begin(-1), {}, (400, "INVALID_ARGUMENT", size)),
        (begin(64 * 2**20 + 1), {}, (413, "INVALID_ARGUMENT", "")),
        (begin(5), {"file": {"name": "files/mine"}}, (400, "INVALID_ARGUMENT", "file.name")),
        (begin(5), {"file": {"colour": "red"}}, (400, "INVALID_ARGUMENT", "file.colour")),
        (begin(5), {"file": "x"}, (400, "INVALID_ARGUMENT", "file")),
    ]
    for headers, body, said in wrong:
        assert said == refusal(await client.post("/upload/v1beta/files", headers=headers, json=body))
    data = picture()
    url = await opened(client, len(data))
    offset, command = "X-Goog-Upload-Offset", "X-Goog-Upload-Command"
    for piece, at, word, name in (
        (data, 1, LAST, offset),
        (data, -1, LAST, offset),
        (data + b"x", 0, LAST, size),
        (data, 7 * 10**17, LAST, offset),
        (data[:-1], 0, LAST, command),
        (data, 0, "cancel", command),
        (data, 0, "", command),
    ):
        answer = await sent(client, url, piece, at, word)
        assert (400, "INVALID_ARGUMENT", name) == refusal(answer)
        assert "final" == answer.headers["x-goog-upload-status"]
    text = await opened(client, 4)
    assert (400, "INVALID_ARGUMENT", "file") == refusal(await sent(client, text, b"text"))
    for other in (
        url.replace("upload_id=", "upload_id=x"),
        url.replace("upload_id=", "upload_id=%00"),
        url.replace("seal=1", "seal=2"),
        url.partition("&")[0],
        url[:-1],
        text.partition("&")[0] + "&" + url.partition("&")[2],
    ):
        assert (403, "PERMISSION_DENIED", "") == refusal(await sent(client, other, data))
    assert [] == (await client.get("/v1/files")).json()["data"]
    for path in ("/v1beta/files?pageSize=0", "/v1beta/files?pageSize=x", "/v1beta/files?pageToken=x"):
        assert (400, "INVALID_ARGUMENT", path[14:].partition("=")[0]) == refusal(await client.get(path))
    assert 404 == (await client.post("/~google/piece", content=data)).status_code


@pytest.mark.parametrize(("days", "lasts"), [(1, 24), (9, 48)])
async def test_a_file_lasts_as_long_as_googles(tmp_path: Path, days: int, lasts: int) -> None:
    """Two days; less where the operator keeps files for less; and its upload's address an hour or two."""
    data, now = picture(), 1_800_000_000_000
    media: dict[str, Any] = {"url": f"file:///{tmp_path}/media", "file_days": days}
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), clock=lambda: now, media=media) as client:
            late, url = [await opened(client, len(data)) for _ in range(2)]
            await sent(client, url, data)
            (file,) = (await client.get("/v1/files")).json()["data"]
            assert lasts * 3600 == file["expires_at"] - file["created_at"]
            now += 2 * 3_600_000
            assert 403 == (await sent(client, late, data)).status_code


async def test_a_list_has_pages(client: httpx.AsyncClient) -> None:
    """Newest first, each once; a proxy's headers make nobody Google's, and what is posted is OpenAI's in any case."""
    data = picture()
    made = [await sent(client, await opened(client, len(data)), data) for _ in range(3)]
    names = [each.json()["file"]["name"] for each in made]
    listed, token = [], ""
    for size in (2, 1):
        page = (await client.get(f"/v1beta/files?pageSize={size}&pageToken={token}")).json()
        listed += [each["name"] for each in page["files"]]
        token = page.get("nextPageToken", "")
    assert (sorted(names, reverse=True), "") == (listed, token)
    behind = {"x-goog-authenticated-user-email": "accounts.google.com:jo@example.com"}
    assert 3 == len((await client.get("/v1/files", headers=behind)).json()["data"])
    posted = await client.post("/v1/files", headers=GOOGLE, files={"file": ("a.png", data)})
    assert "file" == posted.json()["object"]


def test_a_piece_is_its_keys_and_whole(guarded: tuple[Server, str]) -> None:
    """What breaks off leaves no trace, what is put out of force ends nothing, and the file is its tenant's alone."""
    server, key = guarded
    data = picture()
    other = server.create_key("--name", "leaving", "--tenant", "leaving")
    (id_,) = re.findall(r"key_[0-9a-f]{32}(?=.*\bleaving\b)", server.cli("keys", "list").stdout)
    with httpx.Client(base_url=server.url, trust_env=False) as plain:

        def start(key: str) -> str:
            headers = begin(len(data), **{"x-goog-api-key": key})
            return str(plain.post("/upload/v1beta/files", headers=headers, json={}).headers["x-goog-upload-url"])

        def send(url: str, offset: int = 0) -> httpx.Response:
            headers = {"x-goog-upload-command": LAST, "x-goog-upload-offset": str(offset)}
            return plain.post(url, content=data[offset:], headers=headers)

        assert 401 == plain.post("/upload/v1beta/files", headers=begin(5), json={}).status_code
        url, late = start(other), start(other)
        path = url.removeprefix(server.url)
        with socket.create_connection(("127.0.0.1", server.port)) as broken:
            said = f"Host: x\r\nX-Goog-Upload-Command: upload\r\nContent-Length: {len(data)}"
            broken.sendall(f"POST {path} HTTP/1.1\r\n{said}\r\n\r\n".encode() + data[:100])
            eventually(lambda: any(server.folder.glob("media/incoming/google-*")))
        eventually(lambda: not any(server.folder.glob("media/incoming/google-*")))
        assert (400, "X-Goog-Upload-Offset") == (refused := refusal(send(url, 100)))[::2], refused
        made = send(url).json()["file"]["name"]
        for who, status in ((other, 200), (key, 403)):
            assert status == plain.get(f"/v1beta/{made}", headers={"x-goog-api-key": who}).status_code
        server.cli("keys", "revoke", id_)
        assert (403, "PERMISSION_DENIED", "") == refusal(send(late))
