"""Laws of ranges and validators."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.content import judge, lists, plan, read_range
from gateway.jobs.wish import Rendition
from gateway.problems import ProblemError
from tests.make import job

KEPT = Rendition(index=0, kind="video", path="clips/x/0.mp4", content_type="video/mp4", bytes=100, sha256="ab" * 32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=10-", (10, 99)),
        ("bytes=-5", (95, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=0-99999999999999999999", (0, 99)),
        ("bytes=9-1", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("bytes=٣-", None),
        ("lines=0-1", None),
        ("", None),
    ],
)
def test_one_range_is_read(text: str, expected: tuple[int, int] | None) -> None:
    """One range counts; what is none, or several, does not."""
    assert expected == read_range(text, 100)


@given(st.text(alphabet="bytes=0123456789-, ", max_size=40))
def test_a_range_is_served_or_refused(text: str) -> None:
    """Whatever the header says, the answer is the whole, a part inside it, or 416."""
    part = read_range(text, KEPT.bytes)
    if part is not None and part[0] >= KEPT.bytes:
        with pytest.raises(ProblemError) as caught:
            plan(KEPT, job(), {"range": text})

        assert (caught.value.status, caught.value.headers["content-range"]) == (416, "bytes */100")
        return
    answer = plan(KEPT, job(), {"range": text})

    assert answer.status in {200, 206}
    assert answer.start >= 0
    assert answer.start + answer.length <= KEPT.bytes
    assert str(answer.length) == answer.headers["content-length"]


def test_validators_hold() -> None:
    """A client that has the file is told so; a range of another file is not served."""
    etag = plan(KEPT, job(), {}).headers["etag"]

    assert plan(KEPT, job(), {"if-none-match": f'"other", W/{etag}'}).status == 304
    assert plan(KEPT, job(), {"if-none-match": "*"}).status == 304
    assert plan(KEPT, job(), {"if-none-match": '"other"'}).status == 200
    assert plan(KEPT, job(), {"range": "bytes=0-1", "if-range": etag}).status == 206
    assert plan(KEPT, job(), {"range": "bytes=0-1", "if-range": '"other"'}).status == 200


def test_a_suffix_of_nothing_is_refused() -> None:
    """``bytes=-0`` names no byte."""
    with pytest.raises(ProblemError) as caught:
        plan(KEPT, job(), {"range": "bytes=-0"})

    assert caught.value.status == 416


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-match": '"a"'}, 200),
        ({"if-match": '"b", "a"'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"b"'}, 412),
        ({"if-match": 'W/"a"'}, 412),
        ({"if-match": '"a"', "if-unmodified-since": "Fri, 20 Nov 2026 19:00:00 GMT"}, 200),
        ({"if-unmodified-since": "Fri, 20 Nov 2026 19:00:00 GMT"}, 412),
        ({"if-unmodified-since": "Sat, 21 Nov 2026 19:00:00 GMT"}, 200),
        ({"if-unmodified-since": "yesterday"}, 200),
        ({"if-none-match": 'W/"a"'}, 304),
        ({"if-none-match": '"b"'}, 200),
        ({"if-none-match": '"b"', "if-modified-since": "Sat, 21 Nov 2026 19:00:00 GMT"}, 200),
        ({"if-modified-since": "Sat, 21 Nov 2026 19:00:00 GMT"}, 304),
        ({"if-modified-since": "Fri, 20 Nov 2026 19:00:00 GMT"}, 200),
        ({"if-modified-since": "Sat, 99 Nov 2026"}, 200),
        ({"if-match": '"b"', "if-none-match": '"a"'}, 412),
    ],
)
def test_preconditions_are_weighed_in_order(headers: dict[str, str], status: int) -> None:
    """As RFC 9110 has it; a date that is none says nothing."""
    assert status == judge('"a"', "Sat, 21 Nov 2026 19:00:00 GMT", headers)


def test_a_weak_validator_proves_nothing() -> None:
    """It is enough to be told that nothing changed, and not to be sent the bytes that go with others."""
    assert lists('W/"a"', '"a"')
    assert not lists('W/"a"', '"a"', strong=True)
    assert not lists('W/"a"', 'W/"a"', strong=True)
    assert lists('"b", "a"', '"a"', strong=True)
