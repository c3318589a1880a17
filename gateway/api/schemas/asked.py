"""What calls say beside their bodies, and answers beside theirs: queries and headers, by operation."""

from collections.abc import Sequence
from typing import Any

from gateway.api.content import VARIANTS
from gateway.api.files import MOST_LISTED
from gateway.api.schemas.bodies import ORDERS
from gateway.api.schemas.words import Schema, number, text, whole
from gateway.api.wanted import WORDS
from gateway.api.webhooks import DELIVERY
from gateway.money import comparing, spending

Parameter = dict[str, Any]


def _query(name: str, about: str = "", **schema: Any) -> Parameter:
    """Describe a query parameter."""
    return {"name": name, "in": "query", "schema": schema, **({"description": about} if about else {})}


def _several(name: str, about: str, **schema: Any) -> Parameter:
    """Describe a query parameter that may come several times: any of them will do."""
    words = {"type": "string", **schema}
    return {**_query(name, about, type="array", items=words), "style": "form", "explode": True}


def _header(name: str, about: str, **schema: Any) -> Parameter:
    """Describe a header of a call."""
    return {"name": name, "in": "header", "schema": {"type": "string", **schema}, "description": about}


def _asked_by(words: Sequence[str]) -> list[Parameter]:
    """Describe by what sums are asked for, and of which days."""
    return [
        {**_query("by", type="array", items={"enum": [*words]}, uniqueItems=True), "style": "form", "explode": False},
        _query("since", type="string", format="date"),
        _query("until", type="string", format="date"),
    ]


def _paging(cursor: str, *, usual: int = 20, most: int = 100) -> list[Parameter]:
    """Describe how a list is paged through; ``cursor`` is what its ids look like."""
    return [
        _query("after", type="string", pattern=f"^{cursor}$"),
        _query("limit", type="integer", minimum=1, maximum=most, default=usual),
        _query("order", type="string", enum=["asc", "desc"], default="desc"),
    ]


def _id(prefix: str) -> str:
    """Write what an id looks like."""
    return f"{prefix}_[0-9a-f]{{32}}"


TIME = "a day (UTC), `2026-11-01`, or seconds since the epoch."
TIMES = "^([0-9]{1,11}|[0-9]{4}-[0-9]{2}-[0-9]{2})$"
DRY_RUN = _query(
    "dry_run",
    "Only say what it would cost: the answer is that of `/v1/quotes`, and nothing is kept or bought.",
    type="boolean",
    default=False,
)
REPEAT = _header(
    "Idempotency-Key",
    "Names this order, so that a call that is sent again orders nothing twice and is answered by the same video.",
    minLength=1,
    maxLength=255,
    pattern="^[ -~]+$",
)
PREFER = _header("Prefer", "`wait=n`: answer once the video has ended, or after n seconds, at most 60.")
IF_NONE_MATCH = _header("If-None-Match", "An `ETag` of before: where it still holds the answer is 304.")
RANGE = _header("Range", "Which bytes, as in `bytes=0-1023`; of several ranges none is served.")
SEEN = _header("Last-Event-ID", "The id of the last event seen: the stream goes on after it.")

PARAMETERS: dict[str, list[Parameter]] = {
    **{name: [DRY_RUN, REPEAT, PREFER] for name in ORDERS},
    "retrieveVideo": [PREFER, IF_NONE_MATCH],
    "streamVideo": [SEEN],
    "listVideos": [
        *_paging(_id("video")),
        _query(
            "before",
            "The page that ends before this id, in place of `after`.",
            type="string",
            pattern=f"^{_id('video')}$",
        ),
        _several("status", "As `status` or `status_detail` says it.", enum=[*WORDS]),
        _several("provider", "Who makes it."),
        _several("model", "The model, as it was chosen or as it was asked for."),
        _query("key", "The id of the key that ordered it.", type="string", pattern="^[ -~]+$"),
        _query("since", f"Ordered then or later: {TIME}", type="string", pattern=TIMES),
        _query("until", f"Ordered before then, or up to the end of the day: {TIME}", type="string", pattern=TIMES),
    ],
    "listFiles": [*_paging(_id("file"), usual=MOST_LISTED, most=MOST_LISTED), _query("purpose", type="string")],
    "listWebhookEndpoints": _paging(_id("whep")),
    "listWebhookDeliveries": _paging(DELIVERY.pattern)[:2],
    "listOffers": [
        _query("model", "Only offers of this model.", type="string"),
        _query("provider", "Only offers of this provider.", type="string"),
    ],
    "downloadVideo": [
        _query(
            "variant",
            "The clip; its first picture, small (WebP); pictures in even steps on one sheet (JPEG); or its last "
            "picture as it is (PNG), from which another clip can go on.",
            type="string",
            enum=[*VARIANTS],
            default="video",
        ),
        _query("index", "Which clip of several.", type="integer", minimum=0, maximum=99, default=0),
        RANGE,
        IF_NONE_MATCH,
    ],
    "getSpend": _asked_by(spending.BY),
    "getComparison": _asked_by(comparing.BY),
}
"""What an operation is asked by beside its path."""


