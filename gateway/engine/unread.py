"""
Keep what a provider said that nobody could read: what it answered to an order, and its word for how a task stands.

An answer may name the task that was bought. Operators alone see it, who may adopt the task; it is in no answer to a
client, no log and no metric.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from msgspec.structs import replace

from gateway.jobs.job import Job
from gateway.offers.accounts import Account
from gateway.store.database import Statement
from gateway.store.evidence import Kind, keep
from gateway.telemetry import Metrics, names
from providers.base.errors import ProviderError
from providers.base.order import Order
from providers.base.task import State, Update
from providers.base.wire import LEAST_SECRET, MOST_HEARD, Call, Download, Reply, Wire, beginning

log = structlog.get_logger()


class Witness:
    """Carry an account's calls, and remember how the answer begins to the one that buys."""

    def __init__(self, wire: Wire, account: Account) -> None:
        self._wire = wire
        self._account = account
        self._order: Order | None = None
        self._head = ""
        self._body = b""

    def attend(self, order: Order) -> Order:
        """Say which order it is whose answer is to be heard."""
        self._order = order
        return order

    async def send(self, call: Call) -> Reply:
        """Send and read the whole answer; of one that broke off, what had come is remembered."""
        try:
            reply = await self._wire.send(call)
        except ProviderError as error:
            if error.heard and not call.repeatable:
                self._hear("broken off", error.heard)
            raise
        if not call.repeatable:
            self._hear(_head(reply.status, reply.headers.get("content-type", "")), reply.body)
        return reply

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        """Send and hand the answer over piece by piece."""
        async with self._wire.stream(call) as download:
            if call.repeatable:
                yield download
                return
            self._hear(_head(download.status, download.headers.get("content-type", "")), b"")
            yield replace(download, chunks=self._overheard(download.chunks))

    async def _overheard(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass pieces on, remembering the first."""
        async for chunk in chunks:
            if len(self._body) < MOST_HEARD:
                self._body += chunk
            yield chunk

    def _hear(self, head: str, body: bytes) -> None:
        """Remember an answer in place of an earlier one."""
        self._head, self._body = head, body

    def testify(self, now: int) -> list[Statement]:
        """Write how the answer to the order begins, without what is secret in it; nothing where there was none."""
        if self._order is None or not self._head:
            return []
        body = beginning(self._body, _secrets(self._order, self._account)).decode("utf-8", "replace")
        return [keep(self._order.attempt, Kind.ANSWER, f"{self._head}: {body}", now)]


def strange(job: Job, update: Update, metrics: Metrics, now: int) -> list[Statement]:
    """Raise the alarm over a word for how a task stands that nobody here knows, and write it; it is no verdict."""
    if update.state is not State.UNKNOWN or job.attempt is None:
        return []
    log.warning("task.state_unknown", **names(job), word=update.raw_state)
    metrics.words.labels((job.offer or "").partition(":")[0]).inc()
    return [keep(job.attempt, Kind.WORD, update.raw_state[:MOST_HEARD], now)]


def _head(status: int, media_type: str) -> str:
    """Say how an answer came."""
    return f"HTTP {status} {media_type}".strip()


def _secrets(order: Order, account: Account) -> Iterable[str]:
    """List what an answer must not repeat: the account's secrets, and addresses only the provider may know."""
    public = {each.name for each in account.listing.secrets if each.public}
    own = (value for name, value in account.provider.credentials.items() if name not in public)
    return [
        spelt
        for secret in (*own, order.hook_url, *order.links.values())
        if len(secret) >= LEAST_SECRET
        for spelt in (secret, secret.replace("/", "\\/"))
    ]
