"""``reelgate generate``: one clip, from the prompt to a file."""

import asyncio
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.common import DEFAULT_URL, Url, UsageError, call, client, plain
from gateway.cli.gate import Gate, Video, files_of, try_places
from gateway.cli.streams import complain, unbroken
from gateway.cli.wanted import Wanted, call_of
from gateway.cli.watch import clips_of, places

OPEN = Wanted()


def generate(
    prompt: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("clip.mp4"),
    wanted: Wanted = OPEN,
    url: Url = DEFAULT_URL,
) -> None:
    """
    Make one clip and keep it as a file.

    Parameters
    ----------
    prompt
        What the clip should show.
    out
        Where to put it, a file or a folder; several are numbered.
    url
        The gateway.
    """
    with client(url) as http:
        body = call_of(prompt, wanted, partial(_uploaded, http))
    asyncio.run(make(url, Console(), body, out))


def _uploaded(http: httpx.Client, path: Path) -> dict[str, str]:
    """Upload a file, and name it."""
    with path.open("rb") as file:
        kept = call(http, "POST", "/v1/files", files={"file": (path.name, file)}, data={"purpose": "vision"})
    return {"file_id": kept["id"]}


async def make(url: str, console: Console, body: dict[str, Any], out: Path) -> None:
    """
    Order clips, watch them being made, download them, and say what they are, for as long as that can be shown.

    :param out: a file, or a folder that is there: what goes there is named by the video's id.
    :raises UsageError: when it is refused or not made, or has no place; what is ordered by then is said.
    """
    folder = _place(out, body.get("n", 1))
    async with Gate(url) as gate:
        headers = {"idempotency-key": f"generate-{secrets.token_hex(16)}"}
        try:
            video = await gate.call("POST", "/v1/videos", json=body, headers=headers, patient=False)
        except asyncio.CancelledError:
            complain("stopped; it may have been ordered: see `reelgate jobs list`")
            raise
        except UsageError as error:
            if error.doubtful:
                raise UsageError(f"{error}; it may have been ordered: see `reelgate jobs list`") from error
            raise
        command = f"reelgate watch {video['id']} --download --out {shlex.quote(str(folder or out.parent))}"
        with _going_on(console, command):
            console.print(f"{video['id']} ordered", highlight=False, markup=False)
            video = await watch(gate, console, video)
            clips = clips_of(video)
            files = places(video, folder) if folder else [Path(each) for each in files_of(str(out), len(clips))]
            for clip, file in zip(clips, files, strict=True):
                await gate.save(video["id"], clip, file)
                console.print(facts(clip, file), highlight=False, markup=False)
            for line in cost(video) if video["status"] == "completed" else []:
                console.print(line, highlight=False, markup=False)
    if video["status"] != "completed":
        raise UsageError(f"{video['id']} was not made: {plain(video['error']['message'])}")


def _place(out: Path, count: int) -> Path | None:
    """
    Make sure that there is a place for clips; the folder, where it is one.

    :raises UsageError: when there is none.
    """
    try:
        folder = out if out.is_dir() else None
    except OSError:  # Too long a name, which the try says in words.
        folder = None
    try_places([folder / "clip.mp4"] if folder else map(Path, files_of(str(out), count)))
    return folder


@contextmanager
def _going_on(console: Console, command: str) -> Iterator[None]:
    """
    Say by which command to go on with what is ordered, where something comes between; without a screen it goes on.

    :raises UsageError: with that beside what came between.
    """
    onward = f"what was ordered goes on at the gateway: {command}"
    try:
        with unbroken(console, lambda error: complain(f"nothing can be shown ({error.strerror}); {onward}")):
            yield
    except asyncio.CancelledError:
        complain(f"stopped; {onward}")
        raise
    except (OSError, UsageError) as error:
        raise UsageError(f"{error}; {onward}") from error


async def watch(gate: Gate, console: Console, video: Video) -> Video:
    """Show a video's progress until it has ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(video["status_detail"], total=100)
        async for moved in gate.follow(video["id"]):
            video = moved
            progress.update(bar, description=f"{video['status_detail']:<11}", completed=video["progress"])
    return video


def facts(clip: dict[str, Any], out: Path) -> str:
    """Say what a finished clip really is, as the gateway measured it."""
    sound = f"{clip['audio_codec']} sound" if clip["has_audio"] else "no sound"
    picture = f"{clip['codec']} {clip['width']}x{clip['height']}, {clip['duration_seconds']:g} s at {clip['fps']:g} fps"
    return f"{out}  {clip['bytes']:,} bytes\n  {picture}, {sound}"


def cost(video: Video) -> list[str]:
    """Say who made a video, and for how much."""
    return [
        f"  {video['id']}, made by {video['provider']} as {video['resolved_model']} for ${video['usage']['cost']:.4f}",
        *(f"  note: {plain(each['details'])}" for each in video["warnings"]),
    ]
