"""Goal S5 in short: bombs and slow clients at a tenth of their size; ``make abuse`` throws them whole."""

import pytest

from tests.abuse.bombs import BOMBS, MOST_GROWTH, throw
from tests.abuse.target import Target
from tests.server import eventually

SIZES = {"connections that say nothing": 0.6}
"""Shares of the full size: of connections, more than a server takes that counts idle ones."""
SLOWEST = 5
"""Seconds; ``make abuse``, which has the machine to itself, holds it to a quarter of one."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_no_harm(target: Target, name: str) -> None:
    """What is small to send is small to take, whoever asks meanwhile is answered, and nothing is left of it."""
    videos, files, _ = target.holdings()
    incoming = target.server.folder / "media" / "incoming"
    seen = throw(target, name, SIZES.get(name, 0.1))
    assert {*seen.statuses} <= {200, 400, 413, 415, 422}
    assert seen.growth < MOST_GROWTH
    assert seen.slowest < SLOWEST
    eventually(lambda: not list(incoming.iterdir()))
    assert (videos, files) == target.holdings()[:2]
    target.check_log()
