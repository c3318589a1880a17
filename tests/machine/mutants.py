"""
Deliberate defects, one or more for each invariant: what is not caught when it is broken on purpose proves nothing.

Each is planted into the gateway's own code in memory; :func:`catch` lives through worlds, or through Hypothesis'
lives, until a law notices.
"""

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec import Struct
from msgspec.structs import replace

from gateway.clips import fetch
from gateway.clock import Clock
from gateway.engine import again, ending, findings, late, watching
from gateway.events import courier
from gateway.jobs import job
from gateway.jobs.job import Outcome
from gateway.money import billing, ledger
from gateway.money.billing import Bill
from gateway.store import database, store
from providers.base import errors, wire
from tests.machine.life import Life
from tests.machine.upstream import SECRET
from tests.machine.world import blank, simulate

SEEDS = 200
"""Worlds lived through before a defect counts as not caught."""
Plant = Callable[[ExitStack], None]


class Mutant(Struct, frozen=True, kw_only=True):
    """Hold one defect."""

    law: str
    """The invariant it breaks."""
    what: str
    plant: Plant
    by: str = "worlds"
    """What has to catch it: worlds or lives."""


def _patched(target: Any, name: str, value: Any) -> Plant:
    return lambda stack: stack.enter_context(mock.patch.object(target, name, value))


def _query(name: str, *words: str) -> Plant:
    """Change a query's words: old ones and new ones by turns."""

    def plant(stack: ExitStack) -> None:
        known = dict(database.queries())
        sql = known[name].sql
        for old, new in zip(words[::2], words[1::2], strict=True):
            assert old in sql, f"{name} does not say {old!r} any more"
            sql = sql.replace(old, new)
        stack.enter_context(
            mock.patch("gateway.store.sqlite.queries", return_value={**known, name: replace(known[name], sql=sql)})
        )

    return plant


def _both(*plants: Plant) -> Plant:
    def plant(stack: ExitStack) -> None:
        for each in plants:
            each(stack)

    return plant


def _wrapped(target: Any, name: str, wrap: Callable[[Any], Any]) -> Plant:
    return _patched(target, name, wrap(getattr(target, name)))


LATER: set[Any] = set()


def _order_first(save: Any) -> Any:
    """Let the order leave while its intent is still on its way to the disk."""

    async def hasty(self: Any, moved: Any, *attempts: Any, **more: Any) -> None:
        if not any(each.outcome is Outcome.INTENT for each in attempts):
            await save(self, moved, *attempts, **more)
            return
        LATER.add(asyncio.ensure_future(save(self, moved, *attempts, **more)))

    return hasty


def _answer_first(accept: Any) -> Any:
    """Acknowledge a job while it is still on its way to the disk."""

    async def hasty(self: Any, wanted: Any, named: Any, *words: Any, **more: Any) -> Any:
        if not named.fresh:
            return await accept(self, wanted, named, *words, **more)
        LATER.add(asyncio.ensure_future(accept(self, wanted, named, *words, **more)))
        return wanted, False

    return hasty


def _as_if_free(may: Any) -> Any:
    """Take every failure for one that costs nothing."""
    return lambda self, of, update, _: may(self, of, update, Bill.NOTHING)


def _as_if_asked(read: Any) -> Any:
    """Read every wish as if its client would rather pay twice than wait in vain."""

    def generous(text: str) -> Any:
        wish = read(text)
        return replace(wish, preferences=replace(wish.preferences, on_unknown="resubmit"))

    return generous


def _as_if_first(order: Any) -> Any:
    """Forget that an order was given up before, and what was written of its money."""
    numbers = itertools.count()

    async def forgetful(self: Any, of: Any) -> Any:
        number = next(numbers)
        with mock.patch.object(billing, "hold", lambda *words, **more: _renamed(ledger.hold(*words, **more), number)):
            return await order(self, replace(of, abandoned=None))

    return forgetful


