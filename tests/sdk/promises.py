"""What every flow of ``flows.py`` and ``node/flows.mjs`` must find: one table, whichever SDK asks."""

from typing import Any

ENDED = {"status": "completed", "progress": 100, "seconds": "1", "size": "640x360"}


def no(name: str, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """Describe a refusal: an exception that says all it should, after one try."""
    return {
        "class": name,
        "status": status,
        "code": code,
        "param": param,
        "silent about": [],
        "traceable": True,
        "tries": 1,
    }


def bad(code: str, param: str | None = None) -> dict[str, Any]:
    """Describe a refusal of a call that cannot be read."""
    return no("BadRequestError", 400, code, param)


def unfit(param: str, code: str = "invalid_value") -> dict[str, Any]:
    """Describe a refusal of a value."""
    return no("UnprocessableEntityError", 422, code, param)


def unknown(code: str, param: str | None = None) -> dict[str, Any]:
    """Describe a refusal of a name nobody knows."""
    return no("NotFoundError", 404, code, param)


def conflict(code: str) -> dict[str, Any]:
    """Describe a refusal for now, which the SDK must not try again by itself."""
    return no("ConflictError", 409, code)


def file(content_type: str) -> dict[str, Any]:
    """Describe a download."""
    return {"content-type": content_type, "whole": True, "plain": "identity"}


def made(operation: str, *, from_id: bool) -> dict[str, Any]:
    """Describe a clip made from another of the same shape."""
    return {
        "operation": operation,
        "from the id": from_id,
        "model": "sandbox/demo",
        "remixed": None,
        "roles": ["source"],
        **ENDED,
    }


def canonical(content_type: str, prompt: str) -> dict[str, Any]:
    """Describe how our own fields come back."""
    return {
        "content type": content_type,
        "size": "360x640",
        "metadata": {"shot": "12a", "take.2": "3"},
        "user": "u-1",
        "external_id": "order 9",
        "provider": "sandbox",
        "operation": "create",
        "request": {
            "aspect_ratio": "9:16",
            "resolution": "360p",
            "seed": 7,
            "audio": False,
            "negative_prompt": "text",
            "prompt": prompt,
        },
        "preferences": {"only": ["sandbox"], "allow_fallbacks": False},
        "sandbox is named": True,
    }


COMMON: dict[str, Any] = {
    "watched": {
        "last": "completed",
        "strange": [],
        "never pending": False,
        "waits within": True,
        "told to wait for an ended one": False,
        "progress falls": False,
        "last progress": 100,
        "progress is whole": True,
        "missing": [],
        "request id": True,
    },
    "listed": {
        "mine, newest first": True,
        "mine, oldest first": True,
        "twice": 0,
        "both ways the same": True,
        "page": True,
        "next page": True,
        "missing": [],
    },
    "downloaded": {
        "video": file("video/mp4"),
        "thumbnail": file("image/webp"),
        "spritesheet": file("image/jpeg"),
        "unnamed is the video": True,
        "streamed alike": True,
        "range": [206, True],
    },
    "deleted": {
        "answer": {"object": "video.deleted", "deleted": True, "same": True},
        "retrieve": unknown("video_not_found", "id"),
        "content": unknown("video_not_found", "id"),
        "again": unknown("video_not_found", "id"),
        "listed": False,
    },
    "unfinished": {
        "content": conflict("video_not_ready"),
        "delete": conflict("video_not_finished"),
        "edit": bad("video_not_ready", "video"),
        "cancelled": {"status": "failed", "code": "cancelled"},
    },
    "remixed": {"of": True, "model": "sandbox/demo", "prompt": "The same at noon", **ENDED},
    "uploaded": {
        "object": "file",
        "filename": "first.png",
        "purpose": "user_data",
        "status": "processed",
        "bytes": True,
        "content": True,
        "retrieved": True,
        "listed": True,
        "deleted": True,
        "gone": unknown("file_not_found", "id"),
        "use": unknown("file_not_found", "input_reference"),
    },
    "sold": {
        "absent": [],
        "one": {"id": "sandbox/demo", "object": "model", "owned_by": "sandbox", "created": True},
        "unknown": unknown("model_not_found", "model"),
    },
    "refused": {
        "unknown field": bad("unknown_parameter", "colour"),
        "unknown model": unknown("model_not_found", "model"),
        "no number": unfit("seconds"),
        "not sold": unfit("seconds", "no_offer"),
        "no size": unfit("size"),
        "contradiction": unfit("aspect_ratio"),
        "empty prompt": unfit("prompt"),
        "too long": unfit("metadata"),
        "too high": unfit("seed"),
        "address": unfit("input_reference.image_url", "url_not_allowed"),
        "no picture": unfit("input_reference", "unsupported_image"),
        "no clip": unfit("video"),
        "no source": unfit("video"),
        "unknown video": unknown("video_not_found", "id"),
        "strange id": unknown("video_not_found", "id"),
        "unknown source": unknown("video_not_found", "id"),
        "cursor": bad("invalid_cursor", "after"),
        "limit": unfit("limit"),
        "no such address": unknown("unknown_url"),
        "no such method": no("APIStatusError", 405, "method_not_allowed"),
        "kept": 0,
    },
    "failed": {
        word: {
            "status": "failed",
            "code": code,
            "says why": True,
            "completed_at": "int",
            "content": unknown("video_has_no_content"),
        }
        for word, code in (("fail", "generation_failed"), ("refuse", "content_policy_violation"))
    },
    "superset": {
        "form": canonical("multipart/form-data", "A \u2018portrait\u2019 \u2013 form [slow 60]"),
        "json": canonical("application/json", "A \u2018portrait\u2019 \u2013 json [slow 60]"),
    },
    "listed_objects": {
        "form": [["reference", "subject"], ["reference", "style"]],
        "text": [["reference", ""], ["reference", "Ann"]],
        "json": [["reference", ""], ["reference", "Ann"]],
        "mixed form": bad("invalid_form"),
    },
    "lost": {each: {"tries": ["0", "1"], "jobs": [True]} for each in ("plain", "file")},
    "repeated": {
        "with key": True,
        "without": False,
        "other call": unfit("Idempotency-Key", "idempotency_key_reused"),
    },
}

PYTHON: dict[str, Any] = {
    **COMMON,
    "polled": {
        "missing": [],
        "object": "video",
        "model": "sandbox/demo",
        "prompt": "A calico cat plays a piano on stage",
        "remixed_from_video_id": None,
        "error": None,
        **ENDED,
        "not whole": [],
        "in order": True,
        "id": True,
    },
    "polled_async": {**ENDED, "is mp4": True, "listed first": True},
    "edited": {
        "file": made("edit", from_id=False),
        "omit": made("edit", from_id=True),
        "empty": made("edit", from_id=True),
    },
    "extended": {each: {"operation": "extend", **ENDED, "seconds": "2"} for each in ("file", "id")},
    "referenced": {
        "understood otherwise": [],
        "mode": ["first_frame"],
        "bytes changed": False,
        "unfinished": [],
    },
}
