"""What is sold as it is answered: :mod:`gateway.api.offers` and :mod:`gateway.api.models` write it."""

from gateway.api.schemas.words import (
    Schema,
    by_name,
    flag,
    listed,
    many,
    maybe,
    moment,
    number,
    record,
    ref,
    structs,
    text,
    whole,
    word,
)
from providers.base.listing import Fee, Listing, Plan
from providers.base.order import Mode

LISTED = structs(Fee, Plan, Listing)
"""What is answered as its listing says it."""

OFFER = {
    "id": text("`provider:model`, by which it is asked for as a model."),
    "provider": text(),
    "account": text(),
    "model": text(),
    "sandbox": flag("Whether it makes test clips."),
    "modes": many(word(*Mode)),
    "own_clips_only": many(word(*Mode), "Modes whose source must be a clip the same account made here."),
    "seconds": many(whole(), "The first is what a call gets that does not choose; 0 is as long as the source."),
    "resolutions": many(text()),
    "aspect_ratios": many(text()),
    "audio": many({"type": "boolean"}),
    "n": many(whole()),
    "fps": many(whole()),
    "formats": many(text()),
    "features": many(text(), "Fields and inputs beside these that it takes."),
    "media_types": many(
        text(), "Types of pictures and clips it takes, empty where its page names none; other pictures are converted."
    ),
    "references": whole("Most references it takes."),
    "rules": many(text(), "What is not sold together, in words."),
    "ended": maybe(text("First day it is sold no more.", format="date")),
    "unconfirmed": maybe(text("What nobody is known to have seen work; it is then taken only by name.")),
    "expected_seconds": number("How long it usually takes."),
    "default_usd": maybe(number("What it charges for a clip about which nothing is chosen.")),
    "price_source": maybe(text("The page that price is from.")),
    "prices": many(ref("Price")),
}

PRICE = {
    "usd": maybe(text("Exact decimal dollars.")),
    "credits": maybe(text("Exact decimal credits, where it is sold for credits.")),
    "per": word("video", "second", "token"),
    "tokens_per_second": maybe(whole("Where it is `per` token.")),
    "when": by_name(many({"type": ["string", "integer", "boolean"]}), "Choices it is for, by name; for all without."),
    "since": text(format="date"),
    "source": text("The page it is from."),
    "checked": text("When that page was last read.", format="date"),
    "note": maybe(text()),
}

ACCOUNT = {
    "id": text(),
    "plan": maybe(text()),
    "state": word("ready", "resting"),
    "rests": many(record({"model": text("`*` for all."), "until": moment(), "why": text()})),
    "running": whole("Orders under way."),
    "max_running": whole(),
    "credits_left": maybe(whole("As its provider last said, not long ago.")),
}

SELLER = {
    "id": text(),
    "name": text(),
    "docs": text("Where it documents its API."),
    "sandbox": flag("Whether it makes test clips."),
    "lost_orders": {
        **LISTED["Listing"]["properties"]["submit_class"],
        "description": "How an order whose answer was lost is cleared up: A by repeating it, B by looking our own id "
        "up, C by its callback, D by listing recent tasks, E not at all.",
    },
    "offers": many(text(), "Its models."),
    "plans": many(ref("Plan")),
    "fees": many(ref("Fee"), "What it costs beside its clips."),
    "accounts": many(record(ACCOUNT)),
}

MODEL = {
    "id": text(),
    "created": whole(),
    "owned_by": text(),
    "alias_of": maybe(many(text(), "The models it stands for.")),
    "offers": many(ref("Offer")),
}

SCHEMAS: dict[str, Schema] = {
    **{name: {**LISTED[name], "required": [*LISTED[name]["properties"]]} for name in ("Fee", "Plan")},
    "Price": record(PRICE),
    "Offer": record(OFFER, object_="offer"),
    "OfferList": listed("Offer"),
    "Seller": record(SELLER, object_="provider"),
    "SellerList": listed("Seller"),
    "Model": record(MODEL, object_="model"),
    "ModelList": listed("Model"),
}
