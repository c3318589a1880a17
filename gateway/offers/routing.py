"""
Decide which offer makes a clip: pure, the day and the sellers are arguments.

First every offer that might do it is asked what it would charge (:mod:`gateway.offers.asking`), then the preferences
leave some out and put the rest in order (:func:`choose`); a clip made from another is alike where it can be
(:func:`decide`). Nothing the client chose is ever changed.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.wish import Notice, Preferences
from gateway.offers.asking import AUTO, Line, Seller, stands_for, table
from providers.base.catalog import Refusal
from providers.base.order import FEATURES, Mode, Request, Role, read_size


class Terms(Struct, frozen=True, kw_only=True):
    """Hold how this gateway chooses where the client leaves it open."""

    policy: str = "cheapest"
    order: Sequence[str] = ()
    """Providers in order of preference, for the policy ``order`` and to break ties."""
    split: Mapping[str, float] = {}
    """Shares by offer or provider, for the policy ``split``."""
    speeds: Mapping[str, float] = {}
    """Seconds an offer was observed to take; the listing's word stands for the others."""


DEFAULT = Terms()


class Decision(Struct, frozen=True, kw_only=True):
    """Hold the lines in the order they would be tried, and the ones that cannot be."""

    ranked: tuple[Line, ...]
    others: tuple[Line, ...]
    notices: tuple[Notice, ...] = ()
    request: Request
    """The request the choices were made for: without what was dropped under ``on_unsupported: warn``."""
    policy: str
    why: str = ""
    """Why the first line won; empty where none can."""


def decide(
    request: Request,
    preferences: Preferences,
    sellers: Sequence[Seller],
    aliases: Mapping[str, str | list[str]],
    *,
    on: date,
    terms: Terms = DEFAULT,
    lot: str = "",
) -> Decision:
    """
    Leave what a clip made from another leaves open as its source has it, where somebody sells that, and choose.

    What is quoted and what is ordered are both decided here; else as :func:`choose`.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    for alike in (*_alike(request), request):
        decision = choose(alike, preferences, sellers, aliases, on=on, terms=terms, lot=lot)
        if decision.ranked:
            break
    return decision


def _alike(request: Request) -> Iterator[Request]:
    """Close resolution and shape as the source has them, where they are open; then its shape alone."""
    source = next((each for each in request.inputs if each.role is Role.SOURCE), None)
    if source is None or not (source.width and source.height):
        return
    resolution, ratio = read_size(f"{source.width}x{source.height}")
    shaped = request if request.aspect_ratio else replace(request, aspect_ratio=ratio)
    if request.resolution is None and request.mode is not Mode.UPSCALE:
        yield replace(shaped, resolution=resolution)
    if shaped is not request:
        yield shaped


def choose(
    request: Request,
    preferences: Preferences,
    sellers: Sequence[Seller],
    aliases: Mapping[str, str | list[str]],
    *,
    on: date,
    terms: Terms = DEFAULT,
    lot: str = "",
) -> Decision:
    """
    Put the offers that can do a request in the order they should be tried.

    An alias's models come in its order; within a model the policy decides, then the named order of
    providers. ``lot`` is what ``split`` draws by: the same lot, the same seller, and of its accounts that
    charge the same the same one. The sandbox is chosen only by name once a real account is enabled.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    if preferences.models:
        aliases = {**aliases, request.model: [*preferences.models]}
    lines = [_prefer(line, preferences) for line in table(request, sellers, aliases, on=on)]
    if any(not seller.listing.sandbox for seller in sellers) and not _names_sandbox(request, preferences):
        lines = [
            _refuse(line, Refusal("model", "the sandbox is chosen only by name while a real account is enabled"))
            if line.sandbox
            else line
            for line in lines
        ]
    able = [line for line in lines if line.choice]
    if not able and preferences.on_unsupported == "warn":
        softer, notices = _soften(request, lines)
        if notices:
            strict = replace(preferences, on_unsupported="error")
            again = choose(softer, strict, sellers, aliases, on=on, terms=terms, lot=lot)
            return replace(again, notices=notices)
    policy = "order" if preferences.order else preferences.policy or terms.policy
    wanted, named = stands_for(request.model, aliases), preferences.order or terms.order
    if len(able) > 1:
        able = _ranked(able, policy, named, wanted, terms, lot)
    return Decision(
        ranked=tuple(able),
        why=_why(able, policy, named, wanted, terms) if able else "",
        others=tuple([line for line in lines if not line.choice]),
        request=request,
        policy=policy,
    )


def _ranked(
    able: Iterable[Line], policy: str, sellers: Sequence[str], models: Sequence[str], terms: Terms, lot: str
) -> list[Line]:
    """Put lines in the order they should be tried; ``sellers`` and ``models`` are named in order of preference."""
    place = {name: at for at, name in enumerate(sellers)}

    def rank(line: Line) -> tuple[float, ...]:
        assert line.choice is not None
        seller = place.get(line.provider, len(place))
        merit = _merit(policy, line, terms, lot, seller)
        shared = policy == "split" and _share(line, terms.split)
        alike = -_draw(lot, f"{line.account}\0{line.name}") if shared else 0.0
        return (_preference(line, models), *merit, line.choice.usd_micros, seller, alike)

    return sorted(able, key=rank)


