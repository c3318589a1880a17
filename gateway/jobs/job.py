"""
What a job is, and how it may move: pure, the time is an argument.

::

    queued ──> submitting ──> running ──> storing ──> succeeded*
      │  ^        │   │          │           │
      │  └────────┘   │          ├──> failed*┘
      │ not taken     └> unknown ┘
      └──> cancelled*           (found again, or proven absent or given up: back to queued)

``submitting`` is committed before the buying call leaves. A job found there by a worker that did not
put it there is ``unknown``: nobody can tell "about to send" from "sent". An unknown job is never sent
again unless its provider proves that it never took it, or, once at most, its client would rather pay twice than wait
in vain (``on_unknown: resubmit``). A running one goes back to queued, for the next best offer, once its provider has
said that it failed and costs nothing.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.wish import Place, Rendition, read_choice, read_wish
from providers.base.errors import Exhausted, ProviderError, Scope
from providers.base.order import Mode
from providers.base.task import State as TaskState


class State(StrEnum):
    """Name where a job stands."""

    QUEUED = "queued"
    """Accepted, durable, nothing bought. Left by a claim."""
    SUBMITTING = "submitting"
    """The intent to buy is committed. Left by the provider's answer, or by its silence."""
    UNKNOWN = "unknown"
    """The buying call may have been taken. Left by evidence only."""
    RUNNING = "running"
    """The provider has a task. Left by the provider's verdict only."""
    STORING = "storing"
    """The clip is made and paid for, and being copied here."""
    SUCCEEDED = "succeeded"
    """The clip lies in our own store."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended; only what it cost, and the clips kept of it, may still change."""
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.QUEUED, State.SUBMITTING, State.FAILED, State.CANCELLED}),
    State.SUBMITTING: frozenset(
        {State.RUNNING, State.STORING, State.QUEUED, State.UNKNOWN, State.FAILED, State.CANCELLED}
    ),
    State.UNKNOWN: frozenset(
        {State.UNKNOWN, State.RUNNING, State.STORING, State.QUEUED, State.FAILED, State.CANCELLED}
    ),
    State.RUNNING: frozenset({State.RUNNING, State.STORING, State.QUEUED, State.FAILED, State.CANCELLED}),
    State.STORING: frozenset({State.STORING, State.SUCCEEDED, State.FAILED}),
    State.SUCCEEDED: frozenset({State.SUCCEEDED}),
    State.FAILED: frozenset({State.FAILED}),
    State.CANCELLED: frozenset({State.CANCELLED}),
}
"""Every legal move. A move to the same state is a look that changed nothing but times and progress."""


HALTED = "purchases were halted, or the video cancelled, before the order was sent"
HELD_UP = "the order was held up here for too long to be sent"
WITHHELD = frozenset({HALTED, HELD_UP})
"""What an attempt says whose order was not sent, for reasons of our own."""


class Outcome(StrEnum):
    """Name where an attempt stands; the first three are open, and a job has at most one of those."""

    INTENT = "intent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    ABSENT = "absent"
    ABANDONED = "abandoned"
    """Given up for another order while nobody knew its fate; it may have been taken."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    ACCOUNT_REFUSED = "account_refused"
    """Turned down for its account's sake: not let in, or with nothing left."""
    CANCELLED = "cancelled"


OPEN = frozenset({Outcome.INTENT, Outcome.UNKNOWN, Outcome.ACCEPTED})


IN_VAIN = frozenset({Outcome.REFUSED, Outcome.ACCOUNT_REFUSED, Outcome.FAILED})
"""After these the same order is not made again at the same offer of the same account."""


class Attempt(Struct, frozen=True):
    """Hold one order made for a job: a row of ``attempts``, its fields in the order of the columns."""

    id: str
    job: str
    number: int
    """1 for the first."""
    offer: str
    account: str
    submit_class: str
    outcome: Outcome
    usd_micros: int
    """What the quote said."""
    intent_at: int
    answered_at: int | None = None
    ended_at: int | None = None
    task: str | None = None
    error: str | None = None
    clips: int | None = None
    """How many of those it made were kept; ``None`` where it made none."""
    clips_ms: int | None = None
    """How long those are together, an extension without its source."""

    @property
    def place(self) -> Place:
        """Where it was made."""
        return self.account, self.offer


