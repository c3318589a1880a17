"""
Read ``config.toml`` and the environment into settings, and refuse what cannot be started with.

Whatever is wrong is said of the key it was written under, and of the file or the variable it was written in.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gateway.checks import Key, Mistake, mistakes, nearest
from gateway.settings import PASSWORD, Settings, SettingsError

PREFIX = "REELGATE__"
ENTRY = "..."
"""How msgspec names an entry of a table or a list, whichever it is."""


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """
    Read a file, lay the environment over it and check that it can be started with.

    :raises SettingsError: naming the file or the variable, the key and what is wrong with it.
    """
    tree: dict[str, Any] = {}
    where = str(path) if path else "the environment"
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from error
    if PASSWORD.search(str(tree.get("store"))):
        raise SettingsError(f"{where}: store.url holds a password; put it into REELGATE_STORE_PASSWORD")
    variables = _overlay(tree, environ)
    for key, said in _found(tree):
        place = next((variables[key[:size]] for size in range(len(key), 0, -1) if key[:size] in variables), where)
        raise SettingsError(f"{place}: {dotted(key)} {said}")
    return msgspec.convert(tree, Settings, strict=False)


def dotted(key: Key) -> str:
    """
    Write a key as TOML does.

    >>> dotted(("offers", "flow:google/veo-3.1", "usd"))
    'offers."flow:google/veo-3.1".usd'
    """
    return ".".join(each if re.fullmatch(r"[\w-]+", each, re.ASCII) else f'"{each}"' for each in key)


def _found(tree: dict[str, Any]) -> Iterator[Mistake]:
    """Name what is wrong with what was written."""
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        yield _told(tree, str(error))
    else:
        yield from mistakes(settings)


def _told(tree: dict[str, Any], message: str) -> Mistake:
    """Read of msgspec's words where it found something, and say what may stand there."""
    said, _, path = message.partition(" - at `$")
    key: Key = ()
    for step in re.findall(r"\.(\w+)|\[([^\]]*)\]", path):
        if step[0]:
            key = (*key, step[0])
        elif isinstance(table := _at(tree, key), dict):
            key = (*key, _wrong(key, table))
        else:
            break  # Of a list: the key is the list's.
    kind = _kind(key)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", said)
    if unknown and isinstance(kind, type) and issubclass(kind, Struct):
        return (*key, unknown[1]), f"is no key there is; {nearest(unknown[1], kind.__struct_fields__)}"
    if get_origin(kind) is Literal:
        return key, f"is {_at(tree, key)!r}; write one of {', '.join(map(str, get_args(kind)))}"
    return key, f"cannot be read: {said}"


def _wrong(key: Key, table: dict[str, Any]) -> str:
    """Find which entry of a table is wrong: msgspec does not say."""
    for name, value in table.items():
        alone: Any = {name: value}
        for each in reversed(key):
            alone = {each: alone}
        try:
            msgspec.convert(alone, Settings, strict=False)
        except msgspec.ValidationError:
            return name
    return ENTRY


def _at(tree: Any, key: Key) -> Any:
    """Look up what was written under a key."""
    for each in key:
        tree = tree.get(each) if isinstance(tree, dict) else None
    return tree


def _kind(key: Key) -> Any:
    """Look up what may be written under a key."""
    kind: Any = Settings
    for each in key:
        if isinstance(kind, type) and issubclass(kind, Struct):
            kind = get_type_hints(kind).get(each)
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return None
    return kind


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[Key, str]:
    """
    Write ``REELGATE__A__B=c`` over ``[a] b``, and say which variable wrote what.

    Account names keep their dashes as underscores.
    """
    wrote: dict[Key, str] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        *sections, last = name.removeprefix(PREFIX).lower().split("__")
        if not sections or not all([*sections, last]):
            raise SettingsError(f"{name}: write {PREFIX}SECTION__KEY")
        node: Any = tree
        key: Key = ()
        for section in sections:
            found = next((each for each in node if each.replace("-", "_") == section), section)
            node, key = node.setdefault(found, {}), (*key, found)
            if not isinstance(node, dict):
                raise SettingsError(f"{name}: {section} is not a section")
        node[last] = _typed(value)
        wrote[*key, last] = name
    return wrote


def _typed(value: str) -> Any:
    """Read an override as TOML where it is a list or a table, else as the text it is."""
    if value[:1] in "[{":
        try:
            return tomllib.loads(f"it = {value}")["it"]
        except tomllib.TOMLDecodeError:
            return value
    return value
