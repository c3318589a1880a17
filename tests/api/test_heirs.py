"""Laws of clips made from others: their model is taken on where it can make them, and no call has to name another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, eventually

EDIT = {"prompt": "by night", "task": "edit"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("heirs")
    made = Server(folder)
    made.module = "tests.hasty"
    made.start()
    yield made
    made.stop()


def clip(server: Server, model: str) -> str:
    """Order a clip of a model, and wait for it."""
    body = {"model": model, "prompt": "a kite", "seconds": 4, "resolution": "720p"}
    told = server.post("/v1/videos", body)
    assert 200 == told.status_code, told.text
    path = f"/v1/videos/{told.json()['id']}"
    eventually(lambda: server.get(path).json()["status"] == "completed")
    return str(told.json()["id"])


def test_a_clip_whose_model_does_not_edit_is_edited_by_one_that_does(server: Server) -> None:
    """As the SDK's remix names none; what was quoted for it is what is ordered, and naming the model says why not."""
    first = clip(server, "google/veo-3.1-fast")
    remixed = server.post(f"/v1/videos/{first}/remix", {"prompt": "by night"})
    assert 200 == remixed.status_code, remixed.text
    quoted = server.post("/v1/quotes", {"video": {"id": first}, **EDIT}).json()
    named = server.post(
        "/v1/videos", {"video": {"id": first}, "prompt": "-", "task": "edit", "model": "google/veo-3.1"}
    )

    video = remixed.json()
    assert ("google/veo-3.1-fast", quoted["data"][0]["model"]) == (video["model"], video["resolved_model"])
    path = f"/v1/videos/{video['id']}"
    eventually(lambda: server.get(path).json()["status"] == "completed")
    assert (422, "no_offer") == (named.status_code, named.json()["error"]["code"])


def test_a_model_that_edits_keeps_its_clips(server: Server) -> None:
    """Nobody else is asked, so that no other makes it for less."""
    first = clip(server, "google/gemini-omni-flash")
    quoted = server.post("/v1/quotes", {"video": {"id": first}, **EDIT}).json()
    assert {"google/gemini-omni-flash"} == {each["model"] for each in quoted["data"]}
