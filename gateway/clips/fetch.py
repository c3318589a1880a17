"""
Download a finished clip from where its provider put it: only from hosts its listing names, redirects by hand.

A download that is cut goes on where it stopped, where the host can do that and its clip is still the same.
https://www.rfc-editor.org/rfc/rfc9110 §13.1.5 and §14.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin

import httpx
from msgspec import Struct
from msgspec.structs import replace

from gateway.clips.inputs import magic
from gateway.clips.parts import Mark, Part
from gateway.failpoints import failpoint
from gateway.jobs.finished import ClipError, Missed
from gateway.network.guard import NotAllowedError, is_literal
from gateway.offers.accounts import Account
from providers.base.errors import ProviderError
from providers.base.signing import origin
from providers.base.task import AssetRef
from providers.base.wire import HIDDEN, LEAST_SECRET, Download, Wire, parsed

HOPS = 5
"""Redirects followed."""
RESUMES = 5
"""Connections one try may take, as long as each brings something."""
LEAST_RATE = 64_000
"""Bytes a second below which a download is given up, for now."""
RATE_SECONDS = 30.0
"""Over how many seconds that is measured; the longest silence is twice that, for some hosts must fetch it first."""
SNIFFED = 12
"""Bytes that tell whether something is a clip."""
UNREADABLE = (httpx.InvalidURL, ValueError)
"""What reading an address raises; what is wrong with a name in another script is a ValueError."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Terms(Struct, frozen=True, kw_only=True):
    """Say how much of a clip is taken in, and how slowly."""

    max_bytes: int
    room: Callable[[], int]
    """How many bytes may still be written here."""
    least_rate: float = LEAST_RATE
    seconds: float = RATE_SECONDS


class Head(Struct, frozen=True):
    """Say what an answer brings: from which byte on, of how many, and by what it is known again."""

    start: int
    total: int | None
    validator: str


class Pace:
    """Watch that bytes keep coming fast enough."""

    def __init__(self, least_rate: float, seconds: float, now: float) -> None:
        self._least = least_rate * seconds
        self._seconds = seconds
        self._since = now
        self._came = 0

    def note(self, size: int, now: float) -> None:
        """
        Count bytes.

        :raises ClipError: when too few came for too long.
        """
        self._came += size
        if now - self._since < self._seconds:
            return
        if self._came < self._least * (now - self._since) / self._seconds:
            raise ClipError(f"it comes at less than {self._least / self._seconds / 1000:g} kB/s", Missed.SLOW)
        self._since, self._came = now, 0


async def fetch_clip(account: Account, asset: AssetRef, part: Part, terms: Terms) -> None:
    """
    Bring a part up to the whole clip, which may have come inside the provider's answer.

    :raises ClipError: naming why it is not whole; what has come stays.
    :raises OSError: when it cannot be written.
    """
    if asset.data:
        part.restart(None)
        part.write(asset.data)
        return
    source = asset.url.partition("?")[0]
    for _ in range(RESUMES):
        before = part.size
        try:
            if await _bring(account, asset, source, part, terms):
                return
        except ClipError as miss:
            if miss.kind is not Missed.CUT or part.size <= before or not part.rest(source):
                raise
    raise ClipError("the answer ends again and again before the clip does", Missed.CUT)


async def _bring(account: Account, asset: AssetRef, source: str, part: Part, terms: Terms) -> bool:
    """Take in what one answer brings; the flag says whether the clip is whole, else it is begun anew."""
    start: int | None = None
    try:
        async with open_asset(account, asset, part.rest(source), silence=2 * terms.seconds) as download:
            head = read_head(download, part.size if part.rest(source) else 0)
            if head.start:
                known = part.mark and part.mark.total
                if head.start != part.size or known not in {None, head.total}:
                    part.restart(None)
                    return False
            else:
                part.restart(Mark(source, head.validator, head.total))
            _check_size(head.total or 0, part, terms)
            start = part.size
            if head.start != head.total:
                await _pour(download.chunks, part, terms)
    except ProviderError as error:
        if isinstance(error.__cause__, NotAllowedError):
            raise ClipError("its address is not on the public internet", Missed.FOREIGN) from error
        came = start is not None and part.size > start
        raise ClipError(error.message, Missed.CUT if came else Missed.UNREACHABLE) from error
    if head.total is not None and part.size < head.total:
        raise ClipError(f"the answer ended after {part.size} of {head.total} bytes", Missed.CUT)
    return True


async def _pour(chunks: AsyncIterator[bytes], part: Part, terms: Terms) -> None:
    """Write bytes as they come, as long as they may be a clip's."""
    loop = asyncio.get_running_loop()
    pace = Pace(terms.least_rate, terms.seconds, loop.time())
    sniffed = part.size >= SNIFFED
    async for chunk in chunks:
        part.write(chunk)
        _check_size(part.size, part, terms)
        if not sniffed and part.size >= SNIFFED:
            sniffed = True
            if not (magic(part.head(SNIFFED)) or "").startswith("video/"):
                raise ClipError("not a clip: it starts like none")
        pace.note(len(chunk), loop.time())
        failpoint("while_fetching")


