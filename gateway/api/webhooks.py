"""``/v1/webhook_endpoints``: where a tenant is told, as OpenAI's SDK manages it, and a log of what was sent there."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.api.answers import whole_seconds
from gateway.api.calls import job_of
from gateway.api.create import explain
from gateway.api.desk import (
    Desk,
    Incoming,
    bad_cursor,
    body_of,
    caller,
    check_query,
    desk,
    limit_of,
    page,
    page_of,
    reply,
)
from gateway.events.courier import callback_owner
from gateway.events.events import ROTATION_MS, TYPES, Delivery, Endpoint, host_of, payload
from gateway.events.letters import Letter
from gateway.events.outbox import MOST_ENDPOINTS
from gateway.ids import is_id, new_id
from gateway.network.errand import FetchError
from gateway.problems import ProblemError, invalid

READ: dict[str, Any] = {"scope": "read"}
WRITE: dict[str, Any] = {"scope": "write"}

DELIVERY = re.compile(r"evt_[0-9a-f]{32}_(whep_[0-9a-f]{32}|callback)", re.ASCII)

T = TypeVar("T")
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Types = Annotated[list[str], Meta(min_length=1, max_length=64)]


class EndpointCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a call that makes an endpoint."""

    name: Name
    url: Url
    event_types: Types


class EndpointUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a call that changes an endpoint; what it leaves out stays."""

    name: Name | None = None
    url: Url | None = None
    event_types: Types | None = None


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a call that takes a new secret."""

    keep_old_secret_active_for_24_hours: bool = False


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a call that sends a sample."""

    event_type: str


@post("/webhook_endpoints", status_code=200, opt=WRITE, operation_id="createWebhookEndpoint")
async def create_endpoint(request: Incoming) -> ASGIApp:
    """Have every end of this tenant's videos told to an address; the answer holds the signing secret, once."""
    services, tenant = desk(request), caller(request).tenant
    given = await _read(request, EndpointCreate)
    services.telling.addresses.check(given.url, "url")
    have, more = await services.telling.outbox.endpoints(tenant, after=None, limit=MOST_ENDPOINTS)
    if more or len(have) >= MOST_ENDPOINTS:
        raise ProblemError(422, "too_many_endpoints", f"There are {MOST_ENDPOINTS} endpoints already; delete one.")
    now = services.clock()
    made = Endpoint(
        id=new_id("whep", now),
        tenant=tenant,
        name=given.name,
        url=given.url,
        host=host_of(given.url),
        event_types=_types(given.event_types),
        version=1,
        old_until=None,
        created_at=now,
        updated_at=now,
    )
    await services.telling.outbox.add_endpoint(made)
    return reply(_with_secret(services, made))


@get("/webhook_endpoints", opt=READ, operation_id="listWebhookEndpoints")
async def list_endpoints(request: Incoming) -> ASGIApp:
    """List the tenant's endpoints, newest first."""
    after, limit, newest_first = page_of(request, "whep")
    services = desk(request)
    found, more = await services.telling.outbox.endpoints(
        caller(request).tenant, after=after, limit=limit, newest_first=newest_first
    )
    return reply(page([_shown(services, each) for each in found], more=more))


