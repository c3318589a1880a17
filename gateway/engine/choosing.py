"""
Choose the offers a queued job is ordered from or waits for, by what is known when its turn comes.

Which offers can make it, and which is the best, is decided in :mod:`gateway.offers.routing`, what a job falls back on
in :mod:`gateway.offers.fallback`; which are left, here.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gateway.clock import DAY_MS
from gateway.engine.findings import alone, alone_with
from gateway.engine.tools import Tools
from gateway.jobs.job import IN_VAIN, Attempt, Job, Outcome, has_time, silent_in, tired_of
from gateway.jobs.wish import Choice, Place, Wish, read_choice
from gateway.money.billing import former
from gateway.offers.asking import UnknownModelError
from gateway.offers.fallback import still
from gateway.offers.routing import Decision
from gateway.offers.shop import pin

ALL_REFUSED = "every account that could has refused it"
"""Why no offer is left of those that can."""
DID = {Outcome.FAILED: "failed to make it"}
"""What an account did that is of no more use to a job, where it did not refuse it."""


class Chooser:
    """Know who could make a job now, in time, and who has a place for it."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store
        self._shop = tools.shop
        self._clock = tools.clock
        self._line = tools.line

    async def choose(self, job: Job, wish: Wish, first: Choice, *, called: bool) -> tuple[list[Choice], str]:
        """
        Pick the offers to order from or to wait for, the best first; else say why none is left.

        What was quoted and is not sold in this process is not gone where others share its store: it is theirs to make,
        and theirs to say who else would do. So a job stands in line for it, and is ordered here only where it stands in
        line already.
        """
        able, reason = await self._pick(job, wish, first, called=called)
        most = _left(wish, job).preferences.max_usd_micros
        if not self._store.shared or not self.lacks(first) or (most is not None and first.usd_micros > most):
            return able, reason
        standing = await self._store.lines(job.id) if job.account else []
        return [*(each for each in able if (each.account, each.model) in standing), first], ""

    async def _pick(self, job: Job, wish: Wish, first: Choice, *, called: bool) -> tuple[list[Choice], str]:
        """
        Pick the best offer not yet shown to be of no use, and those that charge no more; else say why none is left.

        The best comes first; the others take its turn where it has no place free.
        """
        now, keeps = self._clock(), not wish.preferences.allow_fallbacks
        if (
            not job.attempts
            and job.created_at // DAY_MS == now // DAY_MS
            and self.can_take(first, now, called=called)
            and self.in_time(job, first, now)
            and self._shop.affords(first)  # What it was accepted under may have been a higher one.
        ):
            return [first], ""  # Decided when it was accepted, by the same prices.
        pinned = pin(_left(wish, job), first.spec)
        try:
            decision = self._shop.decide(pinned, lot=job.id)
        except UnknownModelError as error:
            return [], f"no account here sells {error.model} any more"
        tried = await self._store.attempts(job.id) if job.attempts else []
        spent = _spent(tried, keeps=keeps)
        choices = [line.choice for line in decision.ranked if line.choice]
        late = {each.place for each in choices if not self.in_time(job, each, now)}
        able: list[Choice] = []
        tired = [
            *((each, "turned it away") for each in tired_of(tried)),
            *((each, "never answered") for each in silent_in(tried)),
        ]
        for left in range(len(tired) + 1):
            out = {**dict(tired[left:]), **spent}
            more = still(decision, first, out, late, keeps=keeps, begun=job.attempts > 0)
            able += [each for each in more if each.place not in {one.place for one in able}]
            if any(self._is_hopeful(job, each, now, called=called) for each in able):
                break
        if keeps and not able:
            return self._outlast(job, pinned, first, spent, decision)
        refusals = [refusal.message for line in decision.others for refusal in line.refusals]
        return able, next(iter(refusals), ALL_REFUSED)

    async def is_spent(self, job: Job, wish: Wish, choice: Choice) -> bool:
        """Whether an offer has shown to be of no use to a job, so that there is nothing to wait for."""
        tried = await self._store.attempts(job.id) if job.attempts else []
        return choice.place in _spent(tried, keeps=not wish.preferences.allow_fallbacks)

    def _is_hopeful(self, job: Job, choice: Choice, now: int, *, called: bool) -> bool:
        """
        Whether who turned a job away need not be asked again: there is another who could make it in time.

        That one may be waited for, but not without end: a job that has stood in line for it asks the tired ones, too.
        """
        stood = job.account is not None
        return self.in_time(job, choice, now) and (not stood or self.can_take(choice, now, called=called))

    def _outlast(
        self, job: Job, pinned: Wish, first: Choice, spent: Mapping[Place, str], decision: Decision
    ) -> tuple[list[Choice], str]:
        """Have a job that falls back on nobody wait out its offer's rest, if that is in time; else say why not."""
        now, rested = self._clock(), self._shop.decide(pinned, lot=job.id, rested=True)
        choices = [line.choice for line in rested.ranked if line.choice]
        late = {each.place for each in choices if self._is_outlasted(job, each, now)}
        out = {**dict.fromkeys(late, "rests for too long"), **spent}
        able = still(rested, first, out, keeps=True, begun=job.attempts > 0)
        refusals = [
            refusal.message for line in decision.others if line.name == first.offer for refusal in line.refusals
        ]
        why = self.lacks(first) or next(iter(refusals), ALL_REFUSED)
        return able, f"{why}; provider.allow_fallbacks is false, so no other was tried"

    def _is_outlasted(self, job: Job, choice: Choice, now: int) -> bool:
        """Whether an offer rests until it is too late for a job."""
        rest = self._shop.accounts[choice.account].lasting(choice.model, now)
        return rest is not None and not self.in_time(job, choice, rest.until)

    def in_time(self, job: Job, choice: Choice, now: int) -> bool:
        """Whether a clip ordered now can be ready before its job is given up."""
        return has_time(
            job.deadline_at - now, job.deadline_at - job.created_at, self._shop.typical_seconds(choice.offer)
        )

    def can_take(self, choice: Choice, now: int, *, called: bool) -> bool:
        """Whether an offer is still sold here and has a place free, for who was not called one nobody waits for."""
        if self.lacks(choice):
            return False
        return self._line.has_room(choice, now) if called else self._line.is_open(choice, now)

    def lacks(self, choice: Choice) -> str | None:
        """Say what this process lacks to order an offer; ``None`` where it is sold here."""
        account = self._shop.accounts.get(choice.account)
        if account is None:
            return alone(choice.account)
        return None if account.listing.offer(choice.model) else alone_with(choice.account, choice.model)


def _left(wish: Wish, job: Job) -> Wish:
    """Lower what a job may cost at most by what the order may have cost that was given up for the next."""
    order, most = former(job), wish.preferences.max_usd_micros
    if order is None or most is None:
        return wish
    left = max(0, most - read_choice(order.quote).usd_micros)
    return replace(wish, preferences=replace(wish.preferences, max_usd_micros=left))


def _spent(tried: Sequence[Attempt], *, keeps: bool) -> dict[Place, str]:
    """Say who is of no more use to a job, and what they did; a job that falls back on nobody outlasts a rest."""
    # An account that would not may do so after its rest, which this process need not have heard of.
    vain = IN_VAIN - {Outcome.ACCOUNT_REFUSED} if keeps else IN_VAIN
    return {each.place: DID.get(each.outcome, "refused it") for each in tried if each.outcome in vain}
