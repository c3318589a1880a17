"""
Decide which offer makes a clip: pure, the day and the sellers are arguments.

First every offer that might do it is asked what it would charge (:mod:`gateway.offers.asking`), then the preferences
leave some out, what is open is closed once for all of them, so that prices are of the same clip, and the rest are put
in order (:func:`choose`); a clip made from another is alike where it can be (:func:`decide`). Nothing the client chose
is ever changed.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.jobs.wish import Notice, Preferences
from gateway.offers.asking import AUTO, Line, Seller, promised, stands_for, table
from providers.base.catalog import Refusal
from providers.base.objections import fields
from providers.base.order import FEATURES, Mode, Request, Role, Spec, read_size


class Terms(Struct, frozen=True, kw_only=True):
    """Hold how this gateway chooses where the client leaves it open."""

    policy: str = "cheapest"
    order: Sequence[str] = ()
    """Providers in order of preference, for the policy ``order`` and to break ties."""
    split: Mapping[str, float] = {}
    """Shares by offer or provider, for the policy ``split``."""
    speeds: Mapping[str, float] = {}
    """Seconds an offer was observed to take; the listing's word stands for the others."""
    ceiling: int | None = None
    """Micro-dollars no job is ordered above, whatever its call allows."""


DEFAULT = Terms()


class Decision(Struct, frozen=True, kw_only=True):
    """Hold the lines in the order they would be tried, and the ones that would not be."""

    ranked: tuple[Line, ...]
    """Those that make the same clip as the first: nobody else can take its turn."""
    apart: tuple[Line, ...] = ()
    """Those that can do it as well, but do not sell the clip it was closed to: each would make another."""
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

    An ``adaptive`` shape is the one sold that is nearest to the first frame's. What is quoted and what is ordered are
    both decided here; else as :func:`choose`.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    for alike in _shaped(request, sellers):
        decision = choose(alike, preferences, sellers, aliases, on=on, terms=terms, lot=lot)
        # Who only rests can make it as it is: that is no reason to make another.
        if decision.ranked or any(line.usual for line in decision.others):
            break
    if request.aspect_ratio == ADAPTIVE and (unlike := _unlike(decision)):
        return replace(decision, notices=(*decision.notices, unlike))
    return decision


ADAPTIVE = "adaptive"
"""The aspect ratio of a client who wants the first frame's."""
NEAR = 0.05
"""By how much of itself a shape may differ from the one sold, for nobody to be told."""


def _shaped(request: Request, sellers: Sequence[Seller]) -> Iterator[Request]:
    """Say how a request may be read, the best first, where its shape follows a clip's or a picture's."""
    if request.aspect_ratio == ADAPTIVE:
        frame, request = _first_frame(request), replace(request, aspect_ratio=None)
        if frame:
            # By the order of the listings where two are as near: nothing here may depend on chance.
            sold = dict.fromkeys(
                ratio for seller in sellers for offer in seller.listing.offers for ratio in offer.aspect_ratio
            )
            for ratio in sorted(sold, key=lambda ratio: round(_apart(ratio, *frame), 6)):
                yield replace(request, aspect_ratio=ratio)
    yield from _alike(request)
    yield request


def _first_frame(request: Request) -> tuple[int, int] | None:
    """Read the size of the picture a clip starts from."""
    frame = next((each for each in request.inputs if each.role is Role.FIRST_FRAME), None)
    return (frame.width, frame.height) if frame and frame.width and frame.height else None


def _apart(ratio: str, width: int, height: int) -> float:
    """Say how far a shape is from a ratio, either way."""
    wide, high = map(int, ratio.split(":"))
    return abs(math.log(width * high / (height * wide)))


