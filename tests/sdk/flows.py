"""
What an app does with the OpenAI SDK, call by call, run alike under the newest 3.x and the newest 2.x.

Each flow answers plain facts, the same whatever the SDK; ``promises.py`` says what they must be. Nothing but
``openai`` and the standard library may be imported: an app's environment has nothing else of ours.

    python flows.py http://127.0.0.1:8080/v1 http://127.0.0.1:9090/v1 FOLDER

The second address drops the answer of every first try; the folder holds ``first.png`` and takes what is downloaded.
"""

import asyncio
import base64
import json
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import openai

MODEL = "sandbox/demo"
SIZE = "640x360"
ORDER: dict[str, Any] = {"model": MODEL, "seconds": "1", "size": SIZE}
POLL_MS = 100
SLOW = "[slow 60]"
"""What keeps a sandbox video from ending before it is cancelled."""
FIELDS = frozenset({
    "id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "seconds",
    "size", "remixed_from_video_id", "error",
})  # fmt: skip
"""What OpenAI's specification requires of every Video, null or not."""
STANDING = frozenset({"queued", "in_progress", "completed", "failed"})


class Sent(NamedTuple):
    """One request as it left the SDK."""

    method: str
    path: str
    retry: str
    content_type: str


class App:
    """One app: a client, what it sent, and a place for its files."""

    def __init__(self, api: str, lossy: str, folder: Path) -> None:
        self.folder = folder
        self.lossy_api = lossy
        self.sent: list[Sent] = []
        self.client = self.connect(api)

    def connect(self, api: str, **options: Any) -> openai.OpenAI:
        """Make a client as an app does, its own HTTP client telling what is sent."""
        http = openai.DefaultHttpxClient(trust_env=False, event_hooks={"request": [self._note]})
        return openai.OpenAI(base_url=api, api_key="unused", http_client=http, **options)

    def _note(self, request: Any) -> None:
        """Remember a request."""
        header = request.headers.get
        kind = header("content-type", "").partition(";")[0]
        self.sent.append(Sent(request.method, request.url.path, header("x-stainless-retry-count", ""), kind))

    @property
    def first(self) -> Path:
        """A picture to start from."""
        return self.folder / "first.png"

    @property
    def data_url(self) -> str:
        """The same picture, as text."""
        return f"data:image/png;base64,{base64.b64encode(self.first.read_bytes()).decode()}"

    @cached_property
    def video(self) -> Any:
        """One finished clip for every flow that only looks."""
        return self.finished(self.client.videos.create(prompt="A lighthouse at dusk", **ORDER))

    @cached_property
    def clip(self) -> Path:
        """The same clip, as a file."""
        path = self.folder / "clip.mp4"
        self.client.videos.download_content(self.video.id).write_to_file(path)
        return path

    def finished(self, video: Any) -> Any:
        """Wait for a video as the SDK does."""
        return self.client.videos.poll(video.id, poll_interval_ms=POLL_MS)

    def cancel(self, video: Any) -> dict[str, Any]:
        """Ask for a video not to be made: a route of ours, by the SDK's low-level call."""
        return self.client.post(f"/videos/{video.id}/cancel", cast_to=object)  # type: ignore[return-value]

    @contextmanager
    def lossy(self):
        """Connect where the answer of every first try is lost."""
        with self.connect(self.lossy_api) as client:
            yield client

    def refusal(self, call: Callable[[], Any], *words: str) -> dict[str, Any]:
        """Say how a call was refused: by which exception, what it carries, and after how many tries."""
        before = len(self.sent)
        try:
            call()
        except openai.APIStatusError as error:
            return {
                "class": type(error).__name__,
                "status": error.status_code,
                "code": error.code,
                "param": error.param,
                "silent about": [word for word in words if word not in error.message],
                "traceable": re.fullmatch(r"req_[0-9a-f]{24}", error.request_id or "") is not None,
                "tries": len(self.sent) - before,
            }
        return {"class": None}


