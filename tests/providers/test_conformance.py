"""
The laws every provider is held to; adding one adds no test code, only its ``cases.toml``.

Orders are sent as recorded and answers read as agreed; what nobody can read becomes a named error; everything sold
can be fitted, priced and ordered; only the call that buys may not be repeated; no credential is seen anywhere.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from gateway.offers.asking import Seller, source_seconds
from providers.base.catalog import Quote, Refusal, fit, quote
from providers.base.errors import SILENT, Again, Billed, ProviderError
from providers.base.hooks import ForgedError, HookCall
from providers.base.listing import Listing, Offer, listings
from providers.base.order import AS_LONG, Mode, Request, Role, Spec
from providers.base.task import State, Task, Update
from providers.base.wire import Call, Reply
from tests.providers.cases import (
    Case,
    Given,
    Player,
    cases,
    everywhere,
    inputs_of,
    listing_of,
    open_provider,
    order_of,
    replied,
    sample,
    secrets_of,
    spoken,
    tried,
    write,
)

LOOKS = {"running", "succeeded", "failed", "unknown_word"}
REFUSALS = {"invalid", "unauthorized", "throttled", "indeterminate"}

GARBAGE = {
    "empty": b"",
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "object": b"{}",
    "list": b"[]",
    "null": b"null",
    "number": b"7",
    "not utf-8": b"\xff\xfe{\x00",
    "words not utf-8": b'{"id": "\xff", "status": "\xff", "code": "\xff", "error": {"message": "\xff"}}',
    "truncated": b'{"id": "abc", "status": "comp',
    "nested": b"[" * 5000,
    "wrong types": b'{"id": 7, "jobid": [], "status": {}, "data": 3, "error": [1], "name": {}, "code": "x"}',
}
STATUSES = [200, 201, 202, 204, 301, 302, 307, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 425,
            429, 500, 501, 502, 503, 504, 520, 524, 596, 599]  # fmt: skip


@dataclass
class Told:
    """Hold a case with the dialect it belongs to, named in the test's id."""

    dialect: str
    case: Any


def told(kind: str) -> list[Any]:
    """List every dialect's cases of a kind."""
    return [
        pytest.param(Told(dialect, case), id=f"{dialect}-{case.name.replace(' ', '_')}")
        for dialect in tried()
        for case in getattr(cases(dialect), kind)
    ]


def offers() -> list[Any]:
    """List every offer of every listing, in each of its modes."""
    return [
        pytest.param(listing, offer, mode, id=f"{slug}:{offer.model}-{mode}")
        for slug, listing in listings().items()
        if listing.dialect in tried()
        for offer in listing.offers
        for mode in offer.mode
    ]


def check_update(want: dict[str, Any], update: Update, listing: Listing, base_url: str) -> None:
    """Hold an update to what a case says of it, and its assets to the listing's hosts."""
    got = msgspec.to_builtins(
        {
            "state": update.state, "task": update.task.id, "data": dict(update.task.data), "progress": update.progress,
            "assets": [asset.url or asset.data.decode("latin-1") for asset in update.assets],
            "handles": [asset.handle for asset in update.assets], "media_types": [a.media_type for a in update.assets],
            "indexes": [asset.index for asset in update.assets], "usage": update.usage, "poll_after": update.poll_after,
            "raw_state": update.raw_state, "fault": update.fault,
        }
    )  # fmt: skip
    for name in ("usage", "fault"):
        if isinstance(want.get(name), dict):
            got[name] = {key: got[name].get(key) for key in want[name]}
    assert want == {name: got[name] for name in want}
    for asset in update.assets:
        assert asset.data or listing.fetches(urlsplit(asset.url).hostname or "", base_url=base_url), asset.url


def check_error(want: dict[str, Any], error: ProviderError) -> None:
    """Hold an error to what a case says of it."""
    names = {"kind", "again", "billed", "scope", "retry_after", "code", "status", "message"}
    assert set(want) <= names
    assert want == {name: getattr(error, name) for name in want}


async def outcome(doing: Awaitable[Update | None]) -> Update | ProviderError | None:
    """Wait for what comes: an update, none, or an error of ours."""
    try:
        return await doing
    except ProviderError as error:
        return error


