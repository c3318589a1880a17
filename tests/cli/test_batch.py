"""Laws of ``reelgate batch``: every line is bought once, whatever breaks, and its clip is the one that was made."""

import asyncio
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from rich.console import Console

from gateway.cli.batch import command
from gateway.cli.batch.results import COMPLETED, FAILED, ORDERED, ORDERING, Fault, Result, Saved
from gateway.cli.batch.run import OLD_SECONDS, TAG
from gateway.cli.batch.screen import screen_of, summary
from gateway.cli.common import GoneError, UsageError
from gateway.cli.gate import Gate
from tests.cli.batches import SMALL, lines_of, result, results_of, run, write
from tests.market import Market
from tests.outside import picture
from tests.sdk.lossy import losing
from tests.server import Server, eventually


def bought(server: Server, batch: Path) -> Counter[str]:
    """Count what the gateway was made to buy for a batch, by prompt: attempts, not jobs."""
    (begin, *_) = results_of(batch).read_text().splitlines()
    id_ = json.loads(begin)["id"]
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        found = [
            each
            for each in http.get("/v1/videos?limit=100").json()["data"]
            if each["metadata"].get(TAG, "").startswith(id_)
        ]
        count: Counter[str] = Counter()
        for each in found:
            count[each["prompt"]] += len(http.get(f"/v1/videos/{each['id']}/attempts").json()["data"])
    return count


def start(server: Server, *words: str) -> "subprocess.Popen[str]":
    """Start the command as a person does."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words],
        env={**server.environ, "REELGATE_URL": server.url},
        cwd=server.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_line_becomes_its_clips(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From text, from frames, several of one; each where it was asked to lie, and as the gateway says it is."""
    for name, size in (("a.png", (640, 360)), ("b.png", (640, 362))):
        (tmp_path / name).write_bytes(picture(size))
    path = write(
        tmp_path,
        [
            "plain",
            {"prompt": "framed", "startImage": "a.png", "endImage": "./b.png", "file": "scene 1/framed"},
            {"prompt": "two", "count": 2, "seed": 5},
            {"prompt": "two apart", "count": 2, "model": "google/gemini-omni-1.2-flash", "seconds": 3, "fps": None},
        ],
    )

    assert 0 == run(path, server.url)
    told = capsys.readouterr().out
    assert "5 to buy, quoted $0.0000 in all" in told
    assert "5 made; quoted $0.0000, charged $0.0000" in told
    clips = {
        str(each.relative_to(tmp_path / "prompts")) for each in (tmp_path / "prompts").rglob("*") if each.is_file()
    }
    assert {
        "01-plain.mp4", "scene 1/framed.mp4", "03-two-1.mp4", "03-two-2.mp4", "04-two-apart-1.mp4",
        "04-two-apart-2.mp4",
    } == clips  # fmt: skip
    results = lines_of(tmp_path / "prompts.results.jsonl")
    assert {COMPLETED} == {each.status for each in results}
    for each in results:
        made = {clip["sha256"] for clip in server.get(f"/v1/videos/{each.video}").json()["outputs"]}
        for clip in each.clips:
            data = (tmp_path / "prompts" / clip.file).read_bytes()
            assert (clip.bytes, clip.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            assert clip.sha256 in made
    framed = next(each for each in results if each.prompt == "framed")
    shown = server.get(f"/v1/videos/{framed.video}").json()["request"]
    assert ("frames", ["first_frame", "last_frame"]) == (shown["mode"], [each["role"] for each in shown["inputs"]])
    assert Counter({"plain": 1, "framed": 1, "two": 1, "two apart": 2}) == bought(server, path)


def test_useapis_file_is_bought_as_it_is(server: Server, tmp_path: Path) -> None:
    """Every line at the model, length, shape and frames its words say; nothing is rendered of what is asked to fail."""
    for name, size in (("first_image.jpeg", (640, 360)), ("last_image.jpeg", (640, 362))):
        (tmp_path / name).write_bytes(picture(size))
    path = tmp_path / "prompts.json"
    rows: list[dict[str, Any]] = [
        {"prompt": "[refuse] s1"},
        {
            "model": "veo-3.1-quality", "aspectRatio": "landscape", "duration": 8, "count": 2, "seed": 5,
            "prompt": "[refuse] s2",
        },
        {
            "model": "veo-3.1-fast", "aspectRatio": "portrait", "duration": 8, "startImage": "./first_image.jpeg",
            "endImage": "./last_image.jpeg", "prompt": "[refuse] s3",
        },
        {"model": "omni-flash", "duration": 10, "prompt": "[refuse] s4"},
        {"model": "google/gemini-omni-1.1-flash", "duration": 4, "count": 2, "seed": 5, "prompt": "[refuse] one each"},
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    assert 1 == run(path, server.url)
    shown = {each.where: server.get(f"/v1/videos/{each.video}").json() for each in lines_of(results_of(path))}
    facts = {
        where: (video["resolved_model"], video["seconds"], video["size"], video["request"].get("seed"))
        for where, video in shown.items()
    }
    assert {
        "prompt 1": ("google/veo-3.1-fast", "8", "1280x720", None),
        "prompt 2": ("google/veo-3.1", "8", "1280x720", 5),
        "prompt 3": ("google/veo-3.1-fast", "8", "720x1280", None),
        "prompt 4": ("google/gemini-omni-flash", "10", "1280x720", None),
        "prompt 5, 1 of 2": ("google/gemini-omni-1.1-flash", "4", "1280x720", 5),
        "prompt 5, 2 of 2": ("google/gemini-omni-1.1-flash", "4", "1280x720", 6),
    } == facts
    assert ["first_frame", "last_frame"] == [each["role"] for each in shown["prompt 3"]["request"]["inputs"]]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_lines_and_tables_are_bought_alike(server: Server, tmp_path: Path, kind: str) -> None:
    """Each line as it says, once, with what ``--default`` says beside."""
    path = tmp_path / f"p.{kind}"
    rows = [{"prompt": f"{kind} made", "file": "kite"}, {"prompt": f"[fail] {kind}, not", "seed": "7"}]
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps({**row, "seed": 7}) for row in rows))
    else:
        path.write_text(f'prompt;file;seed\n{kind} made;kite;7\n"[fail] {kind}, not";;7\n')
    said = tuple(f"{name}={value}" for name, value in SMALL.items())
    assert 1 == run(path, server.url, default=said)
    assert {row["prompt"]: 1 for row in rows} == bought(server, path)
    assert ["kite.mp4"] == [each.name for each in (tmp_path / "p").iterdir()]
    for each in lines_of(results_of(path)):
        assert (7, 12, "360p") == tuple(
            server.get(f"/v1/videos/{each.video}").json()["request"][name] for name in ("seed", "fps", "resolution")
        )


