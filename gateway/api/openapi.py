"""
The OpenAPI 3.1 document and a page to read it on, both served from here: nothing is loaded from elsewhere.

Litestar knows the routes; what it cannot see is added from a table: the bodies (one handler reads JSON and
forms), the answers, and the one shape every error has.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from litestar import Litestar, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import BaseRoute
from litestar.types import ASGIApp

from gateway import comparing, spending
from gateway.api.content import VARIANTS
from gateway.api.create import VideoCreate
from gateway.api.desk import Incoming, Reply, reply
from gateway.api.files import MOST_LISTED
from gateway.api.webhooks import DELIVERY, EndpointCreate, EndpointUpdate, Rotation, Sample
from gateway.events import TYPES

CREATE_BODIES = {
    "createVideo": ["prompt"],
    "editVideo": ["prompt", "video"],
    "extendVideo": ["prompt", "video", "seconds"],
    "remixVideo": ["prompt"],
    "quote": ["prompt"],
}
"""Operations whose body is a ``VideoCreate``, and the fields each cannot do without."""
ORDERS = CREATE_BODIES.keys() - {"quote"}

BODIES = {
    "createWebhookEndpoint": EndpointCreate,
    "updateWebhookEndpoint": EndpointUpdate,
    "rotateWebhookSecret": Rotation,
    "testWebhookEndpoint": Sample,
    "rotateCallbackSecret": Rotation,
}
"""Operations whose body is JSON alone."""

ANSWERS = {
    "createVideo": "Video", "editVideo": "Video", "extendVideo": "Video", "remixVideo": "Video",
    "retrieveVideo": "Video", "cancelVideo": "Video", "listVideos": "VideoList", "quote": "QuoteList",
    "createFile": "File", "retrieveFile": "File", "listFiles": "FileList", "listModels": "ModelList",
    "retrieveModel": "Model", "getComparison": "Comparison",
}  # fmt: skip

OPEN = {"live", "ready"}
"""Operations nobody needs a key for."""


def _query(name: str, **schema: Any) -> dict[str, Any]:
    """Describe a query parameter."""
    return {"name": name, "in": "query", "schema": schema}


def _asked_by(words: Sequence[str]) -> list[dict[str, Any]]:
    """Describe by what sums are asked for, and of which days."""
    return [
        {**_query("by", type="array", items={"enum": [*words]}, uniqueItems=True), "style": "form", "explode": False},
        _query("since", type="string", format="date"),
        _query("until", type="string", format="date"),
    ]


def _paging(cursor: str, *, usual: int = 20, most: int = 100) -> list[dict[str, Any]]:
    """Describe how a list is paged through; ``cursor`` is what its ids look like."""
    return [
        _query("after", type="string", pattern=f"^{cursor}$"),
        _query("limit", type="integer", minimum=1, maximum=most, default=usual),
        _query("order", type="string", enum=["asc", "desc"], default="desc"),
    ]


def _id(prefix: str) -> str:
    """Write what an id looks like."""
    return f"{prefix}_[0-9a-f]{{32}}"


DRY_RUN = {
    **_query("dry_run", type="boolean", default=False),
    "description": "Only say what it would cost: the answer is that of `/v1/quotes`, and nothing is kept or bought.",
}
QUERIES: dict[str, list[dict[str, Any]]] = {
    **{name: [DRY_RUN] for name in ORDERS},
    "listVideos": _paging(_id("video")),
    "listFiles": [*_paging(_id("file"), usual=MOST_LISTED, most=MOST_LISTED), _query("purpose", type="string")],
    "listWebhookEndpoints": _paging(_id("whep")),
    "listWebhookDeliveries": _paging(DELIVERY.pattern)[:2],
    "downloadVideo": [
        {
            **_query("variant", type="string", enum=[*VARIANTS], default="video"),
            "description": "The clip; its first picture, small (WebP); pictures in even steps on one sheet (JPEG); or "
            "its last picture as it is (PNG), from which another clip can go on.",
        },
        _query("index", type="integer", minimum=0, maximum=99, default=0),
    ],
    "getSpend": _asked_by(spending.BY),
    "getComparison": _asked_by(comparing.BY),
}

FILES = {
    "downloadVideo": ["video/mp4", "image/webp", "image/jpeg", "image/png"],
    "downloadFile": ["image/*", "video/*", "audio/*"],
    "metrics": ["text/plain"],
    "streamVideo": ["text/event-stream"],
}
"""Operations that answer no JSON, and what they answer."""


def _nullable(kind: str, text: str = "") -> dict[str, Any]:
    """Describe a field that may be null."""
    return {"type": [kind, "null"], **({"description": text} if text else {})}


def _list_of(name: str) -> dict[str, Any]:
    """Describe a page of something."""
    properties = {
        "object": {"const": "list"},
        "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        "first_id": _nullable("string"),
        "last_id": _nullable("string"),
        "has_more": {"type": "boolean"},
    }
    return {"type": "object", "required": ["object", "data"], "properties": properties}


RESULT_LINK: dict[str, Any] = {
    "type": "object",
    "required": ["index", "url", "expires_at"],
    "properties": {
        "index": {"type": "integer"},
        "url": {"type": "string"},
        "expires_at": {"type": "integer", "description": "Until when it should live, in seconds since the epoch."},
    },
}

THIRTEEN: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^video_[0-9a-f]{32}$"},
    "object": {"const": "video"},
    "model": {"type": "string"},
    "status": {"type": "string", "enum": ["queued", "in_progress", "completed", "failed"]},
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
    "created_at": {"type": "integer", "description": "Seconds since the epoch."},
    "completed_at": _nullable("integer"),
    "expires_at": _nullable("integer", "When the clip is removed here."),
    "prompt": _nullable("string"),
    "seconds": {"type": "string"},
    "size": {"type": "string", "examples": ["1280x720"]},
    "remixed_from_video_id": _nullable("string"),
    "error": {
        "type": ["object", "null"],
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "result_links": {
                "type": "array",
                "items": RESULT_LINK,
                "description": "With `result_lost`: where what was paid for still lies at its provider.",
            },
        },
    },
}

COUNTS = {
    "orders": "All of them: each is counted once more, from `made` to `under_way`.",
    "made": "A clip of it was kept; late, or not as ordered, too.",
    "lost": "Made and paid for, and no clip of it was kept.",
    "failed": "Taken and not made, or given up.",
    "refused": "Turned down for what they were.",
    "turned_away": "Not taken for another reason: a full queue, a rest, an account not let in or with nothing left.",
    "cancelled": "",
    "in_doubt": "Nobody can tell whether they were taken.",
    "under_way": "",
    "mismatched": "Of those made: not as ordered.",
    "late": "Of those made: kept only once their videos had ended without them.",
    "clips": "Kept, late and mismatched ones as they came.",
}
"""What is counted in a comparison, and what each count means."""

COMPARED: dict[str, Any] = {
    **{word: {"type": "string"} for word in comparing.BY},
    **{name: {"type": "integer", **({"description": text} if text else {})} for name, text in COUNTS.items()},
    "made_share": _nullable("number", "`made` of all that came to a verdict: with `lost`, `failed` and `refused`."),
    "seconds_p50": _nullable("integer", "From order to kept clip for half of those made in time."),
    "seconds_p90": _nullable("integer", "The same for nine in ten."),
    "clip_seconds": {"type": "number", "description": "How long `clips` are, extensions without their sources."},
    "usd": {"type": "number", "description": "Spent in that time, on these orders or on older ones."},
    "usd_per_clip": _nullable("number", "`usd` by `clips`: what was paid for nothing is in it."),
    "usd_per_second": _nullable("number", "`usd` by `clip_seconds`."),
}
"""One line of a comparison."""

SCHEMAS: dict[str, Any] = {
    "Comparison": {
        "type": "object",
        "required": ["object", "since", "until", "currency", "data"],
        "properties": {
            "object": {"const": "comparison"},
            "since": {"type": "integer"},
            "until": {"type": "integer"},
            "currency": {"const": "USD"},
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": [name for name in COMPARED if name not in comparing.BY],
                    "properties": COMPARED,
                },
            },
        },
    },
    "Video": {
        "type": "object",
        "required": list(THIRTEEN),
        "properties": {
            **THIRTEEN,
            "status_detail": {"type": "string"},
            "waiting": _nullable(
                "string", "What it waits for beside its turn: an account that is not configured, or rests for long."
            ),
            "provider": {"type": "string", "description": "Who makes it; `sandbox` makes test clips."},
            "resolved_model": {"type": "string"},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "usage": {"type": "object", "description": "Cost in dollars, and whether it is an estimate."},
            "warnings": {"type": "array", "items": {"type": "object"}},
            "request": {"type": "object", "description": "What was asked, every open choice made."},
            "urls": {"type": "object"},
            "metadata": {"type": "object"},
            "key": _nullable("string", "The id of the key that ordered it."),
        },
    },
    "File": {
        "type": "object",
        "required": ["id", "object", "bytes", "created_at", "filename", "purpose", "status"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "file"},
            "bytes": {"type": "integer"},
            "created_at": {"type": "integer"},
            "filename": {"type": "string"},
            "purpose": {"type": "string"},
            "status": {"const": "processed"},
        },
    },
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
            "offers": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Quote": {
        "type": "object",
        "properties": {
            "offer": {"type": "string"},
            "can": {"type": "boolean"},
            "usd": _nullable("number"),
            "reasons": {"type": "array", "items": {"type": "object"}},
        },
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "error", "request_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong and what to change."},
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": _nullable("string"),
                    "code": {"type": "string"},
                },
            },
            "errors": {"type": "array", "items": {"type": "object"}},
            "request_id": {"type": "string"},
        },
    },
    "Event": {
        "type": "object",
        "required": ["id", "object", "created_at", "type", "data"],
        "properties": {
            "id": {"type": "string", "description": "The same as webhook-id, and at every try."},
            "object": {"const": "event"},
            "created_at": {"type": "integer"},
            "type": {"type": "string", "enum": list(TYPES)},
            "data": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
        },
    },
    "VideoList": _list_of("Video"),
    "FileList": _list_of("File"),
    "ModelList": _list_of("Model"),
    "QuoteList": _list_of("Quote"),
}


class _Closed(Router):
    """Take no routes: Litestar's own pages are open to all and load scripts from a CDN."""

    def register(self, value: Any) -> list[BaseRoute]:
        """Leave a route out."""
        del value
        return []


