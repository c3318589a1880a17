"""
Laws of the pair: a gateway whose only seller is another gateway gets every clip its dialect can ask for.

The second gateway is the sandbox behind the dialect's surface, and the adapter that speaks to it knows nothing of
that: each side keeps the other honest, over a real socket, with a key.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.offers.tables import MODES
from providers.base.listing import listings
from tests.server import ROOT, Server, eventually
from tests.surfaces import test_relayed
from tests.surfaces.conftest import as_url, picture

SELLER = """
[aliases]
"veo3.1" = ["google/veo-3.1"] # for /v1/videos, which knows our names alone
"veo3.1-fast" = ["google/veo-3.1-fast"]
"""

BUYER = """
[accounts.sandbox]
provider = "sandbox"
enabled = false

[accounts.comet]
provider = "cometapi"
base_url = "{url}"

[accounts.kie]
provider = "aigenerate"
base_url = "{url}/api/v1"

[accounts.useapi]
provider = "flow"
plan = "ultra-200"
base_url = "{url}/v1/google-flow"
max_running = 16

[accounts.vertex]
provider = "vertex"
base_url = "{url}"
max_running = 16

{offers}
"""

UNPRICED = (
    "cometapi:cometapi/veo3-fast-frames", "cometapi:cometapi/veo-3.1", "cometapi:google/veo-3.1-fast",
    "aigenerate:google/veo-3.1-fast", "aigenerate:google/veo-3.1", "aigenerate:aigenerate/veo-3-1",
)  # fmt: skip
"""Offers nobody states a price of, so that the operator has to."""


WAYS = {
    ("cometapi", "videos"): "`/v1/videos`",
    ("cometapi", "chat"): "`/v1/chat/completions`",
    ("cometapi", "veo"): "`/veo/v1`",
    ("aigenerate", "jobs"): "`/api/v1/jobs`",
    ("aigenerate", "veo"): "`/api/v1/veo`",
    ("flow", ""): "`/v1/google-flow`",
    ("gemini", "veo"): "`/v1beta/models/{model}:predictLongRunning`",
    ("gemini", "interactions"): "`/v1/interactions`",
    ("vertex", "veo"): "`/v1beta1/projects/{p}/locations/{l}/publishers/google/models/{model}:predictLongRunning`",
    ("vertex", "interactions"): "`/v1beta1/projects/{p}/locations/global/interactions`",
}
"""Which surface answers each way an adapter orders by."""

UNSEEN = {("aigenerate", "veo", mode): "needs links" for mode in ("first_frame", "frames", "reference")}
"""What is sold and not shown here: AI Generate fetches pictures from a public address, and this machine has none."""


class Case(NamedTuple):
    """Name one clip that is asked for: of which offer, from what."""

    offer: str
    mode: str
    body: dict[str, Any]
    source: str = ""
    """The case whose clip this one goes on from."""


FIRST = {"input_reference": as_url(picture("red"))}
ENDS = {
    "frame_images": [
        {"type": "image_url", "image_url": as_url(picture(colour)), "frame_type": kind}
        for colour, kind in (("red", "first_frame"), ("blue", "last_frame"))
    ]
}
GUIDES = {"input_references": [{"type": "image_url", "image_url": as_url(picture(each))} for each in ("red", "blue")]}
SPEAKS = {"description": "quick", "voice_id": "Kore"}
CAST = {
    "elements": [
        {"name": name, "images": [as_url(picture(each)) for each in colours], **SPEAKS}
        for name, colours in (("Carol", ("red", "blue")), ("Tom", ("green",)))
    ]
}
SMALL = {"resolution": "360p"}

CASES = {
    "comet-text": Case("cometapi:google/veo-3.1", "text", {"seconds": 4}),
    "comet-first": Case("cometapi:google/veo-3.1-fast", "first_frame", {"seconds": 4, **FIRST}),
    "comet-chat": Case("cometapi:cometapi/veo3.1-pro", "text", {}),
    "comet-chat-first": Case("cometapi:cometapi/veo3-fast-frames", "first_frame", FIRST),
    "comet-chat-ends": Case("cometapi:cometapi/veo-3.1", "frames", {"seconds": 4, **ENDS}),
    "comet-chat-guides": Case("cometapi:cometapi/veo3.1-pro-references", "reference", GUIDES),
    "comet-veo": Case("cometapi:cometapi/veo3.1-legacy", "text", {"aspect_ratio": "9:16"}),
    "kie-jobs": Case("aigenerate:aigenerate/veo-3-1", "text", {}),
    "kie-veo": Case("aigenerate:google/veo-3.1-fast", "text", {"aspect_ratio": "9:16"}),
    "flow-text": Case("flow:google/veo-3.1-fast", "text", {"seconds": 4, "seed": 7}),
    "flow-first": Case("flow:google/veo-3.1", "first_frame", FIRST),
    "flow-ends": Case("flow:google/veo-3.1-fast", "frames", {"seconds": 4, **ENDS}),
    "flow-guides": Case("flow:google/gemini-omni-flash", "reference", {"seconds": 4, **SMALL, **GUIDES}),
    "flow-cast": Case("flow:google/gemini-omni-flash", "reference", {"seconds": 4, **SMALL, **CAST}),
    "flow-two": Case("flow:google/gemini-omni-flash", "text", {"seconds": 4, "n": 2, **SMALL}),
    "vertex-text": Case("vertex:google/veo-3.1", "text", {"seconds": 4, "seed": 7}),
    "vertex-first": Case("vertex:google/veo-3.1-lite", "first_frame", {"seconds": 4, **FIRST}),
    "vertex-ends": Case("vertex:google/veo-3.1-fast", "frames", {"seconds": 4, **ENDS}),
    "vertex-guides": Case("vertex:google/veo-3.1-fast", "reference", GUIDES),
    "vertex-omni": Case("vertex:google/gemini-omni-1.2-flash", "text", {"seconds": 3, **SMALL}),
    "vertex-omni-first": Case("vertex:google/gemini-omni-flash", "first_frame", {"seconds": 3, **SMALL, **FIRST}),
    "vertex-omni-ends": Case("vertex:google/gemini-omni-1.2-flash", "frames", {"seconds": 3, **SMALL, **ENDS}),
    "vertex-omni-guides": Case("vertex:google/gemini-omni-1.2-flash", "reference", {"seconds": 3, **SMALL, **GUIDES}),
    "comet-chat-extend": Case("cometapi:cometapi/veo-3.1", "extend", {"task": "extend"}, "comet-chat-ends"),
    "flow-edit": Case("flow:google/gemini-omni-flash", "edit", {}, "flow-text"),
    "flow-extend": Case("flow:google/veo-3.1-fast", "extend", {"task": "extend"}, "flow-text"),
    "flow-upscale": Case(
        "flow:google/veo-3.1-fast", "upscale", {"task": "upscale", "resolution": "1080p"}, "flow-text"
    ),
    "vertex-extend": Case("vertex:google/veo-3.1", "extend", {"task": "extend"}, "vertex-text"),
    "vertex-omni-edit": Case("vertex:google/gemini-omni-1.2-flash", "edit", {}, "vertex-omni"),
    "vertex-omni-extend": Case(
        "vertex:google/gemini-omni-1.2-flash", "extend", {"task": "extend", "seconds": 3}, "vertex-omni"
    ),
    "vertex-omni-upscale": Case(
        "vertex:google/gemini-omni-1.2-flash", "upscale", {"task": "upscale", "resolution": "720p"}, "vertex-omni"
    ),
}

VERDICTS = {
    ("cometapi:cometapi/veo3.1-pro", "[refuse]"): "content_policy_violation",
    ("cometapi:cometapi/veo3.1-pro", "[block]"): "content_policy_violation",
    ("cometapi:cometapi/veo3.1-pro", "[fail]"): "generation_failed",
    # Its other routes have no word for policy.
    ("cometapi:google/veo-3.1", "[refuse]"): "generation_failed",
    ("cometapi:cometapi/veo3.1-legacy", "[fail]"): "generation_failed",
    ("aigenerate:aigenerate/veo-3-1", "[refuse]"): "content_policy_violation",
    ("aigenerate:aigenerate/veo-3-1", "[fail]"): "generation_failed",
    ("aigenerate:google/veo-3.1-fast", "[refuse]"): "content_policy_violation",
    ("aigenerate:google/veo-3.1-fast", "[fail]"): "generation_failed",
    ("flow:google/veo-3.1-fast", "[refuse]"): "content_policy_violation",
    ("flow:google/veo-3.1-fast", "[block]"): "content_policy_violation",
    ("flow:google/veo-3.1-fast", "[fail]"): "generation_failed",
    ("vertex:google/veo-3.1-fast", "[refuse]"): "content_policy_violation",
    ("vertex:google/veo-3.1-fast", "[block]"): "content_policy_violation",
    ("vertex:google/veo-3.1-fast", "[fail]"): "generation_failed",
    ("vertex:google/gemini-omni-1.2-flash", "[refuse]"): "content_policy_violation",
    ("vertex:google/gemini-omni-1.2-flash", "[fail]"): "generation_failed",
}


@contextmanager
def token_service(token: str, folder: Path) -> Iterator[str]:
    """Give out one token as Google's service does, to whoever signs for it; answers the path of a key that can."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        account = {
            "type": "service_account", "project_id": "p", "client_email": "reel@p.iam.gserviceaccount.com",
            "private_key": pem, "token_uri": f"http://127.0.0.1:{service.server_address[1]}/token",
        }  # fmt: skip
        path = folder / "service-account.json"
        path.write_text(json.dumps(account))
        yield str(path)
        service.shutdown()
    assert asked
    assert all(each.startswith(b"assertion=") or b"&assertion=" in each for each in asked)


