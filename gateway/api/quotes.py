"""``/v1/quotes``: what every offer would charge, or why it cannot; nothing is kept and nothing is spent."""

from typing import Any

import msgspec
from litestar import post
from litestar.types import ASGIApp
from msgspec.structs import asdict

from gateway.api.answers import usd
from gateway.api.calls import is_dry, of_parent, with_heirs
from gateway.api.create import VideoCreate, parse
from gateway.api.desk import Desk, Incoming, body_of, caller, desk, repeat_of, reply
from gateway.api.offers import describe_price
from gateway.api.wishes import media, wish
from gateway.door.accept import unsold
from gateway.offers.asking import Line, UnknownModelError, notices_of
from gateway.offers.routing import expected_seconds
from gateway.offers.sizes import in_pixels
from providers.base.catalog import price_of
from providers.base.order import Mode, Request


@post("/quotes", status_code=200, opt={"scope": "read"}, operation_id="quote")
async def create_quote(request: Incoming) -> ASGIApp:
    """
    Ask every offer of a model what the same call to ``/v1/videos`` would cost, the cheapest first.

    ``spec`` is the clip, ``place`` says in which order they would be tried. Who does not sell the clip that the call
    comes to, once what it leaves open is closed, has no place, and is quoted with the one it would make; those that
    cannot say why.
    """
    async with body_of(request) as body:
        is_dry(request)  # Either way nothing is bought.
        return reply(await quotes_of(request, parse(body)))


async def quotes_of(request: Incoming, call: VideoCreate, *, mode: Mode | None = None) -> dict[str, Any]:
    """
    Say what each offer would charge for a call, or why it cannot make the clip.

    :raises ProblemError: what is wrong with the call whoever makes it.
    """
    services, who = desk(request), caller(request)
    repeat_of(request)  # As the order would refuse it.
    named = call.model is not None
    call, parent = await of_parent(request, call)
    gathered = await services.intake.gather(media(call), who.tenant)
    gathered.drop()
    model = services.settings.routing.default_model
    wanted = wish(call, gathered.inputs, mode=mode, default_model=model, policy=who.policy)
    wanted = wanted if named or parent is None else with_heirs(services, wanted)
    services.acceptor.check_callback(wanted)
    try:
        decision = in_pixels(services.shop.decide(wanted), call.size)
    except UnknownModelError as error:
        raise unsold(error, named=bool(call.model)) from error
    tried = [_quote(services, decision.request, line, place) for place, line in enumerate(decision.ranked, 1)]
    return {
        "object": "list",
        "model": wanted.request.model,
        "policy": decision.policy,
        "why": decision.why if tried else None,
        "data": [
            *sorted(tried, key=lambda each: (each["usd"], each["place"])),
            *(_quote(services, decision.request, line, None) for line in decision.apart),
            *(_quote(services, decision.request, line, None) for line in decision.others),
        ],
        "warnings": msgspec.to_builtins(decision.notices),
    }


def _quote(services: Desk, request: Request, line: Line, place: int | None) -> dict[str, Any]:
    """Write one offer's answer."""
    choice, account = line.choice, services.shop.accounts[line.account]
    listing, today = account.listing, services.shop.today
    price = choice and price_of(listing, line.offer, choice.spec, on=today, plan=account.plan)
    return {
        "object": "quote",
        "offer": line.name,
        "provider": line.provider,
        "account": line.account,
        "model": line.offer.model,
        "sandbox": line.sandbox,
        "can": choice is not None,
        "place": place,
        "usd": usd(choice.usd_micros) if choice else None,
        "credits": choice.credits if choice else None,
        "price": describe_price(price) if price else None,
        "price_source": choice.source if choice else None,
        "fees": msgspec.to_builtins(listing.fees),
        "expected_seconds": expected_seconds(line, services.shop.speeds),
        "spec": asdict(choice.spec) if choice else None,
        "warnings": msgspec.to_builtins(notices_of(line.offer, line.provider, request)) if choice else [],
        "reasons": [{"field": each.field, "message": each.message} for each in line.refusals],
    }


HANDLERS = (create_quote,)
