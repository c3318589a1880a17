"""
Hear providers call: a reason to look at a task, never a verdict on it.

The address is the attempt's own and cannot be guessed, and what its provider signs must be signed. What comes with it
is believed in one thing only, and on probation: the name of a task whose order was never answered, which is adopted
once polling it with our own key works.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog

from gateway.events.keyring import Keyring
from gateway.events.outbox import Hook, Outbox
from gateway.events.vault import Vault, hash_token
from gateway.jobs.job import Job
from gateway.offers.accounts import Account
from gateway.store.database import Statement, StoreUnavailableError
from providers.base.errors import Invalid, Missing, Refused
from providers.base.hooks import ForgedError, HookCall
from providers.base.task import Task, Update

log = structlog.get_logger()

LEAST_MS = 5000
"""Between two looks that one address can bring about."""
KEPT = 10_000
"""Addresses whose last call is remembered."""
MAX_TASK = 512
"""Longest name of a task."""
ASK_AGAIN = (0.5, 1.0, 2.0, 4.0)
"""Seconds between asking again for a job whose step is under way."""
TOKEN_DIGITS = 40


class Hooks:
    """Give attempts their addresses, and turn calls to them into looks."""

    def __init__(
        self,
        outbox: Outbox,
        vault: Vault,
        accounts: Mapping[str, Account],
        clock: Callable[[], int],
        public_url: str,
        keyring: Keyring,
    ) -> None:
        self._outbox = outbox
        self._vault = vault
        self._accounts = accounts
        self._clock = clock
        self._base = public_url.rstrip("/")
        self._keyring = keyring
        self._allowed: dict[str, int] = {}
        """When each address may next bring a look about."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        """By job: who comes back when its step has ended."""

    def url(self, provider: str, attempt: str) -> str:
        """Say where a provider may call about an attempt; nowhere while the world cannot reach us."""
        return f"{self._base}/hooks/{provider}/{self._vault.hook_token(attempt)}" if self._base else ""

    @property
    def reachable(self) -> bool:
        """Whether providers can be told where to call."""
        return bool(self._base)

    def keep(self, attempt: str) -> list[Statement]:
        """Write what an attempt's address is known by, to be kept with the attempt."""
        if not self._base:
            return []
        return [Statement("hook_insert", {"hash": hash_token(self._vault.hook_token(attempt)), "attempt": attempt})]

    async def adopt(self, job: Job, account: Account) -> Update | None:
        """
        Look at the task a provider named to a job whose order was never answered; ``None`` where there is none.

        :raises ProviderError: when it cannot be said whether it is there.
        """
        task = await self._outbox.hint(job.attempt) if job.attempt else None
        if task is None or job.attempt is None:
            return None
        if await self._outbox.owner(account.name, task) in {None, job.attempt}:
            try:
                return await account.provider.poll(Task(task), account.wire)
            except (Missing, Invalid, Refused) as error:
                log.info("hint.wrong", job=job.id, attempt=job.attempt, kind=error.kind)
        else:
            log.warning("hint.foreign", job=job.id, attempt=job.attempt)
        await self._outbox.forget_hint(job.attempt, task)
        return None

    async def find(self, provider: str, token: str) -> tuple[Hook, Account] | None:
        """Find whom an address belongs to; ``None`` for every address nobody was given."""
        if len(token) != TOKEN_DIGITS:
            return None
        hook = await self._outbox.hook(hash_token(token))
        account = self._accounts.get(hook.account) if hook else None
        if hook is None or account is None or account.listing.slug != provider:
            return None
        return hook, account

    async def hear(self, hook: Hook, account: Account, headers: Mapping[str, str], body: bytes) -> None:
        """
        Take a call in: its job is looked at soon, on this call's account at most once in five seconds.

        :raises ForgedError: when its provider did not sign it.
        :raises FetchError: when nobody can say so now.
        """
        if not hook.live:
            return
        named = account.provider.hook_key(headers)
        key = await self._keyring.find(named) if named else None
        address = self.url(account.listing.slug, hook.attempt)
        now = self._clock() / 1000
        try:
            account.provider.check_hook(HookCall(headers=headers, body=body, now=now, address=address, key=key))
        except ForgedError as error:
            log.warning("hook.forged", attempt=hook.attempt, account=hook.account, reason=str(error))
            raise
        hints = account.provider.read_hook(headers, body)
        if not hints:
            log.info("hook.unread", attempt=hook.attempt, account=hook.account)
            return
        task = hints[0].task
        if not hook.has_task and task != hook.hint and 0 < len(task) <= MAX_TASK and task.isprintable():
            await self._outbox.note_hint(hook.hash, task)
        await self._hasten(hook)

    async def _hasten(self, hook: Hook) -> None:
        """Have a job looked at as soon as its address allows."""
        due = max(self._clock(), self._allowed.get(hook.hash, 0))
        looked = await self._outbox.schedule(hook.job)
        if looked is None or (hook.job in self._asking if looked.leased else looked.due_at <= due):
            return  # It is over, or a look is coming that will see whatever this call is about.
        self._remember(hook.hash, due + LEAST_MS)
        log.info("hook.heard", attempt=hook.attempt, account=hook.account, leased=looked.leased)
        if not looked.leased:
            await self._outbox.hasten(hook.job, due)
        elif len(self._asking) < KEPT:
            # What the step under way sees may be older than the call: come back once it has ended.
            task = self._asking[hook.job] = asyncio.create_task(self._insist(hook.job))
            task.add_done_callback(lambda _: self._asking.pop(hook.job, None))

    def _remember(self, hash_: str, until: int) -> None:
        """Remember when an address may next bring a look about; the oldest gives way."""
        self._allowed.pop(hash_, None)
        if len(self._allowed) >= KEPT:
            del self._allowed[next(iter(self._allowed))]
        self._allowed[hash_] = until

    async def _insist(self, job: str) -> None:
        """Ask until the step has ended, a few times."""
        for seconds in ASK_AGAIN:
            await asyncio.sleep(seconds)
            try:
                looked = await self._outbox.schedule(job)
                if looked is None:
                    return
                if not looked.leased:
                    await self._outbox.hasten(job, self._clock())
                    return
            except StoreUnavailableError:
                return  # The job is polled as ever.

    def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()


def drop_task(job: Job) -> Statement:
    """Note that a job's task is not its own: somebody else may have it."""
    task = msgspec.json.decode(job.task or "", type=Task)
    return Statement("task_drop", {"account": job.account, "task": task.id, "attempt": job.attempt})


def take_task(job: Job, task: Task, *, adopted: bool) -> Statement:
    """Note whose a task is: what was bought is kept whatever it is called, what is adopted must be nobody else's."""
    whose = {"account": job.account, "task": task.id, "attempt": job.attempt}
    return Statement("task_take", whose, 1) if adopted else Statement("task_note", whose)