def asked(video: Any) -> dict[str, Any]:
    """Read what the gateway understood of a call."""
    return video.model_extra["request"]


def inputs(video: Any) -> list[dict[str, Any]]:
    """Read what the gateway took in, without what differs between two encodings of one picture."""
    return [{name: each[name] for name in ("role", "media_type", "width", "height")} for each in asked(video)["inputs"]]


def outcome(video: Any) -> dict[str, Any]:
    """Read what came of a video."""
    return {name: getattr(video, name) for name in ("status", "progress", "seconds", "size")}


def polled(app: App) -> dict[str, Any]:
    """``create_and_poll``: one call, one finished video."""
    prompt = "A calico cat plays a piano on stage"
    video = app.client.videos.create_and_poll(prompt=prompt, poll_interval_ms=POLL_MS, **ORDER)
    said = video.to_dict()
    whole = ("created_at", "completed_at", "expires_at")
    fixed = ("object", "model", "prompt", "remixed_from_video_id", "error")
    return {
        "missing": sorted(FIELDS - said.keys()),
        **{name: said[name] for name in fixed},
        **outcome(video),
        "not whole": [name for name in whole if type(said[name]) is not int],
        "in order": said["created_at"] <= said["completed_at"] < said["expires_at"],
        "id": re.fullmatch(r"video_\w+", video.id) is not None,
    }


def polled_async(app: App) -> dict[str, Any]:
    """The same with the asynchronous client."""

    async def run() -> Any:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        client = openai.AsyncOpenAI(base_url=str(app.client.base_url), api_key="unused", http_client=http)
        async with client:
            video = await client.videos.create_and_poll(prompt="A kite", poll_interval_ms=POLL_MS, **ORDER)
            content = await client.videos.download_content(video.id)
            listed = [each.id async for each in await client.videos.list(limit=1)][:1]
            return video, content.read(), listed

    video, content, listed = asyncio.run(run())
    return {**outcome(video), "is mp4": content[4:8] == b"ftyp", "listed first": listed == [video.id]}


def watched(app: App) -> dict[str, Any]:
    """The documented loop: create, then retrieve until it ends, pausing as long as the gateway says."""
    raw = app.client.videos.with_raw_response.create(prompt="Waves [slow 1]", **ORDER)
    video, waits = raw.parse(), []
    words, progress, missing = [video.status], [video.progress], [FIELDS - video.to_dict().keys()]
    while video.status in {"queued", "in_progress"}:
        waits.append(int(raw.headers["openai-poll-after-ms"]))
        time.sleep(min(waits) / 1000)
        raw = app.client.videos.with_raw_response.retrieve(video.id)
        video = raw.parse()
        words.append(video.status)
        progress.append(video.progress)
        missing.append(FIELDS - video.to_dict().keys())
    return {
        "last": words[-1],
        "strange": sorted(set(words) - STANDING),
        "never pending": not waits,
        "waits within": all(250 <= wait <= 10_000 for wait in waits),
        "told to wait for an ended one": "openai-poll-after-ms" in raw.headers,
        "progress falls": progress != sorted(progress),
        "last progress": progress[-1],
        "progress is whole": all(type(each) is int for each in progress),
        "missing": sorted(set().union(*missing)),
        "request id": bool(raw.request_id) and raw.request_id == raw.headers["x-request-id"],
    }


def listed(app: App) -> dict[str, Any]:
    """Iterate over every page, both ways."""
    mine = [app.client.videos.create(prompt=f"List me, {number}", **ORDER).id for number in range(5)]
    newest = [each.id for each in app.client.videos.list(limit=2)]
    oldest = [each.id for each in app.client.videos.list(limit=2, order="asc")]
    page = app.client.videos.list(limit=2)
    after = app.client.videos.list(limit=2, after=newest[1])
    return {
        "mine, newest first": [each for each in newest if each in mine] == mine[::-1],
        "mine, oldest first": [each for each in oldest if each in mine] == mine,
        "twice": len(newest) - len(set(newest)),
        "both ways the same": newest == oldest[::-1],
        "page": [each.id for each in page.data] == newest[:2] and page.has_more is True and page.last_id == newest[1],
        "next page": [each.id for each in after.data] == newest[2:4],
        "missing": sorted(set().union(*(FIELDS - each.to_dict().keys() for each in page.data))),
    }


