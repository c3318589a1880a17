"""
Order by chat, and read an answer that tells how the clip comes along: piece by piece, and pure.

- ``extra_body`` is documented in one post and confirmed nowhere; it is sent exactly as printed there, so without
  ``stream``. An SDK would merge it into the body: there it is an argument, not a field.
- The answer is a log in Markdown, told in ``content`` or ``reasoning_content``, as a stream or as one JSON.
- Heartbeats are single dots, usage chunks have no choices, ``[DONE]`` may be broken over two lines.
- A preview is linked before the clip itself; each clip is linked twice, to watch and to download; pictures lie between.
- Failures come with HTTP 200 and ``finish_reason`` stop, or with none: the text is all there is.
- A task it names can be looked up when the stream breaks off (:mod:`providers._asyncdata`).
"""

import base64
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from providers._newapi import Wrong, asset_at
from providers.base.errors import Malformed
from providers.base.order import Input, Mode, Order, Role
from providers.base.reading import told
from providers.base.task import Fault, State, Task, Update

MOST = 4 * 2**20
"""Bytes after which an answer is no chat's."""

DATA_HOST = "asyncdata.net"
"""Where a relay keeps its tasks for whoever knows their id."""


class Grade(IntEnum):
    """Say how good a link is, the best last."""

    COPY = 0
    """The same clip to download."""
    PREVIEW = 1
    PLAIN = 2
    """A clip of which nothing else is said."""
    FINAL = 3


# What a line says of the links after it. apidoc.poloapi.com/340080677e0 (the same upstream, in Chinese); the English
# are what callers of this provider look for.
GRADES = {
    "Preview video generated": Grade.PREVIEW,
    "Online Preview": Grade.PREVIEW,
    "High-quality video generated": Grade.FINAL,
    "高质量视频已生成": Grade.FINAL,
}

# What labels a link as a clip, whatever it ends in. The same sources.
WATCH = ("Watch Online", "Play online", "在线观看", "在线播放")

# What is said when it came to nothing, there being no code beside it. Callers of this provider's sora-2 chat.
FAILURES = ("Generation failed", "Failure reason:", "❌")

# How a chat can end beside "stop". platform.openai.com/docs/api-reference/chat/object, which this chat follows.
FINISHES = {"content_filter": State.REFUSED}

CLIPS = (".mp4", ".mov", ".webm", ".m4v")

STOPS = r"\s<>)\]\"'`\\，。、）】」"  # noqa: RUF001 - Chinese has stops of its own
"""Where an address ends, in a log of either language."""

# An address or an id counts only once what ends it has come: both may still be on their way.
_TOKEN = re.compile(
    rf"(?P<word>{'|'.join(map(re.escape, GRADES))})|(?P<url>https?://[^{STOPS}]{{1,4096}}+)(?=[{STOPS}])"
)
_NAMED = re.compile(r"ID[:：] ?`([A-Za-z0-9][\w.:-]{0,199})`", re.ASCII)  # noqa: RUF001 - as it is written
_SHOWN = re.compile(rf"https?://{re.escape(DATA_HOST)}/(?:web|source)/([A-Za-z0-9][\w.:-]{{0,199}})", re.ASCII)
_IN_TAG = re.compile(r"<(?:video|source)\b[^<>]*\bsrc=['\"]?$")
_REASON = re.compile(r"Failure reason:[ \t]*([^\n]+)")
_SAYS = re.compile(r"\w")
_PROGRESS = re.compile(r"进度([^\n]+)")
"""As relays were seen to tell it: ``生成进度: 3%``, ``进度 42..54..67``."""


class Log(Struct, frozen=True, kw_only=True):
    """Hold what a log says, as far as it was told."""

    task: str = ""
    """What the relay calls the task."""
    links: dict[Grade, str] = {}
    """The last link of each grade."""
    failed: bool = False
    reason: str = ""
    """Why, in the relay's words; else the last thing it said."""
    progress: int | None = None

    def best(self, least: Grade = Grade.COPY) -> str:
        """Pick the best link, where it is good enough."""
        grade = max(self.links, default=None)
        return self.links[grade] if grade is not None and grade >= least else ""


def read_log(text: str, *, whole: bool = True) -> Log:
    """
    Read a log; what stands at the end of one that is not whole may still go on.

    >>> read_log("Preview video generated https://a.test/1.mp4 High-quality video generated https://a.test/2.mp4?k=v").best()
    'https://a.test/2.mp4?k=v'
    """
    text = f"{text}\n" if whole else text
    task, links, grade, end = "", dict[Grade, str](), Grade.PLAIN, 0
    for token in _TOKEN.finditer(text):
        before, end = text[end : token.start()], token.end()
        if token["word"]:
            grade = GRADES[token["word"]]
            continue
        url = token["url"].rstrip(".,;:!").replace("&amp;", "&")
        shown = _SHOWN.fullmatch(url)
        if shown:
            task = task or shown[1]
        elif _is_clip(url, before):
            links[Grade.COPY if "/cdn/download/" in url else grade] = url
    named, reason = _NAMED.search(text), _REASON.search(text)
    lines = [line.strip(" >\t") for line in text[-2000:].splitlines()]
    return Log(
        task=task or (named[1] if named else ""),
        links=links,
        failed=any(word in text for word in FAILURES),
        reason=(reason[1] if reason else next(filter(_SAYS.search, reversed(lines)), "")).strip()[:500],
        progress=_progress(text),
    )