def config(version: str) -> OpenAPIConfig:
    """Tell Litestar what the document says of itself; its own pages stay off."""
    return OpenAPIConfig(
        title="Reelgate",
        version=version,
        summary="One API for AI video: quoted first, bought once, kept here.",
        render_plugins=[JsonRenderPlugin()],
        openapi_router=_Closed("/schema", route_handlers=[]),
        use_handler_docstrings=True,
    )


def document(app: Litestar) -> dict[str, Any]:
    """Write the whole document."""
    whole: dict[str, Any] = app.openapi_schema.to_schema()
    shapes = [VideoCreate, *dict.fromkeys(BODIES.values())]
    (created, *_), parts = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    components = whole.setdefault("components", {})
    components.setdefault("schemas", {}).update({**SCHEMAS, **parts})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    whole["security"] = [{"key": []}]
    whole["webhooks"] = {kind: {"post": _told(kind)} for kind in TYPES}
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            operation["tags"] = [path.removeprefix("/v1").split("/")[1].title()]
            _complete(operation, created["$ref"])
    return whole


def _told(kind: str) -> dict[str, Any]:
    """Describe what is sent when a video has ended."""
    schema = {"allOf": [{"$ref": "#/components/schemas/Event"}, {"properties": {"type": {"const": kind}}}]}
    return {
        "operationId": kind,
        "summary": f"A video has ended: {kind}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Heard; any other answer is a reason to send it again."}},
    }


