"""Laws of a batch file: what it says is what is bought, and what it says wrongly is told with its line and field."""

import doctest
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.cli import common, gate, videos
from gateway.cli.batch import plan as batch_plan
from gateway.cli.batch import words
from gateway.cli.batch.plan import Line, plan
from gateway.cli.batch.results import COMPLETED, FAILED, ORDERED, ORDERING, REFUSED, Result, Saved
from gateway.cli.batch.run import OLD_SECONDS, Move, move_of, named, read_quote
from gateway.cli.batch.sheet import Row, SheetError, read_sheet

FOLDER = Path("/batch")
SEED = [
    {"prompt": "By default a landscape clip."},
    {
        "model": "veo-3.1-quality",
        "aspectRatio": "landscape",
        "duration": 8,
        "count": 2,
        "seed": 123456,
        "prompt": "Two.",
    },
    {
        "model": "veo-3.1-fast",
        "aspectRatio": "portrait",
        "duration": 8,
        "startImage": "./first.jpeg",
        "endImage": "./last.jpeg",
        "prompt": "From one frame to another.",
    },
    {"referenceImage_1": "./subject.jpeg", "referenceAudio_1": "Kore", "prompt": "A reference, and a voice."},
]
"""As useapi's scripts read it, for Veo and for Omni Flash."""


def look(path: Path) -> str:
    """Add up a file by its name: those named missing are not there."""
    if "missing" in path.name:
        raise FileNotFoundError(2, "No such file or directory")
    return f"sum of {path.relative_to(FOLDER)}"


def lines(
    text: str | list[Any] | dict[str, Any],
    name: str = "prompts.json",
    look: Callable[[Path], str] = look,
    **more: Any,
) -> list[Line]:
    """Plan a file."""
    data = text if isinstance(text, str) else json.dumps(text)
    return plan(read_sheet(name, data.encode()), FOLDER, look, **{"named": {}, **more})


def test_examples_in_docstrings_hold() -> None:
    """What a docstring shows is what comes out."""
    for module in (common, gate, videos, batch_plan, words):
        assert 0 == doctest.testmod(module).failed < doctest.testmod(module).attempted


def test_useapis_own_file_means_what_it_says() -> None:
    """Every word of the scripts' ``prompts.json`` has its field; paths are relative to the file."""
    plain, two, frames, referenced = lines(SEED)

    assert {"prompt": "By default a landscape clip."} == plain.call
    assert ("16:9", 8, 2, 123456, "veo-3.1-quality") == tuple(
        two.call[name] for name in ("aspect_ratio", "duration", "n", "seed", "model")
    )
    assert [
        {"sha256": "sum of first.jpeg", "frame_type": "first_frame"},
        {"sha256": "sum of last.jpeg", "frame_type": "last_frame"},
    ] == frames.call["frame_images"]
    assert "9:16" == frames.call["aspect_ratio"]
    assert {FOLDER / "first.jpeg", FOLDER / "last.jpeg"} == {*frames.pictures.values()}
    assert [{"sha256": "sum of subject.jpeg"}] == referenced.call["input_references"]
    assert [{"id": "Kore"}] == referenced.call["voices"]
    assert ["02-two-1.mp4", "02-two-2.mp4"] == two.files


def test_three_ways_to_write_the_same() -> None:
    """JSON, JSON Lines and CSV, whatever stands between its cells, buy the same."""
    rows = [
        {"prompt": 'a "red" kite, up; high', "seconds": "4", "n": 2, "seed": 7, "generate_audio": False},
        {"prompt": "two\nlines", "first_frame": "a.png", "provider": "flow, gemini", "policy": "best"},
    ]
    as_json, as_lines = lines(rows), lines("\n\n".join(map(json.dumps, rows)), "p.jsonl")
    columns = ["prompt", "seconds", "n", "seed", "audio", "first_frame", "provider", "policy"]
    cells = [
        ['"a ""red"" kite, up; high"', "4", "2", "7", "false", "", "", ""],
        ['"two\nlines"', "", "", "", "", "a.png", '"flow, gemini"', "best"],
    ]
    for mark in ",;\t":
        table = "\ufeff" + "\r\n".join(mark.join(row) for row in [columns, *cells]) + "\r\n"
        assert [each.call for each in as_json] == [each.call for each in lines(table, "p.csv")]
    assert [each.call for each in as_json] == [each.call for each in as_lines]
    assert {"only": ["flow", "gemini"], "policy": "best"} == as_json[1].call["provider"]
    assert ["line 1", "line 3"] == [each.where for each in as_lines]