def downloaded(app: App) -> dict[str, Any]:
    """Every variant, to a file; the test looks into them."""
    facts = {}
    for variant, name in (("video", "video.mp4"), ("thumbnail", "video.webp"), ("spritesheet", "video.jpg")):
        content = app.client.videos.download_content(app.video.id, variant=variant)
        content.write_to_file(app.folder / name)
        header = content.response.headers.get
        facts[variant] = {
            "content-type": header("content-type"),
            "whole": int(header("content-length", "0")) == (app.folder / name).stat().st_size,
            "plain": header("content-encoding", "identity"),
        }
    unnamed = app.client.videos.download_content(app.video.id).read()
    with app.client.videos.with_streaming_response.download_content(app.video.id) as stream:
        streamed = b"".join(stream.iter_bytes())
    part = app.client.videos.download_content(app.video.id, extra_headers={"Range": "bytes=4-7"})
    whole = (app.folder / "video.mp4").read_bytes()
    facts["unnamed is the video"] = unnamed == whole
    facts["streamed alike"] = streamed == whole
    facts["range"] = [part.response.status_code, part.read() == whole[4:8]]
    return facts


def deleted(app: App) -> dict[str, Any]:
    """Delete an ended video: it is gone from every route."""
    video = app.finished(app.client.videos.create(prompt="Delete me", **ORDER))
    gone = app.client.videos.delete(video.id)
    return {
        "answer": {"object": gone.object, "deleted": gone.deleted, "same": gone.id == video.id},
        "retrieve": app.refusal(lambda: app.client.videos.retrieve(video.id), video.id),
        "content": app.refusal(lambda: app.client.videos.download_content(video.id), video.id),
        "again": app.refusal(lambda: app.client.videos.delete(video.id), video.id),
        "listed": video.id in [each.id for each in app.client.videos.list(limit=100)],
    }


def unfinished(app: App) -> dict[str, Any]:
    """Ask too much of a video still being made: refused at once, not tried again, and cancelled at the end."""
    video = app.client.videos.create(prompt=f"Patience {SLOW}", **ORDER)
    facts = {
        "content": app.refusal(lambda: app.client.videos.download_content(video.id), "not ready"),
        "delete": app.refusal(lambda: app.client.videos.delete(video.id), "cancel"),
        "edit": app.refusal(lambda: app.client.videos.remix(video.id, prompt="Bluer"), "not completed"),
    }
    app.cancel(video)
    ended = app.finished(video)
    return {**facts, "cancelled": {"status": ended.status, "code": ended.error.code if ended.error else None}}


def remixed(app: App) -> dict[str, Any]:
    """``remix``: JSON, by id; keeps the shape and the length of its source."""
    video = app.client.videos.remix(app.video.id, prompt="The same at noon")
    return {
        "of": video.remixed_from_video_id == app.video.id,
        "model": video.model,
        "prompt": video.prompt,
        **outcome(app.finished(video)),
    }


def edited(app: App) -> dict[str, Any]:
    """``edit``: a file, or an id by the two ways around the SDK's refusal of ``{"id": ...}``."""
    by_id = {"video": {"id": app.video.id}}
    edit = app.client.videos.edit
    with app.clip.open("rb") as file:
        made = {"file": edit(prompt="Snow falls", video=file, extra_body={"model": MODEL})}
    made["omit"] = edit(prompt="Snow falls, slowly", video=openai.omit, extra_body=by_id)  # type: ignore[arg-type]
    made["empty"] = edit(prompt="Snow falls, fast", video=b"", extra_body=by_id)
    facts: dict[str, Any] = {}
    for name, video in made.items():
        facts[name] = {
            "operation": video.model_extra["operation"],
            "from the id": video.model_extra["parent_video_id"] == app.video.id,
            "model": video.model,
            "remixed": video.remixed_from_video_id,
            "roles": [each["role"] for each in asked(video)["inputs"]],
            **outcome(app.finished(video)),
        }
    return facts


