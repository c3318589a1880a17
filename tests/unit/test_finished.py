"""Laws of keeping what was paid for: how long it is tried, and what is said of what came. All pure."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clips.fetch import Pace, read_head, validator_of
from gateway.engine.findings import compare
from gateway.jobs.finished import DOUBTS, LONGEST, PASSING, ClipError, Missed, expiry, next_try
from gateway.jobs.wish import Choice, Rendition, Wish
from providers.base.order import Mode, Request, Spec
from providers.base.wire import Download

DAY = 86_400.0
KINDS = st.sampled_from(sorted(Missed))


@given(KINDS, st.integers(0, 10_000), st.integers(0, DOUBTS - 1), st.floats(0.001, DAY))
def test_a_clip_is_tried_until_its_link_ends(kind: Missed, tries: int, doubts: int, left: float) -> None:
    """The next try comes soon, and never after the end; only what is too large is given up before."""
    wait = next_try(kind, tries + doubts, doubts, left)
    if kind is Missed.TOO_LARGE:
        assert wait is None
    else:
        assert wait is not None
        assert 0 < wait <= min(LONGEST, left)


@given(KINDS, st.integers(0, 10_000), st.integers(0, 10), st.floats(-DAY, 0))
def test_nothing_is_tried_after_its_end(kind: Missed, tries: int, doubts: int, left: float) -> None:
    """A link that is over is not dialled for ever."""
    assert None is next_try(kind, tries, doubts, left)


def test_what_is_no_clip_is_not_asked_for_all_day() -> None:
    """Five wrong answers are enough, however long the link may live and whatever outage came before."""
    wrong = sorted({*Missed} - PASSING - {Missed.TOO_LARGE})
    for kind in wrong:
        waits = [next_try(kind, 30 + doubts, doubts, DAY) for doubts in range(1, DOUBTS + 1)]
        assert [0.25, 1.0, 4.0, 16.0, None] == waits


@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(0.01, 20)), max_size=60))
def test_a_pace_is_measured_over_its_window(came: list[tuple[int, float]]) -> None:
    """What keeps to the least rate in every piece is never called slow; what never does is, once a window is over."""
    fast, slow, now = Pace(64_000, 30, 0.0), Pace(64_000, 30, 0.0), 0.0
    for extra, passed in came:
        now += passed
        fast.note(int(64_000 * passed) + 1 + extra, now)
        if now < 30:
            slow.note(int(63_000 * passed), now)
    with pytest.raises(ClipError) as caught:
        slow.note(0, max(now, 30.0) + 1000)
    assert Missed.SLOW is caught.value.kind


HEADERS = st.dictionaries(
    st.sampled_from(["content-length", "content-range", "content-encoding", "etag", "last-modified", "date"]),
    st.text(max_size=30) | st.from_regex(r"bytes [0-9*]{1,4}-[0-9]{0,4}/[0-9*]{1,4}", fullmatch=True),
)


@given(st.integers(100, 599), HEADERS, st.integers(0, 10_000))
def test_whatever_a_host_answers_is_the_rest_the_whole_or_nothing(
    status: int, headers: dict[str, str], asked: int
) -> None:
    """Bytes are only ever put where they were asked for, or at the beginning."""
    try:
        head = read_head(Download(status=status, headers=headers, chunks=None), asked)  # type: ignore[arg-type]
    except ClipError as miss:
        assert miss.kind not in {Missed.CUT, Missed.SLOW, Missed.STORAGE}  # noqa: PT017
        return
    assert (status == 200) is (head.start == 0)
    assert status in {200, 206, 416}
    assert asked or status == 200
    if status == 416:
        assert (head.start == asked) is (f"bytes */{asked}" == headers.get("content-range", "").strip())
    assert head.validator == (validator_of(headers) if status == 200 else "")


@given(HEADERS)
def test_only_a_strong_validator_is_asked_for(headers: dict[str, str]) -> None:
    """What goes into If-Range was said by the host, and is no weak tag."""
    said = validator_of(headers)
    assert said in {"", headers.get("etag", "").strip(), headers.get("last-modified", "").strip()}
    assert not said.startswith("W/")


def differences(**came: Any) -> dict[str, str]:
    """Order a clip of eight seconds at 720p with sound, and say how another differs."""
    spec = Spec(mode=Mode.TEXT, resolution="720p", seconds=8, aspect_ratio="16:9", audio=True, n=1, fps=24)
    choice = Choice(account="a", provider="p", model="m", spec=spec, usd_micros=0)
    whole = {
        "index": 0, "kind": "video", "path": "", "content_type": "video/mp4", "bytes": 1, "sha256": "", "width": 1280,
        "height": 720, "duration_seconds": 8.0, "has_audio": True,
    }  # fmt: skip
    clips = [msgspec.convert({**whole, **came}, Rendition)]
    wish = Wish(request=Request(prompt="-", model="m"))
    return {each.feature: each.details for each in compare(choice, wish, clips)}


@pytest.mark.parametrize(
    ("came", "features"),
    [
        ({}, []),
        ({"width": 1280, "height": 728}, []),
        ({"duration_seconds": 8.4}, []),
        ({"duration_seconds": 7.0}, ["seconds"]),
        ({"width": 640, "height": 360}, ["resolution"]),
        ({"width": 720, "height": 720}, ["aspect_ratio"]),
        ({"width": 720, "height": 1280}, ["aspect_ratio"]),
        ({"width": 1080, "height": 1920}, ["resolution", "aspect_ratio"]),
        ({"width": 0, "height": 0}, ["resolution", "aspect_ratio"]),
        ({"has_audio": False}, ["audio"]),
        ({"content_type": "video/webm"}, ["container"]),
        ({"kind": "thumbnail"}, ["n"]),
    ],
)
def test_a_clip_is_held_against_its_order(came: dict[str, Any], features: list[str]) -> None:
    """Each difference is named for what it is; padding to whole blocks is none."""
    assert features == list(differences(**came))


@given(st.integers(0, 2**41), st.integers(60, 10 * 365 * 86_400), st.integers(1, 2**41))
def test_a_call_may_ask_for_less_than_the_operator_keeps(now: int, asked: int, most: int) -> None:
    """The sooner of the two counts; who says nothing gets the operator's, and 0 is no end."""
    assert now + min(asked * 1000, most) == expiry(now, asked, most)
    assert (now + most, now + asked * 1000, None) == (
        expiry(now, None, most), expiry(now, asked, 0), expiry(now, None, 0),
    )  # fmt: skip
