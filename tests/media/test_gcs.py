"""
The laws of a shelf, on Google Cloud Storage's XML API as our own double of it speaks that (:mod:`tests.gcs`).

It holds what is sent to Google's pages, not to Google: nothing here was ever run against the cloud itself.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import httpx
import pytest

from gateway.clips.bucket import Bucket
from gateway.clips.shelf import Shelf, ShelfError
from tests.gcs import google
from tests.media.test_shelf import (
    LABEL,
    file_of,
    read,
    test_a_copy_outlives_what_it_was_made_of,  # noqa: F401 - collected here
    test_a_folder_is_walked_and_removed,  # noqa: F401
    test_answers_hold_what_is_kept,  # noqa: F401
    test_it_can_be_proven,  # noqa: F401
    test_many_take_it_up_at_once,  # noqa: F401
    test_what_is_lent_is_a_file_for_a_while,  # noqa: F401
    test_what_is_not_there_is_gone,  # noqa: F401
    test_what_is_old_alone_is_removed,  # noqa: F401
    test_what_is_put_is_read,  # noqa: F401
    test_what_is_put_there_as_it_is_removed_is_found,  # noqa: F401
)

Open = Callable[..., Bucket]


@pytest.fixture(autouse=True, scope="module")
def shelf_kind() -> str:
    """None of the shelves other modules are held to."""
    return "google"


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A bucket of its own for each law, opened as often as one likes, as a service account's file lets one."""
    scratch, url = tmp_path / "media" / "incoming", f"gs://laws{token_hex(4)}/some/prefix"
    scratch.mkdir(parents=True)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google().credentials(tmp_path / "account.json")))
    return lambda **options: Bucket(url, scratch, **{"endpoint": google().endpoint, **options})


@pytest.fixture
def shelf(opened: Open) -> Iterator[Shelf]:
    yield opened()
    assert {} == google().uploads


async def test_an_address_is_signed(opened: Open, tmp_path: Path) -> None:
    """Anybody can fetch one object by it, a range of it too, under the name it was given; no other, nor for long."""
    data = os.urandom(100_000)
    for name in ("0.mp4", "1.mp4"):
        await opened().put(file_of(tmp_path, data), f"clips/ab/j/{name}", LABEL)
    address = await opened(endpoint="").address("clips/ab/j/0.mp4")
    assert address is not None
    assert address.startswith("https://storage.googleapis.com/")
    here, host = address.replace("https://storage.googleapis.com", google().endpoint), "storage.googleapis.com"
    for_long = here.replace("X-Goog-Expires=300", "X-Goog-Expires=3000")
    async with httpx.AsyncClient(trust_env=False, headers={"host": host}) as stranger:
        whole = await stranger.get(here)
        part = await stranger.get(here, headers={"range": "bytes=10-19"})
        others = [await stranger.get(each) for each in (here.replace("0.mp4", "1.mp4"), for_long)]
        removed = await stranger.delete(here)
    assert (200, data, "video/mp4") == (whole.status_code, whole.content, whole.headers["content-type"])
    assert 'attachment; filename="a.mp4"' == whole.headers["content-disposition"]
    assert (206, data[10:20]) == (part.status_code, part.content)
    assert [403, 403, 403] == [each.status_code for each in (*others, removed)]


async def test_an_address_elsewhere_is_none(shelf: Shelf) -> None:
    """The library signs for Google's own host alone: what lies at another is sent through here."""
    assert await shelf.address("clips/ab/j/0.mp4") is None


async def test_a_store_that_is_busy_is_asked_again(shelf: Shelf, tmp_path: Path) -> None:
    """Google takes one write a second of an object, and says so of the next."""
    google().busy = 1
    await shelf.put(file_of(tmp_path, b"clip"), "clips/ab/j/0.mp4", LABEL)
    assert 0 == google().busy
    assert b"clip" == await read(shelf, "clips/ab/j/0.mp4", 0, 4)


async def test_who_is_not_let_in_is_told(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not of the account's own key opens nothing."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "somebody else's")
    with pytest.raises(ShelfError, match=r"ping: .* 401 "):
        await opened().ping()
