"""Signed links: they open what they were made for, until they run out, and nothing else."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clips.links import Links, open_key
from gateway.jobs.wish import Rendition
from providers.base.order import Input, Role

LINKS = Links(b"k" * 32)
NOW = 1_795_000_000_000
DAY = 86_400_000
PATHS = st.text(alphabet="abc/._-09", min_size=1, max_size=40).map(lambda text: f"/links/{text}")


def parts(link: str) -> tuple[str, str, str]:
    """Take a link apart: path, expiry, signature."""
    path, _, query = link.partition("?")
    expires, signature = (each.partition("=")[2] for each in query.split("&"))
    return path, expires, signature


@given(PATHS, st.integers(1, 400 * DAY))
def test_a_link_holds_until_it_runs_out(path: str, life: int) -> None:
    """It is good for at least as long as was asked, and for less than an hour more."""
    signed = parts(LINKS.sign(path, NOW + life))

    assert LINKS.holds(*signed, now=NOW + life - 1)
    assert not LINKS.holds(*signed, now=NOW + life + 3_600_000)


@given(PATHS, PATHS)
def test_a_link_opens_one_path(path: str, other: str) -> None:
    """The signature of one path is none of another, nor of a later end, nor by another key."""
    _, expires, signature = parts(LINKS.sign(path, NOW + DAY))

    assert LINKS.holds(other, expires, signature, NOW) is (path == other)
    assert not LINKS.holds(path, str(int(expires) + 3600), signature, NOW)
    assert not Links(b"x" * 32).holds(path, expires, signature, NOW)


def test_a_link_asked_for_again_is_the_same() -> None:
    """Within an hour nothing changes, so that whoever keeps addresses keeps one."""
    start = NOW // 3_600_000 * 3_600_000

    assert LINKS.sign("/links/x", start + 1000) == LINKS.sign("/links/x", start + 3_599_000)


def test_links_say_by_their_end_what_they_open() -> None:
    """A clip ends in its own suffix, an input in that of its type, which is by magic bytes."""
    clip = Rendition(index=0, kind="video", path="clips/ab/j/0.webm", content_type="video/webm", bytes=1, sha256="a")
    picture = Input(role=Role.FIRST_FRAME, media_type="image/jpeg", sha256="f" * 64, size=1)

    assert "/links/clips/video_1/0.webm" == parts(LINKS.to_clip("video_1", clip, NOW))[0]
    assert f"/links/inputs/{'f' * 64}.jpg" == parts(LINKS.to_input(picture, NOW))[0]


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """Whoever opens it later has the same, nobody else on the machine can read it, and nothing lies beside it."""
    path = tmp_path / "media" / "links.key"
    key = open_key(path)

    assert key == open_key(path)
    assert 32 == len(key)
    assert stat.S_IRUSR | stat.S_IWUSR == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(path.parent.iterdir())


def test_keys_differ(tmp_path: Path) -> None:
    """Two gateways do not open each other's links."""
    assert open_key(tmp_path / "a") != open_key(tmp_path / "b")


@pytest.mark.parametrize("signature", ["", "x", "é", "A" * 43])
def test_what_is_no_signature_opens_nothing(signature: str) -> None:
    """Anything else is refused, whatever it is made of."""
    assert not LINKS.holds("/links/x", "9999999999", signature, NOW)
