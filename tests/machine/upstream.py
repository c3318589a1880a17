"""Providers of each submit class, with ledgers of their own, over a network that loses, breaks and delays."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from providers.base.errors import Malformed, ProviderError, Unsupported
from providers.base.listing import Listing
from providers.base.order import Order
from providers.base.task import Update
from providers.base.wire import Call, Reply, Wire
from providers.sandbox import Sandbox, decode
from tests.make import listing, price

CLIP = b"\0\0\0\x18ftypmp42 a clip of "
SECRET = "canary-5f1d-never-written-down"
TAKING = (
    "taken", "taken", "taken_reset", "taken_5xx", "taken_garbage", "taken_late_answer", "late_taken",
)  # fmt: skip
NOT_TAKING = (
    "not_sent", "not_sent", "refused", "throttled", "unavailable", "lost_reset", "lost_5xx", "hung", "shut",
)  # fmt: skip
LOOKS = ("reset", "5xx", "garbage", "strange", "hung", "throttled", "not_yet", "401")
CLIPS = ("404", "html", "short", "reset", "hung", "elsewhere", "407")
GARBAGE = (b"<html>oops", b"{}", b'{"id": 7}', b'{"id": "x"', b"[]", b"null", b"\xff\xfe", b'{"state": "done"}', b"")
WAITS = ("1", "5", "120", "-1", "1e9", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "")
LATEST = 100.0
"""Seconds after which what is under way to a provider never arrives any more."""


def clip_of(attempt: str) -> bytes:
    """Make the clip of an attempt, unlike any other's."""
    return CLIP + attempt.encode() * 20


class Vendor(Sandbox):
    """Speak the sandbox's dialect to a seller of a given class."""

    def auth(self) -> httpx.Auth:
        return _Signed()

    async def find(self, order: Order, wire: Wire) -> Update | None:
        match self.listing.submit_class:
            case "B":
                return await super().find(order, wire)
            case "D":
                call = Call(method="GET", url=f"{self.base_url}/tasks", repeatable=True)
                reply = await wire.send(call)
                if reply.status != 200:
                    raise self.explain(reply)
                try:
                    mine = [each for each in reply.json() if each["marker"] == order.attempt]
                except (TypeError, KeyError) as error:
                    raise Malformed("no list") from error
                return decode(mine[0]) if mine else None
        raise Unsupported("nothing here can be looked up")

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        error = super().explain(reply, buying=buying)
        error.scope = error._scope
        return error


