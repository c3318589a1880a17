"""Say in pixels what no offer makes, to a client that asked in pixels: pure."""

from itertools import product

from msgspec.structs import replace

from gateway.offers.asking import Line
from gateway.offers.routing import Decision
from providers.base.catalog import Refusal, fit
from providers.base.listing import Offer
from providers.base.order import Request, Spec, frame_size, lines

FRAME = frozenset({"resolution", "aspect_ratio"})
"""What a size says at once."""


def in_pixels(decision: Decision, size: str | None) -> Decision:
    """Name a size as the client did where an offer has none like it, beside those it has; nothing else is changed."""
    if size is None:
        return decision
    return replace(decision, others=tuple(_told(line, decision.request, size) for line in decision.others))


def _told(line: Line, request: Request, size: str) -> Line:
    """Put what a line says of resolution and shape into one sentence of sizes."""
    rest = [each for each in line.refusals if each.field not in FRAME]
    if len(rest) == len(line.refusals):
        return line
    said = Refusal("size", f"{line.offer.model} sells size {', '.join(_sizes(line.offer, request))}; not {size}")
    return replace(line, refusals=(said, *rest))


def _sizes(offer: Offer, request: Request) -> list[str]:
    """List the sizes an offer makes beside the other choices, the smallest first; all it has where they stand alone."""
    every = sorted(product(offer.resolution, offer.aspect_ratio), key=lambda each: lines(each[0]))
    able = [
        (resolution, ratio)
        for resolution, ratio in every
        if isinstance(fit(offer, replace(request, resolution=resolution, aspect_ratio=ratio)), Spec)
    ]
    return ["x".join(map(str, frame_size(*each))) for each in able or every]
