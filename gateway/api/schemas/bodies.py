"""What calls carry: :mod:`gateway.api.create` and its like read it, as JSON or as a form."""

from typing import Any

from gateway.api.create import SHOWING, VideoCreate
from gateway.api.files import EXPIRY
from gateway.api.forms import MEDIA
from gateway.api.schemas.words import Schema, maybe, number, ref, structs, text, whole, word
from gateway.api.webhooks import EndpointCreate, EndpointUpdate, Rotation, Sample
from gateway.api.wishes import ADDRESSES, ECHOED, PURPOSES

CREATE = {
    "createVideo": ["prompt"],
    "editVideo": ["prompt", "video"],
    "extendVideo": ["prompt", "video", "seconds"],
    "remixVideo": ["prompt"],
    "quote": ["prompt"],
}
"""Operations whose body is a ``VideoCreate``, and the fields each cannot do without."""
ORDERS = CREATE.keys() - {"quote"}

OTHERS = {
    "createWebhookEndpoint": EndpointCreate,
    "updateWebhookEndpoint": EndpointUpdate,
    "rotateWebhookSecret": Rotation,
    "testWebhookEndpoint": Sample,
    "rotateCallbackSecret": Rotation,
}
"""Operations whose body is JSON alone."""
NEEDED = {"createWebhookEndpoint", "testWebhookEndpoint"}
"""Those of them that cannot do without one."""

SOURCE = {
    "file_id": text("A file uploaded before."),
    "id": text("An earlier video; for a picture, its last one."),
    "index": maybe(whole("Which of its clips; the first is 0.", minimum=0, maximum=99)),
    **dict.fromkeys((*ADDRESSES, "url"), text("An address, which may be a data URL.")),
    "type": maybe(word(*ADDRESSES)),
    **dict.fromkeys(ECHOED, maybe(text("Taken, and changes nothing."))),
}
"""
One way to name a piece of media, of the several that are read.

Where a schema lets it be a text as well, generated clients send neither: an ``anyOf`` is passed on unwritten, under
the names of their own language.
"""


def _items(**more: Schema) -> Schema:
    """Describe a list of media, each of which says more than where it lies."""
    item = {"type": "object", "properties": {**SOURCE, **more}, "additionalProperties": False}
    return {"type": "array", "items": item, "maxItems": 16}


MEDIA_IN_JSON: dict[str, Schema] = {
    **dict.fromkeys(("input_reference", "video"), ref("MediaSource")),
    "mask": {
        "type": "object",
        "properties": {**SOURCE, "image": ref("MediaSource")},
        "additionalProperties": False,
    },
    "frame_images": _items(frame_type=word("first_frame", "last_frame")),
    "input_references": _items(
        role=word(*PURPOSES[1:]), name=text("What the prompt calls it.", maxLength=64), weight=maybe(number())
    ),
}
"""How media are named in JSON."""

_FILE: Schema = {"type": "string", "format": "binary"}
MEDIA_IN_FORM: dict[str, Schema] = {
    name: {"type": "array", "items": _FILE, "maxItems": 16} if name in {"frame_images", "input_references"} else _FILE
    for name in sorted(MEDIA)
}
"""How they are sent in a form."""

UPLOAD: Schema = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": _FILE,
        "purpose": text(),
        "expires_after[anchor]": text("Since when `expires_after[seconds]` count.", const="created_at"),
        "expires_after[seconds]": whole(
            "After how many seconds it is removed; both or neither.", minimum=EXPIRY[0], maximum=EXPIRY[1]
        ),
    },
}


MEDIA_SOURCE: Schema = {
    "type": "object",
    "properties": SOURCE,
    "additionalProperties": False,
    "description": "One of `file_id`, `id` and an address. An address alone, as a text, is taken too.",
}


def schemas() -> dict[str, Schema]:
    """Describe every body that has a name."""
    parts = structs(VideoCreate, *dict.fromkeys(OTHERS.values()))
    for name in SHOWING:
        parts["ElementCreate"]["properties"][name]["items"] = ref("MediaSource")
    created = parts["VideoCreate"]
    form = {
        **created,
        "title": "VideoCreateForm",
        "description": "The same as a form: media are files, or named as in JSON (`video[id]`); what else is no plain "
        "text is JSON, or named likewise (`provider[policy]`).",
        "properties": {**created["properties"], **MEDIA_IN_FORM},
    }
    whole_ = {**created, "properties": {**created["properties"], **MEDIA_IN_JSON}}
    return {**parts, "VideoCreate": whole_, "VideoCreateForm": form, "MediaSource": MEDIA_SOURCE}


def body_of(operation: str) -> dict[str, Any] | None:
    """Describe what an operation's call carries; nothing, for most."""
    if operation in CREATE:
        needed = {"required": CREATE[operation]}
        content = {"application/json": {"schema": {"allOf": [ref("VideoCreate"), needed]}}}
        if operation in ORDERS:
            content["multipart/form-data"] = {"schema": {"allOf": [ref("VideoCreateForm"), needed]}}
        return {"required": True, "content": content}
    if operation in OTHERS:
        content = {"application/json": {"schema": ref(OTHERS[operation].__name__)}}
        return {"required": operation in NEEDED, "content": content}
    if operation == "createFile":
        return {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD}}}
    return None
