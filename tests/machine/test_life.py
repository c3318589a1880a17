"""Laws of ledger, idempotency and jobs together, in whatever order things come; at length by `make prove`."""

from hypothesis import HealthCheck, settings

from tests.machine.life import Life

TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
