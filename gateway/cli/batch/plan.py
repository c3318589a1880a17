"""Turn the rows of a batch file into lines to buy: which call each makes, from which pictures, into which file."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from gateway.api.create import SHOWING
from gateway.cli.batch.sheet import Row, Sheet, SheetError
from gateway.cli.batch.words import Said, join_layers, read_row
from gateway.cli.gate import PART, files_of

LOCAL = "sha256"
"""Stands in a call for a file of this machine, until the gateway has given it a name."""
KINDS = ("mp4", "webm", "mov")
MAX_NAME = 255
"""Bytes a file's name can have."""
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


def plan(sheet: Sheet, folder: Path, look: Look, *, more: Row | None = None, named: Mapping[str, str]) -> list[Line]:
    """
    Plan what to buy; the file's mistakes are told together.

    :param folder: what paths are relative to.
    :param more: defaults from elsewhere, which the file's own go before.
    :param named: where the clips of lines known from an earlier run go; what was split then is split again.
    :raises SheetError: naming lines and fields.
    """
    defaults = [read_row(each) for each in (more, sheet.defaults) if each]
    lines: list[Line] = []
    faults: list[str] = []
    met: Counter[str] = Counter()
    digits, taken = max(2, len(str(len(sheet.rows)))), set(named.values())
    halved = {id_.partition(".")[0] for id_ in named if "." in id_}
    for number, row in enumerate(sheet.rows, 1):
        try:
            said = join_layers([*defaults, read_row(row)])
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


class _Media:
    """Name a row's media as a call does, and keep which of them are files of this machine."""

    def __init__(self, said: Said, folder: Path, look: Look) -> None:
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

    def shown(self, element: dict[str, Any]) -> dict[str, Any]:
        """
        Name what shows an element.

        :raises SheetError: when a file cannot be read.
        """
        media = {name: [self.named("elements", each) for each in element[name]] for name in SHOWING if name in element}
        return {**element, **media}


def _call(said: Said, folder: Path, look: Look) -> tuple[dict[str, Any], dict[str, Path]]:
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
    fields["elements"] = [media.shown(each) for each in fields.get("elements", [])]
    for name in ("input_reference", "video", "mask"):
        if name in fields:
            fields[name] = media.named(name, fields[name])
    return {name: value for name, value in fields.items() if value not in ([], {})}, media.pictures


def _file(said: Said) -> str:
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
    """Find lines whose clips have no place: another's file, below another's file, or a name no file can have."""
    owner: dict[str, str] = {}
    found = []
    for line in lines:
        for file in line.files:
            if file.lower() in owner:
                found.append(f"{line.where}, file: {file} is the file of {owner[file.lower()]}, too")
            owner.setdefault(file.lower(), line.where)
    for line in lines:
        for file in line.files:
            *folders, name = PurePosixPath(file).parts
            if any(len(part.encode()) > MAX_NAME for part in [*folders, f"{name}{PART}"]):
                found.append(f"{line.where}, file: {file[:40]}... is too long a name; {MAX_NAME - len(PART)} bytes go")
            above = next((each for each in map(str, PurePosixPath(file.lower()).parents) if each in owner), None)
            if above is not None:
                found.append(f"{line.where}, file: {file} lies below {above}, the file of {owner[above]}")
    return found
