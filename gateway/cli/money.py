"""``reelgate spend``, ``compare``, ``halt`` and ``go-on``: what was spent, on whom it was well spent, and a switch."""

import json
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from gateway import comparing
from gateway.cli.common import Config, UsageError
from gateway.cli.store import now, on_store
from gateway.spending import BY, add_up, window
from gateway.store import Store


def spend(
    *,
    by: str = "provider,model",
    since: str = "",
    until: str = "",
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Config = None,
) -> None:
    """
    Show what was spent, from the ledger.

    Parameters
    ----------
    by
        What to add up by: some of provider, model, key, account, day.
    since
        First day (UTC): 2026-11-01; thirty days ago by default.
    until
        Last day; today by default.
    json_
        Print JSON.
    config
        The gateway's config.toml.
    """
    words, first, last = _asked(by, BY, since, until)
    lines = add_up(on_store(config, lambda store: store.spent(first, last)), words)
    if json_:
        shown = [{**line.of, "usd": line.usd_micros / 1_000_000, "purchases": line.purchases} for line in lines]
        print(json.dumps(shown, indent=2))
        return
    table = Table(*words, "spent", "purchases")
    for line in lines:
        table.add_row(*line.of.values(), f"${line.usd_micros / 1_000_000:,.4f}", str(line.purchases))
    total = sum(line.usd_micros for line in lines)
    table.caption = f"${total / 1_000_000:,.4f} in all"
    Console().print(table)


def compare(
    *,
    by: str = "provider,model",
    since: str = "",
    until: str = "",
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    config: Config = None,
) -> None:
    """
    Compare sellers by what came of the orders made there.

    Parameters
    ----------
    by
        What to compare: some of provider, model, account, key.
    since
        First day (UTC) of the orders: 2026-11-01; thirty days ago by default.
    until
        Last day; today by default.
    json_
        Print JSON.
    config
        The gateway's config.toml.
    """
    words, first, last = _asked(by, comparing.BY, since, until)

    async def read(store: Store) -> list[comparing.Record]:
        return comparing.records_of(await store.orders(first, last), await store.spent(first, last), words)

    records = on_store(config, read)
    if json_:
        print(json.dumps([comparing.describe(record) for record in records], indent=2))
        return
    table = Table(*words, "orders", "made", "not as ordered", "half within", "nine in ten", "spent", "for each made")
    for each in records:
        share = "-" if each.made_share is None else f"{each.made} ({each.made_share:.0%})"
        times = [f"{seconds} s" for seconds in each.seconds] if each.seconds else ["-", "-"]
        price = "-" if each.usd_per_made is None else f"${each.usd_per_made:,.4f}"
        paid = f"${each.usd_micros / 1_000_000:,.4f}"
        table.add_row(*each.of.values(), str(each.orders), share, str(each.mismatched), *times, paid, price)
    Console().print(table)


def _asked(by: str, known: Sequence[str], since: str, until: str) -> tuple[list[str], int, int]:
    """
    Read by what and from when to when it is asked for.

    :raises UsageError: naming the option.
    """
    words = [each for each in by.split(",") if each]
    if not words or {*words} - {*known} or len(set(words)) < len(words):
        raise UsageError(f"--by names some of {', '.join(known)}, each once")
    try:
        return words, *window(since, until, now())
    except (ValueError, OverflowError) as error:
        raise UsageError("--since and --until are days: 2026-11-01") from error


def halt(why: str = "an operator", *, config: Config = None) -> None:
    """
    Buy nothing more, at once; jobs are still accepted and wait, those under way go on.

    Parameters
    ----------
    why
        What to say to whoever asks.
    config
        The gateway's config.toml.
    """
    on_store(config, lambda store: store.halt(why))
    print("nothing is bought until `reelgate go-on`")


def go_on(*, config: Config = None) -> None:
    """
    Buy again.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """
    on_store(config, lambda store: store.go_on())
    print("purchases go on")
