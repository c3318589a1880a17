"""Laws of /veo/v1: new-api's envelope around a task, and the upstream's task inside it."""

from typing import Any

import httpx
import pytest

from tests.server import Server, eventually
from tests.surfaces.conftest import as_url, picture

CREATE, QUERY = "/veo/v1/video/create", "/veo/v1/video/query"


def ended(api: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Order a clip and wait for its end, as the vendor's sample does."""
    made = api.post(CREATE, json=body)
    assert (200, "pending") == (made.status_code, made.json()["status"]), made.text
    path = f"{QUERY}/{made.json()['id']}"
    eventually(lambda: api.get(path).json()["data"]["status"] in {"SUCCESS", "FAILED"})
    answer: dict[str, Any] = api.get(path).json()
    return answer


def test_a_clip(api: httpx.Client) -> None:
    """The link lies in the inner task; either of two words says that it is done."""
    body = {"model": "sandbox/demo", "prompt": "a cat", "enhance_prompt": True, "images": [as_url(picture())]}
    answer = ended(api, {**body, "aspect_ratio": "9:16"})
    data = answer["data"]

    assert ("success", "SUCCESS", "completed", "100%") == (
        answer["code"], data["status"], data["data"]["status"], data["progress"],
    )  # fmt: skip
    assert b"ftyp" == api.get(data["data"]["video_url"]).content[4:8]
    assert data["submit_time"] <= data["start_time"] <= data["finish_time"] < 10**11
    request = api.get(f"/v1/videos/{data['task_id']}").json()["request"]
    assert (["first_frame"], True) == ([each["role"] for each in request["inputs"]], request["enhance_prompt"])


def test_no_clip(api: httpx.Client) -> None:
    """The vendor's word for a failure, and the reason beside it."""
    data = ended(api, {"model": "veo3.1-fast", "prompt": "[fail] a cat"})["data"]

    assert ("FAILED", "failed", None) == (data["status"], data["data"]["status"], data["data"]["video_url"])
    assert "the prompt asks to fail" == data["fail_reason"]


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        ({"model": "veo3.1"}, 422, "invalid_value", "prompt"),
        (
            {"model": "google/gemini-omni-flash", "prompt": "x", "enhance_prompt": True},
            422,
            "no_offer",
            "enhance_prompt",
        ),
        ({"model": "veo3.1", "prompt": "x", "colour": 1}, 400, "unknown_parameter", "colour"),
        ({"model": "veo3.1", "prompt": "x", "images": "y"}, 422, "invalid_value", "images"),
        ({"model": "veo9", "prompt": "x"}, 404, "model_not_found", "model"),
    ],
)
def test_errors_are_new_api_s(api: httpx.Client, body: dict[str, Any], status: int, code: str, named: str) -> None:
    """A code, a message and no data."""
    answer = api.post(CREATE, json=body)

    assert (status, code, None) == (answer.status_code, answer.json()["code"], answer.json()["data"])
    assert named in answer.json()["message"]


def test_who_and_which(guarded: tuple[Server, str], api: httpx.Client) -> None:
    """401 and 404 in the same shape."""
    stranger = guarded[0].get(f"{QUERY}/x")
    assert (401, "invalid_api_key") == (stranger.status_code, stranger.json()["code"])
    assert (404, "video_not_found") == (api.get(f"{QUERY}/x").status_code, api.get(f"{QUERY}/x").json()["code"])