CRASHES = 3
"""Steps in a row that may end in a crash, or raise, before a job is put aside."""
SUSPECT = CRASHES - 1
FAULTS_MS = (60_000, 300_000)
"""How long a job is left alone after a step that raised, the first time and the next."""
ASIDE_MS = 600_000
"""How long a job that is put aside is left alone between two looks at its task."""


class IllegalMoveError(Exception):
    """Code tried to move a job where the state machine has no arrow."""


class Job(Struct, frozen=True):
    """Hold one durable record of a request: a row of ``jobs``, its fields in the order of the columns."""

    id: str
    tenant: str
    state: State
    seq: int
    """Grows with every move; an answer to an older one is refused."""
    created_at: int
    """Milliseconds since the epoch, like every time here."""
    updated_at: int
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    """When the clip is removed."""
    deadline_at: int
    """When a job without a verdict is given up."""
    due_at: int | None
    """When a worker should look next; while leased, when the lease runs out."""
    lease_until: int | None
    tries: int
    """Looks and downloads in this state that came to nothing."""
    lease_epoch: int
    """Grows with every claim; a worker whose lease was taken over is refused."""
    operation: str
    """create, remix, edit or extend."""
    parent: str | None
    wish: str
    """The :class:`~gateway.jobs.wish.Wish` as JSON: what was asked, never changed."""
    offer: str | None
    """``provider:model`` chosen last, with its quote in ``quote``."""
    account: str | None
    quote: str
    """The :class:`Choice` as JSON."""
    attempt: str | None
    attempts: int
    """How many were made."""
    task: str | None
    """The provider's handle as JSON."""
    progress: int
    cancel_requested: bool
    outputs: str
    """The kept renditions as JSON."""
    usage: str
    warnings: str
    error: str | None
    deleted_at: int | None
    buyer: str | None
    """The key that ordered it."""
    hold: str | None
    """What is set aside for it and what became of that: a :class:`~gateway.money.ledger.Hold` as JSON."""
    crashes: int = 0
    """Steps in a row during which its worker died, though another may have been the reason."""
    faults: int = 0
    """Steps in a row that raised."""
    aside_at: int | None = None
    """Since when it is put aside."""
    abandoned: str | None = None
    """The order given up for another, one at most: an :class:`~gateway.money.billing.Abandoned` as JSON."""

    @property
    def suspect(self) -> bool:
        """Whether one more crash with this job in hand is one too many: it had better be its own doing."""
        return self.crashes >= SUSPECT or self.aside_at is not None

    @property
    def poison(self) -> bool:
        """Whether this job is not to be stepped now: its steps brought the gateway down, or raised, too often."""
        if self.aside_at is None:
            return max(self.crashes, self.faults) >= CRASHES
        return self.crashes + self.faults > 0 or self.state is State.UNKNOWN


def born(
    id_: str,
    tenant: str,
    now: int,
    *,
    lease_until: int | None,
    deadline_at: int,
    operation: str,
    parent: str | None,
    wish: str,
    offer: str,
    quote: str,
    warnings: str,
    buyer: str,
    hold: str,
) -> Job:
    """Write a job as it is accepted: queued, nothing bought; leased where somebody begins with it at once."""
    return Job(
        id=id_,
        tenant=tenant,
        state=State.QUEUED,
        seq=0,
        created_at=now,
        updated_at=now,
        started_at=None,
        completed_at=None,
        expires_at=None,
        deadline_at=deadline_at,
        due_at=lease_until or now,
        lease_until=lease_until,
        tries=0,
        lease_epoch=0,
        operation=operation,
        parent=parent,
        wish=wish,
        offer=offer,
        account=None,
        quote=quote,
        attempt=None,
        attempts=0,
        task=None,
        progress=0,
        cancel_requested=False,
        outputs="[]",
        usage="{}",
        warnings=warnings,
        error=None,
        deleted_at=None,
        buyer=buyer,
        hold=hold,
    )


