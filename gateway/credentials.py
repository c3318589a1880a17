"""Collect the secrets of accounts from the environment, each under the name its listing gives it."""

from collections.abc import Mapping

from gateway.settings import SettingsError
from providers.base.listing import Listing, Secret


def secrets(name: str, listing: Listing, environ: Mapping[str, str]) -> dict[str, str]:
    """
    Collect an account's secrets: ``REELGATE_ACCOUNT_<NAME>__<SECRET>`` before ``<SECRET>``.

    A reseller that speaks another's dialect has only the first: ``GEMINI_API_KEY`` is Google's, and nobody else may
    see it. Missing ones are left out; :func:`missing` names them.

    White space around one is none of it: files of variables end their lines as they like.

    :raises SettingsError: for one that tells callbacks from forgeries and is empty, as anybody could sign with it, and
        for one no header can carry.
    """
    for each in listing.secrets:
        for variable in (f"{_own(name)}{each.name}", *([each.name] if _is_first(listing) else [])):
            if each.verifies and not environ.get(variable, "set").removeprefix("whsec_").strip():
                raise SettingsError(f"{variable} is empty, so anybody could sign with it: give the key, or unset it")
    found: dict[str, str] = {}
    for each in listing.secrets:
        for variable in (f"{_own(name)}{each.name}", *([each.name] if _is_first(listing) else [])):
            given = environ.get(variable, "").strip()
            if given:
                found[each.name] = _sendable(variable, given, each)
                break
    return found


def _sendable(variable: str, value: str, secret: Secret) -> str:
    """
    Refuse what cannot be sent as it stands, never repeating it.

    :raises SettingsError: naming the variable.
    """
    if not value.isprintable() or not (secret.public or value.isascii()):
        signs = "printable characters" if secret.public else "plain ASCII characters"
        raise SettingsError(f"{variable} holds what no call can carry; it must be {signs}: copy it anew")
    return value


def missing(name: str, listing: Listing, environ: Mapping[str, str]) -> list[str]:
    """Name the variables an account still needs."""
    have, prefix = secrets(name, listing, environ), "" if _is_first(listing) else _own(name)
    return [f"{prefix}{each.name}" for each in listing.secrets if each.required and each.name not in have]


def _own(account: str) -> str:
    """Write how the names of an account's own variables begin."""
    return f"REELGATE_ACCOUNT_{account.upper().replace('-', '_')}__"


def _is_first(listing: Listing) -> bool:
    """Whether a listing is the one its dialect, and so the names of its secrets, was written for."""
    return listing.slug == listing.dialect
