"""Laws of adding a seller: a listing in the operator's own folder sells and makes clips; no code is touched."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.store.database import Kind
from tests.server import ROOT, Server, eventually
from tests.upstream import Said, Seen, Upstream, selling

LISTINGS = ROOT / "tests" / "providers" / "reseller"
KEY = "omnishop-key"
GOOGLES = "googles-own-key"
CONFIG = """
[accounts.omnishop]
provider = "omnishop"
base_url = "{url}"
"""


def sell(upstream: Upstream, seen: Seen) -> Said:
    """Answer as Gemini's interactions do."""
    task = {"id": "v1_abc", "object": "interaction", "model": "shop-omni-flash"}
    if seen.method == "POST":
        return Said({**task, "status": "in_progress"})
    video = {"type": "video", "mime_type": "video/mp4", "uri": upstream.clip(4)}
    return Said({**task, "status": "completed", "steps": [{"type": "model_output", "content": [video]}]})


@pytest.fixture(scope="module")
def upstream(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with selling(tmp_path_factory.mktemp(f"omnishop-{kind}"), sell) as running:
        yield running


@pytest.fixture(scope="module")
def http(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway with an account there."""
    folder = tmp_path_factory.mktemp("gateway")
    server = reseller(folder, upstream, REELGATE_ACCOUNT_OMNISHOP__GEMINI_API_KEY=KEY)
    headers = {"authorization": f"Bearer {server.create_key('--name', 'app')}"}
    server.start()
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client
    server.stop()


def reseller(folder: Path, upstream: Upstream, **environ: str) -> Server:
    """Set a gateway up that knows the reseller."""
    (folder / "config.toml").write_text(CONFIG.format(url=upstream.url))
    shared = {"SSL_CERT_FILE": str(upstream.certificate), "GEMINI_API_KEY": GOOGLES}
    return Server(folder, REELGATE_PROVIDERS=str(LISTINGS), **shared, **environ)


def test_it_is_shown_like_any_other(http: httpx.Client) -> None:
    """In the offers, the providers and the quotes, with its price, its source and its fee."""
    (offer,) = http.get("/v1/offers", params={"provider": "omnishop"}).json()["data"]
    assert ("omnishop:google/gemini-omni-flash", 0.16) == (offer["id"], offer["default_usd"])
    (shop,) = (each for each in http.get("/v1/providers").json()["data"] if each["id"] == "omnishop")
    assert ("Omni Shop", ["membership"]) == (shop["name"], [fee["name"] for fee in shop["fees"]])
    wanted = {"prompt": "a kite", "model": "google/gemini-omni-flash", "seconds": 4}
    quoted = http.post("/v1/quotes", json=wanted).json()["data"][0]
    assert ("omnishop", 1, 0.08) == (quoted["provider"], quoted["place"], quoted["usd"])
    assert "https://omnishop.example/prices" == quoted["price_source"]


def test_it_makes_clips(http: httpx.Client, upstream: Upstream) -> None:
    """In the dialect's words, at its own address, with its own key; what is passed through goes by its name."""
    options = {"omnishop": {"labels": {"team": "kites"}}}
    wanted = {"prompt": "a kite", "model": "google/gemini-omni-flash", "seconds": 4, "provider_options": options}
    name = http.post("/v1/videos", json=wanted).json()["id"]
    eventually(lambda: http.get(f"/v1/videos/{name}").json()["status"] in {"completed", "failed"})
    video = http.get(f"/v1/videos/{name}").json()
    assert ("completed", "omnishop", []) == (video["status"], video["provider"], video["warnings"])
    assert b"ftyp" == http.get(f"/v1/videos/{name}/content").content[4:8]
    (bought,) = upstream.calls("/v1/interactions")
    assert ("shop-omni-flash", "a kite", {"team": "kites"}) == (
        bought.json["model"], bought.json["input"], bought.json["labels"],
    )  # fmt: skip
    assert {KEY} == {each.headers["x-goog-api-key"] for each in upstream.seen}
    assert GOOGLES not in repr(upstream.seen)


def test_another_sellers_key_is_not_its_own(upstream: Upstream, tmp_path: Path) -> None:
    """Without its own secret the account is left out, and the check names the variable that is missing."""
    checked = reseller(tmp_path, upstream, COLUMNS="200").cli("check", check=False)

    assert 1 == checked.returncode
    assert "lacks REELGATE_ACCOUNT_OMNISHOP__GEMINI_API_KEY" in checked.stdout
