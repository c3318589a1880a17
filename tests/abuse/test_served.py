"""Rows 93 and 94: what a kept clip is served as, and what happens to it twice."""

import hashlib

import pytest

from tests.abuse.target import Target

VARIANTS = {
    "video": ("video/mp4", "mp4"),
    "thumbnail": ("image/webp", "webp"),
    "spritesheet": ("image/jpeg", "jpg"),
    "last_frame": ("image/png", "png"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_clip_is_served_harmlessly(target: Target, variant: str) -> None:
    """A browser led to a clip saves it under a name of ours and runs nothing in it; HEAD says the same as GET."""
    id_ = target.names["done"]
    content_type, suffix = VARIANTS[variant]
    path = f"/v1/videos/{id_}/content?variant={variant}"
    got, asked = target.call("GET", path), target.call("HEAD", path)
    expected = {
        "content-type": content_type,
        "content-disposition": f'attachment; filename="{id_}-0.{suffix}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "content-length": str(len(got.body)),
        "etag": f'"{hashlib.sha256(got.body).hexdigest()}"',
        "accept-ranges": "bytes",
    }
    for answer in (got, asked):
        assert 200 == answer.status
        assert expected == {name: answer.headers.get(name) for name in expected}
        assert "content-encoding" not in answer.headers
        assert "set-cookie" not in answer.headers


def test_file_is_served_harmlessly(target: Target) -> None:
    """An upload comes back as what its bytes are, never under its sender's name."""
    id_ = target.names["strange_file"]
    answer = target.call("GET", f"/v1/files/{id_}/content", key="other")
    expected = {
        "content-type": "image/png",
        "content-disposition": f'attachment; filename="{id_}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }
    assert expected == {name: answer.headers.get(name) for name in expected}


def test_deleting_twice(target: Target) -> None:
    """The second time there is nothing to delete, to read or to cancel."""
    id_ = target.order("a red fox [fail]")
    assert "failed" == target.wait(id_)["status"]
    assert 409 == target.call("POST", f"/v1/videos/{id_}/cancel").status
    assert 200 == target.call("DELETE", f"/v1/videos/{id_}").status
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/content"), ("POST", "/cancel")):
        answer = target.call(method, f"/v1/videos/{id_}{path}")
        assert (404, "video_not_found") == (answer.status, answer.json["error"]["code"])


def test_a_clip_that_was_not_made(target: Target) -> None:
    """A failed video has no content, and says so rather than to come back."""
    id_ = target.order("a red fox [fail]")
    target.wait(id_)
    answer = target.call("GET", f"/v1/videos/{id_}/content")
    assert (404, "video_has_no_content") == (answer.status, answer.json["error"]["code"])
    target.remove(id_)
