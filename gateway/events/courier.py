"""
Send due deliveries: each at least once, the same id every time, no host at another's expense.

Due work is an indexed scan and a claim is a lease, as for jobs: no task, timer or thread waits with a delivery.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct
from msgspec.structs import replace
from standardwebhooks import Webhook

from gateway.clock import DAY_MS
from gateway.events.events import PATIENCE_MS, Delivery, Endpoint, Try, next_try
from gateway.events.letters import Letter, Letters
from gateway.events.outbox import Outbox
from gateway.events.vault import Vault
from gateway.network.errand import FetchError
from gateway.network.guard import NotAllowedError
from gateway.network.places import Places, portion
from gateway.rounds import Rounds
from gateway.settings import WebhookSettings
from gateway.store.database import ConflictError, StoreUnavailableError
from gateway.telemetry import Metrics
from providers.base.advice import retry_after

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound

log = structlog.get_logger()

YOUNG_SECONDS = 0.5
"""A delivery that takes longer gives its place up: a receiver that hangs costs the others nothing."""
MOST = 1024
"""Deliveries under way, slow ones included; one tenant has half of what another leaves free, as steps are shared."""
SLOW_DOWN = {429, 502, 503, 504}
"""Answers by which a receiver asks for less."""
REST_SECONDS = (1.0, 60.0)
"""Least and most seconds a host that asked for less is left alone."""
GONE = 410
SPARE_SECONDS = 45.0
"""How much longer than a try may take its lease is: who is slow to write it down is not told twice."""
SWEEP_MS = 600_000
PUT_OFF_MS = 1000
"""How soon a delivery comes again that we had no room for."""
TESTS = 16
"""Samples being sent at the same time."""
TEST_PATIENCE = 2.0
"""How many seconds one waits for its turn."""


class Answer(Struct, frozen=True, kw_only=True):
    """Hold what a receiver answered, or why it did not."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def good(self) -> bool:
        """Whether the receiver has it: only 2xx says so, a redirect does not."""
        return self.status is not None and 200 <= self.status < 300


class Signer(Struct, frozen=True, kw_only=True):
    """Say whose secret signs, which one, and until when the one before does too."""

    owner: str
    version: int
    old_until: int | None