def move(job: Job, state: State, now: int, **changes: object) -> Job:
    """
    Move a job along one arrow, giving its lease up unless ``lease_until`` says otherwise.

    Whoever comes to move a job has survived its step, so what was counted against it is forgotten. Progress never runs
    backwards; who comes to a final state keeps the time of that, and is looked at no more unless ``due_at`` says so.

    :raises IllegalMoveError: when there is no such arrow.
    """
    if state not in MOVES[job.state]:
        raise IllegalMoveError(f"{job.id}: {job.state} -> {state}")
    progress = changes.pop("progress", None)
    if isinstance(progress, int):
        changes["progress"] = max(job.progress, min(99, progress))
    if state is not job.state:
        changes.setdefault("tries", 0)
        if state is State.SUCCEEDED:
            changes["progress"] = 100
        if state.final:
            changes.setdefault("completed_at", now)
            changes.setdefault("due_at", None)
    cleared = {"lease_until": None, "crashes": 0, "faults": 0, "aside_at": None}
    return replace(job, state=state, seq=job.seq + 1, updated_at=now, **{**cleared, **changes})


def requeued(job: Job, now: int, *, wait_ms: int = 0, **changes: object) -> Job:
    """Move a job to where its next order is chosen: of the one before it nothing is left but how far it had come."""
    anew = {"attempt": None, "account": None, "task": None, "usage": "{}", "started_at": None}
    return move(job, State.QUEUED, now, due_at=now + wait_ms, **anew, **changes)


VERDICTS: dict[TaskState, State] = {
    TaskState.QUEUED: State.RUNNING,
    TaskState.RUNNING: State.RUNNING,
    TaskState.UNKNOWN: State.RUNNING,
    TaskState.SUCCEEDED: State.STORING,
    TaskState.FAILED: State.FAILED,
    TaskState.REFUSED: State.FAILED,
    TaskState.CANCELLED: State.CANCELLED,
    TaskState.EXPIRED: State.FAILED,
}
"""What a task's state means for its job; an unknown word is not a verdict."""

ENDINGS: dict[TaskState, Outcome] = {
    TaskState.SUCCEEDED: Outcome.SUCCEEDED,
    TaskState.FAILED: Outcome.FAILED,
    TaskState.REFUSED: Outcome.REFUSED,
    TaskState.CANCELLED: Outcome.CANCELLED,
    TaskState.EXPIRED: Outcome.FAILED,
}
"""What a task's final state means for the attempt that made it."""

POLL_LEAST = 0.2
POLL_MOST = 60.0
CALLED_MOST = 300.0
"""Seconds between two looks at a task whose provider has been told to call."""
LATE_LEAST = 600.0
LATE_MOST = 86_400.0
"""Seconds between two looks at what ended in doubt."""
SOONEST = 0.5
"""Share of the usual time in which hardly any clip is ready."""
ASKED_MOST = 900.0
"""Seconds waited at most because a provider that is busy asks for it."""
UNDER_WAY = 180.0
"""Seconds an order may be on its way: the longest wait for an answer, and two minutes more."""
CONFIRM = 10.0
"""Seconds after which the provider is then asked once more."""
TURNS = 3
PATIENCE = 120.0
"""How often, and over how many seconds, an order is turned away at one place before others are asked first."""


def next_look(base: float, waited: float, asked: float | None, *, told: bool = False) -> float:
    """
    Decide how many seconds to wait before the next look at a task.

    The provider's word comes first; else looks start at the listing's interval and stretch with the time already
    waited, to a tenth of it. Where the provider has been ``told`` to call, looks only make up for a call that never
    comes: they start at four intervals and stretch to a third.
    """
    if asked is not None:
        return max(POLL_LEAST, asked)
    if told:
        return max(base, min(CALLED_MOST, max(4 * base, waited / 3)))
    return max(base, min(POLL_MOST, waited / 10))


def look_on(waited: float) -> float:
    """Decide how many seconds to wait before the next look at what ended in doubt ``waited`` seconds ago."""
    return min(LATE_MOST, max(LATE_LEAST, waited / 4))