def _unlike(decision: Decision) -> Notice | None:
    """Say that nobody who may make a clip sells a shape near the one it was to follow."""
    frame, ratio = _first_frame(decision.request), decision.request.aspect_ratio
    if not (decision.ranked and frame and ratio) or _apart(ratio, *frame) <= math.log1p(NEAR):
        return None
    near = f"no offer of {decision.request.model} this call can have sells a shape near the first frame's"
    details = f"{near} {frame[0]}x{frame[1]}; {ratio} is the nearest"
    return Notice(type="unsupported", feature="aspect_ratio", details=details)


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

    An alias's models come in its order; within a model the policy decides, then the price, then the named order of
    providers, then whose account has the larger share of its places free, then who has more credits. What the request
    leaves open is closed as most of them sell it (:func:`_closed`). ``lot`` is what ``split`` draws by: the same lot,
    the same seller, and of its accounts that charge the same the same one. The sandbox is chosen only by name once a
    real account is enabled.

    :raises UnknownModelError: when nobody sells a model by that name.
    """
    if preferences.models:
        # What the operator calls so is meant here, too.
        meant = [name for each in preferences.models for name in stands_for(each, aliases)]
        aliases = {**aliases, request.model: list(dict.fromkeys(meant))}
    is_named = _names_sandbox(request, preferences) or all(seller.listing.sandbox for seller in sellers)

    def asked(wanted: Request) -> list[Line]:
        told = (_prefer(line, preferences, terms.ceiling) for line in table(wanted, sellers, aliases, on=on))
        return [_refuse(line, UNNAMED) if line.sandbox and not is_named else line for line in told]

    lines = asked(request)
    # Who only rests can make it as it is: that is no reason to make another.
    if preferences.on_unsupported == "warn" and not any(line.usual for line in lines):
        softer, notices = _soften(request, lines)
        if notices:
            again = choose(softer, preferences, sellers, aliases, on=on, terms=terms, lot=lot)
            return replace(again, notices=(*notices, *again.notices))
    policy = "order" if preferences.order else preferences.policy or terms.policy
    wanted, named = stands_for(request.model, aliases), preferences.order or terms.order
    rank = _ranking(policy, named, wanted, terms, lot, {each.account: each for each in sellers})
    spec, lines = _closed(request, lines, rank, asked)
    able = sorted([line for line in lines if line.choice], key=rank)
    ranked = [line for line in able if line.choice and line.choice.spec == spec]
    apart = [line for line in able if line.choice and line.choice.spec != spec]
    return Decision(
        ranked=tuple(ranked),
        why=_why(ranked, apart, policy, named, wanted, terms) + _evened(ranked, rank) if ranked else "",
        apart=tuple(apart),
        others=tuple([line for line in lines if not line.choice]),
        request=request,
        policy=policy,
    )


UNNAMED = Refusal("model", "the sandbox is chosen only by name while a real account is enabled")

Rank = Callable[[Line], tuple[tuple[float, ...], ...]]
"""Say where a line stands: by its model and the policy; of those that are equal, by its price; then by its account."""


def _closed(
    request: Request, lines: list[Line], rank: Rank, asked: Callable[[Request], list[Line]]
) -> tuple[Spec | None, list[Line]]:
    """
    Close what a request leaves open, once for all offers, and ask each for that clip; who sells it not stays apart.

    It is the clip that most offers sell of those between whom the price decides: if each made what it likes best, four
    seconds here would be cheaper than eight there. Where as many sell several, it is the one that more of them make by
    themselves, then the first's. Who only rests has a say, so that nobody's clip is another for that; but somebody must
    be there to make it.
    """
    usual = {line.usual.spec for line in lines if line.usual}
    able = [line for line in lines if line.choice]
    # Who asks too much for a clip of its own may not for this one.
    dear = any(refusal.field == "max_cost_usd" for line in lines for refusal in line.refusals)
    if not able or (len(usual) <= 1 and not dear):
        return next(iter(usual), None), lines
    best, *_ = min(rank(line) for line in able)
    rivals = sorted([line for line in lines if line.usual and rank(line)[0] == best], key=rank)
    own = Counter(line.usual.spec for line in rivals if line.usual)
    told = {spec: asked(promised(request, spec)) for spec in own}
    places = {(line.account, line.name) for line in rivals}

    def sold(spec: Spec) -> tuple[bool, int, int]:
        makers = [line for line in told[spec] if line.usual and (line.account, line.name) in places]
        return any(line.choice for line in makers), len({line.name for line in makers}), own[spec]

    chosen = max(own, key=sold)
    return chosen, [same if same.usual else line for line, same in zip(lines, told[chosen], strict=True)]


def _ranking(
    policy: str,
    named: Sequence[str],
    models: Sequence[str],
    terms: Terms,
    lot: str,
    sellers: Mapping[str, Seller],
) -> Rank:
    """
    Say in which order lines should be tried.

    Providers are ``named``, and ``models``, in order of preference; ``sellers`` are by account.
    """
    place = {name: at for at, name in enumerate(named)}

    def rank(line: Line) -> tuple[tuple[float, ...], ...]:
        assert line.usual is not None
        seller = place.get(line.provider, len(place))
        merit = _merit(policy, line, terms, lot, seller)
        shared = policy == "split" and _share(line, terms.split)
        alike = -_draw(lot, f"{line.account}\0{line.name}") if shared else 0.0
        account = sellers[line.account]
        claim = line.usual.usd_micros, seller, alike
        return (_preference(line, models), *merit), claim, (-account.free, -(account.credits_left or 0))

    return rank


def _evened(ranked: Sequence[Line], rank: Rank) -> str:
    """Say what decided where the first two are as good by the policy and the price."""
    if len(ranked) == 1:
        return ""
    (*claim, (room, left)), (*next_claim, (next_room, next_left)) = (rank(line) for line in ranked[:2])
    if claim != next_claim or (room, left) == (next_room, next_left):
        return ""
    return EVEN[room == next_room]


def _preference(line: Line, models: Sequence[str]) -> int:
    """Say at which place of the models asked for a line's comes; ``auto`` is every model."""
    every = {AUTO, f"{line.provider}:{AUTO}"}
    mine = (at for at, name in enumerate(models) if name in every or name.rpartition(":")[2] == line.offer.model)
    return next(mine, len(models))


