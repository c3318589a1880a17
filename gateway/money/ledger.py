"""
Sums: what is set aside for a job, what it cost in the end, and on whose budget; pure, the time is an argument.

::

    available ──hold──> held ──settle──> spent
                         │ └──release──> available
                         └──suspend──> suspense ──settle──> spent
                                              └──release──> available

A hold is taken in the transaction that keeps the job, and closed in the one that ends it. What nobody can tell
(an order whose answer was lost) stays in suspense and keeps counting against the budget until somebody can.
A budget is a day's, a month's or for ever, and counts the jobs accepted in that time: what becomes of a job's money
moves the same sums whenever it does, and whatever has a limit by then. Amounts are whole micro-dollars.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import DAY_MS
from gateway.ids import least_id

INSTANCE = "instance"
"""Whose budget everything counts against."""
FOR_EVER = 2**48 - 1
"""A time no id can be made after."""


class Book(StrEnum):
    """Name where an amount can be."""

    AVAILABLE = "available"
    HELD = "held"
    SPENT = "spent"
    SUSPENSE = "suspense"


class Billing(StrEnum):
    """Say what became of a job's money."""

    HELD = "held"
    BILLED = "billed"
    NOT_BILLED = "not_billed"
    POSSIBLY_BILLED = "possibly_billed"


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what an owner may spend and do; ``None`` is no limit."""

    day: int | None = None
    """Micro-dollars in a day (UTC), like the next two."""
    month: int | None = None
    total: int | None = None
    per_minute: int | None = None
    """Requests."""
    jobs: int | None = None
    """Jobs under way at the same time."""


NONE = Limits()


class Budget(Struct, frozen=True):
    """Name one budget that has a limit, and may not be overdrawn by a hold."""

    id: str
    owner: str
    period: str
    since: int
    limit: int

    @property
    def first_job(self) -> str:
        """What the ids of the jobs it counts do not sort before."""
        return least_id("video", self.since)

    @property
    def last_job(self) -> str:
        """What they all sort before."""
        return least_id("video", _until(self.period, self.since))


class Hold(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what is set aside for a job, and what became of it: a column of the job."""

    usd_micros: int
    owner: str
    billing: Billing = Billing.HELD
    charged: int | None = None
    """What it cost, once that is known."""
    told: bool = False
    """Whether the provider said so; else it is the quote."""


class Entry(Struct, frozen=True, kw_only=True):
    """Hold one line of the ledger: a row of ``entries``, its fields in the order of the columns."""

    id: str
    job: str
    kind: str
    debit: Book
    credit: Book
    usd_micros: int
    at: int
    owner: str
    provider: str
    model: str
    account: str


class Posting(Struct, frozen=True):
    """Hold an entry, and the budgets that must have that much left where it sets something aside."""

    entry: Entry
    budgets: tuple[Budget, ...] = ()

    def shift(self) -> dict[str, int | str]:
        """Say how the sums of every budget change that counts the job."""
        entry, change = self.entry, dict.fromkeys(Book, 0)
        change[entry.debit] -= entry.usd_micros
        change[entry.credit] += entry.usd_micros
        sums = {book.value: change[book] for book in (Book.HELD, Book.SPENT, Book.SUSPENSE)}
        return {"job": entry.job, "owner": entry.owner, "taken": max(0, -change[Book.AVAILABLE]), **sums}


class BudgetRow(Struct, frozen=True):
    """Hold a budget's sums in micro-dollars: a row of ``budgets``."""

    id: str
    owner: str
    period: str
    first_job: str
    last_job: str
    held: int
    spent: int
    suspense: int
    most: int
    """What they may add up to: the limit of the last hold, and what was taken since without asking."""


class Spent(Struct, frozen=True):
    """Hold a sum of what was spent, and on what."""

    owner: str
    provider: str
    model: str
    account: str
    day: int
    """Days since 1970-01-01 (UTC)."""
    usd_micros: int
    purchases: int


class About(Struct, frozen=True):
    """Say what money is spent on, and whose."""

    job: str
    owner: str
    offer: str
    account: str


