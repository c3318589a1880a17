"""Laws of what is shown and quoted: every offer of every account, its price and its source, or why it cannot."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from gateway.cli.quote import quotes_table
from providers.base.listing import listings
from providers.base.order import CHOICES
from tests.market import CONFIG, SECRETS, Market, trading
from tests.scripted import clip
from tests.server import eventually
from tests.upstream import Said, Seen, Upstream, selling

FAST = {"prompt": "a kite", "model": "google/veo-3.1-fast", "seconds": 8}
ACCOUNTS = {"flow": 2, "gemini": 1, "vertex": 1, "cometapi": 1, "aigenerate": 1, "sandbox": 1}


def offers(market: Market, **query: str) -> list[dict[str, Any]]:
    answer = market.http.get("/offers", params=query)
    assert 200 == answer.status_code, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def quotes(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post("/quotes", json={**FAST, **fields})
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_every_offer_of_every_account_is_shown(market: Market) -> None:
    """With what it takes, as its listing says, and what its default costs under the account's plan."""
    shown = offers(market)
    want = sorted(
        f"{slug}:{offer.model}" for slug, many in ACCOUNTS.items() for offer in listings()[slug].offers * many
    )
    assert want == sorted(each["id"] for each in shown)
    for each in shown:
        offer = listings()[each["provider"]].offer(each["model"])
        assert offer is not None
        assert (offer.seconds, offer.resolution, [*offer.mode]) == (each["seconds"], each["resolutions"], each["modes"])
        assert [rule.why for rule in offer.rules] == each["rules"]
        assert (str(offer.ended) if offer.ended else None, offer.unconfirmed or None) == (
            each["ended"], each["unconfirmed"],
        )  # fmt: skip
        assert (each["default_usd"] is None) is (each["price_source"] is None)
        for line in each["prices"]:
            assert line["source"]
            assert line["since"] <= line["checked"]
            assert (line["usd"] is None) is not (line["credits"] is None)


def test_offers_are_found_by_model_and_provider(market: Market) -> None:
    """Both narrow it down; what nobody sells is an empty list."""
    fast = offers(market, model="google/veo-3.1-fast")
    assert {"aigenerate", "cometapi", "flow", "flow-pro", "gemini", "sandbox", "vertex"} == {
        each["account"] for each in fast
    }
    mine = offers(market, model="google/veo-3.1-fast", provider="flow")
    assert {"flow": 0.079996, "flow-pro": 0.3998} == {each["account"]: each["default_usd"] for each in mine}
    assert [] == offers(market, model="nobody/none")
    unpriced = offers(market, provider="aigenerate")
    assert [None] * 3 == [each["default_usd"] for each in unpriced]
    assert [[]] * 3 == [each["prices"] for each in unpriced]


@pytest.mark.parametrize("query", [{"modle": "x"}, {"model": "x", "sort": "price"}])
def test_an_unknown_query_is_named(market: Market, query: dict[str, str]) -> None:
    """A misspelt filter is no filter."""
    answer = market.http.get("/offers", params=query)
    error = answer.json()["error"]
    assert (422, "unknown_parameter") == (answer.status_code, error["code"])
    assert error["param"] in {"modle", "sort"}


def test_prices_show_one_line_of_each_kind(market: Market) -> None:
    """Of lines for the same thing the newest in force; a plan's own and no other plan's."""
    for account, credits_ in (("flow", "10"), ("flow-pro", "20")):
        (each,) = (
            each for each in offers(market, model="google/veo-3.1-fast", provider="flow") if each["account"] == account
        )
        made = [line for line in each["prices"] if "extend" in line["when"].get("mode", [])]
        assert [credits_] == [line["credits"] for line in made]
    for each in offers(market, model="google/gemini-omni-flash", provider="flow"):
        assert "2026-06-05" not in {line["since"] for line in each["prices"]}, "all of June's have successors"
    (videos,) = offers(market, model="google/veo-3.1", provider="cometapi")
    assert [("0.05", "second")] == [(line["usd"], line["per"]) for line in videos["prices"]]


