"""``reelgate serve``: run the gateway. What ``reelgate work`` does the same way is here, too."""

import asyncio
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cli.common import Config, UsageError, private, settings_of
from gateway.cli.pulse import keep_asking
from gateway.memory import heed, vital
from gateway.settings import Settings

if TYPE_CHECKING:
    from litestar.types import ASGIApp

    from gateway.app import Gateway

MOST_FILES = 65_536
OWN_FILES = 1024
"""Files a gateway opens for itself: its store, clips on their way, calls to providers."""
UNGUARDED = (
    "no API key exists, so only this machine is served, and only the sandbox: "
    "clips are test clips and nothing is paid. Create a key: reelgate keys create --name NAME"
)


def serve(*, config: Config = None) -> None:
    """Run the gateway until it is told to stop; SIGTERM and Ctrl-C let steps under way end."""
    settings = settings_of(config)
    prove_free(settings.server.host, settings.server.port)
    with private(settings):
        run(_serve(settings))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on the fastest loop there is."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(_heeding(main))
    else:
        uvloop.run(_heeding(main))


async def _heeding(main: Coroutine[Any, Any, None]) -> None:
    """Run, and end where there is no memory to go on with."""
    heed(asyncio.get_running_loop())
    await main


async def _serve(settings: Settings) -> None:
    """Build the gateway and put the server in front of it."""
    from gateway.app import create_app  # noqa: PLC0415
    from gateway.telemetry import start_logging  # noqa: PLC0415

    start_logging(settings.server.log_level)
    # A bounded wait for the interpreter: the commit thread must not queue behind a busy loop.
    sys.setswitchinterval(0.001)
    gateway = await create_app(settings, os.environ)
    tell(gateway, f"{url_of(settings.server.host, settings.server.port)}  docs at /docs")
    settle()
    await listen(gateway.asgi, settings, settings.server.port, gateway.hush)


def tell(gateway: "Gateway", ready: str) -> None:
    """
    Say what whoever started it should know: in words to a person, else in events as all that follows.

    :param ready: what a person reads last; in events ``gateway.started`` says it.
    """
    import structlog  # noqa: PLC0415

    said = [
        ("account.unused", f"account {each.account} is not used: {each.reason}", msgspec.structs.asdict(each))
        for each in gateway.unused
    ]
    if not gateway.guarded:
        said.append(("gateway.unguarded", UNGUARDED, {"reason": UNGUARDED}))
    if sys.stderr.isatty():
        for line in (*(words for _, words, _ in said), ready):
            print(f"reelgate: {line}", file=sys.stderr)
        return
    log = structlog.get_logger()
    for event, _, fields in said:
        log.warning(event, **fields)


def settle() -> None:
    """Look for garbage less often: what is built by now lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # Some 300 jobs under way at once are 20,000 objects, and none of them garbage.


def room() -> int:
    """
    Say how many connections may be open, once as many files may be as the system allows.

    The server's own answer is 1,024, idle ones included: so many clients that say nothing would shut out all others.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(files // 2, files - OWN_FILES)


def address_of(host: str) -> str:
    """Read where to listen as an address, which is all the server takes."""
    return "127.0.0.1" if host == "localhost" else host


def url_of(host: str, port: int) -> str:
    """
    Write where a gateway listens, as a browser takes it.

    >>> url_of("::1", 8080)
    'http://[::1]:8080'
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def prove_free(host: str, port: int, key: str = "server.port") -> None:
    """
    Listen somewhere for a moment, before anything is opened; port 0 asks of the address alone.

    The server's own sockets share their port with any other gateway's, and callers would reach either by chance.

    :raises UsageError: when somebody listens there, or nobody can.
    """
    address = address_of(host)
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # What has just ended listens no more.
            probe.bind((address, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            said = f"{key} {port} is in use on {host}: stop what listens there, or choose another port"
        elif error.errno == errno.EACCES:
            said = f"{key} {port} may not be listened on by this user: choose one above 1023"
        else:
            said = f"server.host {host} is no address of this machine: choose one, or 0.0.0.0 for all"
        raise UsageError(said) from error


async def listen(asgi: "ASGIApp", settings: Settings, port: int, hush: Callable[[], None]) -> None:
    """Answer on a port until told to stop."""
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415
    from granian.errors import FatalError  # noqa: PLC0415
    from granian.http import HTTP1Settings  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    server = Server(
        asgi,
        address=address_of(settings.server.host),
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=int(1000 * min(30, settings.server.body_seconds))),
        log_enabled=False,
        backlog=1024,
        backpressure=room(),
    )

    loop = asyncio.get_running_loop()

    def stop() -> None:
        hush()
        server.stop()  # type: ignore[no-untyped-call]

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    asking = vital(asyncio.create_task(keep_asking(address_of(settings.server.host), port)))
    try:
        await server.serve()
    except FatalError:
        raise UsageError("it could not start; the lines before say why") from None
    finally:
        asking.cancel()
