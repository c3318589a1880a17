"""
Keep jobs in line for a place at a full account: while they wait, nothing of them is written.

A job stands in the line of every account that would make it for no more, and is called when one of these has a place.
The lines are rows beside the job's own, so they outlive every process and are the same for all. Turns go round the
buyers, over all models of an account: who has ordered a thousand clips keeps nobody waiting who has ordered one.
Whatever should go wrong with a call, the job is due again by itself in :data:`LONGEST_MS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.json import encode

from gateway.clips.room import Room
from gateway.engine.shares import Shares
from gateway.jobs.job import Job
from gateway.jobs.wish import Choice
from gateway.offers.accounts import Account
from gateway.store.database import Statement, StoreUnavailableError
from gateway.store.store import Store

LONGEST_MS = 600_000
"""A job that nobody called comes again by itself: with 100,000 in line 170 a second."""
HALTED_MS = 2_000
"""How soon a line is called again after an operator's halt was met."""

Place = tuple[str, str]
"""An account, and the model that is wanted there."""


class Line:
    """Know who waits where, and call the first when there is a place."""

    def __init__(
        self, store: Store, accounts: Mapping[str, Account], clock: Callable[[], int], shares: Shares, room: Room
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._shares = shares
        self._room = room
        self._clock = clock
        self._waited: set[Place] = set()
        """Places at accounts of this process for which somebody may be waiting."""
        self._halted_until = 0

    @property
    def waited(self) -> bool:
        """Whether anybody may be waiting anywhere."""
        return bool(self._waited)

    def is_open(self, choice: Choice, now: int) -> bool:
        """Whether a job that was not called may be ordered there now: there is a place that suits nobody who waits."""
        return self.has_room(choice, now) and not self._callable(choice.account, now)

    @property
    def shut(self) -> bool:
        """Whether nobody is ordered for, whoever has a place: what came of it could not be kept here."""
        return not self._room.is_left()

    def has_room(self, choice: Choice, now: int) -> bool:
        """Whether there is a place for who was called: at the account, among the steps that are its share, and here."""
        account = self._accounts[choice.account]
        return not self.shut and account.has_room(choice.model, now) and self._shares.left(account.name) > 0

    async def join(self, job: Job, choices: Sequence[Choice]) -> list[Statement]:
        """Write that a job waits for these places and no others; one it waits for already keeps its turn."""
        wanted = dict.fromkeys((each.account, each.model) for each in choices)
        standing = await self._store.lines(job.id) if job.account else []
        who = {"job": job.id, "buyer": job.buyer or ""}
        left = [place for place in standing if place not in wanted]
        joined = [place for place in wanted if place not in standing]
        return [
            *(Statement("line_quit", {"job": job.id, "account": name, "model": model}) for name, model in left),
            *(
                Statement("line_join", {**who, "account": name, "model": model, "resting": self._resting(name)})
                for name, model in joined
            ),
        ]

    def joined(self, choices: Sequence[Choice]) -> None:
        """Hear that what :meth:`join` wrote is on disk."""
        self._remember((each.account, each.model) for each in choices)

    @staticmethod
    def leave(job: Job) -> list[Statement]:
        """Write that a job waits no longer; one that is queued for an account is one that does."""
        return [Statement("line_leave", {"job": job.id})] if job.account else []

    async def call(self, *, lease: int, most: int) -> list[Job]:
        """Lease those whose turn it is wherever there is a place."""
        now = self._clock()
        called: list[Job] = []
        if now < self._halted_until or (self._waited and self.shut):
            return called
        for name in sorted({name for name, _ in self._waited}):
            models = self._callable(name, now)
            if not models:
                continue
            room = min(self._accounts[name].room(model, now) for model in models)
            room = min(room, most - len(called), self._shares.left(name, len(called)))
            if room <= 0:
                continue
            # Forgotten first: whoever joins while the store is asked is remembered.
            places = {(name, model) for model in models}
            self._waited -= places
            try:
                jobs = await self._store.claim(lease=lease, most=room, line=(name, models))
            except StoreUnavailableError:
                self._waited |= places
                if not called:
                    raise
                break  # Those that are leased by now are stepped: else their leases would run out as if we had died.
            if len(jobs) == room:
                self._waited |= places
            called += jobs
        return called

    def _callable(self, name: str, now: int) -> list[str]:
        """List the models of an account that somebody may be waiting for and that can be ordered now."""
        account = self._accounts[name]
        return sorted(model for at, model in self._waited if at == name and account.has_room(model, now))

    def _resting(self, name: str) -> str:
        """Name the models of an account that rest, as the store reads them."""
        account, now = self._accounts.get(name), self._clock()
        rests = [each for each in [*account.rests] if account.rest_of(each, now)] if account else []
        return encode(rests).decode()

    def halted(self) -> None:
        """Hear that an operator has halted purchases: nobody is called for a while."""
        self._halted_until = self._clock() + HALTED_MS

    async def open(self) -> None:
        """
        Begin: who stands in line for what was sold here before comes at once, and finds another or says what it lacks.

        Where others share the store it may be sold by them, so it stays theirs to call.
        """
        if not self._store.shared:
            gone = [place for place in await self._store.lines() if not self._is_sold(place)]
            asked = [{"account": name, "model": model, "now": self._clock()} for name, model in gone]
            await self._store.database.write(*(Statement("line_rouse", each) for each in asked))
        await self.recount()

    async def recount(self) -> None:
        """Take over how many attempts are open at each account, and who waits there, whoever wrote that."""
        running = await self._store.running()
        for name, account in self._accounts.items():
            account.recount(running.get(name, 0))
        self._remember(await self._store.lines())

    def _remember(self, places: Iterable[Place]) -> None:
        """Call whoever waits for these from now on; a line for what is not sold in this process is others' to call."""
        self._waited.update(place for place in places if self._is_sold(place))

    def _is_sold(self, place: Place) -> bool:
        """Whether this process sells a model at an account."""
        name, model = place
        account = self._accounts.get(name)
        return account is not None and account.listing.offer(model) is not None
