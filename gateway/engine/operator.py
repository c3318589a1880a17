"""
What an operator may decide about a job nobody knows the fate of: pure moves; each is refused where it makes no sense.

The gateway never does any of this on its own: to buy again after a lost answer may be to buy twice.
"""

import msgspec
from msgspec.structs import replace

from gateway.events.events import announce, tell_settled
from gateway.events.hooks import drop_task, take_task
from gateway.jobs.finished import Finished
from gateway.jobs.job import Attempt, Job, Outcome, State, move, requeued
from gateway.jobs.wish import Problem
from gateway.money.billing import Bill, closed, former, in_doubt, settled, unsettled, with_former
from gateway.money.ledger import Posting
from gateway.store.database import Statement
from providers.base.task import Task


class MoveError(Exception):
    """The job is not where this could be done to it; the message says where it is."""


def adopt(job: Job, last: Attempt, task: str, now: int) -> tuple[Job, Attempt, list[Statement]]:
    """
    Take a task found at the provider for the one the lost order made; the next look says how it stands.

    Of a job that has ended in doubt it says what that cost, and its clip is kept; of an order that was given up for
    another (``last`` is the one in question, see :func:`questioned`) only the former. It holds only where the task is
    no other order's. One that was named before, by mistake, is given up for it while nothing has come of it.

    :raises MoveError: unless the job is unknown, or ended without its provider having named a task.
    """
    handle = msgspec.json.encode(Task(task)).decode()
    order = former(job)
    if order is not None and last.id == order.attempt and in_doubt(order):
        noted = with_former(job, replace(order, task=handle))
        taken = [take_task(order, Task(task), adopted=True)]
        return move(noted, job.state, now, due_at=now), replace(last, task=handle), taken
    taken = [take_task(job, Task(task), adopted=True)]
    if in_doubt(job) and (job.task is None or _is_mere_word(job, last)):
        if job.task is not None:
            taken.insert(0, drop_task(job))
        return move(job, job.state, now, task=handle, due_at=now), replace(last, task=handle), taken
    _must_be_unknown(job)
    running = move(job, State.RUNNING, now, task=handle, due_at=now)
    return running, replace(last, outcome=Outcome.ACCEPTED, answered_at=now, task=handle, error=None), taken


def _is_mere_word(job: Job, last: Attempt) -> bool:
    """Whether a job's task is only what an operator has named, and nothing was found of it."""
    # Who was never answered is closed as answered when its job ends.
    named = last.task is not None and last.task == job.task and last.answered_at in {None, last.ended_at}
    return named and not msgspec.json.decode(job.task or "", type=Finished).at


def questioned(job: Job) -> str | None:
    """Say which attempt of a job a task found at a provider is taken to be of: one given up before, or its last."""
    order = former(job)
    own = job.state is State.UNKNOWN or (in_doubt(job) and job.task is None)
    return order.attempt if order is not None and in_doubt(order) and order.task is None and not own else job.attempt


def resubmit(job: Job, open_: Attempt, now: int) -> tuple[Job, Attempt]:
    """
    Order again, on the operator's word that the first order was never taken; if it was, the clip is bought twice.

    :raises MoveError: unless the job is unknown.
    """
    _must_be_unknown(job)
    absent = replace(open_, outcome=Outcome.ABSENT, ended_at=now, error="an operator said it was never taken")
    return requeued(job, now), absent


def write_off(job: Job, open_: Attempt, now: int) -> tuple[Job, Attempt, list[Posting], list[Statement]]:
    """
    End a job whose order nobody will ever hear of; its money stays in suspense until it is settled, its client is told.

    :raises MoveError: unless the job is unknown.
    """
    _must_be_unknown(job)
    message = "Nobody knows whether the provider took the order; an operator gave it up."
    message += " One before it may have been taken, too." if job.abandoned else " It was not ordered twice."
    problem = Problem(code="submission_unknown", message=message)
    failed = move(job, State.FAILED, now, error=msgspec.json.encode(problem).decode())
    ended, postings = closed(failed, Bill.DOUBT, now)
    lost = replace(open_, outcome=Outcome.FAILED, ended_at=now, error="written off by an operator")
    return ended, lost, postings, announce(ended)


def settle(job: Job, usd_micros: int, now: int) -> tuple[Job, list[Posting], list[Statement]]:
    """
    Say what a job in doubt cost, by the provider's invoice; 0 gives its money back.

    Of two orders in doubt it is the last, and then, asked again, the one that was given up before it.

    :raises MoveError: unless its money is in suspense, and it has ended.
    """
    order = former(job)
    if in_doubt(job):
        done, postings = settled(job, usd_micros, now)
    elif order is not None and in_doubt(order):
        order, postings = settled(order, usd_micros, now, of=order.attempt or "")
        done = with_former(job, order)
    elif job.abandoned is not None and not job.state.final:
        raise MoveError(f"{job.id} is still {job.state}; say what its first order cost once it has ended")
    else:
        raise MoveError(f"the money of {job.id} is not in doubt")
    if unsettled(done):
        return move(done, job.state, now, due_at=now), postings, []
    done = move(done, job.state, now, due_at=job.expires_at)
    return done, postings, tell_settled(done)


def _must_be_unknown(job: Job) -> None:
    """Refuse to decide what is decided."""
    if job.state is not State.UNKNOWN:
        raise MoveError(f"{job.id} is {job.state}, not unknown")