def _renamed(taken: Any, number: int) -> Any:
    """Give a hold's entries names of their own: the database knows each but once."""
    held, postings = taken
    return held, [replace(each, entry=replace(each.entry, id=f"{each.entry.id}.{number}")) for each in postings]


def _forget_task(standing: Any) -> Any:
    """Write down how an order ended, and not which task it was given."""
    return lambda of, outcome, now, error, task=None: standing(of, outcome, now, error)


def _refund_doubt(closed: Any) -> Any:
    """Give back the money of an order nobody can tell of."""
    return lambda of, bill, now: closed(of, Bill.NOTHING if bill is Bill.DOUBT else bill, now)


def _refund_all(closed: Any) -> Any:
    """Give all money back."""
    return lambda of, bill, now: closed(of, Bill.NOTHING, now)


def _close_anew(close: Any) -> Any:
    """Close a hold as if it had never been closed."""
    return lambda about, held, *rest, **more: close(about, replace(held, billing="held"), *rest, **more)


def _forget_due(move: Any) -> Any:
    """Forget when to look again at what has just been looked at in vain."""

    def forgetful(of: Any, state: Any, now: int, **changes: Any) -> Any:
        moved = move(of, state, now, **changes)
        return replace(moved, due_at=None) if moved.tries > of.tries and state is of.state else moved

    return forgetful


def _swallow(chunks: Any) -> Any:
    """Take a clip that breaks off for a whole one."""

    async def deaf(*words: Any) -> Any:
        try:
            async for chunk in chunks(*words):
                yield chunk[:-9] if len(chunk) > 9 else chunk
        except errors.ProviderError:
            return

    return deaf


def _tell_tale(opened: Any) -> Any:
    """Log a call as it was sent, credentials and all."""

    async def loose(self: Any, call: Any) -> Any:
        structlog.get_logger().info("call.sent", url=call.url, authorization=f"Bearer {SECRET}")
        return await opened(self, call)

    return loose


def _back_to_running(move: Any) -> Any:
    """Take a clip that could not be fetched for one that is still being made."""

    def backwards(of: Any, state: Any, now: int, **changes: Any) -> Any:
        again = state is job.State.STORING and of.state is state and changes.get("tries")
        return replace(move(of, state, now, **changes), **({"state": job.State.RUNNING} if again else {}))

    return backwards