def test_defaults_give_way() -> None:
    """A line's own word comes first, then the file's, then the command's; null takes a default away."""
    said = {
        "defaults": {"model": "a", "seconds": 4, "metadata": {"x": "1"}, "provider": "flow"},
        "prompts": ["one", {"prompt": "two", "seconds": None, "metadata": {"y": "2"}, "policy": "best"}],
    }
    more = Row(where="--default", fields={"model": "b", "seed": "7"}, text=True)
    one, two = (each.call for each in lines(said, more=more))

    assert {
        "model": "a", "seed": 7, "seconds": 4, "metadata": {"x": "1"}, "provider": {"only": ["flow"]}, "prompt": "one",
    } == one  # fmt: skip
    assert ({"x": "1", "y": "2"}, {"only": ["flow"], "policy": "best"}) == (two["metadata"], two["provider"])
    assert "seconds" not in two
    jsonl = '{"defaults": {"seconds": 4}}\n"one"\n'
    assert {"prompt": "one", "seconds": 4} == lines(jsonl, "p.jsonl")[0].call


def test_a_table_reaches_inside_a_field() -> None:
    """``metadata.title`` and JSON in a cell are what they describe."""
    table = (
        "prompt,metadata.title,provider.ignore,output.format,references,voices,video\n"
        'a,T,"flow gemini",webm,a.png | https://x.example/b.png,Kore,video_0123456789abcdef0123456789abcdef\n'
    )
    (line,) = lines(table, "p.csv")

    assert ({"title": "T"}, {"ignore": ["flow", "gemini"]}) == (line.call["metadata"], line.call["provider"])
    assert [{"sha256": "sum of a.png"}, {"url": "https://x.example/b.png"}] == line.call["input_references"]
    assert ([{"id": "Kore"}], {"id": "video_0123456789abcdef0123456789abcdef"}) == (
        line.call["voices"],
        line.call["video"],
    )
    assert "01-a.webm" == line.file


BAD = [
    ("p.json", "[", "line 1: not valid JSON"),
    ("p.json", '[{"prompt": "a", "prompt": "b"}]', "'prompt' is given twice"),
    ("p.json", '[{"prompt": "a", "seed": NaN}]', "NaN is not a number"),
    ("p.json", '[{"prompt": "a",\n "s1e400": "1e400",\n "seed": 1e400}]', "line 3: 1e400 is too large a number"),
    ("p.json", '["a", {"metadata": {"x": [-1e999]}}]', "line 1: -1e999 is too large a number"),
    ("p.json", f'[\n{{"prompt": "a", "seed": {"9" * 5000}}}]', "line 2: 999999999999... (5000 signs) is too large"),
    ("p.jsonl", f'{{"prompt": "a"}}\n{{"prompt": "b", "seed": -{"9" * 19}}}', "line 2: -9999999999999999999 is too"),
    ("p.csv", f"prompt,seed\na,{'9' * 5000}\n", "line 2, seed: "),
    ("p.csv", "prompt,guidance_scale\na,1e400\n", "line 2, guidance_scale: "),
    ("p.csv", "prompt,metadata\na,{'x': 1e400}\n".replace("'", '""').replace("{", '"{').replace("}", '}"'), "line 2, "),
    ("p.json", "{}", "give a list of prompts"),
    ("p.json", '{"defaults": [], "prompts": ["a"]}', "defaults: give an object"),
    ("p.json", "[]", "p.json has no prompts"),
    ("p.json", "[7]", "prompt 1: give an object with a prompt"),
    ("p.json", '["a", {"prompt": " "}]', "prompt 2, prompt: say what the clip should show"),
    ("p.json", '["a", {"prompt": "b", "colour": "red"}]', "prompt 2, colour: there is no such field"),
    ("p.json", '["a", {"prompt": "b", "colour": null}]', "prompt 2, colour: there is no such field"),
    ("p.json", '[{"prompt": "b", "count": 9}]', "prompt 1, count: expected `int` <= 4"),
    ("p.json", '[{"prompt": "b", "n": "2"}]', "prompt 1, n: expected `int"),
    ("p.json", '[{"prompt": "b", "n": 2, "count": 2}]', "n and count say the same thing"),
    ("p.json", '[{"prompt": "b", "startImage": "missing.png"}]', "prompt 1, startImage: missing.png cannot be read"),
    ("p.json", '[{"prompt": "b", "startImage": ["a.png"]}]', "prompt 1, startImage: give a path or a URL"),
    ("p.json", '[{"prompt": "b", "endImage": "a.png"}]', "prompt 1, endImage: a last frame needs a first frame"),
    ("p.json", '[{"prompt": "b", "image": "a", "frame_images": ["b"]}]', "prompt 1, image: frames are given twice"),
    ("p.json", '[{"prompt": "b", "file": "../out.mp4"}]', "prompt 1, file: give a name within the folder"),
    ("p.json", '[{"prompt": "b", "file": "/out.mp4"}]', "prompt 1, file: give a name within the folder"),
    ("p.json", '[{"prompt": "b", "file": "a"}, {"prompt": "c", "file": "A.mp4"}]', "is the file of prompt 1, too"),
    ("p.json", '[{"prompt": "b", "provider": {"only": "flow"}}]', "prompt 1, provider: "),
    ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2: not valid JSON"),
    ("p.csv", "prompt,prompt\na,b\n", "line 1: two columns are named 'prompt'"),
    ("p.csv", "prompt,\na,b\n", "line 1: column 2 has no name"),
    ("p.csv", "prompt,seed\na,b,c\n", "line 2: 3 cells, but 2 columns"),
    ("p.csv", 'prompt,seed\na,1\n"b"c,2\n', "line 3: "),
    ("p.csv", 'prompt,seed\n"a,1\n', "line 2: "),
    ("p.csv", "prompt,seed\na,1\nb,soon\n", "line 3, seed: expected `int"),
    ("p.csv", "prompt,colour\na,red\n", "line 2, colour: there is no such field"),
    ("p.csv", "seed\n1\n", "line 2, prompt: say what"),
    ("p.txt", "a", "p.txt is none of .json"),
    ("p.csv", b"prompt\n\xff\n", "line 2: byte 0xff is not UTF-8"),
]