def extended(app: App) -> dict[str, Any]:
    """``extend``: the result is both, and says so; a file, or an id."""
    extend = app.client.videos.extend
    by_id = {"video": {"id": app.video.id}}
    with app.clip.open("rb") as file:
        made = {"file": extend(prompt="It goes on", seconds="1", video=file, extra_body={"model": MODEL})}
    made["id"] = extend(prompt="And on", seconds="1", video=openai.omit, extra_body=by_id)  # type: ignore[arg-type]
    facts: dict[str, Any] = {}
    for name, video in made.items():
        ended = app.finished(video)
        facts[name] = {"operation": video.model_extra["operation"], **outcome(ended)}
        app.client.videos.download_content(ended.id).write_to_file(app.folder / f"extended-{name}.mp4")
    return facts


def referenced(app: App) -> dict[str, Any]:
    """``input_reference`` in every form Python users send it."""
    create = app.client.videos.create
    picture = app.first.read_bytes()
    uploaded = app.client.files.create(file=app.first, purpose="user_data")
    with app.first.open("rb") as file:
        made = {
            "tuple": create(prompt="From here", input_reference=("a/b c.jpg", picture, "image/jpeg"), **ORDER),
            "bytes": create(prompt="From here", input_reference=picture, **ORDER),
            "path": create(prompt="From here", input_reference=app.first, **ORDER),
            "open file": create(prompt="From here", input_reference=file, **ORDER),
        }
    for name, reference in (
        ("image_url", {"image_url": app.data_url}),
        ("file_id", {"file_id": uploaded.id}),
        ("text", app.data_url),
    ):
        made[name] = create(prompt="From here", extra_body={"input_reference": reference}, **ORDER)
    one = [{"role": "first_frame", "media_type": "image/png", "width": 640, "height": 360}]
    return {
        "understood otherwise": [name for name, video in made.items() if inputs(video) != one],
        "mode": sorted({asked(video)["mode"] for video in made.values()}),
        "bytes changed": len({each["sha256"] for video in made.values() for each in asked(video)["inputs"]}) > 1,
        "unfinished": [name for name, video in made.items() if app.finished(video).status != "completed"],
    }


def uploaded(app: App) -> dict[str, Any]:
    """``client.files``: upload, look, list, use, delete."""
    files = app.client.files
    file = files.create(file=("first.png", app.first.read_bytes()), purpose="user_data")
    content = files.content(file.id).read()
    facts = {
        **{name: getattr(file, name) for name in ("object", "filename", "purpose", "status")},
        "bytes": file.bytes == len(content),
        "content": content == app.first.read_bytes(),
        "retrieved": files.retrieve(file.id).id == file.id,
        "listed": file.id in [each.id for each in files.list(limit=2)],
        "deleted": files.delete(file.id).deleted,
    }
    use = {"input_reference": {"file_id": file.id}}
    facts["gone"] = app.refusal(lambda: files.retrieve(file.id), file.id)
    facts["use"] = app.refusal(lambda: app.client.videos.create(prompt="x", extra_body=use, **ORDER), file.id)
    return facts


def sold(app: App) -> dict[str, Any]:
    """``client.models``: what can be asked for."""
    models = {each.id: each for each in app.client.models.list()}
    one = app.client.models.retrieve(MODEL)
    return {
        "absent": sorted({MODEL, "sora-2", "sora-2-pro"} - models.keys()),
        "one": {"id": one.id, "object": one.object, "owned_by": one.owned_by, "created": type(one.created) is int},
        "unknown": app.refusal(lambda: app.client.models.retrieve("nobody/nothing"), "nobody/nothing"),
    }