async def play(told: Told, folder: Path, verb: str) -> None:
    """Play a case's exchanges, and look at what came of them."""
    case: Case = told.case
    listing = listing_of(told.dialect)
    provider = open_provider(listing, **case.credentials)
    player = Player(told.dialect, provider, case.exchange)
    subject = order_of(case, listing, folder) if case.offer else Task(**(case.task or {}))
    came = await outcome(getattr(provider, verb)(subject, player))
    if isinstance(came, ProviderError):
        assert case.error is not None, repr(came)
        check_error(case.error, came)
    else:
        assert case.error is None, f"no error came, but {came}"
        assert case.absent is (came is None)
        if came is not None:
            check_update(case.update or {}, came, listing, provider.base_url)
    assert not player.left
    shown = everywhere(came, provider, *player.calls)
    assert not [secret for secret in secrets_of(listing).values() if secret in shown]


@pytest.mark.parametrize("told", told("orders"))
async def test_an_order_becomes_the_recorded_calls(told: Told, tmp_path: Path) -> None:
    """An order is sent as recorded, once, and its answer read as agreed."""
    assert sum(each.buys for each in told.case.exchange) <= 1
    await play(told, tmp_path, "submit")


@pytest.mark.parametrize("told", told("looks"))
async def test_a_look_reads_the_recorded_answer(told: Told, tmp_path: Path) -> None:
    """A look at a task buys nothing and reads the answer as agreed."""
    assert not any(each.buys for each in told.case.exchange)
    await play(told, tmp_path, "poll")


@pytest.mark.parametrize("told", told("cancels"))
async def test_a_cancel(told: Told, tmp_path: Path) -> None:
    """A cancel says what became of the task."""
    await play(told, tmp_path, "cancel")


@pytest.mark.parametrize("told", told("finds"))
async def test_a_find(told: Told, tmp_path: Path) -> None:
    """A lost order is found, or proven absent, or neither."""
    assert not any(each.buys for each in told.case.exchange)
    await play(told, tmp_path, "find")


@pytest.mark.parametrize("told", told("refusals"))
def test_an_error_answer_is_explained(told: Told) -> None:
    """An error answer says whether the order may be sent again and whether it may have cost money."""
    said = told.case
    headers = {name.lower(): value for name, value in said.reply_headers.items()}
    reply = Reply(status=said.status, headers=headers, body=replied(told.dialect, said))
    provider = open_provider(listing_of(told.dialect), **said.credentials)
    check_error(said.error, provider.explain(reply, buying=said.buying))


@pytest.mark.parametrize("told", told("hooks"))
def test_a_callback_names_tasks(told: Told) -> None:
    """A callback that is signed as its provider signs is a hint to look; a forgery and garbage are none."""
    hook, body = told.case, sample(told.dialect, told.case.body)
    provider = open_provider(listing_of(told.dialect), **hook.secrets)
    try:
        provider.check_hook(HookCall(headers=hook.headers, body=body, now=hook.at))
        tasks = [hint.task for hint in provider.read_hook(hook.headers, body)]
    except ForgedError:
        tasks = []
    assert hook.tasks == tasks
    for garbage in GARBAGE.values():
        assert not provider.read_hook(hook.headers, garbage)


@pytest.mark.parametrize("dialect", spoken())
def test_every_dialect_brings_every_scenario(dialect: str) -> None:
    """Each way an answer can look is a case, and no two cases share a name."""
    assert dialect in tried(), f"tests/providers/{dialect}/cases.toml is missing"
    brought = cases(dialect)
    assert {case.scenario for case in brought.looks} >= LOOKS
    assert {refusal.scenario for refusal in brought.refusals} >= REFUSALS
    for kind in (brought.orders, brought.looks, brought.refusals):
        names = [each.name for each in kind]
        assert len(names) == len(set(names))
    assert {case.error["kind"] if case.error else "" for case in brought.looks if case.scenario == "unknown_word"} == {
        ""
    }
    assert all(
        (case.update or {}).get("state") == "unknown" for case in brought.looks if case.scenario == "unknown_word"
    )


@pytest.mark.parametrize("buying", [True, False])
@pytest.mark.parametrize("dialect", tried())
def test_an_answer_nobody_can_read_is_a_named_error(dialect: str, buying: bool) -> None:
    """Whatever comes, it is one of our errors; and a purchase in doubt is never called free to repeat."""
    provider = open_provider(listing_of(dialect))
    for status in STATUSES:
        for what, body in GARBAGE.items():
            error = provider.explain(Reply(status=status, headers={}, body=body), buying=buying)
            assert error.kind != "provider_error", (status, what)
            if buying and (status < 400 or status >= 500 or status in SILENT):
                free = status in cases(dialect).at_the_door
                assert free or (error.again is Again.NEVER and error.billed is not Billed.NO), (
                    status,
                    what,
                    error.kind,
                )


