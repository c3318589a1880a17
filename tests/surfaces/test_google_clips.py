"""Laws of where Google's clients find a clip over plain http: each by what it can read, and all of them the same."""

import httpx
import pytest

from tests.server import Server, eventually

VEO = "/v1beta/models/sandbox/demo:predictLongRunning"
SDK = {"x-goog-api-client": "google-genai-sdk/2.34.0 gl-python/3.11.7"}
OTHERS = ({}, {"x-goog-api-client": "genai-js/0.1"})
"""LiteLLM and the Vercel AI SDK name no client of Google's, others name another."""


def order(api: httpx.Client, **instance: object) -> str:
    """Order a clip, and say which operation it is."""
    parameters = {"durationSeconds": 1, "resolution": "360p"} if "video" not in instance else {}
    body = {"instances": [{"prompt": "a kite", **instance}], "parameters": parameters}
    answer = api.post(VEO, json=body)
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["name"])


def where(api: httpx.Client, name: str, headers: dict[str, str]) -> str:
    """Read an ended operation's clip."""
    done = api.get(f"/v1beta/{name}", headers=headers).json()
    return str(done["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"])


@pytest.fixture(scope="module")
def made(api: httpx.Client) -> str:
    name = order(api)
    eventually(lambda: api.get(f"/v1beta/{name}").json().get("done"))
    return name


def test_googles_sdk_reads_a_name_and_all_others_an_address(
    api: httpx.Client, guarded: tuple[Server, str], made: str
) -> None:
    """The SDK downloads by name, with its key; whatever else there is fetches the address as it stands, with none."""
    digits = made.rpartition("/")[2]
    assert f"files/{digits}" == where(api, made, SDK)
    kept = api.get(f"/v1beta/files/{digits}:download?alt=media", headers=SDK).content
    for headers in OTHERS:
        link = where(api, made, headers)
        assert link.startswith(f"{guarded[0].url}/links/")
        assert link.endswith(f"/clips/video_{digits}/0.mp4")
        assert kept == httpx.get(link, trust_env=False).content
    file = f"/v1beta/files/{digits}"
    named, linked = (api.get(file, headers=headers).json()["downloadUri"] for headers in (SDK, OTHERS[1]))
    assert (f"files/{digits}", link) == (named, linked)


def test_a_clip_goes_on_from_wherever_it_was_found(api: httpx.Client, made: str) -> None:
    """A link that is sent back is the clip made here, not an address to be fetched: its seller goes on from it."""
    parents = set()
    for headers in (SDK, *OTHERS):
        name = order(api, video={"uri": where(api, made, headers)})
        video = api.get(f"/v1/videos/video_{name.rpartition('/')[2]}").json()
        parents.add((video["parent_video_id"], video["request"]["mode"]))
        api.post(f"/v1/videos/{video['id']}/cancel")
    assert {(f"video_{made.rpartition('/')[2]}", "extend")} == parents
