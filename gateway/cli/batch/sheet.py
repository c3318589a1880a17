"""
Read a batch file: JSON, JSON Lines or CSV become rows of fields, each knowing where it stands; pure.

What the fields mean is :mod:`gateway.cli.batch.plan`'s business.
"""

import csv
import io
import json
import math
import re
from typing import Any

from msgspec import Struct

from gateway.cli.common import UsageError

SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
}
SEPARATORS = ",;\t"
"""What stands between cells; the header line shows which."""
DEFAULTS = "defaults"


class SheetError(UsageError):
    """A file that cannot be bought from; says which line, and which field."""


class Row(Struct, frozen=True, kw_only=True):
    """Hold one line as it was written."""

    where: str
    """What a person calls it: ``line 3`` of a CSV or JSONL file, ``prompt 3`` of a JSON list."""
    fields: dict[str, Any]
    text: bool = False
    """Whether every value is a text, as in a CSV: ``4`` may be a number."""


class Sheet(Struct, frozen=True, kw_only=True):
    """Hold a batch file."""

    rows: list[Row]
    defaults: Row | None = None
    """What every row has that does not say otherwise."""


def read_sheet(name: str, data: bytes) -> Sheet:
    """
    Read a batch file by the suffix of its name.

    :raises SheetError: saying where it cannot be read.
    """
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    kind = SUFFIXES.get(suffix)
    if kind is None:
        raise SheetError(f"{name} is none of {', '.join(SUFFIXES)}: name it as what it is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SheetError(f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from error
    sheet = {"json": _json, "jsonl": _jsonl, "csv": _csv}[kind](text)
    if not sheet.rows:
        raise SheetError(f"{name} has no prompts")
    return sheet


def _json(text: str) -> Sheet:
    """Read a list, or an object with ``defaults`` and one list."""
    said = _load(text, "")
    if isinstance(said, list):
        return Sheet(rows=_rows(said, "prompt"))
    lists = [name for name in said if name != DEFAULTS] if isinstance(said, dict) else []
    if len(lists) != 1 or not isinstance(said[lists[0]], list):
        raise SheetError('give a list of prompts, or {"defaults": {...}, "prompts": [...]}')
    return Sheet(rows=_rows(said[lists[0]], "prompt"), defaults=_defaults(said.get(DEFAULTS, {})))


def _jsonl(text: str) -> Sheet:
    """Read an object a line; the first may be ``{"defaults": {...}}``."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    items = [(f"line {number}", _load(line, f"line {number}: ")) for number, line in lines]
    first = items[0][1] if items else None
    if isinstance(first, dict) and set(first) == {DEFAULTS}:
        return Sheet(rows=[_row(each, where) for where, each in items[1:]], defaults=_defaults(first[DEFAULTS]))
    return Sheet(rows=[_row(each, where) for where, each in items])


def _csv(text: str) -> Sheet:
    """Read a table whose first line names the columns; an empty cell says nothing."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows: list[Row] = []
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SheetError(f"{where}: {error}; a cell with quotes in it is quoted, and they are doubled") from error
        if cells is None:
            return Sheet(rows=rows)
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = _columns(cells, where)
        elif len(cells) != len(columns):
            raise SheetError(
                f"{where}: {len(cells)} cells, but {len(columns)} columns are named; quote what holds {separator!r}"
            )
        else:
            said = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}
            rows.append(Row(where=where, fields=said, text=True))


def _columns(cells: list[str], where: str) -> list[str]:
    """
    Read the names of the columns.

    :raises SheetError: when one has none, or another's.
    """
    names = [cell.strip() for cell in cells]
    for at, name in enumerate(names):
        if not name:
            raise SheetError(f"{where}: column {at + 1} has no name")
        if name in names[:at]:
            raise SheetError(f"{where}: two columns are named {name!r}")
    return names


def _load(text: str, where: str) -> Any:
    """
    Read JSON, strictly: a name said twice is a mistake, and so are NaN and a number no call can carry.

    :raises SheetError: saying where.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole, parse_float=_float
        )
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno}: "
        raise SheetError(f"{place}not valid JSON: {error.msg} (column {error.colno})") from error
    except _SizeError as error:
        raise SheetError(f"{where or f'line {_line(text, error.number)}: '}{error}") from error
    except RecursionError as error:
        raise SheetError(f"{where}nested too deep") from error
    except ValueError as error:
        raise SheetError(f"{where}{error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read an object, refusing a name said twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _constant(name: str) -> None:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not a number")


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.0-9eE]+')
"""A text as it stands in JSON, or a number."""


class _SizeError(ValueError):
    """A number no call can carry; the message shows no more than its head."""

    def __init__(self, number: str) -> None:
        shown = number if len(number) <= 24 else f"{number[:12]}... ({len(number)} signs)"
        super().__init__(f"{shown} is too large a number")
        self.number = number


def _whole(text: str) -> int:
    """Read a whole number, refusing one that 64 bits do not hold."""
    if len(text) > len(str(-(2**63))) or not -(2**63) <= int(text) < 2**64:
        raise _SizeError(text)
    return int(text)


def _float(text: str) -> float:
    """Read a number with a point or an exponent, refusing one that is infinite to whoever reads it."""
    number = float(text)
    if not math.isfinite(number):
        raise _SizeError(text)
    return number


def _line(text: str, number: str) -> int:
    """Say in which line of some JSON a number first stands, that is none inside a text."""
    at = next((token.start() for token in TOKEN.finditer(text) if token[0] == number), 0)
    return text.count("\n", 0, at) + 1


def _defaults(said: Any) -> Row:
    """Read the defaults."""
    if not isinstance(said, dict):
        raise SheetError("defaults: give an object of fields")
    return Row(where=DEFAULTS, fields=said)


def _rows(items: list[Any], word: str) -> list[Row]:
    """Read the items of a list."""
    return [_row(each, f"{word} {number}") for number, each in enumerate(items, 1)]


def _row(said: Any, where: str) -> Row:
    """
    Read one item: an object, or a prompt alone.

    :raises SheetError: when it is neither.
    """
    if isinstance(said, str):
        said = {"prompt": said}
    if not isinstance(said, dict):
        raise SheetError(f"{where}: give an object with a prompt, or a prompt alone")
    return Row(where=where, fields=said)
