"""What a client is served is the same bytes, wherever they lie: from here, or by a redirect it can follow."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from io import BytesIO

import httpx
import openai
import pytest
from PIL import Image

from gateway.clips.shelf import Shelf
from tests import objects
from tests.server import Server, eventually

CLIP = {"model": "sandbox/demo", "prompt": "a paper boat", "seconds": 1, "resolution": "360p", "seed": 3}
SUFFIXES = {"video": "mp4", "thumbnail": "webp", "spritesheet": "jpg"}


def finished(server: Server, **changes: object) -> dict[str, object]:
    """Order a clip and wait for its end."""
    answer = server.post("/v1/videos", {**CLIP, **changes})
    assert answer.status_code == 200, answer.text
    path = f"/v1/videos/{answer.json()['id']}"
    eventually(lambda: server.get(path).json()["status"] in {"completed", "failed"})
    video: dict[str, object] = server.get(path).json()
    assert video["status"] == "completed", video["error"]
    return video


@pytest.fixture(scope="module")
def clip(server: Server) -> dict[str, object]:
    """One finished clip."""
    return finished(server)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    """A client that follows redirects, as SDKs and browsers do."""
    with httpx.Client(base_url=server.url, trust_env=False, follow_redirects=True) as client:
        yield client


def shelf_of(server: Server) -> Shelf:
    """Open the shelf of a gateway beside it."""
    shelf = objects.shelf_in(server.folder)
    assert shelf is not None
    return shelf


def picture() -> bytes:
    held = BytesIO()
    Image.new("RGB", (640, 360), "orange").save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize("variant", SUFFIXES)
def test_every_rendition_arrives(http: httpx.Client, clip: dict[str, object], variant: str) -> None:
    """Whole, of the hash it is said to have, to be saved under our name for it and no other."""
    (said,) = [each for each in clip["outputs"] if each["kind"] == variant]  # type: ignore[attr-defined, index]
    got = http.get(said["url"])

    assert (got.status_code, got.headers["content-type"]) == (200, said["content_type"])
    assert hashlib.sha256(got.content).hexdigest() == said["sha256"]
    name = f"{clip['id']}-0.{SUFFIXES[variant]}"
    assert got.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "immutable" in got.headers["cache-control"]


def test_head_and_validators_are_answered_here(server: Server, http: httpx.Client, clip: dict[str, object]) -> None:
    """No client is sent anywhere for what needs no bytes."""
    path = f"/v1/videos/{clip['id']}/content"
    whole = http.get(path).content
    head = httpx.head(f"{server.url}{path}", trust_env=False)
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'

    assert (head.status_code, int(head.headers["content-length"]), head.headers["etag"]) == (200, len(whole), etag)
    assert head.headers["accept-ranges"] == "bytes"
    for headers, status in (
        ({"if-none-match": etag}, 304),
        ({"range": f"bytes={len(whole)}-"}, 416),
        ({"range": "bytes=4-7", "if-range": etag}, 206),
        ({"range": "bytes=4-7", "if-range": '"stale"'}, 200),
    ):
        answer = httpx.get(f"{server.url}{path}", headers=headers, trust_env=False)
        assert (answer.status_code, headers) == (status, headers)
        if status == 206:
            assert answer.content == b"ftyp"
        if status == 200:
            assert answer.content == whole


def test_ranges_arrive(http: httpx.Client, clip: dict[str, object]) -> None:
    """A clip fetched in parts is the clip; a range is a range wherever it is answered."""
    path = f"/v1/videos/{clip['id']}/content"
    whole = http.get(path).content
    part = http.get(path, headers={"range": "bytes=4-7"})
    parts = [http.get(path, headers={"range": f"bytes={at}-{at + 19_999}"}) for at in range(0, len(whole), 20_000)]

    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole)}"
    assert http.get(path, headers={"range": "bytes=-3"}).content == whole[-3:]
    assert b"".join(each.content for each in parts) == whole


def test_a_clip_that_is_elsewhere_is_a_redirect(server: Server, clip: dict[str, object], shelf_kind: str) -> None:
    """The address is the object store's, carries no secret, and is good without a key for this one clip."""
    answer = server.get(f"/v1/videos/{clip['id']}/content")
    if shelf_kind == "folder":
        assert answer.status_code == 200
        return
    address = httpx.URL(answer.headers["location"])

    assert (answer.status_code, answer.headers["cache-control"], answer.content) == (307, "no-store", b"")
    assert str(address).startswith(f"{objects.store().endpoint}/bucket-")
    assert (address.params["X-Amz-Expires"], address.params["X-Amz-SignedHeaders"]) == ("300", "host")
    assert objects.KEYS["AWS_SECRET_ACCESS_KEY"] not in str(address)
    assert httpx.get(address, trust_env=False).content[4:8] == b"ftyp"


