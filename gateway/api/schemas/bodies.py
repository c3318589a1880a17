"""What calls carry: :mod:`gateway.api.create` and its like read it, as JSON or as a form."""

from typing import Any

from gateway.api.create import VideoCreate
from gateway.api.files import EXPIRY
from gateway.api.forms import MEDIA
from gateway.api.schemas.words import Schema, maybe, number, ref, structs, text, whole, word
from gateway.api.webhooks import EndpointCreate, EndpointUpdate, Rotation, Sample
from gateway.api.wishes import PURPOSES

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

_LINK: Schema = {"anyOf": [text(), {"type": "object", "required": ["url"], "properties": {"url": text()}}]}
_NAMED: Schema = {
    "type": "object",
    "properties": {
        "file_id": text("A file uploaded before."),
        "id": text("An earlier video; for a picture, its last one."),
        "index": maybe(whole("Which of its clips; the first is 0.", minimum=0, maximum=99)),
        **dict.fromkeys(("image_url", "video_url", "audio_url"), _LINK),
        "url": text(),
    },
    "description": "One of `file_id`, `id` and an address, which may be a data URL.",
}
_MEDIUM: Schema = {"anyOf": [text("An address, which may be a data URL."), ref("MediaSource")]}


def _items(**more: Schema) -> Schema:
    """Describe a list of media, each of which may say more than where it lies."""
    said = {"type": "object", "properties": more}
    item = {"anyOf": [text("An address, which may be a data URL."), {"allOf": [ref("MediaSource"), said]}]}
    return {"type": "array", "items": item, "maxItems": 16}


MEDIA_IN_JSON: dict[str, Schema] = {
    "input_reference": {"anyOf": [*_MEDIUM["anyOf"], {"type": "array", "items": _MEDIUM, "maxItems": 1}]},
    "frame_images": _items(frame_type=word("first_frame", "last_frame")),
    "input_references": _items(
        role=word(*PURPOSES), name=text("What the prompt calls it.", maxLength=64), weight=maybe(number())
    ),
    "video": _MEDIUM,
    "mask": _MEDIUM,
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


def schemas() -> dict[str, Schema]:
    """Describe every body that has a name."""
    parts = structs(VideoCreate, *dict.fromkeys(OTHERS.values()))
    created = parts["VideoCreate"]
    form = {
        **created,
        "title": "VideoCreateForm",
        "description": "The same as a form: media are files, or named as in JSON (`video[id]`); what else is no plain "
        "text is JSON, or named likewise (`provider[policy]`).",
        "properties": {**created["properties"], **MEDIA_IN_FORM},
    }
    whole_ = {**created, "properties": {**created["properties"], **MEDIA_IN_JSON}}
    return {**parts, "VideoCreate": whole_, "VideoCreateForm": form, "MediaSource": _NAMED}


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
