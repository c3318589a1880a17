"""``reelgate work``: work jobs off beside gateways that take them, on the same PostgreSQL."""

import asyncio
import os
import signal

from msgspec.structs import replace

from gateway.cli.common import Config, UsageError, private, settings_of
from gateway.cli.serve import listen, prove_free, run, settle, tell
from gateway.settings import Settings
from gateway.store.database import is_postgres


def work(*, config: Config = None) -> None:
    """
    Work jobs off until told to stop; SIGTERM and Ctrl-C let steps under way end.

    Nothing is served but /health and /metrics, on worker.port, where one is set.
    """
    settings = settings_of(config)
    if not is_postgres(settings.store.url):
        raise UsageError(
            "work stands beside a gateway, which takes a store several processes can share: "
            "set store.url to postgresql://USER@HOST/DATABASE. On SQLite, reelgate serve does the work itself"
        )
    if settings.worker.port:
        prove_free(settings.server.host, settings.worker.port, "worker.port")
    with private(settings):
        run(_work(replace(settings, worker=replace(settings.worker, enabled=True))))


async def _work(settings: Settings) -> None:
    """Build a gateway that sells nothing and let it work."""
    from gateway.app import create_app  # noqa: PLC0415
    from gateway.telemetry import start_logging  # noqa: PLC0415

    start_logging(settings.server.log_level)
    gateway = await create_app(settings, os.environ, sells=False)
    health = f"; http://{settings.server.host}:{settings.worker.port}/health/ready" if settings.worker.port else ""
    tell(gateway, f"works{health}")
    settle()
    if settings.worker.port:
        await listen(gateway.asgi, settings, settings.worker.port, gateway.hush)
        return
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with gateway.alive():
        await stopped.wait()
