"""
Form names as paths: ``a[b][c]``, ``a[]``, ``a.0.b`` become what they describe; pure.

https://github.com/openai/openai-python sends a list of objects by column (every ``a[][x]``, then every
``a[][y]``), the Node SDK by row; both can be told apart as long as every item has the same keys.
"""

import re
from typing import Any

from gateway.clips.uploads import Upload

OBJECTS = {"metadata": 1, "provider_options": 2}
"""Fields whose keys are the client's or a provider's own words, which may be numbers: so many levels of them."""


def nest(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    Read form names as paths and build what they describe; pure.

    >>> nest([("a[b]", "1"), ("c[]", "2"), ("c[]", "3"), ("d[][x]", "4"), ("d[][x]", "5")])
    {'a': {'b': '1'}, 'c': ['2', '3'], 'd': [{'x': '4'}, {'x': '5'}]}

    :raises ValueError: when names contradict each other or lists of objects cannot be told apart.
    """
    paths = [(_path(name), value) for name, value in entries]
    nested = {first for (first, *rest), _ in paths if rest}
    tree: dict[str, Any] = {}
    columns: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    for (first, *rest), value in paths:
        if not rest:
            _set(tree, first, value, nested=first in nested)
        elif rest == [""]:
            held = tree.setdefault(first, [])
            if not isinstance(held, list):
                raise ValueError(f"{first[:64]!r} is both a list and not")
            held.append(value)
        elif rest[0] == "":
            columns.setdefault(first, {}).setdefault(tuple(rest[1:]), []).append(value)
        else:
            _plant(tree, [first, *rest], value)
    for first, keys in columns.items():
        if first in tree:
            raise ValueError(f"{first[:64]!r} is both a list and not")
        tree[first] = _rows(first, keys)
    return {name: _listed(value, OBJECTS.get(name, 0)) for name, value in tree.items()}


def first_of(name: str) -> str:
    """
    Say which field a form name belongs to.

    >>> first_of("input_reference[image_url]")
    'input_reference'
    """
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def _set(tree: dict[str, Any], name: str, value: Any, *, nested: bool) -> None:
    """Set a plain field; files repeated under one name are a list, a text repeated is a mistake."""
    if isinstance(value, Upload):
        if nested and not value.size:
            return  # The Python SDK sends an empty file beside ``video[id]``.
        if name in tree and not nested:
            tree[name] = [*(tree[name] if isinstance(tree[name], list) else [tree[name]]), value]
            return
    if nested or name in tree:
        raise ValueError(f"{name[:64]!r} is given twice")
    tree[name] = value


def _rows(name: str, columns: dict[tuple[str, ...], list[Any]]) -> list[dict[str, Any]]:
    """Turn the columns of a list of objects into its items."""
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise ValueError(f"the items of {name[:64]!r} differ in their keys: send them as one JSON text")
    items: list[dict[str, Any]] = [{} for _ in range(counts.pop())]
    for path, values in columns.items():
        for item, value in zip(items, values, strict=True):
            _plant(item, list(path), value)
    return items


def _path(name: str) -> list[str]:
    """Split ``a[b][]`` and ``a.0.b`` into steps."""
    steps = re.findall(r"\[([^\[\]]*)\]|([^.\[\]]+)", name)
    path = [inner or outer for inner, outer in steps]
    if not path or not path[0] or len(path) > 8:
        raise ValueError(f"{name[:64]!r} is not a field name")
    return path


def _plant(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a leaf, making the branches to it; a path that ends in ``[]`` adds to a list."""
    *branches, leaf = path if path[-1] else path[:-1]
    for step in branches:
        if not step:
            raise ValueError(f"{path[0][:64]!r} holds a list of objects: send it as one JSON text")
        branch = tree.setdefault(step, {})
        if not isinstance(branch, dict):
            raise ValueError(f"{step[:64]!r} is both a value and an object")  # noqa: TRY004  The form is wrong.
        tree = branch
    if not path[-1]:
        held = tree.setdefault(leaf, [])
        if not isinstance(held, list):
            raise ValueError(f"{leaf[:64]!r} is both a list and not")
        held.append(value)
    elif leaf in tree:
        raise ValueError(f"{leaf[:64]!r} is given twice")
    else:
        tree[leaf] = value


def _listed(value: Any, objects: int) -> Any:
    """Turn ``{"0": …, "1": …}`` from dotted names into a list, below what are ``objects`` whatever their keys."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(each, objects - 1) for key, each in value.items()}
    if objects <= 0 and inner and all(key.isascii() and key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner
