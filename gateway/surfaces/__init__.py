"""
Borrowed dialects: the same jobs, spoken in another client's words. One module each.

Some of their addresses read like ours, or hold a colon where a router wants a slash; :class:`Surfaces` tells them
apart before anything else looks, and notes in which words a problem is to be told.
"""

from typing import cast

from litestar import Router
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gateway.api.desk import Dispatch
from gateway.letters import Dialect
from gateway.surfaces import flow, gemini, google, interactions, jobs, openrouter

ROUTERS = (
    Router(
        google.INSIDE,
        route_handlers=[*gemini.HANDLERS, *interactions.HANDLERS],
        middleware=[Dispatch],
        include_in_schema=False,
    ),
    Router("/api/v1", route_handlers=openrouter.HANDLERS, middleware=[Dispatch], include_in_schema=False),
)

DIALECTS: dict[str, Dialect] = {**flow.DIALECTS, **jobs.DIALECTS}
"""How a job that came by a dialect is told to the address its call named; the others are told in our own words."""


class Surfaces:
    """Hear in which dialect a request is spoken, before the application does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if str(scope["type"]) == "http" and not scope["path"].startswith("/v1/videos"):
            google.hear(cast("HTTPScope", scope))
            openrouter.hear(cast("HTTPScope", scope))
        await self._app(scope, receive, send)
