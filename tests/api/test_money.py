"""Money as clients and operators see it: refused in words, shown to whom it concerns, stopped at once."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.store.database import Kind
from tests.server import Server, eventually

CLIP = {"model": "sandbox/demo", "prompt": "a cat", "seconds": 1, "resolution": "360p"}
PAID = """
[offers."sandbox:sandbox/demo"]
usd = "0.25"
per = "second"
[routing]
price_ceiling_usd = "2.50"
[budget]
day_usd = "10.00"
"""


@pytest.fixture(scope="module")
def paid(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway whose sandbox has a price, with keys."""
    folder: Path = tmp_path_factory.mktemp(f"paid-{kind}")
    (folder / "config.toml").write_text(PAID)
    server = Server(folder)
    server.create_key("--name", "first", "--scope", "read", "--scope", "write", "--scope", "metrics")
    server.start()
    yield server
    server.stop()


def call(server: Server, key: str, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(method, server.url + path, json=body, headers=headers, trust_env=False, timeout=30)


def finished(server: Server, key: str, id_: str) -> dict:
    eventually(lambda: call(server, key, "GET", f"/v1/videos/{id_}").json()["completed_at"])
    return call(server, key, "GET", f"/v1/videos/{id_}").json()


def test_a_budget_refuses_in_words_and_keeps_nothing(paid: Server) -> None:
    """What does not fit is a 402 that says so; what fits is shown as spent, to this key alone."""
    key = paid.create_key("--name", "poor", "--budget-usd", "0.60")
    taken = [call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": f"cat {n}"}) for n in range(3)]
    assert [answer.status_code for answer in taken] == [200, 200, 402]
    problem = taken[2].json()
    assert (problem["error"]["code"], problem["error"]["param"]) == ("budget_exceeded", None)
    said = "This video is quoted at $0.25, and $0.1 is left of the $0.6 this key has in all: "
    assert said + "ask for a cheaper one, or have it raised." == problem["detail"]
    assert len(call(paid, key, "GET", "/v1/videos").json()["data"]) == 2
    for answer in taken[:2]:
        video = finished(paid, key, answer.json()["id"])
        assert (video["usage"]["cost"], video["usage"]["billing"]) == (0.25, "billed")
    spend = call(paid, key, "GET", "/v1/spend?by=provider,model,key").json()
    (line,) = spend["data"]
    assert (line["provider"], line["model"], line["usd"], line["purchases"]) == ("sandbox", "sandbox/demo", 0.5, 2)
    assert {each["period"]: each["spent"] for each in spend["budgets"]}["total"] == 0.5
    longer_ago = call(paid, key, "GET", "/v1/spend?since=2020-01-01&until=2020-01-31").json()
    assert (
        {"total"} == {each["period"] for each in longer_ago["budgets"]} != {each["period"] for each in spend["budgets"]}
    )
    other = paid.create_key("--name", "other")
    assert call(paid, other, "GET", "/v1/spend").json()["data"] == []
    assert call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "cat 9"}).status_code == 402
    assert call(paid, other, "POST", "/v1/videos", CLIP).status_code == 200


def test_no_video_costs_more_than_the_operator_lets(paid: Server) -> None:
    """A quote says why, and so does the order, whatever it would pay itself; what costs just so much is quoted."""
    key = paid.create_key("--name", "rich")
    dear = {**CLIP, "seconds": 11, "max_cost_usd": 100}
    (line,) = call(paid, key, "POST", "/v1/quotes", dear).json()["data"]
    assert not line["can"]
    (reason,) = line["reasons"]
    assert reason["message"] == "sandbox charges $2.75, above the $2.5 this gateway pays for a video at most"
    refused = call(paid, key, "POST", "/v1/videos", dear)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_offer")
    assert reason["message"] in refused.json()["detail"]
    (line,) = call(paid, key, "POST", "/v1/quotes", {**dear, "seconds": 10}).json()["data"]
    assert line["can"]


