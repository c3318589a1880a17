"""Files, webhooks, errors and health as they are answered, and what webhooks carry."""

from gateway.api.schemas.words import (
    Schema,
    deleted,
    many,
    maybe,
    moment,
    paged,
    record,
    text,
    whole,
    word,
)
from gateway.events.events import TYPES

FILE = {
    "id": text(),
    "bytes": whole(),
    "created_at": moment(),
    "filename": text(),
    "purpose": text(),
    "status": {"type": "string", "const": "processed"},
    "expires_at": maybe(moment()),
    "media_type": text("By its content, whatever it is called."),
    "sha256": text(),
}

ENDPOINT = {
    "id": text(),
    "created_at": moment(),
    "updated_at": moment(),
    "name": text(),
    "url": text(),
    "event_types": many(word(*TYPES)),
    "signing_secret_hint": text(),
    "status": word("enabled", "disabled"),
    "failing_since": maybe(moment("When the first of nothing but failures was.")),
    "disabled_at": maybe(moment()),
    "disabled_why": maybe(text()),
}

TRY = {
    "number": whole(),
    "at": moment(),
    "took_ms": whole(),
    "status_code": maybe(whole("What the receiver answered.")),
    "error": maybe(text("Why it did not.")),
}

DELIVERY = {
    "id": text(),
    "event_id": text("What the receiver knows a repeated delivery by."),
    "event_type": text(),
    "video_id": text(),
    "webhook_endpoint_id": maybe(text("Null where a call named its own `callback_url`.")),
    "url": text(),
    "state": word(
        *("pending", "delivered", "failed", "held", "dropped"),
        about="Held while its endpoint is disabled, dropped where that is gone.",
    ),
    "created_at": moment(),
    "next_try_at": maybe(moment()),
    "ended_at": maybe(moment()),
    "tries": many(record(TRY)),
}

TESTED = {
    "webhook_endpoint_id": text(),
    "event_type": word(*TYPES),
    "status_code": whole("What the endpoint answered."),
    "success": {"type": "boolean", "const": True},
}

PROBLEM = {
    "type": text(),
    "title": text(),
    "status": whole(),
    "detail": text("What is wrong and what to change."),
    "instance": text("This one time it went wrong: `request_id` as an address."),
    "error": record({"message": text(), "type": text(), "param": maybe(text()), "code": text()}),
    "errors": many({"type": "object"}, "The same for each of several, where there are several."),
    "request_id": text(),
}

EVENT = {
    "id": text("The same as webhook-id, and at every try."),
    "created_at": moment(),
    "type": word(*TYPES),
    "data": record({"id": text("The video's.")}),
}

SECRET = {"signing_secret": text("Shown this once.")}

SCHEMAS: dict[str, Schema] = {
    "File": record(FILE, object_="file"),
    "FileList": paged("File"),
    "FileDeleted": deleted("file"),
    "WebhookEndpoint": record(ENDPOINT, object_="webhook_endpoint"),
    "WebhookEndpointWithSecret": record({**ENDPOINT, **SECRET}, object_="webhook_endpoint"),
    "WebhookEndpointList": paged("WebhookEndpoint"),
    "WebhookEndpointDeleted": deleted("webhook_endpoint.deleted"),
    "WebhookEndpointTested": record(TESTED, object_="webhook_endpoint.test"),
    "WebhookDelivery": record(DELIVERY, object_="webhook_delivery"),
    "WebhookDeliveryList": paged("WebhookDelivery"),
    "WebhookEventTypeList": record({"data": many(word(*TYPES))}, object_="list"),
    "CallbackSecret": record({**SECRET, "signing_secret_hint": text()}, object_="callback_secret"),
    "Health": record({"status": word("live", "ready")}),
    "Event": record(EVENT, object_="event"),
    "Problem": record(PROBLEM),
}
