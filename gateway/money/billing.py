"""Decide what a job's steps mean for its money: pure, from the job's own row."""

from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.job import LATE_LEAST, Job, as_json
from gateway.jobs.wish import Choice, Notice, read_choice
from gateway.money.ledger import About, Billing, Budget, Hold, Posting, add, close, hold
from providers.base.task import Fault, Usage


class Bill(StrEnum):
    """Say what a job's end costs."""

    NOTHING = "nothing"
    """Nothing was bought, or the provider's word is that it charges nothing."""
    PRICE = "price"
    """What the provider counted; where it counted nothing, what was quoted."""
    DOUBT = "doubt"
    """Nobody can tell."""


class Abandoned(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Hold an order that was given up for another while nobody knew its fate: a column of the job.

    Its money waits in suspense beside the hold of the next. Nothing is asked of it before the job has ended; what comes
    by itself meanwhile is noted.
    """

    attempt: str
    offer: str
    account: str
    quote: str
    """The :class:`Choice` as JSON."""
    hold: Hold
    at: int
    """When it was given up."""
    task: str | None = None
    """The provider's handle as JSON, once it has come to light."""
    usage: str = "{}"


def bill_of(fault: Fault | None, usage: Usage | None) -> Bill:
    """Say what a task costs that ended without a clip: the provider's word, else nobody can tell."""
    if fault is not None and fault.billed is not None:
        return Bill.PRICE if fault.billed else Bill.NOTHING
    counted = usage is not None and usage.usd_micros is not None
    return Bill.PRICE if counted else Bill.DOUBT


def hold_of(job: Job) -> Hold | None:
    """Read what is set aside for a job."""
    return msgspec.json.decode(job.hold, type=Hold) if job.hold else None


def closed(job: Job, bill: Bill, now: int, *, of: str = "") -> tuple[Job, list[Posting]]:
    """
    Close what is set aside for a job; one whose cost nobody can tell is looked at again.

    ``of`` names the attempt where the job is shown as it stood with an order that was given up (:func:`former`).
    """
    held = hold_of(job)
    if held is None:
        return job, []
    choice, usage = read_choice(job.quote), msgspec.json.decode(job.usage, type=Usage)
    counted = usage.usd_micros if usage.usd_micros is not None else share(choice, usage.clips)
    told = counted is not None
    price = choice.usd_micros if counted is None else counted
    charge = {Bill.NOTHING: 0, Bill.PRICE: price, Bill.DOUBT: None}[bill]
    done, postings = close(_about(job, held), held, charge, now, told=told and bill is Bill.PRICE, of=of)
    job = _written(job, held, done)
    if unsettled(job):
        due = now + int(1000 * LATE_LEAST)
        job = replace(job, due_at=due if job.due_at is None else min(due, job.due_at))
    return job, postings


def in_doubt(job: Job) -> bool:
    """Whether a job has ended and nobody can tell yet what its last order cost."""
    held = hold_of(job) if job.state.final else None
    return held is not None and held.billing is Billing.POSSIBLY_BILLED


def unsettled(job: Job) -> Job | None:
    """
    Show an ended job as it stood with the order that is to be asked after next; ``None`` where no cost is in doubt.

    It is the job itself for its last order, and :func:`former` for one that was given up before; where both are in
    doubt they take turns.
    """
    found = doubts(job)
    return found[job.tries % len(found)] if found else None


def doubts(job: Job) -> list[Job]:
    """Show an ended job as it stood with each of its orders nobody can tell the cost of, the last first."""
    return [each for each in (job, former(job)) if each is not None and in_doubt(each)]


def abandoned_of(job: Job) -> Abandoned | None:
    """Read which order was given up for another."""
    return msgspec.json.decode(job.abandoned, type=Abandoned) if job.abandoned else None


def former(job: Job) -> Job | None:
    """Show a job as it stood with the order that was given up for another; ``None`` where none was."""
    order = abandoned_of(job)
    if order is None:
        return None
    return replace(
        job,
        attempt=order.attempt,
        offer=order.offer,
        account=order.account,
        quote=order.quote,
        task=order.task,
        usage=order.usage,
        hold=as_json(order.hold),
        outputs="[]",
        abandoned=None,
    )


def with_former(job: Job, order: Job) -> Job:
    """Write what has come to light of an order that was given up, as :func:`former` shows it."""
    before, held = abandoned_of(job), hold_of(order)
    assert before is not None
    assert held is not None
    known = replace(before, task=order.task, usage=order.usage, hold=held)
    return replace(job, abandoned=as_json(known), warnings=order.warnings)


def abandon(job: Job, choice: Choice, now: int, budgets: tuple[Budget, ...]) -> tuple[Job, list[Posting]]:
    """Leave in suspense what an order may have cost, and set aside what another would, where there is something."""
    held = hold_of(job)
    assert held is not None
    assert job.attempt is not None
    left, postings = close(_about(job, held), held, None, now, of=job.attempt)
    about = About(job.id, held.owner, choice.offer, choice.account)
    taken, more = hold(about, choice.usd_micros, budgets, now, again=True)
    order = Abandoned(
        attempt=job.attempt,
        offer=job.offer or "",
        account=job.account or "",
        quote=job.quote,
        hold=left,
        at=now,
    )
    return replace(job, abandoned=as_json(order), hold=as_json(taken)), [*postings, *more]


def share(choice: Choice, clips: int | None) -> int | None:
    """Say what so many of the clips quoted cost, rounded up; ``None`` where nobody counted fewer."""
    if clips is None or not 0 <= clips < choice.spec.n:
        return None
    return -(-choice.usd_micros * clips // choice.spec.n)


def settled(job: Job, charge: int, now: int, *, of: str = "") -> tuple[Job, list[Posting]]:
    """Close what is in suspense, on an operator's word; ``of`` as for :func:`closed`."""
    held = hold_of(job)
    if held is None:
        return job, []
    done, postings = close(_about(job, held), held, charge, now, told=True, of=of)
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


def is_dearer(job: Job, choice: Choice) -> bool:
    """Whether an offer costs more than is set aside for a job."""
    held = hold_of(job)
    return held is not None and choice.usd_micros > held.usd_micros


def raised(job: Job, choice: Choice, attempt: str, now: int, budgets: tuple[Budget, ...]) -> tuple[Job, list[Posting]]:
    """Set aside what a dearer offer costs more."""
    held = hold_of(job)
    if held is None:
        return job, []
    more, postings = add(_about(job, held), held, choice.usd_micros, attempt, now, budgets)
    return replace(job, hold=msgspec.json.encode(more).decode()), postings


def _about(job: Job, held: Hold) -> About:
    """Say what a job's money is spent on."""
    account = job.account or read_choice(job.quote).account
    return About(job.id, held.owner, job.offer or "", account)
