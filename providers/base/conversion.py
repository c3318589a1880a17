"""
Say what a picture must become at an offer that does not take it as it is: pure, by what the offer's listing says.

Clips and voices are never converted, and no picture is but for its type or its size in bytes.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from providers.base.listing import Offer
from providers.base.order import Input

READ = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""What can be converted."""
WRITTEN = ("image/png", "image/jpeg")
"""What it can become."""


class Conversion(Struct, frozen=True):
    """Say what a picture must become; which of the types it is, its own bytes decide."""

    types: tuple[str, ...]
    """Of :data:`WRITTEN`."""
    most: int | None = None
    """How many bytes it may have at most."""

    @property
    def name(self) -> str:
        """
        Tell it from any other, in letters, digits and dashes.

        >>> Conversion(("image/png", "image/jpeg"), 1000).name
        'png-jpeg-1000'
        """
        kinds = [each.partition("/")[2] for each in self.types]
        return "-".join([*kinds, *([] if self.most is None else [str(self.most)])])


def takes(offer: Offer, kind: str) -> list[str]:
    """List the types of a kind that an offer's listing names; any is taken where it names none."""
    return [each for each in offer.media_types if each.startswith(f"{kind}/")]


def conversion(offer: Offer, given: Input) -> Conversion | None:
    """Say what an input must become at an offer; ``None`` where it stays as it is, or nothing would help."""
    if given.media_type not in READ:
        return None
    taken, most = takes(offer, "image"), offer.image_max
    is_taken = not taken or given.media_type in taken
    if is_taken and (most is None or given.size <= most):
        return None
    types = tuple(each for each in WRITTEN if not taken or each in taken)
    return Conversion(types, most) if types else None


def foreseen(offer: Offer, inputs: Iterable[Input]) -> Iterator[Input]:
    """Describe inputs as an offer would be handed them, as far as is known before any is converted."""
    for each in inputs:
        into = conversion(offer, each)
        if into is None:
            yield each
        else:
            size = each.size if into.most is None else min(each.size, into.most)
            yield replace(each, media_type=into.types[0], size=size)