@pytest.mark.parametrize("told", told("orders"))
async def test_a_purchase_answered_with_garbage_is_never_repeated(told: Told, tmp_path: Path) -> None:
    """After the buying call, an answer nobody can read is doubt, not failure; no task is made up."""
    case, listing = told.case, listing_of(told.dialect)
    buying = next((at for at, each in enumerate(case.exchange) if each.buys), None)
    if buying is None:
        return
    for status in (200, 201, 202):
        for what, body in GARBAGE.items():
            spoilt = msgspec.structs.replace(
                case.exchange[buying], status=status, reply="", reply_json=msgspec.UNSET,
                reply_text=body.decode("utf-8", "surrogateescape"), reply_headers={}, cut=False,
            )  # fmt: skip
            provider = open_provider(listing, **case.credentials)
            player = Player(told.dialect, provider, [*case.exchange[:buying], spoilt])
            came = await outcome(provider.submit(order_of(case, listing, tmp_path), player))
            assert isinstance(came, ProviderError), f"{status} {what} became {came}"
            assert came.again is Again.NEVER, (status, what)


@pytest.mark.parametrize("told", told("looks"))
async def test_a_look_answered_with_garbage_ends_nothing(told: Told) -> None:
    """A look that cannot be read is no verdict."""
    case, listing = told.case, listing_of(told.dialect)
    for status in STATUSES:
        for what, body in GARBAGE.items():
            spoilt = msgspec.structs.replace(
                case.exchange[0], status=status, reply="", reply_json=msgspec.UNSET,
                reply_text=body.decode("utf-8", "surrogateescape"), reply_headers={},
            )  # fmt: skip
            provider = open_provider(listing, **case.credentials)
            came = await outcome(provider.poll(Task(**(case.task or {})), Player(told.dialect, provider, [spoilt])))
            if isinstance(came, Update):
                assert not came.state.final or status == 410, (status, what, came)
            else:
                assert came is not None
                assert came.kind != "provider_error", (status, what)


NEEDS = {
    Mode.TEXT: [],
    Mode.FIRST_FRAME: [Role.FIRST_FRAME],
    Mode.FRAMES: [Role.FIRST_FRAME, Role.LAST_FRAME],
    Mode.REFERENCE: [Role.REFERENCE],
    Mode.EDIT: [Role.SOURCE],
    Mode.EXTEND: [Role.SOURCE],
    Mode.UPSCALE: [Role.SOURCE],
}


@pytest.mark.parametrize(("listing", "offer", "mode"), offers())
async def test_everything_sold_can_be_ordered(listing: Listing, offer: Offer, mode: Mode, tmp_path: Path) -> None:
    """Every value an offer lists can be fitted under some plan, priced or is openly unpriced, and put into words."""
    plans = [plan.name for plan in listing.plans] or [""]
    priced = any(offer.model in price.models or "*" in price.models for price in listing.prices)
    day = date.fromordinal(offer.ended.toordinal() - 1) if offer.ended else date(2026, 11, 21)
    for choice in ("seconds", "resolution", "aspect_ratio", "audio", "n", "fps", "container"):
        for value in getattr(offer, choice):
            wanted = wish_for(listing, offer, mode, tmp_path)
            request, files = replace(wanted[0], **{choice: value}), wanted[1]
            fitted = {plan: fit(offer, request, plan=plan) for plan in plans}
            specs = {plan: spec for plan, spec in fitted.items() if isinstance(spec, Spec)}
            for plan, spec in specs.items():
                source = source_seconds(request)
                answer = quote(listing, offer, spec, on=day, plan=plan, source_seconds=source)
                assert isinstance(answer, Quote) is priced, (plan, answer)
                order = write(offer, request, spec, files)
                assert await bought(listing, order), f"{choice} {value} was not put into an order"


