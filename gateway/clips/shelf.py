"""
Where assets lie for good, by key: in a folder (:mod:`gateway.clips.folder`) or in an object store
(:mod:`gateway.clips.bucket`).

What lies under a key is whole, and what was put there is there after a power cut. Keys are made of our own ids and
hashes; no byte of a client's is ever part of one. Nobody asks which kind of shelf it is, only what it can do: name a
file (:meth:`Shelf.path`), or an address of its own (:meth:`Shelf.address`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class ShelfError(Exception):
    """The shelf cannot be reached, or turns us away: nobody can tell what lies there."""


class GoneError(Exception):
    """Nothing lies under a key."""


class Item(Struct, frozen=True):
    """Describe what lies under a key."""

    key: str
    size: int
    modified: int
    """Since when it lies there, in milliseconds; putting it there again counts anew."""


class Label(Struct, frozen=True):
    """Say what an asset is to those who fetch it from the shelf itself."""

    content_type: str
    filename: str = ""
    """How it is called once it is saved; empty for whatever its address ends in."""


class Shelf(Protocol):
    """Keep assets by key; every verb may raise :class:`ShelfError`."""

    async def put(self, source: Path, key: str, label: Label) -> None:
        """Take a finished file, durably and whole or not at all; the file is the shelf's from then on."""

    async def copy(self, source: str, target: str) -> None:
        """
        Let what lies under one key lie under another as well, or under the same, from now on.

        :raises GoneError: when nothing does.
        """

    async def find(self, key: str) -> Item | None:
        """Describe what lies under a key; where it was set aside, by the key it has there."""

    def read(self, key: str, start: int, length: int) -> AsyncGenerator[bytes]:
        """
        Read a part piece by piece, never more than one in memory.

        :raises GoneError: before the first piece, when nothing lies there.
        """

    def lend(self, key: str) -> AbstractAsyncContextManager[Path]:
        """
        Have it as a file on this machine, to read and not to change, for as long as the context is open.

        :raises GoneError: when nothing lies there.
        """

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove what lies under keys; what does not is no error."""

    async def remove_old(self, key: str, before: int) -> bool:
        """
        Remove what has lain under a key since before a time, in milliseconds; says whether it did.

        Whoever puts the same bytes there at that moment finds them afterwards. A shelf that cannot tell sets them
        aside, below ``aside/`` and the key, for whoever collects litter to remove in the same way.
        """

    def walk(self, folder: str) -> AsyncIterator[Item]:
        """List what lies below a folder, in any order."""

    def path(self, key: str) -> Path | None:
        """Say which file of this machine it is, where it is one."""

    async def address(self, key: str) -> str | None:
        """Say where anybody can fetch it for a short while, where it has such an address."""

    async def ping(self) -> None:
        """Look whether assets could be kept, as cheaply as that can be told."""

    async def prove(self) -> None:
        """Keep something and remove it again."""
