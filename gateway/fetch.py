"""Download a finished clip from where its provider put it: only from hosts its listing names, redirects by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

from msgspec.structs import replace

from gateway.accounts import Account
from gateway.media import ClipError
from providers.base.task import AssetRef

HOPS = 5
"""Redirects followed."""


@asynccontextmanager
async def open_asset(account: Account, asset: AssetRef) -> AsyncIterator[AsyncIterator[bytes]]:
    """
    Open a clip's bytes, which may have come inside the provider's answer.

    :raises ClipError: when its address is not the provider's, or answers anything but the clip.
    :raises ProviderError: when nobody answers.
    """
    if asset.data:
        yield _whole(asset.data)
        return
    call = account.provider.fetch(asset)
    for _ in range(HOPS + 1):
        _check(account, call.url)
        async with account.wire.stream(call) as download:
            onward = download.headers.get("location", "") if 300 <= download.status < 400 else ""
            if download.status == 200:
                yield download.chunks
                return
            if not onward:
                raise ClipError(f"its address answers {download.status}")
        # The account's credentials sign its own host alone, so they do not travel along.
        call = replace(call, url=urljoin(call.url, onward))
    raise ClipError("its address leads round in circles")


def _check(account: Account, url: str) -> None:
    """Refuse an address the listing does not name: a provider's answer is a stranger's word."""
    at, own = urlsplit(url), urlsplit(account.provider.base_url)
    if (at.scheme, at.netloc) == (own.scheme, own.netloc):
        return
    if at.scheme != "https" or not account.listing.fetches(at.hostname or "", base_url=account.provider.base_url):
        raise ClipError(f"its address is at {at.scheme}://{at.hostname}, where {account.listing.name} keeps no clips")


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    """Hand bytes over as a download would."""
    yield data