def _preference(line: Line, models: Sequence[str]) -> int:
    """Say at which place of the models asked for a line's comes; ``auto`` is every model."""
    every = {AUTO, f"{line.provider}:{AUTO}"}
    mine = (at for at, name in enumerate(models) if name in every or name.rpartition(":")[2] == line.offer.model)
    return next(mine, len(models))


def _why(ranked: Sequence[Line], policy: str, sellers: Sequence[str], models: Sequence[str], terms: Terms) -> str:
    """Say why the first line won, against those it was held to: of an alias's models, the lines of the first."""
    first, place = ranked[0], _preference(ranked[0], models)
    rivals = [line for line in ranked if _preference(line, models) == place]
    which = "that can"
    if len(rivals) < len(ranked):
        alone = all(line.offer.model == first.offer.model for line in rivals)
        which = f"of {first.offer.model if alone else models[place]}, the alias's first model that can"
    if len(rivals) == 1:
        return f"the only offer {which}"
    if policy == "order" and first.provider not in sellers:
        return f"the cheapest of {len(rivals)} offers {which}: none is of a provider named"
    if policy == "split" and not _share(first, terms.split):
        return f"the cheapest of {len(rivals)} offers {which}: none has a share"
    return f"{WHY[policy]} of {len(rivals)} offers {which}"


WHY = {
    "cheapest": "the cheapest",
    "fastest": "usually the fastest",
    "best": "the best in rank",
    "order": "the first as named",
    "split": "drawn by its share",
}
"""The policies there are, as an answer words them."""


def _merit(policy: str, line: Line, terms: Terms, lot: str, seller: int) -> tuple[float, ...]:
    """Say how well a line does under a policy, the least being the best; price breaks ties."""
    match policy:
        case "fastest":
            return (expected_seconds(line, terms.speeds),)
        case "best":
            return (-line.offer.rank,)
        case "order":
            return (seller,)
        case "split":
            return (-_drawn(line, terms.split, lot),)
        case _:
            return ()


def expected_seconds(line: Line, speeds: Mapping[str, float]) -> float:
    """Say how long a line's offer takes: as observed, else as its listing says."""
    return speeds.get(line.name, line.offer.typical_seconds)


def _drawn(line: Line, shares: Mapping[str, float], lot: str) -> float:
    """
    Draw the place of whoever a line's share is given to: it is one draw, however many accounts and offers share it.

    Lines without a share come after all others.
    """
    share = _share(line, shares)
    return _draw(lot, line.name if line.name in shares else line.provider, share) if share else 0.0


def _draw(lot: str, name: str, share: float = 1.0) -> float:
    """Draw by a share (weighted rendezvous hashing): the highest is first, and a lot keeps it while it is there."""
    digest = hashlib.blake2b(f"{lot}\0{name}".encode(), digest_size=8).digest()
    return -share / math.log((int.from_bytes(digest) + 1) / (2**64 + 1))


def _share(line: Line, shares: Mapping[str, float]) -> float:
    """Read a line's share: its own before its provider's, 0 where it has none."""
    return max(0.0, shares.get(line.name, shares.get(line.provider, 0.0)))


def _prefer(line: Line, preferences: Preferences) -> Line:
    """Leave out a line the client does not want."""
    if preferences.only and line.provider not in preferences.only:
        return _refuse(line, Refusal("provider", f"provider.only does not name {line.provider}"))
    if line.provider in preferences.ignore:
        return _refuse(line, Refusal("provider", f"provider.ignore names {line.provider}"))
    ceiling = preferences.max_usd_micros
    if line.choice and ceiling is not None and line.choice.usd_micros > ceiling:
        price = line.choice.usd_micros / 1_000_000
        return _refuse(line, Refusal("max_cost_usd", f"{line.provider} charges ${price:.6g}, above max_cost_usd"))
    return line


def _refuse(line: Line, refusal: Refusal) -> Line:
    """Turn an offer down for a reason of ours."""
    return replace(line, choice=None, refusals=(*line.refusals, refusal))


def _names_sandbox(request: Request, preferences: Preferences) -> bool:
    """Whether the client asked for the sandbox in so many words."""
    return (
        request.model.startswith(("sandbox/", "sandbox:"))
        or "sandbox" in preferences.only
        or "sandbox" in preferences.order
    )


def _soften(request: Request, lines: Iterable[Line]) -> tuple[Request, tuple[Notice, ...]]:
    """Drop the optional features every offer refuses, saying so."""
    dropped = {*request.features()} & {*FEATURES}
    for line in lines:
        dropped &= {refusal.field for refusal in line.refusals}
    blank: dict[str, Any] = {name: () if isinstance(getattr(request, name), tuple) else None for name in dropped}
    notices = tuple(
        Notice(type="unsupported", feature=name, details=f"no offer of {request.model} takes {name}; it was left out")
        for name in sorted(dropped)
    )
    return replace(request, **blank), notices