def test_a_keys_limits_are_changed_while_it_is_used(paid: Server) -> None:
    """Raised, lowered or taken away: what runs keeps to it within a second, and the list shows what is taken."""
    key = paid.create_key("--name", "growing", "--budget-usd", "0.30", "--rate", "600/min")
    ordered = [call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": f"grows {n}"}).status_code for n in range(2)]
    assert ordered == [200, 402]

    assert "$0.25 of $0.5 ever, 600 requests" in paid.cli("keys", "set", "growing", "--budget-usd", "0.50").stdout
    eventually(lambda: call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "more"}).status_code == 200, seconds=10)
    said = paid.cli("keys", "set", "growing", "--budget-usd", "none", "--day-usd", "0.20", "--jobs", "4").stdout
    assert re.search(r"growing: \$0.5 of \$0.2 today, 600 requests a minute, [012] of 4 videos under way", said)
    assert said.partition(": ")[2].rpartition(", ")[0] in paid.cli("keys", "list").stdout  # One may have ended since.
    eventually(lambda: call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "less"}).status_code == 402, seconds=10)
    said = paid.cli("keys", "set", "growing", "--day-usd", "none", "--rate", "1/min", "--jobs", "none").stdout
    assert said.endswith("growing: 1 requests a minute\n")
    eventually(lambda: call(paid, key, "GET", "/v1/models").status_code == 429, seconds=10)
    assert paid.cli("keys", "set", "growing", "--rate", "none").stdout.endswith("growing: no limits\n")
    eventually(lambda: call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "any"}).status_code == 200, seconds=10)


def test_sellers_are_compared_by_what_came_of_their_orders(paid: Server) -> None:
    """Who made, failed and refused how many, how fast and for how much: a key's own orders, or everybody's."""
    key, other = paid.create_key("--name", "compares"), paid.create_key("--name", "compares too")
    prompts = ["a dog", "another dog", "[fail] a dog", "[reject] a dog"]
    ids = [call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": each}).json()["id"] for each in prompts]
    for id_ in ids:
        finished(paid, key, id_)
    (line,) = call(paid, key, "GET", "/v1/comparison").json()["data"]
    assert {"provider": "sandbox", "model": "sandbox/demo"}.items() <= line.items()
    assert [4, 2, 1, 1] == [line[each] for each in ("orders", "made", "failed", "refused")]
    none = ("lost", "in_doubt", "under_way", "mismatched", "late", "cancelled", "turned_away")
    assert {0} == {line[each] for each in none}
    assert (0.5, True) == (line["made_share"], 0 <= line["seconds_p50"] <= line["seconds_p90"] < 60)
    spent = call(paid, key, "GET", "/v1/spend").json()["total"]
    assert (line["clips"], line["clip_seconds"]) == (2, pytest.approx(2, abs=0.2))
    assert (line["usd"], line["usd_per_clip"]) == (spent, pytest.approx(spent / 2))
    assert line["usd_per_second"] == pytest.approx(spent / line["clip_seconds"])
    assert call(paid, other, "GET", "/v1/comparison").json()["data"] == []
    assert call(paid, key, "GET", "/v1/comparison?since=2020-01-01&until=2020-01-02").json()["data"] == []
    shown = paid.cli("compare", "--by", "key,account", "--json").stdout
    assert [4, 2] == [
        next(each[name] for each in json.loads(shown) if each["orders"] == 4) for name in ("orders", "made")
    ]
    assert "2 (50%)" in paid.cli("compare", "--by", "key").stdout


@pytest.mark.parametrize("path", ["spend", "comparison"])
@pytest.mark.parametrize(
    "query",
    [
        "by=colour",
        "by=model,model",
        "since=yesterday",
        "until=2026-13-01",
        "for=me",
        "since=2026-02-02&until=2026-02-01",
    ],
)
def test_a_question_about_money_is_answered_or_refused(paid: Server, path: str, query: str) -> None:
    """A word nobody knows is a 422 that names it."""
    key = paid.create_key("--name", f"asks {path} {query}")
    answer = call(paid, key, "GET", f"/v1/{path}?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


def test_a_rate_is_kept_and_says_when_to_come_back(paid: Server) -> None:
    """Five requests a minute are five, then a 429 with the seconds to wait; other keys go on."""
    key = paid.create_key("--name", "slow", "--rate", "5/min")
    answers = [call(paid, key, "GET", "/v1/models") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    assert int(answers[-1].headers["retry-after-ms"]) == 1000 * int(answers[-1].headers["retry-after"])
    for answer, left in zip(answers, (4, 3, 2, 1, 0, 0, 0), strict=True):
        said = answer.headers
        assert (said["ratelimit-policy"], said["x-ratelimit-limit-requests"]) == ('"default";q=5;w=60', "5")
        assert said["x-ratelimit-remaining-requests"] == str(left)
        reset = int(said["x-ratelimit-reset-requests"].removesuffix("s"))
        assert said["ratelimit"] == f'"default";r={left};t={reset}'
        assert 12 * (4 - left) <= reset <= 60
    free = call(paid, paid.create_key("--name", "free"), "GET", "/v1/models")
    assert not [name for name in free.headers if "rate" in name]
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"


def test_a_key_has_so_many_videos_under_way(paid: Server) -> None:
    """The next one is refused until one has ended."""
    key = paid.create_key("--name", "one at a time", "--jobs", "1")
    first = call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "[slow 2] one"}).json()
    second = call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "two"})
    assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_jobs")
    finished(paid, key, first["id"])
    assert call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "three"}).status_code == 200


