"""
Keep assets in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Credentials, region and the like come from the environment by the names each cloud gives them (``AWS_*``,
``GOOGLE_*``, ``AZURE_*``), or from the machine's own role. An object is there whole or not at all: a large one is sent
in parts, which nobody sees until the last has come. What a process that dies leaves of those costs money, and no
listing shows it, so give the bucket a rule that ends unfinished uploads after a day.
"""

import asyncio
import atexit
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from gateway.clips.shelf import GoneError, Item, Label, ShelfError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

log = structlog.get_logger()

STORES: dict[str, type[S3Store | GCSStore | AzureStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
"""Which store a URL's scheme means."""
ENDPOINTS = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
"""What each calls the address of a server other than its cloud's own."""
PART = 5 * 2**20
"""Bytes of one part of a large object; parts grow where an object would need more than :data:`PARTS`."""
PARTS = 9_000
PARTS_AT_ONCE = 3
"""Parts of one object on their way at the same time."""
UPLOADS_AT_ONCE = 4
"""Objects on their way there at the same time: what uploads take in memory does not grow with jobs or sizes."""
PIECE = 2 * 2**20
"""Bytes asked for at once by those who read: no connection waits for a slow reader."""
RETRIES: "RetryConfig" = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=45),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=4), "base": 2},
}
"""How long a call goes on trying before its caller is told; whoever called has a way to come back later."""
SIGNED_FOR = "storage.googleapis.com"
"""The host the library signs Google's addresses for, whichever it talks to."""
ASIDE = "aside"
"""Where an object lies that was removed for its age, or is on its way to where it is: by keys never used again."""
FAULTS = (BaseError, OSError, ValueError, NotImplementedError)
"""What the library raises."""
LAST_SECONDS = 0.1
"""
How long a process that ends waits for the library's threads, which let go of a call a moment after it was answered: an
interpreter that is gone by then is aborted, and whoever started it takes its work for undone.
"""
atexit.register(time.sleep, LAST_SECONDS)


