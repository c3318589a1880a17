"""
Read the rows of a batch file under our names: which field each of its words stands for, every value of its type; pure.

A row may use every field of ``POST /v1/videos``, the flags of ``reelgate generate``, and the words of useapi's
batch scripts (``startImage``, ``aspectRatio: portrait``, ``count``).
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.create import FIELDS, parse
from gateway.api.forms import Body
from gateway.api.nesting import nest
from gateway.cli.batch.sheet import Row, SheetError
from gateway.cli.wanted import TASKS
from gateway.problems import ProblemError
from gateway.surfaces._flow import ASPECTS, CAPTCHA, CHARACTERS, IMAGES, TRIM, VOICES

OURS = FIELDS | {"first_frame", "last_frame", "references", "file", "policy", "email", "async"}
"""Every field of a create call, and what is shorter to write in a table."""
NAMES = {
    "count": "n",
    "audio": "generate_audio",
    "mode": "task",
    "max_cost": "max_cost_usd",
    "image": "first_frame",
    "start_image": "first_frame",
    "start_frame": "first_frame",
    "last_image": "last_frame",
    "end_image": "last_frame",
    "end_frame": "last_frame",
    "reference": "references",
    "reference_video_1": "video",
    "reply_url": "callback_url",
    "reply_ref": "external_id",
    "name": "file",
    "filename": "file",
}
"""Other names of fields, written with underscores: ours."""
NUMBERED = {**dict.fromkeys(IMAGES, "references"), **dict.fromkeys(CHARACTERS, "characters")} | dict.fromkeys(
    VOICES, "voices"
)
"""Fields whose items have a name each: ours."""
FLOW = frozenset({*CAPTCHA, *TRIM})
"""What only Flow itself can be told."""
JOINED = frozenset({"provider", "metadata", "output", "provider_options"})
"""Fields of which a row may say a part, and the defaults the rest."""


class Said(Struct, kw_only=True):
    """Hold what one row says, under our names."""

    where: str
    fields: dict[str, Any]
    names: dict[str, str]
    """What the row itself calls each field."""

    def fault(self, field: str, message: str) -> SheetError:
        """Say what is wrong with a field, by the name the row has for it."""
        return SheetError(f"{self.where}, {self.names.get(field, field)}: {message}")


def read_row(row: Row) -> Said:
    """
    Read a row under our names, every value of its type.

    :raises SheetError: naming the field.
    """
    said = Said(where=row.where, fields={}, names={})
    for name, value in row.fields.items():
        _check_text(said, name, value)
    given = {name: value for name, value in row.fields.items() if value is not None}
    if row.text:
        try:
            given = nest(list(given.items()))
        except ValueError as error:
            raise SheetError(f"{row.where}: {error}") from error
    removed = [name for name, value in row.fields.items() if value is None]
    for name, value in given.items():
        _take(said, name, value)
    checked = {name: value for name, value in said.fields.items() if name in FIELDS}
    if row.text:
        checked = {name: _split(name, value) for name, value in checked.items()}
    try:
        # The gateway's own reading of a call; a table is text, as a form is.
        read = parse(Body(checked, strict=not row.text, uploads=[]))
    except ProblemError as problem:
        field = (problem.param or "").partition(".")[0].partition("[")[0]
        message = problem.message.removeprefix(f"{problem.param}: ")
        raise said.fault(field, message) from problem
    if row.text:
        said.fields |= {name: _typed(getattr(read, name), value) for name, value in checked.items()}
    for name in removed:
        ours = _name(name)
        if ours not in OURS and ours not in NUMBERED and ours not in FLOW:
            raise _unknown(row.where, name)
        said.fields[NUMBERED.get(ours, ours)] = None
    return said


def _check_text(said: Said, name: str, value: Any) -> None:
    """
    Refuse what no text can hold, on its way to the gateway or as a path.

    :raises SheetError: naming the field.
    """
    if isinstance(value, str):
        if re.search("[\0\ud800-\udfff]", value):
            raise said.fault(name, "remove the NUL character (U+0000) or the half of a surrogate pair")
    elif isinstance(value, dict | list):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_text(said, name, each)


def _take(said: Said, name: str, value: Any) -> None:
    """
    Take one field in under our name.

    :raises SheetError: when there is none such, or it is said twice.
    """
    ours = _name(name)
    if ours in NUMBERED:
        listed = NUMBERED[ours]
        said.names.setdefault(listed, name)
        said.fields.setdefault(listed, []).append(value if listed == "references" else _by_id(value))
        return
    if ours in FLOW:
        said.fields.setdefault("provider_options", {}).setdefault("flow", {})[ours] = value
        if ours in TRIM:  # Of all who edit, only Flow takes a window of the source.
            said.fields.setdefault("provider", {})["only"] = ["flow"]
        return
    if ours not in OURS:
        raise _unknown(said.where, name)
    if ours in said.names:
        raise SheetError(f"{said.where}: {said.names[ours]} and {name} say the same thing; keep one")
    said.names[ours] = name
    if ours == "async":  # Here nobody waits for anybody.
        return
    if ours in {"policy", "email"}:
        whole, part = ("provider", "policy") if ours == "policy" else ("metadata", "email")
        held = said.fields.setdefault(whole, {})
        if not isinstance(held, dict):
            raise said.fault(whole, "give an object")
        held[part] = value
        return
    said.fields[ours] = _meant(said, ours, value)


def _meant(said: Said, ours: str, value: Any) -> Any:
    """Read a value's short forms."""
    if ours == "task" and isinstance(value, str):
        return TASKS.get(value, value)
    if ours == "aspect_ratio" and isinstance(value, str):
        return ASPECTS.get(value, value)
    if ours == "provider" and isinstance(value, str) and value[:1] != "{":
        value = {"only": _words(value)}
    if ours in {"characters", "voices"} and isinstance(value, list):
        return [_by_id(each) for each in value]
    if ours in JOINED and isinstance(value, dict):
        return {**said.fields.get(ours, {}), **value}
    return value


