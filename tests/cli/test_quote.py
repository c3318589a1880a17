"""Laws of ``reelgate quote``: the flags of ``generate``, every offer's price or reason, and what is paid beside."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.market import Market
from tests.outside import picture
from tests.scripted import clip


def ask(market: Market, *words: str) -> str:
    """Run the command in a wide terminal."""
    market.server.environ |= {"REELGATE_API_KEY": market.key, "COLUMNS": "400"}
    return market.server.cli("quote", *words).stdout


def data(market: Market, *words: str) -> dict[str, Any]:
    """Run the command and read its JSON."""
    answer: dict[str, Any] = json.loads(ask(market, *words, "--json"))
    return answer


def test_the_table_tells_price_place_wait_and_fees(market: Market) -> None:
    """Those that can in order of price; those that cannot with why; what is paid beside the clips beneath."""
    lines = ask(market, "a kite", "--model", "google/veo-3.1-fast", "--seconds", "8").splitlines()
    told = {cells[1]: cells for line in lines if len(cells := re.split(r"\s{2,}", line.strip())) == 5}
    assert ["1", "$0.0800 (10 credits)", "8 s 720p 16:9", "2 min"] == [
        each for each in told["flow:google/veo-3.1-fast"] if ":google" not in each
    ]
    assert "2" == told["flow:google/veo-3.1-fast (flow-pro)"][0]
    assert "$0.8000" == told["vertex:google/veo-3.1-fast"][2]
    assert any(line.startswith("price of 1, 2: ") and "useapi.net/docs" in line for line in lines)
    cannot = dict(line.removeprefix("cannot: ").split(": ", 1) for line in lines if line.startswith("cannot: "))
    assert "shut Veo 3.1 Fast down" in cannot["gemini:google/veo-3.1-fast"]
    assert "cometapi states no price for google/veo-3.1-fast" == cannot["cometapi:google/veo-3.1-fast"]
    beneath = [line for line in lines if line.startswith("beside the clips, ")]
    captchas, rent = "captcha solver of your own $0.80-3.00 per 1000 captchas", "useapi.net subscription $15 per month"
    assert [f"beside the clips, flow: {captchas}; {rent}"] == beneath


def test_who_may_make_it(market: Market) -> None:
    """``--provider``, ``--policy`` and ``--max-cost`` say what the API's ``provider`` and ``max_cost_usd`` say."""
    fast = ("a kite", "--model", "google/veo-3.1-fast")
    only = data(market, *fast, "--provider", "flow", "--provider", "gemini")
    assert {"flow", "flow-pro"} == {each["account"] for each in only["data"] if each["can"]}
    assert "best" == data(market, *fast, "--policy", "best")["policy"]
    low = data(market, *fast, "--max-cost", "0.1")
    assert ["flow"] == [each["account"] for each in low["data"] if each["can"]]


def test_what_it_is_made_from(market: Market, tmp_path: Path) -> None:
    """Pictures and clips go along as they are, and nothing is kept of them."""
    before = market.http.get("/files").json()["data"]
    first, last, film = tmp_path / "first.png", tmp_path / "last.png", tmp_path / "film.mp4"
    first.write_bytes(picture())
    last.write_bytes(picture((64, 40)))
    film.write_bytes(clip(8))

    def mode(*words: str) -> set[tuple[str, str]]:
        answer = data(market, "a kite", "--model", "auto", *words)
        return {(each["offer"], each["spec"]["mode"]) for each in answer["data"] if each["can"]}

    assert ("flow:google/veo-3.1-fast", "first_frame") in mode("--image", str(first))
    assert ("vertex:google/veo-3.1", "frames") in mode("--image", str(first), "--last-image", str(last))
    assert ("flow:google/veo-3.1-lite", "reference") in mode("--reference", str(first), "--reference", str(last))
    assert ("flow:google/gemini-omni-flash", "edit") in mode("--video", str(film))
    assert {"extend"} == {each for _, each in mode("--video", str(film), "--mode", "extend")}
    assert {"text"} == {each for _, each in mode("--mode", "text")}
    two = data(market, "a kite", "--model", "flow:google/veo-3.1-fast", "--n", "2", "--provider", "flow")
    assert 2 == two["data"][0]["spec"]["n"]
    assert before == market.http.get("/files").json()["data"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--image", "nowhere.png"], "nowhere.png cannot be read"),
        (["--video", "video_nothing"], "video_nothing"),
        (["--model", "nobody/none"], "No account here sells 'nobody/none'"),
        (["--max-cost", "much"], "max_cost_usd is a number of dollars"),
        (["--provider", "nobody"], "There is no provider 'nobody'"),
        (["--seconds", "soon"], "seconds"),
        (["--mode", "sideways"], "mode"),
        (["--policy", "dearest"], "policy"),
    ],
)
def test_what_cannot_be_asked_is_said(market: Market, words: list[str], told: str) -> None:
    """In one line, without a traceback."""
    market.server.environ |= {"REELGATE_API_KEY": market.key, "COLUMNS": "400"}
    done = market.server.cli("quote", "a kite", *words, check=False)

    assert done.returncode
    assert told in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
