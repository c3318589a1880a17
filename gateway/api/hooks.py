"""``/hooks/{provider}/{token}``: where providers call. Whoever calls learns whether the address is one, and no more."""

import asyncio

from litestar import post
from litestar.types import ASGIApp

from gateway.api.desk import Incoming, desk, reply
from gateway.network.errand import FetchError
from gateway.problems import ProblemError
from providers.base.hooks import ForgedError

MAX_BODY = 2**20
"""Most bytes a provider may send; what is read of them is a name."""


@post("/hooks/{provider:str}/{token:str}", status_code=202, operation_id="hearHook", include_in_schema=False)
async def hear_hook(request: Incoming, provider: str, token: str) -> ASGIApp:
    """Hear that a task has moved."""
    services = desk(request)
    found = await services.telling.hooks.find(provider, token)
    if found is None:
        raise ProblemError(404, "unknown_url", "No such address.")
    body = await _body(request, services.settings.server.body_seconds)
    try:
        await services.telling.hooks.hear(*found, dict(request.headers), body)
    except ForgedError as error:
        message = "This call is not signed as its sender signs, or not just now."
        raise ProblemError(401, "invalid_signature", message) from error
    except FetchError as error:
        message = "The keys this call is signed with cannot be had just now; send it again."
        raise ProblemError(503, "keys_unreachable", message, headers={"retry-after": "60"}) from error
    services.wake()
    return reply({"status": "heard"}, status=202)


async def _body(request: Incoming, seconds: float) -> bytes:
    """
    Read a body within a size and a time.

    :raises ProblemError: 413 or 408.
    """
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY:
                    raise ProblemError(413, "body_too_large", f"A hook has at most {MAX_BODY} bytes.")
                chunks.append(chunk)
    except TimeoutError as error:
        raise ProblemError(408, "body_timeout", f"The body did not arrive within {seconds:g} s.") from error
    return b"".join(chunks)


HANDLERS = (hear_hook,)
