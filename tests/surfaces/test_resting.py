"""
Law of a rest on the wire: while whoever could make a clip rests, a client of any dialect is told so and when to come
back, and not that its call is wrong.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.receiver import Receiver
from tests.server import Server, eventually
from tests.surfaces.test_failures import DEAR, DIALECTS

ORDERS = "/videos"
WANTED = {"model": DEAR, "prompt": "a cat"}


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway whose one account was told that its key is wrong, and rests for an hour."""
    seller = Receiver()
    seller.script[ORDERS] = [401]
    server = Server(
        tmp_path_factory.mktemp("resting"), USEAPI_TOKEN="x" * 20, REELGATE__ACCOUNTS__FLOW__PROVIDER="flow",
        REELGATE__ACCOUNTS__FLOW__BASE_URL=seller.url, REELGATE__ACCOUNTS__FLOW__PLAN="ultra-200",
        REELGATE__ACCOUNTS__SANDBOX__PROVIDER="sandbox",
    )  # fmt: skip
    key = server.create_key("--name", "resting")
    server.start()
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as api:
        video = api.post("/v1/videos", json=WANTED).json()
        eventually(lambda: api.get(f"/v1/videos/{video['id']}").json()["status"] == "failed", seconds=20)
        yield api
    server.stop()
    seller.close()


@pytest.mark.parametrize("name", DIALECTS)
def test_a_rest_is_no_fault_of_the_call(shut: httpx.Client, name: str) -> None:
    """It says who rests until when, and no field is blamed; an SDK need not ask again at once."""
    said = DIALECTS[name]
    answer = shut.post(said.order, json=said.body)
    told = said.read(answer.json())

    assert (503, "false") == (answer.status_code, answer.headers["x-should-retry"]), answer.text
    assert 3_000 < int(answer.headers["retry-after"]) <= 3_480  # Two minutes before its end a rest is waited for.
    assert "the account flow orders nothing until" in told.message
    assert "try again in" in told.message
    assert "fieldViolations" not in answer.text


def test_our_own_words_have_a_code(shut: httpx.Client) -> None:
    """Of its reasons those that pass are told apart; a quote lists them as ever."""
    body = shut.post("/v1/videos", json=WANTED).json()
    assert ("no_offer_now", None, "server_error") == tuple(body["error"][name] for name in ("code", "param", "type"))
    assert {"flow": "resting", "sandbox": "not_sold"} == {
        each["detail"].partition(":")[0]: each["code"] for each in body["errors"]
    }
    quoted = shut.post("/v1/quotes", json=WANTED)
    reasons = {each["account"]: each["reasons"][0]["message"] for each in quoted.json()["data"]}
    assert (200, {"flow", "sandbox"}) == (quoted.status_code, reasons.keys())
    assert "orders nothing until" in reasons["flow"]


@pytest.mark.parametrize(
    "more", [{"seconds": 5}, {"max_cost_usd": 0.0001}, {"provider": {"ignore": ["flow"]}}, {"model": "vertex:nobody"}]
)
def test_what_a_rest_s_end_does_not_change_is_wrong_now(shut: httpx.Client, more: dict[str, object]) -> None:
    """A call that the resting account would not take either has to be changed, and reads so."""
    assert shut.post("/v1/videos", json={**WANTED, **more}).status_code in {404, 422}