class Courier(Rounds):
    """Tell receivers what is due, a bounded number at a time and a bounded number a host."""

    called = "courier"

    def __init__(
        self,
        outbox: Outbox,
        vault: Vault,
        outbound: Callable[[], "Outbound"],
        clock: Callable[[], int],
        settings: WebhookSettings,
        metrics: Metrics,
        letters: Letters,
    ) -> None:
        super().__init__()
        self._metrics = metrics
        self._letters = letters
        self._outbox = outbox
        self._vault = vault
        self._outbound = outbound
        self._clock = clock
        self._settings = settings
        self._under_way: dict[asyncio.Task[None], tuple[Delivery, float]] = {}
        """Each delivery, and since when it is under way."""
        self._tests = Places(TESTS)
        self._resting: dict[str, float] = {}
        self._swept_at = 0

    async def run(self) -> None:
        """Deliver until stopped, and let the deliveries under way end."""
        try:
            await super().run()
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=self._settings.seconds + 1)
        finally:
            for delivery in self._under_way:
                delivery.cancel()

    async def _round(self) -> None:
        """Claim what is due and begin with it; then rest until something else is."""
        self._woken.clear()
        await self._sweep()
        free = self._free()
        lease = int((self._settings.seconds + SPARE_SECONDS) * 1000)
        full, room = self._shares()
        taken: list[Delivery] = []
        if free:
            each, busy = self._settings.per_host, self._busy()
            taken = await self._outbox.claim(lease=lease, each=each, most=min(free, room), busy=busy, full=full)
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[task] = (delivery, time.monotonic())
            task.add_done_callback(self._done)
        if taken:
            return
        due = await self._outbox.next_due() if free else None
        wait = self.idle_seconds if due is None else (due - self._clock()) / 1000
        # Whoever turns slow frees a place without a word.
        await self._rest(max(0.0, min(self.idle_seconds if free and not full else YOUNG_SECONDS / 2, wait)))

    def _free(self) -> int:
        """Count the places left: those who are slow hold none of the usual ones."""
        old = time.monotonic() - YOUNG_SECONDS
        young = sum(since > old for _, since in self._under_way.values())
        return max(0, min(self._settings.at_once - young, MOST - len(self._under_way)))

    def _busy(self) -> str:
        """Name the hosts that get nothing more now, between spaces."""
        now = time.monotonic()
        self._resting = {host: until for host, until in self._resting.items() if until > now}
        counts = Counter(delivery.host for delivery, _ in self._under_way.values())
        full = [host for host, count in counts.items() if count >= self._settings.per_host]
        return f" {' '.join([*full, *self._resting])} "

    def _shares(self) -> tuple[str, int]:
        """
        Name the tenants that get nothing more now, each in quotes, and say how much any other may get.

        Who has many slow ones leaves as many places free; the last quarter of the usual ones is somebody else's.
        """
        old = time.monotonic() - YOUNG_SECONDS
        counts = Counter(delivery.tenant for delivery, _ in self._under_way.values())
        young = Counter(delivery.tenant for delivery, since in self._under_way.values() if since > old)
        free, share = MOST - len(self._under_way), portion(self._settings.at_once)
        full = {each for each, count in counts.items() if count >= free or young[each] >= share}
        most = max((count for each, count in young.items() if each not in full), default=0)
        return " ".join(f'"{each}"' for each in full), share - most

    def _done(self, task: "asyncio.Task[None]") -> None:
        """Make room for the next delivery."""
        self._under_way.pop(task, None)
        self.wake()

    async def _sweep(self) -> None:
        """Now and then forget what was settled long ago."""
        now = self._clock()
        if now - self._swept_at >= SWEEP_MS:
            self._swept_at = now
            await self._outbox.sweep(before=now - int(self._settings.keep_days * DAY_MS))

    async def _deliver(self, delivery: Delivery) -> None:
        """Make one try, and keep how it went; whatever goes wrong, the lease brings the delivery back."""
        try:
            endpoint = await self._outbox.receiver(delivery) if delivery.endpoint else None
            if delivery.endpoint and endpoint is None:
                await self._outbox.drop(delivery.endpoint)  # Deleted since it was claimed.
                return
            if endpoint and endpoint.disabled_at is not None:
                await self._outbox.hold(endpoint)
                return
            await self._try(delivery, endpoint)
        except ConflictError:
            log.info("delivery.overtaken", delivery=delivery.id)
        except StoreUnavailableError as error:
            log.error("delivery.stalled", delivery=delivery.id, reason=str(error))
        except FetchError as error:  # It is we who were busy: no try was made.
            log.info("delivery.put_off", delivery=delivery.id, reason=error.message)
        except Exception as error:
            log.exception("delivery.crashed", delivery=delivery.id, exc_info=error)

    async def _try(self, delivery: Delivery, endpoint: Endpoint | None) -> None:
        """Send a delivery and keep what came of it."""
        url = endpoint.url if endpoint else delivery.url
        signer = signer_of(endpoint) if endpoint else await self._caller(delivery.tenant)
        letter = await self._letters.write(delivery)
        began, at = time.monotonic(), self._clock()
        try:
            answer = await self._send(url, delivery.event, letter, signer, owner=f"webhooks/{delivery.tenant}")
        except FetchError:
            await self._outbox.put_off(delivery, PUT_OFF_MS)
            raise
        number = delivery.tries + 1
        took = int((time.monotonic() - began) * 1000)
        made = Try(delivery=delivery.id, number=number, at=at, took_ms=took, status=answer.status, error=answer.error)
        if answer.status in SLOW_DOWN:
            least, most = REST_SECONDS
            self._resting[delivery.host] = time.monotonic() + max(least, min(most, answer.retry_after or least))
        now = self._clock()
        wait = next_try(delivery.step, answer.retry_after, random.random())  # noqa: S311
        if answer.good:
            after = replace(delivery, state="delivered", tries=number, due_at=None, ended_at=now)
        elif wait is None or answer.status == GONE:
            after = replace(delivery, state="failed", tries=number, due_at=None, ended_at=now)
        else:
            after = replace(delivery, tries=number, step=delivery.step + 1, due_at=now + int(wait * 1000))
        why = None if answer.good or endpoint is None else _hopeless(endpoint, answer, now)
        await self._outbox.record(after, made, url=url, disable=why)
        self._metrics.deliveries.labels(after.state if answer.good or after.due_at is None else "retried").inc()
        log.info(
            "delivery.tried", job=delivery.job, delivery=delivery.id, host=delivery.host, status=answer.status,
            reason=answer.error, state=after.state, tries=number,
        )  # fmt: skip
        if why is not None:
            log.warning("endpoint.disabled", endpoint=delivery.endpoint, reason=why)

    async def _caller(self, tenant: str) -> Signer:
        """Say whose secret signs what goes to a tenant's ``callback_url``."""
        version, old_until = await self._outbox.callback_secret(tenant)
        return Signer(owner=callback_owner(tenant), version=version, old_until=old_until)

    def _secrets(self, signer: Signer) -> list[str]:
        """List what signs now, newest first."""
        turning = signer.old_until is not None and self._clock() < signer.old_until
        versions = [signer.version, signer.version - 1] if turning else [signer.version]
        return [self._vault.signing_secret(signer.owner, each) for each in versions]

    async def test(self, endpoint: Endpoint, event: str, letter: Letter) -> Answer:
        """
        Post a sample to an endpoint at once.

        :raises FetchError: when too many samples, or names, are under way to do so.
        """
        owner = f"tests/{endpoint.tenant}"
        try:
            await self._tests.take(owner, TEST_PATIENCE)
        except TimeoutError as error:
            raise FetchError("testing_busy", "Too many endpoints are being tested; try again.", busy=True) from error
        try:
            return await self._send(endpoint.url, event, letter, signer_of(endpoint), owner=owner)
        finally:
            self._tests.leave(owner)

    async def _send(self, url: str, event: str, letter: Letter, signer: Signer, *, owner: str) -> Answer:
        """
        Post a letter once, signed as Standard Webhooks says; of the answer nothing but its head is read.

        :raises FetchError: when it is we who did not come to send it.
        """
        now = datetime.fromtimestamp(self._clock() // 1000, UTC)
        body, secrets = letter.body, self._secrets(signer)
        signatures = " ".join(Webhook(secret).sign(event, now, body.decode()) for secret in secrets)
        headers = {
            **letter.headers,
            **letter.sign(secrets[0], int(now.timestamp())),
            "Content-Type": "application/json",
            "User-Agent": "reelgate",
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures,
        }
        seconds = self._settings.seconds
        try:
            outbound = self._outbound()
            target = outbound.read(url)
            if not self._settings.http and not target.url.startswith("https:"):
                raise NotAllowedError("it is not https")
            async with outbound.call(
                "POST", target, headers, body, owner=owner, silent=seconds, seconds=seconds
            ) as answer:
                return Answer(
                    status=answer.status,
                    error=None if 200 <= answer.status < 300 else f"answered {answer.status}",
                    retry_after=retry_after(_lower(answer.headers)),
                )
        except NotAllowedError as error:
            log.info("address.refused", reason=str(error))
            # In one sentence: whoever reads of his endpoint must not learn which names of an inner network exist.
            return Answer(error="its name does not resolve, or the address is not allowed")
        except FetchError as error:
            if error.busy:
                raise
            return Answer(error="the server gives no whole answer")
        except TimeoutError:
            return Answer(error=f"no answer within {seconds:g} s")


def signer_of(endpoint: Endpoint) -> Signer:
    """Say whose secret signs what goes to an endpoint: its own."""
    return Signer(owner=endpoint.id, version=endpoint.version, old_until=endpoint.old_until)


def callback_owner(tenant: str) -> str:
    """Name whose secret signs what goes to a tenant's ``callback_url``."""
    return f"callback:{tenant}"


def _hopeless(endpoint: Endpoint, answer: Answer, now: int) -> str | None:
    """Say why an endpoint is told nothing more, if so."""
    if answer.status == GONE:
        return "It answered 410 Gone."
    if endpoint.failing_since is not None and now - endpoint.failing_since >= PATIENCE_MS:
        return "It did nothing but fail for five days."
    return None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Spell header names in one way."""
    return {name.lower(): value for name, value in headers.items()}
