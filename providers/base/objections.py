"""
Say what of an order a dialect has no words for, by what is known before its files are at hand: pure.

Each such thing is named once, as a :class:`~providers.base.catalog.Refusal`: the gateway asks when it quotes, and an
adapter refuses the same order in the same sentence (:func:`insist`), so that whatever is quoted can be put into words.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from providers.base.catalog import BROUGHT, Refusal
from providers.base.errors import Invalid
from providers.base.order import Order, Request, Role

CONTENT = frozenset({"", "subject", "character", "object", "scene"})
"""What a reference may be for where a dialect has one kind of them: it shows what is to be seen in the clip."""
PICTURES = frozenset({Role.FIRST_FRAME, Role.LAST_FRAME, Role.REFERENCE})
LISTED = frozenset({Role.REFERENCE, Role.VOICE})
"""Roles of what a client hands in as ``input_references``."""


def insist(objections: Iterable[Refusal]) -> None:
    """
    Refuse an order that there is an objection to.

    :raises Invalid: in the words of the first, its field being the code.
    """
    for each in objections:
        raise Invalid(each.message, code=each.field)


def fields(request: Request) -> list[str]:
    """Name the field of the request that each input came in by."""
    lists = {each.name: f"elements[{at}]" for at, each in enumerate(request.elements)}
    met: Counter[str] = Counter()
    named: list[str] = []
    for each in request.inputs:
        field = BROUGHT[each.role]
        if each.role is Role.ELEMENT:
            field = f"{lists[each.name]}.{'videos' if each.media_type.startswith('video/') else 'images'}"
        elif each.role in LISTED:
            field = BROUGHT[Role.REFERENCE]
        named.append(f"{field}[{met[field]}]" if each.role in LISTED | {Role.ELEMENT} else field)
        met[field] += 1
    return named


def unsaid(
    order: Order,
    speaker: str,
    roles: Collection[Role],
    *,
    purposes: Collection[str] = CONTENT,
    names: bool = False,
) -> Iterator[Refusal]:
    """
    Name what of an order's inputs a dialect has no words for.

    :param speaker: who speaks it, as a client reads it.
    :param roles: what inputs may be, in the order's mode.
    :param purposes: what a reference may be for.
    :param names: whether the prompt can speak of a reference by its name.
    """
    inputs = order.request.inputs
    for each in inputs:
        if each.role not in roles or each.purpose or each.name or each.weight is not None:
            break
    else:
        return  # As nearly always, and often asked.
    for field, each in zip(fields(order.request), inputs, strict=True):
        if each.role not in roles:
            what = f"a {each.role} handed in as a file" if each.role is Role.VOICE else f"a {each.role} here"
            yield Refusal(field, f"{speaker} does not take {what.replace('_', ' ')}")
            continue
        if each.purpose not in purposes and each.role is Role.REFERENCE:
            yield Refusal(f"{field}.role", f"{speaker} cannot be told that a reference is for its {each.purpose}")
        if each.weight is not None:
            yield Refusal(f"{field}.weight", f"{speaker} takes no weight of a reference")
        if each.name and not names and _speaks_of(order.request.prompt, each.name):
            yield Refusal(f"{field}.name", f"{speaker} cannot be told which reference the prompt means by @{each.name}")


def _speaks_of(prompt: str, name: str) -> bool:
    """Whether a prompt calls something by its name."""
    return re.search(rf"(?<!\w)@{re.escape(name)}(?!\w)", prompt, re.IGNORECASE) is not None
