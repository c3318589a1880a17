"""Laws of fetching clips: from the hosts a listing names and over https, whatever an answer or a redirect says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clips.fetch import HOPS, Terms, fetch_clip
from gateway.clips.parts import take
from gateway.jobs.finished import ClipError, Missed
from gateway.offers.accounts import Account
from providers.base.errors import Unavailable
from providers.base.task import AssetRef
from providers.base.wire import Call, Download
from tests.make import listing
from tests.scripted import Scripted

CLIP = b"\0\0\0\x18ftypmp42"
HOME = "https://acme.test"
TERMS = Terms(max_bytes=2**20, room=lambda: 2**30)


class Web:
    """A wire whose addresses answer as told; what nobody told of is the clip."""

    def __init__(self, **pages: tuple[int, str]) -> None:
        self.pages = pages
        self.dialled: list[str] = []

    async def send(self, call: Call) -> None:
        raise AssertionError("a download is streamed")

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        assert call.repeatable
        self.dialled.append(call.url)
        status, location = self.pages.get(call.url.rpartition("/")[2], (200, ""))

        async def chunks() -> AsyncIterator[bytes]:
            yield CLIP

        yield Download(status=status, headers={"location": location} if location else {}, chunks=chunks())


def account(web: Web, base_url: str = HOME) -> Account:
    sold = listing("acme", hosts=["cdn.acme.test", "*.clips.test"])
    provider = Scripted(sold)
    provider.base_url = base_url
    return Account("acme", provider, web, plan="", max_running=1)  # type: ignore[arg-type]


async def fetched(url: str, web: Web | None = None, base_url: str = HOME) -> bytes:
    return await got(account(web or Web(), base_url), AssetRef(url=url))


async def got(whose: Account, asset: AssetRef) -> bytes:
    """Fetch a clip as a step does, and read what came."""
    with TemporaryDirectory() as folder:
        part = take(Path(folder), "clip")
        try:
            await fetch_clip(whose, asset, part, TERMS)
            return part.head(part.size)
        finally:
            part.close()


FINE = [
    f"{HOME}/a.mp4",
    "https://ACME.test:443/a.mp4",
    "https://cdn.acme.test/a.mp4",
    "https://a.clips.test/a.mp4?X-Signature=1%2B2",
    "https://a.b.clips.test/a.mp4",
]
FOREIGN = [
    "https://evil.test/a.mp4",
    "https://clips.test/a.mp4",
    "https://evilclips.test/a.mp4",
    "https://cdn.acme.test.evil.test/a.mp4",
    "https://xcdn.acme.test/a.mp4",
    "https://cdn.acme.test@evil.test/a.mp4",
    "https://cdn.acme.test\\@evil.test/a.mp4",
    "https://evil.test#cdn.acme.test/a.mp4",
    "https://evil.test?cdn.acme.test/a.mp4",
    "https://cdn.acme.test./a.mp4",
    "https://cdn.acme.test%00.evil.test/a.mp4",
    "https://cdn.acme.test\t.evil.test/a.mp4",
    "http://cdn.acme.test/a.mp4",
    "http://acme.test/a.mp4",
    "ftp://cdn.acme.test/a.mp4",
    "file:///etc/passwd",
    "sandbox://studio/a.mp4",
    "//cdn.acme.test/a.mp4",
    "a.mp4",
    "",
    "https://[::1/a.mp4",
    "https://[zz]/a.mp4",
    "https://cdn.acme.test:port/a.mp4",
    "https://127.0.0.1/a.mp4",
    "https://169.254.169.254/latest",
    "https://[::1]/a.mp4",
]


@pytest.mark.parametrize("url", FINE)
async def test_what_the_listing_names_is_fetched(url: str) -> None:
    """The provider's own address, a host its listing names, or one below a host it names with a star."""
    assert CLIP == await fetched(url)


@pytest.mark.parametrize("url", FOREIGN)
async def test_what_the_listing_does_not_name_is_never_dialled(url: str) -> None:
    """An answer that names any other host, scheme or nonsense costs no connection."""
    web = Web()
    with pytest.raises(ClipError):
        await fetched(url, web)
    assert [] == web.dialled


@pytest.mark.parametrize("url", [each for each in FOREIGN if each not in {"a.mp4", "", "//cdn.acme.test/a.mp4"}])
async def test_a_redirect_is_held_to_the_same(url: str) -> None:
    """Wherever the first address leads is checked like the first."""
    web = Web(start=(302, url))
    with pytest.raises(ClipError):
        await fetched(f"{HOME}/start", web)
    assert [f"{HOME}/start"] == web.dialled


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/next", "next", "https://cdn.acme.test/next", "//a.clips.test/next"])
async def test_redirects_are_followed_by_hand(status: int, location: str) -> None:
    """To another host the listing names, absolute or not."""
    web = Web(start=(status, location))
    assert CLIP == await fetched(f"{HOME}/start", web)
    assert 2 == len(web.dialled)
    assert web.dialled[1].startswith("https://")


async def test_a_circle_ends() -> None:
    """So does a road of more than five turns; five are fine."""
    circle = Web(a=(302, "/b"), b=(302, "/a"))
    with pytest.raises(ClipError, match="round in circles"):
        await fetched(f"{HOME}/a", circle)
    assert HOPS + 1 == len(circle.dialled)
    turns = {str(at): (302, f"/{at + 1}") for at in range(HOPS)}
    assert CLIP == await fetched(f"{HOME}/0", Web(**turns))


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 500, 503])
async def test_anything_but_the_clip_is_an_error(status: int) -> None:
    """By its status; a redirect that leads nowhere is one too."""
    with pytest.raises(ClipError, match=f"answers {status}"):
        await fetched(f"{HOME}/a", Web(a=(status, "")))
    with pytest.raises(ClipError, match="answers 302"):
        await fetched(f"{HOME}/a", Web(a=(302, "")))


async def test_an_account_elsewhere_is_its_own_home() -> None:
    """A relay on loopback serves its clips over http from its own port, and from no other."""
    relay = "http://127.0.0.1:9000"
    assert CLIP == await fetched(f"{relay}/a.mp4", base_url=relay)
    for url in ("http://127.0.0.1:9001/a.mp4", "http://127.0.0.1/a.mp4", "http://localhost:9000/a.mp4"):
        with pytest.raises(ClipError):
            await fetched(url, base_url=relay)


async def test_a_clip_inside_the_answer_is_not_fetched() -> None:
    """Its bytes are there; whatever address stands beside them is not asked."""
    web = Web()
    asset = AssetRef(url="https://evil.test/a.mp4", data=CLIP)
    assert CLIP == await got(account(web), asset)
    assert [] == web.dialled


async def test_silence_stays_silence() -> None:
    """That nobody answered is not said to be the clip's fault: it may be tried again."""

    class Dead(Web):
        @asynccontextmanager
        async def stream(self, call: Call) -> AsyncIterator[Download]:
            raise Unavailable("no answer")
            yield

    with pytest.raises(ClipError) as caught:
        await fetched(f"{HOME}/a", Dead())
    assert Missed.UNREACHABLE is caught.value.kind


@given(st.text(max_size=60) | st.from_regex(r"https?://[\w.@:\[\]%\\#?-]{0,40}/\w{0,5}"))
async def test_no_text_is_more_than_refused(url: str) -> None:
    """Whatever a provider writes for an address, it is the clip, or one of our errors."""
    web = Web(start=(302, url))
    for where in (url, f"{HOME}/start"):
        said = ""
        try:
            came = await fetched(where, web)
        except ClipError as error:
            came, said = b"", str(error)
        assert came == CLIP or said.startswith("its address ")
