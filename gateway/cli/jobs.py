"""
``reelgate jobs``: what was ordered and what came of it, from a running gateway; and for operators, from the store,
what is in doubt, and deciding it.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date

import msgspec
from cyclopts import App

from gateway.cli.common import Config, UsageError, moment, plain, settings_of
from gateway.cli.store import now, on_store
from gateway.cli.videos import list_, show
from gateway.clips.forgetting import Forgetter
from gateway.clips.media import open_media
from gateway.clock import DAY_MS
from gateway.engine.operator import MoveError, adopt, questioned, resubmit, settle, write_off
from gateway.jobs.job import OPEN, Attempt, Job
from gateway.jobs.wish import read_choice
from gateway.money.billing import doubts
from gateway.money.spending import EPOCH
from gateway.settings import micros
from gateway.store.database import ConflictError
from gateway.store.evidence import Evidence, of_job
from gateway.store.orphans import see_to, unseen
from gateway.store.past import Why
from gateway.store.store import Store, TakenError

app = App(name="jobs", help="List what was ordered; decide what nobody but an operator can.")
app.default(list_)
app.command(show)

SHOWN = 400
"""Characters shown of what was said, in a list."""
KEPT = {
    Why.MONEY: "nobody can tell yet what it cost; reelgate jobs in-doubt",
    Why.ORDER: "an order of it is open; reelgate doctor",
    Why.WEBHOOK: "somebody is still to be told of it",
    Why.REPEAT: "its call may still be repeated",
    Why.ORPHAN: "it made a task that is nobody's; reelgate jobs orphans",
    Why.STEP: "it is being worked on",
}
"""What is said of a video that is kept though it is old."""


@app.command
def unknown(*, config: Config = None) -> None:
    """
    List the orders whose answer was lost and which nobody could clear up: they may have been bought.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """

    async def look(store: Store) -> list[tuple[Job, list[Evidence]]]:
        return await _explained(store, await store.unknown())

    found = on_store(config, look)
    for job, told in found:
        aside = "  put aside" if job.aside_at is not None else ""
        print(f"{_order(job, job.started_at or job.created_at)}  attempt {job.attempt}{aside}")
        _tell(told)
    print(f"{len(found)} unknown")


@app.command
def evidence(job: str, *, config: Config = None) -> None:
    """
    Show what a video's orders were answered that the gateway could not read; a task's name may stand in it.

    Parameters
    ----------
    job
        The video's id.
    config
        The gateway's config.toml.
    """

    async def look(store: Store) -> list[Evidence]:
        if await store.any_job(job) is None:
            raise UsageError(f"there is no {job}")
        return await of_job(store.database, job)

    told = on_store(config, look)
    for each in told:
        print(f"{each.attempt}  {each.kind}  {moment(each.at // 1000)}\n{plain(each.said)}")
    print(f"{len(told)} kept")


@app.command
def in_doubt(*, config: Config = None) -> None:
    """
    List the videos that have ended and whose orders may have been charged: each is asked after until its provider or
    you can tell.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """

    async def look(store: Store) -> list[tuple[Job, list[Evidence]]]:
        return await _explained(store, await store.in_doubt())

    found = on_store(config, look)
    for job, told in found:
        problem = msgspec.json.decode(job.error or "{}")
        for order in doubts(job):
            task = f"task {msgspec.json.decode(order.task)['id']}" if order.task else "no task known"
            code = problem.get("code", "") if order is job else f"ordered again, attempt {order.attempt} given up"
            print(f"{_order(order, job.completed_at or job.created_at)}  {code}  {task}")
            _tell(each for each in told if each.attempt == order.attempt)
    print(f"{len(found)} in doubt")


@app.command
def orphans(*, seen: str = "", config: Config = None) -> None:
    """
    List tasks that were bought and that no video will collect: look for them at their provider.

    Parameters
    ----------
    seen
        Take the tasks of this attempt off the list: you have seen to them.
    config
        The gateway's config.toml.
    """
    if seen:
        if not on_store(config, lambda store: see_to(store.database, seen, now())):
            raise UsageError(f"no task of {seen} is on the list")
        print(f"{seen} is off the list")
        return
    left = on_store(config, lambda store: unseen(store.database))
    for each in left:
        where, whose = each.account or "account unknown", each.job or "video unknown"
        found = f"found {moment(each.found_at // 1000)}"
        print(f"{each.attempt}  {where}  task {plain(each.task)}  {whose}  {found}")
    print(f"{len(left)} ownerless")


async def _explained(store: Store, jobs: Sequence[Job]) -> list[tuple[Job, list[Evidence]]]:
    """Add to jobs what was said of their last orders that nobody could read."""
    told = [(job, await of_job(store.database, job.id)) for job in jobs]
    return [(job, [each for each in said if each.attempt in _in_question(job)]) for job, said in told]


def _in_question(job: Job) -> set[str | None]:
    """Name the attempts of a job somebody may ask after."""
    return {job.attempt, *(each.attempt for each in doubts(job))}


def _tell(told: Iterable[Evidence]) -> None:
    """Print how each begins."""
    for each in told:
        whole = plain(each.said)
        print(f"    {each.kind}: {whole[:SHOWN]}{'...' if len(whole) > SHOWN else ''}")


def _order(job: Job, at: int) -> str:
    """Write what was ordered where and for how much, and since when that is open."""
    choice = read_choice(job.quote)
    price, since = f"${choice.usd_micros / 1_000_000:.4f}", f"since {moment(at // 1000)}"
    return f"{job.id}  {choice.offer}  {job.account}  {price}  {since}"


@app.command(name="adopt")
def adopt_(job: str, task: str, *, config: Config = None) -> None:
    """
    Take a task you found at the provider for the one a lost order made.

    Parameters
    ----------
    job
        The video's id.
    task
        The provider's own id of the task.
    config
        The gateway's config.toml.
    """

    async def work(store: Store) -> str:
        found, last = await _ordered(store, job)
        moved, taken, whose = adopt(found, last, task, now())
        try:
            await store.save(moved, taken, also=whose)
        except TakenError:
            raise UsageError(f"task {task} at {last.account} belongs to another order") from None
        return f"{job} goes on with task {task}"

    _decide(config, work)


@app.command(name="resubmit")
def resubmit_(job: str, *, sure: bool = False, config: Config = None) -> None:
    """
    Order again; where the first order was taken after all, the clip is bought twice.

    Parameters
    ----------
    job
        The video's id.
    sure
        Say that you looked at the provider and the first order is not there.
    config
        The gateway's config.toml.
    """

    async def work(store: Store) -> str:
        found, open_ = await _open(store, job)
        if not sure:
            price = read_choice(found.quote).usd_micros / 1_000_000
            raise UsageError(f"this may spend ${price:.4f} a second time: look at the provider, then say --sure")
        again, absent = resubmit(found, open_, now())
        await store.save(again, absent)
        return f"{job} is ordered again"

    _decide(config, work)


@app.command(name="write-off")
def write_off_(job: str, *, config: Config = None) -> None:
    """
    End a job whose order nobody will hear of; its money stays in doubt until you settle it.

    Parameters
    ----------
    job
        The video's id.
    config
        The gateway's config.toml.
    """

    async def work(store: Store) -> str:
        found, open_ = await _open(store, job)
        ended, lost, postings, told = write_off(found, open_, now())
        await store.save(ended, lost, postings=postings, also=told)
        return f"{job} has failed; reelgate jobs settle {job} --usd AMOUNT once you know what it cost"

    _decide(config, work)


@app.command(name="settle")
def settle_(job: str, *, usd: str, config: Config = None) -> None:
    """
    Say what a job in doubt cost, by the provider's invoice; 0 gives its money back to the budget.

    Of two orders in doubt it is the last that is settled, and the one before when you say it again.

    Parameters
    ----------
    job
        The video's id.
    usd
        Dollars.
    config
        The gateway's config.toml.
    """
    amount = micros(usd)
    if amount is None:
        raise UsageError("say what it cost: --usd 0 or more")

    async def work(store: Store) -> str:
        found = await store.any_job(job)
        if found is None:
            raise UsageError(f"there is no {job}")
        settled, postings, told = settle(found, amount, now())
        await store.save(settled, postings=postings, also=told)
        over = sum(each.entry.usd_micros for each in postings if each.entry.kind == "excess")
        more = f", ${over / 1_000_000:.6g} more than was set aside" if over else ""
        return f"{job} cost ${amount / 1_000_000:.6g}{more}"

    _decide(config, work)


async def _ordered(store: Store, id_: str) -> tuple[Job, Attempt]:
    """Find a job and the attempt of it that is in question, its last where none is."""
    job = await store.any_job(id_)
    if job is None:
        raise UsageError(f"there is no {id_}")
    attempt = next((each for each in await store.attempts(id_) if each.id == questioned(job)), None)
    if attempt is None:
        raise UsageError(f"{id_} is {job.state} and has no open order")
    return job, attempt


async def _open(store: Store, id_: str) -> tuple[Job, Attempt]:
    """Find a job and its open attempt."""
    job, attempt = await _ordered(store, id_)
    if attempt.outcome not in OPEN:
        raise UsageError(f"{id_} is {job.state} and has no open order")
    return job, attempt


@app.command(name="forget")
def forget_(*, before: str, dry_run: bool = False, config: Config = None) -> None:
    """
    Forget videos that ended long ago, with their prompts, clips and webhooks; what they cost stays in the ledger.

    ``[store] retention_days`` has the gateway do it by itself. Videos under way, in doubt or still to be told of stay.

    Parameters
    ----------
    before
        Those that had ended before this day (UTC): 2026-08-01.
    dry_run
        Say how many would go, and let them be.
    config
        The gateway's config.toml.
    """
    try:
        ended = (date.fromisoformat(before) - EPOCH).days * DAY_MS - 1
    except ValueError:
        raise UsageError(f"{before[:40]!r} is no day; write it like 2026-08-01") from None
    if ended >= now():
        raise UsageError(f"{before} is yet to come; name a day that has begun")
    media = open_media(settings_of(config).media)
    gone, kept = on_store(config, lambda store: Forgetter(media, store, now).all(ended, dry_run=dry_run))
    print(f"{gone} {'would be forgotten' if dry_run else 'forgotten'}")
    for why, count in sorted(kept.items()):
        print(f"{count} kept: {KEPT[why]}")


def _decide(config: Config, work: Callable[[Store], Awaitable[str]]) -> None:
    """Do one thing to a job, saying what came of it."""
    try:
        print(on_store(config, work))
    except MoveError as error:
        raise UsageError(str(error)) from error
    except ConflictError as error:
        raise UsageError("the job moved meanwhile; look again") from error
