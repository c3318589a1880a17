"""What commands share: where the configuration lies, and how to reach a running gateway."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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

    doubtful = False
    """Whether it ended a call that had been sent, and may have been heard."""


class GoneError(UsageError):
    """No gateway answers."""

    def __init__(self, url: str, cause: Exception) -> None:
        link: BaseException | None = cause
        while link is not None and not isinstance(link, ssl.SSLError):
            link = link.__cause__ or link.__context__
        if link is None:
            super().__init__(f"no gateway answers at {url}: start one with `reelgate serve`")
        else:
            said = getattr(link, "verify_message", "") or (link.reason or "no TLS").replace("_", " ").lower()
            super().__init__(f"no gateway answers at {url}, for TLS fails there: {said}; is it one of http://?")


class StrangeError(UsageError):
    """Something answers, and not as a gateway does."""

    def __init__(self, url: str) -> None:
        super().__init__(f"what answers at {url} is no Reelgate gateway, or its answer does not come through")


class RefusedError(UsageError):
    """The gateway's own no."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


def settings_of(config: Path | None) -> Settings:
    """
    Read the named file, else ``config.toml`` here, else the defaults; a variable set to nothing names none.

    :raises SettingsError: when it cannot be started with.
    """
    if config == Path() and os.environ.get("REELGATE_CONFIG") == "":
        config = None
    if config is not None and not config.exists():
        raise SettingsError(f"{config} {'leads to nothing' if config.is_symlink() else 'does not exist'}")
    here = Path("config.toml")
    if config is None and here.is_symlink() and not here.exists():
        raise SettingsError(f"{here} leads to nothing: mend or remove the link")
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

    :raises RefusedError: with the gateway's own words.
    :raises GoneError: when nobody answers.
    :raises StrangeError: when something else does.
    """
    url = str(client_.base_url).rstrip("/")
    try:
        answer = client_.request(method, path, **options)
    except httpx.TransportError as error:
        raise GoneError(url, error) from error
    except httpx.DecodingError as error:
        raise StrangeError(url) from error
    if answer.is_success:
        return told(answer, url)
    raise refusal(answer)


def told(answer: httpx.Response, url: str) -> dict[str, Any]:
    """
    Read a yes.

    :raises StrangeError: when it is not a gateway's, each of which names its ``object``, or not whole.
    """
    try:
        said = answer.json()
    except ValueError as error:
        raise StrangeError(url) from error
    if not (isinstance(said, dict) and "object" in said):
        raise StrangeError(url)
    return said


def refusal(answer: httpx.Response) -> RefusedError:
    """Read a no."""
    hint = HINTS.get(answer.status_code, "")
    try:
        said = answer.json()["error"]
        return RefusedError(answer.status_code, str(said["code"]), f"{said['message']}{hint}", said.get("param"))
    except (ValueError, KeyError, TypeError):
        return RefusedError(answer.status_code, "http", f"HTTP {answer.status_code}{hint}")


def items(client_: httpx.Client, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """Go through a list, newest first, to its end; ``asked`` is by what it is asked for."""
    after: dict[str, str] = {}
    while True:
        page = call(client_, "GET", path, params={"limit": 100, **asked, **after})
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"after": page["last_id"]}


def moment(seconds: int | None) -> str:
    """
    Write a time in UTC.

    >>> moment(0)
    '1970-01-01 00:00:00'
    """
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def plain(text: str) -> str:
    r"""
    Write a stranger's words in one line that commands no terminal.

    >>> plain("a\tkite\x1b[2J")
    'a kite [2J'
    """
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
