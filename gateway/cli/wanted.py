"""What a clip wanted from the terminal is: the same flags for every command, and the call they make."""

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from gateway.cli.common import UsageError
from gateway.settings import Policy

TASKS = {
    "text": "text_to_video",
    "first_frame": "image_to_video",
    "frames": "image_to_video",
    "reference": "reference_to_video",
    "edit": "edit",
    "extend": "extend",
    "upscale": "upscale",
}
"""What the API calls each mode."""

Hand = Callable[[Path], dict[str, str]]
"""Gives the gateway a file, and says how a call names it."""


def flag(text: str) -> Parameter:
    """Describe a flag."""
    return Parameter(help=text, negative="")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Hold the flags that say what a clip should be and who may make it; what is left out stays open."""

    model: Annotated[str | None, flag("A model, alias or offer; auto for every model there is.")] = None
    seconds: Annotated[int | None, flag("How long it is.")] = None
    resolution: Annotated[str | None, flag("720p, 1080p, 4k.")] = None
    aspect_ratio: Annotated[str | None, flag("16:9, 9:16.")] = None
    audio: Annotated[bool | None, Parameter(help="Whether it has sound.")] = None
    n: Annotated[int | None, flag("How many of it.")] = None
    seed: Annotated[int | None, flag("The same number, the same clip, where a provider keeps to it.")] = None
    mode: Annotated[
        Literal["text", "first_frame", "frames", "reference", "edit", "extend", "upscale"] | None,
        flag("How it is made; by default as the pictures or the clip given imply."),
    ] = None
    image: Annotated[Path | None, flag("A picture it starts from.")] = None
    last_image: Annotated[Path | None, flag("A picture it ends with.")] = None
    reference: Annotated[tuple[Path, ...], flag("A picture that guides it; several times for several.")] = ()
    video: Annotated[str | None, flag("A clip to edit, extend or upscale: a file, or the id of an earlier one.")] = None
    provider: Annotated[tuple[str, ...], flag("Who may make it; several times for several.")] = ()
    policy: Annotated[Policy | None, flag("How an offer is chosen.")] = None
    max_cost: Annotated[str | None, flag("The most it may cost, in dollars.")] = None


def call_of(prompt: str, wanted: Wanted, hand: Hand) -> dict[str, Any]:
    """
    Write a create call with what was said, leaving the rest open.

    :raises UsageError: when a file cannot be read.
    """
    said: dict[str, Any] = {
        "prompt": prompt,
        "model": wanted.model,
        "seconds": wanted.seconds,
        "resolution": wanted.resolution,
        "aspect_ratio": wanted.aspect_ratio,
        "generate_audio": wanted.audio,
        "n": wanted.n,
        "seed": wanted.seed,
        "task": TASKS.get(wanted.mode or ""),
        "max_cost_usd": wanted.max_cost,
        "frame_images": [
            {**_handed(path, hand), "frame_type": kind}
            for path, kind in ((wanted.image, "first_frame"), (wanted.last_image, "last_frame"))
            if path
        ],
        "input_references": [_handed(path, hand) for path in wanted.reference],
        "video": _clip(wanted.video, hand) if wanted.video else None,
        "provider": {
            **({"only": [*wanted.provider]} if wanted.provider else {}),
            **({"policy": wanted.policy} if wanted.policy else {}),
        },
    }
    return {name: value for name, value in said.items() if value not in (None, [], {})}


def inline(path: Path) -> dict[str, str]:
    """Hand a file over inside the call, so that nothing is kept."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"url": f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"}


def _clip(said: str, hand: Hand) -> dict[str, str]:
    """Name a clip: an earlier one by its id, else a file."""
    return {"id": said} if said.startswith("video_") and not Path(said).exists() else _handed(Path(said), hand)


def _handed(path: Path, hand: Hand) -> dict[str, str]:
    """
    Hand a file over.

    :raises UsageError: when it cannot be read.
    """
    try:
        return hand(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