def _why(
    ranked: Sequence[Line],
    apart: Sequence[Line],
    policy: str,
    sellers: Sequence[str],
    models: Sequence[str],
    terms: Terms,
) -> str:
    """Say why the first line won, against those it was held to: of an alias's models, the lines of the first."""
    first, place = ranked[0], _preference(ranked[0], models)
    rivals = [line for line in ranked if _preference(line, models) == place]
    which = "of this clip" if any(_preference(line, models) == place for line in apart) else "that can"
    if any(_preference(line, models) != place for line in (*ranked, *apart)):
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


EVEN = (
    ", and of those as good its account has the largest share of its places free",
    ", and of those as good its account has the most credits left",
)
"""What decides between accounts that are as good by the policy and the price, as an answer words it."""


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


def _prefer(line: Line, preferences: Preferences, most: int | None) -> Line:
    """Leave out a line the client does not want, or that asks more than this gateway pays."""
    if preferences.only and line.provider not in preferences.only:
        return _refuse(line, Refusal("provider", f"provider.only does not name {line.provider}"))
    if line.provider in preferences.ignore:
        return _refuse(line, Refusal("provider", f"provider.ignore names {line.provider}"))
    if line.usual:  # Who rests, too: nobody waits for what is too dear.
        price = line.usual.usd_micros
        said = f"{line.provider} charges ${price / 1_000_000:.6g}, above"
        if most is not None and price > most:
            said = f"{said} the ${most / 1_000_000:.6g} this gateway pays for a video at most"
            return _refuse(line, Refusal("max_cost_usd", said))
        if preferences.max_usd_micros is not None and price > preferences.max_usd_micros:
            return _refuse(line, Refusal("max_cost_usd", f"{said} max_cost_usd"))
    return line


def _refuse(line: Line, refusal: Refusal) -> Line:
    """Turn an offer down for a reason of ours."""
    return replace(line, choice=None, usual=None, refusals=(*line.refusals, refusal))


def _names_sandbox(request: Request, preferences: Preferences) -> bool:
    """Whether the client asked for the sandbox in so many words."""
    return (
        request.model.startswith(("sandbox/", "sandbox:"))
        or "sandbox" in preferences.only
        or "sandbox" in preferences.order
    )


def _soften(request: Request, lines: Iterable[Line]) -> tuple[Request, tuple[Notice, ...]]:
    """Drop what is optional and stands in the way of every offer that could make the clip without, saying so."""
    said = {f"{field}.{word}": (at, name) for at, field in enumerate(fields(request)) for word, name in SAID.items()}
    optional = {*said, *request.features().intersection(FEATURES)}  # A voice handed in as a file is not among them.
    refused = [{refusal.field for refusal in line.refusals} for line in lines]
    dropped = optional.intersection(*([each for each in refused if each <= optional] or refused))
    blank: dict[str, Any] = {
        name: () if isinstance(getattr(request, name), tuple) else None for name in dropped - said.keys()
    }
    inputs = [*request.inputs]
    for at, name in (said[field] for field in dropped & said.keys()):
        inputs[at] = replace(inputs[at], **{name: None if name == "weight" else ""})
    notices = tuple(
        Notice(type="unsupported", feature=name, details=f"no offer of {request.model} takes {name}; it was left out")
        for name in sorted(dropped)
    )
    if "elements" in dropped:  # and what shows them
        inputs = [each for each in inputs if each.role is not Role.ELEMENT]
    softened = replace(request, inputs=tuple(inputs), **blank)
    if request.mode is Mode.REFERENCE and not softened.guided():
        softened = replace(softened, mode=Mode.TEXT)
    return softened, notices


SAID = {"role": "purpose", "name": "name", "weight": "weight"}
"""What a client may say of a reference, and what we call it."""