MUTANTS = {
    "hasty order": Mutant(
        law="I0", what="the order leaves before its intent is on disk",
        plant=_wrapped(store.Store, "save", _order_first),
    ),
    "impatient": Mutant(
        law="I1", what="an order not found at once is ordered again",
        plant=_both(_patched(findings, "UNDER_WAY", 0.0), _patched(findings, "CONFIRM", 0.0)),
    ),
    "silence is refusal": Mutant(
        law="I1", what="silence after a purchase counts as not accepted",
        plant=_both(
            _patched(errors.Indeterminate, "again", errors.Again.HERE),
            _patched(errors.Indeterminate, "_billed", errors.Billed.NO),
        ),
    ),
    "presumptuous": Mutant(
        law="I1", what="an order nobody knows the fate of is made again though its client did not ask for that",
        plant=_wrapped(again, "read_wish", _as_if_asked),
    ),
    "insatiable": Mutant(
        law="I1", what="an order nobody knows the fate of is made again as often as it is lost",
        plant=_wrapped(again.Again, "order", _as_if_first), by="lives",
    ),
    "sore loser": Mutant(
        law="I1", what="a clip that failed is ordered elsewhere though nobody can tell what it cost",
        plant=_wrapped(watching.Watcher, "_may_go_elsewhere", _as_if_free), by="lives",
    ),
    "forgotten task": Mutant(
        law="I2", what="which task an order was given is not kept",
        plant=_wrapped(watching, "standing", _forget_task),
    ),
    "hasty answer": Mutant(
        law="I3", what="a job is acknowledged before it is on disk",
        plant=_wrapped(store.Store, "accept", _answer_first),
    ),
    "no limit": Mutant(
        law="I4", what="a hold does not ask what is left",
        plant=_query("budget_fits", "spent + held + suspense", "0 * spent + 0 * held + 0 * suspense"),
    ),
    "refund of doubt": Mutant(
        law="I4", what="the money of an order nobody can tell of is given back",
        plant=_wrapped(ending, "closed", _refund_doubt),
    ),
    "late refund": Mutant(
        law="I4", what="what a clip cost that comes after its job was given up is given back",
        plant=_wrapped(late, "closed", _refund_all),
    ),
    "one-sided": Mutant(
        law="I4", what="what is settled is not taken from what is held",
        plant=_query("budget_shift", "held = held +", "held = held + 0 *"),
    ),
    "closed twice": Mutant(
        law="I4", what="money that was settled can be settled again", plant=_wrapped(billing, "close", _close_anew),
        by="lives",
    ),
    "keys forgotten": Mutant(
        law="I5", what="an Idempotency-Key gives way to the next call",
        plant=_query("idempotency_take", "idempotency.expires_at <=", "0 <="),
    ),
    "short clip": Mutant(
        law="I6", what="a clip that broke off is kept as whole", plant=_wrapped(wire, "_chunks", _swallow)
    ),
    "unfenced": Mutant(
        law="I7", what="whoever held a lease once may write, whatever happened since",
        plant=_query("job_save", "AND seq = ", "AND -1 <= ", "AND lease_epoch = ", "AND 0 <= "), by="lives",
    ),
    "deaf": Mutant(
        law="I7", what="what an operator decided meanwhile is written over",
        plant=_query("job_save", "AND seq = ", "AND -1 <= "), by="lives",
    ),
    "untold": Mutant(
        law="I8", what="an end is committed without whom it is told", plant=_patched(ending, "announce", lambda _: [])
    ),
    "told for good": Mutant(
        law="I8", what="any answer of a receiver counts as taken",
        plant=_patched(courier.Answer, "good", property(lambda _: True)),
    ),
    "loose tongue": Mutant(
        law="I9", what="calls are logged with their credentials", plant=_wrapped(wire.HttpWire, "_open", _tell_tale)
    ),
    "anywhere": Mutant(
        law="I10", what="a clip is fetched from wherever an answer says",
        plant=_patched(fetch, "_wire", lambda account, _: account.wire),
    ),
    "backwards": Mutant(
        law="I11", what="a clip that could not be fetched is looked at as if it were being made",
        plant=_wrapped(ending, "move", _back_to_running),
    ),
    "never due": Mutant(
        law="I12", what="a look that came to nothing sets no time for the next",
        plant=_wrapped(ending, "move", _forget_due),
    ),
    "wall clock": Mutant(
        law="I12", what="every time is the wall clock's, which can be set",
        plant=_patched(Clock, "__call__", lambda clock: clock._wall()),
    ),
}  # fmt: skip


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Let the gateway have a defect."""
    with ExitStack() as stack:
        mutant.plant(stack)
        yield


def catch(mutant: Mutant, seeds: int = SEEDS) -> tuple[str, int] | None:
    """Say what noticed a defect, and after how many worlds or lives; ``None`` where nothing did."""
    with planted(mutant):
        return _lives(seeds) if mutant.by == "lives" else _worlds(seeds)


def _worlds(seeds: int) -> tuple[str, int] | None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        empty = blank(Path(folder, "blank.db"))
        for number in range(1, seeds + 1):
            world = Path(folder, str(number))
            world.mkdir()
            try:
                simulate(number, world, empty)
            except Exception as error:  # noqa: BLE001 - whatever it was, it was noticed
                return str(error) or type(error).__name__, number
    return None


def _lives(most: int) -> tuple[str, int] | None:
    Life.begun = 0
    chosen = settings(
        max_examples=most, stateful_step_count=50, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), print_blob=False, report_multiple_bugs=False,
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(1)(Life), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever it was, it was noticed
        return f"{type(error).__name__} {str(error).partition(chr(10))[0]}".strip(), Life.begun
    return None
