"""
Goal S4: secrets go where they are needed and turn up nowhere else, in a full run at DEBUG.

Every seller answers with what it was sent, credentials and all; a call crashes, the process is killed, commands are
run. Then everything that was said or kept is searched, as it stands and as base64.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.abuse.table import read
from tests.receiver import Receiver, receiver
from tests.server import Server, eventually

GIVEN = {
    "USEAPI_TOKEN": "user:1-canary-useapi-token-7Qz",
    "GEMINI_API_KEY": "AIza-canary-gemini-key-7Qz",
    "GEMINI_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"canary gemini webhook secret 7Qz").decode(),
    "COMETAPI_KEY": "sk-canary-comet-key-7Qz",
    "AIGENERATE_API_KEY": "sk-aig-canary-aigenerate-key-7Qz",
    "AIGENERATE_WEBHOOK_KEY": "canary-aigenerate-hook-key-7Qz",
    "REELGATE_SECRET_KEY": "canary-secret-key-of-the-gateway-7Qz-0123456789",
    "REELGATE_STORE_PASSWORD": "canary-database-password-7Qz",
}
"""Secrets of the environment."""
INPUT = "canary-in-a-data-url-7Qz"
SIGNED = "canary-in-an-address-7Qz"
"""What stands in the query of an address a client names."""
MISTYPED = "rgk_canaryInAQueryString7Qz000000000"
OFFERS = {
    "flow": "flow:google/veo-3.1-fast",
    "gemini": "gemini:google/gemini-omni-1.2-flash",
    "cometapi": "cometapi:cometapi/veo3.1",
    "aigenerate": "aigenerate:google/veo-3.1-fast",
}
WAITING = {"unknown", "queued"}
STATUSES = [400, 403, 429, 500, 401]


COMMANDS = """
import sys, traceback
from gateway import cli
lines = sys.argv[1:]
for line in lines:
    sys.argv = ["reelgate", *line.split()]
    try:
        cli.main()
    except SystemExit as end:
        print(line, "ended with", end.code)
    except BaseException:
        traceback.print_exc()
