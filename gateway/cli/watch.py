"""``reelgate watch``: follow videos to their end, as it happens."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli.common import DEFAULT_URL, Url, plain
from gateway.cli.gate import UNDER_WAY, Gate, Video, files_of

FAILED_CODE = 1


def watch(
    ids: Annotated[tuple[str, ...], Parameter(name="ID", required=True)],
    /,
    *,
    download: Annotated[bool, Parameter(negative="")] = False,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path(),
    url: Url = DEFAULT_URL,
) -> None:
    """
    Follow videos to their end; 0 when all were made, else 1.

    Parameters
    ----------
    ids
        The videos' ids.
    download
        Keep their clips, each under its video's id.
    out
        Where to.
    url
        The gateway.
    """
    console = Console()
    names = [*dict.fromkeys(ids)]
    ended = asyncio.run(_watch(console, names, url, out if download else None))
    if any(video["status"] != "completed" for video in ended):
        sys.exit(FAILED_CODE)


async def _watch(console: Console, ids: list[str], url: str, out: Path | None) -> list[Video]:
    """
    Follow every video, and download what was made.

    :raises UsageError: for an id nobody knows, before anything is followed.
    """
    async with Gate(url, most=len(ids)) as gate:
        first = [await gate.video(id_, patient=False) for id_ in ids]
        with _Bars(console) if console.is_terminal else _Lines(console) as shown:

            async def one(video: Video) -> Video:
                shown.moved(video)
                if video["status"] in UNDER_WAY:
                    async for moved in gate.follow(video["id"]):
                        video = moved
                        shown.moved(video)
                files = await save(gate, video, out) if out is not None else []
                shown.ended(video, files)
                return video

            return await asyncio.gather(*map(one, first))


async def save(gate: Gate, video: Video, folder: Path) -> list[Path]:
    """Download every clip of a video, under its id."""
    files = places(video, folder)
    for clip, file in zip(clips_of(video), files, strict=True):
        await gate.save(video["id"], clip, file)
    return files


def clips_of(video: Video) -> list[dict[str, Any]]:
    """List the clips of a video."""
    return [each for each in video["outputs"] if each["kind"] == "video"]


def places(video: Video, folder: Path) -> list[Path]:
    """Name a file in a folder for every clip of a video, by its id."""
    clips = clips_of(video)
    suffix = clips[0]["content_type"].rpartition("/")[2].replace("quicktime", "mov") if clips else ""
    return [folder / name for name in files_of(f"{video['id']}.{suffix}", len(clips))] if clips else []


def standing(video: Video) -> str:
    """Write how a video stands: where, how far, behind whom, how long it will take, at what price."""
    line = f", {video['queue_position']}. in line" if video.get("queue_position") else ""
    eta = f", about {video['eta_seconds']} s to go" if video["eta_seconds"] else ""
    return f"{video['status_detail']} at {video['provider']}, {video['progress']:.0f}%{line}{eta}, {price(video)}"


def price(video: Video) -> str:
    """Write what a video costs, and whether that is settled."""
    usage = video["usage"]
    word = {"billed": "", "not_billed": "", "possibly_billed": " in doubt"}.get(usage["billing"], " quoted")
    return f"${usage['cost']:.4f}{word}"


def end_of(video: Video, files: list[Path]) -> str:
    """Write what came of a video."""
    if video["error"]:
        return f"{video['id']} {video['status_detail']}: {plain(video['error']['message'])} ({price(video)})"
    kept = f" as {' '.join(map(str, files))}" if files else ""
    notes = "".join(f"\n  note: {plain(each['details'])}" for each in video["warnings"])
    return f"{video['id']} made by {video['provider']} as {video['resolved_model']} for {price(video)}{kept}{notes}"


class _Lines:
    """Write a line whenever a video stands otherwise."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, tuple[str, int]] = {}
        self._write: Callable[[str], None] = lambda text: console.print(
            text, highlight=False, soft_wrap=True, markup=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def moved(self, video: Video) -> None:
        """Write how it stands, every tenth of the way."""
        looks = (video["status_detail"], video["progress"] // 10)
        if video["status"] in UNDER_WAY and self._told.get(video["id"]) != looks:
            self._told[video["id"]] = looks
            self._write(f"{video['id']} {standing(video)}")

    def ended(self, video: Video, files: list[Path]) -> None:
        """Write what came of it."""
        self._write(end_of(video, files))


class _Bars:
    """Draw a bar for every video."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.fields[id]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def moved(self, video: Video) -> None:
        """Draw how it stands."""
        if video["id"] not in self._bars:
            self._bars[video["id"]] = self._progress.add_task("", total=100, id=video["id"])
        self._progress.update(self._bars[video["id"]], description=escape(standing(video)), completed=video["progress"])

    def ended(self, video: Video, files: list[Path]) -> None:
        """Write what came of it, above the bars."""
        self._progress.console.print(escape(end_of(video, files)), highlight=False)
