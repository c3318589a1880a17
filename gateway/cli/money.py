"""``reelgate spend``, ``compare``, ``halt`` and ``go-on``: what was spent, on whom it was well spent, and a switch."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Column, Table

from gateway.cli.common import Config, UsageError
from gateway.cli.store import now, on_store
from gateway.money import comparing
from gateway.money.spending import BY, BackwardsError, add_up, window
from gateway.store.store import Store


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
    table = _table(words, "spent", "purchases")
    for line in lines:
        table.add_row(_words(line.of), f"${line.usd_micros / 1_000_000:,.4f}", str(line.purchases))
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
    Console().print(comparison(records, words))


def comparison(records: Sequence[comparing.Record], words: Sequence[str]) -> Group:
    """Draw what came of the orders, and beneath it what they cost."""
    came = _table(words, "orders", "made", "lost", "not as\nordered", "half\nwithin", "nine in\nten")
    cost = _table(words, "clips", "seconds", "spent", "a clip", "a second")
    for each in records:
        share = "-" if each.made_share is None else f"{each.made} ({each.made_share:.0%})"
        times = [f"{seconds} s" for seconds in each.seconds] if each.seconds else ["-", "-"]
        came.add_row(_words(each.of), str(each.orders), share, str(each.lost), str(each.mismatched), *times)
        shares = ["-" if usd is None else f"${usd:,.4f}" for usd in (each.usd_per_clip, each.usd_per_second)]
        paid = f"${each.usd_micros / 1_000_000:,.4f}"
        cost.add_row(_words(each.of), str(each.clips), f"{each.clips_ms / 1_000:.0f}", paid, *shares)
    return Group(came, cost)


def _table(words: Sequence[str], *figures: str) -> Table:
    """Begin a table of figures, shown whole; the words of a line stand below each other, folded if need be."""
    shown = [Column(each, justify="right", no_wrap=True) for each in figures]
    return Table(Column("\n".join(words), overflow="fold"), *shown, box=SIMPLE_HEAD, collapse_padding=True)


def _words(of: Mapping[str, str]) -> str:
    """Write what a line is of."""
    return escape("\n".join(of.values()))


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
    except BackwardsError as error:
        raise UsageError(f"--{error}: nothing lies between them") from error
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
    on_store(config, lambda store: store.halt(why), older=True)
    print("nothing is bought until `reelgate go-on`")


def go_on(*, config: Config = None) -> None:
    """
    Buy again.

    Parameters
    ----------
    config
        The gateway's config.toml.
    """
    on_store(config, lambda store: store.go_on(), older=True)
    print("purchases go on")
