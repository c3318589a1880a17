"""
Make characters at Google Flow of the elements of an order: what is sent, what comes back, by what one is known again.

No page names a price of one, and it needs no captcha.
https://useapi.net/docs/api-google-flow-v1/post-google-flow-characters (July 2026)
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from providers._flow import voice
from providers._flow_errors import Said
from providers.base.catalog import Refusal
from providers.base.objections import fields
from providers.base.order import Element, Order, Request

VOICE = re.compile(r"user:\S+-voice:\S+-mid:\S+")
"""A voice made at Flow. .../post-google-flow-voices"""
PICTURES_MOST = 2
"""Pictures a character is made of."""
NOTES_MOST = 2000
"""Characters of a text on its personality."""


class Character(Said, frozen=True):
    """Hold what Flow calls a new character."""

    character: Annotated[str, Meta(min_length=1)]


def spoken(element: Element) -> str:
    """
    Read the voice of an element: a preset's name, or the id of a voice made at Flow; nothing where it is neither.

    >>> spoken(Element(name="Carol", voice_id="umbriel")), spoken(Element(name="Carol", voice_id="alto"))
    ('Umbriel', '')
    """
    made = VOICE.fullmatch(element.voice_id)
    return voice({"id" if made else "name": element.voice_id})


def key(element: Element, request: Request) -> str:
    """Say by what the character of an element is known again: what it is made of, its pictures by their sha256."""
    made_of = [element.name, element.description, spoken(element), *(each.sha256 for each in request.shown(element))]
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()


def write(element: Element, pictures: Sequence[str]) -> dict[str, Any]:
    """Ask for the character of an element; ``pictures`` are what Flow calls them."""
    body = {"displayName": element.name}
    body |= {f"imageReference_{number}": name for number, name in enumerate(pictures, 1)}
    more = {"personalityNotes": element.description, "voice": spoken(element)}
    return body | {name: value for name, value in more.items() if value}


def objections(order: Order) -> Iterator[Refusal]:
    """Name what of an order's elements Flow makes no character of."""
    request = order.request
    clips = [at for at, each in zip(fields(request), request.inputs, strict=True) if ".videos[" in at]
    for field in clips:
        yield Refusal(field, "Flow makes a character of pictures, not of clips")
    for at, each in enumerate(request.elements):
        field, shown = f"elements[{at}]", request.shown(each)
        if not 1 <= len(shown) <= PICTURES_MOST and not any(clip.startswith(field) for clip in clips):
            yield Refusal(f"{field}.images", f"Flow makes a character of one or two pictures, not of {len(shown)}")
        if len(each.description) > NOTES_MOST:
            yield Refusal(f"{field}.description", f"Flow takes {NOTES_MOST} characters on a character at most")
        if each.voice_id and not spoken(each):
            why = "the voice of a character is a preset of Flow's by its name, or the id of a voice made at Flow"
            yield Refusal(f"{field}.voice_id", why)
