"""
The sandbox's company: a small REST service inside the process, spoken to over httpx like any other.

::

    POST   /tasks                the order, inputs as base64   201 the task; 200 when it is known already
    GET    /tasks/{id}                                         200 the task; 404 unknown
    DELETE /tasks/{id}           cancel                        200 the task
    GET    /clips/{id}/{i}.mp4   ``Range: bytes=N-`` resumes   200, 206 the clip; 404 there is none

    task:  {"id", "state", "progress", "poll_after_ms", "clips": [{"index", "url"}], "error"}
    state: queued rendering done failed refused cancelled
    error: {"code", "message"}, or null

A task is a few files named after it, on disk before its order is answered; what is not there after a
crash is rendered again when somebody asks. No task costs a thread or a timer, only a place in the
renderers' queue. A word in brackets anywhere in the prompt makes trouble: see :data:`~providers._task.MAGIC`.
"""

import asyncio
import os
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, Future
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import httpx
import msgspec
from msgspec import Meta, Raw, Struct

from providers._task import Task, keep, make, spells
from providers.base.order import AS_LONG, Mode, Role, frame_size

ANSWERS = {
    "reject": (400, "invalid_value", "the prompt asks to be rejected"),
    "block": (422, "content_policy", "the content policy forbids this prompt"),
    "unauthorized": (401, "unauthorized", "the key is wrong or revoked"),
    "exhausted": (402, "insufficient_credits", "the account has no credits left"),
    "throttle": (429, "rate_limited", "too many orders; try again in a second"),
    "unavailable": (503, "unavailable", "the studio is closed for a moment; nothing was taken"),
}
"""Magic that keeps an order from being taken."""
NEEDS = {
    Mode.FIRST_FRAME: {Role.FIRST_FRAME},
    Mode.FRAMES: {Role.FIRST_FRAME, Role.LAST_FRAME},
    **{mode: {Role.SOURCE} for mode in (Mode.EDIT, Mode.EXTEND, Mode.UPSCALE)},
}
"""Inputs a mode cannot do without."""
GUIDES = frozenset({Role.REFERENCE, Role.ELEMENT, Role.VOICE})
NAMED = frozenset({"characters", "elements"})
"""What else a clip may be guided by: words without an input."""
MEDIA_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}

ID = r"[A-Za-z0-9_-]{1,64}"
TASK_PATH = re.compile(rf"/tasks/({ID})")
CLIP_PATH = re.compile(rf"/clips/({ID})/([0-9]\.(?:mp4|mov|webm))")
OUR_FILE = re.compile(rf"{ID}(\.(in\d+|json|note|failed|cancelled)|-\d\.(mp4|mov|webm))(\.[0-9a-f]{{8}}\.part)?")
RANGE = re.compile(r"bytes=(\d{1,18})-")

CRASHES = 3
"""How often a task may take the renderer down before it is given up."""


class Part(Struct, frozen=True):
    """Hold one input as it comes over the wire."""

    role: Role
    media_type: str
    data: bytes


class Brief(Struct, frozen=True, kw_only=True):
    """Hold what an order must say; what else it says is drawn on the clip."""

    id: Annotated[str, Meta(pattern=rf"^{ID}\Z")]
    model: str
    prompt: Annotated[str, Meta(max_length=32_000)]
    mode: Mode
    seconds: Annotated[int, Meta(ge=0, le=60)]
    """0 for as long as the source."""
    resolution: str
    aspect_ratio: Annotated[str, Meta(pattern=r"^[1-9]\d?:[1-9]\d?\Z")]
    audio: bool
    n: Annotated[int, Meta(ge=1, le=4)] = 1
    fps: Annotated[int, Meta(ge=1, le=60)] = 24
    seed: int | None = None
    container: Literal["mp4", "mov", "webm"] = "mp4"
    inputs: Annotated[list[Part], Meta(max_length=48)] = []


