"""Laws of the live tests themselves: nothing is ordered that was not asked for, nor beyond what may be spent."""

import os
import subprocess
import sys
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from providers.base.listing import listings
from tests.live.test_sellers import SELLERS, Purse
from tests.server import ROOT

NAMES = {secret.name for listing in listings().values() for secret in listing.secrets}


def run(*words: str, **environ: str) -> str:
    """Run the live tests in a process of their own, with no secret but those given."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/live/test_sellers.py", *words],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_nothing_is_ordered_unasked() -> None:
    """Whatever secrets lie in the environment, each seller is skipped with its reason."""
    told = run(GEMINI_API_KEY="not-a-key")
    assert f"{len(SELLERS)} skipped" in told
    assert "costs money: pytest tests/live --live --spend 0.50" in told


def test_nothing_is_ordered_without_a_secret() -> None:
    """What is missing is named."""
    told = run("--live")
    assert f"{len(SELLERS)} skipped" in told
    for name in ("GEMINI_API_KEY", "COMETAPI_KEY", "USEAPI_TOKEN", "AIGENERATE_API_KEY", "GOOGLE_CLOUD_PROJECT"):
        assert f"the environment lacks {name}" in told


def test_nothing_is_ordered_beyond_the_budget() -> None:
    """Quotes cost nothing; what they say is more than is left is not ordered."""
    told = run("--live", "--spend", "0.0001", GEMINI_API_KEY="not-a-key", AIGENERATE_API_KEY="not-a-key")
    assert f"{len(SELLERS)} skipped" in told
    assert "the smallest clip of gemini costs $0.1" in told
    assert "and $0.0001 is left to spend" in told
    assert "aigenerate states no price of a clip" in told


@given(st.decimals(0, 10, places=6), st.lists(st.decimals(0, 3, places=6), max_size=20))
def test_a_purse_never_gives_more_than_it_holds(limit: Decimal, sums: list[Decimal]) -> None:
    """To the micro-dollar, whatever is asked for in whatever order."""
    purse = Purse(limit)
    spent = sum((usd for usd in sums if purse.take(usd)), Decimal(0))
    assert spent <= limit
    assert purse.left == limit - spent
