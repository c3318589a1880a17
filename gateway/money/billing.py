"""Decide what a job's steps mean for its money: pure, from the job's own row."""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from gateway.jobs.job import LATE_LEAST, Job
from gateway.jobs.wish import Choice, Notice, read_choice
from gateway.money.ledger import About, Billing, Hold, Posting, add, close
from providers.base.task import Fault, Usage


class Bill(StrEnum):
    """Say what a job's end costs."""

    NOTHING = "nothing"
    """Nothing was bought, or the provider's word is that it charges nothing."""
    PRICE = "price"
    """What the provider counted; where it counted nothing, what was quoted."""
    DOUBT = "doubt"
    """Nobody can tell."""


def bill_of(fault: Fault | None, usage: Usage | None) -> Bill:
    """Say what a task costs that ended without a clip: the provider's word, else nobody can tell."""
    if fault is not None and fault.billed is not None:
        return Bill.PRICE if fault.billed else Bill.NOTHING
    counted = usage is not None and usage.usd_micros is not None
    return Bill.PRICE if counted else Bill.DOUBT


def hold_of(job: Job) -> Hold | None:
    """Read what is set aside for a job."""
    return msgspec.json.decode(job.hold, type=Hold) if job.hold else None


def closed(job: Job, bill: Bill, now: int) -> tuple[Job, list[Posting]]:
    """Close what is set aside for a job; one whose cost nobody can tell is looked at again."""
    held = hold_of(job)
    if held is None:
        return job, []
    choice, usage = read_choice(job.quote), msgspec.json.decode(job.usage, type=Usage)
    counted = usage.usd_micros if usage.usd_micros is not None else share(choice, usage.clips)
    told = counted is not None
    price = choice.usd_micros if counted is None else counted
    charge = {Bill.NOTHING: 0, Bill.PRICE: price, Bill.DOUBT: None}[bill]
    done, postings = close(_about(job, held), held, charge, now, told=told and bill is Bill.PRICE)
    job = _written(job, held, done)
    if in_doubt(job):
        job = replace(job, due_at=now + int(1000 * LATE_LEAST))
    return job, postings


def in_doubt(job: Job) -> bool:
    """Whether a job has ended and nobody can tell yet what it cost."""
    held = hold_of(job) if job.state.final else None
    return held is not None and held.billing is Billing.POSSIBLY_BILLED


def share(choice: Choice, clips: int | None) -> int | None:
    """Say what so many of the clips quoted cost, rounded up; ``None`` where nobody counted fewer."""
    if clips is None or not 0 <= clips < choice.spec.n:
        return None
    return -(-choice.usd_micros * clips // choice.spec.n)


def settled(job: Job, charge: int, now: int) -> tuple[Job, list[Posting]]:
    """Close what is in suspense, on an operator's word."""
    held = hold_of(job)
    if held is None:
        return job, []
    done, postings = close(_about(job, held), held, charge, now, told=True)
    return _written(job, held, done), postings


def _written(job: Job, held: Hold, done: Hold) -> Job:
    """Write what became of a job's money; who pays more than was set aside is told so."""
    job = replace(job, hold=msgspec.json.encode(done).decode())
    if (done.charged or 0) <= held.usd_micros or done.charged == held.charged:
        return job
    cost, quoted = (done.charged or 0) / 1_000_000, held.usd_micros / 1_000_000
    details = f"it was quoted at ${quoted:.6g} and cost ${cost:.6g}"
    notices = msgspec.json.decode(job.warnings, type=list[Notice])
    more = Notice(type="over_estimate", feature="cost", details=details)
    return replace(job, warnings=msgspec.json.encode([*notices, more]).decode())


def raised(job: Job, choice: Choice, attempt: str, now: int) -> tuple[Job, list[Posting]]:
    """Set aside what a dearer offer costs more."""
    held = hold_of(job)
    if held is None:
        return job, []
    more, postings = add(_about(job, held), held, choice.usd_micros, attempt, now)
    return replace(job, hold=msgspec.json.encode(more).decode()), postings


def _about(job: Job, held: Hold) -> About:
    """Say what a job's money is spent on."""
    account = job.account or read_choice(job.quote).account
    return About(job.id, held.owner, job.offer or "", account)
