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


class ProviderError(Exception):
    """
    Something a provider said or failed to say.

    ``message`` may be shown to the client; ``code`` is the provider's own word, kept raw.
    """

    again: ClassVar[Again] = Again.NEVER
    kind: ClassVar[str] = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        retry_after: float | None = None,
        billed: Billed | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.retry_after = retry_after
        """Seconds the provider asked us to wait, if it did."""
        self.billed: Billed = billed or self._billed

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


class Exhausted(ProviderError):
    """The account has no credits, balance or quota left."""

    again = Again.ELSEWHERE
    kind = "exhausted"


class Throttled(ProviderError):
    """The provider asks to slow down and took nothing."""

    again = Again.HERE
    kind = "throttled"


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
