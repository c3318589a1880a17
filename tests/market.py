"""A gateway with an account at every seller, which shows and quotes but orders nothing: nobody is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.server import Server

SECRETS = {
    "USEAPI_TOKEN": "user:1-token",
    "GEMINI_API_KEY": "gemini-key",
    "COMETAPI_KEY": "comet-key",
    "AIGENERATE_API_KEY": "sk-aig-key",
    "GOOGLE_CLOUD_PROJECT": "a-project",
}
CONFIG = """
[worker]
enabled = false

[accounts.flow]
provider = "flow"
plan = "ultra-200"

[accounts.flow-pro]
provider = "flow"
plan = "pro"

[accounts.gemini]
provider = "gemini"

[accounts.vertex]
provider = "vertex"

[accounts.cometapi]
provider = "cometapi"

[accounts.aigenerate]
provider = "aigenerate"

[accounts.sandbox]
provider = "sandbox"
"""


class Market:
    """Hold the gateway and a client with a key."""

    def __init__(self, folder: Path, config: str = CONFIG, secrets: dict[str, str] = SECRETS, **environ: str) -> None:
        (folder / "config.toml").write_text(config)
        self.server = Server(folder, **secrets, **environ)
        self.key = self.server.create_key("--name", "app")
        self.http = self.client(self.key)

    def client(self, key: str) -> httpx.Client:
        """Speak with a key."""
        headers = {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.server.api, headers=headers, trust_env=False, timeout=30)


@contextmanager
def trading(folder: Path, config: str = CONFIG, secrets: dict[str, str] = SECRETS, **environ: str) -> Iterator[Market]:
    """Run a market."""
    market = Market(folder, config, secrets, **environ)
    market.server.start()
    try:
        yield market
    finally:
        market.http.close()
        market.server.stop()
