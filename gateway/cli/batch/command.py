"""``reelgate batch``: the command."""

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators
from msgspec import Struct
from rich.console import Console

from gateway.cli.batch.plan import Line, plan, refuse
from gateway.cli.batch.results import ORDERED, ORDERING, Batch, Result, Results
from gateway.cli.batch.run import Move, Quoted, Run, lies_in, move_of
from gateway.cli.batch.screen import end_of, screen_of, show_quotes, sum_usd, summary
from gateway.cli.batch.sheet import Row, SheetError, read_sheet
from gateway.cli.common import DEFAULT_URL, Url, UsageError
from gateway.cli.gate import Gate, sum_of, try_places
from gateway.settings import micros

FAILED_CODE = 1
STOPPED_CODE = 130


class Terms(Struct, frozen=True, kw_only=True):
    """Hold what may be spent without asking."""

    yes: bool
    most: int | None
    """The most this run may cost, in micro-dollars."""
    ask_above: int


def batch(
    prompts: Path,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    results: Path | None = None,
    default: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    at_once: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=64))] = 4,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    max_cost: str = "",
    ask_above: str = "0",
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """
    Make many clips from one file: quote them all, buy each once, download them.

    Stop it whenever you like and give the same command again: nothing is bought twice.

    Parameters
    ----------
    prompts
        A JSON list (or an object with defaults and a list), JSON Lines, or CSV: a create call a line.
    out
        Where the clips go; by default a folder beside the file, of its name.
    results
        Where it is kept what became of every line; by default beside the file, as NAME.results.jsonl.
    default
        NAME=VALUE, what every line has that does not say otherwise; several times for several.
    at_once
        How many clips are under way at the same time.
    yes
        Buy without asking.
    max_cost
        Buy without asking, and only if what is to be bought is quoted at no more than so many dollars in all.
    ask_above
        Ask only where more than so many dollars would be spent.
    retry_failed
        Buy again what failed in an earlier run.
    dry_run
        Quote, and buy nothing.
    url
        The gateway.
    """
    console, url = Console(), url.rstrip("/")
    most = _usd("--max-cost", max_cost) if max_cost else None
    terms = Terms(yes=yes, most=most, ask_above=_usd("--ask-above", ask_above))
    try:
        sheet = read_sheet(prompts.name, prompts.read_bytes())
    except OSError as error:
        raise UsageError(f"{prompts} cannot be read: {error.strerror}") from error
    folder = out or prompts.with_suffix("")
    kept_in = results or prompts.with_name(f"{prompts.stem}.results.jsonl")
    with Results(kept_in) as kept:
        _check(kept, prompts.name, url)
        known = {each.line: each.file for each in kept.lines.values()}
        lines = plan(sheet, prompts.parent, sum_of, more=_defaults(default), named=known)
        moves = _moves(lines, kept, folder, retry=retry_failed)
        buying = [line for line in lines if moves[line.id] is Move.BUY]
        going = [(line, moves[line.id]) for line in lines if moves[line.id] not in {Move.BUY, Move.NOTHING}]
        refuse(_in_the_way(buying, folder, kept))
        if kept.batch is None:
            kept.keep(Batch(id=secrets.token_hex(8), input=prompts.name, gateway=url))
        quotes = asyncio.run(_quote(url, kept, folder, buying, at_once)) if buying or going else []
        _tell(console, len(lines) - len(buying) - len(going), len(going), quotes)
        gone = _gone(lines, kept)
        if gone:
            print(f"{gone} ordered in an earlier run stand no more in the file: see `reelgate jobs`", file=sys.stderr)
        if dry_run:
            return
        _agree(terms, quotes)
        due = [*going, *((each.line, Move.BUY) for each in quotes)]
        if due:
            _make(console, url, kept, folder, due, quotes, at_once)
        ended = [kept.lines[id_] for id_ in [*moves, *(each.line.id for each in quotes)] if id_ in kept.lines]
        sound = _told(console, [*{each.line: each for each in ended}.values()])
        console.print(f"clips in {folder}, results in {kept_in}", highlight=False, soft_wrap=True, markup=False)
    if not sound:
        sys.exit(FAILED_CODE)


def _moves(lines: Sequence[Line], kept: Results, folder: Path, *, retry: bool) -> dict[str, Move]:
    """Decide what is to be done for every line."""
    now, whole = time.time(), lies_in(folder)
    return {line.id: move_of(kept.lines.get(line.id), line.file, retry=retry, now=now, whole=whole) for line in lines}


def _gone(lines: Sequence[Line], kept: Results) -> int:
    """Count what may be under way for lines that were taken out of the file."""
    ids = {line.id for line in lines}
    return sum(each.line not in ids and each.status in {ORDERING, ORDERED} for each in kept.lines.values())