def test_providers_show_their_accounts_and_fees(market: Market) -> None:
    """Who sells here, what it costs beside the clips, and how each account does."""
    shown = {each["id"]: each for each in market.http.get("/providers").json()["data"]}
    assert set(ACCOUNTS) == set(shown)
    for slug, each in shown.items():
        listing = listings()[slug]
        assert (listing.name, listing.submit_class, listing.sandbox) == (
            each["name"], each["lost_orders"], each["sandbox"],
        )  # fmt: skip
        assert [fee.name for fee in listing.fees] == [fee["name"] for fee in each["fees"]]
        assert [plan.name for plan in listing.plans] == [plan["name"] for plan in each["plans"]]
        assert {"ready"} == {account["state"] for account in each["accounts"]}
        assert {0} == {account["running"] for account in each["accounts"]}
    assert {"flow": "ultra-200", "flow-pro": "pro"} == {
        account["id"]: account["plan"] for account in shown["flow"]["accounts"]
    }


def test_quotes_come_cheapest_first(market: Market) -> None:
    """Each with its price line, fees and place; then those that cannot, each with its reasons."""
    answer = quotes(market.http)
    can = [each for each in answer["data"] if each["can"]]
    cannot = answer["data"][len(can) :]
    assert [("flow", 0.079996), ("flow-pro", 0.3998), ("vertex", 0.8)] == [
        (each["account"], each["usd"]) for each in can
    ]
    assert [1, 2, 3] == [each["place"] for each in can]
    assert ("cheapest", "the cheapest of 3 offers that can") == (answer["policy"], answer["why"])
    first = can[0]
    assert ("10", "10", "video") == (first["credits"], first["price"]["credits"], first["price"]["per"])
    assert first["price_source"] == first["price"]["source"]
    assert ["captcha solver of your own", "useapi.net subscription"] == [fee["name"] for fee in first["fees"]]
    assert {"seconds": 8, "resolution": "720p"}.items() <= first["spec"].items()
    assert first["expected_seconds"] > 0
    assert {"gemini", "cometapi", "aigenerate", "sandbox"} == {each["account"] for each in cannot}
    reasons = {each["account"]: each["reasons"][0] for each in cannot}
    assert "shut Veo 3.1 Fast down on the Gemini Developer API on 2026-10-22" in reasons["gemini"]["message"]
    assert {"model"} == {reason["field"] for reason in reasons.values()}
    assert "cometapi states no price for google/veo-3.1-fast" == reasons["cometapi"]["message"]
    assert "the sandbox is chosen only by name while a real account is enabled" == reasons["sandbox"]["message"]
    assert {(None, None, None)} == {(each["place"], each["usd"], each["spec"]) for each in cannot}


def test_quotes_are_of_the_same_clip(market: Market) -> None:
    """What is left open is closed once, as most of the offers sell it."""
    answer = quotes(market.http, model="google/veo-3.1", seconds=None)
    placed = {each["account"]: each["spec"]["seconds"] for each in answer["data"] if each["place"]}
    assert {"cometapi": 8, "flow": 8, "flow-pro": 8, "vertex": 8} == placed
    assert answer["why"] == "the cheapest of 4 offers that can"


def test_a_quote_of_another_clip_has_no_place(tmp_path: Path) -> None:
    """It is what that offer would make, after those that would be tried, and the terminal shows it so."""
    config = f'{CONFIG}\n[offers]\n"cometapi:cometapi/omni-fast" = {{ usd = "0.01", per = "video" }}\n'
    with trading(tmp_path, config) as market:
        answer = quotes(market.http, model="auto", seconds=None, provider={"only": ["cometapi"]})
        can = [each for each in answer["data"] if each["can"]]
        assert {8} == {each["spec"]["seconds"] for each in can[:-1]}
        assert [None] == [each["place"] for each in can if each["spec"]["seconds"] != 8]
        assert ("cometapi:cometapi/omni-fast", 4, 0.01) == (
            can[-1]["offer"], can[-1]["spec"]["seconds"], can[-1]["usd"],
        )  # fmt: skip
        assert f"the cheapest of {len(can) - 1} offers of this clip" == answer["why"]
        shown = Console(file=(screen := io.StringIO()), width=120)
        shown.print(quotes_table(can))
        assert "-   cometapi:cometapi/omni-fast" in screen.getvalue()


