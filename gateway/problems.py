"""
Errors as a client sees them: an RFC 9457 body with OpenAI's ``error`` member, on every layer.

The SDKs read only ``error``; everything else reads the rest. The message says what to change and
never repeats a secret.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

Render = Callable[["ProblemError", Mapping[str, str], str], tuple[int, dict[str, str], bytes]]
"""How a dialect puts a problem into status, headers and bytes."""
WRITTEN = "reelgate.problems"
"""Where a request's scope holds the :data:`Render` of its dialect; none is our own."""

ORDERED = "reelgate.ordered"
"""Where it holds the id of the video that was ordered by it: whatever goes wrong from then on, that stands."""

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
        if wait := self.headers.get("retry-after"):
            self.headers["retry-after-ms"] = f"{wait}000"  # As OpenAI's SDKs ask first.
        self.errors = errors or []

    def body(self, request_id: str) -> dict[str, Any]:
        """Write the problem in both dialects at once."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {
            "type": f"urn:reelgate:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.message,
            "instance": f"urn:reelgate:request:{request_id}",
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
