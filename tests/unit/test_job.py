"""Laws of the state machine."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.jobs.job import (
    ENDINGS,
    FINAL,
    HALTED,
    HELD_UP,
    MOVES,
    OPEN,
    VERDICTS,
    Attempt,
    IllegalMoveError,
    Outcome,
    State,
    backoff,
    has_time,
    kept_of,
    look_on,
    move,
    next_look,
    standing,
    tired_of,
    turned_down,
)
from gateway.jobs.wish import Choice, Rendition, Wish
from providers.base.errors import Exhausted, Invalid, ProviderError, Refused, Scope, Throttled, Unauthorized
from providers.base.order import Input, Mode, Request, Role, Spec
from providers.base.task import State as TaskState
from tests.make import job


@pytest.mark.parametrize(("was", "to"), list(itertools.product(State, State)))
def test_only_arrows_are_taken(was: State, to: State) -> None:
    """A job moves along an arrow of the table or not at all."""
    if to in MOVES[was]:
        assert to is move(job(was), to, 7).state
    else:
        with pytest.raises(IllegalMoveError):
            move(job(was), to, 7)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_ends_are_final(state: State) -> None:
    """No arrow leaves an end state."""
    assert frozenset({state}) == MOVES[state]


def test_every_state_reaches_an_end() -> None:
    """From everywhere there is a way to success, to failure, or both."""
    reached = set(FINAL)
    for _ in State:
        reached |= {state for state in State if MOVES[state] & reached}

    assert set(State) == reached


def test_unknown_is_left_by_evidence_only() -> None:
    """The state machine has no arrow from unknown to a second submit."""
    assert State.SUBMITTING not in MOVES[State.UNKNOWN]


def test_nothing_is_bought_twice_in_a_row() -> None:
    """Submitting is entered from queued alone."""
    assert {State.QUEUED} == {state for state in State if State.SUBMITTING in MOVES[state]}


@given(st.lists(st.integers(-50, 500) | st.none(), max_size=20))
def test_progress_never_runs_backwards(seen: list[int | None]) -> None:
    """Whatever a provider reports, progress is monotonic and below 100 until the clip is kept."""
    running = job(State.RUNNING)
    for progress in seen:
        after = move(running, State.RUNNING, 1, progress=progress)

        assert running.progress <= after.progress <= 99

        running = after

    assert running.progress == min(99, max([10, *(each for each in seen if each is not None)]))
    assert move(move(running, State.STORING, 1), State.SUCCEEDED, 1).progress == 100


def test_every_move_counts_and_gives_the_lease_up() -> None:
    """Seq grows by one; the lease goes unless it is kept by name."""
    moved = move(job(), State.SUBMITTING, 9)

    assert (moved.seq, moved.lease_until, moved.updated_at) == (4, None, 9)
    assert move(job(), State.SUBMITTING, 9, lease_until=5).lease_until == 5


def test_tries_count_within_a_state() -> None:
    """Another state starts counting anew."""
    assert move(job(State.RUNNING), State.RUNNING, 1).tries == 2
    assert move(job(State.RUNNING), State.STORING, 1).tries == 0


def test_an_end_is_dated_once() -> None:
    """Cleaning up after a success leaves its time alone."""
    done = move(job(State.STORING), State.SUCCEEDED, 50, due_at=99)

    assert (done.completed_at, done.due_at) == (50, 99)
    assert move(done, State.SUCCEEDED, 99, due_at=None).completed_at == 50


@pytest.mark.parametrize("was", State)
def test_only_an_end_is_dated_and_looked_at_no_more(was: State) -> None:
    """Whoever is under way keeps when it is due; each move forgets what was counted against the job."""
    counted = job(was, crashes=2, faults=2, aside_at=5)
    for to in MOVES[was] - {was}:
        moved = move(counted, to, 7)
        assert (moved.completed_at, moved.due_at) == ((7, None) if to in FINAL else (None, counted.due_at))
        assert (moved.progress == 100) is (to is State.SUCCEEDED)
        assert (moved.crashes, moved.faults, moved.aside_at) == (0, 0, None)


@pytest.mark.parametrize(
    ("crashes", "faults", "aside", "suspect", "poison"),
    [
        (0, 0, False, False, False), (1, 2, False, False, False), (2, 0, False, True, False),
        (2, 2, False, True, False), (3, 0, False, True, True), (0, 3, False, False, True),
        (0, 0, True, True, False), (1, 0, True, True, True), (0, 1, True, True, True),
    ],
)  # fmt: skip
def test_three_steps_that_end_badly_put_a_job_aside(
    crashes: int, faults: int, aside: bool, suspect: bool, poison: bool
) -> None:
    """Three of a kind; with one crash left it is stepped alone, and one that is aside is left at the first."""
    told = job(State.RUNNING, crashes=crashes, faults=faults, aside_at=1 if aside else None)
    assert (told.suspect, told.poison) == (suspect, poison)
    if aside:
        assert replace(told, state=State.UNKNOWN).poison


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Invalid("a word"), Outcome.REFUSED), (Refused("a prompt"), Outcome.REFUSED),
        (Throttled("a captcha", scope=Scope.ORDER), Outcome.REFUSED), (Unauthorized("no"), Outcome.ACCOUNT_REFUSED),
        (Exhausted("empty"), Outcome.ACCOUNT_REFUSED), (Exhausted("", scope=Scope.ORDER), Outcome.ACCOUNT_REFUSED),
        (Unauthorized("no", scope=Scope.MODEL), Outcome.ACCOUNT_REFUSED),
    ],
)  # fmt: skip
def test_no_order_is_blamed_for_its_account(error: ProviderError, outcome: Outcome) -> None:
    """What an account may not order or cannot pay for says nothing of the order."""
    assert turned_down(error) is outcome


@pytest.mark.parametrize("outcome", sorted({*Outcome} - {Outcome.INTENT}))
def test_an_attempt_is_open_until_it_is_dated(outcome: Outcome) -> None:
    """Only silence is no answer, and only what succeeded brought clips."""
    stands = standing(job(State.RUNNING, offer="acme:maker/one", account="main"), outcome, 7, "why", "task")
    assert (stands.id, stands.job, stands.number, stands.offer, stands.account, stands.task, stands.error) == (
        "att_1", "video_1", 1, "acme:maker/one", "main", "task", "why",
    )  # fmt: skip
    assert (stands.outcome, stands.ended_at) == (outcome, None if outcome in OPEN else 7)
    assert stands.answered_at == (None if outcome in {Outcome.UNKNOWN, Outcome.ABANDONED} else 7)
    assert (stands.clips, stands.clips_ms) == ((0, 0) if outcome is Outcome.SUCCEEDED else (None, None))


def test_every_task_state_has_a_meaning() -> None:
    """A word is a verdict exactly when it is final."""
    for state in TaskState:
        verdict = VERDICTS[state]

        assert state.final == (verdict in {State.STORING, State.FAILED, State.CANCELLED})
        assert state.final == (state in ENDINGS)
    assert not OPEN & set(ENDINGS.values())
    assert set(Outcome) - OPEN >= set(ENDINGS.values())


@given(st.floats(0.1, 60), st.floats(0, 10_000), st.none() | st.floats(0, 100))
def test_looks_keep_to_the_providers_word(base: float, waited: float, asked: float | None) -> None:
    """Never faster than asked, and never faster than the listing's interval otherwise."""
    for told in (False, True):
        wait = next_look(base, waited, asked, told=told)

        assert wait >= (base if asked is None else asked)