def test_what_a_seller_cannot_be_told_is_no_quote(market: Market) -> None:
    """By its field, the others' prices beside it; an order that nobody can be told is a 422 with each objection."""
    answer = quotes(market.http, provider_options={"flow": {"nosuch": 1}})
    reasons = {each["account"]: each["reasons"] for each in answer["data"] if each["provider"] == "flow"}
    field = "provider_options.flow.nosuch"
    told = f"{field} is no parameter that can be passed through here"
    assert {name: [{"field": field, "message": told}] for name in ("flow", "flow-pro")} == reasons
    assert ["vertex"] == [each["account"] for each in answer["data"] if each["can"]]
    only = {"provider": {"only": ["flow"]}, "provider_options": {"flow": {"nosuch": 1}}}
    refused = market.http.post("/videos", json={**FAST, **only})
    assert (422, "no_offer") == (refused.status_code, refused.json()["error"]["code"])
    assert told in str(refused.json()["errors"])


def test_auto_quotes_all_that_is_sold(market: Market) -> None:
    """Whatever can do it; what nobody has seen work is left out unless it is named."""
    answer = quotes(market.http, model="auto")
    named = {each["offer"] for each in answer["data"]}
    unconfirmed = {each["id"] for each in offers(market) if each["unconfirmed"]}
    assert {"cometapi:cometapi/veo3.1-pro-references", "cometapi:cometapi/veo-3.1"} == unconfirmed
    assert {each["id"] for each in offers(market)} - unconfirmed == named
    usd = [each["usd"] for each in answer["data"] if each["can"]]
    assert usd == sorted(usd)
    assert usd[0] == 0  # Lite at lower priority, on Ultra.


