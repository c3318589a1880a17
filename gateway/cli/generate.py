"""``reelgate generate``: one clip, from the prompt to a file."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.common import DEFAULT_URL, Url, UsageError, call, client
from gateway.cli.wanted import Wanted, call_of

OPEN = Wanted()
LOST_SECONDS = 60
"""How long a gateway that is restarting is waited for; the job goes on without us."""


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
        Where to put it.
    url
        The gateway.
    """
    with client(url) as http:
        make(http, Console(), call_of(prompt, wanted, partial(_uploaded, http)), out)


def _uploaded(http: httpx.Client, path: Path) -> dict[str, str]:
    """Upload a file, and name it."""
    with path.open("rb") as file:
        kept = call(http, "POST", "/v1/files", files={"file": (path.name, file)}, data={"purpose": "vision"})
    return {"file_id": kept["id"]}


def make(http: httpx.Client, console: Console, body: dict[str, Any], out: Path) -> dict[str, Any]:
    """
    Order a clip, watch it being made, download it, and say what it is.

    :raises UsageError: when it is refused or not made.
    """
    video = watch(http, console, call(http, "POST", "/v1/videos", json=body))
    if video["status"] != "completed":
        raise UsageError(f"{video['id']} was not made: {video['error']['message']}")
    save(http, video["id"], out)
    for line in facts(video, out):
        console.print(line, highlight=False)
    return video


def watch(http: httpx.Client, console: Console, video: dict[str, Any]) -> dict[str, Any]:
    """Show a video's progress until it has ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    seen = time.monotonic()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(video["status_detail"], total=100)
        while True:
            progress.update(bar, description=f"{video['status_detail']:<11}", completed=video["progress"])
            if video["status"] not in {"queued", "in_progress"}:
                return video
            time.sleep(0.25)
            try:
                video = call(http, "GET", f"/v1/videos/{video['id']}")
                seen = time.monotonic()
            except UsageError:
                if time.monotonic() - seen > LOST_SECONDS:
                    raise


def save(http: httpx.Client, video_id: str, out: Path) -> None:
    """
    Download a clip; the file appears under its name only when it is whole.

    :raises UsageError: when it cannot be had or written.
    """
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with http.stream("GET", f"/v1/videos/{video_id}/content") as answer, part.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
        part.replace(out)
    except (httpx.HTTPError, OSError) as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{video_id} could not be saved as {out}: {error}") from error


def facts(video: dict[str, Any], out: Path) -> list[str]:
    """Say what a finished clip really is, as the gateway measured it."""
    clip = next(each for each in video["outputs"] if each["kind"] == "video")
    sound = f"{clip['audio_codec']} sound" if clip["has_audio"] else "no sound"
    picture = f"{clip['codec']} {clip['width']}x{clip['height']}, {clip['duration_seconds']:g} s at {clip['fps']:g} fps"
    return [
        f"{out}  {clip['bytes']:,} bytes",
        f"  {picture}, {sound}",
        f"  {video['id']}, made by {video['provider']} as {video['resolved_model']} for ${video['usage']['cost']:.4f}",
        *(f"  note: {each['details']}" for each in video["warnings"]),
    ]