@given(st.floats(0.1, 60), st.floats(0, 10_000))
def test_who_calls_is_looked_at_seldom(base: float, waited: float) -> None:
    """Where the provider calls back a look is rarer, and a call that never comes is made up for in five minutes."""
    wait = next_look(base, waited, None, told=True)

    assert next_look(base, waited, None) <= wait <= 300


@pytest.mark.parametrize(
    ("base", "waited", "looks", "told"),
    [(5, 0, 5, 20), (5, 40, 5, 20), (5, 300, 30, 100), (5, 10_000, 60, 300), (90, 0, 90, 300), (400, 0, 400, 400)],
)
def test_looks_stretch_with_the_time_waited(base: float, waited: float, looks: float, told: float) -> None:
    """From the interval to a tenth of it, at most a minute; who calls is looked at from four intervals to a third."""
    assert (next_look(base, waited, None), next_look(base, waited, None, told=True)) == (looks, told)
    assert (next_look(base, waited, 7), next_look(base, waited, 7, told=True)) == (7, 7)
    assert next_look(base, waited, 0) > 0


def test_what_ended_in_doubt_is_looked_at_ever_more_seldom() -> None:
    """After a quarter of the time waited: ten minutes at least, a day at most."""
    assert [600, 600, 900, 86_400] == [look_on(waited) for waited in (0, 2400, 3600, 10**7)]


