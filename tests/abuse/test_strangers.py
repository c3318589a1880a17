"""Row 88: what belongs to another tenant answers exactly as what does not exist."""

import json

import pytest

from tests.abuse import wire
from tests.abuse.target import Target
from tests.abuse.wire import Answer

CHANGING = ("date", "openai-processing-ms")
VIDEO_CALLS = (
    ("GET", "/v1/videos/<id>", None),
    ("HEAD", "/v1/videos/<id>/content", None),
    ("GET", "/v1/videos/<id>/content", None),
    ("GET", "/v1/videos/<id>/content?variant=thumbnail", None),
    ("GET", "/v1/videos/<id>/attempts", None),
    ("GET", "/v1/videos?after=<id>", None),
    ("POST", "/v1/videos/<id>/cancel", None),
    ("DELETE", "/v1/videos/<id>", None),
    ("POST", "/v1/videos/<id>/remix", {"prompt": "x"}),
    ("POST", "/v1/videos/edits", {"prompt": "x", "video": {"id": "<id>"}}),
    ("POST", "/v1/videos/extensions", {"prompt": "x", "seconds": "4", "video": {"id": "<id>"}}),
    ("POST", "/v1/videos", {"prompt": "x", "previous_video_id": "<id>"}),
    ("POST", "/v1/videos", {"prompt": "x", "input_references": [{"id": "<id>"}]}),
    ("POST", "/v1/quotes", {"prompt": "x", "previous_video_id": "<id>"}),
)
FILE_CALLS = (
    ("GET", "/v1/files/<id>", None),
    ("GET", "/v1/files/<id>/content", None),
    ("DELETE", "/v1/files/<id>", None),
    ("POST", "/v1/videos", {"prompt": "x", "input_reference": {"file_id": "<id>"}}),
    ("POST", "/v1/quotes", {"prompt": "x", "input_reference": {"file_id": "<id>"}}),
)


def ask(target: Target, method: str, path: str, body: dict[str, object] | None, id_: str) -> Answer:
    """Make a call about an id, under a request id of our choice, and put the id out of the answer."""
    raw = b"" if body is None else json.dumps(body).replace("<id>", id_).encode()
    headers = {
        "Host": target.names["host"],
        "Authorization": f"Bearer {target.own}",
        "X-Request-Id": "the-same",
        "Content-Type": "application/json",
        "Content-Length": str(len(raw)),
    }
    with wire.open_to(target.server.port) as connection:
        sent = wire.request(method, path.replace("<id>", id_), headers.items()) + raw
        answer = wire.exchange(connection, [sent], method)
    kept = {name: value for name, value in answer.headers.items() if name not in CHANGING}
    return answer._replace(headers=kept, body=answer.body.replace(id_.encode(), b"<id>"), seconds=0)


@pytest.mark.parametrize(("method", "path", "body"), VIDEO_CALLS)
def test_anothers_video_is_nobodys(target: Target, method: str, path: str, body: dict[str, object] | None) -> None:
    """Every call about another tenant's video gets, byte for byte, the answer to an id nobody has."""
    nobodys = ask(target, method, path, body, target.names["ghost"])
    anothers = ask(target, method, path, body, target.names["stranger"])
    assert nobodys == anothers
    assert nobodys.status in {400, 404}
    assert 200 == target.call("GET", f"/v1/videos/{target.names['stranger']}", key="other").status


@pytest.mark.parametrize(("method", "path", "body"), FILE_CALLS)
def test_anothers_file_is_nobodys(target: Target, method: str, path: str, body: dict[str, object] | None) -> None:
    """Every call about another tenant's file gets, byte for byte, the answer to an id nobody has."""
    nobodys = ask(target, method, path, body, target.names["ghost"].replace("video", "file"))
    anothers = ask(target, method, path, body, target.names["strange_file"])
    assert nobodys == anothers
    assert 404 == nobodys.status
    assert 200 == target.call("GET", f"/v1/files/{target.names['strange_file']}", key="other").status
