"""
What can go wrong at a provider, and what may be done about it.

Every error answers two questions: may the same order be sent again, and may it have cost money.

::

    ProviderError
    ├── Unsupported      the dialect has no such verb               again: no         billed: no
    ├── Invalid          the order itself is wrong                  again: elsewhere  billed: no
    ├── Refused          the provider will not make this            again: no         billed: no
    ├── Unauthorized     the account's credentials                  again: elsewhere  billed: no
    ├── Exhausted        the account has nothing left               again: elsewhere  billed: no
    ├── Throttled        too much at once                           again: here       billed: no
    ├── Unavailable      nobody home; the order was not taken       again: here       billed: no
    ├── Indeterminate    silence after the first byte of a purchase again: never      billed: maybe
    ├── Missing          the provider knows no such task            again: no         billed: maybe
    └── Malformed        an answer nobody can read                  again: never      billed: maybe
"""

from enum import StrEnum
from typing import ClassVar


class Again(StrEnum):
    """Say whether and where the same order may be sent once more."""

    HERE = "here"
    """Later, to the same account or another."""
    ELSEWHERE = "elsewhere"
    """At another account or offer, not here."""
    NO = "no"
    """It would be answered the same everywhere."""
    NEVER = "never"
    """It may already have been bought."""


class Billed(StrEnum):
    """Say whether the order may have cost money."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class Scope(StrEnum):
    """Say how much an error is about, and so what rests until it is over."""

    ORDER = "order"
    """This order alone."""
    MODEL = "model"
    """Every order of the model at the account."""
    ACCOUNT = "account"
    """Every order at the account."""


class ProviderError(Exception):
    """
    Something a provider said or failed to say.

    ``message`` may be shown to the client; ``code`` is the provider's own word, kept raw.
    """

    again: ClassVar[Again] = Again.NEVER
    kind: ClassVar[str] = "provider_error"
    _scope: ClassVar[Scope] = Scope.ORDER

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        retry_after: float | None = None,
        billed: Billed | None = None,
        scope: Scope | None = None,
        heard: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.retry_after = retry_after
        """Seconds the provider asked us to wait, if it did."""
        self.billed: Billed = billed or self._billed
        self.scope: Scope = scope or self._scope
        self.heard = heard
        """How an answer began that did not come whole, without secrets: for operators alone."""

    _billed: ClassVar[Billed] = Billed.NO


class Unsupported(ProviderError):
    """The dialect cannot express this."""

    again = Again.NO
    kind = "unsupported"


class Invalid(ProviderError):
    """The provider rejects a value of the order."""

    again = Again.ELSEWHERE
    kind = "invalid"


class Refused(ProviderError):
    """The provider's policy forbids this prompt or picture."""

    again = Again.NO
    kind = "refused"


class Unauthorized(ProviderError):
    """The account's credentials are wrong, revoked or not entitled."""

    again = Again.ELSEWHERE
    kind = "unauthorized"
    _scope = Scope.ACCOUNT


class Exhausted(ProviderError):
    """The account has no credits, balance or quota left."""

    again = Again.ELSEWHERE
    kind = "exhausted"
    _scope = Scope.ACCOUNT


class Throttled(ProviderError):
    """The provider asks to slow down and took nothing."""

    again = Again.HERE
    kind = "throttled"
    _scope = Scope.ACCOUNT


class Unavailable(ProviderError):
    """The provider could not be reached, or said it took nothing."""

    again = Again.HERE
    kind = "unavailable"


class Indeterminate(ProviderError):
    """The order left and no readable answer came back: it may have been bought."""

    again = Again.NEVER
    kind = "indeterminate"
    _billed = Billed.MAYBE


class Missing(ProviderError):
    """The provider knows no task by that name."""

    again = Again.NO
    kind = "missing"
    _billed = Billed.MAYBE


class Malformed(ProviderError):
    """The provider answered something its dialect does not contain."""

    again = Again.NEVER
    kind = "malformed"
    _billed = Billed.MAYBE


DEFINITE: dict[int, type[ProviderError]] = {
    400: Invalid,
    401: Unauthorized,
    402: Exhausted,
    403: Unauthorized,
    404: Missing,
    405: Invalid,
    410: Missing,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Throttled,
}
"""Statuses that say the call was read and turned down (RFC 9110, section 15.5)."""

SILENT = frozenset({408, 409, 425})
"""Statuses below 500 that do not say whether the call was taken."""


def by_status(status: int, *, buying: bool) -> type[ProviderError]:
    """
    Say what a bare HTTP status means, before a provider's own words are looked at.

    A purchase answered by anything but a definite refusal may have been taken; an adapter may move a status
    out of that only on its provider's word.
    """
    if status >= 500 or status in SILENT:
        return Indeterminate if buying else Unavailable
    kind = DEFINITE.get(status, Malformed)
    return Invalid if buying and kind is Missing else kind