def test_stopped_anywhere_it_goes_on(tmp_path: Path, server: Server) -> None:
    """Ctrl-C and ``kill -9``, while lines are ordered, made and fetched: in the end every line was bought once."""
    rows = [f"[slow 1] line {number}" for number in range(6)]
    path = write(tmp_path, rows)
    results = tmp_path / "prompts.results.jsonl"
    words = ["batch", str(path), "--at-once", "2"]
    moments: list[tuple[bytes, int]] = [
        (b'"status":"ordering"', signal.SIGINT),
        (b'"status":"ordered"', signal.SIGINT),
        (b'"status":"completed"', signal.SIGKILL),
    ]
    for mark, sign in moments:
        seen = results.read_bytes().count(mark) if results.exists() else 0
        process = start(server, *words)

        def reached(mark: bytes = mark, seen: int = seen, process: "subprocess.Popen[str]" = process) -> bool:
            ended = process.poll() is not None
            return ended or (results.exists() and results.read_bytes().count(mark) > seen)

        eventually(reached, seconds=30)
        process.send_signal(sign)
        _, said = process.communicate(timeout=30)
        assert process.returncode == (130 if sign == signal.SIGINT else -sign), said
        assert "Traceback" not in said
        if sign == signal.SIGINT:
            assert "give the same command again" in said

    assert 0 == run(path, server.url)
    assert dict.fromkeys(rows, 1) == bought(server, path)
    assert {COMPLETED} == {each.status for each in lines_of(results)}
    kept = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "prompts").iterdir()}
    assert 6 == len(kept)
    assert 0 == run(path, server.url)
    assert kept == {each.name: each.stat().st_mtime_ns for each in (tmp_path / "prompts").iterdir()}


class Death(BaseException):
    """The process ends here."""