def has_time(left_ms: int, whole_ms: int, typical_seconds: float) -> bool:
    """
    Decide whether an order still makes sense with so much left of the whole time its job was given.

    Hardly a clip is ready in half the time its offer usually takes: bought with less than that left it would be paid
    for and given up. Who gives jobs less time than that means it, and has them bought in the first three quarters.
    """
    return left_ms > 0 and left_ms >= min(typical_seconds * 1000 * SOONEST, whole_ms / 4)


def patience(job: Job) -> int:
    """
    Say until when evidence is waited for of an order whose client would have it made again, in milliseconds.

    Half of a job's time is left for the next order, and none is made while the one before may be on its way.
    """
    return max((job.created_at + job.deadline_at) // 2, (job.started_at or job.created_at) + int(UNDER_WAY * 1000))


def silent_in(tried: Iterable[Attempt]) -> list[Place]:
    """Find the places that never answered an order: who does not answer is asked again after all others."""
    return [each.place for each in tried if each.outcome in {Outcome.UNKNOWN, Outcome.ABANDONED}]


def tired_of(tried: Iterable[Attempt]) -> list[Place]:
    """
    Find the places that have turned an order away too often and for too long to be asked again before all others.

    Whoever did so longest ago comes first. What we kept from leaving ourselves was turned away by nobody.
    """
    found: dict[Place, list[int]] = {}
    for each in tried:
        if each.outcome is Outcome.NOT_ACCEPTED and each.error not in WITHHELD:
            found.setdefault(each.place, []).append(each.answered_at or each.intent_at)
    tired = [
        place for place, times in found.items() if len(times) >= TURNS and max(times) - min(times) >= PATIENCE * 1000
    ]
    return sorted(tired, key=lambda place: max(found[place]))


def backoff(tries: int, asked: float | None, jitter: float) -> float:
    """
    Decide how many seconds to wait after an answer that took nothing.

    What the provider asks for is never undercut (up to 15 minutes); else one second, doubled each
    time to at most a minute. ``jitter`` (0 to 1) spreads callers apart.
    """
    if asked is not None:
        return max(1.0, min(ASKED_MOST, asked)) * (1 + jitter / 10)
    return min(60.0, 2.0 ** min(tries, 10)) * (0.5 + jitter / 2)


def standing(job: Job, outcome: Outcome, now: int, error: str | None, task: str | None = None) -> Attempt:
    """
    Describe how the open attempt of a job now stands; what was written at the intent stays.

    One that succeeded brought what its ``job`` keeps of it.
    """
    assert job.attempt is not None
    clips, clips_ms = kept_of(job) if outcome is Outcome.SUCCEEDED else (None, None)
    return Attempt(
        id=job.attempt,
        job=job.id,
        number=job.attempts,
        offer=job.offer or "",
        account=job.account or "",
        submit_class="",
        outcome=outcome,
        usd_micros=0,
        intent_at=0,
        answered_at=None if outcome in {Outcome.UNKNOWN, Outcome.ABANDONED} else now,
        ended_at=None if outcome in OPEN else now,
        task=task,
        error=error,
        clips=clips,
        clips_ms=clips_ms,
    )


def kept_of(job: Job) -> tuple[int, int]:
    """
    Count the clips kept of a job, and their milliseconds; what an extension goes on from was made before.

    A clip nobody could measure is taken to be as long as it was ordered.
    """
    clips = [each for each in msgspec.json.decode(job.outputs, type=list[Rendition]) if each.kind == "video"]
    if not clips:
        return 0, 0
    spec, request = read_choice(job.quote).spec, read_wish(job.wish).request
    lengths = [each.duration_seconds or spec.length(request) for each in clips]
    had = request.source_seconds() if spec.mode is Mode.EXTEND else 0.0
    return len(clips), round(1000 * sum(max(0.0, length - had) for length in lengths))


def turned_down(error: ProviderError) -> Outcome:
    """Say for whose sake an order was turned down: its own, or its account's."""
    own = error.scope is Scope.ORDER and not isinstance(error, Exhausted)
    return Outcome.REFUSED if own else Outcome.ACCOUNT_REFUSED


def as_json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()
