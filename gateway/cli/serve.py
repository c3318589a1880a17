"""``reelgate serve``: run the gateway."""

import asyncio
import gc
import os
import signal
import sys

from gateway.cli.common import Config, settings_of
from gateway.settings import Settings


def serve(*, config: Config = None) -> None:
    """Run the gateway until it is told to stop; SIGTERM and Ctrl-C let steps under way end."""
    settings = settings_of(config)
    try:
        import uvloop  # noqa: PLC0415

        uvloop.run(_serve(settings))
    except ImportError:
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Build the gateway and put the server in front of it."""
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415
    from granian.http import HTTP1Settings  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    from gateway.app import create_app  # noqa: PLC0415
    from gateway.telemetry import start_logging  # noqa: PLC0415

    start_logging(settings.server.log_level)
    # A bounded wait for the interpreter: the commit thread must not queue behind a busy loop.
    sys.setswitchinterval(0.001)
    gateway = await create_app(settings, os.environ)
    for held in gateway.held:
        print(f"reelgate: account {held.account} is not used: {held.reason}", file=sys.stderr)
    if not gateway.guarded:
        print(
            "reelgate: no API key exists, so only this machine is served, and only the sandbox: "
            "clips are test clips and nothing is paid. Create a key: reelgate keys create --name NAME",
            file=sys.stderr,
        )
    server = Server(
        gateway.asgi,
        address=settings.server.host,
        port=settings.server.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=int(1000 * min(30, settings.server.body_seconds))),
        log_enabled=False,
        backlog=1024,
    )

    def stop() -> None:
        gateway.hush()
        server.stop()  # type: ignore[no-untyped-call]  # granian's says nothing of types

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    # What is built by now lives as long as the process; what a request leaves behind needs no search so often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    print(f"reelgate: http://{settings.server.host}:{settings.server.port}  docs at /docs", file=sys.stderr)
    await server.serve()
