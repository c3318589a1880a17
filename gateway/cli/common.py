"""What commands share: where the configuration lies, and how to reach a running gateway."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter

from gateway.checks import is_url
from gateway.configuration import load
from gateway.settings import Settings, SettingsError

Config = Annotated[Path | None, Parameter(name=["--config", "-c"], env_var="REELGATE_CONFIG")]
Url = Annotated[str, Parameter(name="--url", env_var="REELGATE_URL")]

HINTS = {401: " It goes into REELGATE_API_KEY."}
"""What a person at a terminal should know beside the gateway's own words."""
DEFAULT_URL = "http://127.0.0.1:8080"


class UsageError(Exception):
    """Something the person at the terminal can mend."""


def settings_of(config: Path | None) -> Settings:
    """
    Read the named file, else ``config.toml`` here, else the defaults.

    :raises SettingsError: when it cannot be started with.
    """
    if config is not None and not config.exists():
        raise SettingsError(f"{config} does not exist")
    here = Path("config.toml")
    return load(config or (here if here.exists() else None), os.environ)


@contextmanager
def private(settings: Settings) -> Iterator[None]:
    """
    Have nobody but this user read what is made meanwhile: prompts, clips, hashes of keys.

    Where an nginx sends the clips this user's group may, too, of which nginx then is.
    """
    before = os.umask(0o027 if settings.server.sendfile else 0o077)
    try:
        yield
    finally:
        os.umask(before)


def reachable(url: str) -> str:
    """
    Read where a gateway is.

    :raises UsageError: when no call can go there.
    """
    if not is_url(url):
        raise UsageError(f"--url (or REELGATE_URL) is {url!r}: write the gateway's address, like {DEFAULT_URL}")
    return url.rstrip("/")


def signed() -> dict[str, str]:
    """
    Sign calls with the API key, where there is one.

    :raises UsageError: when it cannot be one.
    """
    key = os.environ.get("REELGATE_API_KEY", "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise UsageError("REELGATE_API_KEY is no API key: it holds a space, a line's end or what is not ASCII")
    return {"authorization": f"Bearer {key}"} if key else {}


def client(url: str) -> httpx.Client:
    """Reach a running gateway."""
    return httpx.Client(base_url=reachable(url), headers=signed(), timeout=60, trust_env=False)


def call(client_: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """
    Call the gateway and read its answer.

    :raises UsageError: with the gateway's own words where it refuses.
    """
    try:
        answer = client_.request(method, path, **options)
    except httpx.TransportError as error:
        raise UsageError(f"no gateway answers at {client_.base_url}: start one with `reelgate serve`") from error
    if answer.is_success:
        return answer.json()
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {answer.status_code}"
    raise UsageError(f"{message}{HINTS.get(answer.status_code, '')}")


def plain(text: str) -> str:
    r"""
    Write a stranger's words in one line that commands no terminal.

    >>> plain("a\tkite\x1b[2J")
    'a kite [2J'
    """
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
