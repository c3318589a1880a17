"""Show a batch: what it would cost, how it goes on, and what came of it; bars on a terminal, plain lines elsewhere."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from gateway.cli.batch.results import COMPLETED, Result
from gateway.cli.batch.run import Quoted
from gateway.cli.common import plain
from gateway.cli.gate import Video
from gateway.cli.quote import clip_of


class Plain:
    """Write a line for everything that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[tuple[str, bool]] = set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def moved(self, result: Result, video: Video) -> None:
        """Write that a line was ordered, and where nobody knows whether its provider took it."""
        lost = video["status_detail"] == "unknown"
        if (result.line, lost) in self._told:
            return
        self._told.add((result.line, lost))
        word = "nobody knows yet whether it was taken" if lost else "ordered"
        self._console.print(
            f"{result.where}: {video['id']} {word} at {video['provider']}", highlight=False, soft_wrap=True
        )

    def ended(self, result: Result) -> None:
        """Write what became of a line."""
        self._console.print(escape(end_of(result)), highlight=False, soft_wrap=True)


class Bars:
    """Draw a bar for the batch, and one for every video under way."""

    def __init__(self, console: Console, total: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._total = total
        self._ended = 0
        self._whole = self._progress.add_task("batch", total=total, count=f"0/{total}")
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave what was drawn."""
        self._progress.stop()

    def moved(self, result: Result, video: Video) -> None:
        """Draw how a line's video stands."""
        if result.line not in self._bars:
            self._bars[result.line] = self._progress.add_task("", total=100, count="")
        self._progress.update(
            self._bars[result.line],
            description=escape(f"{result.where}: {video['status_detail']} at {video['provider']}"),
            completed=video["progress"],
            count=f"{video['progress']:.0f}%",
        )

    def ended(self, result: Result) -> None:
        """Write what became of a line above the bars, and take its own away."""
        if result.line in self._bars:
            self._progress.remove_task(self._bars.pop(result.line))
        self._ended += 1
        self._progress.update(self._whole, completed=self._ended, count=f"{self._ended}/{self._total}")
        self._progress.console.print(escape(end_of(result)), highlight=False)


def screen_of(console: Console, total: int) -> Plain | Bars:
    """Choose how a batch is shown."""
    return Bars(console, total) if console.is_terminal else Plain(console)


def end_of(result: Result) -> str:
    """Write what became of a line."""
    if result.fault is not None:
        word = "made, but not downloaded" if result.status == COMPLETED else result.status
        return f"{result.where}: {word}: {plain(result.fault.message)}"
    files = " ".join(clip.file for clip in result.clips)
    return f"{result.where}: {files}  {result.video} by {result.provider} for ${result.charged_usd:.4f}"


def show_quotes(console: Console, quotes: Sequence[Quoted]) -> None:
    """Show what every line would cost, and where."""
    total = sum_usd(each.usd for each in quotes)
    if not console.is_terminal:
        for each in quotes:
            console.print(
                escape(f"{each.line.where}: ${each.usd:.4f} at {each.offer}, {clip_of(each.spec)}"),
                highlight=False,
                soft_wrap=True,
            )
    else:
        table = Table(
            Column("line", no_wrap=True),
            Column("prompt", no_wrap=True, overflow="ellipsis", ratio=1),
            Column("clip", no_wrap=True),
            Column("offer", overflow="fold"),
            Column("price", justify="right", no_wrap=True),
            box=SIMPLE_HEAD,
        )
        for each in quotes:
            line = each.line
            table.add_row(line.where, escape(plain(line.prompt)), clip_of(each.spec), each.offer, f"${each.usd:.4f}")
        console.print(table)
    console.print(f"{len(quotes)} to buy, quoted ${total:.4f} in all", highlight=False)


def summary(results: Sequence[Result]) -> str:
    """Write what came of a batch, and what it cost, over all its runs."""
    made = [each for each in results if each.status == COMPLETED and each.fault is None]
    failed = [each for each in results if each.fault is not None]
    under_way = len(results) - len(made) - len(failed)
    parts = [
        f"{len(made)} made",
        *([f"{len(failed)} failed"] if failed else []),
        *([f"{under_way} under way"] if under_way else []),
    ]
    quoted = sum_usd(each.quoted_usd for each in results)
    charged = sum_usd(each.charged_usd for each in results if each.billing != "possibly_billed")
    doubt = sum_usd(each.charged_usd for each in results if each.billing == "possibly_billed")
    in_doubt = f", ${doubt:.4f} in doubt" if doubt else ""
    return f"{', '.join(parts)}; quoted ${quoted:.4f}, charged ${charged:.4f}{in_doubt}"


def sum_usd(amounts: Iterable[float]) -> float:
    """Add up dollars in whole micro-dollars."""
    return sum(round(each * 1_000_000) for each in amounts) / 1_000_000