class Studio(httpx.AsyncBaseTransport):
    """Take orders, render them in a pool, keep everything in one folder for a day."""

    def __init__(self, folder: Path, pool: Executor, clock: Callable[[], float] = time.time) -> None:
        """Open for business; the pool stays its owner's."""
        self._folder = folder
        self._pool = pool
        self._clock = clock
        self._lock = threading.Lock()
        self._swept = float("-inf")
        self._turned_away: Counter[str] = Counter()
        self._looks: Counter[str] = Counter()
        self._crashes: Counter[str] = Counter()
        self._rendering: dict[str, Future[None]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one call, or lose the answer where the order's magic says so."""
        base = str(request.url.copy_with(path="", query=None)).rstrip("/")
        verb, path = request.method, request.url.path
        try:
            if (verb, path) == ("POST", "/tasks"):
                answer, magic = await asyncio.to_thread(self._take, await request.aread(), base)
                if "lost" in magic:
                    raise httpx.ReadError("the answer was lost")
                return _answer(200, b"<!-- taken -->", "text/plain") if "garbage" in magic else answer
            if verb in {"GET", "DELETE"} and (named := TASK_PATH.fullmatch(path)):
                task = Task.read(self._folder, named[1])
                if verb == "DELETE":
                    await asyncio.to_thread(self._cancel, task)
                return self._poll(task, base)
            if verb == "GET" and (named := CLIP_PATH.fullmatch(path)):
                task = Task.read(self._folder, named[1])
                return self._serve(task, task.file(f"-{named[2]}"), request.headers.get("range", ""))
        except FileNotFoundError:
            return _problem(404, "not_found", "there is no such task or clip")
        return _problem(404, "not_found", f"there is no {verb} {path}")

    async def aclose(self) -> None:
        """Forget orders not begun; they are rendered when somebody asks for them again."""
        self._closed = True
        for future in list(self._rendering.values()):
            future.cancel()

    def _take(self, body: bytes, base: str) -> tuple[httpx.Response, Mapping[str, float]]:
        """Write an order down and have it rendered; answers, with its magic when it is new."""
        try:
            brief = msgspec.json.decode(body, type=Brief)
            width, height = frame_size(brief.resolution, brief.aspect_ratio)
            words = msgspec.json.decode(body, type=dict[str, Raw])
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            return _problem(400, "invalid_value", str(error)), {}
        if width % 2 or height % 2 or min(width, height) < 64 or width * height > 10_000_000:
            return _problem(400, "invalid_value", f"no clip is {width}x{height}"), {}
        roles = {part.role for part in brief.inputs}
        missing = NEEDS.get(brief.mode, set()) - roles
        if brief.mode is Mode.REFERENCE and not (roles & GUIDES or words.keys() & NAMED):
            missing = {Role.REFERENCE}
        if missing:
            return _problem(400, "invalid_value", f"mode {brief.mode} needs {', '.join(sorted(missing))}"), {}
        if not brief.seconds and brief.mode not in AS_LONG:
            return _problem(400, "invalid_value", f"mode {brief.mode} has no source to be as long as"), {}
        self._sweep()
        if (self._folder / f"{brief.id}.json").exists():
            return self._poll(Task.read(self._folder, brief.id), base), {}
        magic = spells(brief.prompt)
        if (word := self._refusal(brief.prompt, magic)) is not None:
            return _problem(*ANSWERS[word]), {}
        order = {name: msgspec.json.decode(value) for name, value in words.items() if name != "inputs"}
        order |= {"n": brief.n, "fps": brief.fps, "container": brief.container, "inputs": []}
        task = Task(self._folder, brief.id, order, self._clock(), magic)
        for index, part in enumerate(brief.inputs):
            file = task.file(f".in{index}")
            keep(file, part.data)
            order["inputs"].append({"role": part.role, "media_type": part.media_type, "file": file.name})
        keep(task.file(".json"), msgspec.json.encode({"taken": task.taken, "order": order}))
        self._start(task)
        return self._tell(201, task, ("queued", 0, None), base), magic

    def _refusal(self, prompt: str, magic: Mapping[str, float]) -> str | None:
        """Say by which magic an order is turned away; some do it so many times, then begin anew."""
        word = next((word for word in ANSWERS if word in magic), None)
        if word in {"throttle", "unavailable"}:
            with self._lock:
                self._turned_away[prompt] += 1
                if self._turned_away[prompt] > magic[word]:
                    del self._turned_away[prompt]
                    return None
        return word

    def _poll(self, task: Task, base: str) -> httpx.Response:
        """Show a task, and see to it that it is being rendered."""
        if "vanish" in task.magic:
            raise FileNotFoundError
        state, progress, error = task.state(self._clock())
        if state in {"queued", "rendering"}:
            self._start(task)
        if "strange" in task.magic and self._looks[task.name] < 2:
            self._looks[task.name] += 1
            state, error = "pondering", None
        return self._tell(200, task, (state, progress, error), base)

    def _cancel(self, task: Task) -> None:
        """Stop a task that is not finished."""
        if task.state(self._clock())[0] in {"queued", "rendering"}:
            keep(task.file(".cancelled"), b"")
            if future := self._rendering.get(task.name):
                future.cancel()

    def _serve(self, task: Task, path: Path, wanted: str) -> httpx.Response:
        """Send a clip from where the other side left off, or what its magic puts in its place."""
        if "dead" in task.magic or path not in task.clips() or task.state(self._clock())[0] != "done":
            raise FileNotFoundError
        if "html" in task.magic:
            return _answer(200, b"<!doctype html><title>Sign in</title><p>Please sign in.", "text/html")
        headers = {"content-type": MEDIA_TYPES[path.suffix], "accept-ranges": "bytes"}
        size = path.stat().st_size
        span = RANGE.fullmatch(wanted)
        start = int(span[1]) if span else 0
        if start >= size:
            return _answer(416, b"", **{**headers, "content-range": f"bytes */{size}"})
        headers["content-length"] = str(size - start)
        if span:
            headers["content-range"] = f"bytes {start}-{size - 1}/{size}"
        file = path.open("rb")
        file.seek(start)
        return httpx.Response(206 if span else 200, headers=headers, stream=_Body(file))

    def _tell(self, status: int, task: Task, seen: tuple[str, int, Any], base: str) -> httpx.Response:
        """Answer with a task as it was seen."""
        state, progress, error = seen
        shown = enumerate(task.clips() if state == "done" else ())
        clips = [{"index": at, "url": f"{base}/clips/{task.name}/{at}{clip.suffix}"} for at, clip in shown]
        passed = self._clock() - task.taken
        left = passed * (100 - progress) / progress if progress else 10 * passed
        wait = min(max(min(left / 10, passed), 0.2), 2.0)
        answer = {"id": task.name, "state": state, "progress": progress, "poll_after_ms": int(1000 * wait)}
        return _answer(status, msgspec.json.encode({**answer, "clips": clips, "error": error}))

    def _start(self, task: Task) -> None:
        """Put a task into the renderers' queue, once."""
        with self._lock:
            if self._closed or not task.drawn or task.name in self._rendering:
                return
            try:
                future = self._pool.submit(make, str(self._folder), task.name)
            except RuntimeError:
                return  # the pool is closing: whoever asks after the restart gets it rendered
            self._rendering[task.name] = future
        future.add_done_callback(lambda ended: self._ended(task, ended))

    def _ended(self, task: Task, future: "Future[None]") -> None:
        """Clear the place in the queue, and give a task up that keeps killing its renderer."""
        with self._lock:
            del self._rendering[task.name]
        if self._closed or future.cancelled() or future.exception() is None:
            return
        self._crashes[task.name] += task.file(".note").exists()
        if self._crashes[task.name] >= CRASHES:
            task.fail("render_failed", "the renderer died over it")

    def _sweep(self) -> None:
        """Delete files older than a day, once an hour; none that are not ours."""
        self._folder.mkdir(parents=True, exist_ok=True)
        now = self._clock()
        if now - self._swept < 3600:
            return
        self._swept = now
        for entry in os.scandir(self._folder):
            if OUR_FILE.fullmatch(entry.name) and entry.stat().st_mtime < now - 86_400:
                Path(entry).unlink(missing_ok=True)


class _Body(httpx.AsyncByteStream):
    """Send the rest of a file; httpx would read a stream of its own before anybody asks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := self._file.read(2**18):
            yield chunk

    async def aclose(self) -> None:
        self._file.close()


def _answer(status: int, body: bytes, kind: str = "application/json", **headers: str) -> httpx.Response:
    """Answer with bytes."""
    told = {"content-type": kind, "content-length": str(len(body)), **headers}
    return httpx.Response(status, headers=told, stream=_Body(BytesIO(body)))


def _problem(status: int, code: str, message: str) -> httpx.Response:
    """Answer with an error."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    return _answer(status, body, **({"retry-after": "1"} if status == 429 else {}))
