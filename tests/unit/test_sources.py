"""Laws of a source of clips: one try on behalf of all while it answers nobody."""

from gateway.offers.sources import LAST_MS, LONGEST_MS, LOOK_MS, TRY_MS, Source

HOURS = 24 * 3_600_000


def test_who_is_well_is_asked_by_everybody() -> None:
    """Nothing is held back before anything failed, nor after anything was answered."""
    source = Source()
    assert [source.take(HOURS, 5) for _ in range(3)] == [5, 5, 5]
    source.failed(5)
    source.answered()
    assert [source.take(HOURS, 6) for _ in range(3)] == [6, 6, 6]


def test_one_is_tried_for_all_ever_more_seldom() -> None:
    """Each failure quadruples the time to the next try, up to five minutes; meanwhile nobody else has a turn."""
    source, now, waits = Source(), 0, []
    source.failed(now)
    for _ in range(9):
        began = now
        while (due := source.take(HOURS, now)) > now:
            assert due <= now + LOOK_MS
            now = due
        waits.append(now - began)
        assert source.take(HOURS, now) == now + LOOK_MS
        source.failed(now)
    assert waits == [250, 1000, 4000, 16_000, 64_000, 256_000, *[LONGEST_MS] * 3]


def test_what_fails_beside_each_other_counts_once() -> None:
    """A hundred first tries that fail in one moment say no more than one."""
    source = Source()
    for _ in range(100):
        source.failed(1000)
    assert source.take(HOURS, 1250) == 1250


def test_a_try_nobody_hears_of_again_does_not_hold_the_others_for_ever() -> None:
    """Its process may have died."""
    source = Source()
    source.failed(0)
    assert source.take(HOURS, 250) == 250
    assert source.take(HOURS, 251) > 251
    assert source.take(HOURS, 250 + TRY_MS) == 250 + TRY_MS


def test_a_link_about_to_die_waits_for_nobody() -> None:
    """Politeness is not worth a clip that was paid for."""
    source = Source()
    source.failed(0)
    assert source.take(LAST_MS, 100) > 100
    assert source.take(LAST_MS - 1, 100) == 100
