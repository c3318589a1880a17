"""Laws of the record: what was lived through adds up, and nothing else is written down."""

import json
from pathlib import Path

import pytest

from tests.prove import record
from tests.prove.part import Part, add, broken
from tests.prove.parts import PARTS, lived
from tests.prove.record import Record


def part(*, breaks: bool = False) -> Part:
    return Part(
        what="counting", units="numbers", most=10, stretch=4,
        run=lambda stretch: broken("here", AssertionError("no")) if breaks else {"sum": sum(stretch)},
        says=lambda seen: f"a sum of {seen.get('sum', 0)}",
    )  # fmt: skip


def live(kept: Record, name: str, made: Part, most: int, *, until: int) -> None:
    done = kept.begin(name, made, most, fresh=False)
    while done < until:
        stretch = range(done, min(done + made.stretch, most))
        kept.keep(name, made.run(stretch), len(stretch), 0.5)
        done = stretch.stop
    kept.write({name: made})


def test_stretches_add_up() -> None:
    """Numbers and lists by adding, figures within figures too; the most of a thing is the most of both."""
    one = {"kills": 2, "ends": {"completed": 1}, "broken": ["a"], "most_ms": 5, "least_share": 0.5}
    other = {"kills": 3, "ends": {"completed": 2, "failed": 1}, "broken": ["b"], "most_ms": 4, "least_share": 0.4}

    assert add(one, other) == {
        "kills": 5, "ends": {"completed": 3, "failed": 1}, "broken": ["a", "b"], "most_ms": 5, "least_share": 0.4,
    }  # fmt: skip


def test_what_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same commit, from the record on disk; by another, or once it is whole, from the start."""
    monkeypatch.setattr(record, "commit", lambda: "abc")
    live(Record(tmp_path), "count", part(), 10, until=8)
    assert "8 of 10 numbers: a sum of 28" in (tmp_path / "reliability.md").read_text()
    again = Record(tmp_path)
    assert again.begin("count", part(), 10, fresh=False) == 8
    live(again, "count", part(), 10, until=10)
    told = json.loads((tmp_path / "reliability.json").read_text())["parts"]["count"]
    assert (told["sum"], told["done"], told["seconds"], told["commit"]) == (45, 10, 1.5, "abc")
    assert Record(tmp_path).begin("count", part(), 10, fresh=False) == 0
    monkeypatch.setattr(record, "commit", lambda: "def")
    live(Record(tmp_path), "count", part(), 10, until=4)
    assert Record(tmp_path).parts["count"]["commit"] == "def"


def test_a_broken_law_is_not_hidden(tmp_path: Path) -> None:
    """It is counted on the page, and where it can be seen again stands in the record."""
    live(Record(tmp_path), "count", part(breaks=True), 4, until=4)

    assert "| 1 |" in (tmp_path / "reliability.md").read_text()
    assert Record(tmp_path).parts["count"]["broken"] == ["here: AssertionError: no"]


@pytest.mark.parametrize("name", PARTS)
def test_every_part_can_say_that_it_saw_nothing(name: str) -> None:
    """A part whose every stretch broke a law still has a line."""
    assert PARTS[name].says({"done": 1})


def test_stretches_beside_each_other_come_in_their_order() -> None:
    """Each in a process of its own, and what they saw is what they would have seen one after the other."""
    stretches = [range(20), range(20, 60), range(60, 70)]
    alone, beside = ([figures for figures, _ in lived("answers", stretches, at_once)] for at_once in (1, 2))

    assert alone == beside
    assert [sum(each["met"].values()) for each in alone] == [20, 40, 10]
