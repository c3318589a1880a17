"""Run a courier on a stopped clock, beside the engine whose ends it tells."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.events.courier import Courier
from gateway.events.events import TYPES, Delivery, Endpoint, host_of
from gateway.events.letters import Letters, Reach
from gateway.events.outbox import Outbox
from gateway.events.vault import Vault
from gateway.network.guard import make_rules
from gateway.network.names import Names
from gateway.network.outbound import Outbound
from gateway.settings import WebhookSettings
from tests.receiver import Receiver
from tests.scripted import Engine


class Told:
    """An engine, and a courier that tells of it."""

    def __init__(self, folder: Path, heard: Receiver, *, names: Names | None = None, **settings: object) -> None:
        self.engine = Engine(folder)
        self.receiver = heard
        self.outbox = Outbox(self.engine.store.database, self.engine.clock)
        self.vault = Vault(b"k" * 32)
        self.outbound = Outbound(make_rules([heard.allowed], [443]), names=names)
        self.courier = self.new_courier(**settings)

    def new_courier(self, **settings: object) -> Courier:
        chosen = WebhookSettings(**{"http": True, "seconds": 2, **settings})  # type: ignore[arg-type]
        letters = Letters(self.engine.store.any_job, {}, lambda _, base: Reach(base, lambda *_: ""))
        outbound, metrics = lambda: self.outbound, self.engine.metrics
        return Courier(self.outbox, self.vault, outbound, self.engine.clock, chosen, metrics, letters)

    async def endpoint(
        self, path: str = "/a", types: str = " ".join(TYPES), tenant: str = "tenant", *, name: str = "127.0.0.1"
    ) -> Endpoint:
        url, now = f"http://{name}:{self.receiver.port}{path}", self.engine.now
        made = Endpoint(
            id=f"whep_{path.strip('/')}", tenant=tenant, name="n", url=url, host=host_of(url), event_types=types,
            version=1, old_until=None, created_at=now, updated_at=now,
        )  # fmt: skip
        await self.outbox.add_endpoint(made)
        return made

    async def ended(self, **request: object) -> str:
        """Make a clip."""
        accepted = await self.engine.accept(**request)
        await self.engine.run(accepted.id)
        return accepted.id

    async def cancelled(self, tenant: str = "tenant") -> str:
        """End a job without a clip: quicker."""
        accepted = await self.engine.accept(tenant=tenant)
        await self.engine.store.cancel(accepted.id, tenant)
        await self.engine.turn()
        return accepted.id

    async def deliver(self, *, seconds: float = 0) -> None:
        """Let time pass, then make every try that is due."""
        self.engine.now += int(seconds * 1000)
        async with asyncio.timeout(30):
            while True:
                await self.courier._round()
                if not self.courier._under_way:
                    return
                await asyncio.wait(self.courier._under_way)

    async def states(self, endpoint: Endpoint) -> list[str]:
        """Say how every delivery to an endpoint stands."""
        found, _ = await self.outbox.deliveries_to(endpoint, after=None, limit=1000)
        return [each.state for each in found]

    async def only(self, id_: str, tenant: str = "tenant") -> Delivery:
        """The one delivery of a job."""
        (found,) = await self.outbox.deliveries_of(id_, tenant)
        return found


@asynccontextmanager
async def running(courier: Courier) -> AsyncIterator[None]:
    """Let a courier run beside the test."""
    task = asyncio.create_task(courier.run())
    try:
        yield
    finally:
        courier.stop()
        await task


async def until(holds: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  What happens, happens on the other side of a socket.
            await asyncio.sleep(0.01)