def _check_size(size: int, part: Part, terms: Terms) -> None:
    """Refuse what is too large for a clip, or for the room there is."""
    if size > terms.max_bytes:
        raise ClipError(f"the clip is larger than {terms.max_bytes // 2**20} MB", Missed.TOO_LARGE)
    if size > part.size and size - part.size > terms.room():
        raise ClipError("there is no room left to keep it", Missed.STORAGE)


def read_head(download: Download, asked: int) -> Head:
    """
    Read what an answer brings; ``asked`` is the byte that was asked for first, 0 for the whole; pure.

    :raises ClipError: when it brings nothing of a clip.
    """
    status, headers = download.status, download.headers
    if status == 416 and asked:
        # The clip is still the same, and has no byte beyond what has come: either it is whole or we are wrong.
        total = _number(r"bytes \*/(\d{1,18})", headers.get("content-range", ""))
        return Head(asked, asked, "") if total == asked else Head(-1, total, "")
    if status == 206 and asked:
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers.get("content-range", "").strip())
        if found is None:
            return Head(-1, None, "")
        return Head(int(found[1]) or -1, None if found[2] == "*" else int(found[2]), "")
    if status != 200:
        raise ClipError(f"its address answers {status}", kind_of(status))
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise ClipError("not a clip: it comes packed")
    return Head(0, _number(r"(\d{1,18})", headers.get("content-length", "")), validator_of(headers))


def kind_of(status: int) -> Missed:
    """Name what an answer without a clip means."""
    if status in BUSY:
        return Missed.UNREACHABLE
    return {401: Missed.DENIED, 403: Missed.DENIED, 404: Missed.GONE, 410: Missed.GONE}.get(status, Missed.STRANGE)


def validator_of(headers: Mapping[str, str]) -> str:
    """Find what a host can be asked to find unchanged: a strong entity tag, else a date that cannot mean two."""
    tag = headers.get("etag", "").strip()
    if tag.startswith('"') and tag.isascii() and tag.isprintable():
        return tag
    changed = headers.get("last-modified", "").strip()
    try:
        settled = parsedate_to_datetime(headers.get("date", "")) > parsedate_to_datetime(changed)
    except (TypeError, ValueError):
        return ""
    return changed if settled and not tag else ""


def _number(pattern: str, text: str) -> int | None:
    """Read a number a header holds."""
    found = re.fullmatch(pattern, text.strip())
    return int(found[1]) if found else None


@asynccontextmanager
async def open_asset(
    account: Account, asset: AssetRef, headers: Mapping[str, str] | None = None, *, silence: float = 2 * RATE_SECONDS
) -> AsyncIterator[Download]:
    """
    Ask for a clip, and follow where that leads.

    :raises ClipError: when an address is not the provider's.
    :raises ProviderError: when nobody answers.
    """
    more = dict(headers or {})
    call = account.provider.fetch(asset)
    call = replace(call, headers={**call.headers, **more}, timeout=silence)
    for _ in range(HOPS + 1):
        async with _wire(account, call.url).stream(call) as download:
            onward = download.headers.get("location", "") if download.status in REDIRECTS else ""
            if not onward:
                yield download
                return
        url = _onward(call.url, onward)
        # The account's credentials sign its own host alone; what the call itself says stays there too.
        call = replace(call, url=url, headers=call.headers if _same(call.url, url) else more)
    raise ClipError("its address leads round in circles", Missed.STRANGE)


def is_public(account: Account, url: str) -> bool:
    """
    Whether anybody can fetch a clip from where its provider put it, and may be told: no credential of ours is needed,
    and none is part of the address; pure.

    What lies at the account's own address is signed for, so nobody knows whether it would be had without.
    """
    try:
        scheme, host, _ = origin(url)
        userinfo = parsed(url).userinfo
    except UNREADABLE:
        return False
    written = {url, unquote(url)}
    held = [each for each in account.provider.credentials.values() if len(each) >= LEAST_SECRET]
    return (
        scheme == "https"
        and not userinfo
        and account.listing.fetches(host, base_url=account.provider.base_url)
        and not account.provider.signs(url)
        and not any(each in text for each in (*held, HIDDEN.decode()) for text in written)
    )


def _wire(account: Account, url: str) -> Wire:
    """
    Find what carries a call to an address; one at a host that neither the listing nor the operator names is refused.

    A provider's answer is a stranger's word: everything but the account's own address is dialled under the guard.
    It is read as it will be dialled, so that no two readings of one address can differ.
    """
    try:
        scheme, host, port = origin(url)
    except UNREADABLE as error:
        raise ClipError("its address is none", Missed.FOREIGN) from error
    if (scheme, host, port) == origin(account.provider.base_url):
        return account.wire
    seller = account.listing.name
    if scheme == "https" and account.listing.fetches(host, base_url=account.provider.base_url):
        return account.abroad
    if scheme != "https" or is_literal(host):
        raise ClipError(f"its address is at {scheme}://{host}, where {seller} keeps no clips", Missed.FOREIGN)
    unlisted = f"which neither the listing of {seller} nor clip_hosts of the account {account.name} names"
    raise ClipError(f"its address is at {host}, {unlisted}", Missed.UNLISTED)


def _same(one: str, other: str) -> bool:
    """Whether two addresses are one server's."""
    try:
        return origin(one) == origin(other)
    except UNREADABLE:
        return False


def _onward(url: str, location: str) -> str:
    """Say where a redirect leads."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ClipError("its address leads nowhere", Missed.STRANGE) from error