"""


class _Echo(BaseHTTPRequestHandler):
    """Answer whatever comes with an error that repeats all of it, in the words of every dialect at once."""

    server: "Echo"

    def do_POST(self) -> None:
        heard = self.rfile.read(int(self.headers.get("content-length", "0"))).decode("utf-8", "replace")
        slug = self.path.split("/")[1]
        said = f"You sent {dict(self.headers.items())} to {self.path}: {heard}"
        status = self.server.script[slug]
        self.server.heard[slug] = self.server.heard.get(slug, "") + said
        error = {"message": said, "code": said, "status": said, "type": said, "details": [{"reason": said}]}
        raw = json.dumps({"error": error, "code": status, "msg": said, "message": said, "failMsg": said}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.send_header("retry-after", "0")
        self.send_header("x-error", said.replace("\n", " ")[:2000])
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Echo(ThreadingHTTPServer):
    """Hold what each seller heard, and what it answers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.script = dict.fromkeys(OFFERS, 400)
        self.heard: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Echo)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Run:
    """Hold one gateway, what it answered, and what it may have let out."""

    def __init__(self, folder: Path, echo: Echo, told: Receiver) -> None:
        accounts = {
            f"REELGATE__ACCOUNTS__{slug.upper()}__{name}": value
            for slug in OFFERS
            for name, value in {
                "PROVIDER": slug,
                "BASE_URL": f"http://127.0.0.1:{echo.server_address[1]}/{slug}",
                "PLAN": "ultra-200" if slug == "flow" else "",
            }.items()
        }
        self.server = Server(
            folder, **GIVEN, **accounts, REELGATE__SERVER__LOG_LEVEL="debug", REELGATE__WEBHOOKS__HTTP="true",
            REELGATE__NETWORK__ALLOW=json.dumps([told.allowed]), REELGATE__ACCOUNTS__SANDBOX__PROVIDER="sandbox",
            **{f'REELGATE__OFFERS__{OFFERS["aigenerate"].upper()}__USD': "0.4"},
        )  # fmt: skip
        self.server.environ["REELGATE__SERVER__PUBLIC_URL"] = self.server.url
        self.key = self.server.create_key("--name", "app", "--scope", "read", "--scope", "write", "--scope", "metrics")
        self.answers: list[str] = []
        self.said: list[str] = []

    def call(self, method: str, path: str, body: Any = None, *, keep: bool = True, **headers: str) -> httpx.Response:
        """Make a call; what it answers is searched, unless that is where a secret is shown."""
        headers = {"authorization": f"Bearer {self.key}", **headers}
        answer = httpx.request(
            method, f"{self.server.url}{path}", json=body, headers=headers, trust_env=False, timeout=30
        )
        if keep:
            self.answers.append(f"{answer.headers}{answer.text}")
        return answer

    def order(self, **fields: Any) -> str:
        """Order a clip; answers its id, or nothing where nobody takes it."""
        answer = self.call("POST", "/v1/videos", {"prompt": "a kite", **fields})
        return str(answer.json().get("id", ""))

    def commands(self, *lines: str, **environ: str) -> None:
        """Run commands, well or not, all in one process: starting it takes longer than any of them."""
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, *lines],
            env={**self.server.environ, "REELGATE_URL": self.server.url, **environ},
            cwd=self.server.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.said.append(done.stdout + done.stderr)

    def find(self, secret: str) -> list[str]:
        """Say where a secret turned up: in what was said, or in what is kept."""
        forms = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]}
        places = {
            "log": self.server.log.read_text(),
            "answers": "\n".join(self.answers),
            "commands": "\n".join(self.said),
            "database": joined(self.server.folder.glob("reelgate.db*")),
            "receipts": joined((self.server.folder / "media" / "receipts").iterdir()),
        }
        return [name for name, text in places.items() if any(each in text for each in forms)]


def joined(paths: Iterable[Path]) -> str:
    """Read files as one text, whatever they hold."""
    return "".join(path.read_bytes().decode("latin-1") for path in paths)


def picture(text: str) -> str:
    """Write a picture with a text in it, as a data URL."""
    png = read().contents["png"].encode("latin-1")
    return "data:image/png;base64," + base64.b64encode(png + text.encode()).decode()


def test_secrets_turn_up_nowhere(tmp_path: Path, echo: Echo, told: Receiver) -> None:
    """Not in a log, an answer, a metric, a row, a webhook or a crash: no seller's, no client's, and none of our own."""
    run = Run(tmp_path, echo, told)
    run.server.start()
    made = {"name": "app", "url": f"{told.url}/all", "event_types": ["video.completed", "video.failed"]}
    shown = {
        "endpoint": run.call("POST", "/v1/webhook_endpoints", made, keep=False).json()["signing_secret"],
        "callback": run.call("POST", "/v1/callback_secret", {}, keep=False).json()["signing_secret"],
    }
    ids = [run.order(model="sandbox/demo", seconds=1, resolution="360p", input_reference={"image_url": picture(INPUT)},
                     callback_url=f"{told.url}/mine?key={SIGNED}")]  # fmt: skip
    for status in STATUSES:
        echo.script = dict.fromkeys(OFFERS, status)
        ids += filter(None, [run.order(model=offer) for offer in OFFERS.values()])
        eventually(partial(all_ended, run, ids), seconds=30)
    assert set(OFFERS) == set(echo.heard)
    for secret, slug in (("USEAPI_TOKEN", "flow"), ("GEMINI_API_KEY", "gemini"), ("COMETAPI_KEY", "cometapi"),
                         ("AIGENERATE_API_KEY", "aigenerate")):  # fmt: skip
        assert GIVEN[secret] in echo.heard[slug]
    eventually(lambda: told.at(f"/mine?key={SIGNED}") and told.at("/all"), seconds=20)
    run.answers += [str(each) for each in told.heard if "?key=" not in each.path]
    for path in ("/v1/videos", "/v1/providers", "/v1/offers", "/v1/spend", "/metrics", "/v1/webhook_endpoints",
                 f"/v1/videos?api_key={MISTYPED}"):  # fmt: skip
        run.call("GET", path)
    for each in ids:
        run.call("GET", f"/v1/videos/{each}/attempts")
    run.call("GET", "/v1/videos", authorization=f"Bearer {MISTYPED}")
    run.call("POST", "/v1/videos", {"prompt": "x", "input_reference": f"https://user:{SIGNED}@localhost/?key={SIGNED}"})
    run.call("POST", "/v1/videos", {"prompt": "x", "callback_url": f"https://user:{SIGNED}@localhost/?key={SIGNED}"})
    seals = linked(run, told)
    crash(run)
    run.commands("check", "doctor", "jobs unknown", "keys list", "spend", "webhooks list", "no such")
    elsewhere(run)
    secrets = {**GIVEN, **shown, "client key": run.key, "mistyped": MISTYPED, "input": INPUT}
    assert 12 <= len(secrets)
    assert {} == {name: places for name, value in secrets.items() if (places := run.find(value))}
    # A link opens its clip to whoever has it: it is told to who asks for the clip, and written down nowhere.
    assert [set()] * len(seals) == [{*run.find(each)} - {"answers"} for each in seals]
    # A callback's own address is kept, and shown to its owner: it has to be called.
    assert {*run.find(SIGNED)} <= {"database", "answers"}
    assert [] == [each for each in run.answers if SIGNED in each and "problem" in each]
    assert "request.crashed" in run.server.log.read_text()


