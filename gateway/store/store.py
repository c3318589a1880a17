"""
Remember jobs, what was ordered for them and what that cost: every query about those, as one verb each.

Callers know jobs and attempts; only this module, those beside it and ``sql/`` know tables. Each verb that
writes is one transaction, and returns once that transaction is on disk.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.json import encode

from gateway.clock import DAY_MS
from gateway.ids import least_id
from gateway.jobs.job import SUSPECT, Attempt, Job, Outcome, State
from gateway.money.comparing import Came
from gateway.money.ledger import FOR_EVER, Book, BudgetRow, Entry, Posting, Spent
from gateway.store.database import ConflictError, Database, Row, Statement, StoreUnavailableError, bodies, known
from gateway.store.lists import EVERY, Page, Wanted, rows_of
from gateway.store.past import may_be_forgotten
from gateway.store.registry import FIRST, LAST, Registry

LONGEST_MS = 1_200_000
"""No job is left alone for longer than this."""
CENSUS_PATIENCE = 2.0
"""Seconds a count of all jobs waits for reports before it."""
APART_MS = 60_000
APART = (
    "the clock of the database was set back while other processes worked on it, and they count a later time: "
    "stop them all, then start them again"
)


class Idempotency(Struct, frozen=True, kw_only=True):
    """Say how a repeated create is recognised."""

    name: str
    fingerprint: str
    """Hash of what was asked, files included."""
    fresh: bool
    """Whether an older job of the same name gives way, its caller answered (a first try without an Idempotency-Key)."""
    expires_at: int


class MismatchError(Exception):
    """The same Idempotency-Key came with another body."""


class BudgetError(ConflictError):
    """A budget has not enough left; nothing was set aside."""


class CrowdError(ConflictError):
    """A key has as many jobs under way as it may."""


class HaltedError(ConflictError):
    """An operator has halted purchases; nothing was bought."""


class FullError(ConflictError):
    """An account has as many attempts open as it may, in whatever process."""


class TakenError(ConflictError):
    """A task is another order's; it was not adopted."""


REFUSED: dict[str, type[ConflictError]] = {
    "budget_fits": BudgetError,
    "buyer_has_room": CrowdError,
    "buying_allowed": HaltedError,
    "place_kept": FullError,
    "task_take": TakenError,
}
"""What a statement that touched no row means, where it is not that somebody else was first."""


