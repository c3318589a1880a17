"""Every form of input in ``rows.toml``, sent to a real server on a real socket."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.table import Entry, compose, read
from tests.abuse.target import Target, check_discreet, check_problem

TABLE = read()
ENTRIES = list(TABLE.entries())
ROWS = 108
TESTS = Path(__file__).parent.parent
KEPT = ("prompt", "metadata", "user", "external_id", "negative_prompt", "seed", "filename")
"""Fields that come back as they were sent."""


def test_table_is_complete() -> None:
    """Each row is here once, or left out for the tests that hold it, which there are."""
    here = [*(row["row"] for row in TABLE.row), *map(int, TABLE.left_out)]
    assert [*range(1, ROWS + 1)] == sorted(here)
    for said in TABLE.left_out.values():
        for file, test in re.findall(r"([\w/]+\.py)::(\w+)", said):
            assert re.search(rf"def {test}\(", (TESTS / file).read_text()), said
        assert "::" in said or said.startswith("not built: ")
    names = [entry.id for entry in ENTRIES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_entry(target: Target, entry: Entry) -> None:
    """
    A form of input gets its documented answer in the documented shape.

    It leaves nothing behind, shows nothing of the inside, and harms nobody after it.
    """
    before = target.holdings()
    answer, ended = target.send(entry)
    target.check_log()
    check_discreet(answer, target.own, target.other)
    assert answer.status in entry.statuses, answer.body
    assert answer.seconds <= entry.within
    assert entry.closes == ended
    missing = set(entry.header) - set(answer.headers)
    wrong = [name for name, start in entry.header.items() if not answer.headers.get(name, "").startswith(start)]
    assert (set(), []) == (missing, wrong)
    if entry.layer == "server":
        assert answer.body == b""
    elif entry.answer == "problem":
        check_problem(answer)
        said = answer.json["error"]
        assert entry.code == said["code"]
        assert said["param"] == (said["param"] if entry.param is None else entry.param or None)
    elif entry.answer == "list":
        assert answer.json["object"] == "list"
    elif entry.answer == "clip":
        assert len(answer.body) == int(answer.headers["content-length"]) > 0
    else:
        assert (entry.answer in {"video", "file"}) == entry.stored
        assert entry.stored or answer.body == b""
    if entry.stored:
        check_stored(target, entry, answer.json)
    else:
        assert before == target.holdings()


def check_stored(target: Target, entry: Entry, given: dict[str, Any]) -> None:
    """What was kept is what was sent, byte for byte, both at once and when asked for; then it is removed."""
    path = f"/v1/{entry.answer}s/{given['id']}"
    sent = {name: value for name, value in {**_body(target, entry), **entry.sent}.items() if name in KEPT}
    for shown in (given, target.call("GET", path).json):
        whole = {**shown.get("request", {}), **shown}
        assert sent == {name: whole[name] for name in sent}
    if entry.answer == "video":
        target.remove(given["id"])
    else:
        assert target.call("DELETE", path).status == 200


def _body(target: Target, entry: Entry) -> dict[str, Any]:
    """Read back the JSON an entry sends."""
    if entry.fields is None:
        return {}
    _, _, body = b"".join(compose(entry, target.names)).partition(b"\r\n\r\n")
    fields: dict[str, Any] = json.loads(body)
    return fields