class _Signed(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["authorization"] = f"Bearer {SECRET}"
        yield request


class Made(Struct):
    """Hold one task as its provider knows it: a purchase."""

    id: str
    marker: str
    """The attempt it was ordered for."""
    at: float
    takes: float
    end: str
    vanishes: bool
    dead: str
    """How its clip's address misbehaves for ever."""
    cancelled: bool = False

    def is_vain(self, now: float) -> bool:
        """Whether it has come out badly, which costs nothing."""
        return self.end == "failed" and not self.cancelled and now >= self.at + self.takes


class Upstream:
    """Take orders and keep the only true ledger."""

    def __init__(self, sold: Listing, chance: random.Random, now: Callable[[], float], trouble: float) -> None:
        self.listing = sold
        self.kind = sold.submit_class
        self._chance = chance
        self._now = now
        self.trouble = trouble
        """How often a call goes wrong."""
        self.ledger: dict[str, Made] = {}
        self._coming: list[tuple[float, dict[str, Any]]] = []
        self.on_order: Callable[[Upstream, str], None] = lambda *_: None
        self.on_bought: Callable[[Upstream, Made], None] = lambda *_: None
        self.did: dict[str, int] = {}

    @property
    def host(self) -> str:
        return f"{self.listing.slug}.test"

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one call, or fail as a network does."""
        silence = float(request.extensions["timeout"]["read"])
        await asyncio.sleep(self._chance.uniform(0.001, 0.3))
        self._arrive()
        bad = self._chance.random() < self.trouble
        path = request.url.path
        if request.method == "POST":
            return await self._order(request, self._chance.choice(TAKING + NOT_TAKING) if bad else "taken", silence)
        if path.startswith("/clips/"):
            return await self._clip(path.split("/")[2], self._chance.choice(CLIPS) if bad else "", silence)
        return await self._look(request, self._chance.choice(LOOKS) if bad else "", silence)

    async def _order(self, request: httpx.Request, fault: str, silence: float) -> httpx.Response:  # noqa: C901 - a table
        self.did[fault] = self.did.get(fault, 0) + 1
        order = msgspec.json.decode(request.content)
        if fault == "not_sent":
            raise self._chance.choice((httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))("not sent")
        self.on_order(self, order["id"])
        if fault == "refused" and self.kind == "A" and any(each.marker == order["id"] for each in self.ledger.values()):
            fault = "taken"  # A key that is known answers as it did.
        if fault == "late_taken":
            self._coming.append((self._now() + self._chance.uniform(0.5, LATEST), order))
            if self._chance.random() < 0.5:
                raise httpx.ReadError("reset")
            await self._hang(silence)
        made = self._take(order) if fault.startswith("taken") else None
        await asyncio.sleep(self._chance.uniform(0, 1))
        match fault:
            case "refused":
                status, code = self._chance.choice(
                    ((400, "bad"), (401, ""), (402, "empty"), (413, ""), (422, "content_policy"))
                )
                return _problem(status, code)
            case "throttled":
                return _problem(429, "slow down", retry_after=self._chance.choice(WAITS))
            case "unavailable":
                return _problem(503, "closed", retry_after=self._chance.choice(WAITS))
            case "shut":
                return _problem(403, "")
            case "taken_reset" | "lost_reset":
                raise self._chance.choice((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError))("reset")
            case "taken_5xx" | "lost_5xx":
                return _problem(self._chance.choice((500, 502, 504, 408, 409, 520)), "")
            case "taken_garbage":
                return _answer(self._chance.choice((200, 201)), self._chance.choice(GARBAGE))
            case "taken_late_answer" | "hung":
                await self._hang(silence)
        assert made is not None
        return _answer(201, msgspec.json.encode(self._told(made)))

    async def _look(self, request: httpx.Request, fault: str, silence: float) -> httpx.Response:  # noqa: C901, PLR0912
        match fault:
            case "reset":
                raise httpx.ReadError("reset")
            case "5xx":
                return _problem(self._chance.choice((500, 502, 503, 504)), "")
            case "garbage":
                return _answer(200, self._chance.choice(GARBAGE))
            case "hung":
                await self._hang(silence)
            case "throttled":
                return _problem(429, "", retry_after=self._chance.choice(WAITS))
            case "not_yet":
                return _answer(404, b"<html>no such page")
            case "401":
                return _problem(401, "")
        name = request.url.path.removeprefix("/tasks").strip("/")
        if not name:
            return _answer(
                200, msgspec.json.encode([{**self._told(each), "marker": each.marker} for each in self.ledger.values()])
            )
        made = self.ledger.get(name)
        if made is not None and made.vanishes and self._now() > made.at + 5:
            made = None
        elif made is None and self.kind == "B":
            made = next((each for each in self.ledger.values() if each.marker == name), None)
        if made is None:
            return _problem(404, "unknown_task")
        if request.method == "DELETE" and self._told(made)["state"] == "rendering":
            if self._chance.random() < 0.3:
                return _problem(405, "never")
            made.cancelled = True
        told = self._told(made)
        return _answer(200, msgspec.json.encode({**told, "state": "sublimating"} if fault == "strange" else told))

    async def _clip(self, task: str, fault: str, silence: float) -> httpx.Response:
        made = self.ledger[task]
        body = clip_of(made.marker)
        match fault or made.dead:
            case "404" | "407" as status:
                return _answer(int(status), b"gone")
            case "html":
                return _answer(200, b"<html>please log in</html>")
            case "short":
                return _answer(200, body[:-9], broken=True)
            case "reset":
                raise httpx.ReadError("reset")
            case "hung":
                await self._hang(silence)
            case "elsewhere":
                return _answer(
                    302, b"", location=self._chance.choice(("http://169.254.169.254/", "http://127.0.0.1/x"))
                )
        return _answer(200, body)

    async def _hang(self, silence: float) -> None:
        await asyncio.sleep(silence)
        raise httpx.ReadTimeout("silence")

    def _arrive(self) -> None:
        """Take the orders that were long under way."""
        due = [order for at, order in self._coming if at <= self._now()]
        self._coming = [(at, order) for at, order in self._coming if at > self._now()]
        for order in due:
            self._take(order)

    def _take(self, order: dict[str, Any]) -> Made:
        """Take an order; a class A provider knows one it has taken already."""
        marker = order["id"]
        if self.kind == "A":
            for each in self.ledger.values():
                if each.marker == marker:
                    return each
        draw = self._chance
        made = Made(
            id=marker if self.kind == "A" else f"{self.listing.slug}-{len(self.ledger)}",
            marker=marker,
            at=self._now(),
            takes=draw.uniform(0.5, 60),
            end=draw.choices(("done", "failed", "refused"), (8, 1, 1))[0],
            vanishes=draw.random() < self.trouble / 10,
            dead=draw.choice(("404", "html", "elsewhere")) if draw.random() < self.trouble / 10 else "",
        )
        self.ledger[made.id] = made
        self.on_bought(self, made)
        return made

    def _told(self, made: Made) -> dict[str, Any]:
        passed = self._now() - made.at
        state = "rendering" if passed < made.takes else made.end
        if made.cancelled:
            state = "cancelled"
        answer: dict[str, Any] = {"id": made.id, "state": state, "progress": min(99, int(100 * passed / made.takes))}
        if state == "done":
            answer["clips"] = [{"index": 0, "url": f"http://{self.host}/clips/{made.id}/0.mp4"}]
        if state in {"failed", "refused"}:
            answer["error"] = {"code": state, "message": "it came out badly"}
        return answer

    def drain(self) -> None:
        """Let everything arrive that ever will."""
        for _, order in self._coming:
            self._take(order)
        self._coming.clear()


class Net(httpx.AsyncBaseTransport):
    """Carry calls to the upstreams, and remember who was called."""

    def __init__(self, upstreams: Mapping[str, Upstream], called: Callable[[str], None]) -> None:
        self._upstreams = {each.host: each for each in upstreams.values()}
        self._called = called

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._called(request.url.host)
        return await self._upstreams[request.url.host].answer(request)


def sold(slug: str, kind: str, usd: str, **changes: object) -> Listing:
    """List what a seller of a class sells."""
    plain = listing(
        slug, dialect="sandbox", base_url=f"http://{slug}.test", submit_class=kind, submit_class_source="made up",
        poll_seconds=2, deadline_seconds=400, missing_seconds=20, prices=[price(usd)],
    )  # fmt: skip
    return replace(plain, **changes)


def study(path: str, folder: str, stem: str) -> dict[str, Any]:
    """Measure a made-up clip, as the probing process would a real one."""
    with open(path, "rb") as file:  # noqa: PTH123 - the loop's thread is the thread
        data = file.read()
    if not data.startswith(CLIP):
        raise ValueError("not a clip")
    return {"width": 1280, "height": 720, "duration_seconds": 8.0, "has_audio": True, "codec": "h264", "drawn": False}


class _Stream(httpx.AsyncByteStream):
    def __init__(self, body: bytes, broken: bool) -> None:
        self._body = body
        self._broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        if self._broken:
            raise httpx.RemoteProtocolError("cut off")

    async def aclose(self) -> None:
        pass


def _answer(status: int, body: bytes, *, broken: bool = False, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=_Stream(body, broken))


def _problem(status: int, code: str, *, retry_after: str = "") -> httpx.Response:
    body = msgspec.json.encode({"error": {"code": code, "message": "no"}})
    return _answer(status, body, **({"retry-after": retry_after} if retry_after else {}))
