"""
Make API keys, and recognise who calls with one.

A key is ``rgk_``, 27 random letters (160 bits) and a checksum, so that a scanner knows a leaked one and a
mistyped one never reaches the database. Only its SHA-256 is kept; a random key needs no slow hash.
"""

import hashlib
import secrets
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec
from litestar.connection import ASGIConnection
from litestar.datastructures import Headers
from msgspec import Struct

from gateway.door.guesses import Guesses
from gateway.door.origins import foreign
from gateway.door.rates import RATED, Allowance, take
from gateway.money.ledger import NONE, Limits
from gateway.problems import ProblemError
from gateway.store.registry import Key
from gateway.store.store import Store

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "rgk_"
BODY = 27
CHECK = 6
SCOPES = ("read", "write", "metrics")
FRESH_MS = 500
"""How long a look-up is believed: a revoked key is refused within a second."""


class Caller(Struct, frozen=True):
    """Say who asks: a tenant, and what its key may do."""

    tenant: str
    scopes: frozenset[str]
    key: str = ""
    policy: str | None = None
    """How offers are chosen where the caller leaves it open."""
    limits: Limits = NONE


READS = frozenset({"GET", "HEAD"})
LOCAL = Caller("local", frozenset(SCOPES))
"""Everyone, until a key exists; only this machine can ask, and no web page that is open on it."""


def new_secret() -> str:
    """Make a key; it is shown once and never kept."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(BODY))
    return f"{PREFIX}{body}{_checksum(body)}"


def well_formed(secret: str) -> bool:
    """Whether a text can be a key at all."""
    body, check = secret[len(PREFIX) : -CHECK], secret[-CHECK:]
    return secret.startswith(PREFIX) and len(body) == BODY and secret.isascii() and _checksum(body) == check


def hash_secret(secret: str) -> str:
    """Hash a key for keeping and for finding it."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Gatekeeper:
    """Recognise callers, believing each look-up for half a second."""

    def __init__(
        self, store: Store, clock: Callable[[], int], guesses: Guesses, names: frozenset[str] = frozenset()
    ) -> None:
        """Open the gate; ``names`` are the hosts the gateway was given, in small letters."""
        self._names = names
        self._store = store
        self._clock = clock
        self._guesses = guesses
        self._known: dict[str, tuple[int, Key | None]] = {}
        self._guarded: tuple[int, bool] = (0, True)
        self._allowance: dict[str, Allowance] = {}
        """Requests a key may still make at once."""

    async def guarded(self) -> bool:
        """Whether there ever was a key; until then everybody on this machine is the same local caller."""
        now = self._clock()
        if now - self._guarded[0] > FRESH_MS:
            self._guarded = (now, await self._store.has_keys())
        return self._guarded[1]

    async def admit(self, connection: ASGIConnection[Any, Any, Any, Any], scope: str, *, bare: bool = False) -> Caller:
        """
        Recognise who asks; ``bare`` takes a key that stands in ``Authorization`` alone, as some dialects send it.

        :raises ProblemError: 401 without a key in force, 403 when it may not do this, 429 for one wrong key too many;
            while no key exists, 403 for other web pages.
        """
        if not await self.guarded():
            said = connection.headers.getall
            reads = connection.scope.get("method") in READS
            why = foreign(said("host", []), said("sec-fetch-site", []), said("origin", []), self._names, reads=reads)
            if why:
                raise ProblemError(403, "foreign_origin", why)
            return LOCAL
        secret = _credential(connection.headers, connection.scope["query_string"], bare=bare)
        now = self._clock()
        if not well_formed(secret):
            raise self._wrong(connection, now)
        hash_ = hash_secret(secret)
        read_at, key = self._known.get(hash_, (0, None))
        if now - read_at > FRESH_MS:
            key = await self._store.key(hash_)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[hash_] = (now, key)
        if not _in_force(key, now):
            raise self._wrong(connection, now)
        caller = _caller(key)
        if scope not in caller.scopes:
            raise ProblemError(403, "insufficient_scope", f"This key lacks the scope {scope!r}.")
        if caller.limits.per_minute:
            self._count(connection, caller.key, caller.limits.per_minute, now)
        return caller

    async def stands(self, key: str) -> Caller | None:
        """
        Say in whose name what a key began may be gone on with without it, if it may.

        For what began without a key, its name is empty.
        """
        if not key:
            return None if await self.guarded() else LOCAL
        found = await self._store.key_named(key)
        return _caller(found) if _in_force(found, self._clock()) else None

    def _wrong(self, connection: ASGIConnection[Any, Any, Any, Any], now: int) -> ProblemError:
        """Describe a wrong key to its sender, or that too many of them came from there."""
        host = connection.client.host if connection.client else ""
        wait = self._guesses.count(host, connection.headers.getall("x-forwarded-for", []), now)
        if wait is None:
            return _unknown()
        message = f"Too many wrong API keys came from there; send one that is in force, or come back in {wait} s."
        return ProblemError(429, "too_many_wrong_keys", message, headers={"retry-after": str(wait)})

    def _count(self, connection: ASGIConnection[Any, Any, Any, Any], key: str, per_minute: int, now: int) -> None:
        """
        Count a request against a key's rate, in this process, and note what is left for its answer.

        :raises ProblemError: 429, saying when to come back.
        """
        self._allowance[key], wait = take(self._allowance.get(key), per_minute, now)
        connection.scope[RATED] = self._allowance[key][1], per_minute  # type: ignore[literal-required]
        if wait:
            message = f"This key may make {per_minute} requests a minute; come back in {wait} s."
            raise ProblemError(429, "rate_limit_exceeded", message, headers={"retry-after": str(wait)})


def _caller(key: Key) -> Caller:
    """Say who calls with a key."""
    return Caller(key.tenant, frozenset(key.scopes.split()), key.id, key.policy, _limits(key.limits))


def _in_force(key: Key | None, now: int) -> TypeGuard[Key]:
    """Whether a key is known, not revoked, and not over."""
    return key is not None and key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _credential(headers: Headers, query: bytes, *, bare: bool) -> str:
    """Read the one key a request carries, from any header its clients use."""
    given = [
        *(
            value[7:].strip() if value[:7].lower() == "bearer " else value
            for value in headers.getall("authorization", [])
            if value[:7].lower() == "bearer " or (bare and value.startswith(PREFIX))
        ),
        *headers.getall("x-api-key", []),
        *headers.getall("api-key", []),
        *headers.getall("x-goog-api-key", []),
    ]
    if len(headers.getall("authorization", [])) > 1 or len(set(given)) > 1:
        raise _unknown("Send one API key, once.")
    if not given:
        if b"api_key=" in query or b"key=" in query:
            raise _unknown("Send the API key in a header (Authorization: Bearer), never in the address.")
        raise _unknown("Send Authorization: Bearer with an API key.")
    return given[0]


@lru_cache(maxsize=4096)
def _limits(text: str | None) -> Limits:
    """Read what a key may spend and do."""
    return msgspec.json.decode(text, type=Limits) if text else NONE


def _unknown(message: str = "This API key is not in force.") -> ProblemError:
    """Describe a caller nobody knows."""
    return ProblemError(401, "invalid_api_key", message, headers={"www-authenticate": 'Bearer realm="reelgate"'})


def _checksum(body: str) -> str:
    """Write a body's CRC-32 in the key's alphabet."""
    number, out = zlib.crc32(body.encode("ascii", "replace")), ""
    for _ in range(CHECK):
        number, rest = divmod(number, len(ALPHABET))
        out = ALPHABET[rest] + out
    return out
