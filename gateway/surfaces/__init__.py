"""
Borrowed dialects: the same jobs, spoken in another client's words. One module each.

Some of their addresses read like ours, or hold a colon where a router wants a slash; :class:`Surfaces` tells them
apart before anything else looks, and notes in which words a problem is to be told.
"""

from typing import cast

from litestar import Router
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gateway.api.desk import Dispatch
from gateway.events.letters import Dialect
from gateway.problems import WRITTEN, Render
from gateway.surfaces import _flow, files, flow, gemini, google, interactions, kie, newapi, openrouter
from gateway.surfaces.common import in_words

ROUTERS = (
    *(
        Router(path, route_handlers=handlers, middleware=[Dispatch], include_in_schema=False)
        for path, handlers in (
            (google.INSIDE, [*gemini.HANDLERS, *files.HANDLERS, *interactions.HANDLERS]),
            ("/api/v1", [*openrouter.HANDLERS, *kie.HANDLERS]),
            ("/v1/google-flow", flow.HANDLERS),
            ("/veo/v1", newapi.HANDLERS),
        )
    ),
    Router(google.INSIDE, route_handlers=files.OPEN, include_in_schema=False),
)

DIALECTS: dict[str, Dialect] = {
    **flow.DIALECTS,
    **gemini.DIALECTS,
    **interactions.DIALECTS,
    **kie.DIALECTS,
    **openrouter.DIALECTS,
}
"""How a job that came by a dialect is told to the address its call named; the others are told in our own words."""


# Whose words stand below a path, the most exact first: kie.ai and OpenRouter share a host's /api/v1.
KIE = in_words(kie.write_problem)
SPOKEN: tuple[tuple[str, Render], ...] = (
    ("/v1/google-flow", in_words(_flow.write_problem)),
    ("/veo/v1", in_words(newapi.write_problem)),
    *((f"/api/v1/{each}", KIE) for each in ("jobs", "veo", "common", "chat/credit")),
    ("/api/v1", openrouter.write),
)


class Surfaces:
    """Hear in which dialect a request is spoken, before the application does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if str(scope["type"]) == "http" and not scope["path"].startswith("/v1/videos"):
            google.hear(cast("HTTPScope", scope))
            path = f"{scope['path']}/"
            write = next((write for below, write in SPOKEN if path.startswith(f"{below}/")), None)
            if write is not None:
                scope[WRITTEN] = write  # type: ignore[literal-required]
        await self._app(scope, receive, send)
