"""
The outermost layer: every answer gets a request id, a duration, a count, and a shape.

Whatever the layers below raise, the client reads the same kind of error.
"""

import re
import time
from collections.abc import Iterable
from typing import Any, cast

import structlog
from litestar.datastructures import Headers
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from gateway.door.admission import Admission, asker, overloaded
from gateway.door.answering import names_of, understand
from gateway.door.hearing import Hearing, Said
from gateway.door.rates import RATED, told
from gateway.ids import chance
from gateway.problems import WRITTEN, ProblemError, Render, render
from gateway.telemetry import Metrics

log = structlog.get_logger()

REQUEST_ID = re.compile(r"[\w-]{1,128}", re.ASCII)
HOST = re.compile(rb"([\w.-]+|\[[\w:.%]+\])(:[0-9]{1,5})?")
MAX_HEAD = 64 * 2**10
"""Most bytes of headers; the server below us takes six times as many."""
TURNED_AWAY = -1
"""Stands for the status of a call that was never let in."""
ANY_ID = "req_of_whoever_is_turned_away"
MOST_REFUSALS = 64
Header = tuple[bytes, bytes]
METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}


class Edge:
    """Wrap the application for the server."""

    def __init__(self, app: ASGIApp, metrics: Metrics, admission: Admission, hearing: Hearing) -> None:
        self._app = app
        self._hearing = hearing
        self._admission = admission
        self._metrics = metrics
        self._turned_away = metrics.requests.labels("turned_away", "POST", "503")
        self._refusals: dict[tuple[Render, int, bytes], tuple[int, list[tuple[bytes, bytes]], bytes]] = {}
        """How a call is refused, by dialect, time to wait and what its caller accepts."""
        self._meters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """Counters by what they count: looking them up by label costs more than counting."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if str(scope["type"]) != "http":  # The server's own start and stop come this way too.
            await self._app(scope, receive, send)
            return
        await self._answer(cast("HTTPScope", scope), receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens below."""
        started = time.perf_counter()
        asked = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = asked if REQUEST_ID.fullmatch(asked) else f"req_{chance()}"
        scope["request_id"] = request_id  # type: ignore[typeddict-unknown-key]
        status = let_in = 0
        said = Said(scope["headers"], receive)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = time.perf_counter() - started
                own = (b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % round(spent * 1000))
                if not said.ended and let_in:
                    self._admission.leave(let_in)  # What is still to come is no work.
                rate = told(*scope[RATED]) if RATED in scope else ()  # type: ignore[literal-required]
                message["headers"] = [*await self._heard(said, message["headers"], spent), *own, *rate]
            await send(message)

        try:
            _check_head(scope)
            if self._admission.concerns(scope["method"], scope["path"]):
                let_in, wait = await self._admission.enter(started, asker(scope["headers"]))
                if wait:
                    status = TURNED_AWAY
                    await self._turn_away(scope, said, send, wait, request_id)
                    return
            await self._app(scope, said.receive, answer)
        except Exception as error:
            if status:
                log.warning("answer.cut", reason=type(error).__name__, **names_of(scope))
                raise
            write = cast("Render", scope.get(WRITTEN, render))
            code, headers, body = write(understand(error, scope), Headers.from_scope(scope), request_id)
            raw: Any = [(name.encode(), value.encode()) for name, value in headers.items()]
            raw.append((b"content-length", str(len(body)).encode()))
            await answer({"type": "http.response.start", "status": code, "headers": raw})
            await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            if let_in:
                self._admission.leave(let_in)
            if status == TURNED_AWAY:
                self._turned_away.inc()
            else:
                self._count(scope, status, time.perf_counter() - started)

    async def _heard(self, said: Said, headers: Iterable[Header], spent: float = 0.0) -> Iterable[Header]:
        """Hear a caller out, and write in the answer's headers where it is cut off all the same."""
        if said.ended:
            return headers
        await self._hearing.out(said, spent)
        if said.ended or any(name == b"connection" for name, _ in headers):
            return headers
        return [*headers, (b"connection", b"close")]

    async def _turn_away(self, scope: HTTPScope, said: Said, send: Send, wait: int, request_id: str) -> None:
        """Refuse a call for new work; written once for all of a kind, as it must cost next to nothing."""
        write = cast("Render", scope.get(WRITTEN, render))
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        found = self._refusals.get((write, wait, accept))
        if found is None:
            status, named, body = write(overloaded(wait), Headers.from_scope(scope), ANY_ID)
            found = status, [(name.encode(), value.encode()) for name, value in named.items()], body
            if len(self._refusals) < MOST_REFUSALS:
                self._refusals[write, wait, accept] = found
        status, head, body = found
        id_ = request_id.encode()
        body = body.replace(ANY_ID.encode(), id_)
        own = (b"content-length", b"%d" % len(body)), (b"x-request-id", id_)
        headers = [*await self._heard(said, head), *own]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _count(self, scope: HTTPScope, status: int, seconds: float) -> None:
        """Count an answer by the route it matched, never by the address asked for."""
        handler = scope.get("route_handler")
        route = getattr(handler, "operation_id", None) or "none"
        counted = (str(route), scope["method"] if scope["method"] in METHODS else "other", status)
        meters = self._meters.get(counted)
        if meters is None:
            requests = self._metrics.requests.labels(*map(str, counted))
            meters = self._meters[counted] = (requests, self._metrics.request_seconds.labels(counted[0]))
        meters[0].inc()
        meters[1].observe(seconds)


def _check_head(scope: HTTPScope) -> None:
    """
    Refuse a head that can be read in two ways, which the server below us lets through.

    :raises ProblemError: 400, 405 or 431.
    :raises NotFoundException: for an empty step in the path, which the router would leave out.
    """
    if scope["method"] not in METHODS:
        allowed = {"allow": "GET, HEAD, POST, DELETE, OPTIONS"}
        raise ProblemError(405, "method_not_allowed", "No address takes that method.", headers=allowed)
    if "//" in scope["path"]:
        raise NotFoundException
    size = 0
    hosts: list[bytes] = []
    codings: list[bytes] = []
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value.lower())
    if size > MAX_HEAD:
        raise ProblemError(431, "headers_too_large", f"The headers are larger than {MAX_HEAD // 2**10} kB.")
    if codings not in ([], [b"chunked"]):
        message = "The one Transfer-Encoding is chunked."
        raise ProblemError(400, "invalid_framing", message, headers={"connection": "close"})
    # Where there is none granian writes an empty one; HTTP/1.0, which it calls 1, needs none.
    if not (len(hosts) == 1 and (HOST.fullmatch(hosts[0]) or (scope["http_version"] == "1" and not hosts[0]))):
        raise ProblemError(400, "invalid_host", "Send one Host header: a name or an address, and a port.")
