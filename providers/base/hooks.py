"""
How a callback shows who sent it: pure, and never more than leave to look at a task.

What each scheme covers differs (the body, a name, nothing at all), so no body is believed whatever its signature says.
"""

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any

from msgspec import Struct

LATE = 300
"""Seconds a signature is good for, either way: clocks differ, and a copy is to be worthless soon."""
MAX_NAME = 256
"""Longest name of a key."""


class ForgedError(Exception):
    """A callback that does not show that its provider sent it; the message is for the operator's log."""


class HookKey(Struct, frozen=True):
    """Name the public key a callback says it is signed with, and the list its provider keeps of them."""

    url: str
    kid: str


class HookCall(Struct, frozen=True, kw_only=True):
    """Hold a callback as it came."""

    headers: Mapping[str, str]
    body: bytes
    now: float
    """Seconds since the epoch."""
    address: str = ""
    """Where it was sent to."""
    key: Mapping[str, Any] | None = None
    """The public key it names, as its provider lists it (a JWK); none where there is no such key."""

    def header(self, name: str) -> str:
        """Read a header, whatever its case."""
        return next((value for each, value in self.headers.items() if each.lower() == name), "")


def check_age(call: HookCall, said: str) -> None:
    """
    Refuse a time of signing, in seconds, that is no time near now.

    :raises ForgedError: when it is not.
    """
    if not (said.isascii() and said.isdigit() and len(said) <= 12 and abs(int(said) - call.now) <= LATE):
        raise ForgedError("the time it was signed is not now")


def check_standard(call: HookCall, secret: str) -> None:
    """
    Refuse what a shared secret did not sign, as Standard Webhooks has it: id, time and body.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    :raises ForgedError: when it did not.
    """
    from standardwebhooks import Webhook  # noqa: PLC0415  Few gateways are called back.

    name, at = call.header("webhook-id"), call.header("webhook-timestamp")
    check_age(call, at)
    try:
        signed = Webhook(secret).sign(name, datetime.fromtimestamp(int(at), UTC), call.body.decode())
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ForgedError("it cannot be what was signed") from error
    # Several may be given while a secret changes; one must be right to the letter.
    given = [each.encode() for each in call.header("webhook-signature").split(" ")]
    if not name or not any(compare_digest(signed.encode(), each) for each in given):
        raise ForgedError("it is not signed with the secret of this account")


def read_kid(token: str) -> str:
    """Read which key signed a token, without believing it; empty for what is no token of the one kind taken."""
    import jwt  # noqa: PLC0415  It brings cryptography.

    try:
        head = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        return ""
    kid = head.get("kid")
    return kid if head.get("alg") == "RS256" and isinstance(kid, str) and 0 < len(kid) <= MAX_NAME else ""


def check_token(call: HookCall, token: str) -> None:
    """
    Refuse a token that the key it names did not sign (RS256), that has run out, or that is another address's.

    :raises ForgedError: when it is to be refused.
    """
    import jwt  # noqa: PLC0415

    key = call.key
    if key is None or key.get("kty") != "RSA" or key.get("use", "sig") != "sig" or key.get("alg", "RS256") != "RS256":
        raise ForgedError("no such key signs this provider's callbacks")
    try:
        # Times are looked at below, against the clock we are given; of who it is for no page says what it is.
        options: jwt.types.Options = {
            "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False,
            "enforce_minimum_key_length": True,
        }  # fmt: skip
        said = jwt.decode(token, jwt.PyJWK({**key, "alg": "RS256"}), algorithms=["RS256"], options=options)
    except jwt.PyJWTError as error:
        raise ForgedError(f"its token is not good: {type(error).__name__}") from error
    _check_times(said, call.now)
    audience = said.get("aud")
    addresses = [each for each in (audience if isinstance(audience, list) else [audience]) if _is_address(each)]
    if addresses and call.address not in addresses:
        raise ForgedError("its token is for another address")


def _check_times(said: Mapping[str, Any], now: float) -> None:
    """Refuse a token that is not in force now."""
    ends, begins = said.get("exp"), [said.get(name) for name in ("iat", "nbf")]
    times = [each for each in (ends, *begins) if each is not None]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in times):
        raise ForgedError("its token has a time that is none")
    if (ends is not None and ends < now) or any(each > now + LATE for each in begins if each is not None):
        raise ForgedError("its token is not in force now")


def _is_address(said: object) -> bool:
    """Whether a token's audience is an address, and not some name of a project."""
    return isinstance(said, str) and said.startswith(("https://", "http://"))
