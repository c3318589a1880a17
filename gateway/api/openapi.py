"""
The OpenAPI 3.1 document and a page to read it on, both served from here: nothing is loaded from elsewhere.

Litestar knows the routes; what it cannot see is added from tables (:mod:`gateway.api.schemas`): the bodies (one
handler reads JSON and forms), the answers, what headers say, and the one shape every error has.
"""

import re
from importlib import resources
from typing import Any

from litestar import Litestar, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import BaseRoute
from litestar.types import ASGIApp

from gateway.api.desk import Incoming, Reply, reply
from gateway.api.schemas import bodies, examples, market, sums, told, videos
from gateway.api.schemas.asked import HEADERS, PARAMETERS, headers_of
from gateway.api.schemas.words import Schema, ref, refs
from gateway.events.events import CANCELED, COMPLETED, FAILED, SETTLED, TYPES

SCHEMAS: dict[str, Schema] = {**videos.SCHEMAS, **market.SCHEMAS, **sums.SCHEMAS, **told.SCHEMAS}
"""Every answer that has a name."""

ANSWERS = {
    "createVideo": "Video", "editVideo": "Video", "extendVideo": "Video", "remixVideo": "Video",
    "retrieveVideo": "Video", "cancelVideo": "Video", "listVideos": "VideoList", "deleteVideo": "VideoDeleted",
    "listAttempts": "AttemptList", "listVideoDeliveries": "WebhookDeliveryList", "quote": "QuoteList",
    "listModels": "ModelList", "retrieveModel": "Model", "listOffers": "OfferList", "listProviders": "SellerList",
    "getSpend": "Spend", "getComparison": "Comparison",
    "createFile": "File", "retrieveFile": "File", "listFiles": "FileList", "deleteFile": "FileDeleted",
    "createWebhookEndpoint": "WebhookEndpointWithSecret", "rotateWebhookSecret": "WebhookEndpointWithSecret",
    "retrieveWebhookEndpoint": "WebhookEndpoint", "updateWebhookEndpoint": "WebhookEndpoint",
    "enableWebhookEndpoint": "WebhookEndpoint", "listWebhookEndpoints": "WebhookEndpointList",
    "deleteWebhookEndpoint": "WebhookEndpointDeleted", "testWebhookEndpoint": "WebhookEndpointTested",
    "listWebhookDeliveries": "WebhookDeliveryList", "replayDelivery": "WebhookDelivery",
    "listWebhookEventTypes": "WebhookEventTypeList", "rotateCallbackSecret": "CallbackSecret",
    "live": "Health", "ready": "Health",
}  # fmt: skip
"""What each operation answers that answers JSON."""

FILES = {
    "downloadVideo": ["video/mp4", "video/webm", "video/quicktime", "image/webp", "image/jpeg", "image/png"],
    "downloadFile": ["image/*", "video/*", "audio/*"],
    "metrics": ["text/plain"],
    "streamVideo": ["text/event-stream"],
}
"""Operations that answer no JSON, and what they answer."""

RANGED = {"downloadVideo"}
"""Those of them that can be had in parts."""

OPEN = {"live", "ready"}
"""Operations nobody needs a key for."""

OTHERWISE: dict[str, dict[str, str]] = {
    "retrieveVideo": {"304": "Nothing has changed."},
    "downloadVideo": {"304": "You have it already.", "307": "It lies there, for a short while."},
    "downloadFile": {"307": "It lies there, for a short while."},
    "streamVideo": {"204": "It has ended, and you have seen it."},
}
"""Answers without a body, and what they say."""

TOLD = {
    COMPLETED: "A video is made",
    FAILED: "A video has failed",
    CANCELED: "A video was cancelled",
    SETTLED: "What an ended video cost is settled, or its clip came late",
}
"""What each webhook says."""


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
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            operation["tags"] = [path.removeprefix("/v1").split("/")[1].title()]
            _complete(operation)
    whole["security"] = [{"key": []}]
    whole["webhooks"] = {kind: {"post": _told(kind)} for kind in TYPES}
    whole["components"] = {
        "schemas": _used({**SCHEMAS, **bodies.schemas()}, whole),
        "headers": HEADERS,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    return whole


def _used(known: dict[str, Schema], whole: dict[str, Any]) -> dict[str, Schema]:
    """Keep of all schemas those a document speaks of, and those they are made of."""
    used: dict[str, Schema] = {}
    named = {*refs(whole)}
    while named:
        used |= {name: known[name] for name in named}
        named = {each for name in named for each in refs(known[name])} - used.keys()
    return {name: used[name] for name in known if name in used}


def _told(kind: str) -> dict[str, Any]:
    """Describe what is sent when something has happened to a video."""
    schema = {"allOf": [ref("Event"), {"properties": {"type": {"const": kind}}}]}
    return {
        "operationId": kind,
        "summary": TOLD[kind],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Heard; any other answer is a reason to send it again."}},
    }


def _complete(operation: dict[str, Any]) -> None:
    """Add what Litestar cannot see to one operation."""
    name = operation["operationId"]
    # Litestar names it after the function.
    operation["summary"] = re.sub(r"(?<=[a-z])([A-Z])", lambda found: f" {found[1].lower()}", name).capitalize()
    if (body := bodies.body_of(name)) is not None:
        operation["requestBody"] = body
        if name in examples.CALLS:
            body["content"]["application/json"]["examples"] = examples.shown(examples.CALLS[name])
    operation.setdefault("parameters", []).extend(PARAMETERS.get(name, []))
    if name in OPEN:
        operation["security"] = []
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    answers = {
        **_success(name),
        **{status: {"description": about} for status, about in OTHERWISE.get(name, {}).items()},
        "4XX": {"description": "What to change.", "content": problem},
        "5XX": {"description": "Not your fault.", "content": problem},
    }
    operation["responses"] = {
        status: {**_exemplified(name, status, answer), "headers": headers_of(name, status)}
        for status, answer in answers.items()
    }


def _exemplified(name: str, status: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Add what an answer looks like, where there are examples."""
    values = examples.written().get((name, status))
    if values is None:
        return answer
    shown = examples.shown(values)
    return {**answer, "content": {kind: {**each, "examples": shown} for kind, each in answer["content"].items()}}


def _success(name: str) -> dict[str, Any]:
    """Describe what an operation answers when all is well."""
    if name in FILES:
        # What events hold OpenAPI 3.1 has no words for.
        shape = {} if name == "streamVideo" else {"schema": {"type": "string", "format": "binary"}}
        sent = {"description": "The whole of it.", "content": dict.fromkeys(FILES[name], shape)}
        return {"200": sent, **({"206": {**sent, "description": "One range of it."}} if name in RANGED else {})}
    schema = ref(ANSWERS[name])
    if name in bodies.ORDERS:
        kinds = {"video": schema["$ref"], "list": ref("QuoteList")["$ref"]}
        # Without the discriminator a generated client orders, and then cannot read what it ordered.
        schema = {
            "oneOf": [{"$ref": each} for each in kinds.values()],
            "discriminator": {"propertyName": "object", "mapping": kinds},
        }
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}


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
