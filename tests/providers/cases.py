"""Read ``cases.toml`` beside each dialect's samples, and play its exchanges: what was recorded is what must be said."""

import json
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from gateway.offers.accounts import adapter
from providers.base.catalog import fit
from providers.base.listing import Listing, Offer, listings
from providers.base.order import CHOICES, Input, Mode, Order, Origin, Request, Role, Spec
from providers.base.provider import Provider
from providers.base.wire import Call, Download, Reply

HERE = Path(__file__).parent
TODAY = date(2026, 11, 21)
ATTEMPT = "att_0123456789abcdef0123456789abcdef"
ACCOUNT = "here"


class Exchange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold one call as it must be made, and the answer it gets."""

    call: str
    host: str = ""
    buys: bool = False
    json: str | dict[str, Any] | UnsetType = UNSET
    body: str = ""
    body_of: str = ""
    form: dict[str, str] | None = None
    files: dict[str, list[str]] = {}
    headers: dict[str, str] = {}
    status: int = 200
    reply: str = ""
    reply_json: Any = UNSET
    reply_text: str = ""
    reply_headers: dict[str, str] = {}
    cut: bool = False
    """Whether the answer breaks off after what is given of it."""


class Given(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold an input: its bytes are ``<role>-<index>``."""

    role: Role
    media_type: str
    seconds: float = 0
    handle: str = ""
    name: str = ""
    purpose: str = ""