@pytest.mark.parametrize(("listing", "offer", "mode"), [each for each in offers() if each.values[2] in AS_LONG])
def test_an_edit_or_an_upscale_is_as_long_as_its_source(
    listing: Listing, offer: Offer, mode: Mode, tmp_path: Path
) -> None:
    """At every seller: no other length is sold, and what is charged by length is charged by the source's."""
    plan, day = listing.plans[-1].name if listing.plans else "", date(2026, 11, 21)
    request, _ = wish_for(listing, offer, mode, tmp_path)

    def priced(length: float, **chosen: Any) -> Quote:
        clip = replace(request, inputs=tuple(replace(each, seconds=length) for each in request.inputs), **chosen)
        spec = fit(offer, clip, plan=plan)
        assert isinstance(spec, Spec), spec
        assert 0 == spec.seconds
        answer = quote(listing, offer, spec, on=day, plan=plan, source_seconds=source_seconds(clip))
        assert isinstance(answer, Quote)
        return answer

    by_length = priced(4).price.per != "video"
    assert priced(8).usd_micros == priced(4).usd_micros * (2 if by_length else 1)
    assert priced(7.6) == priced(7.6, seconds=8) == priced(8)
    for other in {*offer.seconds} - {0, 8}:
        refused = fit(offer, replace(request, seconds=other), plan=plan)
        assert isinstance(refused, list)
        assert "seconds" in {each.field for each in refused}
    if offer.source_max:
        assert priced(offer.source_max)
        longer = tuple(replace(each, seconds=offer.source_max + 1) for each in request.inputs)
        refused = fit(offer, replace(request, inputs=longer), plan=plan)
        told = f"{offer.model} takes clips of at most {offer.source_max} seconds to {mode}"
        assert [Refusal("video", told)] == refused


@pytest.mark.parametrize(("listing", "offer", "mode"), [each for each in offers() if each.values[2] is Mode.EXTEND])
def test_no_longer_clip_is_extended_than_its_page_allows(
    listing: Listing, offer: Offer, mode: Mode, tmp_path: Path
) -> None:
    """The longest comes of it, one second more is refused by name; where no page says, nothing is."""
    plan = listing.plans[-1].name if listing.plans else ""
    request, _ = wish_for(listing, offer, mode, tmp_path)

    def extended(source: float, seconds: int) -> Spec | list[Refusal]:
        inputs = tuple(replace(each, seconds=source) for each in request.inputs)
        return fit(offer, replace(request, inputs=inputs, seconds=seconds), plan=plan)

    most, more = offer.extend_max, [each for each in offer.seconds if isinstance(extended(1, each), Spec)]
    assert more
    for seconds in more:
        longest = most - seconds if most else 3600
        assert isinstance(extended(longest, seconds), Spec)
        assert isinstance(extended(longest + 0.4, seconds), Spec)
        if most:
            why = f"{seconds} seconds more would make it {most + 1}"
            told = f"{offer.model} extends clips to at most {most} seconds; {why}"
            assert [Refusal("video", told)] == extended(longest + 1, seconds)


@pytest.mark.parametrize(
    ("slug", "model", "most"),
    [
        ("gemini", "google/gemini-omni-1.1-flash", 40), ("gemini", "google/gemini-omni-1.2-flash", 30),
        ("gemini", "google/gemini-omni-flash", 30), ("gemini", "google/veo-3.1", 148),
        ("vertex", "google/gemini-omni-1.1-flash", 40), ("vertex", "google/gemini-omni-1.2-flash", 30),
        ("vertex", "google/gemini-omni-flash", 30), ("vertex", "google/veo-3.1", 37),
        ("vertex", "google/veo-3.1-fast", 37), ("vertex", "google/veo-3.1-lite", 37),
    ],
)  # fmt: skip
def test_how_long_an_extension_may_come_to(slug: str, model: str, most: int) -> None:
    """Google's pages say it of every model that goes on with a clip."""
    assert most == listings()[slug].offer(model).extend_max


TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/quicktime", "video/webm"]


@pytest.mark.parametrize(("listing", "offer", "mode"), [each for each in offers() if each.values[2] is not Mode.TEXT])
def test_only_types_a_page_names_are_quoted(listing: Listing, offer: Offer, mode: Mode, tmp_path: Path) -> None:
    """A clip that a seller would refuse is refused before anything is sent, and what it takes is named."""
    plan = listing.plans[-1].name if listing.plans else ""
    request, _ = wish_for(listing, offer, mode, tmp_path)
    for media_type in TYPES:
        kind = media_type.partition("/")[0]
        swapped = [
            replace(each, media_type=media_type) if each.media_type.startswith(kind) else each
            for each in request.inputs
        ]
        fitted = fit(offer, replace(request, inputs=tuple(swapped)), plan=plan)
        named = not offer.media_types or media_type in offer.media_types
        fine = swapped == [*request.inputs] or named or kind == "image"  # Which is converted.
        assert isinstance(fitted, Spec) is fine, media_type
        if isinstance(fitted, list):
            assert all(media_type in each.message and f"{kind}/" in each.message for each in fitted)


PICTURES = {"image/png", "image/jpeg"}


