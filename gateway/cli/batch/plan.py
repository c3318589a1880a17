"""
Turn the rows of a batch file into lines to buy: which call each makes, from which pictures, into which file; pure.

A row may use every field of ``POST /v1/videos``, the flags of ``reelgate generate``, and the words of useapi's
batch scripts (``startImage``, ``aspectRatio: portrait``, ``count``): one table says what each stands for.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.api.create import FIELDS, parse
from gateway.api.forms import Body
from gateway.api.nesting import nest
from gateway.api.problems import ProblemError
from gateway.cli.batch.sheet import Row, Sheet, SheetError
from gateway.cli.gate import files_of
from gateway.cli.wanted import TASKS
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
LOCAL = "sha256"
"""Stands in a call for a file of this machine, until the gateway has given it a name."""
KINDS = ("mp4", "webm", "mov")
SHOWN = 10
"""How many mistakes are told at once."""

Look = Callable[[Path], str]
"""Adds a file up (SHA-256); raises OSError where it cannot be read."""


class Line(Struct, frozen=True, kw_only=True):
    """Hold one line to buy: a create call, and where its clips go."""

    id: str
    """By which a later run knows it: what it says and what its pictures hold, wherever it stands in the file."""
    where: str
    call: dict[str, Any]
    pictures: dict[str, Path]
    """The files of this machine the call names, by their sums."""
    file: str
    """Where its clip goes, within the folder."""
    names: dict[str, str]
    """What the row itself calls each field."""

    @property
    def prompt(self) -> str:
        """What the clip should show."""
        return str(self.call.get("prompt", ""))

    @property
    def files(self) -> list[str]:
        """Where each of its clips goes."""
        return files_of(self.file, self.call.get("n", 1))

    def split(self, named: Mapping[str, str]) -> list[Self]:
        """
        Make a line of each of its clips, for offers that make one at a time; seeds count up, or all would be one.

        :param named: where the clips of lines known from an earlier run go.
        """
        count = self.call["n"]
        plain = {name: value for name, value in self.call.items() if name != "n"}
        return [
            replace(
                self,
                id=f"{self.id}.{number}",
                where=f"{self.where}, {number} of {count}",
                call={**plain, "seed": (plain["seed"] + number - 1) % 2**32} if "seed" in plain else plain,
                file=named.get(f"{self.id}.{number}", file),
            )
            for number, file in enumerate(self.files, 1)
        ]

    def blame(self, param: str | None, message: str) -> str:
        """Say what the gateway has against a field, by the name the row has for it."""
        field = re.split(r"[.\[]", param or "")[0]
        at = re.fullmatch(r"frame_images\[(\d)\].*", param or "")
        if at:
            field = self.call["frame_images"][int(at[1])].get("frame_type", field)
        if field == "input_references":
            field = "references"
        said = self.names.get(field, param or "")
        return f"{self.where}, {said}: {message}" if said else f"{self.where}: {message}"


class _Said(Struct, kw_only=True):
    """Hold what one row says, under our names."""

    where: str
    fields: dict[str, Any]
    names: dict[str, str]
    """What the row itself calls each field."""

    def fault(self, field: str, message: str) -> SheetError:
        """Say what is wrong with a field, by the name the row has for it."""
        return SheetError(f"{self.where}, {self.names.get(field, field)}: {message}")


def plan(sheet: Sheet, folder: Path, look: Look, *, more: Row | None = None, named: Mapping[str, str]) -> list[Line]:
    """
    Plan what to buy; the file's mistakes are told together.

    :param folder: what paths are relative to.
    :param more: defaults from elsewhere, which the file's own go before.
    :param named: where the clips of lines known from an earlier run go; what was split then is split again.
    :raises SheetError: naming lines and fields.
    """
    defaults = [_read(each) for each in (more, sheet.defaults) if each]
    lines: list[Line] = []
    faults: list[str] = []
    met: Counter[str] = Counter()
    digits, taken = max(2, len(str(len(sheet.rows)))), set(named.values())
    halved = {id_.partition(".")[0] for id_ in named if "." in id_}
    for number, row in enumerate(sheet.rows, 1):
        try:
            said = _joined([*defaults, _read(row)])
            call, pictures = _call(said, folder, look)
            wanted = _file(said)
            same = _identity(call)
            id_ = f"{same}-{met[same]}" if met[same] else same
            met[same] += 1
            kind = (call.get("output") or {}).get("format") or KINDS[0]
            default = f"{number:0{digits}d}-{_slug(call.get('prompt', ''))}"
            if _suffixed(default, kind) in taken:
                default = f"{default}-{id_[:6]}"
            file = _suffixed(wanted or named.get(id_) or default, kind)
            line = Line(id=id_, where=row.where, call=call, pictures=pictures, file=file, names=said.names)
            lines += line.split(named) if id_ in halved else [line]
        except SheetError as fault:
            faults.append(str(fault))
    refuse(faults or _clashes(lines))
    return lines


def refuse(faults: Sequence[str]) -> None:
    """
    Tell mistakes together.

    :raises SheetError: where there are any.
    """
    if faults:
        rest = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise SheetError("\n  ".join(["nothing was bought:", *faults[:SHOWN], *rest]))


def _read(row: Row) -> _Said:
    """
    Read a row under our names, every value of its type.

    :raises SheetError: naming the field.
    """
    said = _Said(where=row.where, fields={}, names={})
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


def _take(said: _Said, name: str, value: Any) -> None:
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


def _meant(said: _Said, ours: str, value: Any) -> Any:
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


def _joined(layers: list[_Said]) -> _Said:
    """Lay a row over the defaults; what it says is nothing (null) takes a default away."""
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for layer in layers:
        names |= layer.names
        for name, value in layer.fields.items():
            below = fields.get(name)
            fields[name] = {**below, **value} if name in JOINED and isinstance(below, dict) and value else value
    return _Said(
        where=layers[-1].where, fields={name: value for name, value in fields.items() if value is not None}, names=names
    )


class _Media:
    """Name a row's media as a call does, and keep which of them are files of this machine."""

    def __init__(self, said: _Said, folder: Path, look: Look) -> None:
        self._said = said
        self._folder = folder
        self._look = look
        self.pictures: dict[str, Path] = {}

    def named(self, field: str, value: Any) -> Any:
        """
        Name one medium: a path, a URL, or an id; what is more than a text is a call's own words already.

        :raises SheetError: when a file cannot be read.
        """
        if not isinstance(value, str):
            return value
        if re.match(r"(?i)(https?|data):", value):
            return {"url": value}
        if re.fullmatch(r"(file|video)_[0-9a-f]{32}", value):
            return {"file_id" if value.startswith("file_") else "id": value}
        path = self._folder / value
        try:
            found = self._look(path)
        except OSError as error:
            raise self._said.fault(field, f"{value} cannot be read: {error.strerror}") from error
        self.pictures[found] = path
        return {LOCAL: found}

    def frames(self, fields: dict[str, Any]) -> list[Any]:
        """
        Name the frames.

        :raises SheetError: when they are given twice, or only the last.
        """
        listed = [self.named("frame_images", each) for each in fields.pop("frame_images", [])]
        given = {kind: fields.pop(kind) for kind in ("first_frame", "last_frame") if kind in fields}
        if given and (listed or "input_reference" in fields):
            raise self._said.fault(next(iter(given)), "frames are given twice; keep one")
        if [*given] == ["last_frame"]:
            raise self._said.fault("last_frame", "a last frame needs a first frame")
        for kind, value in given.items():
            if not (isinstance(value, dict) or (isinstance(value, str) and value)):
                raise self._said.fault(kind, "give a path or a URL")
            listed.append({**self.named(kind, value), "frame_type": kind})
        return listed

    def references(self, fields: dict[str, Any]) -> list[Any]:
        """
        Name the references.

        :raises SheetError: when they are given twice.
        """
        listed = fields.pop("input_references", [])
        given = fields.pop("references", None)
        if given is not None and listed:
            raise self._said.fault("references", "references are given twice; keep one")
        if given is not None:
            listed = given if isinstance(given, list) else [each.strip() for each in str(given).split("|")]
        return [self.named("references", each) for each in listed]


