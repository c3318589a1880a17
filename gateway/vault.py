"""
Make the secrets that others must not guess: what signs deliveries, and what stands in a provider's hook address.

They are derived from one key, so that the database holds none: whoever reads it can forge nothing.
"""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.settings import SettingsError

NAME = "REELGATE_SECRET_KEY"
LEAST = 32
"""Fewest characters of a key somebody chose."""


class Vault:
    """Derive secrets from one key; the same name always yields the same secret."""

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST:
            raise SettingsError(f"{NAME} must have at least {LEAST} characters")
        self._key = key

    def signing_secret(self, owner: str, version: int) -> str:
        """Make what signs deliveries to an endpoint, as Standard Webhooks writes it: 32 bytes."""
        return f"whsec_{base64.b64encode(self._derive(f'webhook:{owner}:{version}')).decode()}"

    def hook_token(self, attempt: str) -> str:
        """Make the token of an attempt's hook address: 160 bits."""
        return self._derive(f"hook:{attempt}")[:20].hex()

    def links_key(self) -> bytes:
        """Make what signs links to media: 32 bytes."""
        return self._derive("links")

    def _derive(self, name: str) -> bytes:
        """Derive 32 bytes for a name."""
        return hmac.digest(self._key, name.encode(), "sha256")


def hash_token(token: str) -> str:
    """Hash a token for keeping and for finding it."""
    return hashlib.sha256(token.encode()).hexdigest()


def demand_key(environ: Mapping[str, str]) -> None:
    """
    Have a key given, where each process would else make one of its own.

    :raises SettingsError: when there is none.
    """
    if NAME not in environ:
        raise SettingsError(
            f"media.url is an object store and store.url a database other processes can share, but {NAME} is not set: "
            "each process would sign links and webhooks by a key of its own. Set it to the same 32 or more characters "
            "in the environment of every process"
        )


def given(environ: Mapping[str, str]) -> Vault | None:
    """
    Take the key from ``REELGATE_SECRET_KEY``, where it is set.

    :raises SettingsError: when it is too short.
    """
    key = environ.get(NAME)
    return None if key is None else Vault(key.encode())


def open_vault(environ: Mapping[str, str], folder: Path) -> Vault:
    """
    Take the key from ``REELGATE_SECRET_KEY``, else from a file that is made once.

    :raises SettingsError: when it is too short, or cannot be kept.
    """
    vault = given(environ)
    if vault is not None:
        return vault
    path = folder / "secret.key"
    try:
        return Vault(made_once(path, lambda: secrets.token_hex(32).encode() + b"\n").strip())
    except OSError as error:
        raise SettingsError(f"{path} cannot be kept ({error.strerror}): set {NAME}") from error


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """
    Read a secret that lies in a file for us alone; whoever comes first makes it.

    :raises OSError: when it cannot be kept.
    """
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  A descriptor, not a path.
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name is taken: another process was first, and its secret is everybody's.
        with suppress(FileExistsError):
            os.link(written, path)
    finally:
        written.unlink()
    return path.read_bytes()
