"""Note how accounts do, by what their providers answer: who rests, for how long, and who is heard of again."""

from datetime import UTC, datetime

import structlog

from gateway.jobs.job import ASKED_MOST
from gateway.offers.accounts import EVERYTHING, Account
from gateway.telemetry import Metrics
from providers.base import advice
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Malformed,
    ProviderError,
    Scope,
    Throttled,
    Unauthorized,
    Unavailable,
)

log = structlog.get_logger()

RESTS: dict[type[ProviderError], float] = {Unauthorized: 3600.0, Exhausted: 1800.0, Throttled: 5.0}
"""Seconds nothing is ordered after an error that does not say how long."""
MOST: dict[type[ProviderError], float] = {Unauthorized: 3600.0, Exhausted: advice.MOST}
"""Seconds a provider's word is good for at most: what a new day fills up may take one, being busy does not."""


class Health:
    """Tell accounts what their providers answered, and everybody else what came of it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def turned_down(self, account: Account, order: str, model: str, error: ProviderError, now: int) -> None:
        """Order nothing more where an error says that there is no use: of the model, or of the whole account."""
        self.heard(account, error, now, buying=True)
        if error.scope is Scope.ORDER:
            if isinstance(error, Throttled) and (seconds := account.turned_away(order, now)):
                self._rested(account, EVERYTHING, "turned_away", seconds)
            return
        seconds = min(error.retry_after or RESTS.get(type(error), 5.0), MOST.get(type(error), ASKED_MOST))
        until = datetime.fromtimestamp(now / 1000 + seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
        rests = model if error.scope is Scope.MODEL else EVERYTHING
        why = f"the account {account.name} orders nothing until {until}: {error.kind} ({error.code or error.status})"
        account.rest(rests, now + int(seconds * 1000), why)
        self._rested(account, rests, error.kind, seconds)

    def heard(self, account: Account, error: ProviderError, now: int, *, buying: bool = False) -> None:
        """Note how a provider does: an answer it meant is well, silence or nonsense is not."""
        if isinstance(error, Throttled) and error.scope is not Scope.ORDER:
            account.throttled()
        if not isinstance(error, Unavailable | Indeterminate | Malformed):
            account.answered(now, buying=buying)
        elif began := account.failed(now, buying=buying):
            self._rested(account, EVERYTHING, *began)

    def _rested(self, account: Account, model: str, kind: str, seconds: float) -> None:
        """Say that an account rests."""
        self._metrics.rests.labels(account.name, kind).inc()
        log.warning("account.rested", account=account.name, model=model, kind=kind, seconds=seconds)