class Mortal(Gate):
    """A gateway's client whose process dies at one of its calls: before it leaves, or when its answer has come."""

    dies: ClassVar[tuple[int, bool]]
    calls: ClassVar[int]

    async def _live(self, work: Callable[[], Any]) -> Any:
        type(self).calls += 1
        dies = type(self).calls == self.dies[0]
        if dies and not self.dies[1]:
            raise Death
        found = await work()
        if dies:
            raise Death
        return found

    async def call(self, *words: Any, **options: Any) -> Any:
        return await self._live(lambda: super(Mortal, self).call(*words, **options))

    async def save(self, *words: Any) -> None:
        await self._live(lambda: super(Mortal, self).save(*words))

    async def _more(self, *words: Any) -> None:
        await self._live(lambda: super(Mortal, self)._more(*words))

    async def follow(self, id_: str) -> Any:
        await self._live(lambda: asyncio.sleep(0))
        async for each in super().follow(id_):
            yield each


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dead_at_every_call_it_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """One process a call, each dying one call later than the last: one purchase, one clip."""
    monkeypatch.setattr(command, "Gate", Mortal)
    deaths = 0
    for at in range(1, 40):
        folder = tmp_path / str(at)
        folder.mkdir()
        path = write(folder, [f"{at} {after}"])
        Mortal.dies, Mortal.calls = (at, after), 0
        try:
            code = run(path, server.url)
        except Death:
            deaths += 1
            Mortal.dies = (0, False)
            code = run(path, server.url)
        else:
            assert Mortal.calls < at
            break
        assert 0 == code
        assert {f"{at} {after}": 1} == bought(server, path)
        assert [f"01-{at}-{str(after).lower()}.mp4"] == [each.name for each in (folder / "prompts").iterdir()]
    assert 6 == deaths  # what is sold, the quote, the order, the look, the clip, its bytes


def test_an_answer_that_was_lost_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    """The wire loses the answer to every first try: each line is one job all the same."""
    rows = ["[fail] lost 1", "[fail] lost 2", "[fail] lost 3"]
    path = write(tmp_path, rows)
    with losing(server.port) as (url, lost):
        assert 1 == run(path, url, at_once=3)
    assert dict.fromkeys(rows, 1) == bought(server, path)
    assert {each.key.encode() for each in lines_of(tmp_path / "prompts.results.jsonl")} == lost


