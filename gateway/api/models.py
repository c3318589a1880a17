"""``/v1/models``: what can be asked for here, by whom it is made, and at what price."""

from typing import Any

from litestar import get
from litestar.types import ASGIApp

from gateway.api.desk import Desk, Incoming, desk, reply
from gateway.api.offers import describe
from gateway.offers.asking import stands_for
from gateway.problems import ProblemError


@get("/models", opt={"scope": "read"}, operation_id="listModels")
async def list_models(request: Incoming) -> ASGIApp:
    """List every model and alias that can be asked for, with what each offer takes and charges."""
    return reply({"object": "list", "data": [_model(desk(request), each) for each in _sold(desk(request))]})


@get(
    "/models/{model:path}",
    opt={"scope": "read"},
    operation_id="retrieveModel",
)
async def retrieve_model(request: Incoming, model: str) -> ASGIApp:
    """Describe one model or alias."""
    name = model.lstrip("/")
    if name not in _sold(desk(request)):
        raise ProblemError(404, "model_not_found", f"No account here sells {name[:64]!r}.", param="model")
    return reply(_model(desk(request), name))


def _sold(services: Desk) -> list[str]:
    """Name every model, and every alias of one that is sold."""
    sold = {offer.model for seller in services.shop.sellers for offer in seller.listing.offers}
    aliases = {alias for alias in services.shop.aliases if set(stands_for(alias, services.shop.aliases)) & sold}
    return sorted(sold | aliases)


def _model(services: Desk, name: str) -> dict[str, Any]:
    """Describe a model in OpenAI's four fields and our own."""
    meant = stands_for(name, services.shop.aliases)
    offers = [
        describe(services, account, offer)
        for model in meant
        for account in services.shop.accounts.values()
        for offer in account.listing.offers
        if offer.model == model
    ]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": meant[0].partition("/")[0],
        "alias_of": meant if meant != [name] else None,
        "offers": offers,
    }


HANDLERS = (list_models, retrieve_model)