def all_ended(run: Run, ids: list[str]) -> bool:
    """Whether every video has ended, or waits: for what may have been bought, or for its seller to rest."""
    videos = [run.call("GET", f"/v1/videos/{each}", keep=False).json() for each in ids]
    return all(each["completed_at"] or each["error"] or each["status_detail"] in WAITING for each in videos)


def linked(run: Run, told: Receiver) -> list[str]:
    """Have a clip made, its client told of it, and its links opened, well and not; answers their seals."""
    body = {"model": "sandbox/demo", "input": {"prompt": "a kite", "duration": 1, "resolution": "360p"}}
    made = run.call("POST", "/api/v1/jobs/createTask", {**body, "callBackUrl": f"{told.url}/linked"}).json()["taskId"]
    eventually(lambda: told.at("/linked"), seconds=30)
    video = run.call("GET", f"/v1/videos/{made}", keep=False).json()
    (heard,) = told.at("/linked")
    links = [each["link"] for each in video["outputs"]] + re.findall(r"/links/[^\\\"]+", heard.body.decode())
    for each in links:
        assert 200 == httpx.get(f"{run.server.url}{each}", trust_env=False).status_code
        assert 403 == httpx.get(f"{run.server.url}{each}x", trust_env=False).status_code
    assert 5 <= len(links)
    return [each.split("/")[2] for each in links]


def crash(run: Run) -> None:
    """Have a call crash on a folder that is none, and the process end in the middle of an order."""
    incoming = run.server.folder / "media" / "incoming"
    shutil.rmtree(incoming)
    incoming.write_text("no folder")
    assert 500 == run.call("POST", "/v1/videos", {"prompt": "x", "input_reference": picture(INPUT)}).status_code
    incoming.unlink()
    incoming.mkdir()
    run.order(model=OFFERS["cometapi"])
    run.server.kill()
    run.server.start()
    assert 0 == run.server.stop()


def elsewhere(run: Run) -> None:
    """Start where nothing can be: a database that is not there, an address with a password in it, a wrong word."""
    password = GIVEN["REELGATE_STORE_PASSWORD"]
    run.commands("serve", "check", REELGATE__STORE__URL=f"postgresql://reelgate:{password}@127.0.0.1:1/x")
    run.commands("serve", REELGATE__STORE__URL=f"mysql://x:{password}@y/z")
