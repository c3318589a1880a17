"""Join what tells clients and hears providers: built once by the app."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.events.addresses import Addresses
from gateway.events.courier import Courier
from gateway.events.events import host_of
from gateway.events.hooks import Hooks
from gateway.events.keyring import Keyring
from gateway.events.letters import Dialect, Letters, Reach
from gateway.events.outbox import Outbox
from gateway.events.vault import Vault, open_vault
from gateway.events.watch import Watch
from gateway.jobs.job import Job
from gateway.memory import vital
from gateway.network.guard import make_rules
from gateway.offers.accounts import Account
from gateway.settings import Settings
from gateway.store.store import Store
from gateway.telemetry import Metrics

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound


class Telling:
    """Hold the services that tell and hear, and start and stop them."""

    def __init__(
        self, *, outbox: Outbox, vault: Vault, courier: Courier, hooks: Hooks, watch: Watch, addresses: Addresses
    ) -> None:
        self.outbox = outbox
        self.vault = vault
        self.courier = courier
        self.hooks = hooks
        self.watch = watch
        self.addresses = addresses
        self._delivering: asyncio.Task[None] | None = None

    def hear(self, job: Job) -> None:
        """Take note that this process has moved a job."""
        self.watch.hear(job)
        if job.state.final:
            self.courier.wake()

    def start(self) -> None:
        """Begin to deliver."""
        self._delivering = vital(asyncio.create_task(self.courier.run()))

    async def stop(self) -> None:
        """Let deliveries under way end."""
        self.courier.stop()
        if self._delivering is not None:
            await self._delivering
        self.hooks.close()


def open_telling(
    settings: Settings,
    environ: Mapping[str, str],
    store: Store,
    accounts: Mapping[str, Account],
    outbound: Callable[[], "Outbound"],
    metrics: Metrics,
    clock: Callable[[], int],
    folder: Path,
    *,
    dialects: Mapping[str, Dialect],
    reach: Callable[[Job, str], Reach],
) -> Telling:
    """
    Build them; ``folder`` keeps the key that secrets are derived from, where the environment has none.

    :param dialects: how jobs that came by a borrowed dialect are told of, by its name.
    :param reach: how a job's client reaches its clips, by where it reached us.
    :raises SettingsError: when there is no such key and none can be made.
    """
    public_url = settings.server.public_url
    vault, outbox = open_vault(environ, folder), Outbox(store.database, clock)
    rules, letters = make_rules(settings.network.allow, settings.network.ports), Letters(store.any_job, dialects, reach)
    telling = Telling(
        outbox=outbox,
        vault=vault,
        courier=Courier(outbox, vault, outbound, clock, settings.webhooks, metrics, letters),
        hooks=Hooks(outbox, vault, accounts, clock, public_url, Keyring(outbound, clock)),
        watch=Watch(store),
        addresses=Addresses(rules, settings.webhooks.http, host_of(public_url)),
    )
    store.on_move.append(telling.hear)
    return telling