def budgets_of(owner: str, own: Limits, instance: Limits, now: int) -> tuple[Budget, ...]:
    """List the budgets a purchase of an owner counts against: its own and the instance's, where they have limits."""
    return tuple(
        Budget(f"{who}:{period}:{name}".rstrip(":"), who, period, since, limit)
        for who, limits in ((INSTANCE, instance), (owner, own))
        for period, since, name in _windows(now // DAY_MS)
        if (limit := getattr(limits, period)) is not None
    )


@lru_cache(maxsize=4)
def _windows(day: int) -> tuple[tuple[str, int, str], ...]:
    """Say since when, in milliseconds, each period of a day counts, and by what name; days since 1970 (UTC)."""
    date = datetime.fromtimestamp(day * DAY_MS / 1000, UTC)
    month = int(date.replace(day=1).timestamp() * 1000)
    return ("day", day * DAY_MS, f"{date:%Y-%m-%d}"), ("month", month, f"{date:%Y-%m}"), ("total", 0, "")


@lru_cache(maxsize=16)
def _until(period: str, since: int) -> int:
    """Say when a period ends that counts since a time."""
    if period == "total":
        return FOR_EVER
    if period == "day":
        return since + DAY_MS
    next_month = (datetime.fromtimestamp(since / 1000, UTC) + timedelta(days=31)).replace(day=1)
    return int(next_month.timestamp() * 1000)


def hold(
    about: About, usd_micros: int, budgets: tuple[Budget, ...], now: int, *, again: bool = False
) -> tuple[Hold, list[Posting]]:
    """
    Set an amount aside; nothing is written for nothing.

    It is done ``again``, once, beside a hold that was given up to suspense (:func:`close` of an attempt).
    """
    taken = Hold(usd_micros=usd_micros, owner=about.owner)
    kind = "hold.again" if again else "hold"
    return taken, _post(about, kind, Book.AVAILABLE, Book.HELD, usd_micros, now, budgets)


def add(
    about: About, held: Hold, usd_micros: int, attempt: str, now: int, budgets: tuple[Budget, ...]
) -> tuple[Hold, list[Posting]]:
    """Set more aside for an attempt at a dearer offer; less is given back at the end."""
    more = max(0, usd_micros - held.usd_micros)
    postings = _post(about, f"hold.{attempt}", Book.AVAILABLE, Book.HELD, more, now, budgets)
    return replace(held, usd_micros=held.usd_micros + more), postings


def close(
    about: About, held: Hold, charge: int | None, now: int, *, told: bool = False, of: str = ""
) -> tuple[Hold, list[Posting]]:
    """
    Turn what is set aside into what was spent, and give the rest back.

    ``charge`` is ``None`` where nobody can tell: all of it then waits in suspense. What was charged beyond the hold
    is taken all the same, so that a budget may show less than nothing rather than a wrong sum. ``of`` names the attempt
    whose hold it is, where its job has another beside it.
    """
    named = f".{of}" if of else ""
    if held.billing not in {Billing.HELD, Billing.POSSIBLY_BILLED}:
        return held, []
    book = Book.HELD if held.billing is Billing.HELD else Book.SUSPENSE
    if charge is None and held.usd_micros:
        if book is Book.SUSPENSE:
            return held, []
        waiting = replace(held, billing=Billing.POSSIBLY_BILLED)
        return waiting, _post(about, f"suspend{named}", Book.HELD, Book.SUSPENSE, held.usd_micros, now)
    charge = charge or 0
    within = min(charge, held.usd_micros)
    postings = [
        *_post(about, f"settle{named}", book, Book.SPENT, within, now),
        *_post(about, f"excess{named}", Book.AVAILABLE, Book.SPENT, charge - within, now),
        *_post(about, f"release{named}", book, Book.AVAILABLE, held.usd_micros - within, now),
    ]
    billing = Billing.BILLED if charge else Billing.NOT_BILLED
    return replace(held, billing=billing, charged=charge, told=told), postings


def _post(
    about: About, kind: str, debit: Book, credit: Book, usd_micros: int, now: int, budgets: tuple[Budget, ...] = ()
) -> list[Posting]:
    """Write one entry, unless it moves nothing."""
    if not usd_micros:
        return []
    provider, _, model = about.offer.partition(":")
    entry = Entry(
        id=f"{about.job}.{kind}",
        job=about.job,
        kind=kind.partition(".")[0],
        debit=debit,
        credit=credit,
        usd_micros=usd_micros,
        at=now,
        owner=about.owner,
        provider=provider,
        model=model,
        account=about.account,
    )
    return [Posting(entry, budgets)]


def drift(entries: Sequence[Entry]) -> dict[Book, int]:
    """Sum what entries put into each book; over a job whose money is closed, held and suspense are nothing."""
    sums = dict.fromkeys(Book, 0)
    for each in entries:
        sums[each.debit] -= each.usd_micros
        sums[each.credit] += each.usd_micros
    return sums
