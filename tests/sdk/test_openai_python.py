"""The newest OpenAI SDK for Python, unmodified, against the real gateway on a real socket."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import openai
import pytest

from tests.sdk import flows
from tests.sdk.flows import FLOWS, ORDER, App
from tests.sdk.promises import PYTHON
from tests.server import Server

# From 3.1.0 on every method of client.videos warns that OpenAI's own service has ended; ours has not.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled to permanently shut down:DeprecationWarning")


@pytest.fixture(scope="module")
def app(server: Server, wire: str, folder: Path) -> Iterator[App]:
    """One app for every flow: they share a finished clip."""
    made = App(server.api, wire, folder)
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A gateway that wants a key and takes a megabyte at most, and a good key."""
    made = Server(tmp_path_factory.mktemp("guarded"), REELGATE__SERVER__MAX_BODY_MB="1")
    key = made.create_key("--name", "app")
    made.start()
    yield made, key
    made.stop()


def test_the_newest_sdk_is_a_3() -> None:
    """The SDK under test is the newest major there is; the 2.x has its own tests."""
    assert "3" == openai.VERSION.partition(".")[0]


def test_every_flow_has_a_promise() -> None:
    """No flow runs without something to hold it to."""
    assert sorted(PYTHON) == sorted(flow.__name__ for flow in FLOWS)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_every_flow_finds_what_is_promised(app: App, flow: Any) -> None:
    """What an app does with the SDK ends as OpenAI's contract and our README say."""
    assert PYTHON[flow.__name__] == json.loads(json.dumps(flow(app)))


def test_what_is_downloaded_is_what_was_ordered(app: App) -> None:
    """The bytes are an MP4 of exactly the codec, size and length asked for; the pictures are pictures."""
    flows.downloaded(app)
    assert {"codec": "h264", "audio": "aac", "size": (640, 360), "seconds": 1.0} == looked_into(
        app.folder / "video.mp4"
    )
    assert (b"RIFF", b"WEBP") == magic(app.folder / "video.webp", slice(0, 4), slice(8, 12))
    assert (b"\xff\xd8\xff",) == magic(app.folder / "video.jpg", slice(0, 3))


def test_an_extended_clip_is_as_long_as_both(app: App) -> None:
    """A second that goes on for a second is a clip of two."""
    flows.extended(app)
    for name in ("file", "id"):
        assert 2.0 == looked_into(app.folder / f"extended-{name}.mp4")["seconds"]


def test_the_sdk_warns_and_works(app: App) -> None:
    """The newest SDK calls the API deprecated; nothing else about it has changed."""
    with pytest.warns(DeprecationWarning, match="The Sora API is scheduled to permanently shut down"):
        assert "video" == app.client.videos.retrieve(app.video.id).object


def test_without_videos_in_the_sdk_its_low_level_calls_do(app: App) -> None:
    """Should a later SDK drop ``client.videos``, ``client.post`` and ``client.get`` reach everything."""
    made: Any = app.client.post("/videos", body={"prompt": "By hand", **ORDER}, cast_to=object)
    assert "completed" == app.finished(app.client.get(f"/videos/{made['id']}", cast_to=openai.types.Video)).status


@pytest.mark.parametrize("key", ["x", "sk-somebody", "rgk_" + "0" * 33])
def test_a_key_nobody_made_is_an_authentication_error(guarded: tuple[Server, str], key: str) -> None:
    """A stranger hears 401 on every route, in the SDK's own exception, which says what to send."""
    with connect(guarded[0].api, key) as client:
        for call in (
            client.models.list,
            partial(client.videos.retrieve, "video_1"),
            partial(client.videos.create, prompt="x"),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert (401, "invalid_api_key") == (caught.value.status_code, caught.value.code)
            assert "API key" in caught.value.message
            assert caught.value.request_id


def test_a_good_key_opens_and_its_videos_are_its_own(guarded: tuple[Server, str]) -> None:
    """A key orders, polls and lists; another key sees nothing of it."""
    gateway, key = guarded
    with connect(gateway.api, key) as mine, connect(gateway.api, gateway.create_key("--name", "other")) as other:
        made = [
            mine.videos.create_and_poll(prompt=f"Mine, {number}", poll_interval_ms=flows.POLL_MS, **ORDER)
            for number in range(3)
        ]
        assert ["completed"] * 3 == [each.status for each in made]
        newest_first = [each.id for each in made][::-1]
        assert newest_first == [each.id for each in mine.videos.list(limit=2)]
        assert newest_first[::-1] == [each.id for each in mine.videos.list(limit=2, order="asc")]
        assert [] == list(other.videos.list(limit=2))
        with pytest.raises(openai.NotFoundError):
            other.videos.retrieve(made[0].id)


def test_a_body_too_large_is_said_to_be(guarded: tuple[Server, str]) -> None:
    """A picture over the limit is a 413 that tells the limit, not a broken connection."""
    gateway, key = guarded
    with connect(gateway.api, key, max_retries=0) as client, pytest.raises(openai.APIStatusError) as caught:
        client.videos.create(prompt="Large", input_reference=("a.png", bytes(8 * 2**20)), **ORDER)
    assert (413, "too_large") == (caught.value.status_code, caught.value.code)
    assert "1 MB" in caught.value.message


def connect(api: str, key: str, **options: Any) -> openai.OpenAI:
    """Make a client as an app does."""
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=api, api_key=key, http_client=http, **options)


def looked_into(path: Path) -> dict[str, Any]:
    """Read what a clip is from its own bytes, every frame of it decoded."""
    with av.open(path) as clip:
        picture, sound = clip.streams.video[0], clip.streams.audio[0]
        frames = sum(1 for _ in clip.decode(picture))
        return {
            "codec": picture.codec_context.name,
            "audio": sound.codec_context.name,
            "size": (picture.width, picture.height),
            "seconds": float(frames / picture.average_rate),
        }


def magic(path: Path, *parts: slice) -> tuple[bytes, ...]:
    """Read the bytes that say what a file is."""
    head = path.read_bytes()[:16]
    return tuple(head[part] for part in parts)
