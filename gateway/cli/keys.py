"""``reelgate keys``: create, list, limit and revoke API keys."""

import sys
from typing import Annotated

import msgspec
from cyclopts import App, Parameter, validators
from msgspec.structs import replace

from gateway.cli.common import Config, UsageError
from gateway.cli.store import now, on_store
from gateway.cli.streams import forgo, was_closed
from gateway.clock import DAY_MS
from gateway.door.keys import SCOPES, hash_secret, new_secret
from gateway.ids import new_id
from gateway.money.ledger import NONE, Limits, budgets_of
from gateway.settings import Policy, micros
from gateway.store.registry import Key
from gateway.store.store import Store

app = App(name="keys", help="Create, list, limit and revoke API keys.")

NO_LIMIT = "none"
EVERY = {"day": "today", "month": "this month", "total": "ever"}
"""How the periods of budgets are worded."""


@app.command
def create(
    *,
    name: str,
    tenant: str | None = None,
    scope: Annotated[tuple[str, ...], Parameter(negative="")] = ("read", "write"),
    days: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=36_500))] = None,
    policy: Policy | None = None,
    budget_usd: str = "",
    day_usd: str = "",
    month_usd: str = "",
    rate: str = "",
    jobs: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=1_000_000))] = None,
    config: Config = None,
) -> None:
    """
    Create a key and show it, once.

    Parameters
    ----------
    name
        What to call it.
    tenant
        Whose videos it sees; keys of one tenant see the same. The key's own name by default.
    scope
        What it may do: read, write, metrics.
    days
        After how many days it ends; never by default.
    budget_usd
        The most it may spend, ever; ``day_usd`` and ``month_usd`` in a day and a month (UTC).
    day_usd
        The most it may spend in a day.
    month_usd
        The most it may spend in a month.
    rate
        How many requests it may make: ``60/min``.
    jobs
        How many videos it may have under way at the same time.
    policy
        How offers are chosen where its callers leave it open; as config.toml says by default.
    config
        The gateway's config.toml.
    """
    for text in (name, tenant or name):
        if not (1 <= len(text) <= 64 and text.isprintable()):
            raise UsageError("a name has 1 to 64 printable characters")
    strangers = sorted(set(scope) - set(SCOPES))
    if strangers:
        raise UsageError(f"{strangers[0]!r} is no scope; there are {', '.join(SCOPES)}")
    secret, at = new_secret(), now()
    ends = at + days * DAY_MS if days else None
    limits = Limits(
        day=micros(day_usd), month=micros(month_usd), total=micros(budget_usd), per_minute=_per_minute(rate), jobs=jobs
    )
    held = msgspec.json.encode(limits).decode()
    key = Key(
        new_id("key", at),
        name,
        tenant or name,
        hash_secret(secret),
        " ".join(scope),
        at,
        ends,
        policy=policy,
        limits=held,
    )
    if was_closed(sys.stdout):
        raise UsageError("a key is shown once, and stdout is closed; none was made")

    async def keep(store: Store) -> None:
        _show(secret)  # First: nobody could use, or would revoke, a key that nobody was shown.
        await store.add_key(key)

    on_store(config, keep, makes=True)
    print(f"id {key.id}; shown only now. Clients send it as Authorization: Bearer.")


@app.command(name="list")
def list_(*, config: Config = None) -> None:
    """List every key there ever was; the keys themselves are not kept."""

    async def look(store: Store) -> list[tuple[Key, str]]:
        return [(key, await _used(store, key)) for key in await store.keys()]

    for key, used in on_store(config, look):
        ended = key.revoked_at or (key.expires_at if (key.expires_at or now() + 1) <= now() else None)
        state = "ended" if ended else "in force"
        print(f"{key.id}  {state:8}  {key.tenant:16}  {key.scopes:20}  {key.name}")
        if used and not ended:
            print(f"    {used}")


