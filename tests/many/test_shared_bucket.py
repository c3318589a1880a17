"""Laws of an object store that several share, and that any of them may die in the middle of writing to."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.app import _links_key
from gateway.configuration import load
from gateway.settings import SettingsError
from tests import databases, objects
from tests.crash import arena as crash
from tests.scripted import clip
from tests.server import Server, eventually

ORDER = {"model": "sandbox/demo", "prompt": "a paper boat", "duration": 1, "resolution": "360p"}


@pytest.fixture(autouse=True)
def _in_bucket() -> Iterator[None]:
    with objects.using("bucket"):
        yield


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A gateway that takes jobs and one that makes them: one database, one bucket, nothing else in common."""
    here, there = tmp_path / "here", tmp_path / "there"
    with databases.using("postgresql"):
        for folder in (here, there):
            folder.mkdir()
        front = Server(here, REELGATE__WORKER__ENABLED="false")
        shared = {name: front.environ[name] for name in ("REELGATE__STORE__URL", "REELGATE__MEDIA__URL")}
        back = Server(there, **shared)
        front.start()
        back.start()
    yield front, back
    for each in (front, back):
        assert each.stop() == 0


def test_media_are_shared(pair: tuple[Server, Server]) -> None:
    """What one is handed another orders with; what that keeps both serve; a link of one the other opens."""
    front, back = pair
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=30) as http:
        data = clip(2, (640, 360))
        file = http.post(f"{front.api}/files", files={"file": ("x.mp4", data)}, data={"purpose": "user_data"}).json()
        body = {"model": "sandbox/demo", "prompt": "bluer", "video": {"file_id": file["id"]}}
        edited = http.post(f"{front.api}/videos/edits", json=body).json()
        made = http.post(f"{front.url}/api/v1/videos", json=ORDER).json()
        for id_ in (edited["id"], made["id"]):
            eventually(lambda id_=id_: front.get(f"/v1/videos/{id_}").json()["status"] == "completed")  # type: ignore[misc]
            contents = {http.get(f"{each.api}/videos/{id_}/content").content for each in pair}
            assert len(contents) == 1
        (link,) = http.get(f"{front.url}/api/v1/videos/{made['id']}").json()["unsigned_urls"]
        assert http.get(link.replace(front.url, back.url)).content in contents
        assert http.get(f"{back.api}/files/{file['id']}/content").content == data


def test_processes_that_would_sign_apart_do_not_start(tmp_path: Path) -> None:
    """Where links would differ by process it says what to set; with that, one process, or one folder, it starts."""
    bucket = load(None, {"REELGATE__MEDIA__URL": "s3://bucket", "REELGATE__MEDIA__LOCAL": f"{tmp_path}/a"})
    folder = load(None, {"REELGATE__MEDIA__URL": f"file:///{tmp_path}/b"})
    told = {"REELGATE_SECRET_KEY": objects.SECRET_KEY}
    with pytest.raises(SettingsError, match="REELGATE_SECRET_KEY is not set"):
        _links_key(bucket, {}, shared=True)
    assert not (tmp_path / "a").exists()

    elsewhere = load(None, {"REELGATE__MEDIA__URL": "s3://bucket", "REELGATE__MEDIA__LOCAL": f"{tmp_path}/c"})
    assert _links_key(bucket, told, shared=True) == _links_key(elsewhere, told, shared=True)
    assert _links_key(bucket, {}, shared=False) == _links_key(bucket, {}, shared=False)
    assert _links_key(folder, told, shared=True) == _links_key(folder, {}, shared=True)


def test_killed_in_the_middle_of_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No clip is to be seen, and the next process keeps the one that was bought, whole."""
    made = clip(4, (64, 36))
    big = made + (9 * 2**20).to_bytes(4) + b"free" + bytes(9 * 2**20 - 8)
    monkeypatch.setattr(crash, "clip", lambda *_: big)
    halfway, go_on = threading.Event(), threading.Event()

    def trouble(method: str, target: str) -> bool:
        if method == "PUT" and "partNumber=2" in target:
            halfway.set()
            go_on.wait(60)
        return False

    with crash.arena(tmp_path, deadline=60) as here:
        here.client.follow_redirects = True
        here.start()
        with objects.store().troubled(trouble):
            wanted = here.want("big", "b")
            eventually(halfway.is_set)
            here.server.kill()
            go_on.set()
        listed = httpx.get(f"{objects.store().endpoint}/{objects.store().bucket_of(str(tmp_path))}", trust_env=False)
        assert "<Key>" not in listed.text
        here.start()
        ends = here.ended(seconds=60)
        here.check(ends)
        assert {wanted.key: "completed"} == ends
