"""Turn whatever is raised while a call is answered into the error its client sees, in its dialect's words."""

import re
from collections.abc import Mapping
from typing import Any, cast

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ExceptionHandlersMap

from gateway.clips.shelf import GoneError, ShelfError
from gateway.jobs.wish import NewerError
from gateway.memory import lacks
from gateway.problems import ORDERED, WRITTEN, ProblemError, Render, render
from gateway.store.database import BusyError, StoreUnavailableError
from gateway.store.store import MismatchError

log = structlog.get_logger()

TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
NO_TRACE = b"0" * 32


def understand(error: Exception, scope: Mapping[str, Any]) -> ProblemError:
    """
    Turn anything raised while a request is answered into a problem; what nobody expected is a 500 that is logged.

    Of a request that has ordered by then none says that nothing was bought: whoever obeyed would buy twice.

    :param scope: of the request, by which a log line is found from what its client was told.
    """
    problem = _understood(error, scope)
    ordered = scope.get(ORDERED)
    if not ordered or problem is error or problem.status < 500:
        return problem
    message = f"Video '{ordered}' was ordered; how it stands cannot be told now: GET /v1/videos/{ordered}."
    headers = {"x-reelgate-video": str(ordered), "retry-after": "5"}
    return ProblemError(problem.status, problem.code, message, headers=headers)


def _understood(error: Exception, scope: Mapping[str, Any]) -> ProblemError:  # noqa: C901 - a table
    """Say what was raised, whatever the request has done by then."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, NotFoundException):
        return ProblemError(404, "unknown_url", "No such address; GET /v1/models and /docs list what there is.")
    if isinstance(error, MethodNotAllowedException):
        return ProblemError(405, "method_not_allowed", "This address does not take that method.", headers=error.headers)
    if isinstance(error, BusyError):
        message = "The gateway is busy with other reports. Try again later, or ask for fewer days."
        return ProblemError(503, "reports_busy", message, headers={"retry-after": "10"})
    if isinstance(error, StoreUnavailableError):
        log.error("store.unavailable", reason=str(error), **names_of(scope))
        return ProblemError(
            503,
            "store_unavailable",
            "The gateway cannot write to its store; nothing was bought. Try again.",
            headers={"retry-after": "5"},
        )
    if isinstance(error, ShelfError):
        log.error("shelf.unavailable", reason=str(error), **names_of(scope))
        message = "The gateway cannot reach its media; nothing was bought. Try again."
        return ProblemError(503, "media_unavailable", message, headers={"retry-after": "5"})
    if isinstance(error, NewerError):
        message = "A newer version of this gateway took a video that is asked for, and this one cannot read it."
        return ProblemError(503, "version_newer", message, headers={"retry-after": "5"})
    if isinstance(error, GoneError):
        return ProblemError(410, "video_expired", "What was asked for is no longer kept.")
    if isinstance(error, MismatchError):
        return ProblemError(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used with another request; use a new one.",
            param="Idempotency-Key",
        )
    if lacks(error):
        log.error("request.starved", reason=type(error).__name__, **names_of(scope))
        message = "The gateway has too little memory for this now. Try again."
        return ProblemError(503, "overloaded", message, headers={"retry-after": "5"})
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ProblemError(error.status_code, "invalid_request", error.detail or "The request cannot be read.")
    log.error("request.crashed", exc_info=error, **names_of(scope))
    return ProblemError(500, "internal_error", "Something went wrong here; the request id says where to look.")


def names_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Name a request in a log line: its route, never its address, whose ids, tokens and query are the caller's own."""
    trace = trace_of(scope)
    return {
        "request_id": scope.get("request_id", ""),
        "method": scope.get("method", ""),
        "path": scope.get("path_template", ""),
        **({"trace": trace} if trace else {}),
    }


def trace_of(scope: Mapping[str, Any]) -> str:
    """
    Read the id of the trace a request is part of (W3C Trace Context); empty where it is part of none.

    >>> trace_of({"headers": [(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]})
    '0af7651916cd43dd8448eb211c80319c'
    """
    said = [value for name, value in scope.get("headers", ()) if name == b"traceparent"]
    found = TRACE.fullmatch(said[0]) if len(said) == 1 else None
    return found[1].decode() if found and found[1] != NO_TRACE else ""


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an exception raised inside Litestar."""
    problem = understand(error, cast("Mapping[str, Any]", request.scope))
    write = cast("Render", request.scope.get(WRITTEN, render))
    status, headers, body = write(problem, request.headers, str(request.scope.get("request_id", "")))
    media_type = headers.pop("content-type")
    return Response(body, status_code=status, headers=headers, media_type=media_type)


HANDLERS: ExceptionHandlersMap = {Exception: answer, HTTPException: answer}
