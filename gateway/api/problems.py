"""
Errors as a client sees them: an RFC 9457 body with OpenAI's ``error`` member, on every layer.

The SDKs read only ``error``; everything else reads the rest. The message says what to change and
never repeats a secret.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ExceptionHandlersMap

from gateway.clips.shelf import GoneError, ShelfError
from gateway.memory import lacks
from gateway.store.database import BusyError, StoreUnavailableError
from gateway.store.store import MismatchError

log = structlog.get_logger()

Render = Callable[["ProblemError", Mapping[str, str], str], tuple[int, dict[str, str], bytes]]
"""How a dialect puts a problem into status, headers and bytes."""
WRITTEN = "reelgate.problems"
"""Where a request's scope holds the :data:`Render` of its dialect; none is our own."""

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ProblemError(Exception):
    """An answer that is not the one asked for; raised anywhere, rendered once."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.errors = errors or []

    def body(self, request_id: str) -> dict[str, Any]:
        """Write the problem in both dialects at once."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {
            "type": f"urn:reelgate:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.message,
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
            "errors": self.errors,
            "request_id": request_id,
        }


def invalid(param: str | None, message: str, *, status: int = 422, code: str = "invalid_value") -> ProblemError:
    """Describe a value the client must change."""
    return ProblemError(status, code, message, param=param)


def missing_video(id_: str) -> ProblemError:
    """Describe an id nobody knows; another tenant's reads the same, and so does one that cannot exist."""
    shown = id_[:64] if id_.isascii() and id_.isprintable() else "that"
    return ProblemError(404, "video_not_found", f"No video with id '{shown}'.", param="id")


def render(problem: ProblemError, headers: Mapping[str, str], request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Put a problem into bytes; plain JSON where the client accepts nothing else."""
    plain = headers.get("accept", "").split(";")[0].strip() == "application/json"
    out = {
        "content-type": "application/json" if plain else "application/problem+json",
        "cache-control": "no-store",
        **problem.headers,
    }
    return problem.status, out, msgspec.json.encode(problem.body(request_id))


def understand(error: Exception) -> ProblemError:  # noqa: C901 - a table
    """Turn anything raised while answering into a problem; what nobody expected is a 500 that is logged."""
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
        log.error("store.unavailable", reason=str(error))
        return ProblemError(
            503,
            "store_unavailable",
            "The gateway cannot write to its store; nothing was bought. Try again.",
            headers={"retry-after": "5"},
        )
    if isinstance(error, ShelfError):
        log.error("shelf.unavailable", reason=str(error))
        message = "The gateway cannot reach its media; nothing was bought. Try again."
        return ProblemError(503, "media_unavailable", message, headers={"retry-after": "5"})
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
        log.error("request.starved", reason=type(error).__name__)
        message = "The gateway has too little memory for this now. Try again."
        return ProblemError(503, "overloaded", message, headers={"retry-after": "5"})
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ProblemError(error.status_code, "invalid_request", error.detail or "The request cannot be read.")
    log.error("request.crashed", exc_info=error)
    return ProblemError(500, "internal_error", "Something went wrong here; the request id says where to look.")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an exception raised inside Litestar."""
    problem = understand(error)
    write = cast("Render", request.scope.get(WRITTEN, render))
    status, headers, body = write(problem, request.headers, str(request.scope.get("request_id", "")))
    media_type = headers.pop("content-type")
    return Response(body, status_code=status, headers=headers, media_type=media_type)


HANDLERS: ExceptionHandlersMap = {Exception: answer, HTTPException: answer}