class Bucket:
    """A :class:`~gateway.clips.shelf.Shelf` in an object store."""

    def __init__(self, url: str, scratch: Path, *, endpoint: str = "", redirect_seconds: float = 300) -> None:
        """
        Open ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``; nothing is asked of it yet.

        ``scratch`` is a folder for what is lent. Nothing has an address of its own where ``redirect_seconds`` is 0.

        :raises ShelfError: when the environment's words for it contradict each other.
        """
        scheme, _, rest = url.partition("://")
        name, _, prefix = rest.partition("/")
        client: ClientConfig = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=5)}
        if endpoint.startswith("http://"):
            client["allow_http"] = True
        config: Any = {ENDPOINTS[scheme]: endpoint} if endpoint else {}
        with _said(url):
            self._store = STORES[scheme](
                name, prefix=prefix.strip("/") or None, config=config, client_options=client, retry_config=RETRIES
            )
        self._url = url
        self._scratch = scratch
        self._lifetime = timedelta(seconds=redirect_seconds)
        self._uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def put(self, source: Path, key: str, label: Label) -> None:
        """Send a file as it lies on disk, in parts where it is large; it has its key once the last part is kept."""
        size = await asyncio.to_thread(os.path.getsize, source)
        disposition = f'attachment; filename="{label.filename}"' if label.filename else "attachment"
        attributes = {
            "Content-Type": label.content_type,
            "Content-Disposition": disposition,
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        async with self._uploading:
            with _said(key):
                await obstore.put_async(
                    self._store,
                    key,
                    source,
                    attributes=attributes,
                    chunk_size=max(PART, -(-size // PARTS)),
                    max_concurrency=PARTS_AT_ONCE,
                )
        await asyncio.to_thread(source.unlink, missing_ok=True)

    async def copy(self, source: str, target: str) -> None:
        """
        Have the store copy an object; no byte comes here.

        :raises GoneError: when there is none.
        """
        # No object is copied onto itself: by way of another it is.
        way = [source, _beside(source), target] if source == target else [source, target]
        if not await self._copy(way):
            aside = await self._aside(source)
            if aside is None or not await self._copy([aside.key, target]):
                raise GoneError(source)
        await self.remove(way[1:-1])

    async def _copy(self, way: Sequence[str]) -> bool:
        """Copy an object from key to key; says whether there is one."""
        with _said(way[0]):
            try:
                for one, other in pairwise(way):
                    await obstore.copy_async(self._store, one, other)
            except FileNotFoundError:
                return False
        return True

    async def find(self, key: str) -> Item | None:
        """Ask for an object's head; what was removed as somebody put it there is found where it was set aside."""
        return await self._head(key) or await self._aside(key)

    async def _head(self, key: str) -> Item | None:
        """Ask for the head of what lies under a key itself."""
        with _said(key):
            try:
                return _item(await obstore.head_async(self._store, key))
            except FileNotFoundError:
                return None

    async def _aside(self, key: str) -> Item | None:
        """Find the youngest of what was set aside from a key."""
        found = [each async for each in self.walk(f"{ASIDE}/{key}")]
        return max(found, key=lambda each: each.modified, default=None)

    async def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes]:
        """
        Ask for one piece after the other.

        :raises GoneError: when there is no such object.
        """
        place = key
        while length:
            piece = await self._piece(place, start, min(PIECE, length))
            if piece is None and (aside := await self._aside(key)):
                place = aside.key
                piece = await self._piece(place, start, min(PIECE, length))
            if piece is None:
                raise GoneError(key)
            if not piece:
                return
            start, length = start + len(piece), length - len(piece)
            yield piece

    async def _piece(self, key: str, start: int, length: int) -> bytes | None:
        """Ask for one piece; ``None`` where there is no such object."""
        with _said(key):
            try:
                return bytes(await obstore.get_range_async(self._store, key, start=start, length=length))
            except FileNotFoundError:
                return None

    @asynccontextmanager
    async def lend(self, key: str) -> AsyncIterator[Path]:
        """
        Fetch an object into a file, and remove that afterwards.

        Nothing is cached: what is lent is an input about to be ordered with, mostly once.

        :raises GoneError: when there is no such object.
        """
        item = await self.find(key)
        if item is None:
            raise GoneError(key)
        path = self._scratch / f"lent-{token_hex(8)}"
        try:
            with path.open("wb") as file:
                async for piece in self.read(key, 0, item.size):
                    file.write(piece)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; the store is asked once for as many as it takes."""
        with _said(self._url):
            try:
                await obstore.delete_async(self._store, list(keys))
            except FileNotFoundError:
                # Some clouds call it an error, and then nobody knows how far they came.
                for key in keys:
                    await self._remove_one(key)

    async def _remove_one(self, key: str) -> None:
        """Remove an object, or find that it is gone."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def remove_old(self, key: str, before: int) -> bool:
        """
        Remove an object unless it was put there since; for a while the same bytes are found aside.

        Between the look and the removal somebody may put it there anew, and no store removes an object on condition of
        its age: by its mark some do, but the same bytes have the same mark on S3. So what is removed is first set aside
        under a key of its own, where it is found by all who ask for it; it goes from there once it is old itself, which
        nothing that is needed can be and have no name.
        """
        item = await self._head(key)
        if item is None or item.modified > before:
            return False
        if not key.startswith(f"{ASIDE}/") and not await self._copy([key, _beside(key)]):
            return False
        await self.remove([key])
        return True

    async def walk(self, folder: str) -> AsyncIterator[Item]:
        """List objects, a page of the store's at a time."""
        listing = obstore.list(self._store, prefix=folder)
        while True:
            with _said(folder):
                page = await anext(listing, None)
            if page is None:
                return
            for found in page:
                yield _item(found)

    def path(self, key: str) -> None:
        """An object is no file."""

    async def address(self, key: str) -> str | None:
        """Sign an address of the store's own, good for reading this object a short while."""
        if not self._lifetime:
            return None
        try:
            address = await obstore.sign_async(self._store, "GET", key, self._lifetime)
        except FAULTS as error:
            # A role that may read may not be allowed to sign, on some clouds: then the bytes go through here.
            log.warning("address.unsigned", reason=_first_line(error))
            return None
        if isinstance(self._store, GCSStore) and urlsplit(address).netloc != SIGNED_FOR:
            return None  # Whoever answers there is asked by another name than was signed, and refuses.
        return address

    async def ping(self) -> None:
        """Ask for an object that need not be there: whoever is answered can reach the store, and is let in."""
        await self._head("ping")

    async def prove(self) -> None:
        """Put an object there and remove it."""
        key = f"ping-{token_hex(8)}"
        with _said(self._url):
            await obstore.put_async(self._store, key, b"reelgate check")
        await self.remove([key])


@contextmanager
def _said(what: str) -> Iterator[None]:
    """
    Say what went wrong in our own words.

    :raises ShelfError: for whatever the library raises.
    """
    try:
        yield
    except FAULTS as error:
        raise ShelfError(f"{what}: {_first_line(error)}") from error


def _beside(key: str) -> str:
    """Make up where an object of a key is set aside."""
    return f"{ASIDE}/{key}/{token_hex(8)}"


def _first_line(error: Exception) -> str:
    """Take the part of a message that is for people."""
    return str(error).partition("\n")[0][:300] or type(error).__name__


def _item(found: Any) -> Item:
    """Read an object's description."""
    return Item(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))