@pytest.mark.parametrize(
    ("slug", "taken"), [("vertex", PICTURES | {"video/mp4"}), ("flow", PICTURES | {"image/webp", "video/mp4"})]
)
def test_types_by_their_pages(slug: str, taken: set[str]) -> None:
    """Vertex's page on Veo, and Flow's on uploads; nobody else's names any."""
    named = {offer.route: {*offer.media_types} for offer in listings()[slug].offers if offer.route != "interactions"}
    assert [taken] == [*named.values()]


async def bought(listing: Listing, order: Any) -> list[bytes]:
    """Say what is sent until an order reaches its buying call, as :func:`called` does."""
    return [call.body for call in await called(listing, order)]


async def called(listing: Listing, order: Any) -> list[Call]:
    """List the calls until an order reaches its buying one, its uploads answered as in the cases; else none."""

    class BoughtError(Exception):
        pass

    recorded = {}
    for case in cases(listing.dialect).orders:
        for each in case.exchange:
            if not each.buys and each.status < 300:
                recorded[each.call.partition("?")[0].rsplit("/", 1)[0]] = each
                recorded[each.call] = each

    sent: list[Call] = []

    class Upstream:
        async def send(self, call: Call) -> Reply:
            sent.append(call)
            if not call.repeatable:
                raise BoughtError
            where = f"{call.method} {urlsplit(call.url).path}"
            said = recorded.get(where) or recorded[where.rsplit("/", 1)[0]]
            return Reply(status=said.status, headers={}, body=replied(listing.dialect, said))

        def stream(self, call: Call) -> Any:
            assert not call.repeatable
            sent.append(call)
            raise BoughtError

    provider = open_provider(listing)
    try:
        await provider.submit(order, Upstream())
    except BoughtError:
        return sent
    return []


def wish_for(listing: Listing, offer: Offer, mode: Mode, folder: Path) -> tuple[Request, dict[str, Path]]:
    """Ask for a clip in a mode, with the inputs it needs and every choice open."""
    kinds = {Role.SOURCE: "video/mp4"}
    kind = "image/png" if "image" in offer.reference_types else f"{offer.reference_types[0]}/mp4"
    handle = "own-clip-1" if mode in offer.own else ""
    given = [
        Given(role=role, media_type=kinds.get(role, kind), seconds=8 if role is Role.SOURCE else 0,
              handle=handle if role is Role.SOURCE else "")
        for role in NEEDS[mode]
    ]  # fmt: skip
    inputs, files = inputs_of(given, listing, folder)
    return Request(prompt="A cat on a roof", model=offer.model, mode=mode, inputs=inputs), files


@pytest.mark.parametrize("slug", listings())
def test_worked_examples_come_out(slug: str) -> None:
    """Every sum a page works out itself comes out of the listing, to the digits printed."""
    listing = listings()[slug]
    for example in listing.examples:
        offer = listing.offer(example.model)
        assert offer is not None, example
        said = {"prompt": "-", "model": example.model, **example.choose}
        spec = fit(offer, msgspec.convert(said, Request), plan=example.plan)
        assert isinstance(spec, Spec), (example, spec)
        answer = quote(listing, replace(offer, ended=None, ended_why=""), spec, on=example.on, plan=example.plan)
        assert isinstance(answer, Quote), (example, answer)
        if example.usd:
            printed = Decimal(example.usd)
            assert printed == (Decimal(answer.usd_micros) / 1_000_000).quantize(printed, ROUND_HALF_UP), example
        if example.credits:
            assert Decimal(example.credits) == answer.credits, example


@pytest.mark.parametrize("slug", listings())
async def test_credentials_go_to_their_own_host_only(slug: str) -> None:
    """Calls to the provider are signed in a header; nothing else is, wherever a link leads."""
    listing = listings()[slug]
    provider = open_provider(listing)
    if not any(secret.required for secret in listing.secrets) or hasattr(provider, "token"):
        return
    for url, mine in ((f"{provider.base_url}/x", True), ("https://elsewhere.example/x", False)):
        flow = provider.auth().async_auth_flow(httpx.Request("GET", url))
        request = await anext(flow)
        await flow.aclose()
        held = [each for each in secrets_of(listing).values() if each in str(request.headers.raw)]
        assert bool(held) is mine, url
        assert not [each for each in secrets_of(listing).values() if each in str(request.url)]


@pytest.mark.parametrize("slug", listings())
def test_a_listing_can_be_sold_from(slug: str) -> None:
    """A listing's file is named as it calls itself, and routing can read it."""
    listing = listings()[slug]
    assert slug == listing.slug
    assert Seller(account="a", listing=listing).listing is listing
    assert listing.deadline_seconds > listing.poll_seconds > 0
    assert State.UNKNOWN.final is False