@get("/webhook_endpoints/{endpoint_id:str}", opt=READ, operation_id="retrieveWebhookEndpoint")
async def retrieve_endpoint(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Say where an endpoint leads and how it does."""
    return reply(_shown(desk(request), await _endpoint(request, endpoint_id)))


@post("/webhook_endpoints/{endpoint_id:str}", status_code=200, opt=WRITE, operation_id="updateWebhookEndpoint")
async def update_endpoint(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Change an endpoint's name, address or event types; what waits for it goes to the new address."""
    services = desk(request)
    endpoint = changed = await _endpoint(request, endpoint_id)
    given = await _read(request, EndpointUpdate)
    if given.url is not None:
        services.telling.addresses.check(given.url, "url")
        changed = changed.moved(given.url)
    if given.event_types is not None:
        changed = replace(changed, event_types=_types(given.event_types))
    changed = replace(changed, name=given.name or changed.name)
    if changed != endpoint:  # ``updated_at`` is when it was last another.
        changed = replace(changed, updated_at=services.clock())
        await services.telling.outbox.save_endpoint(changed)
    return reply(_shown(services, changed))


@delete("/webhook_endpoints/{endpoint_id:str}", status_code=200, opt=WRITE, operation_id="deleteWebhookEndpoint")
async def delete_endpoint(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Send an endpoint nothing more, not even what waits for it."""
    endpoint = await _endpoint(request, endpoint_id)
    await desk(request).telling.outbox.delete_endpoint(endpoint)
    return reply({"id": endpoint.id, "object": "webhook_endpoint.deleted", "deleted": True})


@post(
    "/webhook_endpoints/{endpoint_id:str}/rotate_secret",
    status_code=200,
    opt=WRITE,
    operation_id="rotateWebhookSecret",
)
async def rotate_secret(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Take a new signing secret, shown once; the old one signs beside it for a day, where asked."""
    services = desk(request)
    endpoint = await _endpoint(request, endpoint_id)
    given = await _read(request, Rotation)
    now = services.clock()
    until = now + ROTATION_MS if given.keep_old_secret_active_for_24_hours else None
    rotated = replace(endpoint, version=endpoint.version + 1, old_until=until, updated_at=now)
    await services.telling.outbox.save_endpoint(rotated)
    return reply(_with_secret(services, rotated))


@post("/webhook_endpoints/{endpoint_id:str}/test", status_code=200, opt=WRITE, operation_id="testWebhookEndpoint")
async def test_endpoint(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Send a sample, signed like any other delivery, and say what the endpoint answers."""
    services = desk(request)
    endpoint = await _endpoint(request, endpoint_id)
    (kind,) = _types([(await _read(request, Sample)).event_type], "event_type").split()
    now = services.clock()
    event = new_id("evt", now)
    letter = Letter(msgspec.json.encode(payload(event, kind, now, new_id("video", now))))
    try:
        answer = await services.telling.courier.test(endpoint, event, letter)
    except FetchError as error:
        raise ProblemError(503, error.code, error.message, headers={"retry-after": "5"}) from error
    if answer.status is None:
        raise ProblemError(
            422, "endpoint_unreachable", f"The endpoint gave no answer: {answer.error}.", param="webhook_endpoint_id"
        )
    return reply(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": endpoint.id,
            "event_type": kind,
            "status_code": answer.status,
            "success": True,
        }
    )


@post("/webhook_endpoints/{endpoint_id:str}/enable", status_code=200, opt=WRITE, operation_id="enableWebhookEndpoint")
async def enable_endpoint(request: Incoming, endpoint_id: str) -> ASGIApp:
    """Tell a disabled endpoint again, beginning with what was held for it."""
    services = desk(request)
    enabled = await services.telling.outbox.enable(await _endpoint(request, endpoint_id))
    services.telling.courier.wake()
    return reply(_shown(services, enabled))


@get("/webhook_endpoints/{endpoint_id:str}/deliveries", opt=READ, operation_id="listWebhookDeliveries")
async def list_deliveries(request: Incoming, endpoint_id: str) -> ASGIApp:
    """List what was sent or waits to be sent to an endpoint, newest first, every try with it."""
    services = desk(request)
    endpoint = await _endpoint(request, endpoint_id)
    after, limit = _cursor(request)
    found, more = await services.telling.outbox.deliveries_to(endpoint, after=after, limit=limit)
    shown = [await _logged(services, each, endpoint.url) for each in found]
    return reply(page(shown, more=more))


@get("/videos/{video_id:str}/deliveries", opt=READ, operation_id="listVideoDeliveries")
async def list_video_deliveries(request: Incoming, video_id: str) -> ASGIApp:
    """List whom a video's end was told, its own ``callback_url`` included."""
    services = desk(request)
    job = await job_of(request, video_id)
    shown = []
    for each in await services.telling.outbox.deliveries_of(job.id, job.tenant):
        endpoint = await services.telling.outbox.receiver(each) if each.endpoint else None
        shown.append(await _logged(services, each, endpoint.url if endpoint else each.url))
    return reply(page(shown, more=False))


@post("/webhook_deliveries/{delivery_id:str}/replay", status_code=200, opt=WRITE, operation_id="replayDelivery")
async def replay_delivery(request: Incoming, delivery_id: str) -> ASGIApp:
    """Send a delivery again, whatever became of it: with the same ``webhook-id``, at the start of its schedule."""
    services, tenant = desk(request), caller(request).tenant
    known = await services.telling.outbox.delivery(delivery_id, tenant) if DELIVERY.fullmatch(delivery_id) else None
    if known is None:
        raise ProblemError(404, "delivery_not_found", "No delivery with that id.", param="id")
    endpoint = await services.telling.outbox.receiver(known) if known.endpoint else None
    if known.endpoint and (endpoint is None or endpoint.disabled_at is not None):
        message = "Its endpoint is gone." if endpoint is None else "Its endpoint is disabled; enable it first."
        raise ProblemError(409, "endpoint_not_enabled", message, headers={"x-should-retry": "false"})
    replayed = await services.telling.outbox.replay(known.id, tenant)
    if replayed is None:
        raise ProblemError(409, "delivery_under_way", "It is being sent just now.", headers={"x-should-retry": "false"})
    services.telling.courier.wake()
    return reply(await _logged(services, replayed, endpoint.url if endpoint else known.url))


@get("/webhook_event_types", opt=READ, operation_id="listWebhookEventTypes")
async def list_event_types(request: Incoming) -> ASGIApp:
    """List what an endpoint can be told."""
    del request  # By that name, or the document would take it for a parameter.
    return reply({"object": "list", "data": TYPES})


@post("/callback_secret", status_code=200, opt=WRITE, operation_id="rotateCallbackSecret")
async def rotate_callback_secret(request: Incoming) -> ASGIApp:
    """Take a new secret that signs what goes to a call's own ``callback_url``; shown once."""
    services, tenant = desk(request), caller(request).tenant
    given = await _read(request, Rotation)
    version = await services.telling.outbox.rotate_callback_secret(
        tenant, keep_old=given.keep_old_secret_active_for_24_hours
    )
    secret = services.telling.vault.signing_secret(callback_owner(tenant), version)
    return reply({"object": "callback_secret", "signing_secret": secret, "signing_secret_hint": _hint(secret)})


async def _read(request: Incoming, shape: type[T]) -> T:
    """
    Read a body of one shape.

    :raises ProblemError: 400 naming an unknown field, 422 naming a wrong one.
    """
    empty = request.headers.get("content-length", "") in {"", "0"} and "transfer-encoding" not in request.headers
    if empty:
        fields, strict = {}, True  # An SDK sends nothing where everything may be left out.
    else:
        async with body_of(request) as body:
            fields, strict = body.fields, body.strict
    try:
        return msgspec.convert(fields, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise explain(error) from error


async def _endpoint(request: Incoming, endpoint_id: str) -> Endpoint:
    """
    Find the caller's endpoint.

    :raises ProblemError: 404, the same for an unknown id and for another tenant's.
    """
    known = is_id("whep", endpoint_id)
    found = await desk(request).telling.outbox.endpoint(endpoint_id, caller(request).tenant) if known else None
    if found is None:
        raise ProblemError(404, "endpoint_not_found", "No webhook endpoint with that id.", param="id")
    return found


def _types(given: list[str], param: str = "event_types") -> str:
    """
    Read event types, each once and in our order.

    :raises ProblemError: 422 naming one there is not.
    """
    strangers = [each for each in given if each not in TYPES]
    if strangers:
        raise invalid(param, f"{strangers[0][:64]!r} does not happen here; there are {', '.join(TYPES)}.")
    return " ".join(each for each in TYPES if each in given)


def _cursor(request: Incoming) -> tuple[str | None, int]:
    """
    Read a log's query.

    :raises ProblemError: 400 for a cursor that is none, 422 for the rest.
    """
    after = request.query_params.get("after")
    if after is None:
        return None, page_of(request, "evt")[1]
    if not DELIVERY.fullmatch(after):
        raise bad_cursor()
    check_query(request, ("after", "limit", "order"))
    return after, limit_of(request)


def _shown(services: Desk, endpoint: Endpoint) -> dict[str, Any]:
    """Write an endpoint as OpenAI's WebhookEndpoint, and how it does."""
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": endpoint.created_at // 1000,
        "updated_at": endpoint.updated_at // 1000,
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types.split(),
        "signing_secret_hint": _hint(services.telling.vault.signing_secret(endpoint.id, endpoint.version)),
        "status": "enabled" if endpoint.disabled_at is None else "disabled",
        "failing_since": whole_seconds(endpoint.failing_since),
        "disabled_at": whole_seconds(endpoint.disabled_at),
        "disabled_why": endpoint.disabled_why,
    }


def _with_secret(services: Desk, endpoint: Endpoint) -> dict[str, Any]:
    """Write an endpoint with its secret: only when that is new."""
    secret = services.telling.vault.signing_secret(endpoint.id, endpoint.version)
    return {**_shown(services, endpoint), "signing_secret": secret}


def _hint(secret: str) -> str:
    """Show enough of a secret to tell it from another."""
    return f"whsec_...{secret[-5:]}"


async def _logged(services: Desk, each: Delivery, url: str) -> dict[str, Any]:
    """Write a delivery and its tries."""
    tries = await services.telling.outbox.tries(each.id)
    return {
        "id": each.id,
        "object": "webhook_delivery",
        "event_id": each.event,
        "event_type": each.type,
        "video_id": each.job,
        "webhook_endpoint_id": each.endpoint,
        "url": url,
        "state": each.state,
        "created_at": each.created_at // 1000,
        "next_try_at": whole_seconds(each.due_at) if each.state == "pending" else None,
        "ended_at": whole_seconds(each.ended_at),
        "tries": [
            {
                "number": made.number,
                "at": made.at // 1000,
                "took_ms": made.took_ms,
                "status_code": made.status,
                "error": made.error,
            }
            for made in tries
        ],
    }


HANDLERS = (
    create_endpoint, list_endpoints, retrieve_endpoint, update_endpoint, delete_endpoint, rotate_secret, test_endpoint,
    enable_endpoint, list_deliveries, list_video_deliveries, replay_delivery, list_event_types, rotate_callback_secret,
)  # fmt: skip