def test_inputs_by_every_way_are_the_same(http: httpx.Client) -> None:
    """Handed in as a file, by file id or as a data URL: one input, kept once, and ordered with."""
    data = "data:image/png;base64," + base64.b64encode(picture()).decode()
    file = http.post("/v1/files", files={"file": ("x.png", picture())}, data={"purpose": "vision"}).json()
    form = {key: str(value) for key, value in CLIP.items()}
    made = [
        http.post("/v1/videos", json={**CLIP, "input_reference": {"file_id": file["id"]}}).json(),
        http.post("/v1/videos", json={**CLIP, "input_reference": {"image_url": data}}).json(),
        http.post("/v1/videos", data=form, files={"input_reference": ("a", picture())}).json(),
    ]
    inputs = [video["request"]["inputs"] for video in made]
    assert inputs[0] == inputs[1] == inputs[2]
    content = http.get(f"/v1/files/{file['id']}/content")
    assert (content.content, content.headers["content-type"]) == (picture(), "image/png")
    for video in made:
        eventually(lambda id_=video["id"]: http.get(f"/v1/videos/{id_}").json()["status"] == "completed")  # type: ignore[misc]


def test_a_clip_becomes_an_input(server: Server, http: httpx.Client, clip: dict[str, object]) -> None:
    """An earlier video and an uploaded one are edited; the earlier one may be deleted meanwhile."""
    first = finished(server, prompt="goes")
    edited = http.post("/v1/videos/edits", json={"prompt": "bluer", "video": {"id": first["id"]}}).json()
    assert http.delete(f"/v1/videos/{first['id']}").json()["deleted"] is True
    data = http.get(f"/v1/videos/{clip['id']}/content").content
    file = http.post("/v1/files", files={"file": ("x.mp4", data)}, data={"purpose": "user_data"}).json()
    body = {"model": "sandbox/demo", "prompt": "redder", "video": {"file_id": file["id"]}}
    uploaded = http.post("/v1/videos/edits", json=body).json()
    for video in (edited, uploaded):
        eventually(lambda id_=video["id"]: http.get(f"/v1/videos/{id_}").json()["status"] == "completed")  # type: ignore[misc]
        assert http.get(f"/v1/videos/{video['id']}/content").content[4:8] == b"ftyp"


