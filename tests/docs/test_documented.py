"""The OpenAPI document says what is answered, in words that generators of clients can read."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from gateway.api.forms import MEDIA
from gateway.api.schemas.examples import CALLS
from gateway.events.events import TYPES
from tests.abuse.table import read
from tests.documented import Document
from tests.market import Market
from tests.receiver import Receiver, receiver
from tests.server import Server, eventually

CLIP: dict[str, Any] = {"model": "sandbox/demo", "prompt": "a red fox", "seconds": 1, "resolution": "360p"}
ONE = {"prompt": "a kite", "model": "google/veo-3.1-fast", "seconds": 8}


@pytest.fixture(scope="module")
def heard() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, heard: Receiver) -> Iterator[Server]:
    """A gateway in haste that may tell the receiver."""
    made = Server(
        tmp_path_factory.mktemp("documented"), REELGATE__NETWORK__ALLOW=f'["{heard.allowed}"]',
        REELGATE__WEBHOOKS__HTTP="true",
    )  # fmt: skip
    made.module = "tests.hasty"
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def document(told: Server) -> Document:
    return Document(told.get("/openapi.json").json())


@pytest.fixture(scope="module")
def http(told: Server, document: Document) -> Iterator[httpx.Client]:
    """A client every answer to which is held to the document."""

    def hold(answer: httpx.Response) -> None:
        answer.read()
        document.check(answer)

    hooks = {"response": [hold]}
    with httpx.Client(base_url=told.url, trust_env=False, timeout=30, event_hooks=hooks) as made:
        yield made


def ended(http: httpx.Client, id_: str) -> dict[str, Any]:
    """Wait for a video's end."""
    video: dict[str, Any] = http.get(f"/v1/videos/{id_}", headers={"prefer": "wait=30"}).json()
    return video


def order(http: httpx.Client, path: str = "/v1/videos", **fields: Any) -> str:
    """Order a clip."""
    answer = http.post(path, json={**CLIP, **fields}, headers={"idempotency-key": json.dumps([path, fields])})
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["id"])