@pytest.fixture(scope="module")
def buyer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway that buys at another, and a client of it."""
    with ExitStack() as stack:
        yield stack.enter_context(opened(tmp_path_factory, stack))


def opened(tmp_path_factory: pytest.TempPathFactory, stack: ExitStack) -> httpx.Client:
    """Start both, and connect to the one that buys."""
    seller = Server(tmp_path_factory.mktemp("seller"))
    (seller.folder / "config.toml").write_text(SELLER)
    key = seller.create_key("--name", "buyer")
    signer = stack.enter_context(token_service(key, seller.folder))
    secrets = {
        "COMETAPI_KEY": key, "AIGENERATE_API_KEY": key, "USEAPI_TOKEN": key, "GOOGLE_CLOUD_PROJECT": "p",
        "GOOGLE_APPLICATION_CREDENTIALS": signer,
    }  # fmt: skip
    shop = Server(tmp_path_factory.mktemp("buyer"), **secrets)
    seller.module = shop.module = "tests.hasty"
    offers = "\n".join(f'[offers."{each}"]\nusd = "0.40"' for each in UNPRICED)
    (shop.folder / "config.toml").write_text(BUYER.format(url=seller.url, offers=offers))
    mine = {"authorization": f"Bearer {shop.create_key('--name', 'app')}"}
    for each in (seller, shop):
        each.start()
        stack.callback(each.stop)
    return httpx.Client(base_url=shop.url, headers=mine, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def ordered(buyer: httpx.Client) -> dict[Any, str]:
    """Every clip of the tables below, ordered at once."""
    made: dict[Any, str] = {}
    for offer, magic in VERDICTS:
        made[offer, magic] = order(buyer, {"model": offer, "prompt": f"{magic} by {offer}"})
    for name, case in CASES.items():
        if not case.source:
            made[name] = order(buyer, {"model": case.offer, "prompt": name, **case.body})
    for name, case in CASES.items():
        if case.source:
            assert "completed" == ended(buyer, made[case.source])["status"], buyer.get(
                f"/v1/videos/{made[case.source]}"
            ).text
            body = {"model": case.offer, "prompt": name, **case.body, "video": {"id": made[case.source]}}
            made[name] = order(buyer, body)
    return made


def order(buyer: httpx.Client, body: dict[str, Any]) -> str:
    """Order a clip."""
    answer = buyer.post("/v1/videos", json=body)
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["id"])


def ended(buyer: httpx.Client, video: str) -> dict[str, Any]:
    """Wait for the end of a clip."""
    path = f"/v1/videos/{video}"
    eventually(lambda: buyer.get(path).json()["status"] in {"completed", "failed"}, seconds=100)
    found: dict[str, Any] = buyer.get(path).json()
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CASES)
def test_a_clip_comes_through(buyer: httpx.Client, ordered: dict[Any, str], name: str) -> None:
    """The clip is what was ordered: as long, as large, with sound; and nothing is said to differ."""
    case, video = CASES[name], ended(buyer, ordered[name])

    assert "completed" == video["status"], video["error"]
    assert case.offer == f"{video['provider']}:{video['resolved_model']}"
    assert case.mode == video["request"]["mode"]
    clips = [each for each in video["outputs"] if each["kind"] == "video"]
    assert case.body.get("n", 1) == len(clips)
    assert b"ftyp" == buyer.get(clips[0]["url"]).content[4:8]
    assert [] == [each["feature"] for each in video["warnings"]]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("offer", "magic"), VERDICTS)
def test_a_verdict_comes_through(buyer: httpx.Client, ordered: dict[Any, str], offer: str, magic: str) -> None:
    """Why there is no clip is told as far as the dialect has words for it."""
    video = ended(buyer, ordered[offer, magic])

    assert "failed" == video["status"]
    assert VERDICTS[offer, magic] == video["error"]["code"]


def ways() -> str:
    """Write what is shown here as a table: each dialect, and from what a clip was made through it."""
    shown = seen()
    rows = [["spoken by", "answered at", *MODES.values()], ["---"] * (len(MODES) + 2)]
    for (slug, route), path in WAYS.items():
        cells = ["yes" if (slug, route, each) in shown else UNSEEN.get((slug, route, each), "-") for each in MODES]
        rows.append([f"`{slug}`", path, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def seen() -> set[tuple[str, str, str]]:
    """Say what is shown: which adapter, by which of its ways, makes a clip from what; Gemini's in a file of its own."""
    relayed = {("gemini", *each) for each in test_relayed.MODES.values()}
    return {(*way_of(case.offer), case.mode) for case in CASES.values()} | relayed


def way_of(offer: str) -> tuple[str, str]:
    """Say which adapter orders an offer, and by which of its ways."""
    slug, _, model = offer.partition(":")
    found = listings()[slug].offer(model)
    assert found is not None
    return slug, found.route


def test_everything_a_dialect_can_say_is_shown() -> None:
    """No offer of these sellers has a way and a mode that is not made here, or said to be missing."""
    shown = seen()
    sold = {
        (slug, each.route, mode) for slug, _ in WAYS for each in listings()[slug].offers for mode in map(str, each.mode)
    }

    assert sold == shown | UNSEEN.keys()


def test_the_readme_says_what_is_shown() -> None:
    """The README's table is this one."""
    assert ways() in (ROOT / "README.md").read_text(), ways()
