"""
What the sandbox's company keeps of a task, and how it is rendered: all that a rendering process needs to know.

A task is a few files named after it. :mod:`providers._studio` takes orders and answers; this is read on both sides.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
from msgspec import Struct

from providers.base.order import Role

MAGIC: Mapping[str, str] = {
    "fail": "taken, then fails; not billed",
    "refuse": "taken, then refused by the content policy",
    "reject": "answered 400: a value is wrong",
    "block": "answered 422: the content policy forbids it",
    "throttle": "the first order answered 429 with Retry-After: 1, the next taken; [throttle 3]: the first three",
    "unavailable": "the first order answered 503 and not taken, the next taken; [unavailable 3]: the first three",
    "unauthorized": "answered 401",
    "exhausted": "answered 402",
    "vanish": "taken, and every look answered 404",
    "slow": "[slow 5]: takes at least 5 seconds, progress moving evenly",
    "stuck": "renders for ever",
    "lost": "taken, but the answer never comes",
    "garbage": "taken, and answered with something that is not JSON",
    "strange": "two looks show a state nobody knows, then it goes on",
    "dead": "done, but the clip's address answers 404",
    "html": "done, but the clip's address serves a web page",
    "short": "the clip is a second shorter than ordered",
}
"""Words in brackets and what they do to an order whose prompt holds them."""

ENDS = {
    "fail": ("failed", 0, {"code": "render_failed", "message": "the prompt asks to fail"}),
    "refuse": ("refused", 0, {"code": "content_policy", "message": "the content policy forbids the result"}),
}
"""Magic that ends a task badly."""
UNDRAWN = frozenset({"fail", "refuse", "vanish", "stuck", "dead", "html"})
"""Magic that leaves nobody a clip to see, so that none is rendered."""
SPELL = re.compile(rf"\[({'|'.join(MAGIC)})(?: +(\d{{1,6}}(?:\.\d{{1,3}})?))?\]")


def spells(prompt: str) -> dict[str, float]:
    """Find the magic in a prompt, each word with its number."""
    return {word: float(number or 1) for word, number in SPELL.findall(prompt)}


class Task(Struct, frozen=True):
    """Hold what was taken under a name; where it stands is read off the files beside it."""

    folder: Path
    name: str
    order: dict[str, Any]
    taken: float
    magic: dict[str, float]

    @classmethod
    def read(cls, folder: Path, name: str) -> "Task":
        """
        Find a task.

        :raises FileNotFoundError: when there is none.
        """
        record = msgspec.json.decode((folder / f"{name}.json").read_bytes())
        return cls(folder, name, record["order"], record["taken"], spells(record["order"]["prompt"]))

    def fail(self, code: str, message: str) -> None:
        """Give it up."""
        keep(self.file(".failed"), msgspec.json.encode({"code": code, "message": message}))

    def file(self, ending: str) -> Path:
        """Name one of its files."""
        return self.folder / f"{self.name}{ending}"

    def clips(self) -> list[Path]:
        """Name its clips."""
        return [self.file(f"-{index}.{self.order['container']}") for index in range(self.order["n"])]

    @property
    def drawn(self) -> bool:
        """Whether there is anything to render."""
        return not self.magic.keys() & UNDRAWN

    def state(self, now: float) -> tuple[str, int, Any]:
        """Say its state, progress and error."""
        if self.file(".cancelled").exists():
            return "cancelled", 0, None
        if self.file(".failed").exists():
            return "failed", 0, msgspec.json.decode(self.file(".failed").read_bytes())
        made = 42 if "stuck" in self.magic else 100
        if self.drawn and not all(clip.exists() for clip in self.clips()):
            if not self.file(".note").exists():
                return "queued", 0, None
            made = min(99, int(self.file(".note").read_bytes() or 0))
        slow = self.magic.get("slow", 0)
        progress = min(made, int(100 * max(0.0, now - self.taken) / slow)) if slow else made
        if progress < 100:
            return "rendering", progress, None
        return next((end for word, end in ENDS.items() if word in self.magic), ("done", 100, None))


def make(folder: str, name: str) -> None:
    """Render what is missing of a task; runs in the rendering process."""
    task = Task.read(Path(folder), name)
    note = os.open(task.file(".note"), os.O_RDWR | os.O_CREAT)
    try:
        # Another gateway on the same folder may be at it; the lock goes with whoever holds it.
        with suppress(BlockingIOError, CancelledError):
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _draw(task, lambda percent: os.pwrite(note, b"%3d" % percent, 0))
    except Exception as error:  # noqa: BLE001 - whatever it was, the task must not hang
        code = getattr(error, "code", "")
        task.fail(code or "render_failed", str(error) if code else f"cannot render: {type(error).__name__}")
    finally:
        os.close(note)


def _draw(task: Task, note: Callable[[int], object]) -> None:
    """Render each clip of a task that is not there yet, noting how far it is."""
    from providers import _render  # noqa: PLC0415 - only a renderer carries ffmpeg and Pillow

    order = task.order
    seed = order.get("seed")
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(task.name.encode()).digest()[:4])
    files = [(Role(each["role"]), each["media_type"], task.folder / each["file"]) for each in order["inputs"]]
    shown = -1

    def told(clips: float) -> None:
        nonlocal shown
        if (percent := int(100 * clips / order["n"])) != shown:
            if task.file(".cancelled").exists():
                raise CancelledError
            note(percent)
            shown = percent

    for index, clip in enumerate(task.clips()):
        part = part_of(clip)
        if not clip.exists():
            wanted = {**order, "seed": seed + index, "short": "short" in task.magic}
            try:
                _render.render(wanted, files, part, lambda done, at=index: told(at + done))  # type: ignore[misc]
                with part.open("rb") as made:
                    os.fsync(made)
                part.replace(clip)
            finally:
                part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Name the file that becomes another when it is whole."""
    return path.with_name(f"{path.name}.{token_hex(4)}.part")


def keep(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, and stays."""
    part = part_of(path)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file)
    part.replace(path)
