"""``reelgate generate``: one clip, from the prompt to a file."""

import asyncio
import secrets
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.common import DEFAULT_URL, Url, UsageError, call, client, plain
from gateway.cli.gate import Gate, Video, files_of
from gateway.cli.wanted import Wanted, call_of

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
        Where to put it; several are numbered.
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
    Order clips, watch them being made, download them, and say what they are.

    :raises UsageError: when it is refused or not made.
    """
    async with Gate(url) as gate:
        headers = {"idempotency-key": f"generate-{secrets.token_hex(16)}"}
        video = await gate.call("POST", "/v1/videos", json=body, headers=headers, patient=False)
        video = await watch(gate, console, video)
        if video["status"] != "completed":
            raise UsageError(f"{video['id']} was not made: {plain(video['error']['message'])}")
        clips = [each for each in video["outputs"] if each["kind"] == "video"]
        files = [Path(each) for each in files_of(str(out), len(clips))] if clips else []
        for clip, file in zip(clips, files, strict=True):
            await gate.save(video["id"], clip, file)
            console.print(facts(clip, file), highlight=False, markup=False)
    for line in cost(video):
        console.print(line, highlight=False, markup=False)


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
