"""Laws of guessed keys: so many a minute from one peer, whoever it says it is, and bounded memory."""

import pytest

from gateway.door.guesses import MOST_PEERS, Guesses, networks


def spent(guesses: Guesses, host: str, forwarded: tuple[str, ...] = (), now: int = 0) -> int:
    """Guess until it is one too many; says how many were not."""
    for number in range(1000):
        if guesses.count(host, forwarded, now) is not None:
            return number
    return 1000


def test_a_minutes_worth_at_once_and_then_evenly() -> None:
    """Fifty, and then one every 1.2 seconds; whoever goes on guessing waits no longer for it."""
    guesses = Guesses(50)

    assert spent(guesses, "198.51.100.1") == 50
    assert guesses.count("198.51.100.1", (), 0) == 2
    assert spent(guesses, "198.51.100.1", now=1_200) == 1
    assert spent(guesses, "198.51.100.1", now=1_200 + 30_000) == 25
    assert spent(guesses, "198.51.100.2") == 50


def test_who_says_who_it_is_is_not_believed() -> None:
    """X-Forwarded-For changes nothing, unless a proxy of the operator's says it; and then only its last word."""
    guesses = Guesses(5, networks(["10.0.0.0/8", "fd00::1"]))

    assert spent(guesses, "198.51.100.1", ("203.0.113.1",)) == 5
    assert spent(guesses, "198.51.100.1", ("203.0.113.2",)) == 0
    assert spent(guesses, "10.0.0.1", ("203.0.113.9, 203.0.113.1",)) == 5
    assert spent(guesses, "10.9.9.9", ("203.0.113.8", "203.0.113.1, 10.0.0.1")) == 0
    assert spent(guesses, "::ffff:10.0.0.1", ("203.0.113.2",)) == 5
    assert spent(guesses, "fd00::1", ("203.0.113.2",)) == 0
    assert spent(guesses, "10.0.0.1", ("nonsense",)) == 5
    assert spent(guesses, "10.0.0.1") == 0
    assert spent(guesses, "10.0.0.1", ("10.0.0.2," * 5000,)) == 0


def test_an_address_more_is_no_allowance_more() -> None:
    """Whoever has one IPv6 address has its whole site; an IPv4 address in IPv6 clothes is itself."""
    guesses = Guesses(5)

    assert spent(guesses, "2001:db8::1") == 5
    assert spent(guesses, "2001:db8::ffff:1") == 0
    assert spent(guesses, "2001:db8:0:1::1") == 5
    assert spent(guesses, "198.51.100.1") == 5
    assert spent(guesses, "::ffff:198.51.100.1") == 0


def test_memory_is_bounded() -> None:
    """However many peers guess, so many are remembered: the latest."""
    guesses = Guesses(1)
    for number in range(MOST_PEERS + 100):
        guesses.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", (), 0)

    assert len(guesses._allowance) == MOST_PEERS
    assert guesses.count("10.0.0.0", (), 0) is None
    assert guesses.count(f"10.0.{(MOST_PEERS + 99) >> 8}.{(MOST_PEERS + 99) & 255}", (), 0) == 60


def test_a_clock_set_back_takes_no_allowance() -> None:
    """Nor does it give any."""
    guesses = Guesses(5)
    assert guesses.count("198.51.100.1", (), 100_000) is None
    assert spent(guesses, "198.51.100.1", now=0) == 4


@pytest.mark.parametrize("said", ["10.0.0.0/33", "proxy.internal", ""])
def test_a_proxy_is_an_address(said: str) -> None:
    """What is none is said before the start."""
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        networks([said])
