"""Laws of trials: a suspect is stepped by itself, one after the other, and hardly ever in anybody's way."""

from gateway.engine.trials import AGAIN_MS, ALONE_MS, CALM_MS, REST_MS, Trials


def opened(*suspects: str) -> tuple[Trials, int]:
    """Answer trials of a process that has run long enough, with suspects, and the time."""
    trials = Trials()
    trials.start(0)
    for each in suspects:
        assert trials.put_off(each, CALM_MS) == CALM_MS + AGAIN_MS
    return trials, CALM_MS


def test_a_process_that_has_just_started_tries_nobody() -> None:
    """However often it is killed, and goes on with everything else meanwhile."""
    trials = Trials()
    trials.start(0)
    trials.put_off("a", 0)

    assert not trials.alone(CALM_MS - 1)
    assert trials.call([], CALM_MS - 1) is None
    assert trials.alone(CALM_MS)
    assert trials.call([], CALM_MS) == "a"


def test_nothing_is_begun_around_the_start_of_a_trial() -> None:
    """What was begun before has its time first; what would be begun after waits as long, or until the trial ends."""
    trials, now = opened("a")

    assert trials.call([now - ALONE_MS - 5, now - 1], now) is None
    assert trials.alone(now)
    now += ALONE_MS - 1
    assert trials.call([now - 1], now) is None
    assert trials.call([now - ALONE_MS], now) == "a"
    assert trials.alone(now + ALONE_MS - 1)
    assert not trials.alone(now + ALONE_MS)


def test_one_is_tried_after_the_other() -> None:
    """As long as each ends soon; nobody else's end is taken for a suspect's."""
    trials, now = opened("a", "b")

    assert trials.call([], now) == "a"
    assert trials.call([], now) is None
    assert not trials.end("other", now)
    assert trials.end("a", now + 1)
    assert trials.alone(now + 1)
    assert trials.call([], now + 1) == "b"
    assert trials.end("b", now + 2)
    assert not trials.alone(now + 2)


def test_trials_that_take_long_leave_the_others_their_time() -> None:
    """After one that lasted, everybody else goes on for a minute."""
    trials, now = opened("a", "b")
    trials.call([], now)
    now += ALONE_MS

    assert trials.call([], now) is None
    assert trials.end("a", now)
    assert not trials.alone(now + REST_MS - 1)
    assert trials.call([], now + REST_MS) == "b"


def test_a_suspect_that_is_being_tried_does_not_wait_for_another_trial() -> None:
    """Its lease may have run out meanwhile."""
    trials, now = opened("a")
    trials.call([], now)
    trials.put_off("a", now)
    trials.end("a", now)

    assert not trials.alone(now)
