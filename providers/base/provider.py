"""The adapter contract: six verbs, and the promise to translate and nothing else."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import httpx
from msgspec import Struct

from providers.base.catalog import Refusal
from providers.base.errors import ProviderError, Unsupported
from providers.base.hooks import HookCall, HookKey
from providers.base.listing import Listing
from providers.base.objections import PICTURES, unsaid
from providers.base.options import unknown_options
from providers.base.order import Order, Role
from providers.base.signing import origin
from providers.base.task import AssetRef, Task, Update
from providers.base.wire import Call, Reply, Wire


class HookHint(Struct, frozen=True):
    """Name a task a provider's callback spoke of: a reason to look, never a verdict."""

    task: str


class Uploads:
    """
    Remember what a provider calls the files it was given, by their sha256, for one account.

    Forgotten at a restart and beyond ``most`` entries: an upload is free and may be repeated.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._names: dict[str, str] = {}

    def get(self, sha256: str) -> str | None:
        """Look a file up."""
        return self._names.get(sha256)

    def put(self, sha256: str, name: str) -> None:
        """Remember a file, in place of the oldest where there are too many."""
        if len(self._names) >= self._most:
            self._names.pop(next(iter(self._names)))
        self._names[sha256] = name

    def forget(self, sha256: str) -> None:
        """Forget a file the provider no longer knows."""
        self._names.pop(sha256, None)


async def contents(order: Order) -> dict[str, bytes]:
    """Read the bytes of an order's inputs, by their sha256."""
    return {sha256: await asyncio.to_thread(path.read_bytes) for sha256, path in order.files.items()}


class Provider(ABC):
    """
    Speak one provider's dialect.

    Translates and nothing else: never sleeps, retries, loops, logs, reads settings or opens a connection.
    ``encode`` and ``decode`` are pure functions of the adapter's module; these methods join them to a wire.
    """

    def __init__(self, listing: Listing, credentials: Mapping[str, str], *, base_url: str = "") -> None:
        """Speak for one account; ``base_url`` points somewhere other than the listing says."""
        self.listing = listing
        self.credentials = credentials
        self.base_url = (base_url or listing.base_url).rstrip("/")
        self.uploads = Uploads()

    def auth(self) -> httpx.Auth:
        """Sign calls with this account's credentials."""
        return httpx.Auth()

    def signs(self, url: str) -> bool:
        """Whether calls to an address are signed with this account's credentials; pure."""
        return origin(url) == origin(self.base_url)

    def objections(self, order: Order) -> Iterable[Refusal]:
        """
        Name what an order asks that cannot be put into this dialect's words; pure.

        The gateway asks before it quotes, of an order without files and links, whose choices are in its spec alone;
        :meth:`submit` refuses no other order that is sold, and leaves nothing out in silence. By default an order may
        bring pictures and a clip, no more.
        """
        yield from unsaid(order, self.listing.name, {*PICTURES, Role.SOURCE})
        yield from unknown_options(order.request, self.listing.slug, {})

    @abstractmethod
    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, once; the one call in it that buys is not repeatable."""

    @abstractmethod
    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a task."""

    async def cancel(self, task: Task, wire: Wire) -> Update:
        """Ask the provider to stop a task; its verdict counts."""
        del task, wire
        msg = f"{self.listing.name} cannot cancel"
        raise Unsupported(msg)

    async def find(self, order: Order, wire: Wire) -> Update | None:
        """
        Look for an order whose answer was lost.

        ``None`` is proof that the provider never took it; where it cannot prove that, it raises.
        """
        del order, wire
        msg = f"{self.listing.name} cannot look an order up"
        raise Unsupported(msg)

    def hook_key(self, headers: Mapping[str, str]) -> HookKey | None:
        """Name the public key a callback says it is signed with; none where its provider signs with no such key."""
        del headers
        return None

    def check_hook(self, call: HookCall) -> None:
        """
        Refuse a callback its provider would have signed and did not; pure. By default nothing is signed.

        :raises ForgedError: when it is to be refused.
        """
        del call

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        """Read which tasks a callback speaks of; pure."""
        del headers, body
        return ()

    def fetch(self, asset: AssetRef) -> Call:
        """Say how to download a finished clip; pure. A ``Range`` is added to go on with one that broke off."""
        return Call.get(asset.url)

    @abstractmethod
    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """
        Turn an error answer into our words: status first, provider code second, prose never; pure.

        ``buying`` says that it answers the call that buys: doubt is then ``Indeterminate``
        (:func:`~providers.base.errors.by_status`).
        """
