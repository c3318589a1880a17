"""Pass on to one provider what its page documents and no request of ours has a word for."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.base.catalog import Refusal
from providers.base.order import Request

FIELD = "provider_options"


def passed(request: Request, slug: str) -> dict[str, Any]:
    """Read what a client passes through to a provider, which :func:`unknown_options` had nothing against."""
    given = request.options.get(slug)
    return dict(given) if isinstance(given, dict) else {}


def unknown_options(request: Request, slug: str, allowed: Mapping[str, Any]) -> Iterator[Refusal]:
    """
    Name what a client may not pass through to a provider.

    :param slug: the listing's, by which a client names the provider.
    :param allowed: the parameters that may be passed, each with its type.
    """
    given = request.options.get(slug)
    if not given:
        return
    field = f"{FIELD}.{slug}"
    if not isinstance(given, dict):
        yield Refusal(field, f"{field} is an object: give parameters by name")
        return
    for name, value in given.items():
        if name not in allowed:
            yield Refusal(f"{field}.{name}", f"{field}.{name} is no parameter that can be passed through here")
            continue
        try:
            msgspec.convert(value, allowed[name])
        except msgspec.ValidationError as error:
            yield Refusal(f"{field}.{name}", f"{field}.{name}: {error}")
