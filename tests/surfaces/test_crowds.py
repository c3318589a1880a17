"""Laws of many pictures in one call: they are counted before anybody names one, and refused in the client's words."""

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.api.create import MOST_MEDIA
from gateway.problems import ProblemError, invalid
from gateway.surfaces import common

URL = "https://example.com/x.png"
NAMED = {"type": "image_url", "image_url": {"url": URL}}
VEO = "/v1beta/models/sandbox/demo:predictLongRunning"
CLIP = {"model": "sandbox/demo", "prompt": "x"}

CALLS: dict[str, tuple[str, Callable[[int], dict[str, Any]], str]] = {
    "videos": ("/v1/videos", lambda n: {**CLIP, "input_references": [URL] * n}, "input_references"),
    "video frames": ("/v1/videos", lambda n: {**CLIP, "frame_images": [URL] * n}, "frame_images"),
    "chat": (
        "/v1/chat/completions",
        lambda n: {"model": "sandbox/demo", "messages": [{"role": "user", "content": [NAMED] * n}]},
        "messages[0].content.image_url",
    ),
    "chat google": (
        "/v1/chat/completions",
        lambda n: {
            "model": "sandbox/demo",
            "messages": [{"role": "user", "content": "x"}],
            "google": {"referenceImages": [{"image": {"uri": URL}}] * n},
        },
        "google.referenceImages",
    ),
    "newapi": ("/veo/v1/video/create", lambda n: {**CLIP, "images": [URL] * n}, "images"),
    "kie": (
        "/api/v1/jobs/createTask",
        lambda n: {"model": "sandbox/demo", "input": {"prompt": "x", "image_urls": [URL] * n}},
        "input.image_urls",
    ),
    "kie veo": ("/api/v1/veo/generate", lambda n: {**CLIP, "imageUrls": [URL] * n}, "imageUrls"),
    "openrouter": ("/api/v1/videos", lambda n: {**CLIP, "input_references": [NAMED] * n}, "input_references"),
    "openrouter frames": ("/api/v1/videos", lambda n: {**CLIP, "frame_images": [NAMED] * n}, "frame_images"),
    "interactions": (
        "/v1beta/interactions",
        lambda n: {"model": "sandbox/demo", "input": [{"type": "image", "uri": URL}] * n},
        "input",
    ),
    "gemini": (
        VEO,
        lambda n: {"instances": [{"prompt": "x", "referenceImages": [{"image": {"uri": URL}}] * n}]},
        "instances[0].referenceImages",
    ),
    "flow": (
        "/v1/google-flow/videos",
        lambda n: {**CLIP, **{f"referenceImage_{at}": "x" for at in range(1, n + 1)}},
        "referenceImage_8",
    ),
}


@pytest.mark.parametrize("many", [MOST_MEDIA + 1, 20_000])
@pytest.mark.parametrize("name", CALLS)
def test_too_many_are_refused_by_their_list(name: str, many: int, api: httpx.Client) -> None:
    """One more than a call takes, or a body full: the same answer, under the list's own name, and under no item's."""
    path, body, field = CALLS[name]
    answer = api.post(path, json=body(many))
    assert 400 <= answer.status_code < 500 or '"code":422' in answer.text
    said = json.dumps(answer.json())
    assert re.search(rf"(?<![\w.]){re.escape(field)}(?![\w.\[])", said), said


@pytest.mark.parametrize("read", [common.frames, common.references])
@pytest.mark.parametrize("many", [1, 2, 3, MOST_MEDIA])
def test_each_of_a_few_has_a_name(many: int, read: Callable[..., dict[str, Any]]) -> None:
    """Its own, and its list's."""
    names: dict[str, str] = {}
    (taken,) = read([URL] * many, "images", names).values()
    assert many == len(taken)
    assert {f"images[{at}]" for at in range(many)} <= {*names.values()}


@pytest.mark.parametrize("read", [common.frames, common.references])
@pytest.mark.parametrize("many", [MOST_MEDIA + 1, 90_000])
def test_no_more_are_named_than_any_call_takes(many: int, read: Callable[..., dict[str, Any]]) -> None:
    """Who says what is wrong with a call is not handed a name for each item of what its caller made up."""
    names: dict[str, str] = {}
    with pytest.raises(ProblemError, match=f"images takes a list of at most {MOST_MEDIA} items") as found:
        read([URL] * many, "images", names)
    assert ("images", {}) == (found.value.param, names)


def test_no_pattern_is_built_for_a_name_that_does_not_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names a dialect has, what it costs to say a problem is by what the problem says."""
    built: list[str] = []

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def build(pattern: str, *rest: Any) -> Any:
            built.append(pattern)
            return work(pattern, *rest)

        return build

    watched = SimpleNamespace(**{**vars(re), "sub": noting(re.sub), "match": noting(re.match)})
    monkeypatch.setattr(common, "re", watched)
    names = {f"input_references[{at}]": f"images[{at}]" for at in range(1000)} | {"input_references": "images"}
    said = common.renamed(invalid("input_references[7].url", "input_references[7].url is no address."), names)
    assert ("images[7]", "images[7].url is no address.") == (said.param, said.message)
    assert len(built) <= 4
