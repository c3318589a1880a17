"""Pass on to one provider what its page documents and no request of ours has a word for."""

from collections.abc import Mapping
from typing import Any

import msgspec

from providers.base.errors import Invalid
from providers.base.order import Request


def passed(request: Request, slug: str, allowed: Mapping[str, Any]) -> dict[str, Any]:
    """
    Read what a client passes through to a provider; what it may not is refused before anything is sent.

    :param slug: the listing's, by which a client names the provider.
    :param allowed: the parameters that may be passed, each with its type.
    :raises Invalid: naming the first that is none of them, or is of another type.
    """
    given = request.options.get(slug) or {}
    field = f"provider_options.{slug}"
    if not isinstance(given, dict):
        raise Invalid(f"{field} is an object: give parameters by name")
    for name, value in given.items():
        if name not in allowed:
            raise Invalid(f"{field}.{name} is no parameter that can be passed through here", code=str(name))
        try:
            msgspec.convert(value, allowed[name])
        except msgspec.ValidationError as error:
            raise Invalid(f"{field}.{name}: {error}", code=str(name)) from error
    return dict(given)
