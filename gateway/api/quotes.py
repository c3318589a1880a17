"""``/v1/quotes``: what every offer would charge, or why it cannot; nothing is kept and nothing is spent."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import post
from litestar.types import ASGIApp

from gateway.api.create import parse
from gateway.api.desk import Incoming, body_of, caller, desk, reply
from gateway.api.problems import ProblemError
from gateway.api.wishes import media, wish
from gateway.routing import Line, UnknownModelError


@post("/quotes", status_code=200, opt={"scope": "read"}, operation_id="quote")
async def create_quote(request: Incoming) -> ASGIApp:
    """Ask every offer of a model what the same call to ``/v1/videos`` would cost, in the order they would be tried."""
    services = desk(request)
    body = await body_of(request)
    try:
        call = parse(body)
        gathered = await services.intake.gather(media(call), caller(request).tenant)
        gathered.drop()
        wanted = wish(call, gathered.inputs, mode=None, default_model=services.settings.routing.default_model)
    finally:
        body.drop()
    try:
        decision = services.shop.decide(wanted, on=datetime.fromtimestamp(services.clock() / 1000, UTC).date())
    except UnknownModelError as error:
        raise ProblemError(404, "model_not_found", f"No account here sells {error.model!r}.", param="model") from error
    return reply(
        {
            "object": "list",
            "model": wanted.request.model,
            "data": [_quote(line) for line in (*decision.ranked, *decision.others)],
            "warnings": msgspec.to_builtins(decision.notices),
        }
    )


def _quote(line: Line) -> dict[str, Any]:
    """Write one offer's answer."""
    choice = line.choice
    return {
        "object": "quote",
        "offer": f"{line.provider}:{line.offer.model}",
        "provider": line.provider,
        "model": line.offer.model,
        "sandbox": line.sandbox,
        "can": choice is not None,
        "usd": choice.usd_micros / 1_000_000 if choice else None,
        "credits": choice.credits if choice else None,
        "price_source": choice.source if choice else None,
        "expected_seconds": line.offer.typical_seconds,
        "spec": msgspec.to_builtins(choice.spec) if choice else None,
        "reasons": [{"field": each.field, "message": each.message} for each in line.refusals],
    }


HANDLERS = (create_quote,)