def _is_clip(url: str, before: str) -> bool:
    """Whether an address is a clip's, by its ending, its label or its tag."""
    path = url.partition("?")[0].partition("#")[0].lower()
    labelled = before.rstrip().endswith("(") and any(word in before for word in WATCH)
    return path.endswith(CLIPS) or bool(_IN_TAG.search(before[-1000:])) or (labelled and not _has_suffix(path))


def _has_suffix(path: str) -> bool:
    """Whether an address says that it is a file of some kind."""
    return "." in path.rpartition("/")[2]


def _progress(text: str) -> int | None:
    """Read the last percentage told."""
    told = [number for line in _PROGRESS.findall(text) for number in re.findall(r"\d+", line, re.ASCII)]
    return next((int(number) for number in reversed(told) if len(number) <= 3 and int(number) <= 100), None)


class _Told(Struct, frozen=True):
    """Read what a chunk adds to the log."""

    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct, frozen=True):
    """Read one choice of a chunk, or of a whole answer."""

    delta: _Told | None = None
    message: _Told | None = None
    finish_reason: str | None = None


class _Chunk(Struct, frozen=True):
    """Read one event of a stream, or a whole answer."""

    id: str | None = None
    choices: tuple[_Choice, ...] | None = None
    error: Wrong | str | None = None


# What extra_body and a message have words for, by mode. www.cometapi.com/how-to-use-veo-3-1-api
ROLES: dict[Mode, tuple[Role, ...]] = {
    Mode.FIRST_FRAME: (Role.FIRST_FRAME,),
    Mode.FRAMES: (Role.FIRST_FRAME, Role.LAST_FRAME),
    Mode.REFERENCE: (Role.REFERENCE,),
    Mode.EXTEND: (Role.SOURCE,),
}


class Reading:
    """Take an answer in as it comes; how it is cut into pieces makes no difference."""

    def __init__(self) -> None:
        self._size = 0
        self._line = bytearray()
        self._rest = bytearray()
        """Lines that are no events: an answer that is no stream."""
        self._said: list[str] = []
        self._thought: list[str] = []
        self._events = False
        self.id = ""
        """What the answer calls itself."""
        self.error: Wrong | None = None
        self.finish = ""
        """The ``finish_reason``."""
        self.closed = False
        """Whether it came to its end: an answer can break off without anybody noticing."""
        self.garbled = False
        """Whether a piece of it could not be read."""

    def feed(self, chunk: bytes) -> None:
        """
        Take the next bytes.

        :raises Malformed: there are too many.
        """
        self._size += len(chunk)
        if self._size > MOST:
            raise Malformed(f"the answer is larger than {MOST} bytes")
        self._line += chunk
        if b"\n" in chunk or b"\r" in chunk:
            *lines, last = bytes(self._line).splitlines(keepends=True)
            ended = last.endswith((b"\n", b"\r"))
            self._line = bytearray(b"" if ended else last)
            for line in [*lines, last] if ended else lines:
                self._take(line.strip())

    def end(self) -> None:
        """
        Hear that there is no more.

        :raises Malformed: it was no chat's answer at all.
        """
        self._take(bytes(self._line).strip())
        self._line.clear()
        if not self._rest:
            return
        whole = told(bytes(self._rest), _Chunk)
        if whole is None and self._events:
            return  # Half of a broken [DONE].
        if whole is None or (whole.choices is None and whole.error is None):
            raise Malformed("the answer is no chat's", status=200)
        self.closed = True
        self._hear(whole)
        self.finish = self.finish or "stop"

    def log(self) -> Log:
        """Read what was told so far; the answer's own text goes before its thoughts."""
        thought, said = (read_log("".join(each), whole=self.closed) for each in (self._thought, self._said))
        return Log(
            task=said.task or thought.task,
            links={**thought.links, **said.links},
            failed=said.failed or thought.failed,
            reason=(said.reason if said.failed or not thought.failed else "") or thought.reason,
            progress=thought.progress if said.progress is None else said.progress,
        )

    def _take(self, line: bytes) -> None:
        """Take one line of the answer."""
        if line.startswith(b"data:"):
            self._event(line[5:].strip())
        elif not line.startswith((b":", b"event:", b"id:", b"retry:")):
            self._rest += line

    def _event(self, data: bytes) -> None:
        """Take one event of the stream."""
        self._events = True
        if data.startswith(b"[DONE"):
            self.closed = True
            return
        chunk = told(data, _Chunk)
        if chunk is not None:
            self._hear(chunk)
        self.garbled = self.garbled or (chunk is None and bool(data))

    def _hear(self, chunk: _Chunk) -> None:
        """Add what was said to what is known."""
        self.id = self.id or chunk.id or ""
        if chunk.error is not None:
            self.error = Wrong.of(chunk.error)
        for choice in chunk.choices or ():
            for part in (choice.delta, choice.message):
                if part:
                    self._thought.append(part.reasoning_content or "")
                    self._said.append(part.content or "")
            if choice.finish_reason:
                self.finish = choice.finish_reason
                self.closed = True