def test_every_answer_of_every_operation_is_as_documented(
    http: httpx.Client, told: Server, heard: Receiver, document: Document
) -> None:
    """Each validates, and says nothing, however deep, that its schema does not name."""
    paths = [*videos(http, told, heard), *webhooks(http, heard)]
    file = http.post(
        "/v1/files",
        files={"file": ("p.png", read().contents["png"].encode("latin-1"))},
        data={"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    ).json()["id"]
    paths += [f"/v1/files/{file}", f"/v1/files/{file}/content", "/v1/files", "/v1/files?purpose=vision"]
    paths += ["/v1/models", "/v1/models/sandbox/demo", "/v1/offers", "/v1/offers?provider=sandbox", "/v1/providers"]
    paths += ["/v1/spend", "/v1/spend?by=provider,model,key,account,day", "/v1/comparison", "/v1/comparison?by=key"]
    paths += ["/metrics", "/health/live", "/health/ready", "/v1/webhook_event_types"]
    for path in paths:
        assert http.get(path).is_success, path
    for path in ("/v1/videos/video_1", "/v1/videos?limit=0", "/v1/spend?by=luck", "/v1/models/nobody/sells-it"):
        assert http.get(path).is_client_error
    http.delete(f"/v1/files/{file}")
    assert document.operations.keys() == document.answered


def videos(http: httpx.Client, told: Server, heard: Receiver) -> Iterator[str]:
    """Order clips of every kind, and say where they can be seen."""
    fields = {"n": 2, "metadata": {"a": "b"}, "callback_url": f"{heard.url}/own", "provider": {"policy": "cheapest"}}
    done, failed = order(http, **fields), order(http, prompt="[fail] a red fox")
    made = ended(http, done)
    assert ["completed", 2] == [made["status"], sum(each["kind"] == "video" for each in made["outputs"])]
    assert "failed" == ended(http, failed)["status"]
    assert done == order(http, **fields)
    tag = http.get(f"/v1/videos/{done}").headers["etag"]
    assert 304 == http.get(f"/v1/videos/{done}", headers={"if-none-match": tag}).status_code
    slow = order(http, prompt="[slow 30] a red fox")
    remixed = http.post(f"/v1/videos/{done}/remix", json={"prompt": "at night"}).json()["id"]
    order(http, "/v1/videos/edits", video={"id": done})
    order(http, "/v1/videos/extensions", video={"id": done})
    for path in ("/v1/videos?dry_run=true", "/v1/quotes"):
        assert http.post(path, json={**CLIP, "provider": {"max_cost": 1}}).json()["data"]
        assert not http.post(path, json={**CLIP, "seconds": 599}).json()["data"][0]["can"]
    http.post(f"/v1/videos/{slow}/cancel")
    ended(http, slow)
    http.delete(f"/v1/videos/{slow}")
    ended(http, remixed)
    content = f"/v1/videos/{done}/content"
    assert 206 == http.get(content, headers={"range": "bytes=0-9"}).status_code
    assert 416 == http.get(content, headers={"range": "bytes=99999999-"}).status_code
    events = f"/v1/videos/{done}/events"
    assert 204 == http.get(events, headers={"last-event-id": tag.split("-")[1]}).status_code
    eventually(lambda: heard.at("/own"))
    yield from (f"/v1/videos/{done}{tail}" for tail in ("", "/attempts", "/deliveries", "/events", "/content"))
    yield from (f"{content}?variant={kind}" for kind in ("thumbnail", "spritesheet", "last_frame"))
    yield from ("/v1/videos", "/v1/videos?limit=1&order=asc", f"/v1/videos/{failed}/attempts")


def webhooks(http: httpx.Client, heard: Receiver) -> Iterator[str]:
    """Make an endpoint, have it told, change it, and remove another."""
    asked = {"name": "app", "url": f"{heard.url}/app", "event_types": [*TYPES]}
    at, gone = (f"/v1/webhook_endpoints/{http.post('/v1/webhook_endpoints', json=asked).json()['id']}" for _ in "ab")
    ended(http, order(http, prompt="told"))
    eventually(lambda: heard.at("/app"))
    for path, body in (("", {"name": "web"}), ("/rotate_secret", {}), ("/test", {"event_type": TYPES[0]})):
        assert http.post(f"{at}{path}", json=body).is_success
    assert http.post(f"{at}/enable").is_success
    delivery = http.get(f"{at}/deliveries").json()["data"][0]
    eventually(lambda: "delivered" == http.get(f"{at}/deliveries").json()["data"][0]["state"])
    assert http.post(f"/v1/webhook_deliveries/{delivery['id']}/replay").is_success
    assert http.post("/v1/callback_secret", json={"keep_old_secret_active_for_24_hours": True}).is_success
    http.delete(gone)
    yield from (at, f"{at}/deliveries", "/v1/webhook_endpoints")


def test_what_every_seller_offers_is_as_documented(market: Market, document: Document) -> None:
    """Plans, fees, credits, tokens, rules: listings say much that the sandbox's does not."""
    for path in ("/offers", "/providers", "/models"):
        document.check(market.http.get(path))
    answer = market.http.post("/quotes", json=ONE)
    assert {True, False} == {each["credits"] is None for each in answer.json()["data"]}
    document.check(answer)


def walk(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Find every object of a document, and where it is."""
    if isinstance(value, dict):
        yield place, value
    for name, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from walk(each, f"{place}/{name}")


def test_a_generated_client_can_order_and_read_what_it_ordered(document: Document) -> None:
    """
    An order's answer says by a field which kind it is, no field of a call is promised, and every list says of what.

    A client of openapi-generator throws on an ``anyOf`` it has ordered by, and its user orders again; one of
    openapi-typescript takes a ``default`` for a field that must be there.
    """
    for name in ("createVideo", "editVideo", "extendVideo", "remixVideo"):
        schema = document.operations[name]["responses"]["200"]["content"]["application/json"]["schema"]
        kinds = schema["discriminator"]["mapping"]
        assert "object" == schema["discriminator"]["propertyName"]
        assert [{"$ref": each} for each in kinds.values()] == schema["oneOf"]
        for kind, of in kinds.items():
            named = document.schemas[of.rpartition("/")[2]]
            assert kind == named["properties"]["object"]["const"]
            assert "object" in named["required"]
    for place, each in walk(document.schemas):
        assert "array" not in each.get("type", ()) or "items" in each, place
        assert "default" not in each, place


def examples(whole: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], Any]]:
    """Name every example of a document, where it stands, by what schema it is, and itself."""
    for operations in whole["paths"].values():
        for operation in operations.values():
            called = {"call": operation.get("requestBody", {})}
            for where, part in {**called, **operation["responses"]}.items():
                for content in part.get("content", {}).values():
                    for each in content.get("examples", {}).values():
                        yield operation["operationId"], where, content["schema"], each["value"]


def test_examples_are_as_documented(document: Document, http: httpx.Client) -> None:
    """Each is as its schema says, says nothing else, and is like what is answered; the main operations have some."""
    found = [*examples(document.whole)]
    for name, where, schema, value in found:
        whole = {**schema, "components": document.whole["components"]}
        faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(value)]
        assert (faults, []) == ([], [*document.unsaid(whole, value)]), (name, where)

    orders = ("createVideo", "editVideo", "extendVideo", "remixVideo")
    assert {(name, where) for name in orders for where in ("call", "200", "4XX", "5XX")} <= {each[:2] for each in found}
    assert {("retrieveVideo", "200"), ("retrieveVideo", "4XX"), ("listVideos", "200"), ("quote", "call")} <= {
        each[:2] for each in found
    }
    video = next(value for name, where, _, value in found if (name, where) == ("retrieveVideo", "200"))
    assert video.keys() == http.post("/v1/videos", json=CLIP).json().keys()


def test_what_an_example_orders_can_be_quoted(http: httpx.Client) -> None:
    """As it stands, where it names no file."""
    for value in CALLS["quote"].values():
        answer = http.post("/v1/quotes", json={**value, "provider": {}})
        assert (404 if "frame_images" in value else 200) == answer.status_code, answer.text
        assert answer.is_error or any(each["can"] for each in answer.json()["data"])


def test_a_form_sends_files(document: Document) -> None:
    """Where media are files in a form they are bytes, elsewhere they are named; what takes no form has none."""
    create = document.operations["createVideo"]["requestBody"]["content"]
    form, body = (
        document.schemas[create[kind]["schema"]["allOf"][0]["$ref"].rpartition("/")[2]]["properties"]
        for kind in ("multipart/form-data", "application/json")
    )
    assert form.keys() == body.keys()
    assert "binary" == form["video"]["format"] == form["frame_images"]["items"]["format"]
    assert "binary" not in json.dumps(body)
    for name in MEDIA:  # A generated client passes an ``anyOf`` on as it is, in its own language's names.
        assert "anyOf" not in body[name] | body[name].get("items", {}), name
    assert ["application/json"] == [*document.operations["quote"]["requestBody"]["content"]]


def test_headers_and_queries_are_documented(document: Document) -> None:
    """What a call may say outside its body, and what it may look for in an answer's head."""
    asked = {
        name: {each["name"] for each in operation.get("parameters", [])}
        for name, operation in document.operations.items()
    }
    assert {"dry_run", "Idempotency-Key", "Prefer"} <= asked["createVideo"]
    assert {"Prefer", "If-None-Match"} <= asked["retrieveVideo"]
    assert {"Range", "If-None-Match"} <= asked["downloadVideo"]
    assert {"Last-Event-ID"} <= asked["streamVideo"]
    assert {"model", "provider"} == asked["listOffers"]
    assert {"307"} <= document.operations["downloadVideo"]["responses"].keys()
    sent = document.whole["components"]["headers"].keys()
    for place, each in walk(document.whole["paths"]):
        if place.endswith("/headers"):
            assert "X-Request-Id" in each
            assert each.keys() <= sent
    summaries = {name: operation["summary"] for name, operation in document.operations.items()}
    assert "Create webhook endpoint" == summaries["createWebhookEndpoint"]
    assert [*summaries] == [name for name, said in summaries.items() if said.replace(" ", "").lower() == name.lower()]
    told = {kind: each["post"]["summary"] for kind, each in document.whole["webhooks"].items()}
    assert len(TYPES) == len({*told.values()})
    assert "ended:" not in told["video.billing_updated"]