def _complete(operation: dict[str, Any], created: str) -> None:
    """Add what Litestar cannot see to one operation."""
    name = operation["operationId"]
    if name in CREATE_BODIES:
        schema: dict[str, Any] = {"allOf": [{"$ref": created}, {"required": CREATE_BODIES[name]}]}
        content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    elif name in BODIES:
        body = {"$ref": f"#/components/schemas/{BODIES[name].__name__}"}
        needed = name in {"createWebhookEndpoint", "testWebhookEndpoint"}
        operation["requestBody"] = {"required": needed, "content": {"application/json": {"schema": body}}}
    elif name == "createFile":
        form = {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"type": "string"}},
        }
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    operation.setdefault("parameters", []).extend(QUERIES.get(name, []))
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    answers: dict[str, Any] = {
        "4XX": {"description": "What to change.", "content": {"application/problem+json": problem}},
        "5XX": {"description": "Not your fault.", "content": {"application/problem+json": problem}},
    }
    if name in OPEN:
        operation["security"] = []
    if name in FILES:
        # What events hold OpenAPI 3.1 has no words for.
        shape = {} if name == "streamVideo" else {"schema": {"type": "string", "format": "binary"}}
        answers["200"] = {"description": "The whole of it.", "content": dict.fromkeys(FILES[name], shape)}
    else:
        schema = {"$ref": f"#/components/schemas/{ANSWERS[name]}"} if name in ANSWERS else {"type": "object"}
        if name in ORDERS:
            schema = {"anyOf": [schema, {"$ref": "#/components/schemas/QuoteList"}]}
        answers["200"] = {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    if name == "downloadVideo":
        answers["206"] = {**answers["200"], "description": "One range of it."}
        answers["304"] = {"description": "You have it already."}
    if name == "streamVideo":
        answers["204"] = {"description": "It has ended, and you have seen it."}
    operation["responses"] = answers


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Incoming) -> ASGIApp:
    """Serve the document."""
    state = request.app.state
    if "openapi" not in state:
        state["openapi"] = document(request.app)
    return reply(state["openapi"])


PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reelgate API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<script src="/docs/rapidoc-min.js"></script></head>
<body><rapi-doc spec-url="/openapi.json" load-fonts="false" render-style="read" show-header="false"
 theme="dark" primary-color="#e4572e" allow-spec-file-load="false" allow-spec-url-load="false"
 regular-font="system-ui, sans-serif" mono-font="ui-monospace, monospace"></rapi-doc></body></html>
"""

SAFE = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self';"
        " img-src 'self' data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
}


@get("/docs", include_in_schema=False)
async def docs_page() -> ASGIApp:
    """Serve the page."""
    return Reply(200, {"content-type": "text/html; charset=utf-8", **SAFE}, PAGE)


@get("/docs/rapidoc-min.js", include_in_schema=False)
async def docs_script() -> ASGIApp:
    """Serve the reader (RapiDoc 9.3.8, MIT), kept here so that the page works without a network."""
    script = resources.files("gateway").joinpath("api/static/rapidoc-min.js").read_bytes()
    headers = {
        "content-type": "text/javascript; charset=utf-8",
        "cache-control": "public, max-age=86400",
        "x-content-type-options": "nosniff",
    }
    return Reply(200, headers, script)


HANDLERS = (openapi_json, docs_page, docs_script)