@given(st.integers(-10_000, 10_000_000), st.floats(1, 3600))
def test_nothing_is_bought_that_cannot_be_ready(left: int, typical: float) -> None:
    """With half the usual time left an order makes sense, with less it does not; after the deadline never."""
    assert has_time(left, 10**9, typical) == (left > 0 and left / 1000 >= typical / 2)
    assert has_time(left, left, typical) == (left > 0)


@given(st.integers(0, 500), st.none() | st.floats(-5, 1e9), st.floats(0, 1))
def test_backoff_is_bounded_and_never_undercuts(tries: int, asked: float | None, jitter: float) -> None:
    """Between half a second and a quarter of an hour; a Retry-After is kept, as far as it is sane."""
    wait = backoff(tries, asked, jitter)

    assert 0.5 <= wait < 991
    if asked is None:
        whole = min(60, 2**tries)
        assert whole / 2 <= wait <= whole
        assert (backoff(tries, None, 0), backoff(tries, None, 1)) == (whole / 2, whole)
    else:
        sane = min(900, max(1, asked))
        assert sane <= wait <= backoff(tries, asked, 1) == pytest.approx(1.1 * sane)


@pytest.mark.parametrize(
    ("mode", "lengths", "kept"),
    [
        (Mode.TEXT, [], (0, 0)),
        (Mode.TEXT, [7.5, 8.25], (2, 15_750)),
        (Mode.TEXT, [None, 4.0], (2, 12_000)),
        (Mode.EXTEND, [10.0, None], (2, 16_000)),
        (Mode.EXTEND, [1.0], (1, 0)),
    ],
)
def test_what_was_kept_is_measured(mode: Mode, lengths: list[float | None], kept: tuple[int, int]) -> None:
    """Only clips count; one nobody could measure is as long as ordered, and an extension's source was had before."""
    spec = Spec(mode=mode, resolution="720p", seconds=8, aspect_ratio="16:9", audio=True, n=1, fps=24)
    source = Input(role=Role.SOURCE, media_type="video/mp4", sha256="a", size=1, seconds=2.0)
    request = Request(prompt="x", model="m", inputs=(source,) if mode is Mode.EXTEND else ())
    outputs = [
        Rendition(index=at, kind=kind, path="", content_type="", bytes=1, sha256="", duration_seconds=length)
        for at, length in enumerate(lengths)
        for kind in ("video", "thumbnail")
    ]
    texts = {
        "outputs": outputs,
        "wish": Wish(request=request),
        "quote": Choice(account="a", provider="p", model="m", spec=spec, usd_micros=1),
    }
    said = {name: msgspec.json.encode(each).decode() for name, each in texts.items()}
    assert kept == kept_of(job(State.SUCCEEDED, **said))


def turned(account: str, seconds: float, outcome: Outcome = Outcome.NOT_ACCEPTED, error: str = "busy") -> Attempt:
    """Make an order that was turned away so many seconds after the first."""
    return Attempt(
        id="att", job="video", number=1, offer="o", account=account, submit_class="E", outcome=outcome, usd_micros=1,
        intent_at=0, answered_at=int(1000 * seconds), error=error,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tried", "tired"),
    [
        ([], []),
        ([turned("a", 0), turned("a", 120)], []),
        ([turned("a", 0), turned("a", 60), turned("a", 119.999)], []),
        ([turned("a", 0), turned("a", 60), turned("a", 120)], ["a"]),
        ([turned("a", 0), turned("b", 60), turned("a", 120)], []),
        ([turned("a", 0), turned("a", 60, Outcome.ABSENT), turned("a", 120)], []),
        *(([turned("a", 0), turned("a", 60, error=ours), turned("a", 120)], []) for ours in (HALTED, HELD_UP)),
        ([turned(each, at) for at in (0, 60, 130) for each in "ba"] + [turned("b", 200)], ["a", "b"]),
    ],
)  # fmt: skip
def test_so_often_and_for_so_long_is_too_much(tried: list[Attempt], tired: list[str]) -> None:
    """Three times over two minutes at one place, by its own word; whoever said so last comes last."""
    assert tired_of(tried) == [(account, "o") for account in tired]
