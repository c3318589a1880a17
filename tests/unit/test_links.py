"""Signed links: they open what they were made for, until they run out, and nothing else."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.clips.links import TO_CLIP, Links, open_key
from gateway.jobs.job import Job, born
from gateway.jobs.wish import Rendition

LINKS = Links(b"k" * 32)
NOW = 1_795_000_000_000
DAY = 86_400_000
HOUR = 3_600_000
KEY = f"key_{'0' * 31}1"
PATHS = st.text(alphabet="abc/._-09", min_size=1, max_size=40).map(lambda text: f"/{text}")
KEYS = st.sampled_from(["", KEY, f"key_{'f' * 32}"])
CLIP = Rendition(index=0, kind="video", path="clips/ab/j/0.webm", content_type="video/webm", bytes=1, sha256="a")


def clip_of(expires_at: int | None = None) -> Job:
    """Make a job with a clip."""
    job = born(
        f"video_{'a' * 32}", "t", NOW, lease_until=None, deadline_at=NOW, operation="create", parent=None, wish="",
        offer="", quote="", warnings="[]", buyer="local", hold="",
    )  # fmt: skip
    return replace(job, expires_at=expires_at)


def apart(link: str) -> tuple[str, str]:
    """Take a link apart: what it opens, and its seal."""
    _, links, seal, what = link.split("/", 3)
    assert "links" == links
    return f"/{what}", seal


@given(PATHS, KEYS, st.integers(1, 400 * DAY))
def test_a_seal_holds_until_it_runs_out(path: str, key: str, life: int) -> None:
    """It is good for as long as was said, and names the key it was made for; then it is none."""
    seal = LINKS.seal(path, NOW + life, key)

    assert key == LINKS.giver(path, seal, NOW + life - 1)
    assert LINKS.giver(path, seal, NOW + life + 1000) is None


@given(PATHS, PATHS, KEYS, KEYS)
def test_a_seal_opens_one_path(path: str, other: str, key: str, another: str) -> None:
    """That of one path is none of another, nor of a later end, nor of another key, nor by another signing key."""
    seal = LINKS.seal(path, NOW + DAY, key)
    expires, *named, signature = seal.split(".")
    for changed in ([str(int(expires) + 3600), *named], [expires, another] if another else [expires]):
        forged = ".".join([*changed, signature])
        assert LINKS.giver(path, forged, NOW) is None or forged == seal

    assert (LINKS.giver(other, seal, NOW) is not None) is (path == other)
    assert Links(b"x" * 32).giver(path, seal, NOW) is None


@pytest.mark.parametrize("hours", [0.01, 1, 24, 240])
def test_a_link_asked_for_again_is_the_same(hours: float) -> None:
    """Within an hour nothing changes, so that whoever keeps addresses keeps one; it is given at least its life."""
    links, start = Links(b"k" * 32, int(hours * HOUR)), NOW // HOUR * HOUR
    first, last, next_ = (links.leave(KEY, start + at) for at in (1, HOUR - links.life_ms % HOUR, HOUR + 1))
    until = first.until(None)

    assert links.life_ms <= until - first.now <= links.life_ms + HOUR
    assert first.to(clip_of(), CLIP) == last.to(clip_of(), CLIP) != next_.to(clip_of(), CLIP)
    assert first.stamp == last.stamp != next_.stamp
    assert first.stamp != links.leave("", first.now).stamp


@given(st.integers(-2 * DAY, 3 * DAY))
def test_a_link_ends_with_its_clip(left: int) -> None:
    """It runs out in the second the clip does, and never later."""
    what, seal = apart(LINKS.leave(KEY, NOW).to(clip_of(NOW + left), CLIP))

    assert LINKS.giver(what, seal, NOW + left + 1000) is None
    assert (LINKS.giver(what, seal, NOW) == KEY) is (left >= 1000)


def test_links_say_by_their_end_what_they_open() -> None:
    """A clip ends in its own suffix, an input in that of its type, which is by magic bytes; nothing comes after."""
    link = LINKS.leave(KEY, NOW).to(clip_of(), CLIP)

    assert f"/clips/video_{'a' * 32}/0.webm" == apart(link)[0]
    assert (f"video_{'a' * 32}", "0") == TO_CLIP.fullmatch(link).groups()  # type: ignore[union-attr]
    assert f"/inputs/{'f' * 64}.jpg" == apart(LINKS.to_input("f" * 64, "image/jpeg", NOW))[0]


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


@given(st.one_of(st.text(max_size=90), st.from_regex(r"[0-9]{1,24}(\.key_[0-9a-f]{32})?\.[\w-]{0,70}", fullmatch=True)))
def test_what_is_no_seal_opens_nothing(seal: str) -> None:
    """Anything else is refused, whatever it is made of."""
    assert LINKS.giver("/x", seal, NOW) is None