def encode_chat(order: Order, data: Mapping[str, bytes], passed: Mapping[str, Any]) -> dict[str, Any]:
    """
    Put an order into the words of ``POST /v1/chat/completions``. www.cometapi.com/how-to-use-veo-3-1-api

    :param data: the bytes of each input, by its sha256.
    :param passed: parameters the client passes on.
    """
    request, mode = order.request, order.spec.mode
    content: Any = request.prompt
    more: dict[str, Any] = {"stream": True}
    if mode is Mode.FIRST_FRAME:
        (frame,) = (_uri(each, data) for each in request.inputs if each.role is Role.FIRST_FRAME)
        content = [{"type": "text", "text": request.prompt}, {"type": "image_url", "image_url": {"url": frame}}]
    elif mode is not Mode.TEXT:
        more = {"extra_body": {"google": _google(order, data)}}
    return {"model": order.wire_name, **more, "messages": [{"role": "user", "content": content}], **passed}


def _google(order: Order, data: Mapping[str, bytes]) -> dict[str, Any]:
    """Say in ``extra_body.google`` what a chat has no words for."""
    spec = order.spec
    config: dict[str, Any] = {
        "resolution": spec.resolution,
        "durationSeconds": spec.seconds,
        "fps": spec.fps,
        "generateAudio": spec.audio,
    }
    uris = {
        role: [{"uri": _uri(each, data)} for each in order.request.inputs if each.role is role]
        for role in (Role.FIRST_FRAME, Role.LAST_FRAME, Role.REFERENCE, Role.SOURCE)
    }
    if order.spec.mode is Mode.EXTEND:
        return {"video": uris[Role.SOURCE][0], "config": {"numberOfVideos": spec.n, **config}}
    config["aspectRatio"] = spec.aspect_ratio
    if order.spec.mode is Mode.REFERENCE:
        pictures = [{"image": uri, "referenceType": "asset"} for uri in uris[Role.REFERENCE]]
        return {"referenceImages": pictures, "config": config}
    return {"image": uris[Role.FIRST_FRAME][0], "lastFrame": uris[Role.LAST_FRAME][0], "config": config}


def _uri(given: Input, data: Mapping[str, bytes]) -> str:
    """Say where an input lies: where the provider left it, if it made it; else in the address itself."""
    if given.handle.startswith("https://"):
        return given.handle
    return f"data:{given.media_type};base64,{base64.b64encode(data[given.sha256]).decode()}"


def decode_chat(reading: Reading) -> Update | None:
    """Say what a chat's answer means, wherever it broke off; ``None`` where it cannot be told."""
    log = reading.log()
    closed = reading.closed and not reading.garbled
    # A relay that lost its upstream ends the stream like any other, but gives no finish_reason.
    follow = bool(log.task) and not (closed and reading.finish)
    url = log.best(Grade.FINAL if follow else Grade.COPY if closed and not log.failed else Grade.PLAIN)
    task = Task(log.task or reading.id or url, {"route": "chat"})
    if not task.id:
        return None
    seen = Update(state=State.RUNNING, task=task, progress=log.progress, raw_state=reading.finish)
    if url:
        # What the stream said once is said nowhere again: the link goes with the task.
        kept = Task(task.id, {**task.data, "url": url})
        return replace(seen, state=State.SUCCEEDED, task=kept, assets=(asset_at(url),))
    if reading.error is not None:
        return replace(
            seen,
            state=FINISHES.get(reading.finish, State.FAILED),
            fault=Fault(code=reading.error.word, message=reading.error.message or log.reason),
        )
    if follow:
        return seen
    if closed or log.failed:
        # No address at the end is a failure, whatever else is said; the log has no codes.
        state = FINISHES.get(reading.finish, State.FAILED)
        code = reading.finish if state is State.REFUSED else ""
        return replace(seen, state=state, fault=Fault(code=code, message=log.reason or "the answer holds no clip"))
    return None