def refused(app: App) -> dict[str, Any]:
    """Calls that cannot be served: class, status, code, param and message say why; nothing is tried again or kept."""
    videos, before = app.client.videos, _count(app)

    def order(words: tuple[str, ...] | str, **fields: Any) -> dict[str, Any]:
        named = {"prompt": "A refused one", **ORDER, **fields}
        return app.refusal(lambda: videos.create(**named), *([words] if isinstance(words, str) else words))

    elsewhere = {"input_reference": {"image_url": "http://127.0.0.1/a.png"}}
    facts = {
        "unknown field": order("'colour'", extra_body={"colour": "red"}),
        "unknown model": order("'nobody/nothing'", model="nobody/nothing"),
        "no number": order(("seconds", "whole number"), seconds="soon"),
        "not sold": order("seconds", seconds="599"),
        "no size": order("1280x720", size="wide"),
        "contradiction": order((SIZE, "1:1"), extra_body={"aspect_ratio": "1:1"}),
        "empty prompt": order("what the clip should show", prompt=" "),
        "too long": order("512", extra_body={"metadata": {"k": "v" * 513}}),
        "too high": order("4294967295", extra_body={"seed": 2**32}),
        "address": order("data:", extra_body=elsewhere),
        "no picture": order("PNG", input_reference=("a.png", b"not a picture", "image/png")),
        "no clip": app.refusal(lambda: videos.edit(prompt="x", video=app.first.read_bytes()), "image/png"),
        "no source": app.refusal(lambda: videos.edit(prompt="x", video=openai.omit), "video"),  # type: ignore[arg-type]
        "unknown video": app.refusal(lambda: videos.retrieve("video_nobody"), "video_nobody"),
        "strange id": app.refusal(lambda: videos.retrieve("no id & no \u00fc")),
        "unknown source": app.refusal(lambda: videos.remix("video_nobody", prompt="x"), "video_nobody"),
        "cursor": app.refusal(lambda: list(videos.list(after="video_nobody")), "after"),
        "limit": app.refusal(lambda: videos.list(limit=101), "limit", "100"),
        "no such address": app.refusal(lambda: app.client.get("/nowhere", cast_to=object), "/v1/models"),
        "no such method": app.refusal(lambda: app.client.delete("/models", cast_to=object), "method"),
    }
    return {**facts, "kept": _count(app) - before}


def failed(app: App) -> dict[str, Any]:
    """A video that cannot be made is returned, not raised, and says why."""
    facts = {}
    for word in ("fail", "refuse"):
        prompt = f"Dark clouds [{word}]"
        video = app.client.videos.create_and_poll(prompt=prompt, poll_interval_ms=POLL_MS, **ORDER)
        facts[word] = {
            "status": video.status,
            "code": video.error.code,
            "says why": len(video.error.message) > 10,
            "completed_at": type(video.completed_at).__name__,
            "content": app.refusal(lambda id_=video.id: app.client.videos.download_content(id_), "not made"),
        }
    return facts


def superset(app: App) -> dict[str, Any]:
    """Fields of ours by ``extra_body``: taken in a form as in JSON, and given back where the SDK keeps extras."""
    fields: dict[str, Any] = {
        "aspect_ratio": "9:16",
        "resolution": "360p",
        "seed": 7,
        "generate_audio": False,
        "negative_prompt": "text",
        "metadata": {"shot": "12a", "take.2": "3"},
        "user": "u-1",
        "external_id": "order 9",
        "provider": {"only": ["sandbox"], "allow_fallbacks": False},
    }
    facts: dict[str, Any] = {}
    for kind, headers in (("form", {}), ("json", {"Content-Type": "application/json"})):
        video = app.client.videos.create(
            prompt=f"A \u2018portrait\u2019 \u2013 {kind} {SLOW}",
            model=MODEL,
            seconds="1",
            extra_body=fields,
            extra_headers=headers,
        )
        extra = video.model_extra
        facts[kind] = {
            "content type": app.sent[-1].content_type,
            "size": video.size,
            **{name: extra[name] for name in ("metadata", "user", "external_id", "provider", "operation")},
            "request": {
                name: extra["request"].get(name)
                for name in ("aspect_ratio", "resolution", "seed", "audio", "negative_prompt", "prompt")
            },
            "preferences": {name: extra["request"]["provider"].get(name) for name in ("only", "allow_fallbacks")},
            "sandbox is named": any(each["type"] == "sandbox" for each in extra["warnings"]),
        }
        app.cancel(video)
    return facts


