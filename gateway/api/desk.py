"""What every handler needs: the services of the app, the caller, and a reply in JSON."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import msgspec
from litestar import HttpMethod, Request, route
from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from gateway.api.forms import Body, read_body
from gateway.clips.links import Leave, Links
from gateway.clips.media import Media
from gateway.door.accept import Acceptor, Repeat
from gateway.door.buffers import Buffers
from gateway.door.intake import Intake
from gateway.door.keys import Caller, Gatekeeper
from gateway.events.telling import Telling
from gateway.ids import is_id
from gateway.offers.shop import Shop
from gateway.problems import ProblemError, invalid
from gateway.settings import Settings
from gateway.store.store import Store
from gateway.telemetry import Metrics

Connection = ASGIConnection[Any, Any, Any, Any]
Incoming = Request[Any, Any, Any]

TOLERATED = frozenset({"api-version", "custom_llm_provider"})
"""Query parameters the clients of Azure and of LiteLLM's proxy send with any call; nobody here reads them."""


class Shown:
    """Keep answers that would be written the same again: the newest, a bounded number of them and of their bytes."""

    def __init__(self, most: int = 4096, most_bytes: int = 32 * 2**20) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: dict[Hashable, Reply] = {}
        self._bytes = 0

    def get(self, key: Hashable) -> "Reply | None":
        """Find an answer."""
        return self._kept.get(key)

    def put(self, key: Hashable, answer: "Reply") -> "Reply":
        """Keep an answer; the oldest give way, and one larger than all may be together is not kept."""
        self._forget(key)
        self._kept[key] = answer
        self._bytes += answer.size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))
        return answer

    def _forget(self, key: Hashable) -> None:
        """Let an answer go, where it is kept."""
        answer = self._kept.pop(key, None)
        self._bytes -= answer.size if answer is not None else 0


class Desk(Struct, frozen=True, kw_only=True):
    """Hold the services handlers call, built once by the app."""

    settings: Settings
    store: Store
    media: Media
    shop: Shop
    intake: Intake
    acceptor: Acceptor
    gatekeeper: Gatekeeper
    metrics: Metrics
    telling: Telling
    buffers: Buffers
    turn: asyncio.Lock
    """Held, for moments, by whoever looks a large body through."""
    shown: Shown
    links: Links
    wake: Callable[[], None]
    clock: Callable[[], int]


def desk(connection: Connection) -> Desk:
    """Find the services of the app that answers."""
    return cast("Desk", connection.app.state["desk"])


def caller(connection: Connection) -> Caller:
    """Say who asks, as the guard found."""
    return cast("Caller", connection.scope["state"]["caller"])


def leave_of(connection: Connection) -> Leave:
    """Give out links in the caller's name."""
    services = desk(connection)
    return services.links.leave(caller(connection).key, services.clock())


class Dispatch:
    """
    Let a caller through to the handler its request matched, and call that.

    In place of Litestar's own call, which looks for guards, dependencies, caches and hooks on every request: a
    handler here takes a request and the parameters of its path, nothing injected, and returns what answers it.
    """

    def __init__(self, app: ASGIApp) -> None:
        del app  # The handler is called itself.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer one request.

        :raises ProblemError: 401 or 403, or whatever the handler says.
        """
        request: Incoming = Request(scope, receive, send)
        handler = scope["route_handler"]
        # Litestar answers OPTIONS with a handler of its own, which says nothing of scopes and knows one method alone.
        options = request.method == "OPTIONS"
        opt: Mapping[str, Any] = {"scope": "read"} if options else handler.opt
        admitted = desk(request).gatekeeper.admit(request, opt["scope"], bare=opt.get("bare_key", False))
        scope["state"]["caller"] = await admitted
        answer = _methods(request) if options else await handler.fn(request, **scope["path_params"])
        await answer(scope, receive, send)


def _methods(request: Incoming) -> ASGIApp:
    """Say which methods an address takes."""
    path = request.scope["path_template"]
    taken = {str(each) for one in request.app.routes if one.path_format == path for each in one.methods}
    return Reply(204, {"allow": ", ".join(sorted(taken))}, b"")


def with_heads(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Answer HEAD wherever GET is answered, by the same function; the document tells of GET alone."""
    listed = [*handlers]
    heads = [
        route(
            sorted(each.paths),
            http_method=HttpMethod.HEAD,
            opt=each.opt,
            operation_id=each.operation_id,
            include_in_schema=False,
        )(each.fn)
        for each in listed
        if each.http_methods == {HttpMethod.GET}
    ]
    return [*listed, *heads]