@pytest.fixture
def begun(server: Server, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make a batch of one line whose run ended between its call and the answer, or before the call left."""

    def begin(prompt: str, *, sent: bool, age: float, **changes: Any) -> Path:
        path = write(tmp_path, [prompt])
        kept = tmp_path / "prompts.results.jsonl"
        assert 1 == run(path, server.url)
        header, line = kept.read_bytes().splitlines()
        result = msgspec.json.decode(line, type=Result)
        call = {**result.call, **changes}
        if not sent:
            call["metadata"] = {TAG: f"not that of {prompt}"}
        fresh = msgspec.structs.replace(
            result, status=ORDERING, video="", fault=None, at=time.time() - age, call=call, key="new" + result.key
        )
        kept.write_bytes(header + b"\n" + msgspec.json.encode(fresh) + b"\n")
        return path

    return begin


@pytest.mark.parametrize("sent", [True, False])
def test_a_call_older_than_its_key_is_looked_for(server: Server, begun: Callable[..., Path], sent: bool) -> None:
    """The gateway forgets keys: a job that was made is found by what it carries, else the line is ordered."""
    path = begun(f"[fail] old {sent}", sent=sent, age=OLD_SECONDS + 60)
    (before,) = lines_of(results_of(path))
    assert 1 == run(path, server.url)
    (after,) = lines_of(results_of(path))
    jobs = [each for each in server.get("/v1/videos?limit=100").json()["data"] if each["prompt"] == after.prompt]

    assert (1 if sent else 2) == len(jobs)
    assert after.video == jobs[-1 if sent else 0]["id"]
    assert "failed" == after.status
    assert (before.key == after.key) is sent


def test_a_no_to_a_call_sent_again_is_not_believed(server: Server, begun: Callable[..., Path]) -> None:
    """What is sold now says nothing of a call that may have been heard: its job is looked for."""
    path = begun("[fail] since shut", sent=True, age=0, seconds=599)
    assert 1 == run(path, server.url)
    (after,) = lines_of(results_of(path))

    assert ("failed", "generation_failed") == (after.status, after.fault and after.fault.code)
    assert 1 == sum(bought(server, path).values())


def test_a_no_to_a_call_nobody_heard_is_told(server: Server, begun: Callable[..., Path]) -> None:
    """The line is refused, with the gateway's reason."""
    path = begun("[fail] never heard", sent=False, age=0, seconds=599)
    assert 1 == run(path, server.url)
    (after,) = lines_of(results_of(path))
    assert "refused" == after.status
    assert after.fault is not None
    assert "seconds" in after.fault.message


def test_what_failed_is_told_and_bought_again_on_ones_word(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its reason, and an exit code; a clip that is gone from the folder is fetched, not bought."""
    path = write(tmp_path, ["fine", "[fail] not so"])
    assert 1 == run(path, server.url)
    told = capsys.readouterr().out
    assert "1 made, 1 failed" in told
    assert "prompt 2: failed: the prompt asks to fail" in told
    (tmp_path / "prompts" / "01-fine.mp4").unlink()
    assert 1 == run(path, server.url)
    assert (tmp_path / "prompts" / "01-fine.mp4").exists()
    assert {"fine": 1, "[fail] not so": 1} == bought(server, path)
    assert 1 == run(path, server.url, retry_failed=True)
    assert {"fine": 1, "[fail] not so": 2} == bought(server, path)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a", {"prompt": "b", "seconds": 599}], "prompt 2, seconds: no offer can do this: sandbox/demo sells seconds"),
        (["a", {"prompt": "b", "duration": "soon"}], "prompt 2, duration: "),
        (["a", {"prompt": "b", "model": "nobody/none"}], "prompt 2, model: No account here sells 'nobody/none'"),
        (["a", {"prompt": "b", "startImage": "text.png"}], "prompt 2: text.png: Send a PNG"),
        (["a", {"prompt": "b", "startImage": "file_" + 32 * "0"}], "prompt 2, startImage: "),
        (["a", {"prompt": "b", "provider": "nobody"}], "prompt 2, provider: There is no provider 'nobody'"),
        (["a", {"prompt": "b", "file": "there.mp4"}], "prompt 2, file: "),
        (["a", {"prompt": "b", "startImage": "a\0.png"}], "prompt 2, startImage: remove the NUL"),
        (["a", "b\ud800"], "prompt 2, prompt: remove"),
        (["a", {"prompt": "b", "metadata": {"c": ["\udfff"]}}], "prompt 2, metadata: remove"),
        (["a", {"prompt": "b", "file": "\ud800"}], "prompt 2, file: remove"),
        (["a", {"prompt": "b", "file": "f" * 248}], "prompt 2, file: "),
        (["a", {"prompt": "b", "file": "\u00e9" * 124}], "250 bytes go"),
        (["a", {"prompt": "b", "file": "f" * 256 + "/a.mp4"}], "prompt 2, file: "),
        (["a", {"prompt": "b", "n": 2, "file": "f" * 245}], "prompt 2, file: "),
        (
            [{"prompt": "a", "file": "a.mp4"}, {"prompt": "b", "file": "A.mp4/b"}],
            "prompt 2, file: A.mp4/b.mp4 lies below",
        ),
        ([{"prompt": "a", "file": "a.mp4/b/c"}, {"prompt": "b", "file": "a.mp4"}], "the file of prompt 2"),
    ],
)
def test_one_wrong_line_stops_the_whole_batch(server: Server, tmp_path: Path, rows: list[Any], told: str) -> None:
    """Before anything is bought, by the name the line has for the field."""
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "there.mp4").write_text("mine")
    path = write(tmp_path, rows)
    before = server.get("/v1/videos").json()["first_id"]
    with pytest.raises(UsageError) as caught:
        run(path, server.url)

    assert told in str(caught.value)
    assert before == server.get("/v1/videos").json()["first_id"]
    assert "mine" == (tmp_path / "prompts" / "there.mp4").read_text()


def test_money_is_asked_about(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A total is agreed to by a yes, a flag or a ceiling; else nothing is bought."""
    monkeypatch.setenv("REELGATE_API_KEY", market.key)
    path = tmp_path / "p.csv"
    path.write_text("prompt,model,seconds,provider\na,google/veo-3.1-fast,8,flow\nb,google/veo-3.1-fast,8,vertex\n")
    told = {
        (): "this would spend $0.8800: say --yes, or --max-cost USD",
        ("--max-cost", "0.5"): "$0.8800 is more than --max-cost",
        ("--max-cost", "much"): "'much' is no amount",
    }
    market.server.environ |= {"REELGATE_API_KEY": market.key}
    there = market.http.get("/videos").json()["data"]
    for words, said in told.items():
        with (
            pytest.raises(UsageError, match=re.escape(said))
            if words != ("--max-cost", "much")
            else pytest.raises(Exception, match="no amount")
        ):
            command.batch(path, url=market.server.url, max_cost=words[1] if words else "")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "batch", str(path)],
        env={**market.server.environ, "REELGATE_URL": market.server.url, "COLUMNS": "120", "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 4096)
    os.write(ours, b"n\n")
    assert 2 == process.wait(30)
    os.close(ours)
    assert b"flow:google/veo-3.1-fast" in shown
    assert b"2 to buy, quoted $0.8800 in all" in shown
    assert there == market.http.get("/videos").json()["data"]


def test_what_it_cost_is_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was quoted and what was charged; nothing for what was not made, and never more than was quoted."""
    price = '[offers."sandbox:sandbox/demo"]\nusd = "0.25"\nper = "video"\n[accounts.sandbox]\nprovider = "sandbox"\n'
    (tmp_path / "config.toml").write_text(price)
    server = Server(tmp_path).start()
    path = write(tmp_path, ["dear", "[fail] dear", {"prompt": "capped", "provider": {"max_cost": 0.3}}])
    try:
        with pytest.raises(UsageError, match=r"this would spend \$0\.7500"):
            run(path, server.url)
        assert 1 == run(path, server.url, max_cost="0.75")
        told = capsys.readouterr().out
        assert "3 to buy, quoted $0.7500 in all" in told
        assert "2 made, 1 failed; quoted $0.7500, charged $0.5000" in told
        asked = [each["request"]["provider"] for each in server.get("/v1/videos").json()["data"]]
        assert [250_000] * 3 == [each["max_usd_micros"] for each in asked]
    finally:
        server.stop()


def test_where_there_is_no_place_for_clips_nothing_is_bought(server: Server, tmp_path: Path) -> None:
    """A folder that cannot be made is told first."""
    path = write(tmp_path, ["[fail] nowhere to go"])
    (tmp_path / "prompts").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written: File exists; nothing was bought"):
        run(path, server.url)
    assert "[fail] nowhere to go" not in {each["prompt"] for each in server.get("/v1/videos").json()["data"]}


@pytest.mark.parametrize("terminal", [True, False])
def test_how_a_batch_is_shown(terminal: bool) -> None:
    """Bars on a terminal, lines elsewhere: where each line's video is made, how far it is, what came of it."""
    shown = StringIO()
    console = Console(file=shown, force_terminal=terminal, width=200)
    line = msgspec.structs.replace(result("1", ORDERED), clips=(Saved(file="k[i].mp4", bytes=1, sha256="s"),))
    video = {"id": "video_1", "status_detail": "generating", "provider": "flow", "progress": 40}
    with screen_of(console, 2) as screen:
        screen.moved(line, video)
        screen.moved(line, {**video, "status_detail": "unknown"})
        screen.ended(msgspec.structs.replace(line, status=COMPLETED, video="video_1", provider="flow"))
        screen.ended(msgspec.structs.replace(line, status=FAILED, fault=Fault(code="c", message="why\x1b[2J [b]")))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert "line 1: k[i].mp4  video_1 by flow for $0.0000" in plain
    assert "line 1: failed: why [2J [b]" in plain
    if terminal:
        assert "2/2" in plain
    else:
        assert ["line 1: video_1 ordered at flow", "line 1: video_1 nobody knows yet whether it was taken at flow"] == (
            plain.splitlines()[:2]
        )
    assert "1 made, 1 failed; quoted $0.3000, charged $0.1000, $0.2000 in doubt" == summary(
        [
            msgspec.structs.replace(line, status=COMPLETED, quoted_usd=0.1, charged_usd=0.1, billing="billed"),
            msgspec.structs.replace(
                line,
                status=FAILED,
                quoted_usd=0.2,
                charged_usd=0.2,
                billing="possibly_billed",
                fault=Fault(code="", message=""),
            ),
        ]
    )


def test_where_nobody_answers_it_says_what_to_start(tmp_path: Path) -> None:
    """Plainly, and with nothing left behind."""
    path = write(tmp_path, ["a"])
    with pytest.raises(GoneError, match="start one with `reelgate serve`"):
        run(path, "http://127.0.0.1:9")
    assert not results_of(path).exists()