@pytest.mark.parametrize(("name", "text", "told"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_told_with_its_line_and_field(name: str, text: str | bytes, told: str) -> None:
    """Before anything is asked of anybody."""
    with pytest.raises(SheetError) as caught:
        plan(read_sheet(name, text if isinstance(text, bytes) else text.encode()), FOLDER, look, named={})
    assert told.lower() in str(caught.value).lower()


def test_what_shows_an_element_is_a_file_of_this_machine() -> None:
    """As references are: read where it is, handed over once, and named by the gateway's id when it is ordered."""
    fox = {"name": "fox", "description": "red", "images": ["a.png", "https://x.example/b.png"]}
    (line,) = lines([{"prompt": "@fox", "elements": [fox, {"name": "cub", "videos": ["sub/c.mp4"]}]}])
    assert {"sum of a.png": FOLDER / "a.png", "sum of sub/c.mp4": FOLDER / "sub/c.mp4"} == line.pictures
    uploads = {"sum of a.png": "file_1", "sum of sub/c.mp4": "file_2"}
    assert [
        {**fox, "images": [{"file_id": "file_1"}, {"url": "https://x.example/b.png"}]},
        {"name": "cub", "videos": [{"file_id": "file_2"}]},
    ] == named(line.call, uploads, set())["elements"]
    assert {"sha256": "mine"} == named({"metadata": {"sha256": "mine"}}, uploads, set())["metadata"]
    with pytest.raises(SheetError, match=r"elements: missing\.png cannot be read"):
        lines([{"prompt": "@fox", "elements": [{"name": "fox", "images": ["missing.png"]}]}])


def test_mistakes_are_told_together() -> None:
    """All of them up to ten, and how many more there are."""
    with pytest.raises(SheetError) as caught:
        lines([{"prompt": ""} for _ in range(13)])
    assert ["nothing was bought:", "and 3 more"] == [str(caught.value).splitlines()[at].strip() for at in (0, -1)]


def test_a_line_is_known_by_what_it_says() -> None:
    """Wherever it stands and whatever its file is called; not when its words or its pictures are others."""
    before = lines(SEED)
    mixed = [{"prompt": "new"}, *random.Random(4).sample(SEED, len(SEED))]
    after = lines(mixed, named={each.id: each.file for each in before})

    assert {each.id: each.file for each in before} == {each.id: each.file for each in after[1:]}
    assert after[0].id not in {each.id for each in before}
    renamed = lines([{**each, "file": f"clip{at}"} for at, each in enumerate(SEED)])
    assert [each.id for each in before] == [each.id for each in renamed]
    redrawn = lines(SEED, look=lambda path: f"other sum of {path.name}")
    assert [True, True, False, False] == [
        old.id == new.id for old, new in zip(before, redrawn, strict=True)
    ]  # the first two have no pictures
    twice = lines(["a kite", "a kite"])
    assert 2 == len({each.id for each in twice})
    assert ["01-a-kite.mp4", "02-a-kite.mp4"] == [each.file for each in twice]


def test_several_clips_of_a_line_are_lines_of_their_own_where_nobody_makes_several() -> None:
    """Each once, under its own name; seeds count up, since the same seed is the same clip."""
    (line,) = lines([{"prompt": "a", "count": 3, "seed": 2**32 - 2, "file": "x"}])
    pieces = line.split({})

    assert [2**32 - 2, 2**32 - 1, 0] == [each.call["seed"] for each in pieces]
    assert ["x-1.mp4", "x-2.mp4", "x-3.mp4"] == [each.file for each in pieces]
    assert all("n" not in each.call for each in pieces)
    again = lines([{"prompt": "a", "count": 3, "seed": 2**32 - 2}], named={pieces[1].id: "x-2.mp4"})
    assert [each.id for each in pieces] == [each.id for each in again]
    assert "x-2.mp4" == again[1].file


def test_names_are_the_gateways_once_it_is_asked() -> None:
    """A file of this machine is named by its id there; useapi's models by ours, unless the gateway knows the name."""
    call = {"model": "veo-3.1-quality", "frame_images": [{"sha256": "s", "frame_type": "first_frame"}]}

    assert {
        "model": "google/veo-3.1",
        "seconds": 8,
        "frame_images": [{"file_id": "file_1", "frame_type": "first_frame"}],
    } == named(call, {"s": "file_1"}, set())
    assert {"model": "veo-3.1-quality"} == named({"model": "veo-3.1-quality"}, {}, {"veo-3.1-quality"})


@pytest.mark.parametrize(
    ("said", "seconds"), [({}, 8), ({"seconds": 4}, 4), ({"duration": "6"}, None), ({"video": {"id": "video_1"}}, None)]
)
def test_a_length_useapis_file_leaves_open_is_useapis(said: dict[str, Any], seconds: int | None) -> None:
    """Eight seconds, unless the line says it, or goes on from a clip."""
    assert seconds == named({"model": "omni-flash", **said}, {}, set()).get("seconds")


def test_a_line_nobody_can_make_says_why() -> None:
    """By the name the row has for the field."""
    (line,) = lines([{"prompt": "a", "duration": 5}])
    reasons = [{"field": "seconds", "message": "x sells 8"}, {"field": "seconds", "message": "x sells 8"}]

    told = read_quote(line, line.call, [{"place": None, "reasons": reasons}])
    assert "prompt 1, seconds: no offer can do this: x sells 8" == told
    assert "prompt 1, model: no account sells it" == read_quote(line, line.call, [])


RESULT = Result(line="1", where="line 2", status=ORDERING, prompt="", file="a.mp4", call={}, key="k", at=1000)
CLIP = Saved(file="a.mp4", bytes=1, sha256="s")


@pytest.mark.parametrize(
    ("status", "changes", "retry", "move"),
    [
        ("", {}, False, Move.BUY),
        (ORDERING, {}, True, Move.REPEAT),
        (ORDERING, {"at": 1000 - OLD_SECONDS}, True, Move.SEARCH),
        (ORDERED, {}, True, Move.FOLLOW),
        (FAILED, {}, False, Move.NOTHING),
        (FAILED, {}, True, Move.BUY),
        (REFUSED, {}, False, Move.NOTHING),
        (REFUSED, {}, True, Move.BUY),
        (COMPLETED, {"clips": (CLIP,)}, True, Move.NOTHING),
        (COMPLETED, {"clips": (CLIP,), "file": "elsewhere.mp4"}, True, Move.FETCH),
        (COMPLETED, {}, True, Move.FETCH),
    ],
)
def test_the_last_record_decides(status: str, changes: dict[str, Any], retry: bool, move: Move) -> None:
    """Only what no run has begun is bought, and what failed on a person's word."""
    known = replace(RESULT, status=status, **changes) if status else None
    file = known.file if known else "a.mp4"
    found = move_of(known, file, retry=retry, now=1001, whole=lambda file, clip: file == "a.mp4" and clip is CLIP)
    assert move == found
