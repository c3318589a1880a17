"""``reelgate demo``: the main job, from nothing to a clip on disk, with no key and no money."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import Parameter
from rich.console import Console

from gateway.cli.common import UsageError, call
from gateway.cli.generate import make
from gateway.cli.quote import quotes_table

PROMPT = "A red kite over a green valley at dawn, slow aerial shot"
START_SECONDS = 20


def demo(*, out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("data/demo/clip.mp4")) -> None:
    """
    Start a gateway on its embedded default, quote every provider, make one clip, leave it on disk.

    Parameters
    ----------
    out
        Where to put the clip; the gateway's own data lies beside it.
    """
    console = Console()
    data = out.parent.absolute()
    data.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REELGATE")}
    environ = {
        **kept,
        "REELGATE__SERVER__PORT": str(port),
        "REELGATE__STORE__URL": f"sqlite:///{data}/reelgate.db",
        "REELGATE__MEDIA__URL": f"file:///{data}/media",
    }
    log = (data / "gateway.log").open("wb")
    with (
        log,
        subprocess.Popen([sys.executable, "-m", "gateway.cli", "serve"], env=environ, stdout=log, stderr=log) as server,
    ):
        try:
            http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
            with http:
                _wait(http, server, data / "gateway.log")
                console.print(f"gateway at {http.base_url} (log: {data / 'gateway.log'})")
                quotes = call(http, "POST", "/v1/quotes", json={"prompt": PROMPT, "model": "auto", "seconds": 4})
                console.print(quotes_table(quotes["data"]))
                wanted = {"prompt": PROMPT, "model": "sora-2", "seconds": "4", "seed": 7}
                asyncio.run(make(str(http.base_url), console, wanted, out))
        finally:
            server.terminate()


def _wait(http: httpx.Client, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """
    Wait until the gateway answers.

    :raises UsageError: when it ends, or does not in time.
    """
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            if http.get("/health/ready").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise UsageError(f"the gateway did not start; see {log}")
