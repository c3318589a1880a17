"""
Spoil recorded answers as a provider might that changes its API overnight: types, names, words, what is left out.

What decides is never turned into another word or number its dialect knows, nor a flag into its opposite: that would be
another answer, and not a spoilt one.
"""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Place = tuple[Any, Any]
"""A container, and where in it."""

JUNK: tuple[Any, ...] = (
    None, "", " ", "sublimating", "null", "https://evil.example/x", 7777, -1, 0.5, 1e308, 2**70, [], {}, [[]], [{}],
    {"value": "x"}, ["x"], "x" * 5000, "\ud83d\udc08", "2026-13-45T99:99:99Z",
)  # fmt: skip
"""What may stand anywhere, whatever was there: no dialect has a meaning for it."""
NAMES = ("state", "status", "error", "data", "id", "done", "result", "code", "message", "response")
"""Keys that come up where there were none."""


def spoilt(body: bytes, chance: random.Random) -> bytes:
    """Spoil an answer in one to three places; one that is no JSON, nor a stream of it, breaks off somewhere."""
    lines = body.decode("utf-8", "replace").split("\n")
    told = [at for at, line in enumerate(lines) if line.startswith("data: {")]
    try:
        if told:
            at = chance.choice(told)
            lines[at] = "data: " + _spoil(json.loads(lines[at][6:]), chance)
            return "\n".join(lines).encode()
        return _spoil(json.loads(body), chance).encode()
    except ValueError:
        return body[: chance.randrange(len(body) + 1)]


def _spoil(value: Any, chance: random.Random) -> str:
    """Spoil one document."""
    root = [value]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(root))
        where, at = chance.choice(places)
        chance.choice(WAYS)(where, at, chance)
    return json.dumps(root[0] if root else None)


def _places(found: Any) -> Iterator[Place]:
    """List every place there is, the innermost last."""
    each = found.items() if isinstance(found, dict) else enumerate(found)
    for at, value in list(each):
        yield found, at
        if isinstance(value, dict | list):
            yield from _places(value)


def _replace(where: Any, at: Any, chance: random.Random) -> None:
    """Put something else there; an empty thing or a whole number may be a word for what was not so."""
    where[at] = deepcopy(chance.choice(JUNK))


def _drop(where: Any, at: Any, chance: random.Random) -> None:
    """Leave it out."""
    if isinstance(where, dict) or len(where) > 1:
        del where[at]


def _retype(where: Any, at: Any, chance: random.Random) -> None:
    """Say the same in another type."""
    was = where[at]
    match was:
        case bool():
            where[at] = chance.choice(("yes" if was else "no", int(was), [was], {"value": was}, str(was).lower()))
        case int() | float():
            where[at] = chance.choice((str(was), [was], {"value": was}, f"{was}x"))
        case str():
            where[at] = chance.choice(([was], {"value": was}, {"code": was}, was + "?", f"x{was}", was.encode().hex()))
        case _:
            where[at] = chance.choice((json.dumps(was), [was], {"value": was}))


def _rename(where: Any, at: Any, chance: random.Random) -> None:
    """Call it otherwise."""
    if isinstance(where, dict):
        where[f"{at}{chance.choice(('_v2', 's', '2', 'New'))}"] = where.pop(at)


def _add(where: Any, at: Any, chance: random.Random) -> None:
    """Say more than before."""
    if isinstance(where, dict):
        where.setdefault(chance.choice(NAMES), deepcopy(chance.choice(JUNK)))
    else:
        where.append(deepcopy(chance.choice(JUNK)))


WAYS: tuple[Callable[[Any, Any, random.Random], None], ...] = (_replace, _replace, _drop, _retype, _rename, _add)
