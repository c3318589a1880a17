"""``reelgate spend``, ``halt`` and ``go-on``: what was spent, and the switch that stops it."""

import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from gateway.cli.common import Config, UsageError
from gateway.cli.store import now, on_store
from gateway.spending import BY, add_up, window


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
    words = [each for each in by.split(",") if each]
    if not words or {*words} - {*BY} or len(set(words)) < len(words):
        raise UsageError(f"--by names some of {', '.join(BY)}, each once")
    try:
        first, last = window(since, until, now())
    except (ValueError, OverflowError) as error:
        raise UsageError("--since and --until are days: 2026-11-01") from error
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