def test_operators_see_and_stop_spending(paid: Server) -> None:
    """The ledger adds up by day and key, a halt holds at once, and the store is sound."""
    key = paid.create_key("--name", "halted")
    paid.cli("halt", "--why", "too dear")
    job = call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "later"}).json()
    assert call(paid, key, "GET", "/v1/spend").json()["halted"] == "too dear"
    path = f"/v1/videos/{job['id']}"
    eventually(lambda: call(paid, key, "GET", path).json()["waiting"] == "purchases are halted: too dear")
    told = call(paid, key, "GET", path)
    assert ("queued", None) == (told.json()["status"], told.json()["eta_seconds"])
    doctor = paid.cli("doctor", check=False)
    assert (0, True) == (doctor.returncode, "until reelgate go-on: too dear" in doctor.stdout), doctor.stdout
    paid.cli("go-on")
    named = {"authorization": f"Bearer {key}", "if-none-match": told.headers["etag"]}
    assert 200 == httpx.get(f"{paid.url}{path}", headers=named, trust_env=False).status_code
    assert finished(paid, key, job["id"])["status"] == "completed"
    assert "sandbox/demo" in paid.cli("spend", "--by", "day,model").stdout
    assert '"usd": 0.25' in paid.cli("spend", "--by", "key", "--json").stdout
    assert paid.cli("jobs", "unknown").stdout == "0 unknown\n"
    doctor = paid.cli("doctor", check=False)
    assert (doctor.returncode, "FOUND" in doctor.stdout) == (0, False), doctor.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "create", "--name", "x", "--rate", "fast"], ["keys", "create", "--name", "x", "--budget-usd", "lots"],
        ["keys", "set", "nobody", "--jobs", "1"], ["keys", "set", "first"], ["keys", "set", "first", "--jobs", "0"],
        ["keys", "set", "first", "--rate", "fast"], ["keys", "set", "first", "--day-usd", "x"],
        ["spend", "--by", "colour"], ["compare", "--by", "day"],
        ["spend", "--since", "soon"], ["spend", "--since", "2026-02-02", "--until", "2026-02-01"],
        ["compare", "--since", "9000-01-01"], ["jobs", "adopt", "video_1", "t"],
        ["jobs", "resubmit", "video_1"], ["jobs", "settle", "video_1", "--usd", "x"],
    ],
)  # fmt: skip
def test_an_operators_mistake_is_said_in_a_line(paid: Server, words: list[str]) -> None:
    """What a command cannot do it says on one line, and exits 2."""
    done = paid.cli(*words, check=False)
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (2, 1, False), done.stderr


def test_what_is_spent_and_waits_is_measured(paid: Server) -> None:
    """Per key, provider and model; how long the provider took, who rests, and since when the oldest job waits."""
    reader = paid.create_key("--name", "measuring", "--scope", "metrics")
    key = paid.create_key("--name", "spending", "--scope", "read", "--scope", "write")
    made = call(paid, key, "POST", "/v1/videos", {**CLIP, "prompt": "measured"}).json()
    video = finished(paid, key, made["id"])
    (shown,) = [
        line for line in call(paid, reader, "GET", "/metrics").text.splitlines() if f'key="{video["key"]}"' in line
        and line.startswith("reelgate_spend_usd_total")
    ]  # fmt: skip
    assert shown.endswith(" 0.25")
    assert 'model="sandbox/demo"' in shown
    assert 'provider="sandbox"' in shown
    figures = call(paid, reader, "GET", "/metrics").text
    assert 'reelgate_account_resting{account="sandbox"} 0.0' in figures
    asked = 'reelgate_provider_call_seconds_count{call="%s",provider="sandbox"} 0.0'
    assert "reelgate_provider_call_seconds_count" in figures
    assert not [kind for kind in ("order", "look") if asked % kind in figures]
    assert "reelgate_jobs_oldest_queued_seconds " in figures
