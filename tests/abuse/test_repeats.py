"""Rows 41 to 47, 107 and 108: calls made again, and what an operator may write."""

import json
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

import pytest

from gateway.cli.common import UsageError
from gateway.cli.keys import create
from gateway.settings import SettingsError, micros
from tests.abuse import wire
from tests.abuse.target import Target
from tests.abuse.wire import Answer

CALL = {"model": "sandbox/demo", "prompt": "a fox [reject]", "seconds": "1"}
"""A call that is taken, and then turned down by whoever is to make it."""


def send(target: Target, body: str, key: str, *, path: str = "/v1/videos", who: str = "own") -> Answer:
    """Order under an Idempotency-Key."""
    headers = {
        "Host": target.names["host"],
        "Authorization": f"Bearer {target.names[who]}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body.encode())),
        "Idempotency-Key": key,
    }
    with wire.open_to(target.server.port) as connection:
        return wire.exchange(connection, [wire.request("POST", path, headers.items()) + body.encode()], "POST")


def test_the_same_call_is_the_same_job(target: Target) -> None:
    """Again, in quotes, with its fields in another order and other spaces: one job, and it says so."""
    key, raw = token_hex(8), json.dumps(CALL)
    first = send(target, raw, key)
    again = [
        send(target, raw, key),
        send(target, raw, f'"{key}"'),
        send(target, json.dumps(dict(reversed(CALL.items())), indent=4), key),
    ]
    assert "idempotency-replayed" not in first.headers
    assert [(200, first.json["id"], "true")] * 3 == [
        (each.status, each.json["id"], each.headers.get("idempotency-replayed")) for each in again
    ]
    target.remove(first.json["id"])


def test_another_call_under_the_key_is_refused(target: Target) -> None:
    """Another body, and the same body at another address; the first job is what it was."""
    key = token_hex(8)
    first = send(target, json.dumps(CALL), key)
    other = send(target, json.dumps({**CALL, "prompt": "a hen [reject]"}), key)
    elsewhere = send(
        target, json.dumps({"prompt": "a fox [reject]"}), key, path=f"/v1/videos/{target.names['done']}/remix"
    )  # fmt: skip
    for each in (other, elsewhere):
        assert (422, "idempotency_key_reused") == (each.status, each.json["error"]["code"])
    target.remove(first.json["id"])


def test_a_key_is_its_tenants_own(target: Target) -> None:
    """Two tenants may use the same one."""
    key, raw = token_hex(8), json.dumps(CALL)
    own, other = send(target, raw, key), send(target, raw, key, who="other")
    assert own.json["id"] != other.json["id"]
    target.remove(own.json["id"])
    target.remove(other.json["id"], key="other")


def test_many_at_once_are_one_job(target: Target) -> None:
    """Whoever comes while the first is under way gets its job, or is asked to come again."""
    key, raw = token_hex(8), json.dumps(CALL)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: send(target, raw, key), range(32)))
    assert {each.status for each in answers} <= {200, 409}
    (id_,) = {each.json["id"] for each in answers if each.status == 200}
    target.remove(id_)


def test_a_refused_call_leaves_its_key_free(target: Target) -> None:
    """What was refused was never begun: the corrected call goes under the same key."""
    key = token_hex(8)
    assert 422 == send(target, json.dumps({**CALL, "seconds": "0"}), key).status
    first = send(target, json.dumps(CALL), key)
    assert 200 == first.status
    target.remove(first.json["id"])


AMOUNTS = ["NaN", "Infinity", "sNaN", "1e999999", "1e3", "-1", "+1", " 1_000 ", "1_000", " 1", "١٢", "0.0000001", "1,5",
           "", "9" * 1_000_000]  # fmt: skip


@pytest.mark.parametrize("amount", AMOUNTS, ids=lambda amount: amount[:12])
def test_what_is_no_amount_is_refused(target: Target, amount: str) -> None:
    """By the command line, and as a call's ceiling; an empty text is no limit to the one, no amount to the other."""
    if amount:
        with pytest.raises(SettingsError, match="is too large" if amount.startswith("999") else "is no amount"):
            micros(amount)
    answer = target.call("POST", "/v1/quotes", json.dumps({"prompt": "x", "max_cost_usd": amount}).encode())
    assert (422, "max_cost_usd") == (answer.status, answer.json["error"]["param"])


@pytest.mark.parametrize("name", ["a\r\nb", "a\x1b[31mb", "a\0", "a\u202eb", "", "a" * 65, "a" * 10_240])
def test_a_keys_name_is_one_line_of_text(name: str) -> None:
    """Controls and endless names are refused; markup is only text, and nothing here shows it as anything else."""
    with pytest.raises(UsageError):
        create(name=name)