def _tell(console: Console, done: int, going: int, quotes: Sequence[Quoted]) -> None:
    """Say what needs not be bought, and what the rest would cost."""
    parts = [*([f"{done} ended in an earlier run"] if done else []), *([f"{going} go on"] if going else [])]
    if parts:
        console.print("; ".join(parts), highlight=False)
    if quotes:
        show_quotes(console, quotes)


def _told(console: Console, ended: Sequence[Result]) -> bool:
    """Say what came of a batch; whether all of it was made."""
    bad = [each for each in ended if each.fault is not None]
    console.print(summary(ended), highlight=False, soft_wrap=True)
    for each in bad:
        console.print(f"  {end_of(each)}", highlight=False, soft_wrap=True, markup=False)
    if bad:
        console.print("--retry-failed buys again what failed", highlight=False)
    return not bad


async def _quote(url: str, kept: Results, folder: Path, lines: Sequence[Line], at_once: int) -> list[Quoted]:
    """
    Ask what lines would cost; with none, only whether a gateway answers.

    :raises SheetError: naming those that nobody can make.
    """
    async with Gate(url, most=at_once) as gate:
        quotes, faults = await Run(gate, kept, folder).quote(lines, at_once)
    refuse(faults)
    return quotes


def _make(
    console: Console,
    url: str,
    kept: Results,
    folder: Path,
    due: Sequence[tuple[Line, Move]],
    quotes: Sequence[Quoted],
    at_once: int,
) -> None:
    """
    Do what is to be done; Ctrl-C says how to go on.

    :raises UsageError: when there is no place for clips, before anything is bought, or nobody answers any more.
    """
    try_places(folder / file for line, move in due if move is Move.BUY for file in line.files)

    async def run() -> None:
        async with Gate(url, most=at_once) as gate:
            with screen_of(console, len(due)) as screen:
                by_line = {each.line.id: each for each in quotes}
                await Run(gate, kept, folder).make(due, by_line, screen, at_once)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        print("stopped; what was ordered goes on at the gateway: give the same command again", file=sys.stderr)
        sys.exit(STOPPED_CODE)
    except UsageError as error:
        raise UsageError(f"{error}; what was bought is kept in {kept.path}: give the same command again") from error


def _agree(terms: Terms, quotes: Sequence[Quoted]) -> None:
    """
    Have the price agreed to.

    :raises UsageError: when it is not.
    """
    total = sum_usd(each.usd for each in quotes)
    micro = round(total * 1_000_000)
    if terms.most is not None and micro > terms.most:
        raise UsageError(f"${total:.4f} is more than --max-cost; nothing was bought")
    if terms.yes or terms.most is not None or micro <= terms.ask_above:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this would spend ${total:.4f}: say --yes, or --max-cost USD; nothing was bought")
    if input(f"Spend ${total:.4f}? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was bought")


def _check(kept: Results, name: str, url: str) -> None:
    """
    Refuse results of another batch, or of calls another gateway may have heard.

    :raises UsageError: saying whose they are.
    """
    if kept.batch is None:
        return
    if kept.batch.input != name:
        raise UsageError(f"{kept.path} holds what became of {kept.batch.input}: name another file with --results")
    open_ = [each.where for each in kept.lines.values() if each.status == ORDERING]
    if open_ and kept.batch.gateway != url:
        raise UsageError(
            f"{open_[0]} may have been bought at {kept.batch.gateway}: go on there (--url), not at {url}, "
            "or begin anew with --results"
        )


def _in_the_way(lines: Sequence[Line], folder: Path, kept: Results) -> list[str]:
    """Find files a purchase would write over that no earlier run has written."""
    ours = {clip.file for each in kept.lines.values() for clip in each.clips}
    return [
        f"{line.where}, file: {folder / file} is there already; move it away, or choose another --out"
        for line in lines
        for file in line.files
        if file not in ours and (folder / file).exists()
    ]


def _defaults(said: tuple[str, ...]) -> Row | None:
    """
    Read ``--default``.

    :raises SheetError: when one is no NAME=VALUE.
    """
    pairs = [each.partition("=") for each in said]
    for each, (name, equals, value) in zip(said, pairs, strict=True):
        if not (name and equals and value):
            raise SheetError(f"--default takes NAME=VALUE, not {each!r}")
    return Row(where="--default", fields={name: value for name, _, value in pairs}, text=True) if pairs else None


def _usd(flag: str, text: str) -> int:
    """
    Read dollars as micro-dollars.

    :raises UsageError: when they are none.
    """
    found = micros(text)
    if found is None:
        raise UsageError(f"{flag} is a number of dollars")
    return found
