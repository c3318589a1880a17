"""Write batches, run them in this process, and read what became of them."""

import json
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli.batch import command
from gateway.cli.batch.results import Batch, Result, Upload

SMALL = {"model": "sandbox/demo", "seconds": 1, "resolution": "360p", "fps": 12}


def write(folder: Path, rows: list[Any], **defaults: Any) -> Path:
    """Write a batch of small clips."""
    path = folder / "prompts.json"
    path.write_text(json.dumps({"defaults": {**SMALL, **defaults}, "prompts": rows}))
    return path


def results_of(batch: Path) -> Path:
    """Say where it is kept what became of a batch."""
    return batch.with_name(f"{batch.stem}.results.jsonl")


def lines_of(path: Path) -> list[Result]:
    """Read what became of the lines, the last record of each."""
    read = [msgspec.json.decode(line, type=Batch | Upload | Result) for line in path.read_bytes().splitlines()]
    return [*{each.line: each for each in read if isinstance(each, Result)}.values()]


def run(path: Path, url: str, **options: Any) -> int:
    """Run the command in this process; answers its exit code."""
    try:
        command.batch(path, url=url, **options)
    except SystemExit as end:
        return int(str(end.code))
    return 0


def result(line: str, status: str) -> Result:
    """Make a record."""
    return Result(line=line, where="line 1", status=status, prompt="p", file="f", call={}, key="k")