def _said(schema: Schema, about: str) -> dict[str, Any]:
    """Describe a header of an answer."""
    return {"description": about, "schema": schema}


HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": _said(text(), "What this call is called in the gateway's log."),
    "Retry-After": _said(whole(), "After how many seconds to ask again."),
    "Retry-After-Ms": _said(whole(), "The same in milliseconds."),
    "RateLimit-Policy": _said(text(), "Of a key with a rate: how many calls (q) it may make in how many seconds (w)."),
    "RateLimit": _said(text(), "How many of them are left (r), and in how many seconds all are back (t)."),
    "X-RateLimit-Limit-Requests": _said(whole(), "Of a key with a rate: how many calls it may make a minute."),
    "X-RateLimit-Remaining-Requests": _said(whole(), "How many of them are left."),
    "X-RateLimit-Reset-Requests": _said(text(examples=["12s"]), "When all are back."),
    "X-Should-Retry": _said(text(enum=["true", "false"]), "Whether an SDK should repeat the call by itself."),
    "X-Reelgate-Provider": _said(text(), "Who makes the video."),
    "X-Reelgate-Cost-Usd": _said(number(), "What it costs, in dollars."),
    "Deprecation": _said(text(), "Since when its maker calls the model deprecated that was asked for (RFC 9745)."),
    "Openai-Poll-After-Ms": _said(whole(), "While it is being made: after how many milliseconds to ask again."),
    "Etag": _said(text(), "By which `If-None-Match` asks whether anything has changed."),
    "Location": _said(text(), "Where to go on."),
    "Preference-Applied": _said(text(), "Which wish of `Prefer` was followed."),
    "Idempotency-Replayed": _said(text(const="true"), "Sent where this is an earlier call's video."),
    "Link": _said(text(), 'Where the list goes on: `rel="next"`, or `prev` where it was asked for `before` an id.'),
    "Last-Modified": _said(text(), "When it was made."),
    "Accept-Ranges": _said(text(), "That parts of it can be asked for."),
    "Content-Range": _said(text(), "Which part of it this is."),
    "Content-Disposition": _said(text(), "A name for the file."),
    "Repr-Digest": _said(text(), "The SHA-256 of the whole, as RFC 9530 writes it."),
    "WWW-Authenticate": _said(text(), "How to show a key."),
}
"""Every header worth reading, and what it says."""

RATED = (
    *("RateLimit-Policy", "RateLimit"),
    *(f"X-RateLimit-{word}-Requests" for word in ("Limit", "Remaining", "Reset")),
)
_STANDS = (
    *("X-Reelgate-Provider", "X-Reelgate-Cost-Usd", "Deprecation"),
    *("Openai-Poll-After-Ms", "Retry-After", "Retry-After-Ms"),
)
_ORDERED = (*_STANDS, "Location", "Preference-Applied", "Idempotency-Replayed")
_BYTES = ("Etag", "Last-Modified", "Accept-Ranges", "Content-Disposition", "Repr-Digest")

SENT: dict[tuple[str, str], tuple[str, ...]] = {
    **{(name, "200"): _ORDERED for name in ORDERS},
    ("retrieveVideo", "200"): (*_STANDS, "Etag", "Preference-Applied"),
    ("retrieveVideo", "304"): ("Etag",),
    ("listVideos", "200"): ("Link",),
    ("cancelVideo", "200"): _STANDS,
    ("downloadVideo", "200"): _BYTES,
    ("downloadVideo", "206"): (*_BYTES, "Content-Range"),
    ("downloadVideo", "304"): ("Etag", "Last-Modified"),
    ("downloadVideo", "307"): ("Location",),
    ("downloadFile", "200"): ("Content-Disposition",),
    ("downloadFile", "307"): ("Location",),
}
"""What an answer says in its headers, by operation and status."""
REFUSED = ("Retry-After", "Retry-After-Ms", "X-Should-Retry", "WWW-Authenticate", "Content-Range")
"""What one says that is no success."""


def headers_of(operation: str, status: str) -> dict[str, Any]:
    """Name the headers of an answer."""
    more = REFUSED if status.endswith("XX") else SENT.get((operation, status), ())
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *RATED, *more)}