def _name(name: str) -> str:
    """
    Find our name for a field.

    >>> _name("endImage")
    'last_frame'
    """
    if name in NUMBERED or name in FLOW:
        return name
    plain = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip()).lower().replace(" ", "_").replace("-", "_")
    return NAMES.get(plain, plain)


def _unknown(where: str, name: str) -> SheetError:
    """Describe a field there is none of."""
    return SheetError(f"{where}, {name}: there is no such field; /docs lists those of POST /v1/videos")


def _by_id(value: Any) -> Any:
    """Read a character or a voice named by its id alone."""
    return {"id": value} if isinstance(value, str) else value


def _split(name: str, value: Any) -> Any:
    """Read the lists a cell holds in plain words."""
    if name == "provider" and isinstance(value, dict):
        return {
            part: _words(each) if part in {"only", "order", "ignore"} and isinstance(each, str) else each
            for part, each in value.items()
        }
    if name in {"characters", "voices"} and isinstance(value, str) and value[:1] != "[":
        return [_by_id(each) for each in _words(value)]
    return value


def _words(text: str) -> list[str]:
    """
    Split a list written in one cell.

    >>> _words("flow, gemini")
    ['flow', 'gemini']
    """
    return re.findall(r"[^\s,;|]+", text)


def _typed(read: Any, said: Any) -> Any:
    """Write a checked value as JSON does, with nothing that was not said."""
    built = msgspec.to_builtins(read)
    return {name: built[name] for name in said} if isinstance(said, dict) and isinstance(built, dict) else built


def join_layers(layers: list[Said]) -> Said:
    """Lay a row over the defaults; what it says is nothing (null) takes a default away."""
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for layer in layers:
        names |= layer.names
        for name, value in layer.fields.items():
            below = fields.get(name)
            fields[name] = {**below, **value} if name in JOINED and isinstance(below, dict) and value else value
    return Said(
        where=layers[-1].where, fields={name: value for name, value in fields.items() if value is not None}, names=names
    )