@asynccontextmanager
async def body_of(request: Incoming) -> AsyncIterator[Body]:
    """Have a request's body, read within the limits set; what nobody kept of it goes when the context is left."""
    services, who = desk(request), caller(request)
    body = await read_body(
        request,
        folder=services.media.incoming,
        max_bytes=services.settings.server.max_body_mb * 2**20,
        seconds=services.settings.server.body_seconds,
        lend=partial(services.buffers.lend, who.key or who.tenant),
        turn=services.turn,
    )
    try:
        yield body
    finally:
        body.drop()


def repeat_of(request: Incoming) -> Repeat:
    """
    Read what a client says about repeating its call.

    :raises ProblemError: 400 for an Idempotency-Key that cannot be one.
    """
    keys = request.headers.getall("idempotency-key", [])
    if len(keys) > 1:
        raise ProblemError(400, "invalid_idempotency_key", "Send one Idempotency-Key.", param="Idempotency-Key")
    key = None
    if keys:
        key = keys[0].strip()
        if len(key) >= 2 and key[0] == key[-1] == '"':
            key = key[1:-1]
        if not 1 <= len(key) <= 255 or not (key.isascii() and key.isprintable()):
            message = "An Idempotency-Key is 1 to 255 printable ASCII characters."
            raise ProblemError(400, "invalid_idempotency_key", message, param="Idempotency-Key")
    retry = request.headers.get("x-stainless-retry-count", "0")
    return Repeat(key, int(retry) if retry.isascii() and retry.isdigit() and len(retry) < 4 else 0)


class Reply:
    """
    Send a whole answer as it stands.

    An ASGI application, so that Litestar sends it without building a response of its own around it.
    """

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    @property
    def size(self) -> int:
        """Count the bytes of its body."""
        return len(self._body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        headers = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        headers.append((b"content-length", b"%d" % len(self._body)))  # The server drops it of what has no body.
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else self._body  # type: ignore[typeddict-item]
        await send({"type": "http.response.body", "body": body, "more_body": False})


def reply(content: Any, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Reply:
    """Answer in JSON; nothing a caller may keep."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Reply(status, {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}, body)


def check_query(request: Incoming, known: Iterable[str], *, status: int = 422) -> None:
    """
    Refuse a query parameter nobody reads, whose client believes that it says something.

    :raises ProblemError: naming it.
    """
    strangers = sorted(set(request.query_params.keys()) - TOLERATED - {*known})
    if strangers:
        name = strangers[0][:64]
        raise ProblemError(status, "unknown_parameter", f"Unknown query parameter {name!r}.", param=name)


def limit_of(request: Incoming, *, usual: int = 20, most: int = 100) -> int:
    """
    Read how many items a page of a list may have.

    :raises ProblemError: 422.
    """
    limit = request.query_params.get("limit", str(usual))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(most)) and 1 <= int(limit) <= most):
        raise invalid("limit", f"limit is a whole number between 1 and {most}.")
    return int(limit)


def page_of(
    request: Incoming, prefix: str, *own: str, usual: int = 20, most: int = 100
) -> tuple[str | None, int, bool]:
    """
    Read a list's query: after, limit, and whether the newest come first.

    :param own: what else this list is asked by.
    :param usual: how many items a page has where the client does not say.
    :param most: how many it may have.
    :raises ProblemError: 400 for a cursor that is none, 422 for the rest.
    """
    check_query(request, ("after", "limit", "order", *own))
    limit = limit_of(request, usual=usual, most=most)
    order = request.query_params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise invalid("order", "order is asc or desc.")
    after = request.query_params.get("after")
    if after is not None and not is_id(prefix, after):
        raise bad_cursor()
    return after, limit, order == "desc"


def bad_cursor(word: str = "after") -> ProblemError:
    """Describe a cursor that no page ended with, or began."""
    told = {
        "after": "after is the id a page ended with.",
        "before": "before is the id a page began with, without after.",
    }
    return ProblemError(400, "invalid_cursor", told[word], param=word)


def page(data: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Write a page of anything with an id; OpenAI's SDK pages by ``last_id``."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": more}
