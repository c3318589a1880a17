"""
Remember endpoints, deliveries and hooks: what :mod:`gateway.store.store` is for jobs.

Each verb that writes is one transaction, and returns once that transaction is on disk.
"""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from gateway.events.events import ROTATION_MS, Delivery, Endpoint, Try
from gateway.store.database import Database, Statement, first_of, page, record_of
from gateway.store.registry import FIRST, LAST

MOST_ENDPOINTS = 32
"""Endpoints a tenant may have: each end of a video is told to every one."""


class Hook(Struct, frozen=True):
    """Hold what is known of a hook's address."""

    hash: str
    attempt: str
    job: str
    account: str
    live: bool
    """Whether its job may still be looked at for it: it is under way with it, or ended in doubt."""
    has_task: bool
    hint: str | None
    """What the provider once said its task is."""


class Schedule(Struct, frozen=True):
    """Say when a job is looked at next."""

    due_at: int
    leased: bool
    """Whether its step is under way; ``due_at`` is then when that is given up."""


class Outbox:
    """Remember whom to tell what, and who may tell us."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    # Endpoints

    async def add_endpoint(self, endpoint: Endpoint) -> None:
        """Keep a new endpoint."""
        await self._database.write(Statement("endpoint_insert", endpoint, 1))

    async def save_endpoint(self, endpoint: Endpoint) -> None:
        """
        Keep a change to an endpoint; what waits for it goes where it is now.

        :raises ConflictError: it is gone.
        """
        where = {"endpoint": endpoint.id, "host": endpoint.host}
        await self._database.write(Statement("endpoint_save", endpoint, 1), Statement("deliveries_move", where))

    async def endpoint(self, id_: str, tenant: str) -> Endpoint | None:
        """Find a tenant's endpoint; another tenant's is as unknown as none."""
        rows = await self._database.read("endpoint_of_tenant", {"id": id_, "tenant": tenant})
        return first_of(Endpoint, rows)

    async def endpoints(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool = True
    ) -> tuple[list[Endpoint], bool]:
        """List a tenant's endpoints, a page at a time."""
        query, start = ("endpoints_newest", LAST) if newest_first else ("endpoints_oldest", FIRST)
        rows = await self._database.read(query, {"tenant": tenant, "after": after or start, "most": limit + 1})
        return page(Endpoint, rows, limit)

    async def delete_endpoint(self, endpoint: Endpoint) -> None:
        """Forget an endpoint, and send it nothing more."""
        await self._database.write(
            Statement("endpoint_delete", {"id": endpoint.id, "tenant": endpoint.tenant}),
            self._dropped(endpoint.id),
        )

    def _dropped(self, endpoint: str) -> Statement:
        """Write that nothing more goes to an endpoint."""
        return Statement("deliveries_drop", {"endpoint": endpoint, "now": self._clock()})

    async def enable(self, endpoint: Endpoint) -> Endpoint:
        """Tell an endpoint again, beginning with what was held for it."""
        now = self._clock()
        enabled = replace(endpoint, failing_since=None, disabled_at=None, disabled_why=None)
        await self._database.write(
            Statement("endpoint_save", enabled, 1),
            Statement("deliveries_unhold", {"endpoint": endpoint.id, "now": now}),
        )
        return enabled

    # What signs

    async def callback_secret(self, tenant: str) -> tuple[int, int | None]:
        """Say which secret signs a tenant's callbacks; 0 is one that was never shown."""
        rows = await self._database.read("callback_secret", {"tenant": tenant})
        return (rows[0][0], rows[0][1]) if rows else (0, None)

    async def rotate_callback_secret(self, tenant: str, *, keep_old: bool) -> int:
        """Take a new secret for a tenant's callbacks; the old one signs beside it for a day, where asked."""
        until = self._clock() + ROTATION_MS if keep_old else None
        (rows,) = await self._database.write(
            Statement("callback_secret_rotate", {"tenant": tenant, "old_until": until}, 1)
        )
        version: int = rows[0][0]
        return version

    # Deliveries

    async def claim(self, *, lease: int, each: int, most: int, busy: str, full: str = "") -> list[Delivery]:
        """Take deliveries that are due, a few a host and none of a ``full`` tenant's, for ``lease`` milliseconds."""
        now = self._clock()
        asked = {"now": now, "until": now + lease, "each": each, "most": most, "busy": busy, "full": full}
        (rows,) = await self._database.write(Statement("deliveries_claim", asked))
        return [record_of(Delivery, row) for row in rows]

    async def next_due(self) -> int | None:
        """Say when the next delivery is due that is not due yet."""
        ((due,),) = await self._database.read("deliveries_next_due", {"now": self._clock()})
        return due if isinstance(due, int) else None

    async def receiver(self, delivery: Delivery) -> Endpoint | None:
        """Find the endpoint a delivery goes to."""
        rows = await self._database.read("endpoint_read", {"id": delivery.endpoint})
        return first_of(Endpoint, rows)

    async def record(self, delivery: Delivery, made: Try, *, url: str, disable: str | None = None) -> None:
        """
        Keep how one try went; ``disable`` says why its endpoint is told nothing more.

        :param url: what was tried; nothing is learnt from it of the address an endpoint has since been given.
        :raises ConflictError: another has recorded one meanwhile.
        """
        now = self._clock()
        also = []
        if delivery.endpoint is not None:
            query = "endpoint_worked" if delivery.state == "delivered" else "endpoint_failed"
            also.append(Statement(query, {"id": delivery.endpoint, "url": url, "now": now}))
        if disable is not None:
            disabled = {"id": delivery.endpoint, "url": url, "now": now, "why": disable}
            also.append(Statement("endpoint_disable", disabled))
            also.append(Statement("deliveries_hold", {"endpoint": delivery.endpoint}))
        await self._database.write(Statement("delivery_save", delivery, 1), Statement("try_insert", made, 1), *also)

    async def put_off(self, delivery: Delivery, wait: int) -> None:
        """Give a delivery back that was claimed and not tried, due again after ``wait`` milliseconds."""
        asked = {"id": delivery.id, "tries": delivery.tries, "until": delivery.lease_until, "due": self._clock() + wait}
        await self._database.write(Statement("delivery_put_off", asked))

    async def drop(self, endpoint: str) -> None:
        """Send nothing more of what waits for an endpoint that is gone."""
        await self._database.write(self._dropped(endpoint))

    async def hold(self, endpoint: Endpoint) -> None:
        """Keep what waits for a disabled endpoint until it is enabled."""
        await self._database.write(Statement("deliveries_hold", {"endpoint": endpoint.id}))

    async def replay(self, id_: str, tenant: str) -> Delivery | None:
        """Make a delivery due again, at the start of its schedule; ``None`` where it is unknown or under way."""
        asked = {"id": id_, "tenant": tenant, "now": self._clock()}
        (rows,) = await self._database.write(Statement("delivery_replay", asked))
        return first_of(Delivery, rows)

    async def delivery(self, id_: str, tenant: str) -> Delivery | None:
        """Find a tenant's delivery."""
        rows = await self._database.read("delivery_of_tenant", {"id": id_, "tenant": tenant})
        return first_of(Delivery, rows)

    async def deliveries_to(self, endpoint: Endpoint, *, after: str | None, limit: int) -> tuple[list[Delivery], bool]:
        """List what was sent or is to be sent to an endpoint, newest first, a page at a time."""
        asked = {"endpoint": endpoint.id, "tenant": endpoint.tenant, "after": after or LAST, "most": limit + 1}
        rows = await self._database.read("deliveries_of_endpoint", asked)
        return page(Delivery, rows, limit)

    async def deliveries_of(self, job: str, tenant: str) -> list[Delivery]:
        """List whom a job's end was told."""
        rows = await self._database.read("deliveries_of_job", {"job": job, "tenant": tenant})
        return [record_of(Delivery, row) for row in rows]

    async def tries(self, delivery: str) -> list[Try]:
        """List how often a delivery was sent, and how each time went."""
        rows = await self._database.read("tries_of_delivery", {"delivery": delivery})
        return [record_of(Try, row) for row in rows]

    async def sweep(self, *, before: int) -> None:
        """Forget what was settled long ago, a thousand at a time."""
        asked = {"before": before}
        await self._database.write(Statement("tries_sweep", asked), Statement("deliveries_sweep", asked))

    # Hooks

    async def hook(self, hash_: str) -> Hook | None:
        """Find whom a hook's address belongs to."""
        rows = await self._database.read("hook_read", {"hash": hash_})
        if not rows:
            return None
        attempt, job, account, task, hint, live = rows[0]
        return Hook(hash_, attempt, job, account, bool(live), task is not None, hint)

    async def note_hint(self, hash_: str, task: str) -> None:
        """Keep what a provider said its task is."""
        await self._database.write(Statement("hook_hint", {"hash": hash_, "task": task}))

    async def hint(self, attempt: str) -> str | None:
        """Say which task a provider named to an attempt whose answer was lost."""
        rows = await self._database.read("hook_task", {"attempt": attempt})
        return str(rows[0][0]) if rows else None

    async def forget_hint(self, attempt: str, task: str) -> None:
        """Forget a task that turned out to be nobody's, or somebody else's."""
        await self._database.write(Statement("hook_forget", {"attempt": attempt, "task": task}))

    async def owner(self, account: str, task: str) -> str | None:
        """Say which attempt an account's task belongs to."""
        rows = await self._database.read("task_owner", {"account": account, "task": task})
        return str(rows[0][0]) if rows else None

    async def schedule(self, job: str) -> Schedule | None:
        """Say when a job is looked at next; ``None`` where it has ended, and not in doubt."""
        rows = await self._database.read("job_schedule", {"id": job})
        return Schedule(rows[0][0] or 0, rows[0][1] is not None) if rows else None

    async def hasten(self, job: str, due: int) -> None:
        """Have a job looked at by ``due``, unless its step is under way."""
        await self._database.write(Statement("job_hasten", {"id": job, "due": due}))
