"""
Take a wish in: choose an offer, keep the job durably, wake the worker. Every surface ends here.

The client hears of success only after the job is on disk, and nothing has been bought by then.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.clips.uploads import Upload
from gateway.events.addresses import Addresses
from gateway.events.events import foretell
from gateway.failpoints import failpoint
from gateway.ids import new_id
from gateway.jobs.job import Job, born
from gateway.jobs.wish import Notice, Wish
from gateway.money.ledger import NONE, About, Budget, Limits, budgets_of, hold
from gateway.offers.asking import Line, UnknownModelError, notices_of
from gateway.offers.fallback import beside
from gateway.offers.routing import Decision
from gateway.offers.shop import Shop
from gateway.offers.sizes import in_pixels
from gateway.problems import ProblemError, invalid
from gateway.store.database import StoreUnavailableError, UnsureError
from gateway.store.store import BudgetError, CrowdError, Idempotency, Store

KEPT_MS = 72 * 3_600_000
"""How long an Idempotency-Key is remembered."""
MOST_UNSURE = 1000
"""Jobs in doubt that are remembered; each is kept in memory, and forgotten once it is looked for."""
FOLDED_MS = 30 * 60_000
"""How long a retry an SDK makes by itself finds the job of its first try; longer than SDKs go on trying."""

PATIENCE_SECONDS = 60
"""The longest wait that SDKs keep to; told a longer one they would repeat the call within seconds."""

SANDBOX = Notice(
    type="sandbox",
    feature="provider",
    details="The sandbox renders a test clip here; no model is asked and nothing is paid.",
)


class Repeat(Struct, frozen=True):
    """Say what a client said about repeating its call."""

    key: str | None = None
    """Its Idempotency-Key."""
    retry: int = 0
    """How often its SDK has tried this call before (``x-stainless-retry-count``)."""


class Hands:
    """Those who take a new job up at once: nobody here; a :class:`~gateway.engine.worker.Worker` where one runs."""

    lease = 0
    """How long a job taken up is theirs alone, in milliseconds."""

    def reserve(self) -> bool:
        """Keep a place for one more job, where there is one: it is then taken up or released."""
        return False

    def release(self) -> None:
        """Give a reserved place back."""

    def take_up(self, job: Job) -> None:
        """Begin with a job that was kept as leased to us, in the place reserved for it."""

    def wake(self) -> None:
        """Hear that something may be due."""


class Acceptor:
    """Turn wishes into jobs."""

    def __init__(
        self,
        store: Store,
        shop: Shop,
        clock: Callable[[], int],
        hands: Hands,
        addresses: Addresses | None = None,
        *,
        limits: Limits = NONE,
    ) -> None:
        self._addresses = addresses
        self._store = store
        self._shop = shop
        self._clock = clock
        self._hands = hands
        self._limits = limits
        """What the whole instance may spend."""
        self._unsure: dict[tuple[str, str], Job] = {}
        """By tenant and fingerprint, oldest first: jobs nobody could tell of whether they were kept."""

    def decide(self, wish: Wish, *, size: str | None = None, named: bool = True) -> Decision:
        """
        Choose among the offers as of today; ``size`` is what the client said of it, where it spoke in pixels.

        ``named`` is whether it named a model, or was given the one that is the default.

        :raises ProblemError: 404 for an unknown model, 422 when no offer can do it or nobody can be told, 503 when
            whoever could only rests.
        """
        self.check_callback(wish)
        try:
            decision = self._shop.decide(wish)
        except UnknownModelError as error:
            raise unsold(error, named=named) from error
        if not decision.ranked:
            decision = in_pixels(decision, size)
            opens = self._shop.resting(wish)
            raise _resting(decision, opens, self._clock()) if opens else _none(decision)
        return decision

    def check_callback(self, wish: Wish) -> None:
        """
        Refuse to tell an address that nobody may be told at.

        :raises ProblemError: 422 where the call names one.
        """
        if self._addresses and wish.callback_url:
            self._addresses.check(wish.callback_url, "callback_url")

    async def earlier(self, tenant: str, repeat: Repeat, fingerprint: str) -> Job | None:
        """
        Find the job an earlier call like this one made, whatever has become of sellers, prices and inputs since.

        :raises MismatchError: the Idempotency-Key belongs to another call.
        """
        if not repeat.key and not repeat.retry:
            return None  # Nobody says that there was one.
        return await self._store.repeated(tenant, _name(repeat, fingerprint), fingerprint)

    async def accept(
        self,
        wish: Wish,
        decision: Decision,
        tenant: str,
        repeat: Repeat,
        *,
        fingerprint: str,
        operation: str = "create",
        parent: str | None = None,
        buyer: str = "local",
        limits: Limits = NONE,
    ) -> tuple[Job, bool]:
        """
        Keep a job for a wish and what was decided of it; the flag says whether it is new, or an earlier call's.

        ``fingerprint`` is by what the call is known again (:func:`fingerprint_of`), ``buyer`` the key that orders,
        ``limits`` what it may spend and do.

        :raises MismatchError: the Idempotency-Key belongs to another call.
        :raises ProblemError: 402 where a budget has not enough left, 429 where the key has too many jobs under way,
            503 where nobody can tell whether the job was kept.
        """
        lost = None if repeat.key else self._unsure.get((tenant, fingerprint))
        if lost and self._clock() - lost.created_at < FOLDED_MS and (found := await self._find(lost, fingerprint)):
            return found, False
        choice = decision.ranked[0].choice
        assert choice is not None
        choice = replace(choice, why=decision.why, others=beside(decision, choice))
        listing = self._shop.accounts[choice.account].provider.listing
        wish, notices = _noted(wish, decision)
        if listing.sandbox:
            notices.append(SANDBOX)
        now = self._clock()
        # Whoever has a hand free begins at once: the job is born leased, and no claim has to be written.
        leased = now + self._hands.lease if self._hands.reserve() else None
        id_ = new_id("video", now)
        about = About(id_, buyer, choice.offer, choice.account)
        taken, postings = hold(about, choice.usd_micros, budgets_of(buyer, limits, self._limits, now), now)
        job = born(
            id_,
            tenant,
            now,
            lease_until=leased,
            deadline_at=now + int(listing.deadline_seconds * 1000),
            operation=operation,
            parent=parent,
            wish=_json(wish),
            offer=choice.offer,
            quote=_json(choice),
            warnings=_json(notices),
            buyer=buyer,
            hold=_json(taken),
        )
        idempotency, new = _known_by(repeat, fingerprint, now), False
        failpoint("before_accept")
        try:
            begun = foretell(job) if wish.callback_url else ()
            kept, new = await self._store.accept(job, idempotency, postings, most=limits.jobs, also=begun)
        except BudgetError as error:
            own = budgets_of(buyer, limits, NONE, now)
            left = [(each, max(0, each.limit - await self._store.used(each))) for each in own]
            raise over_budget(choice.usd_micros, left) from error
        except UnsureError as error:
            if not await self._find(job, fingerprint):
                raise self._doubt(job, fingerprint) from error
            kept, new = job, True
        except CrowdError as error:
            message = f"This key may have {limits.jobs} videos under way at a time; wait until one has ended."
            raise ProblemError(429, "too_many_jobs", message, headers={"retry-after": "5"}) from error
        finally:
            if leased and not new:
                self._hands.release()
        failpoint("after_accept")
        if new and leased:
            self._hands.take_up(kept)
        elif new:
            self._hands.wake()
        return kept, new

    async def _find(self, job: Job, fingerprint: str) -> Job | None:
        """
        Look for a job whose commit was lost sight of: at once, and when the same call comes again.

        :raises ProblemError: 503 where nobody can look.
        """
        try:
            found = await self._store.job(job.id, job.tenant)
        except StoreUnavailableError as error:
            raise self._doubt(job, fingerprint) from error
        self._unsure.pop((job.tenant, fingerprint), None)
        return found

    def _doubt(self, job: Job, fingerprint: str) -> ProblemError:
        """Say that an order may have been kept, and know it again should its caller ask for the same."""
        self._unsure.pop((job.tenant, fingerprint), None)
        self._unsure[job.tenant, fingerprint] = job
        while len(self._unsure) > MOST_UNSURE:
            del self._unsure[next(iter(self._unsure))]
        return _unsure(job.id)


def _noted(wish: Wish, decision: Decision) -> tuple[Wish, list[Notice]]:
    """Write a wish as it was decided, and say what its client should know of that."""
    first = decision.ranked[0]
    converted = notices_of(first.offer, first.provider, decision.request)
    if converted or decision.request is not wish.request:
        wish = replace(wish, request=decision.request, converts=bool(converted))
    return wish, [*decision.notices, *converted]


def _known_by(repeat: Repeat, fingerprint: str, now: int) -> Idempotency:
    """Say by what a call is known again, and for how long."""
    return Idempotency(
        name=_name(repeat, fingerprint),
        fingerprint=fingerprint,
        fresh=not repeat.key and not repeat.retry,
        expires_at=now + (KEPT_MS if repeat.key else FOLDED_MS),
    )


def _unsure(id_: str) -> ProblemError:
    """Say that an order may have been kept; whoever took it for refused would buy twice."""
    message = (
        f"The gateway lost its store while it kept this order, and cannot tell whether it did: GET /v1/videos/{id_} "
        "says so once the store is back. The same call again is the same order, under the same Idempotency-Key always."
    )
    return ProblemError(503, "order_unsure", message, headers={"x-reelgate-video": id_, "retry-after": "5"})


def over_budget(usd_micros: int, left: Sequence[tuple[Budget, int]]) -> ProblemError:
    """
    Say which budgets of the caller's own key have not enough left for a video, and what would help; pure.

    Where all of them have, it is the instance's: what that had and has left is other tenants' business as well.
    """
    short = [(budget, rest) for budget, rest in left if rest < usd_micros]
    lacking = [
        f"{_usd(rest)} is left of the {_usd(each.limit)} this key has {SPANS[each.period]}" for each, rest in short
    ]
    said = " and ".join(lacking) if lacking else "the gateway's own budget is used up"
    # No day and no month brings what is above a whole limit, and nothing comes back to what is for ever.
    waits = not short or all(each.period != "total" and usd_micros <= each.limit for each, _ in short)
    ways = ["ask for a cheaper one", *(["wait for the budget's next day or month"] if waits else []), "have it raised"]
    message = f"This video is quoted at {_usd(usd_micros)}, and {said}: {', '.join(ways[:-1])}, or {ways[-1]}."
    return ProblemError(402, "budget_exceeded", message, headers={"x-should-retry": "false"})


SPANS = {"day": "for a day (UTC)", "month": "for a month (UTC)", "total": "in all"}
"""How the periods of budgets are worded."""


def _usd(usd_micros: int) -> str:
    """Write an amount with all its digits."""
    return f"${Decimal(usd_micros).scaleb(-6).normalize():f}"


def unsold(error: UnknownModelError, *, named: bool) -> ProblemError:
    """Say that nobody sells a model, and which are sold; of the default also that it is none the call named."""
    said = f"No account here sells {error.model!r}"
    if not named:
        said = f"The call names no model, and no account here sells {error.model!r}, the routing.default_model"
    shown = ", ".join(error.known[:12]) or "none"
    return ProblemError(404, "model_not_found", f"{said}. Sold: {shown}.", param="model")


def _resting(decision: Decision, opens: Mapping[tuple[str, str], int], now: int) -> ProblemError:
    """Say that whoever can do a wish rests, and until when; nothing of the call has to be changed."""
    lines = [line for line in decision.others if (line.account, line.offer.model) in opens]
    told = dict.fromkeys(refusal.message for line in lines for refusal in line.refusals)
    wait = max(1, -(-(min(opens.values()) - now) // 1000))
    message = f"No offer can do this now: {'; '.join(list(told)[:3])}. Nothing was bought; try again in {wait} s."
    headers = {"retry-after": str(wait)}
    if wait > PATIENCE_SECONDS:
        headers["x-should-retry"] = "false"
    return ProblemError(503, "no_offer_now", message, headers=headers, errors=_reasons(decision, lines))


def _reasons(decision: Decision, resting: Sequence[Line] = ()) -> list[dict[str, str]]:
    """Say of each offer why it cannot do a wish."""
    return [
        {
            "pointer": f"/{refusal.field}",
            "detail": f"{line.provider}: {refusal.message}",
            "code": "resting" if line in resting else "price_unknown" if refusal.unpriced else "not_sold",
        }
        for line in decision.others
        for refusal in line.refusals
    ][:20]


def _none(decision: Decision) -> ProblemError:
    """Say why no offer can do a wish, and which field to change."""
    refusals = [(line, refusal) for line in decision.others for refusal in line.refusals]
    fields = [refusal.field for _, refusal in refusals]
    param = max(set(fields), key=fields.count) if fields else "model"
    told: dict[str, dict[str, None]] = {}
    for line, refusal in refusals:
        if refusal.field == param:
            told.setdefault(refusal.message, {})[line.provider] = None
    reasons = [_whose(message, told[message], alone=len(told) == 1) for message in told]
    unpriced = bool(refusals) and all(refusal.unpriced for _, refusal in refusals)
    problem = invalid(
        param,
        f"No offer can do this: {'; '.join(reasons[:3])}.",
        code="price_unknown" if unpriced else "no_offer",
    )
    problem.errors = _reasons(decision)
    return problem


def _whose(message: str, providers: Collection[str], *, alone: bool) -> str:
    """Put before a reason who says so, where others say something else and it names nobody by itself."""
    # A model's name may hold a provider's: google/gemini-omni-flash is sold by others than gemini.
    named = all(re.search(rf"(?<![\w/-]){re.escape(each)}(?![\w-])", message) for each in providers)
    return message if alone or named else f"{', '.join(providers)}: {message}"


def fingerprint_of(*parts: Any) -> str:
    """
    Say by what a call is known again: by what its client said, an uploaded file by its hash.

    What was left out is not in it, so a newer program with more fields knows the calls of an older one.
    """
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted", enc_hook=_spoken)).hexdigest()


def _spoken(upload: Any) -> Any:
    """Write an uploaded file as what it holds, however it is named."""
    if isinstance(upload, Upload):
        return {"sha256": upload.sha256, "size": upload.size}
    raise NotImplementedError(type(upload))


def _name(repeat: Repeat, fingerprint: str) -> str:
    """Name a call as its repeats will: by its key, else by what it says."""
    return f"key:{repeat.key}" if repeat.key else f"fold:{fingerprint}"


def _json(value: Any) -> str:
    """Write a record as the store keeps it."""
    return msgspec.json.encode(value).decode()
