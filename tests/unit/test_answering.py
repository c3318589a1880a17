"""Law of what goes wrong: the request id a client is given finds the line of the log that says why."""

from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, get
from prometheus_client import Gauge
from structlog.testing import capture_logs

from gateway.clips.shelf import ShelfError
from gateway.door.admission import Admission
from gateway.door.answering import HANDLERS
from gateway.door.edge import Edge
from gateway.door.hearing import make_hearing
from gateway.settings import ServerSettings
from gateway.store.database import StoreUnavailableError
from gateway.telemetry import Metrics


@pytest.mark.parametrize(
    ("error", "event", "status"),
    [
        (KeyError("nobody thought of it"), "request.crashed", 500),
        (StoreUnavailableError("disk full"), "store.unavailable", 503),
        (ShelfError("no route"), "shelf.unavailable", 503),
    ],
)
async def test_a_request_id_finds_why_it_went_wrong(error: Exception, event: str, status: int) -> None:
    """With its method and its route, and nothing of what the caller wrote into its address."""

    @get("/v1/videos/{video_id:str}")
    async def fail(request: Request[Any, Any, Any]) -> None:
        raise error

    metrics = Metrics()
    app = Litestar([fail], exception_handlers=HANDLERS, logging_config=None, openapi_config=None)
    edge = Edge(app, metrics, Admission(9, Gauge("late", "Late.", registry=None)), make_hearing(ServerSettings()))
    transport = httpx.ASGITransport(edge)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        with capture_logs() as said:
            headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
            answer = await http.get("/v1/videos/a-secret?key=another", headers=headers)
    (line,) = said
    assert "ab" * 16 == line["trace"]
    assert (event, status) == (line["event"], answer.status_code)
    asked = {name: line[name] for name in ("request_id", "method", "path")}
    assert {"request_id": answer.headers["x-request-id"], "method": "GET", "path": "/v1/videos/{video_id}"} == asked
    assert answer.json()["request_id"] == line["request_id"]
    assert not {each for each in map(str, line.values()) if "a-secret" in each or "another" in each}