def _call(said: _Said, folder: Path, look: Look) -> tuple[dict[str, Any], dict[str, Path]]:
    """
    Write the create call of a row, and which files of this machine it names.

    :raises SheetError: naming a file that cannot be read, or a field that is missing.
    """
    fields = {name: value for name, value in said.fields.items() if name not in {"file", "async"}}
    if not str(fields.get("prompt", "")).strip() and fields.get("task") != "upscale":
        raise said.fault("prompt", "say what the clip should show")
    media = _Media(said, folder, look)
    fields["frame_images"] = media.frames(fields)
    fields["input_references"] = media.references(fields)
    for name in ("input_reference", "video", "mask"):
        if name in fields:
            fields[name] = media.named(name, fields[name])
    return {name: value for name, value in fields.items() if value not in ([], {})}, media.pictures


def _file(said: _Said) -> str:
    """
    Read where a row wants its clip; the empty text where it does not say.

    :raises SheetError: when that is outside of the folder.
    """
    value = said.fields.get("file", "")
    path = PurePosixPath(value) if isinstance(value, str) and "\0" not in value else None
    if path is None or path.is_absolute() or ".." in path.parts or (value and not path.name):
        raise said.fault("file", "give a name within the folder of --out, such as kite.mp4")
    return str(value)


def _suffixed(file: str, kind: str) -> str:
    """
    Give a name the suffix of its container, where it has none.

    >>> _suffixed("take 1.5", "mp4")
    'take 1.5.mp4'
    """
    return file if PurePosixPath(file).suffix.lower().removeprefix(".") in KINDS else f"{file}.{kind}"


def _slug(prompt: str) -> str:
    """
    Name a file after a prompt.

    >>> _slug("A red kite, at dawn!")
    'a-red-kite-at-dawn'
    """
    words = re.findall(r"\w+", prompt.lower())
    short = ""
    for word in words:
        if len(short) + len(word) > 40:
            break
        short = f"{short}-{word}" if short else word
    return short or "clip"


def _identity(call: Mapping[str, Any]) -> str:
    """Say by what a line is known again."""
    return hashlib.sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()[:16]


def _clashes(lines: Sequence[Line]) -> list[str]:
    """Find lines whose clips would go to the same file."""
    owner: dict[str, str] = {}
    found = []
    for line in lines:
        for file in line.files:
            if file.lower() in owner:
                found.append(f"{line.where}, file: {file} is the file of {owner[file.lower()]}, too")
            owner.setdefault(file.lower(), line.where)
    return found