def test_files_expire_as_openai_has_it(http: httpx.Client) -> None:
    """``expires_after`` counts from the upload; anything else says what to write."""
    form = {"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = http.post("/v1/files", files={"file": ("x.png", picture())}, data=form).json()
    bad = http.post("/v1/files", files={"file": ("x.png", picture())}, data={**form, "expires_after[seconds]": "60"})
    odd = http.post("/v1/files", files={"file": ("x.png", picture())}, data={"expires_after[anchor]": "now"})

    assert file["expires_at"] == file["created_at"] + 3600
    assert (bad.status_code, bad.json()["error"]["param"]) == (422, "expires_after[seconds]")
    assert (odd.status_code, odd.json()["error"]["param"]) == (422, "expires_after")


def test_borrowed_dialects_bring_the_clip(http: httpx.Client) -> None:
    """By a signed link, inside a JSON answer, as a GIF: each is made of the clip that is kept."""
    body = {"model": "sandbox/demo", "prompt": "a kite", "resolution": "360p", "duration": 1}
    made = http.post("/api/v1/videos", json=body).json()
    eventually(lambda: http.get(f"/api/v1/videos/{made['id']}").json()["status"] == "completed")
    (link,) = http.get(f"/api/v1/videos/{made['id']}").json()["unsigned_urls"]
    content = http.get(f"/v1/videos/{made['id']}/content").content
    assert http.get(link).content == content
    assert http.get(link, headers={"range": "bytes=4-7"}).content == b"ftyp"
    head = http.head(link)
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(content))


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_an_sdk_has_its_clip_and_deletes_it(server: Server, shelf_kind: str) -> None:
    """OpenAI's own client creates, waits, follows to wherever the clip lies, and removes it from there."""
    with openai.OpenAI(api_key="none", base_url=server.api, max_retries=0) as client:
        video = client.videos.create_and_poll(
            model="sandbox/demo", prompt="a paper boat", seconds="1", extra_body={"resolution": "360p"},  # type: ignore[arg-type]
        )  # fmt: skip
        assert video.status == "completed"
        data = client.videos.download_content(video.id).read()
        small = client.videos.download_content(video.id, variant="thumbnail").read()
        assert (data[4:8], small[8:12]) == (b"ftyp", b"WEBP")
        said = server.get(f"/v1/videos/{video.id}").json()["outputs"][0]["sha256"]
        assert hashlib.sha256(data).hexdigest() == said
        assert client.videos.delete(video.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.videos.download_content(video.id)
    if shelf_kind == "folder":
        assert [] == list((server.folder / "media" / "clips").rglob(f"{video.id}/*"))
    else:
        assert not (server.folder / "media" / "clips").exists()


def test_deleted_clips_are_gone_from_the_store(server: Server, clip: dict[str, object], shelf_kind: str) -> None:
    """What was deleted is listed no more, what was kept is."""
    if shelf_kind == "folder":
        pytest.skip("said above")
    goes = finished(server, prompt="goes too")
    httpx.delete(f"{server.api}/videos/{goes['id']}", trust_env=False)

    async def walk() -> set[str]:
        return {each.key async for each in shelf_of(server).walk("clips")}

    listed = asyncio.run(walk())
    assert 4 == sum(str(clip["id"]) in key for key in listed)
    assert not any(str(goes["id"]) in key for key in listed)


@pytest.fixture(scope="module")
def streaming(shelf_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that sends nobody to its object store."""
    if shelf_kind == "folder":
        pytest.skip("a folder is always served from here")
    folder = tmp_path_factory.mktemp("streaming")
    made = Server(folder, REELGATE__MEDIA__REDIRECT_SECONDS="0", REELGATE__MEDIA__RETENTION_DAYS="0.00006").start()
    yield made
    made.stop()


def test_where_it_is_set_the_bytes_come_from_here(streaming: Server) -> None:
    """No redirect, the same headers as from a folder, ranges too; once its time is over it is gone, and says so."""
    path = f"/v1/videos/{streaming.post('/v1/videos', CLIP).json()['id']}"
    eventually(lambda: streaming.get(path).json()["status"] == "completed")
    whole = streaming.get(f"{path}/content")
    part = httpx.get(f"{streaming.url}{path}/content", headers={"range": "bytes=4-7"}, trust_env=False)

    assert (whole.status_code, whole.headers["etag"]) == (200, f'"{hashlib.sha256(whole.content).hexdigest()}"')
    assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert (part.status_code, part.content) == (206, b"ftyp")

    eventually(lambda: streaming.get(path).json()["status_detail"] == "expired")
    gone = streaming.get(f"{path}/content")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "video_expired")


def test_litter_is_found_from_the_command_line(server: Server, clip: dict[str, object], shelf_kind: str) -> None:
    """``media gc --dry-run`` says what would go and lets it be; without, it goes; what is kept stays."""
    if shelf_kind == "folder":
        pytest.skip("the command knows no difference")
    place = server.folder / "media" / "incoming" / "lost.bin"
    place.write_bytes(b"half a clip")
    dry = server.cli("media", "gc", "--dry-run", "--hours", "0")
    assert place.exists()
    done = server.cli("media", "gc", "--hours", "0")

    assert "would remove  lost.bin" in dry.stdout
    assert "removed  lost.bin" in done.stdout
    assert "0 clips no job has" in done.stdout
    assert not place.exists()
    with httpx.Client(base_url=server.url, trust_env=False, follow_redirects=True) as client:
        assert client.get(f"/v1/videos/{clip['id']}/content").content[4:8] == b"ftyp"
    assert server.cli("check").returncode == 0