class Case(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold one case: an order, a look, a cancel or a find, with what must come of it."""

    name: str
    scenario: str = ""
    offer: str = ""
    plan: str = ""
    request: dict[str, Any] = {}
    inputs: list[Given] = []
    hook_url: str = ""
    on: date = TODAY
    task: dict[str, Any] | None = None
    exchange: list[Exchange] = []
    update: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    absent: bool = False
    credentials: dict[str, str] = {}


class Refusal(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold an error answer and what it means."""

    name: str
    scenario: str
    status: int
    reply: str = ""
    reply_json: Any = UNSET
    reply_text: str = ""
    reply_headers: dict[str, str] = {}
    buying: bool = False
    credentials: dict[str, str] = {}
    error: dict[str, Any]


class Hook(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold a callback and the tasks it speaks of; none where it is not signed as it must be."""

    name: str
    body: str
    headers: dict[str, str] = {}
    at: int = 0
    """Seconds since the epoch when it came."""
    secrets: dict[str, str] = {}
    """What the account has to tell callbacks from forgeries, in place of the made-up secrets."""
    tasks: list[str]


class Cases(Struct, kw_only=True, forbid_unknown_fields=True):
    """Hold everything a dialect is held to."""

    at_the_door: list[int] = []
    """Statuses the vendor says it answers only where nothing was taken, whatever the body."""
    orders: list[Case]
    looks: list[Case]
    cancels: list[Case] = []
    finds: list[Case] = []
    refusals: list[Refusal]
    hooks: list[Hook] = []
    listing: str = ""
    """The listing to speak for, where the dialect has several; else the one of its name."""


@cache
def cases(dialect: str) -> Cases:
    """Read a dialect's cases."""
    text = (HERE / dialect / "cases.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Cases)


def spoken() -> list[str]:
    """Name every dialect some listing is sold in."""
    return sorted({listing.dialect for listing in listings().values()})


def tried() -> list[str]:
    """Name every dialect that has cases."""
    return [dialect for dialect in spoken() if (HERE / dialect / "cases.toml").exists()]


def listing_of(dialect: str) -> Listing:
    """Find the listing a dialect's cases speak for."""
    return listings()[cases(dialect).listing or dialect]


def secrets_of(listing: Listing) -> dict[str, str]:
    """Make up a secret for every name that is one, easy to find where it must not be."""
    return {secret.name: f"canary-{secret.name.lower()}" for secret in listing.secrets if not secret.public}


def open_provider(listing: Listing, **credentials: str) -> Provider:
    """Speak for an account with made-up secrets."""
    return adapter(listing.dialect)(listing, {**secrets_of(listing), **credentials})


def sample(dialect: str, name: str) -> bytes:
    """Read a sample beside the cases."""
    return (HERE / dialect / name).read_bytes()


def replied(dialect: str, said: Exchange | Refusal) -> bytes:
    """Read the body of an answer, however it is given."""
    if said.reply:
        return sample(dialect, said.reply)
    if said.reply_json is UNSET:
        return said.reply_text.encode("utf-8", "surrogateescape")
    return json.dumps(said.reply_json).encode()


def mode_of(given: list[Given], request: Mapping[str, Any]) -> Mode:
    """Say how a clip is made, from what is handed in."""
    if "mode" in request:
        return Mode(request["mode"])
    roles = {each.role for each in given}
    found: Iterator[Mode] = (
        mode
        for role, mode in (
            (Role.SOURCE, Mode.EDIT),
            (Role.LAST_FRAME, Mode.FRAMES),
            (Role.FIRST_FRAME, Mode.FIRST_FRAME),
            (Role.REFERENCE, Mode.REFERENCE),
            (Role.VOICE, Mode.REFERENCE),
        )
        if role in roles
    )
    return next(found, Mode.REFERENCE if request.get("characters") or request.get("elements") else Mode.TEXT)


def order_of(case: Case, listing: Listing, folder: Path) -> Order:
    """Write the order a case describes, its inputs' bytes in files."""
    offer = listing.offer(case.offer)
    assert offer is not None, f"{listing.slug} does not offer {case.offer}"
    inputs, files = inputs_of(case.inputs, listing, folder)
    said = {"model": offer.model, "mode": mode_of(case.inputs, case.request), **case.request}
    request = msgspec.convert(said, Request)
    request = replace(request, inputs=inputs)
    spec = fit(offer, request, plan=case.plan)
    assert isinstance(spec, Spec), [refusal.message for refusal in spec]
    return write(offer, request, spec, files, hook_url=case.hook_url)


def inputs_of(given: list[Given], listing: Listing, folder: Path) -> tuple[tuple[Input, ...], dict[str, Path]]:
    """Lay inputs in a folder."""
    inputs: list[Input] = []
    files: dict[str, Path] = {}
    counts: dict[Role, int] = {}
    for each in given:
        data = f"{each.role}-{counts.setdefault(each.role, 0)}".encode()
        counts[each.role] += 1
        digest = sha256(data).hexdigest()
        files[digest] = folder / digest
        files[digest].write_bytes(data)
        origin = Origin(provider=listing.slug, account=ACCOUNT, handle=each.handle) if each.handle else None
        width, height = (0, 0) if each.media_type.startswith("audio/") else (1280, 720)
        inputs.append(
            Input(
                role=each.role, media_type=each.media_type, sha256=digest, size=len(data), width=width, height=height,
                seconds=each.seconds, name=each.name, purpose=each.purpose, origin=origin,
            )
        )  # fmt: skip
    return tuple(inputs), files


def write(offer: Offer, request: Request, spec: Spec, files: dict[str, Path], *, hook_url: str = "") -> Order:
    """Write an order as the gateway does."""
    return Order(
        attempt=ATTEMPT,
        wire_name=offer.wire_name,
        route=offer.route,
        request=replace(request, **{name: getattr(spec, name) for name in CHOICES}),
        spec=spec,
        files=files,
        links={digest: f"https://gateway.example/inputs/{digest}" for digest in files},
        hook_url=hook_url,
    )


class Player:
    """Be the wire: hold every call to the next exchange, and answer as it says."""

    def __init__(self, dialect: str, provider: Provider, script: list[Exchange]) -> None:
        self._dialect = dialect
        self._base = provider.base_url
        self._script = list(script)
        self.calls: list[Call] = []

    @property
    def left(self) -> list[str]:
        """Calls that were not made."""
        return [each.call for each in self._script]

    async def send(self, call: Call) -> Reply:
        said = self._next(call)
        return Reply(status=said.status, headers=self._headers(said), body=self._body(said))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        said = self._next(call)
        body = self._body(said)

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 7):
                yield body[at : at + 7]
            if said.cut:
                from providers.base.wire import judge  # noqa: PLC0415 - the one case that needs it

                raise judge(httpx.ReadError("cut"), call)

        yield Download(status=said.status, headers=self._headers(said), chunks=chunks())

    def _body(self, said: Exchange) -> bytes:
        return replied(self._dialect, said)

    def _headers(self, said: Exchange) -> dict[str, str]:
        kind = "text/event-stream" if said.reply.endswith(".sse") else "application/json"
        return {"content-type": kind, **{name.lower(): value for name, value in said.reply_headers.items()}}

    def _next(self, call: Call) -> Exchange:
        self.calls.append(call)
        assert self._script, f"nobody expects {call.method} {call.url}"
        said = self._script.pop(0)
        url, base = urlsplit(call.url), urlsplit(self._base)
        path = url.path + (f"?{url.query}" if url.query else "")
        assert said.call == f"{call.method} {path}"
        assert (said.host or base.netloc) == url.netloc
        assert call.repeatable is not said.buys, "only the call that buys may not be repeated"
        assert {name: call.headers.get(name) for name in said.headers} == said.headers
        if said.json is not UNSET:
            want = json.loads(sample(self._dialect, said.json)) if isinstance(said.json, str) else said.json
            assert want == json.loads(call.body)
        if said.body:
            assert sample(self._dialect, said.body) == call.body
        if said.body_of:
            assert said.body_of.encode() == call.body
        if said.form is not None:
            assert (said.form, said.files) == read_form(call)
        return said


def read_form(call: Call) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Read a multipart body's fields and files."""
    from email import message_from_bytes  # noqa: PLC0415 - only forms need it

    kind = {name.lower(): value for name, value in call.headers.items()}["content-type"]
    whole = message_from_bytes(f"content-type: {kind}\r\n\r\n".encode() + call.body)
    fields: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    for part in whole.get_payload():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True).decode()
        if part.get_filename() is None:
            fields[name] = data
        else:
            files.setdefault(name, []).append(data)
    return fields, files


def everywhere(*values: object) -> str:
    """Write values as a log, an error or a row might: to look for what must not be there."""
    return "\n".join([repr(each) for each in values] + [str(each) for each in values])
