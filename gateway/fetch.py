"""Download a finished clip from where its provider put it: only from hosts its listing names, redirects by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx
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
        call = replace(call, url=_onward(call.url, onward))
    raise ClipError("its address leads round in circles")


def _check(account: Account, url: str) -> None:
    """
    Refuse an address the listing does not name: a provider's answer is a stranger's word.

    It is read as it will be dialled, so that no two readings of one address can differ.
    """
    try:
        at, own = httpx.URL(url), httpx.URL(account.provider.base_url)
    except httpx.InvalidURL as error:
        raise ClipError("its address is none") from error
    if (at.scheme, at.host, at.port) == (own.scheme, own.host, own.port):
        return
    if at.scheme != "https" or not account.listing.fetches(at.host, base_url=account.provider.base_url):
        raise ClipError(f"its address is at {at.scheme}://{at.host}, where {account.listing.name} keeps no clips")


def _onward(url: str, location: str) -> str:
    """Say where a redirect leads."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ClipError("its address leads nowhere") from error


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    """Hand bytes over as a download would."""
    yield data