def test_a_place_follows_the_policy(market: Market) -> None:
    """The list stays cheapest first; who would be tried first is the policy's choice."""
    ordered = quotes(market.http, provider={"order": ["vertex"]})
    assert [2, 3, 1] == [each["place"] for each in ordered["data"] if each["can"]]
    assert ("order", "the first as named of 3 offers that can") == (ordered["policy"], ordered["why"])
    only = quotes(market.http, provider={"only": ["vertex"]})
    assert ["the only offer that can", 1] == [only["why"], sum(each["can"] for each in only["data"])]
    low = quotes(market.http, max_cost_usd=0.5)
    (vertex,) = (each for each in low["data"] if each["account"] == "vertex")
    assert [{"field": "max_cost_usd", "message": "vertex charges $0.8, above max_cost_usd"}] == vertex["reasons"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nobody/none"}, 404, "model_not_found", "model"),
        ({"model": "flow:nobody/none"}, 404, "model_not_found", "model"),
        ({"provider": {"only": ["nobody"]}}, 422, "invalid_value", "provider.only"),
        ({"seconds": 4, "duration": 5}, 422, "invalid_value", "duration"),
        ({"prompt": " "}, 422, "invalid_value", "prompt"),
        ({"max_cost_usd": "much"}, 422, "invalid_value", "max_cost_usd"),
    ],
)
@pytest.mark.parametrize("path", ["/quotes", "/videos"])
def test_what_cannot_be_quoted_is_said(
    market: Market, path: str, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    """A quote is refused in the same words as the order it stands for."""
    answer = market.http.post(path, json={**FAST, **fields})
    error = answer.json()["error"]
    assert (status, code, param) == (answer.status_code, error["code"], error["param"])


def test_sellers_that_differ_are_told_apart(market: Market) -> None:
    """Of one model several lists would contradict each other; who says what is said, and nobody where all agree."""

    def refused(**fields: Any) -> str:
        answer = market.http.post("/videos", json={**FAST, "model": "google/gemini-omni-flash", **fields})
        assert 422 == answer.status_code, answer.text
        return str(answer.json()["error"]["message"])

    said = refused(seconds=60).removeprefix("No offer can do this: ").split("; not 60")
    assert "flow: google/gemini-omni-flash sells seconds 4, 6, 8, 10" == said[0]
    assert "; gemini, vertex" in said[1]
    alike = refused(model="gemini:google/gemini-omni-flash", seconds=60)
    assert "No offer can do this: google/gemini-omni-flash sells seconds 3" == alike.partition(",")[0]
    assert re.findall(r"(\w+): \1 charges", refused(max_cost_usd=0.000001)) == []


def test_a_call_that_names_no_model_is_told_whose_word_the_default_is(tmp_path: Path) -> None:
    """Nobody who sent no name hears of one as if he had; whoever sent it does."""
    fields = {name: value for name, value in FAST.items() if name != "model"}
    with trading(tmp_path, f'{CONFIG}\n[aliases]\ndream = "google/veo-3.1-fast"\n') as market:
        for path in ("/quotes", "/videos"):
            answer = market.http.post(path, json=fields)
            said = "The call names no model, and no account here sells 'sora-2', the routing.default_model. Sold: "
            assert (404, "model_not_found") == (answer.status_code, answer.json()["error"]["code"])
            assert answer.json()["error"]["message"].startswith(said)
            named = market.http.post(path, json={**fields, "model": "sora-2"}).json()["error"]["message"]
            assert named.startswith("No account here sells 'sora-2'. Sold: ")


def test_an_aliass_first_model_is_held_to_no_cheaper_one(tmp_path: Path) -> None:
    """Of two models the first is taken; what is said of its price counts its own offers alone."""
    aliases = '[aliases]\ndream = ["google/veo-3.1-fast", "google/veo-3.1-lite-low-priority"]\n'
    with trading(tmp_path, f"{CONFIG}\n{aliases}") as market:
        answer = quotes(market.http, model="dream")
        free = answer["data"][0]
        assert ("flow:google/veo-3.1-lite-low-priority", 0, 4) == (free["offer"], free["usd"], free["place"])
        assert "the cheapest of 3 offers of google/veo-3.1-fast, the alias's first model that can" == answer["why"]
        assert answer["why"] == market.http.post("/videos", json={**FAST, "model": "dream"}).json()["routing"]["why"]


def test_an_order_nobody_can_do_tells_each_offers_reason(market: Market) -> None:
    """One answer says what every seller would have to be asked instead."""
    answer = market.http.post("/videos", json={**FAST, "seconds": 9})
    body = answer.json()
    assert (422, "no_offer", "seconds") == (answer.status_code, body["error"]["code"], body["error"]["param"])
    assert "sells seconds" in body["error"]["message"]
    told = {each["detail"].partition(":")[0] for each in body["errors"]}
    assert set(ACCOUNTS) == told
    assert "/seconds" in {each["pointer"] for each in body["errors"]}
    unpriced = market.http.post("/videos", json={"prompt": "a kite", "model": "aigenerate:aigenerate/veo-3-1"})
    assert (422, "price_unknown") == (unpriced.status_code, unpriced.json()["error"]["code"])
    assert {"price_unknown"} == {each["code"] for each in unpriced.json()["errors"]}


def test_a_video_says_why_its_seller_won(market: Market) -> None:
    """And what the others would have cost."""
    video = market.http.post("/videos", json=FAST).json()
    assert ("flow", 0.079996) == (video["provider"], video["usage"]["cost"])
    assert "the cheapest of 3 offers that can" == video["routing"]["why"]
    assert [
        {"offer": "flow:google/veo-3.1-fast", "usd": 0.3998},
        {"offer": "vertex:google/veo-3.1-fast", "usd": 0.8},
    ] == video["routing"]["others"]
    kept = market.http.get(f"/videos/{video['id']}").json()
    assert video["routing"] == kept["routing"]


CLIPS = {"wide": (8, (1280, 720)), "long": (20, (1280, 720)), "large": (10, (1920, 1080)), "odd": (5, (400, 400))}
"""Clips to edit, extend and upscale: seconds and size."""


@pytest.fixture(scope="module")
def films(market: Market) -> dict[str, str]:
    """What each of them is called once it is uploaded."""
    files = {name: ("a.mp4", clip(seconds, size), "video/mp4") for name, (seconds, size) in CLIPS.items()}
    return {
        name: market.http.post("/files", data={"purpose": "user_data"}, files={"file": file}).json()["id"]
        for name, file in files.items()
    }


def ordered(market: Market, wanted: dict[str, Any], path: str = "/videos") -> dict[str, Any]:
    """Order what was quoted, and hold the order to the quote."""
    quoted = market.http.post("/quotes", json=wanted).json()
    first = next((each for each in quoted["data"] if each["place"] == 1), None)
    answer = market.http.post(
        path, json={name: value for name, value in wanted.items() if path == "/videos" or name != "task"}
    )
    video: dict[str, Any] = answer.json()
    if first is None:
        assert (422, "no_offer") == (answer.status_code, video["error"]["code"]), wanted
        return video
    assert 200 == answer.status_code, (wanted, answer.text)
    assert first["offer"] == f"{video['provider']}:{video['resolved_model']}"
    assert {name: first["spec"][name] for name in CHOICES} == {name: video["request"][name] for name in CHOICES}
    assert (first["usd"], first["price_source"]) == (video["usage"]["cost"], video["usage"]["price_source"])
    assert quoted["why"] == video["routing"]["why"]
    others = [(each["offer"], each["usd"]) for each in sorted_by_place(quoted)[1:9]]
    assert others == [(each["offer"], each["usd"]) for each in video["routing"]["others"]]
    return video


def sorted_by_place(quoted: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the offers that can in the order they would be tried."""
    return sorted((each for each in quoted["data"] if each["place"]), key=lambda each: int(each["place"]))


@pytest.mark.parametrize("task", ["edit", "extend", "upscale"])
@pytest.mark.parametrize("film", [None, *CLIPS])
def test_what_is_quoted_is_what_is_ordered(market: Market, films: dict[str, str], film: str | None, task: str) -> None:
    """The same body: the first place of its quote is the offer, the spec and the price of its order."""
    made_of = {"task": task, "video": {"file_id": films[film]}} if film else {"seconds": 8}
    for model in ("google/gemini-omni-flash", "gemini:google/gemini-omni-1.1-flash", "google/veo-3.1-fast", "auto"):
        for more in ({}, {"max_cost_usd": 0.9}):
            ordered(market, {"prompt": "a kite", "model": model, **made_of, **more})


def test_an_edit_is_bought_where_it_is_cheapest(market: Market, films: dict[str, str]) -> None:
    """Whoever sells it as long as its source, which is the only length there is; by either address."""
    edit = {"prompt": "x", "model": "google/gemini-omni-flash", "video": {"file_id": films["wide"]}, "task": "edit"}
    for path in ("/videos", "/videos/edits"):
        video = ordered(market, edit, path)
        assert ("flow", 0.159992, "8", 8) == (
            video["provider"], video["usage"]["cost"], video["seconds"], video["usage"]["billed_seconds"],
        )  # fmt: skip


def test_an_edit_costs_as_much_as_its_source_is_long(market: Market, films: dict[str, str]) -> None:
    """Also where no clip of that length can be ordered from words; and the ceiling is held to that."""
    edit = {"prompt": "x", "task": "edit", "video": {"file_id": films["long"]}}
    for seller in ("gemini", "vertex"):
        wanted = {**edit, "model": f"{seller}:google/gemini-omni-1.2-flash"}
        video = ordered(market, wanted)
        assert (2.0272, 20, "20") == (
            video["usage"]["cost"], video["usage"]["billed_seconds"], video["seconds"],
        )  # fmt: skip
        over = ordered(market, {**wanted, "max_cost_usd": 0.9})
        assert "max_cost_usd" == over["error"]["param"]
    large = {**edit, "model": "gemini:google/gemini-omni-1.1-flash", "video": {"file_id": films["large"]}}
    assert (1.5204, "1920x1080") == ((video := ordered(market, large))["usage"]["cost"], video["size"])


def test_a_key_brings_its_policy(market: Market) -> None:
    """Where the call names none; the call's own word goes first."""
    auto = {"model": "auto"}
    with market.client(market.server.create_key("--name", "picky", "--policy", "best")) as picky:
        eventually(lambda: picky.get("/models").status_code == 200)
        best = quotes(picky, **auto)
        assert "best" == best["policy"]
        ranks = {each["offer"]: rank_of(each["offer"]) for each in best["data"] if each["can"]}
        first = next(each["offer"] for each in best["data"] if each["place"] == 1)
        assert max(ranks.values()) == ranks[first]
        assert "cheapest" == quotes(picky, provider={"policy": "cheapest"}, **auto)["policy"]
        video = picky.post("/videos", json={**FAST, **auto}).json()
        assert video["routing"]["why"].startswith("the best in rank of ")
    assert "cheapest" == quotes(market.http, **auto)["policy"]
    refused = market.server.cli("keys", "create", "--name", "x", "--policy", "dearest", check=False)
    assert 0 != refused.returncode


def rank_of(name: str) -> int:
    """Read an offer's rank."""
    slug, _, model = name.partition(":")
    offer = listings()[slug].offer(model)
    assert offer is not None
    return offer.rank


def turn_away(upstream: Upstream, seen: Seen) -> Said:
    """Answer as a seller does who no longer knows the key."""
    return Said({"error": {"message": "invalid token", "code": "invalid_api_key"}}, 401)


@pytest.fixture
def spurned(tmp_path: Path) -> Iterator[tuple[Market, Upstream]]:
    """A gateway one of whose sellers turns its key away."""
    with selling(tmp_path, turn_away) as upstream:
        config = f"""
[accounts.cometapi]
provider = "cometapi"
base_url = "{upstream.url}"

[accounts.gemini]
provider = "gemini"
"""
        trusted = {"SSL_CERT_FILE": str(upstream.certificate)}
        with trading(tmp_path, config, SECRETS, **trusted) as market:
            yield market, upstream


def test_a_resting_account_is_shown_and_left_out(spurned: tuple[Market, Upstream]) -> None:
    """It says until when and why; the quotes say it too, and no second order goes there."""
    market, upstream = spurned
    wanted = {"prompt": "a kite", "model": "cometapi:cometapi/veo3.1"}
    name = market.http.post("/videos", json=wanted).json()["id"]
    eventually(lambda: market.http.get(f"/videos/{name}").json()["status"] == "failed")
    shown = {each["id"]: each["accounts"][0] for each in market.http.get("/providers").json()["data"]}
    (rest,) = shown["cometapi"]["rests"]
    assert ("resting", "*", "ready") == (shown["cometapi"]["state"], rest["model"], shown["gemini"]["state"])
    assert "unauthorized (invalid_api_key)" in rest["why"]
    again = market.http.post("/videos", json=wanted)
    assert (503, "no_offer_now") == (again.status_code, again.json()["error"]["code"])
    assert "orders nothing until" in again.json()["error"]["message"]
    (quoted,) = market.http.post("/quotes", json=wanted).json()["data"]
    assert (False, rest["why"]) == (quoted["can"], quoted["reasons"][0]["message"])
    assert 1 == len(upstream.seen)


def test_an_account_without_its_secret_is_left_out_and_reported(tmp_path: Path) -> None:
    """The check names the variable; the rest is sold all the same."""
    secrets = {name: value for name, value in SECRETS.items() if name != "GEMINI_API_KEY"}
    with trading(tmp_path, CONFIG, secrets, COLUMNS="200") as market:
        checked = market.server.cli("check", check=False)
        assert (1, True) == (checked.returncode, "lacks GEMINI_API_KEY" in checked.stdout)
        assert 6 == checked.stdout.count("ready")
        said = [json.loads(line) for line in market.server.log.read_text().splitlines()]
        (unused,) = [each for each in said if "account.unused" == each["event"]]
        assert ("gemini", "the environment lacks GEMINI_API_KEY") == (unused["account"], unused["reason"])
        assert "gemini" not in {each["id"] for each in market.http.get("/providers").json()["data"]}
        assert "flow" == quotes(market.http)["data"][0]["account"]