def listed_objects(app: App) -> dict[str, Any]:
    """Lists of objects: as the SDK's form writes them, as JSON text in a form, as JSON; never guessed at."""
    alike = [{"image_url": app.data_url, "role": role, "name": role} for role in ("subject", "style")]
    mixed = [{"image_url": app.data_url, "role": "subject"}, {"image_url": app.data_url, "name": "Ann"}]
    as_json = {"Content-Type": "application/json"}

    def create(references: Any, headers: dict[str, str] | None = None) -> Any:
        return app.client.videos.create(
            prompt=f"Together {SLOW}", extra_body={"input_references": references}, extra_headers=headers, **ORDER
        )

    def taken(video: Any) -> list[list[str]]:
        app.cancel(video)
        return [[each["role"], each.get("name", "")] for each in asked(video)["inputs"]]

    return {
        "form": taken(create(alike)),
        "text": taken(create(json.dumps(mixed))),
        "json": taken(create(mixed, as_json)),
        "mixed form": app.refusal(lambda: create(mixed), "input_references", "JSON"),
    }


def lost(app: App) -> dict[str, Any]:
    """The answer to a create is lost on its way back: the SDK tries again by itself, and one job exists."""
    facts = {}
    picture = ("first.png", app.first.read_bytes(), "image/png")
    for name, extra in (("plain", {}), ("file", {"input_reference": picture})):
        prompt, before = f"Lost and found {secrets.token_hex(8)} {SLOW}", len(app.sent)
        with app.lossy() as client:
            video = client.videos.create(prompt=prompt, **extra, **ORDER)
        facts[name] = {
            "tries": [each.retry for each in app.sent[before:]],
            "jobs": [each.id == video.id for each in app.client.videos.list(limit=100) if each.prompt == prompt],
        }
        app.cancel(video)
    return facts


def repeated(app: App) -> dict[str, Any]:
    """An Idempotency-Key makes a repeat the same job; without one, two calls are two jobs."""
    key = {"Idempotency-Key": secrets.token_hex(8)}

    def create(prompt: str, headers: dict[str, str] | None = None) -> Any:
        return app.client.videos.create(prompt=f"{prompt} {SLOW}", extra_headers=headers, **ORDER)

    once, again, other = create("Once", key), create("Once", key), create("Once")
    facts = {
        "with key": once.id == again.id,
        "without": once.id == other.id,
        "other call": app.refusal(lambda: create("Twice", key), "Idempotency-Key"),
    }
    for video in (once, other):
        app.cancel(video)
    return facts


def _count(app: App) -> int:
    """Count every video there is."""
    return sum(1 for _ in app.client.videos.list(limit=100))


FLOWS: tuple[Callable[[App], dict[str, Any]], ...] = (
    polled, polled_async, watched, listed, downloaded, deleted, unfinished, remixed, edited, extended, referenced,
    uploaded, sold, refused, failed, superset, listed_objects, lost, repeated,
)  # fmt: skip


def main(api: str, lossy: str, folder: str) -> None:
    """Run every flow and print what each found, as one line of JSON."""
    app, facts, took = App(api, lossy, Path(folder)), {}, {}
    for flow in FLOWS:
        started = time.perf_counter()
        try:
            facts[flow.__name__] = flow(app)
        except Exception:  # noqa: BLE001  One broken flow says so and leaves the others standing.
            facts[flow.__name__] = {"crashed": traceback.format_exc()}
        took[flow.__name__] = round(time.perf_counter() - started, 2)
    app.client.close()
    sys.stdout.write(json.dumps({"version": openai.VERSION, "facts": facts, "took": took}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
