"""Laws of ``reelgate watch`` and ``jobs``: what the gateway knows, told as it happens, whatever lies in between."""

import asyncio
import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from rich.console import Console

from gateway.cli import videos, watch
from gateway.cli.common import GoneError, RefusedError, UsageError
from gateway.cli.gate import Gate, Video
from gateway.cli.generate import make
from tests.market import Market
from tests.sdk.lossy import losing
from tests.server import Server, eventually

SMALL = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p", "fps": 12}


def order(server: Server, prompt: str, **more: Any) -> str:
    """Order a small clip."""
    return str(server.post("/v1/videos", {"prompt": prompt, **SMALL, **more}).json()["id"])


@pytest.fixture(scope="module")
def made(server: Server) -> Video:
    """One finished clip."""
    id_ = order(server, "made to be watched")
    eventually(lambda: server.get(f"/v1/videos/{id_}").json()["status"] == "completed")
    found: Video = server.get(f"/v1/videos/{id_}").json()
    return found


def run(*ids: str, url: str, **options: Any) -> int:
    """Watch in this process; answers the exit code."""
    try:
        watch.watch(ids, url=url, **options)
    except SystemExit as end:
        return int(str(end.code))
    return 0


def test_it_follows_to_the_end_and_ends_by_it(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Provider, status, progress and price on the way; the clips where they are wanted; 1 where one was not made."""
    good, bad = order(server, "[slow 1] good", n=2), order(server, "[fail] bad")
    assert 1 == run(good, bad, url=server.url, download=True, out=tmp_path)
    told = capsys.readouterr().out
    assert re.search(rf"{good} \w+ at sandbox, \d+%.*, \$0\.0000 quoted", told)
    assert f"{good} made by sandbox as sandbox/demo for $0.0000" in told
    assert f"{bad} failed: the prompt asks to fail" in told
    outputs = [each for each in server.get(f"/v1/videos/{good}").json()["outputs"] if each["kind"] == "video"]
    files = [tmp_path / f"{good}-1.mp4", tmp_path / f"{good}-2.mp4"]
    assert [each["sha256"] for each in outputs] == [hashlib.sha256(each.read_bytes()).hexdigest() for each in files]
    assert 0 == run(good, url=server.url)


def test_an_id_nobody_knows_is_told(server: Server, made: Video) -> None:
    """Before anything is followed."""
    with pytest.raises(UsageError, match="No video with id 'video_1'"):
        run(made["id"], "video_1", url=server.url)
    with pytest.raises(GoneError, match="reelgate serve"):
        run(made["id"], url="http://127.0.0.1:9")


def test_bars_are_drawn_on_a_terminal(made: Video) -> None:
    """With the same facts."""
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    with watch._Bars(console) as bars:
        bars.moved({**made, "status": "in_progress", "status_detail": "generating", "progress": 40, "eta_seconds": 9})
        bars.ended(made, [Path("a.mp4")])
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert "generating at sandbox, 40%, about 9 s to go, $0.0000" in plain
    assert f"{made['id']} made by sandbox as sandbox/demo for $0.0000 as a.mp4" in plain


def test_a_place_in_line_is_told(made: Video) -> None:
    """Where there is one."""
    queued = {**made, "status_detail": "queued", "progress": 0}
    told = [watch.standing({**queued, "queue_position": place}) for place in (3, None)]
    assert ["queued at sandbox, 0%, 3. in line, $0.0000", "queued at sandbox, 0%, $0.0000"] == told


async def test_generate_orders_once_and_keeps_every_clip(server: Server, tmp_path: Path) -> None:
    """Even where the answer to its order is lost."""
    body = {"prompt": "generated once", "n": 2, **SMALL}
    with losing(server.port) as (url, lost):
        await make(url, Console(file=StringIO()), body, tmp_path / "clip.mp4")
    (video,) = (
        each for each in server.get("/v1/videos?limit=100").json()["data"] if each["prompt"] == "generated once"
    )
    sums = {each["sha256"] for each in video["outputs"] if each["kind"] == "video"}
    files = [tmp_path / "clip-1.mp4", tmp_path / "clip-2.mp4"]
    assert sums == {hashlib.sha256(each.read_bytes()).hexdigest() for each in files}
    assert lost


def test_generate_takes_a_folder(server: Server, tmp_path: Path) -> None:
    """What goes there is named by its id, which is told as soon as there is one."""
    shown = StringIO()
    asyncio.run(make(server.url, Console(file=shown), {"prompt": "into a folder", **SMALL}, tmp_path))
    (file,) = tmp_path.iterdir()
    assert shown.getvalue().startswith(f"{file.stem} ordered\n")
    assert ".mp4" == file.suffix


@pytest.mark.parametrize("name", ["file/clip.mp4", "a" * 252 + ".mp4", "clip.mp4"])
def test_generate_buys_nothing_it_cannot_keep(server: Server, tmp_path: Path, name: str) -> None:
    """Whether a clip can be written is tried before it is ordered, and leaves nothing."""
    (tmp_path / "file").touch()
    (tmp_path / "clip-2.mp4").mkdir()
    before, there = server.get("/v1/videos").json()["first_id"], sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"cannot be written: .*; nothing was bought"):
        asyncio.run(make(server.url, Console(), {"prompt": "nowhere", "n": 2, **SMALL}, tmp_path / name))
    assert (before, there) == (server.get("/v1/videos").json()["first_id"], sorted(tmp_path.iterdir()))


async def test_generate_says_how_to_go_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something comes between, what was ordered is not lost: a command fetches it."""

    async def save(*_: Any) -> None:
        raise UsageError("the disk is full")

    body, out = {"prompt": "fetched later", **SMALL}, tmp_path / "a b" / "c.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(Gate, "save", save)
        with pytest.raises(UsageError) as caught:
            await make(server.url, Console(file=StringIO()), body, out)
    said = re.fullmatch("the disk is full; .*: reelgate watch (video_.*) --download --out '(.*)'", str(caught.value))
    assert said is not None
    await watch._watch(Console(file=StringIO()), [said[1]], server.url, Path(said[2]))
    assert (tmp_path / "a b" / f"{said[1]}.mp4").exists()


def test_generate_stopped_says_how_to_go_on(server: Server, tmp_path: Path) -> None:
    """Ctrl-C loses no purchase."""
    words = ["generate", "[slow 60] a kite", "--model", "sandbox/demo", "--out", str(tmp_path / "clip.mp4")]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words],
        env={**server.environ, "REELGATE_URL": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    id_ = process.stdout.readline().removesuffix(" ordered\n")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert 130 == process.returncode
    assert f"goes on at the gateway: reelgate watch {id_} --download --out {tmp_path}" in said
    assert "Traceback" not in said
    assert server.post(f"/v1/videos/{id_}/cancel", {}).is_success
    assert [] == [*tmp_path.iterdir()]


class Way(BaseHTTPRequestHandler):
    """Pass requests on to the gateway, spoiling what the test says."""

    gateway: ClassVar[str]
    spoil: ClassVar[str]
    asked: ClassVar[list[tuple[str, dict[str, str]]]]

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"]))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        answer = httpx.post(self.gateway + self.path, content=said, headers=headers, trust_env=False)
        self._answer(answer.status_code, {"content-type": "application/json"}, answer.content)

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "host"}
        self.asked.append((self.path, headers))
        busy = (
            [429, 503, 200][min(2, len(self.asked) - 1)]
            if self.spoil == "busy"
            else 503
            if self.spoil == "down"
            else 200
        )
        if busy != 200:
            self._answer(busy, {"content-type": "application/json", "retry-after": "0"}, b'{"error": {}}')
            return
        events, content = self.path.endswith("/events"), "/content" in self.path
        if events and self.spoil == "no streams":
            self._answer(200, {"content-type": "text/html"}, b"<p>not here</p>")
            return
        with httpx.stream("GET", self.gateway + self.path, headers=headers, trust_env=False) as answer:
            if events and self.spoil == "broken streams":
                self.send_response(200)
                self.send_header("content-type", answer.headers["content-type"])
                self.end_headers()
                said = b""
                for piece in answer.iter_raw():
                    said += piece
                    if b"data:" in said and said.endswith(b"\n\n"):
                        break
                self.wfile.write(said)
                return
            body = answer.read()
        if events and self.spoil == "raw lines":  # As a gateway wrote them that escaped nothing.
            for each in "\u0085\u2028\u2029":
                body = body.replace(rb"\u%04x" % ord(each), each.encode())
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name in {"content-type", "content-range", "etag", "retry-after"}
        }
        first = content and sum("/content" in path for path, _ in self.asked) == 1
        if first and self.spoil == "broken clips":
            body = body[: len(body) // 2]
            kept["x-length"] = answer.headers["content-length"]
        if content and self.spoil == "other clips":
            body = bytes(len(body))
        self._answer(answer.status_code, kept, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", headers.pop("x-length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def way(server: Server, spoil: str) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Stand on the way to a gateway; answers the address, and what was asked."""
    asked: list[tuple[str, dict[str, str]]] = []
    handler = type("Spoilt", (Way,), {"gateway": server.url, "spoil": spoil, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as front:
        serving = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"http://127.0.0.1:{front.server_address[1]}", asked
        finally:
            front.shutdown()
            serving.join()


async def followed(url: str, id_: str) -> list[Video]:
    """Follow a video to its end."""
    async with Gate(url, patience=5) as gate:
        return [each async for each in gate.follow(id_)]


def save(url: str, video: Video, path: Path, *, patience: float = 5) -> None:
    """Download a video's first clip."""

    async def run() -> None:
        async with Gate(url, patience=patience) as gate:
            await gate.save(video["id"], video["outputs"][0], path)

    asyncio.run(run())


async def test_a_stream_that_breaks_goes_on_where_it_broke(server: Server) -> None:
    """Every state once, in order, by Last-Event-ID."""
    id_ = order(server, "[slow 1] streamed")
    with way(server, "broken streams") as (url, asked):
        told = await followed(url, id_)
    seen = [headers.get("last-event-id") for path, headers in asked if path.endswith("/events")]
    assert None is seen[0]
    assert all(seen[1:])
    assert [int(str(each)) for each in seen[1:]] == sorted({int(str(each)) for each in seen[1:]})
    assert "completed" == told[-1]["status"]
    looks = [(each["status_detail"], each["progress"]) for each in told]
    assert looks == [*dict.fromkeys(looks)]


async def test_where_no_stream_comes_through_it_asks(server: Server) -> None:
    """And tells the same end."""
    id_ = order(server, "[slow 1] asked")
    with way(server, "no streams") as (url, asked):
        told = await followed(url, id_)
    assert "completed" == told[-1]["status"]
    assert f"/v1/videos/{id_}" in {path for path, _ in asked}


def test_a_download_that_breaks_goes_on_where_it_broke(server: Server, made: Video, tmp_path: Path) -> None:
    """Only the rest is asked for again, and the whole is checked."""
    clip = made["outputs"][0]
    with way(server, "broken clips") as (url, asked):
        save(url, made, tmp_path / "a.mp4")
    ranges = [headers.get("range") for path, headers in asked if "/content" in path]
    assert [None, f"bytes={clip['bytes'] // 2}-"] == ranges
    assert clip["sha256"] == hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    assert ["a.mp4"] == [each.name for each in tmp_path.iterdir()]


def test_what_is_not_the_clip_is_not_kept(server: Server, made: Video, tmp_path: Path) -> None:
    """However often it comes; and what an earlier run left of something else is thrown away."""
    (tmp_path / "a.mp4.part").write_bytes(b"something else")
    with way(server, "other clips") as (url, _), pytest.raises(RefusedError, match="not the clip that was made"):
        save(url, made, tmp_path / "a.mp4", patience=0.1)
    assert not (tmp_path / "a.mp4").exists()
    save(server.url, made, tmp_path / "a.mp4")
    assert made["outputs"][0]["sha256"] == hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()


async def test_a_gateway_that_is_busy_is_asked_again(server: Server, made: Video) -> None:
    """As long as it is worth it; its own no is not asked about twice, and one to what may have been heard says so."""
    with way(server, "busy") as (url, asked):
        async with Gate(url, patience=5) as gate:
            assert made["id"] == (await gate.video(made["id"]))["id"]
            assert 3 == len(asked)
            with pytest.raises(RefusedError) as caught:
                await gate.video("video_1")
            assert (404, False, 4) == (caught.value.status, caught.value.doubtful, len(asked))
        asked.clear()
        async with Gate(url, patience=5) as gate:
            with pytest.raises(RefusedError) as caught:
                await gate.video("video_1")
            assert (404, True, 3) == (caught.value.status, caught.value.doubtful, len(asked))
    with way(server, "down") as (url, asked):
        async with Gate(url, patience=0) as gate:
            with pytest.raises(RefusedError, match="HTTP 503"):
                await gate.video(made["id"])


@pytest.mark.parametrize("spoil", ["nothing", "raw lines"])
async def test_a_prompt_may_hold_what_is_a_line_to_some(server: Server, tmp_path: Path, spoil: str) -> None:
    """U+0085, U+2028 and U+2029 end no line of a stream, escaped or as they are."""
    prompt = f"a\u0085b\u2028c\u2029d {spoil}"
    id_ = order(server, prompt)
    with way(server, spoil) as (url, asked):
        told = await followed(url, id_)
        await make(url, Console(file=StringIO()), {"prompt": prompt, **SMALL}, tmp_path / "clip.mp4")
    assert ("completed", prompt) == (told[-1]["status"], told[-1]["prompt"])
    assert (tmp_path / "clip.mp4").exists()
    assert f"/v1/videos/{id_}" not in {path for path, _ in asked}  # Told by the stream alone.


@pytest.mark.parametrize("key", ["k\u00e9y", "ke\ny", "two keys", "key\x7f"])
def test_a_key_that_cannot_be_one_is_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """By every command, before anybody is asked."""
    monkeypatch.setenv("REELGATE_API_KEY", key)
    with pytest.raises(UsageError, match="REELGATE_API_KEY is no API key"):
        run("video_1", url="http://127.0.0.1:9")
    with pytest.raises(UsageError, match="REELGATE_API_KEY is no API key"):
        videos.list_(url="http://127.0.0.1:9")


def listed(capsys: pytest.CaptureFixture[str], server: Server, **options: Any) -> list[Video]:
    """List in this process, as JSON."""
    videos.list_(url=server.url, json_=True, **options)
    found: list[Video] = json.loads(capsys.readouterr().out)
    return found


def test_jobs_are_listed_as_asked_for(
    server: Server, made: Video, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first; by status, provider, model, key and time; an id is never cut, however narrow the terminal."""
    bad = order(server, "[fail] to be listed")
    eventually(lambda: server.get(f"/v1/videos/{bad}").json()["status"] == "failed")
    newest = listed(capsys, server, limit=1000)

    assert [each["id"] for each in newest] == sorted((each["id"] for each in newest), reverse=True)
    for options in (
        {"status": ("failed",)},
        {"status": ("failed", "queued"), "provider": ("sandbox",), "model": ("sandbox/demo",), "key": "local"},
        {"since": "1h", "status": ("failed",)},
    ):
        found = {each["id"] for each in listed(capsys, server, limit=1000, **options)}
        assert bad in found
        assert made["id"] not in found
    assert [] == listed(capsys, server, provider=("flow",))
    assert [] == listed(capsys, server, key="key_1")
    assert [] == listed(capsys, server, since="2999-01-01")
    for width in ("80", "160"):
        monkeypatch.setenv("COLUMNS", width)
        videos.list_(url=server.url, limit=1)
        told = capsys.readouterr().out
        assert newest[0]["id"] in told
        assert "1 shown, $0.0000; more with --limit" in told
    for wrong in ({"since": "soon"}, {"status": ("lost",)}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            listed(capsys, server, **wrong)


def test_one_job_is_shown_with_its_orders_and_its_money(
    server: Server, made: Video, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked, where it went, what it cost and on whose word; the same as JSON."""
    monkeypatch.setenv("COLUMNS", "160")
    videos.show(made["id"], url=server.url)
    told = capsys.readouterr().out
    for fact in (
        made["id"], "completed 100%", "made to be watched", "sandbox/demo by key local", "the only offer that can",
        "$0.0000, not charged; rendered on your own machine", made["outputs"][0]["sha256"], "succeeded",
    ):  # fmt: skip
        assert fact in told
    videos.show(made["id"], url=server.url, json_=True)
    shown = json.loads(capsys.readouterr().out)
    assert (made["id"], ["succeeded"]) == (shown["id"], [each["outcome"] for each in shown["attempts"]])


def test_commands_are_there_for_people(market: Market) -> None:
    """``jobs`` lists, and what an operator decides is where it was."""
    market.server.environ |= {"REELGATE_API_KEY": market.key, "COLUMNS": "100"}
    assert "none" in market.server.cli("jobs", "--model", "nobody/sells-it").stdout
    assert "0 unknown" in market.server.cli("jobs", "unknown").stdout
    told = market.server.cli("jobs", "--help").stdout
    assert all(word in told for word in ("show", "unknown", "adopt", "resubmit", "write-off", "settle", "--since"))
    assert "No video with id" in market.server.cli("jobs", "show", "video_1", check=False).stderr