@app.command(name="set")
def set_(
    key: str,
    *,
    budget_usd: str = "",
    day_usd: str = "",
    month_usd: str = "",
    rate: str = "",
    jobs: str = "",
    config: Config = None,
) -> None:
    """
    Change what a key may spend and do; the gateway keeps to it within a second. What is not named stays.

    Parameters
    ----------
    key
        The key's id, or its name where no other key in force has the same.
    budget_usd
        The most it may spend, ever; ``none`` takes the limit away, here and below.
    day_usd
        The most it may spend in a day (UTC).
    month_usd
        The most it may spend in a month (UTC).
    rate
        How many requests it may make: ``60/min``.
    jobs
        How many videos it may have under way at the same time.
    config
        The gateway's config.toml.
    """
    said = {
        "total": (budget_usd, micros),
        "day": (day_usd, micros),
        "month": (month_usd, micros),
        "per_minute": (rate, _per_minute),
        "jobs": (jobs, _count),
    }
    changes = {name: None if text == NO_LIMIT else read(text) for name, (text, read) in said.items() if text}
    if not changes:
        raise UsageError("say what to change: --budget-usd, --day-usd, --month-usd, --rate or --jobs")

    async def work(store: Store) -> tuple[Key, str]:
        at = now()
        there = [each for each in await store.keys() if not each.revoked_at and (each.expires_at or at + 1) > at]
        found = [each for each in there if each.id == key] or [each for each in there if each.name == key]
        if len(found) != 1:
            several = f"{len(found)} keys in force are called {key}; name one by its id"
            raise UsageError(several if found else f"no key {key} is in force")
        limits = msgspec.json.encode(replace(_limits(found[0]), **changes)).decode()
        changed = await store.limit_key(found[0], limits)
        if changed is None:
            raise UsageError(f"{key} was changed meanwhile; look again")
        return changed, await _used(store, changed)

    changed, used = on_store(config, work)
    print(f"{changed.id}  {changed.name}: {used or 'no limits'}")


@app.command
def revoke(id_: Annotated[str, Parameter(name="id")], *, config: Config = None) -> None:
    """
    Put a key out of force; the gateway refuses it within a second.

    Parameters
    ----------
    id_
        The key's id, from ``reelgate keys list``.
    config
        The gateway's config.toml.
    """
    if on_store(config, lambda store: store.revoke_key(id_)) is None:
        raise UsageError(f"no key {id_} is in force")
    print(f"revoked {id_}")


def _limits(key: Key) -> Limits:
    """Read what a key may spend and do."""
    return msgspec.json.decode(key.limits, type=Limits) if key.limits else NONE


async def _used(store: Store, key: Key) -> str:
    """Write what a key may spend and do, and how much of that is taken; nothing where it has no limits."""
    limits = _limits(key)
    told = [
        f"${await store.used(each) / 1_000_000:.6g} of ${each.limit / 1_000_000:.6g} {EVERY[each.period]}"
        for each in budgets_of(key.id, limits, NONE, now())
    ]
    if limits.per_minute is not None:
        told.append(f"{limits.per_minute} requests a minute")
    if limits.jobs is not None:
        told.append(f"{await store.under_way(key.id)} of {limits.jobs} videos under way")
    return ", ".join(told)


def _count(text: str) -> int:
    """Read how many videos may be under way."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:8]) <= 1_000_000):
        raise UsageError(f"{text!r} is no number of videos; write 1 to 1000000, or none")
    return int(text)


def _show(secret: str) -> None:
    """
    Print a key to where it is read.

    :raises UsageError: when it cannot be.
    """
    try:
        print(secret, flush=True)
    except OSError as error:
        forgo(sys.stdout)
        raise UsageError(f"the key could not be shown ({error.strerror}); none was made") from error


def _per_minute(rate: str) -> int | None:
    """Read ``60/min``."""
    if not rate:
        return None
    number, _, unit = rate.partition("/")
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= 1_000_000 and unit in {"min", "minute"}):
        raise UsageError(f"{rate!r} is no rate; write 60/min")
    return int(number)
