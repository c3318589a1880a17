"""
Laws of the pair: a gateway whose only seller is another gateway gets every clip its dialect can ask for.

The second gateway is the sandbox behind the dialect's surface, and the adapter that speaks to it knows nothing of
that: each side keeps the other honest, over a real socket, with a key.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from gateway.tables import MODES
from providers.base.listing import listings
from tests.server import ROOT, Server, eventually
from tests.surfaces.conftest import as_url, picture

SELLER = """
[aliases]
"veo3.1" = ["google/veo-3.1"]
"veo3.1-fast" = ["google/veo-3.1-fast"]
"veo3.1-pro" = ["google/veo-3.1", "google/veo-3.1-fast"] # the sandbox's larger one takes no references
"veo-3.1" = ["google/veo-3.1", "sandbox/demo"]           # nor does it extend by seven seconds
"veo-3.1-fast" = ["google/veo-3.1-fast", "sandbox/demo"] # nor upscale
"omni-flash" = ["google/gemini-omni-flash", "sandbox/demo"] # nor make two at a time
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
    "flow-two": Case("flow:google/gemini-omni-flash", "text", {"seconds": 4, "n": 2, **SMALL}),
    "comet-chat-extend": Case("cometapi:cometapi/veo-3.1", "extend", {"task": "extend"}, "comet-chat-ends"),
    "flow-edit": Case("flow:google/gemini-omni-flash", "edit", {}, "flow-text"),
    "flow-extend": Case("flow:google/veo-3.1-fast", "extend", {"task": "extend"}, "flow-text"),
    "flow-upscale": Case(
        "flow:google/veo-3.1-fast", "upscale", {"task": "upscale", "resolution": "1080p"}, "flow-text"
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
}


@pytest.fixture(scope="module")
def buyer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway that buys at another, and a client of it."""
    seller = Server(tmp_path_factory.mktemp("seller"))
    (seller.folder / "config.toml").write_text(SELLER)
    key = seller.create_key("--name", "buyer")
    secrets = {"COMETAPI_KEY": key, "AIGENERATE_API_KEY": key, "USEAPI_TOKEN": key}
    shop = Server(tmp_path_factory.mktemp("buyer"), **secrets)
    offers = "\n".join(f'[offers."{each}"]\nusd = "0.40"' for each in UNPRICED)
    (shop.folder / "config.toml").write_text(BUYER.format(url=seller.url, offers=offers))
    mine = {"authorization": f"Bearer {shop.create_key('--name', 'app')}"}
    seller.start()
    shop.start()
    try:
        with httpx.Client(base_url=shop.url, headers=mine, trust_env=False, timeout=30) as client:
            yield client
    finally:
        shop.stop()
        seller.stop()


@pytest.fixture(scope="module")
def ordered(buyer: httpx.Client) -> dict[Any, str]:
    """Every clip of the tables below, ordered at once: the looks of some sellers lie far apart."""
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
    assert ALLOWED.get(name, []) == [each["feature"] for each in video["warnings"]]


# The sandbox extends by eight seconds, and Flow's page says seven.
ALLOWED = {"flow-extend": ["seconds"]}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("offer", "magic"), VERDICTS)
def test_a_verdict_comes_through(buyer: httpx.Client, ordered: dict[Any, str], offer: str, magic: str) -> None:
    """Why there is no clip is told as far as the dialect has words for it."""
    video = ended(buyer, ordered[offer, magic])

    assert "failed" == video["status"]
    assert VERDICTS[offer, magic] == video["error"]["code"]


def ways() -> str:
    """Write what is shown here as a table: each dialect, and from what a clip was made through it."""
    shown = {(*way_of(case.offer), case.mode) for case in CASES.values()}
    rows = [["spoken by", "answered at", *MODES.values()], ["---"] * (len(MODES) + 2)]
    for (slug, route), path in WAYS.items():
        cells = ["yes" if (slug, route, each) in shown else UNSEEN.get((slug, route, each), "-") for each in MODES]
        rows.append([f"`{slug}`", path, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def way_of(offer: str) -> tuple[str, str]:
    """Say which adapter orders an offer, and by which of its ways."""
    slug, _, model = offer.partition(":")
    found = listings()[slug].offer(model)
    assert found is not None
    return slug, found.route


def test_everything_a_dialect_can_say_is_shown() -> None:
    """No offer of these sellers has a way and a mode that is not made here, or said to be missing."""
    shown = {(*way_of(case.offer), case.mode) for case in CASES.values()}
    sold = {
        (slug, each.route, mode) for slug, _ in WAYS for each in listings()[slug].offers for mode in map(str, each.mode)
    }

    assert sold == shown | UNSEEN.keys()


def test_the_readme_says_what_is_shown() -> None:
    """The README's table is this one."""
    assert ways() in (ROOT / "README.md").read_text(), ways()