class Store(Registry):
    """Remember jobs and attempts, money, keys and files on one database."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        super().__init__(database, clock)
        self.on_move: list[Callable[[Job], None]] = []
        """Who hears of every job this process has moved, once that is on disk."""

    @property
    def database(self) -> Database:
        """What everything is remembered on, for those who remember other things."""
        return self._database

    def open(self, *, exclusive: bool = True) -> None:
        """Open the database and bring its tables up to date."""
        self._database.open(exclusive=exclusive)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @property
    def shared(self) -> bool:
        """Whether other processes may work on the same jobs."""
        return self._database.shared

    def listen(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` whenever another process may have made a job due."""
        self._database.listen(hear)

    async def ping(self) -> None:
        """
        Prove that a commit can be made, of a row at most: whoever likes may ask for it.

        :raises StoreUnavailableError: when it cannot.
        """
        await self._database.write(Statement("idempotency_sweep", {"now": self._clock(), "most": 1}))

    # Jobs

    async def accept(
        self,
        job: Job,
        idempotency: Idempotency,
        postings: Sequence[Posting] = (),
        *,
        most: int | None = None,
        also: Sequence[Statement] = (),
    ) -> tuple[Job, bool]:
        """
        Keep a new job with its money set aside, or find the one this create already made; the flag says which.

        ``most`` is how many jobs its buyer may have under way. ``also`` holds with the job or not at all.

        :raises MismatchError: the same key was used for something else.
        :raises BudgetError: a budget has not enough left.
        :raises CrowdError: the buyer has as many jobs under way as it may.
        """
        named = {"tenant": job.tenant, "name": idempotency.name}
        take = {
            **named,
            "fingerprint": idempotency.fingerprint,
            "job": job.id,
            "expires_at": idempotency.expires_at,
            "fresh": int(idempotency.fresh),
            "now": self._clock(),
        }
        room = () if most is None else (Statement("buyer_has_room", {"buyer": job.buyer, "most": most}, 1),)
        try:
            await self._database.write(
                Statement("idempotency_take", take, 1),
                Statement("job_insert", job),
                *room,
                *held(postings),
                *also,
                wakes=job.lease_until is None,
            )
        except ConflictError as error:
            if error.query in REFUSED:
                raise REFUSED[error.query](str(error)) from None
            found = await self.repeated(job.tenant, idempotency.name, idempotency.fingerprint)
            if found is None:
                raise
            if idempotency.fresh:  # A repeat of one whose caller hung up; now it is answered.
                await self._database.write(Statement("idempotency_heard", named))
            return found, False
        return job, True

    async def repeated(self, tenant: str, name: str, fingerprint: str) -> Job | None:
        """
        Find the job an earlier create made under a name.

        :raises MismatchError: the same key was used for something else.
        """
        named = {"tenant": tenant, "name": name, "now": self._clock()}
        for earlier, kept in await self._database.read("idempotency_read", named):
            if earlier != fingerprint:
                raise MismatchError(name)
            return await self.any_job(kept)
        return None

    async def unheard(self, job: Job) -> None:
        """Remember that a create's caller hung up unanswered, so that the same call again is the same job."""
        await self._database.write(Statement("idempotency_unheard", {"tenant": job.tenant, "job": job.id}))

    async def job(self, id_: str, tenant: str) -> Job | None:
        """Find a tenant's job; another tenant's is as unknown as none."""
        rows = await self._database.read("job_of_tenant", {"id": id_, "tenant": tenant})
        return _job(rows[0]) if rows else None

    async def version(self, id_: str, tenant: str) -> tuple[int, int] | None:
        """Say which state of a tenant's job is the newest: two equal answers mean that nothing changed."""
        rows = await self._database.read("job_version", {"id": id_, "tenant": tenant})
        return (rows[0][0], rows[0][1]) if rows else None

    async def seq(self, id_: str) -> int | None:
        """Say how often a job has moved."""
        rows = await self._database.read("job_seq", {"id": id_})
        return rows[0][0] if rows else None

    async def owns(self, id_: str, tenant: str) -> bool:
        """Whether a job is or was a tenant's, deleted ones included; so may be any that is forgotten."""
        job = await self.any_job(id_)
        return await may_be_forgotten(self._database, id_) if job is None else job.tenant == tenant

    async def jobs(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool, wanted: Wanted = EVERY
    ) -> Page:
        """List a tenant's jobs, or those that are wanted, a page at a time."""
        query, start = ("jobs_newest", LAST) if newest_first else ("jobs_oldest", FIRST)
        if wanted == EVERY:
            asked = {"tenant": tenant, "after": after or start, "most": limit + 1}
            rows = await self._database.read(query, asked)
        else:
            found = rows_of(self._database, tenant, wanted, after=after, most=limit + 1, newest_first=newest_first)
            rows = [*await found]
        return Page([_job(row) for row in rows[:limit]], len(rows) > limit)

    async def claim(
        self, *, lease: int, most: int, line: tuple[str, Sequence[str]] | None = None, only: str = ""
    ) -> list[Job]:
        """
        Lease jobs for so many milliseconds: who is due, who is first in ``line``, or ``only`` a suspect.

        A line is an account's, of those who want some of its models.
        """
        now = self._clock()
        asked = {"now": now, "until": now + lease, "most": most, "suspect": SUSPECT}
        if only:
            taken = Statement("job_claim", {**asked, "id": only})
        elif line is None:
            taken = Statement("jobs_claim", asked)
        else:
            taken = Statement("line_call", {**asked, "account": line[0], "models": encode(line[1]).decode()})
        (rows,) = await self._database.write(taken)
        return [_job(row) for row in rows]

    async def lines(self, job: str = "") -> list[tuple[str, str]]:
        """List the accounts and models somebody, or one job, stands in line for."""
        rows = await self._database.read("lines_of_job" if job else "lines_all", {"job": job})
        return [(row[0], row[1]) for row in rows]

    async def ahead(self, job: str, most: int) -> list[tuple[str, int]]:
        """Count who comes before a job at each account it stands in line at, up to ``most``."""
        return [(row[0], row[1]) for row in await self._database.read("lines_ahead", {"job": job, "most": most})]

    async def next_due(self) -> int | None:
        """Say when the next job is due."""
        ((due,),) = await self._database.read("jobs_next_due")
        return due if isinstance(due, int) else None

    async def keep(self, jobs: Sequence[Job], *, lease: int) -> None:
        """Keep the leases of steps that take long."""
        until = self._clock() + lease
        await self._database.write(
            *(Statement("jobs_keep", {"id": job.id, "epoch": job.lease_epoch, "until": until}) for job in jobs)
        )

    async def put_off(self, job: Job, due: int) -> None:
        """Let a leased job come again later, as it is."""
        await self._database.write(Statement("job_put_off", {"id": job.id, "epoch": job.lease_epoch, "due": due}))

    async def stumbled(self, job: Job, due: int) -> None:
        """Count a step that raised, and let its job come again later."""
        await self._database.write(Statement("job_stumbled", {"id": job.id, "epoch": job.lease_epoch, "due": due}))

    async def give_back(self, jobs: Sequence[Job]) -> None:
        """Make leased jobs due at once, for whoever claims them next."""
        now = self._clock()
        await self._database.write(
            *(Statement("job_give_back", {"id": job.id, "epoch": job.lease_epoch, "now": now}) for job in jobs),
            wakes=True,
        )

    async def start_over(self) -> None:
        """
        Put right what a clock that was set back has stranded, and make due what no other process can hold a lease of.

        :raises StoreUnavailableError: the others at work on this database count a later time.
        """
        now, dead = self._clock(), int(not self.shared)
        first = await self._database.arrive(
            Statement(
                "jobs_give_back",
                {
                    "now": now,
                    "longest": now + LONGEST_MS,
                    "doubted": now + 2 * DAY_MS,
                    "dead": dead,
                    "suspect": SUSPECT,
                },
            ),
            Statement("jobs_reckon", {"now": now}),
            Statement("deliveries_give_back", {"now": now, "dead": dead}),
        )
        if not first and await self._database.read("jobs_ahead", {"now": now + APART_MS}):
            raise StoreUnavailableError(APART)

    def place(self, account: str, most: int) -> Sequence[Statement]:
        """
        Refuse to :meth:`save` an attempt that is one too many open at its account.

        Only several processes need that: one by itself counts in memory.
        """
        return [Statement("place_kept", {"account": account, "most": most}, 1)] if self.shared else []

    async def save(
        self, job: Job, *attempts: Attempt, postings: Sequence[Posting] = (), also: Sequence[Statement] = ()
    ) -> None:
        """
        Keep a job's move and what it means for its attempts and its money, together with what ``also`` holds.

        An attempt in ``intent`` is new, any other is a later state of one already kept.

        :raises ConflictError: the job moved meanwhile, its lease was taken over, or another attempt is open.
        :raises BudgetError: a budget has not enough left.
        :raises HaltedError: an operator has halted purchases, or its client has cancelled the job.
        :raises FullError: the account has no place left (:meth:`place`).
        :raises TakenError: a task to be adopted is another order's.
        """
        kept: list[Statement] = []
        for each in attempts:
            if each.outcome is Outcome.INTENT:
                kept += [Statement("buying_allowed", {"job": job.id}, 1), Statement("attempt_insert", each, 1)]
            else:
                kept.append(Statement("attempt_save", each, 1))
        try:
            await self._database.write(Statement("job_save", job, 1), *kept, *held(postings), *also)
        except ConflictError as error:
            raise REFUSED.get(error.query, ConflictError)(str(error)) from None
        for hear in self.on_move:
            hear(job)

    async def may_buy(self, job: str) -> bool:
        """Whether an order may leave: purchases are not halted, and the job is not cancelled."""
        return bool(await self._database.read("buying_allowed", {"job": job}))

    async def cancel(self, id_: str, tenant: str) -> Job | None:
        """Ask for a job to be stopped; ``None`` where it has ended or is unknown."""
        (rows,) = await self._database.write(
            Statement("job_cancel", {"id": id_, "tenant": tenant, "now": self._clock()}), wakes=True
        )
        return _job(rows[0]) if rows else None

    async def delete(self, id_: str, tenant: str) -> Job | None:
        """Forget an ended job as far as its tenant can see; ``None`` where it goes on or is unknown."""
        (rows,) = await self._database.write(
            Statement("job_delete", {"id": id_, "tenant": tenant, "now": self._clock()})
        )
        return _job(rows[0]) if rows else None

    async def told_late(self, attempt: str, task: str, *also: Statement) -> None:
        """Note which task an attempt was given whose job has gone on without it."""
        told = {"id": attempt, "task": task, "now": self._clock()}
        await self._database.write(Statement("attempt_told", told, 1), *also)

    async def attempts(self, job: str) -> list[Attempt]:
        """List a job's attempts, first to last."""
        rows = await self._database.read("attempts_of_job", {"job": job})
        return [_attempt(row) for row in rows]

    async def running(self) -> dict[str, int]:
        """Count the open attempts of each account: after every write before, where it must be exact."""
        if self.shared:
            return dict(await self._database.read("attempts_running"))
        (rows,) = await self._database.write(Statement("attempts_running", {}))
        return {row[0]: row[1] for row in rows}

    async def census(self) -> dict[str, int]:
        """
        Count jobs by state.

        :raises BusyError: somebody has a report drawn up; whoever looks on every few seconds does not wait for that.
        """
        return dict(await self._database.survey("jobs_by_state", patience=CENSUS_PATIENCE))

    async def oldest_queued(self) -> int | None:
        """
        Say when the oldest job was accepted that waits for its order.

        :raises BusyError: as for :meth:`census`.
        """
        ((at,),) = await self._database.survey("jobs_oldest_queued", patience=CENSUS_PATIENCE)
        return None if at is None else int(at)

    async def put_aside(self) -> int:
        """Count the open jobs whose steps brought the gateway down."""
        ((count,),) = await self._database.read("jobs_aside")
        return int(count)

    async def unknown(self) -> list[Job]:
        """List the jobs whose order nobody knows the fate of, oldest first."""
        return [_job(row) for row in await self._database.read("jobs_unknown")]

    async def recall(self) -> None:
        """Have every job asked after that ended in doubt and is due for nobody."""
        await self._database.write(Statement("jobs_recall", {"now": self._clock()}), wakes=True)

    async def in_doubt(self) -> list[Job]:
        """List the ended jobs whose cost nobody can tell yet, oldest first."""
        return [_job(row) for row in await self._database.read("jobs_in_doubt")]

    async def any_job(self, id_: str) -> Job | None:
        """Find a job, whoever's it is: for operators."""
        return _first_job(await self._database.read("job_read", {"id": id_}))

    # Money

    async def entries(self, job: str) -> list[Entry]:
        """List a job's lines in the ledger, first to last."""
        rows = await self._database.read("entries_of_job", {"job": job})
        return [
            Entry(
                **dict(zip(Entry.__struct_fields__, known(Entry, row), strict=True))
                | {"debit": Book(row[3]), "credit": Book(row[4])}
            )
            for row in rows
        ]

    async def budgets(self, since: int = 0, until: int = FOR_EVER) -> list[BudgetRow]:
        """List what each budget whose window meets a stretch of time has set aside, spent and in suspense."""
        ends = {"first": least_id("video", since), "last": least_id("video", until)}
        return [BudgetRow(*known(BudgetRow, row)) for row in await self._database.survey("budgets_within", ends)]

    async def spent(self, since: int, until: int) -> list[Spent]:
        """Sum what was spent from one time to another, by everything it can be asked for by."""
        return [
            Spent(*row[:4], *map(int, row[4:]))
            for row in await self._database.survey("spent_by", {"since": since, "until": until})
        ]

    async def orders(self, since: int, until: int) -> list[Came]:
        """Count what came of the orders made from one time to another."""
        ends = {"first": least_id("att", since), "last": least_id("att", until)}
        return [
            Came(owner, offer, account, Outcome(outcome), seconds, bool(wrong), bool(late), bool(lost), *map(int, sums))
            for owner, offer, account, outcome, seconds, wrong, late, lost, *sums in await self._database.survey(
                "orders_by", ends
            )
        ]

    async def took(self, *, newest: int, each: int) -> list[tuple[str, float]]:
        """Say of the newest orders how many seconds those that were made took: of each offer the last few, in order."""
        rows = await self._database.survey("attempts_took", {"newest": newest, "each": each})
        return [(offer, milliseconds / 1000) for offer, milliseconds in rows]

    async def ailments(self) -> dict[str, list[Row]]:
        """Find what breaks a law of the store (``sql/doctor.sql``), by the law's name; read-only."""
        found = {name: await self._database.survey(name, {"now": self._clock()}) for name in bodies("doctor")}
        return {name: rows for name, rows in found.items() if rows}

    async def halt(self, why: str) -> None:
        """Let nothing more be bought until :meth:`go_on`."""
        await self._database.write(Statement("switch_on", {"name": "halt", "at": self._clock(), "why": why}))

    async def go_on(self) -> None:
        """Let purchases be made again."""
        await self._database.write(Statement("switch_off", {"name": "halt"}))

    async def halted(self) -> str | None:
        """Say why purchases are halted; ``None`` while they are not."""
        rows = await self._database.read("switches_all")
        return next((str(why) for name, _, why in rows if name == "halt"), None)


def held(postings: Sequence[Posting]) -> list[Statement]:
    """Write postings: the entries, and the budgets' sums they move; a hold needs what it takes to be left."""
    written: list[Statement] = []
    for posting in postings:
        limits = [{"id": budget.id, "most": budget.limit} for budget in posting.budgets]
        written += [Statement("budget_open", budget) for budget in posting.budgets]
        written.append(Statement("budget_shift", posting.shift()))
        written += [Statement("budget_fits", limit, 1) for limit in limits]
        written.append(Statement("entry_insert", posting.entry, 1))
    return written


def _first_job(rows: Sequence[Row]) -> Job | None:
    """Read the first job, if there is one."""
    return _job(rows[0]) if rows else None


def _job(row: Row) -> Job:
    """Read a row of ``jobs``."""
    id_, tenant, state, *rest = known(Job, row)
    return Job(id_, tenant, State(state), *rest)


def _attempt(row: Row) -> Attempt:
    """Read a row of ``attempts``."""
    id_, job, number, offer, account, submit_class, outcome, *rest = known(Attempt, row)
    return Attempt(id_, job, number, offer, account, submit_class, Outcome(outcome), *rest)


__all__ = ["ConflictError", "Idempotency", "MismatchError", "Page", "Store"]
